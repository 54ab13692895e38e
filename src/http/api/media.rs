//! `/v1/media`: what came with texts, fetched from the carrier when somebody asks; it keeps no bytes.

use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Binary;
use poem_openapi::{ApiResponse, OpenApi};
use uuid::Uuid;

use super::auth::Caller;
use super::{ApiState, Group};
use crate::carriers::twilio::media::MediaError;
use crate::domain::message::Direction;
use crate::http::problem::Problem;
use crate::storage::attachment;

/// `/v1/media`
pub struct Api;

#[derive(ApiResponse)]
enum Fetched {
    /// The medium
    #[oai(status = 200)]
    Attachment(
        Binary<Vec<u8>>,
        /// What it is, as the carrier says.
        #[oai(header = "Content-Type")]
        String,
        /// Never shown as a page of ours.
        #[oai(header = "Content-Disposition")]
        String,
        /// Nothing else than what it says it is.
        #[oai(header = "X-Content-Type-Options")]
        String,
    ),
}

#[OpenApi(tag = "Group::Sessions")]
impl Api {
    /// Fetch a medium of an inbound text
    ///
    /// It is fetched from the carrier with the project's credentials, which go to the carrier only. 16 MiB at most;
    /// images, sounds, films, contact cards, calendars, PDF and plain text.
    #[oai(path = "/media/:id", method = "get", operation_id = "get_medium")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Fetched, Problem> {
        let found = attachment::find(&mut *door.storage.connection().await?, caller.reader(), *id).await?;
        let found =
            found.filter(|found| found.direction == Direction::Inbound).ok_or_else(|| Problem::not_found("medium"))?;
        let account = door.accounts.of_project(caller.reader()).await?;
        let account = account.ok_or_else(|| {
            Problem::conflict(
                "carrier_account_missing",
                "the project has no carrier account; give it one: PUT /v1/carrier",
            )
        })?;
        let fetched = door.carrier.fetch_medium(&account, &found.url).await.map_err(of_fetching)?;
        let bytes = i64::try_from(fetched.bytes.len()).unwrap_or(i64::MAX);
        attachment::measure(&mut *door.storage.connection().await?, found.id, &fetched.content_type, bytes).await?;
        Ok(Fetched::Attachment(
            Binary(fetched.bytes),
            fetched.content_type,
            "attachment".to_owned(),
            "nosniff".to_owned(),
        ))
    }
}

fn of_fetching(error: MediaError) -> Problem {
    let (status, code) = match &error {
        MediaError::Elsewhere(_) => (StatusCode::BAD_GATEWAY, "medium_elsewhere"),
        MediaError::Gone => (StatusCode::GONE, "medium_gone"),
        MediaError::TooLarge => (StatusCode::BAD_GATEWAY, "medium_too_large"),
        MediaError::NotAllowed(_) => (StatusCode::BAD_GATEWAY, "medium_type_refused"),
        MediaError::Failed(_) => (StatusCode::BAD_GATEWAY, "carrier_failed"),
    };
    Problem::new(status, code, error.to_string())
}
