//! The operators' door: the OpenAPI of everything below `/v1`; it speaks JSON and problems, and asks the storage.

mod agents;
mod auth;
mod available_numbers;
mod carrier;
mod consents;
mod countries;
mod lists;
mod media;
mod messages;
mod numbers;
mod project;
mod sessions;
mod templates;
mod usage;

use std::sync::{Arc, LazyLock};

use poem::http::Method;
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Route};
use poem_openapi::{LicenseObject, OpenApiService, Tags};

use auth::Gate;

use crate::agents::AgentRuntime;
use crate::carriers::twilio::Client;
use crate::http::body::{self, Reading};
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;

/// Scripts are the longest thing that comes in: 256 kB, and JSON may double it.
const MOST_BYTES_OF_AN_AGENT: usize = 1 << 20;
/// A text has at most 64 kB of variables ([`crate::domain::bounds::VARIABLES_BYTES`]) and ten URLs of 4,000 characters.
const MOST_BYTES_OF_A_TEXT: usize = 128 << 10;
/// All other requests are short. Parsed JSON takes about twenty times its bytes, so no limit is larger than necessary.
const MOST_BYTES: usize = 64 << 10;

/// What the door needs.
#[derive(Clone)]
pub struct ApiState {
    pub storage: Storage,
    pub accounts: Accounts,
    pub carrier: Client,
    /// What looks at scripts and services.
    pub agent_runtime: AgentRuntime,
    /// Where the carrier reaches us, without a slash at its end.
    pub public_base: Arc<str>,
}

/// How operations are grouped in the document.
#[derive(Tags)]
enum Group {
    /// The project's settings.
    Project,
    /// The project's account at the carrier.
    Carrier,
    /// Who answers.
    Agents,
    /// What people text to.
    Numbers,
    /// Conversations and their messages.
    Sessions,
    /// Texts that the project begins.
    Messages,
    /// Named texts with variables.
    Templates,
    /// Who wants texts.
    Consents,
}

type Apis = (
    project::Api,
    usage::Api,
    carrier::Api,
    agents::Api,
    available_numbers::Api,
    numbers::Api,
    countries::Api,
    sessions::Api,
    messages::Api,
    templates::Api,
    consents::Api,
    media::Api,
);
type Service = OpenApiService<Apis, ()>;

fn service() -> Service {
    let apis = (
        project::Api,
        usage::Api,
        carrier::Api,
        agents::Api,
        available_numbers::Api,
        numbers::Api,
        countries::Api,
        sessions::Api,
        messages::Api,
        templates::Api,
        consents::Api,
        media::Api,
    );
    OpenApiService::new(apis, "textback", env!("CARGO_PKG_VERSION"))
        .description(
            "Answers text messages.\n\nKeys: `Authorization: Bearer tb_…`, made by `textback project create`; a key is always of one \
             project. Errors: `application/problem+json` (RFC 9457) with a stable `code`. Lists: `{items, next_cursor}`, asked with \
             `cursor` and `limit`. Times: RFC 3339. Ids: UUIDv7.",
        )
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
        .url_prefix("/v1")
}

/// The values that an enum of the document allows, by the enum's name.
pub fn values_of(name: &str) -> Option<Vec<String>> {
    static DOCUMENT: LazyLock<serde_json::Value> =
        LazyLock::new(|| serde_json::from_str(&service().spec()).unwrap_or_default());
    let values = DOCUMENT.pointer(&format!("/components/schemas/{name}/enum"))?.as_array()?;
    Some(values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
}

/// The OpenAPI document, as it is committed in `openapi/textback.yaml`.
pub fn document() -> String {
    // A number of serde_json's that keeps its digits passes for an object with one field in YAML; another crate asks for
    // that. It stands on a line of its own below the name of the value.
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

/// Adds `/v1`, and on request `/docs` and `/openapi.yaml`.
pub fn add_to(routes: Route, door: ApiState, with_docs: bool) -> Route {
    let service = service();
    let docs = with_docs.then(|| service.swagger_ui());
    let gate = Gate::new(door.storage.clone());
    let bounded = service.data(door).around(move |next, request| {
        let gate = gate.clone();
        async move { bounded(next, request, &gate).await }
    });
    let routes = routes.nest("/v1", bounded);
    let Some(docs) = docs else { return routes };
    let document = document();
    let document = poem::endpoint::make_sync(move |_| {
        poem::Response::builder().content_type("application/yaml").body(document.clone())
    });
    // The page of Swagger UI contains its scripts and styles.
    let docs = docs.map_to_response().map(|page: poem::Response| async move {
        page.with_header("Content-Security-Policy", "frame-ancestors 'none'")
    });
    routes.nest("/docs", docs).at("/openapi.yaml", document)
}

/// Checks the key before a byte of the body is read, and reads the body here, so that no request can exceed its memory
/// limit.
async fn bounded<E: Endpoint>(next: Arc<E>, mut request: Request, gate: &Gate) -> poem::Result<E::Output> {
    let key = gate.admit(&request).await.map_err(|refused| match body::is_announced(&request) {
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
    request.extensions_mut().insert(key);
    let mut held = body::read(request.take_body(), reading).await?;
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
        (true, "/messages") => MOST_BYTES_OF_A_TEXT,
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
