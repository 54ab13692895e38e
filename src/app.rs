//! Puts the doors together into what one address serves; it opens none of them itself.

use std::sync::Arc;
use std::time::Duration;

use poem::error::ResponseError;
use poem::http::StatusCode;
use poem::{Endpoint, EndpointExt, Request, Response, Route};

use crate::agent::Means;
use crate::api::health::{self, Draining};
use crate::carrier::Client;
use crate::ledger::Ledger;
use crate::ledger::carrier_account::Accounts;
use crate::problem::Problem;
use crate::{api, console, problem, webhook};

/// Longer than two calls to the carrier and a statement; what still waits then waits for something that is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What the doors share.
#[derive(Clone)]
pub struct App {
    pub ledger: Ledger,
    pub accounts: Accounts,
    pub carrier: Client,
    pub means: Means,
    /// Where the carrier reaches us, without a slash at its end.
    pub public_base: Arc<str>,
    /// Set when the process is told to stop.
    pub draining: Draining,
    /// The console, where there is one.
    pub console: Option<console::Door>,
}

/// Everything that `textback serve` answers.
pub fn routes(app: App) -> impl Endpoint<Output = Response> + 'static {
    let webhook = webhook::Door::new(app.ledger.clone(), app.accounts.clone(), &app.public_base);
    let api = api::Door {
        ledger: app.ledger.clone(),
        accounts: app.accounts,
        carrier: app.carrier,
        means: app.means,
        public_base: app.public_base,
    };
    let mut routes = Route::new().nest("/webhooks/twilio", webhook::routes(webhook));
    routes = api::add_to(routes, api);
    if let Some(console) = app.console {
        routes = routes.nest("/console", console::routes(console));
    }
    health::add_to(routes, app.ledger, app.draining).around(answer_errors)
}

/// Only health, for a process without doors.
pub fn health_routes(ledger: Ledger, draining: Draining) -> impl Endpoint<Output = Response> + 'static {
    health::add_to(Route::new(), ledger, draining).around(answer_errors)
}

async fn answer_errors<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    match tokio::time::timeout(ANSWER_WITHIN, next.call(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Ok(problem::from_error(error).await),
        Err(_) => Ok(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_slow",
            format!("this took longer than {} s and was given up; try again", ANSWER_WITHIN.as_secs()),
        )
        .as_response()),
    }
}
