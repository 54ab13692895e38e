//! `/v1/media`: what came with texts, fetched from the carrier when somebody asks; it keeps no
//! bytes.

use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Binary;
use poem_openapi::{ApiResponse, OpenApi};
use uuid::Uuid;

use super::auth::Caller;
use super::{ApiState, Group};
use crate::carriers::media::MediaError;
use crate::domain::message::Direction;
use crate::http::problem::Problem;
use crate::storage::attachment;

/// `/v1/media`
pub struct Api;

#[derive(ApiResponse)]
enum Fetched {
    /// The file
    #[oai(status = 200)]
    Attachment(
        Binary<Vec<u8>>,
        /// The type that the carrier gave.
        #[oai(header = "Content-Type")]
        String,
        /// Always `attachment`.
        #[oai(header = "Content-Disposition")]
        String,
        /// Always `nosniff`.
        #[oai(header = "X-Content-Type-Options")]
        String,
    ),
}

#[OpenApi(tag = "Group::Sessions")]
impl Api {
    /// Fetch a file of an inbound message
    ///
    /// It is fetched from the carrier with the project's credentials, which are sent to no other
    /// server. It may have up to 16 MiB and be an image, a sound, a video, a contact card, a
    /// calendar, a PDF or plain text.
    #[oai(path = "/media/:id", method = "get", operation_id = "get_medium")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Fetched, Problem> {
        let found = attachment::find(&mut *state.storage.connection().await?, caller.reader(), *id).await?;
        let found =
            found.filter(|found| found.direction == Direction::Inbound).ok_or_else(|| Problem::not_found("medium"))?;
        let account = state.accounts.of_project(caller.reader()).await?;
        let account = account.ok_or_else(|| {
            Problem::conflict(
                "carrier_account_missing",
                "the project has no carrier account; give it one: PUT /v1/carrier",
            )
        })?;
        let fetched = state.carriers.of(&account).fetch_media(&account, &found.url).await.map_err(of_fetching)?;
        let bytes = i64::try_from(fetched.bytes.len()).unwrap_or(i64::MAX);
        attachment::measure(&mut *state.storage.connection().await?, found.id, &fetched.content_type, bytes).await?;
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
