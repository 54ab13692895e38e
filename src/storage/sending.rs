//! Texts that the project sends: the facts and writes of a decision, and requests that may be repeated.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::channel::ChannelFacts;
use crate::domain::message::SendOutcome;
use crate::domain::segments::Segmentation;
use crate::domain::sending::{self, Decision, Effect, Facts, Refusal, Request};
use crate::domain::session::{Channel, OnActiveSession};
use crate::storage::ingest::Attachment;
use crate::storage::new_id;

/// How a request that comes again is recognized.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of the request.
    pub request_hash: Vec<u8>,
}

/// A message that the project sends.
#[derive(Debug, Clone)]
pub struct NewText {
    pub project_id: Uuid,
    /// The number that it leaves from.
    pub number_id: Uuid,
    pub channel: ChannelFacts,
    pub contact: String,
    /// The countries that the contact may be in, by the digits of its number.
    pub countries: Vec<String>,
    pub body: String,
    pub media_urls: Vec<String>,
    pub on_active_session: OnActiveSession,
    /// The earliest time to send it; `None` means now.
    pub send_at: Option<DateTime<Utc>>,
}

/// What became of a request to send a message.
#[derive(Debug, Clone)]
pub struct SendResult {
    pub outcome: SendOutcome,
    pub message_id: Uuid,
    /// `None` while it is scheduled.
    pub session_id: Option<Uuid>,
    pub send_at: Option<DateTime<Utc>>,
    /// After how many seconds the limit that refused the message admits one again.
    pub retry_after_seconds: Option<f64>,
}

impl SendResult {
    fn new(outcome: SendOutcome, message_id: Uuid) -> Self {
        Self { outcome, message_id, session_id: None, send_at: None, retry_after_seconds: None }
    }
}

/// Sends or schedules a message. With a key it is done once, however often it is requested. The caller commits. When the
/// message was sent, the caller tells the workers of deliveries, and those of turns, because a new session runs its start
/// function.
pub async fn send(
    connection: &mut PgConnection,
    text: &NewText,
    idempotency: Option<&Idempotency>,
) -> Result<SendResult, sqlx::Error> {
    let message_id = new_id();
    let Some(idempotency) = idempotency else { return send_or_schedule(connection, text, message_id).await };
    let (key, hash) = (&idempotency.key, &idempotency.request_hash[..]);
    let is_first =
        sqlx::query_file_scalar!("sql/queries/idempotency_key/insert.sql", text.project_id, key, hash, message_id)
            .fetch_one(&mut *connection)
            .await?;
    if !is_first && let Some(result) = replay(&mut *connection, text.project_id, idempotency).await? {
        return Ok(result);
    }
    let result = send_or_schedule(&mut *connection, text, message_id).await?;
    match result.outcome {
        SendOutcome::Sent | SendOutcome::Scheduled | SendOutcome::Replayed => {
            let (session_id, send_at) = (result.session_id, result.send_at);
            sqlx::query_file!("sql/queries/idempotency_key/complete.sql", text.project_id, key, session_id, send_at)
                .execute(connection)
                .await?;
        }
        SendOutcome::KeyReused
        | SendOutcome::ContactOptedOut
        | SendOutcome::SessionActive
        | SendOutcome::NumberDetached
        | SendOutcome::CountryNotAllowed
        | SendOutcome::ContactLimitReached
        | SendOutcome::ProjectLimitReached => {
            sqlx::query_file!("sql/queries/idempotency_key/delete.sql", text.project_id, key)
                .execute(connection)
                .await?;
        }
    }
    Ok(result)
}

/// The answer that a key got, if it was used. `KeyReused` when it was used for another request.
pub async fn replay(
    connection: &mut PgConnection,
    project_id: Uuid,
    idempotency: &Idempotency,
) -> Result<Option<SendResult>, sqlx::Error> {
    sqlx::query_file_as!(
        SendResult,
        "sql/queries/message/replay.sql",
        project_id,
        idempotency.key,
        &idempotency.request_hash[..],
    )
    .fetch_optional(connection)
    .await
}

async fn send_or_schedule(
    connection: &mut PgConnection,
    text: &NewText,
    message_id: Uuid,
) -> Result<SendResult, sqlx::Error> {
    sqlx::query_file!("sql/queries/contact/lock.sql", text.number_id, text.contact).execute(&mut *connection).await?;
    let Json(facts): Json<Facts> = sqlx::query_file_scalar!(
        "sql/queries/message/load_send_facts.sql",
        text.project_id,
        text.number_id,
        text.contact,
        &text.countries[..],
        text.channel.channel.as_str(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let request = Request { on_active_session: text.on_active_session, send_at: text.send_at };
    match sending::decide(&request, &facts) {
        Decision::Refuse { reason, session_id } => {
            Ok(SendResult { session_id, ..SendResult::new(reason.into(), message_id) })
        }
        Decision::Wait { until } => {
            schedule(connection, text, message_id, until).await?;
            Ok(SendResult { send_at: Some(until), ..SendResult::new(SendOutcome::Scheduled, message_id) })
        }
        Decision::Send(effect) => {
            let decided = DecidedText {
                message_id,
                project_id: text.project_id,
                number_id: text.number_id,
                contact: &text.contact,
                channel: text.channel.channel,
                body: &text.body,
                segmentation: text.channel.capabilities.segmentation(&text.body),
                media: attachments(&text.media_urls),
                turn_id: None,
                effect,
                new_session_id: new_id(),
                new_turn_id: new_id(),
            };
            let written = write(connection, &[decided]).await?.pop().ok_or(sqlx::Error::RowNotFound)?;
            Ok(written.result(message_id, facts.now))
        }
    }
}

async fn schedule(
    connection: &mut PgConnection,
    text: &NewText,
    message_id: Uuid,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!(
        "sql/queries/scheduled_message/insert.sql",
        message_id,
        text.project_id,
        text.number_id,
        text.contact,
        &text.countries[..],
        text.body,
        &text.media_urls[..],
        text.on_active_session.as_str(),
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A text that is to be sent, with what it does to a session.
#[derive(Debug, Serialize)]
pub(super) struct DecidedText<'a> {
    pub message_id: Uuid,
    pub project_id: Uuid,
    pub number_id: Uuid,
    pub contact: &'a str,
    pub channel: Channel,
    pub body: &'a str,
    #[serde(flatten)]
    pub segmentation: Option<Segmentation>,
    pub media: Vec<Attachment>,
    /// The turn whose agent sends it.
    pub turn_id: Option<Uuid>,
    #[serde(flatten)]
    pub effect: Effect,
    /// The id of the session, if one opens.
    pub new_session_id: Uuid,
    /// The id of the turn, if the agent starts.
    pub new_turn_id: Uuid,
}

/// What became of a text that was to be written.
#[derive(Debug)]
pub(super) struct Written {
    /// The session that it is in.
    pub session_id: Option<Uuid>,
    /// The limit that refused it.
    pub refused: Option<Refusal>,
    /// When the limit admits one again.
    pub until_at: Option<DateTime<Utc>>,
}

impl Written {
    fn result(self, message_id: Uuid, now: DateTime<Utc>) -> SendResult {
        SendResult {
            session_id: self.session_id,
            retry_after_seconds: self.until_at.map(|until| (until - now).as_seconds_f64()),
            ..SendResult::new(self.refused.map_or(SendOutcome::Sent, SendOutcome::from), message_id)
        }
    }
}

/// The attachments at these addresses.
pub(super) fn attachments(urls: &[String]) -> Vec<Attachment> {
    urls.iter().map(|url| Attachment::at(url.clone(), None)).collect()
}

/// Writes texts as they were decided, each unless a limit refuses it. The caller holds the locks of their contacts. Returns
/// what became of each, in their order.
pub(super) async fn write(
    connection: &mut PgConnection,
    decided: &[DecidedText<'_>],
) -> Result<Vec<Written>, sqlx::Error> {
    sqlx::query_file_as!(Written, "sql/queries/message/write.sql", Json(decided) as _).fetch_all(connection).await
}
