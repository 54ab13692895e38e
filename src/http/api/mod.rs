//! The API below `/v1` and its OpenAPI document.

mod agents;
mod attachable;
mod auth;
mod available_numbers;
mod carrier;
mod changes;
mod consents;
mod countries;
mod lists;
pub mod local;
mod media;
mod messages;
mod numbers;
mod project;
mod quarantine;
mod request_check;
mod sessions;
mod span;
mod templates;
mod texts;
mod usage;
mod visible;

use std::sync::Arc;
use std::time::Instant;

use poem::error::ResponseError;
use poem::http::{Method, StatusCode};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Route};
use poem_openapi::{LicenseObject, OpenApi, OpenApiService, Tags};

use auth::Authenticator;
use request_check::{Given, Operations};
use span::ApiSpan;

use crate::agents::AgentRuntime;
use crate::carriers::Carriers;
use crate::http::body::{self, Reading};
use crate::http::query;
use crate::http::request_id;
use crate::jobs::ingest::Ingest;
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;
use crate::telemetry::metrics;

/// A script may have 256 kB, and JSON may double it.
const MOST_BYTES_OF_AN_AGENT: usize = 1 << 20;
/// A message has at most 64 kB of variables ([`crate::domain::bounds::VARIABLES_BYTES`]) and ten
/// URLs of 4,000 characters.
const MOST_BYTES_OF_A_MESSAGE: usize = 128 << 10;
/// All other requests are short. Parsed JSON takes about twenty times its bytes, so no limit is
/// larger than necessary.
const MOST_BYTES: usize = 64 << 10;

/// What the operations need.
#[derive(Clone)]
pub struct ApiState {
    pub storage: Storage,
    pub accounts: Accounts,
    pub carriers: Carriers,
    /// Checks scripts and the addresses of services.
    pub agent_runtime: AgentRuntime,
    /// Stores messages that are replayed.
    pub ingest: Ingest,
    /// The address at which the carrier reaches us, without a slash at its end.
    pub public_base: Arc<str>,
}

/// How operations are grouped in the document.
#[derive(Tags)]
enum Group {
    /// The project's settings and limits.
    Project,
    /// The project's account at the carrier.
    Carrier,
    /// What answers messages.
    Agents,
    /// The project's numbers, and the countries they are in.
    Numbers,
    /// Conversations and their messages.
    Sessions,
    /// Messages that the project sends, now or later.
    Messages,
    /// Named texts with variables.
    Templates,
    /// Opt-outs and opt-ins.
    Consents,
    /// What came in and fits no session.
    Quarantine,
}

/// All operations.
fn service() -> OpenApiService<impl OpenApi, ()> {
    let apis = (
        project::Api,
        usage::Api,
        carrier::Api,
        agents::Api,
        agents::environments::Api,
        available_numbers::Api,
        numbers::Api,
        countries::Api,
        sessions::Api,
        messages::Api,
        templates::Api,
        consents::Api,
        quarantine::Api,
        media::Api,
    );
    OpenApiService::new(apis, "textback", env!("CARGO_PKG_VERSION"))
        .description(
            "Answers text messages.\n\nKeys: `Authorization: Bearer tb_…`. `textback project create` makes a key. A key belongs to \
             one project. Errors: `application/problem+json` (RFC 9457) with a stable `code`. A parameter, header or field that is \
             unknown, repeated or out of form is refused (400), and the `detail` names it. Lists: `{items, next_cursor}`, with \
             the parameters `cursor` and `limit`. Times: RFC 3339. Ids: UUIDv7. A field without a value is left out of an \
             answer; no answer has a null. Each answer has `X-Request-Id`: that of the request (1 to 128 \
             visible ASCII characters), or a new one.",
        )
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .server("/")
        .url_prefix("/v1")
}

/// The OpenAPI document, as it is committed in `openapi/textback.yaml`.
pub fn document() -> String {
    // With serde_json's arbitrary_precision, which starlark enables, YAML shows a number as an
    // object with one field. That field is on a line of its own below the name of the value.
    let mut lines: Vec<String> = Vec::new();
    for line in service().spec_yaml().lines() {
        match (line.trim_start().strip_prefix("$serde_json::private::Number: "), lines.last_mut()) {
            (Some(number), Some(name)) => {
                name.push(' ');
                name.push_str(number.trim_matches('\''));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

/// The same document as JSON, for tests and tools.
pub fn document_as_json() -> String {
    service().spec()
}

/// What each operation accepts, by the document.
fn operations() -> Arc<Operations> {
    let document = serde_json::from_str(&document_as_json()).unwrap_or_default();
    Arc::new(Operations::of(&document, "/v1"))
}

/// Adds `/v1`, and on request `/docs` and `/openapi.yaml`.
pub fn add_to(routes: Route, state: ApiState, with_docs: bool) -> Route {
    let service = service();
    let docs = with_docs.then(|| service.swagger_ui());
    let operations = operations();
    let authenticator = Authenticator::new(state.storage.clone());
    let bounded = service.data(state).around(move |next, mut request| {
        let (authenticator, operations) = (authenticator.clone(), operations.clone());
        async move {
            let operation = operations.named(request.method(), request.uri().path());
            let measured = Measured::begin(operation.map_or(metrics::NONE, |operation| operation.id));
            let mut span = ApiSpan::begin(&mut request, operation.map(|operation| operation.route));
            let checks = (&authenticator, &*operations);
            let answer = bounded(next, request, checks, &mut span).await.map(IntoResponse::into_response);
            span.end(&answer);
            measured.end(answer.as_ref().map_or_else(poem::Error::status, poem::Response::status));
            answer
        }
    });
    let routes = routes.nest("/v1", bounded);
    let Some(docs) = docs else { return routes };
    let document = document();
    let document = poem::endpoint::make_sync(move |request| match query::none(&request) {
        Ok(()) => poem::Response::builder().content_type("application/yaml").body(document.clone()),
        Err(refused) => refused.as_response(),
    });
    // The page of Swagger UI contains its scripts and styles.
    let docs = docs.map_to_response().around(|next, request| async move {
        query::none(&request)?;
        next.call(request).await.map(|page| page.with_header("Content-Security-Policy", "frame-ancestors 'none'"))
    });
    routes.nest("/docs", docs).at("/openapi.yaml", document)
}

/// A request whose time is measured. One that is dropped is counted too, without a status: its
/// client went away, or it took too long.
struct Measured {
    operation: &'static str,
    began: Instant,
    status: &'static str,
}

impl Measured {
    fn begin(operation: &'static str) -> Self {
        Self { operation, began: Instant::now(), status: metrics::NONE }
    }

    /// Ends with a status.
    fn end(mut self, status: StatusCode) {
        self.status = match status.as_u16() {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        metrics::API_REQUEST_SECONDS.record(&[self.operation], self.began.elapsed());
        metrics::API_REQUESTS.count(&[self.operation, self.status]);
    }
}

/// Checks the key before a byte of the body is read, reads the body here, so that no request can
/// exceed its memory limit, and checks the request against the document.
async fn bounded<E: Endpoint>(
    next: Arc<E>,
    mut request: Request,
    (authenticator, operations): (&Authenticator, &Operations),
    span: &mut ApiSpan,
) -> poem::Result<E::Output> {
    let key = authenticator.key_of(&request).await.map_err(|refused| match body::is_announced(&request) {
        true => refused.before_the_body(),
        false => refused,
    })?;
    let reading = Reading {
        declared: body::declared(&request),
        most: most_bytes_of(request.method(), request.uri().path()),
        within: body::READ_WITHIN,
        owner: key.project_id,
        budget: body::of_requests(),
    };
    request_id::record_project(key.project_id);
    span.of_project(key.project_id);
    request.extensions_mut().insert(key);
    let mut held = body::read(request.take_body(), reading).await?;
    operations.check(&Given::of(&request, held.bytes()))?;
    request.set_body(held.take());
    // The body counts against the limit until the request is answered.
    let answer = next.call(request).await;
    drop(held);
    answer
}

/// The largest body of an operation, by its path below `/v1`.
fn most_bytes_of(method: &Method, path: &str) -> usize {
    let carries_a_source = path == "/agents" || (path.starts_with("/agents/") && path.ends_with("/versions"));
    match (*method == Method::POST, path) {
        (true, _) if carries_a_source => MOST_BYTES_OF_AN_AGENT,
        (true, "/messages") => MOST_BYTES_OF_A_MESSAGE,
        _ => MOST_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_carries_a_source_may_be_long() {
        for (method, path, most) in [
            (Method::POST, "/agents", 1 << 20),
            (Method::POST, "/agents/0198/versions", 1 << 20),
            (Method::POST, "/messages", 128 << 10),
            (Method::POST, "/agents/0198/signing-secret", 64 << 10),
            (Method::GET, "/agents", 64 << 10),
            (Method::PUT, "/templates/a", 64 << 10),
            (Method::PATCH, "/project", 64 << 10),
        ] {
            assert_eq!(most_bytes_of(&method, path), most, "{method} {path}");
        }
    }
}
