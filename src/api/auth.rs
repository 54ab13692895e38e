//! API keys at the door: whose they are and what they may do; it never tells why a key is wrong.

use poem::Request;
use poem::http::StatusCode;
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use uuid::Uuid;

use super::Door;
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

async fn authenticate(request: &Request, bearer: Bearer) -> poem::Result<Key> {
    let Some(door) = request.data::<Door>() else {
        return Err(poem::Error::from_status(StatusCode::INTERNAL_SERVER_ERROR));
    };
    match key::find(&door.ledger, &bearer.token).await {
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "api_key_invalid",
            "this API key is not valid; textback project create makes one",
        )
        .into()),
        Err(error) => Err(Problem::from(error).into()),
    }
}
