//! `/v1/consents`: who opted out of texts and in again, as it was said; it changes nothing that was said.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::domain::consent::ConsentKind;
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::storage::{consent, number};

/// `/v1/consents`
pub struct Api;

/// What a contact wants.
#[derive(Enum, Clone, Copy)]
#[oai(rename = "ConsentKind", rename_all = "snake_case")]
enum Kind {
    /// No texts.
    OptedOut,
    /// Texts.
    OptedIn,
}

/// What was once said about texts. The newest record of a number and a contact counts.
#[derive(Object)]
struct Consent {
    id: Uuid,
    /// Our number.
    number: String,
    contact: String,
    /// `opted_out` or `opted_in`.
    kind: String,
    /// `keyword` (the contact texted it), `carrier` (it refused a text, 21610) or `operator`.
    source: String,
    /// What the contact texted, or the operator's note.
    said: Option<String>,
    message_id: Option<Uuid>,
    recorded_at: DateTime<Utc>,
}

/// What a contact said in another way than by a text.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewConsent {
    /// A number of the project's.
    number: String,
    /// In E.164.
    contact: String,
    /// `opted_out` cancels what is planned and ends the session. The carrier has a record of its own: what is opted in
    /// here and not there is refused there.
    kind: Kind,
    /// How it was said, for whoever asks later.
    #[oai(validator(max_length = 1600))]
    note: Option<String>,
}

#[derive(ApiResponse)]
enum ConsentRecorded {
    /// It is recorded
    #[oai(status = 201)]
    Recorded(Json<Consent>),
}

#[OpenApi(tag = "Group::Consents")]
impl Api {
    /// List what was said about texts, newest first
    #[oai(path = "/consents", method = "get", operation_id = "list_consents")]
    async fn list(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        /// Only to this number of ours.
        number: Query<Option<String>>,
        /// Only by this contact.
        contact: Query<Option<String>>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Consent>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        let filter = consent::Filter { number: number.0, contact: contact.0 };
        Ok(Json(List::of(
            consent::list(&mut *door.storage.connection().await?, caller.reader(), &filter, cursor, limit).await?,
        )))
    }

    /// Record what a contact said in another way than by a text
    #[oai(path = "/consents", method = "post", operation_id = "record_consent")]
    async fn record(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        body: Json<NewConsent>,
    ) -> Result<ConsentRecorded, Problem> {
        let project_id = caller.writer()?;
        let NewConsent { number, contact, kind, note } = body.0;
        if !phone_number::is_e164(&contact) {
            return Err(Problem::invalid(
                "contact_not_e164",
                format!("contact is {contact:?}, which is not in E.164, such as +14155550101"),
            ));
        }
        let mut connection = door.storage.connection().await?;
        let Some(found) = number::find_by_number(&mut connection, project_id, &number).await? else {
            return Err(Problem::invalid("number_not_ours", format!("{number:?} is not a number of this project")));
        };
        let kind = match kind {
            Kind::OptedOut => ConsentKind::OptedOut,
            Kind::OptedIn => ConsentKind::OptedIn,
        };
        let said = consent::NewConsent { project_id, number_id: found.id, contact, kind, note };
        let recorded = consent::record(&mut connection, &said).await?;
        Ok(ConsentRecorded::Recorded(Json(recorded.into())))
    }
}

impl From<consent::Consent> for Consent {
    fn from(consent: consent::Consent) -> Self {
        Self {
            id: consent.id,
            number: consent.number,
            contact: consent.contact,
            kind: consent.kind.to_string(),
            source: consent.source.to_string(),
            said: consent.said,
            message_id: consent.message_id,
            recorded_at: consent.recorded_at,
        }
    }
}
