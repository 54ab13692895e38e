//! The people's door of `textback dev`: a phone and the sessions it makes; it reads the storage and texts through the simulator like any phone.

pub mod guard;
mod pages;

use poem::http::{StatusCode, header};
use poem::web::{Data, Form, Html, Query};
use poem::{Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Request, Response, Route, get, handler};
use serde::Deserialize;
use twilio_simulator::{NewText, Remote};
use uuid::Uuid;

use crate::http::body;
use crate::secret::sha256;
use crate::storage::session::{self, Filter};
use crate::storage::{Storage, message};

/// The longest silence that an agent may have.
const FARTHEST_SKIP_SECONDS: u32 = 30 * 24 * 3600;

/// No other site may frame the page, no base element may redirect its links, and forms go only to this server.
const PAGE_POLICY: &str = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'";

/// What the door needs.
#[derive(Clone)]
pub struct ConsoleState {
    pub storage: Storage,
    /// The project whose sessions are shown.
    pub project_id: Uuid,
    /// The carrier whose phones text.
    pub simulator: Remote,
    /// Controls access to the console.
    pub guard: guard::Guard,
}

/// The routes below `/console`.
pub fn routes(door: ConsoleState) -> impl Endpoint<Output = Response> {
    let guard = door.guard.clone();
    let routes = Route::new()
        .at("/", get(page))
        .at("/texts", get(show).post(send))
        .at("/sessions", get(list))
        .at("/skip", poem::post(skip))
        .at("/htmx.js", get(htmx))
        .at("/style.css", get(style))
        .data(door)
        .into_endpoint()
        .map_to_response();
    body::bounded(routes).around(move |next, request| {
        let guard = guard.clone();
        async move {
            match guard.admit(&request).await {
                Ok(()) => next.call(request).await,
                Err(refused) => Ok(refused),
            }
        }
    })
}

/// Which phone looks at which number.
#[derive(Debug, Clone, Deserialize)]
struct Pair {
    phone: String,
    number: String,
    #[serde(default)]
    seen: String,
}

/// What a part of the page shows already.
#[derive(Debug, Clone, Deserialize)]
struct Seen {
    #[serde(default)]
    seen: String,
}

/// Whose session is moved, and how far.
#[derive(Debug, Clone, Deserialize)]
struct Skip {
    contact: String,
    number: String,
    seconds: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct Typed {
    phone: String,
    number: String,
    body: String,
}

#[handler]
async fn page(door: Data<&ConsoleState>) -> Response {
    match door.simulator.numbers().await {
        Ok(numbers) => html(pages::console(&numbers)),
        Err(error) => html(pages::trouble(&error.to_string())),
    }
}

#[handler]
async fn show(Query(pair): Query<Pair>, door: Data<&ConsoleState>) -> Response {
    screen(&door, &pair, None).await
}

#[handler]
async fn send(request: &Request, Form(typed): Form<Typed>, door: Data<&ConsoleState>) -> Response {
    if !from_our_page(request) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let pair = Pair { phone: typed.phone, number: typed.number, seen: String::new() };
    if typed.body.is_empty() {
        return screen(&door, &pair, None).await;
    }
    let text = NewText {
        from: pair.phone.clone(),
        to: pair.number.clone(),
        body: typed.body,
        media_urls: Vec::new(),
        sid: None,
    };
    let trouble = match door.simulator.text(&text).await {
        Ok(texted) => texted.error,
        Err(error) => Some(error.to_string()),
    };
    screen(&door, &pair, trouble.as_deref()).await
}

/// Another site's page can post a form here, but it can't set this header.
fn from_our_page(request: &Request) -> bool {
    request.headers().contains_key("HX-Request")
}

async fn screen(door: &ConsoleState, pair: &Pair, trouble: Option<&str>) -> Response {
    match door.simulator.screen(&pair.phone).await {
        Ok(texts) => {
            let texts: Vec<_> = texts.into_iter().filter(|text| text.peer == pair.number).collect();
            part(&pages::screen(&texts, trouble), &pair.seen)
        }
        Err(error) => html(pages::screen(&[], Some(&error.to_string()))),
    }
}

#[handler]
async fn list(Query(Seen { seen }): Query<Seen>, door: Data<&ConsoleState>) -> Response {
    match sessions(&door).await {
        Ok(markup) => part(&markup, &seen),
        Err(error) => unreadable(&error),
    }
}

#[handler]
async fn skip(request: &Request, Form(asked): Form<Skip>, door: Data<&ConsoleState>) -> Response {
    if !from_our_page(request) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if asked.seconds > FARTHEST_SKIP_SECONDS {
        return (StatusCode::BAD_REQUEST, "30 days (2592000 seconds) at most").into_response();
    }
    let of_the_pair = Filter { number: Some(asked.number), contact: Some(asked.contact), status: None };
    let moved = async {
        let mut connection = door.storage.connection().await?;
        let newest = session::list(&mut connection, door.project_id, &of_the_pair, None, 1).await?.items;
        match newest.first() {
            Some(newest) => session::skip(&mut connection, door.project_id, newest.id, asked.seconds).await,
            None => Ok(false),
        }
    };
    match moved.await {
        Ok(true) => {}
        Ok(false) => return (StatusCode::NOT_FOUND, "no session is open between the two").into_response(),
        Err(error) => {
            // Not 200: nothing was moved, and a program may have asked.
            return unreadable(&error).with_status(StatusCode::SERVICE_UNAVAILABLE).into_response();
        }
    }
    match sessions(&door).await {
        Ok(markup) => part(&markup, ""),
        Err(error) => unreadable(&error),
    }
}

/// The newest sessions, and the messages of the very newest.
async fn sessions(door: &ConsoleState) -> Result<maud::Markup, sqlx::Error> {
    let mut connection = door.storage.connection().await?;
    let sessions = session::list(&mut connection, door.project_id, &Filter::default(), None, 10).await?.items;
    let Some(first) = sessions.first() else { return Ok(pages::sessions(&sessions, None, &[])) };
    let newest = session::find(&mut connection, door.project_id, first.id).await?;
    let messages = message::list(&mut connection, door.project_id, first.id, None, 100).await?.items;
    Ok(pages::sessions(&sessions, newest.as_ref(), &messages))
}

fn unreadable(error: &sqlx::Error) -> Response {
    tracing::warn!(%error, "the console can't read sessions");
    html(pages::trouble("the database does not answer"))
}

/// A part of the page, or nothing when it shows that already: what did not change is neither
/// painted nor read aloud again.
fn part(markup: &maud::Markup, seen: &str) -> Response {
    let mark = hex::encode(&sha256(markup.0.as_bytes())[..8]);
    if mark == seen {
        return StatusCode::NO_CONTENT.into_response();
    }
    html(pages::marked(markup, &mark))
}

fn html(markup: maud::Markup) -> Response {
    // htmx evaluates its attributes as code, so this policy does not restrict scripts.
    Html(markup.into_string()).with_header("Content-Security-Policy", PAGE_POLICY).into_response()
}

#[handler]
fn htmx() -> Response {
    asset("text/javascript", include_str!("assets/htmx.min.js"))
}

#[handler]
fn style() -> Response {
    asset("text/css", include_str!("assets/style.css"))
}

fn asset(content_type: &str, text: &'static str) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, format!("{content_type}; charset=utf-8"))
        .header(header::CACHE_CONTROL, "no-cache")
        .body(text)
}
