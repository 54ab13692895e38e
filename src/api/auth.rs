//! API keys: looked at before a byte of the body is read; whose they are and what they may do; it never tells why a key is wrong.

use poem::Request;
use poem::http::{StatusCode, header};
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use uuid::Uuid;

use super::Door;
use crate::guesses::{Guesses, MOST_GUESSES, WAIT_SECONDS};
use crate::ledger::key::{self, Key};
use crate::problem::Problem;

/// An API key of a project, as `textback project create` prints it.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", rename = "ApiKey", checker = "authenticate")]
pub struct Caller(Key);

impl Caller {
    /// The project of a caller that only looks.
    pub fn reader(&self) -> Uuid {
        self.0.project_id
    }

    /// The project of a caller that changes something.
    pub fn writer(&self) -> Result<Uuid, Problem> {
        if self.0.scopes.iter().any(|scope| scope == "admin") {
            Ok(self.0.project_id)
        } else {
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                "scope_missing",
                "this key may only read; use one with the scope admin",
            ))
        }
    }
}

/// Whom the key of a request speaks for.
pub async fn admit(door: &Door, guesses: &Guesses, request: &Request) -> Result<Key, Problem> {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        given.and_then(|given| given.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, token)) = token else { return Err(Problem::key_missing()) };
    if let Some(key) = key::find(&door.ledger, token.trim()).await? {
        return Ok(key);
    }
    if guesses.note(request).await {
        metrics::counter!("textback_wrong_keys_total", "answer" => "429").increment(1);
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_wrong_keys",
            format!("more than {MOST_GUESSES} wrong API keys came from this address; a right key is taken at any time"),
        )
        .retry_after(WAIT_SECONDS));
    }
    metrics::counter!("textback_wrong_keys_total", "answer" => "401").increment(1);
    Err(Problem::new(
        StatusCode::UNAUTHORIZED,
        "api_key_invalid",
        "this API key is not valid; textback project create makes one",
    ))
}

/// The key that [`admit`] found.
async fn authenticate(request: &Request, _: Bearer) -> poem::Result<Key> {
    request.extensions().get::<Key>().cloned().ok_or_else(|| Problem::key_missing().into())
}
