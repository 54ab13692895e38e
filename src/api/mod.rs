//! The operators' door: the OpenAPI of everything below `/v1`; it speaks JSON and problems, and asks the ledger.

mod agents;
mod auth;
mod carrier;
pub mod health;
mod lists;
mod numbers;
mod sessions;

use std::sync::Arc;

use poem::http::StatusCode;
use poem::{Endpoint, EndpointExt, Request, Route};
use poem_openapi::{LicenseObject, OpenApiService, Tags};

use crate::agent::Means;
use crate::carrier::Client;
use crate::ledger::Ledger;
use crate::ledger::carrier_account::Accounts;
use crate::problem::Problem;

/// Scripts are the longest thing that comes in: 256 kB, and JSON may double it.
const MOST_BYTES: usize = 1 << 20;

/// What the door needs.
#[derive(Clone)]
pub struct Door {
    pub ledger: Ledger,
    pub accounts: Accounts,
    pub carrier: Client,
    /// What looks at scripts and services.
    pub means: Means,
    /// Where the carrier reaches us, without a slash at its end.
    pub public_base: Arc<str>,
}

/// How operations are grouped in the document.
#[derive(Tags)]
enum Group {
    /// The project's account at the carrier.
    Carrier,
    /// Who answers.
    Agents,
    /// What people text to.
    Numbers,
    /// Conversations and their messages.
    Sessions,
}

type Service = OpenApiService<(carrier::Api, agents::Api, numbers::Api, sessions::Api), ()>;

fn service() -> Service {
    OpenApiService::new((carrier::Api, agents::Api, numbers::Api, sessions::Api), "textback", env!("CARGO_PKG_VERSION"))
        .description(
            "Answers text messages.\n\nKeys: `Authorization: Bearer tb_…`, made by `textback project create`; a key is always of one \
             project. Errors: `application/problem+json` (RFC 9457) with a stable `code`. Lists: `{items, next_cursor}`, asked with \
             `cursor` and `limit`. Times: RFC 3339. Ids: UUIDv7.",
        )
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .url_prefix("/v1")
}

/// The OpenAPI document, as it is committed in `openapi/textback.yaml`.
pub fn document() -> String {
    service().spec_yaml()
}

/// Adds `/v1`, `/docs` and `/openapi.yaml`.
pub fn add_to(routes: Route, door: Door) -> Route {
    let service = service();
    let (docs, document) = (service.swagger_ui(), service.spec_endpoint_yaml());
    routes.nest("/v1", service.data(door).around(bounded)).nest("/docs", docs).at("/openapi.yaml", document)
}

/// Reads the body here, so that no request can make us hold more than it may.
async fn bounded<E: Endpoint>(next: Arc<E>, mut request: Request) -> poem::Result<E::Output> {
    let body = request.take_body();
    let bytes = body.into_bytes_limit(MOST_BYTES).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body is over {MOST_BYTES} bytes or broke off"),
        )
    })?;
    request.set_body(bytes);
    next.call(request).await
}
