//! `/v1/quarantine`: what came in and fits no session, listed, read, and processed again.

use chrono::{DateTime, Utc};
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::carriers::message::Listing;
use crate::domain::bounds;
use crate::domain::message::SkipReason;
use crate::domain::quarantine::{QuarantineKind, ReplayOutcome, is_reason, meant_by};
use crate::http::problem::Problem;
use crate::jobs::ingest::NotIngested;
use crate::jobs::replay::{Replay, ReplayError, Replayed};
use crate::storage::quarantine;

/// `/v1/quarantine`
pub struct Api;

/// Something that came in and fits no session or delivery.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct QuarantineItem {
    id: Uuid,
    kind: QuarantineKind,
    /// Why it fits nothing, such as `number_not_attached`, or the name of the rule of the database
    /// that refused it.
    reason: String,
    /// The carrier's id of the message.
    carrier_id: Option<String>,
    received_at: DateTime<Utc>,
    /// When it was replayed. Left out while it still fits nothing.
    replayed_at: Option<DateTime<Utc>>,
    replay_outcome: Option<ReplayOutcome>,
}

/// A parameter of a request.
#[derive(Object)]
struct Parameter {
    name: String,
    value: String,
}

/// Something in quarantine with all that it says. It holds personal data: the contact's number and
/// text.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct WholeQuarantineItem {
    id: Uuid,
    kind: QuarantineKind,
    /// Why it fits nothing, such as `number_not_attached`, or the name of the rule of the database
    /// that refused it.
    reason: String,
    /// The carrier's id of the message.
    carrier_id: Option<String>,
    received_at: DateTime<Utc>,
    /// When it was replayed. Left out while it still fits nothing.
    replayed_at: Option<DateTime<Utc>>,
    replay_outcome: Option<ReplayOutcome>,
    /// The parameters of the request, decoded, in the order they came. What is not UTF-8 is shown
    /// as U+FFFD.
    parameters: Option<Vec<Parameter>>,
    /// What is no request: the state of a session, or a message as the carrier's list has it.
    document: Option<String>,
}

/// What became of something that was processed again.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ReplayResult {
    id: Uuid,
    outcome: ReplayOutcome,
    /// Why it still fits nothing, or why no turn answers the message.
    reason: Option<String>,
    /// The session of the message.
    session_id: Option<Uuid>,
    message_id: Option<Uuid>,
    /// When it was replayed first. Left out while it still fits nothing.
    replayed_at: Option<DateTime<Utc>>,
}

#[OpenApi(tag = "Group::Quarantine")]
impl Api {
    /// List what is in quarantine, newest first
    ///
    /// The items have no parameters. `GET /v1/quarantine/{id}` has them.
    #[oai(path = "/quarantine", method = "get", operation_id = "list_quarantine")]
    #[expect(clippy::too_many_arguments, reason = "each one is a query parameter")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        /// Only of this kind.
        kind: Query<Option<QuarantineKind>>,
        /// Only for this reason: `foreign_account`, `no_message_id`, `channel_not_supported`,
        /// `sender_cannot_be_answered`, `number_not_attached`, `media_url_too_long`,
        /// `status_not_understood`, `delivery_unknown`, `session_unreadable`, the name of a
        /// constraint of the database, or `refused_by_the_database_` with the code of its error.
        /// Another word is refused.
        reason: Query<Option<String>>,
        /// Only what came at this time or later.
        since: Query<Option<DateTime<Utc>>>,
        /// Only what was replayed (true) or was not (false).
        replayed: Query<Option<bool>>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<QuarantineItem>>, Problem> {
        let (cursor, limit) = (List::<QuarantineItem>::cursor(cursor.0)?, lists::limit(limit.0)?);
        let project_id = caller.reader();
        if let Some(reason) = &reason.0 {
            known_reason(&state, project_id, reason).await?;
        }
        let filter = quarantine::Filter { kind: kind.0, reason: reason.0, since: since.0, replayed: replayed.0 };
        Ok(Json(List::of(
            quarantine::list(&mut *state.storage.connection().await?, project_id, &filter, cursor, limit).await?,
        )))
    }

    /// Read what is in quarantine, with the contact's number and text
    #[oai(path = "/quarantine/:id", method = "get", operation_id = "get_quarantine_item")]
    async fn get(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<WholeQuarantineItem>, Problem> {
        Ok(Json(find(&state, caller.reader(), *id).await?.into()))
    }

    /// Process again what is in quarantine, as if it came now
    ///
    /// Use it when the reason is gone, for example after the number was attached. What was replayed
    /// once is not processed again: the answer tells the same outcome. What still fits nothing has
    /// the outcome `quarantined` and may be replayed later. A keyword such as START counts from the
    /// time at which it came, so that it does not undo a newer STOP.
    #[oai(path = "/quarantine/:id/replay", method = "post", operation_id = "replay_quarantine_item")]
    async fn replay(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<ReplayResult>, Problem> {
        let project_id = caller.writer()?;
        let item = find(&state, project_id, *id).await?;
        let replay = Replay {
            storage: &state.storage,
            ingest: &state.ingest,
            accounts: &state.accounts,
            carriers: &state.carriers,
        };
        let replayed = replay.item(project_id, &item).await.map_err(refusal)?;
        let item = find(&state, project_id, *id).await?;
        Ok(Json(ReplayResult::of(replayed, &item)))
    }
}

/// Refuses a word that can be no reason, because it would find nothing.
async fn known_reason(state: &ApiState, project_id: Uuid, reason: &str) -> Result<(), Problem> {
    if is_reason(reason) || quarantine::is_reason(&mut *state.storage.connection().await?, project_id, reason).await? {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::BAD_REQUEST,
        "request_invalid",
        format!(
            "the query parameter reason must be a reason of something in quarantine; it is {:?}; {}",
            bounds::text(reason, 60),
            meant_by(reason)
        ),
    ))
}

async fn find(state: &ApiState, project_id: Uuid, id: Uuid) -> Result<quarantine::WholeItem, Problem> {
    let found = quarantine::find(&mut *state.storage.connection().await?, project_id, id).await?;
    found.ok_or_else(|| Problem::not_found("item in quarantine"))
}

fn refusal(error: ReplayError) -> Problem {
    let told = error.to_string();
    match error {
        ReplayError::NotReplayable(_) => Problem::conflict("not_replayable", told),
        ReplayError::NoAccount => Problem::conflict(
            "carrier_account_missing",
            "the project has no carrier account; give it one first: PUT /v1/carrier",
        ),
        ReplayError::Account(error) => error.into(),
        ReplayError::Database(error) => error.into(),
        ReplayError::NotIngested(NotIngested::TooLate) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_blocked",
            format!("{told}; replay it again, which stores it once"),
        ),
        ReplayError::NotIngested(NotIngested::Refused(error)) => Problem::of_batch(&error),
    }
}

impl ReplayResult {
    fn of(replayed: Replayed, item: &quarantine::WholeItem) -> Self {
        let Replayed { outcome, reason } = replayed;
        Self {
            id: item.id,
            outcome,
            reason: reason.or_else(|| item.skip_reason.map(SkipReason::as_str).map(str::to_owned)),
            session_id: item.session_id,
            message_id: item.message_id,
            replayed_at: item.replayed_at,
        }
    }
}

impl From<quarantine::Item> for QuarantineItem {
    fn from(item: quarantine::Item) -> Self {
        let quarantine::Item { id, kind, reason, carrier_id, received_at, replayed_at, replay_outcome } = item;
        Self { id, kind, reason, carrier_id, received_at, replayed_at, replay_outcome }
    }
}

impl From<quarantine::WholeItem> for WholeQuarantineItem {
    fn from(item: quarantine::WholeItem) -> Self {
        let is_request = item.kind.can_be_replayed() && Listing::of_kept(&item.form).is_none();
        let parameters = url::form_urlencoded::parse(&item.form)
            .map(|(name, value)| Parameter { name: name.into_owned(), value: value.into_owned() });
        Self {
            id: item.id,
            kind: item.kind,
            reason: item.reason,
            carrier_id: item.carrier_id,
            received_at: item.received_at,
            replayed_at: item.replayed_at,
            replay_outcome: item.replay_outcome,
            parameters: is_request.then(|| parameters.collect()),
            document: (!is_request).then(|| String::from_utf8_lossy(&item.form).into_owned()),
        }
    }
}
