//! `/v1/consents`: the append-only record of opt-outs and opt-ins.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::visible::visible;
use super::{ApiState, Group};
use crate::channels;
use crate::domain::consent::{ConsentKind, ConsentSource};
use crate::http::problem::Problem;
use crate::storage::{consent, number};

/// `/v1/consents`
pub struct Api;

/// An opt-out or opt-in. The newest record of a number and a contact applies.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Consent {
    id: Uuid,
    /// Our number. Left out on a channel without numbers.
    number: Option<String>,
    contact: String,
    kind: ConsentKind,
    source: ConsentSource,
    /// The contact's message, or the operator's note.
    said: Option<String>,
    message_id: Option<Uuid>,
    recorded_at: DateTime<Utc>,
}

/// What a contact said in another way than by a message. `opted_out` cancels planned messages and
/// ends the session. The carrier keeps its own record: a contact that is opted in only here is
/// still refused there.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewConsent {
    /// A number of the project.
    number: String,
    /// The contact's number in E.164, or as its texts come.
    contact: String,
    kind: ConsentKind,
    /// How the contact said it, as evidence.
    #[oai(validator(max_length = 1600))]
    note: Option<String>,
}

#[derive(ApiResponse)]
enum ConsentRecorded {
    /// The record was made
    #[oai(status = 201)]
    Recorded(Json<Consent>),
}

#[OpenApi(tag = "Group::Consents")]
impl Api {
    /// List opt-outs and opt-ins, newest first
    #[oai(path = "/consents", method = "get", operation_id = "list_consents")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        /// Only for this number of the project, attached or detached. Another number is refused.
        number: Query<Option<String>>,
        /// Only of this contact.
        contact: Query<Option<String>>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Consent>>, Problem> {
        let (cursor, limit) = (List::<Consent>::cursor(cursor.0)?, lists::limit(limit.0)?);
        let number = lists::number(&state, caller.reader(), number.0).await?;
        let contact = lists::contact(contact.0)?;
        let filter = consent::Filter { number, contact };
        Ok(Json(List::of(
            consent::list(&mut *state.storage.connection().await?, caller.reader(), &filter, cursor, limit).await?,
        )))
    }

    /// Record an opt-out or opt-in that did not come as a message
    #[oai(path = "/consents", method = "post", operation_id = "record_consent")]
    async fn record(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        body: Json<NewConsent>,
    ) -> Result<ConsentRecorded, Problem> {
        let project_id = caller.writer()?;
        let NewConsent { number, contact, kind, note } = body.0;
        visible("note", note.as_deref(), "leave it out to have none")?;
        let contact = lists::check_contact(contact, "")?;
        let mut connection = state.storage.connection().await?;
        let Some(found) = number::find_by_number(&mut connection, project_id, &number).await? else {
            return Err(Problem::invalid("number_not_ours", format!("{number:?} is not a number of this project")));
        };
        let channel = channels::of_numbers().kind();
        let said = consent::NewConsent { project_id, endpoint_id: found.id, contact, channel, kind, note };
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
            kind: consent.kind,
            source: consent.source,
            said: consent.said,
            message_id: consent.message_id,
            recorded_at: consent.recorded_at,
        }
    }
}
