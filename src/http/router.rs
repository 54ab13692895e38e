//! Assembles the routes of each address, and wraps all of them in error responses and security
//! headers.

use std::sync::Arc;
use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get, handler};
use poem_openapi::OperationId;

use crate::agents::AgentRuntime;
use crate::carriers::Carriers;
use crate::domain::carrier_account::CarrierKind;
use crate::http::health::{self, Draining};
use crate::http::metrics::Observed;
use crate::http::problem::Problem;
use crate::http::{access_log, api, console, headers, metrics, problem, request_id, webhooks};
use crate::jobs::ingest::Ingest;
use crate::secret::SecretKeys;
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;

/// The time limit of a request: longer than two calls to the carrier and a statement.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The state that all routes share.
#[derive(Clone)]
pub struct App {
    pub storage: Storage,
    /// Stores inbound messages.
    pub ingest: Ingest,
    pub accounts: Accounts,
    pub carriers: Carriers,
    pub agent_runtime: AgentRuntime,
    /// The public URL, without a slash at the end.
    pub public_base: Arc<str>,
    /// Set when the process is told to stop.
    pub draining: Draining,
    /// The console, in `textback dev`.
    pub console: Option<console::ConsoleState>,
    /// Whether `/docs` and `/openapi.yaml` are served.
    pub docs: bool,
}

/// All routes of `textback serve`.
pub fn routes(app: App) -> impl Endpoint<Output = Response> + 'static {
    edge(all(app))
}

/// The same routes for calls that this process makes itself: they have no request id, and no line
/// in the log of requests.
pub fn for_own_calls(app: App) -> impl Endpoint<Output = Response> + 'static {
    all(app).around(answer_all)
}

fn all(app: App) -> impl Endpoint<Output = Response> + 'static {
    let webhooks = webhooks::WebhookState {
        storage: app.storage.clone(),
        ingest: app.ingest.clone(),
        accounts: app.accounts.clone(),
        carriers: app.carriers.clone(),
        public_base: app.public_base.clone(),
    };
    let keys = app.accounts.key().clone();
    let api = api::ApiState {
        storage: app.storage.clone(),
        accounts: app.accounts,
        carriers: app.carriers,
        agent_runtime: app.agent_runtime,
        ingest: app.ingest,
        public_base: app.public_base,
    };
    let mut routes = Route::new();
    for kind in CarrierKind::ALL {
        routes = routes.nest(format!("/webhooks/{kind}"), webhooks::routes(webhooks.clone(), *kind));
    }
    routes = api::add_to(routes, api, app.docs);
    if let Some(console) = app.console {
        routes = routes.at("/", get(to_console)).nest("/console", console::routes(console));
    }
    health::add_to(routes, app.storage, keys, app.draining)
}

/// Where a person goes who opens the address of `textback dev`. The console reads the query.
#[handler]
fn to_console(request: &Request) -> Response {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    StatusCode::SEE_OTHER.with_header(header::LOCATION, format!("/console{query}")).into_response()
}

/// Wraps all routes of an address: path checks, problem responses, security headers for browsers,
/// request ids and log lines.
pub fn edge<E: Endpoint<Output = Response> + 'static>(routes: E) -> impl Endpoint<Output = Response> + 'static {
    routes.around(answer_all).around(access_log::log).around(request_id::identify)
}

/// The same for the simulated carrier of `textback dev`.
pub fn edge_of_carrier<E: Endpoint<Output = Response> + 'static>(
    routes: E,
) -> impl Endpoint<Output = Response> + 'static {
    routes.around(answer_all).around(access_log::log_of_carrier).around(request_id::identify)
}

/// Health and metrics, on an address that the carrier can't reach.
pub fn health_routes(
    storage: Storage,
    keys: SecretKeys,
    draining: Draining,
    observed: Observed,
) -> impl Endpoint<Output = Response> + 'static {
    edge(metrics::add_to(health::add_to(Route::new(), storage, keys, draining), observed))
}

/// The longest path of any route. A name in a path has at most 100 characters, each of up to nine
/// bytes when encoded.
const LONGEST_PATH: usize = 1024;

/// Turns poem's refusals into problem responses, and adds the security headers to every response.
async fn answer_all<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    if !is_valid_path(request.uri().path()) {
        let not_found = Problem::new(StatusCode::NOT_FOUND, "not_found", "this path does not exist");
        return Ok(with_security_headers(not_found.as_response()));
    }
    // Whoever decides by one of two values decides against a proxy that decides by the other.
    for (name, shown) in [(header::HOST, "Host"), (header::AUTHORIZATION, "Authorization")] {
        if let Err(refused) = headers::once(request.headers(), &name, shown) {
            return Ok(with_security_headers(refused.before_the_body().as_response()));
        }
    }
    answer_errors(next, request).await.map(with_security_headers)
}

/// Whether a path is short enough, valid UTF-8 and without NUL. PostgreSQL can't store any other
/// text.
fn is_valid_path(path: &str) -> bool {
    if path.len() > LONGEST_PATH {
        return false;
    }
    if !path.contains('%') {
        return true;
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8();
    decoded.is_ok_and(|decoded| !decoded.contains('\0'))
}

/// Adds the headers that the response does not set itself: no caching, no content sniffing, no
/// framing, no referrer.
fn with_security_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn answer_errors<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.call(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => {
            let operation = error.data::<OperationId>().copied();
            let mut response = problem::from_error(error).await;
            if let Some(operation) = operation {
                response.set_data(operation);
            }
            Ok(response)
        }
        Err(_) => Ok(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_slow",
            format!("the request took longer than {} s and was cancelled; try again", REQUEST_TIMEOUT.as_secs()),
        )
        .as_response()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_short_valid_text_without_nul() {
        for path in ["/", "/v1/templates/gr%C3%BC%C3%9Fe", "/v1/100%", "/webhooks/twilio/abc/messages"] {
            assert!(is_valid_path(path), "{path}");
        }
        for path in ["/v1/templates/%00", "/webhooks/twilio/a%00b/messages", "/v1/templates/%ff", "/v1/%ed%a0%80"] {
            assert!(!is_valid_path(path), "{path}");
        }
        assert!(!is_valid_path(&"/a".repeat(1024)));
    }
}
