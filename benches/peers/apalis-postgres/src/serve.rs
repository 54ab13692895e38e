//! The webhook.

use std::sync::Arc;

use apalis::prelude::TaskBuilder;
use apalis_postgres::PgPool;
use apalis_postgres::queries::push_tasks;
use poem::http::StatusCode;
use poem::listener::TcpListener;
use poem::web::Data;
use poem::{EndpointExt, Request, Response, Route, Server, get, handler, post};

use crate::{Answer, Error, QUEUE, database, setting, signature};

/// Records a message and its session; the message's id, when it was not there already.
const INTAKE: &str = concat!(include_str!("../../common/intake.sql"), "select id from m");

struct Web {
    pool: PgPool,
    url: String,
    token: String,
}

pub async fn run() -> Result<(), Error> {
    let web = Web { pool: database(16).await?, url: setting("WEBHOOK_URL")?, token: setting("AUTH_TOKEN")? };
    let path = url::Url::parse(&web.url)?.path().to_owned();
    let routes = Route::new().at(path, post(webhook)).at("/readyz", get(ready)).data(Arc::new(web));
    Ok(Server::new(TcpListener::bind(setting("LISTEN")?)).run(routes).await?)
}

#[handler]
async fn ready(web: Data<&Arc<Web>>) -> StatusCode {
    match sqlx::query("select 1").execute(&web.pool).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[handler]
async fn webhook(request: &Request, body: Vec<u8>, web: Data<&Arc<Web>>) -> poem::Result<Response> {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let signature = request.header("X-Twilio-Signature").unwrap_or_default();
    if !signature::holds(&web.token, &web.url, &form, signature) {
        return Ok(StatusCode::FORBIDDEN.into());
    }
    let intake = intake(&web.pool, &form).await;
    intake.map_err(|error| {
        eprintln!("{error}");
        // The carrier is told to come again.
        poem::Error::from_status(StatusCode::INTERNAL_SERVER_ERROR)
    })?;
    Ok(Response::builder().content_type("text/xml").body("<Response/>"))
}

/// Message, session and job in one transaction.
async fn intake(pool: &PgPool, form: &[(String, String)]) -> Result<(), Error> {
    let field = |name: &str| form.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str());
    let mut transaction = pool.begin().await?;
    let message: Option<i64> = sqlx::query_scalar(INTAKE)
        .bind(field("MessageSid"))
        .bind(field("To"))
        .bind(field("From"))
        .bind(field("Body"))
        .fetch_optional(&mut *transaction)
        .await?;
    if let Some(message) = message {
        let task = TaskBuilder::new(serde_json::to_vec(&Answer { message })?).build();
        push_tasks(&mut *transaction, QUEUE, vec![task]).await?;
    }
    transaction.commit().await?;
    Ok(())
}
