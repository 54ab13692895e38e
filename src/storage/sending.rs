//! Texts that the project sends: the facts and writes of a decision, and requests that may be
//! repeated.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::channel::{ChannelFacts, OutboundText};
use crate::domain::message::{MessageKind, SendOutcome, WaitReason};
use crate::domain::message_plan::MessagePlan;
use crate::domain::phone_number;
use crate::domain::pool::{Choice, choose};
use crate::domain::sending::{self, Admission, Decision, Effect, Facts, OnLandline, Request};
use crate::domain::session::{Channel, CloseReason, OnActiveSession, SessionOrigin};
use crate::storage::ingest::Attachment;
use crate::storage::new_id;
use crate::storage::outbound_limits::{self, ToCount};
use crate::storage::planned_message::{Content, Conversation, PlannedMessage};
use crate::storage::pool::{self, PoolContact};
use crate::storage::session;
use crate::telemetry::metrics;

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
    pub from: SendFrom,
    pub channel: ChannelFacts,
    pub contact: String,
    /// The countries that the contact may be in, by the digits of its number.
    pub countries: Vec<String>,
    pub body: String,
    pub media_urls: Vec<String>,
    pub on_active_session: OnActiveSession,
    /// The earliest time to send it; `None` means now.
    pub send_at: Option<DateTime<Utc>>,
    pub on_landline: OnLandline,
}

/// Who a message is sent from.
#[derive(Debug, Clone)]
pub enum SendFrom {
    Number {
        id: Uuid,
        number: String,
    },
    /// A number of this pool, which is chosen when the message is sent.
    Pool {
        pool_id: String,
    },
}

/// The number that a message leaves from.
#[derive(Debug)]
struct Sender {
    id: Uuid,
    number: String,
    /// The pool that the message was sent to.
    pool_id: Option<String>,
}

/// What became of a request to send a message.
#[derive(Debug, Clone)]
pub struct SendResult {
    pub outcome: SendOutcome,
    pub message_id: Uuid,
    /// `None` while it is scheduled.
    pub session_id: Option<Uuid>,
    pub send_at: Option<DateTime<Utc>>,
    /// Our number that it leaves from. `None` while it is to be chosen.
    pub number: Option<String>,
    /// The carrier's id of the pool that it was sent to.
    pub pool_id: Option<String>,
    /// After how many seconds the limit that refused the message admits one again.
    pub retry_after_seconds: Option<f64>,
}

impl SendResult {
    fn new(outcome: SendOutcome, message_id: Uuid) -> Self {
        Self {
            outcome,
            message_id,
            session_id: None,
            send_at: None,
            number: None,
            pool_id: None,
            retry_after_seconds: None,
        }
    }
}

/// Sends or schedules a message. With a key it is done once, however often it is requested. The
/// caller commits. When the message was sent, the caller tells the workers of deliveries, and those
/// of turns, because a new session runs its start function.
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
            sqlx::query_file!(
                "sql/queries/idempotency_key/complete.sql",
                text.project_id,
                key,
                result.session_id,
                result.send_at,
                result.number.as_deref(),
                result.pool_id.as_deref(),
            )
            .execute(connection)
            .await?;
        }
        SendOutcome::KeyReused
        | SendOutcome::ContactOptedOut
        | SendOutcome::SessionActive
        | SendOutcome::NumberDetached
        | SendOutcome::ToIsFrom
        | SendOutcome::CountryNotAllowed
        | SendOutcome::ContactIsLandline
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

/// The number that a text leaves from, or why it leaves from none.
async fn sender(connection: &mut PgConnection, text: &NewText) -> Result<Result<Sender, SendOutcome>, sqlx::Error> {
    let pool_id = match &text.from {
        SendFrom::Number { id, number } => return Ok(Ok(Sender { id: *id, number: number.clone(), pool_id: None })),
        SendFrom::Pool { pool_id } => pool_id,
    };
    let (project_id, contact, channel) = (text.project_id, &text.contact, text.channel.channel);
    let facts = pool::locked_facts(connection, PoolContact { project_id, pool_id, contact, channel }).await?;
    Ok(match choose(&facts, contact, phone_number::country(contact).as_deref()) {
        Choice::Number(member) => {
            Ok(Sender { id: member.id, number: member.number.clone(), pool_id: Some(pool_id.clone()) })
        }
        Choice::ContactOptedOut => Err(SendOutcome::ContactOptedOut),
        Choice::NoNumber => Err(SendOutcome::NumberDetached),
    })
}

async fn send_or_schedule(
    connection: &mut PgConnection,
    text: &NewText,
    message_id: Uuid,
) -> Result<SendResult, sqlx::Error> {
    let sender = match sender(connection, text).await? {
        Ok(sender) => sender,
        Err(outcome) => return Ok(SendResult::new(outcome, message_id)),
    };
    let Json(facts): Json<Facts> = sqlx::query_file_scalar!(
        "sql/queries/message/load_send_facts.sql",
        text.project_id,
        sender.id,
        text.contact,
        &text.countries[..],
        text.channel.channel.as_str(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let NewText { on_active_session, send_at, on_landline, .. } = *text;
    // No quiet hours: whoever sends a text at once wants it now, and one that waits for its time is
    // looked at when it is due.
    let request = Request { on_active_session, send_at, quiet_until: None, on_landline };
    match sending::decide(&request, &facts) {
        Decision::Refuse { reason, session_id } => {
            Ok(SendResult { session_id, ..SendResult::new(reason.into(), message_id) })
        }
        Decision::Wait { until, reason } => {
            schedule(connection, text, &sender, message_id, until, reason).await?;
            // The number of a pool is chosen when it is due.
            let number = sender.pool_id.is_none().then_some(sender.number);
            let (send_at, pool_id) = (Some(until), sender.pool_id);
            Ok(SendResult { send_at, number, pool_id, ..SendResult::new(SendOutcome::Scheduled, message_id) })
        }
        Decision::Send(effect) => send_now(connection, text, sender, message_id, &facts, effect).await,
    }
}

/// Sends a text, unless a limit refuses it.
async fn send_now(
    connection: &mut PgConnection,
    text: &NewText,
    sender: Sender,
    message_id: Uuid,
    facts: &Facts,
    effect: Effect,
) -> Result<SendResult, sqlx::Error> {
    let of_message = facts.of_message(text.channel.capabilities.delivery_reports);
    let to_count = ToCount::one(&of_message, text.project_id, &text.contact);
    let limit = outbound_limits::count_one(connection, to_count).await?;
    match sending::admit(&of_message, limit) {
        Admission::Refuse { reason, until } => Ok(SendResult {
            retry_after_seconds: Some((until - facts.now).as_seconds_f64()),
            ..SendResult::new(reason.into(), message_id)
        }),
        Admission::Send(plan) => {
            let text = PlannedText {
                message_id,
                project_id: text.project_id,
                number_id: sender.id,
                pool_id: sender.pool_id.as_deref(),
                contact: &text.contact,
                channel: text.channel,
                text: text.channel.capabilities.outbound(&text.body, facts.smart_encoding),
                media_urls: &text.media_urls,
                turn_id: None,
                effect: SessionEffect::new(effect),
                plan,
            };
            let session_id = Some(text.effect.session_id());
            write(connection, &[text]).await?;
            let (number, pool_id) = (Some(sender.number), sender.pool_id);
            Ok(SendResult { session_id, number, pool_id, ..SendResult::new(SendOutcome::Sent, message_id) })
        }
    }
}

async fn schedule(
    connection: &mut PgConnection,
    text: &NewText,
    sender: &Sender,
    message_id: Uuid,
    at: DateTime<Utc>,
    reason: WaitReason,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!(
        "sql/queries/scheduled_message/insert.sql",
        message_id,
        text.project_id,
        sender.id,
        text.contact,
        &text.countries[..],
        text.body,
        &text.media_urls[..],
        text.on_active_session.as_str(),
        at,
        reason.as_str(),
        sender.pool_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a text does to a session, with the ids of what it adds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct SessionEffect {
    #[serde(flatten)]
    effect: Effect,
    /// The id of the session, if one opens.
    new_session_id: Uuid,
    /// The id of the turn, if the agent starts.
    new_turn_id: Uuid,
}

impl SessionEffect {
    pub(super) fn new(effect: Effect) -> Self {
        Self { effect, new_session_id: new_id(), new_turn_id: new_id() }
    }

    /// The session that the text is in.
    pub(super) const fn session_id(&self) -> Uuid {
        match self.effect {
            Effect::Open { .. } => self.new_session_id,
            Effect::Start { session_id } | Effect::Join { session_id, .. } => session_id,
        }
    }
}

/// A text that is sent: its message, and what it does to a session.
#[derive(Debug)]
pub(super) struct PlannedText<'a> {
    pub message_id: Uuid,
    pub project_id: Uuid,
    pub number_id: Uuid,
    /// The pool that it was sent to.
    pub pool_id: Option<&'a str>,
    pub contact: &'a str,
    pub channel: ChannelFacts,
    pub text: OutboundText<'a>,
    pub media_urls: &'a [String],
    /// The turn whose agent sends it.
    pub turn_id: Option<Uuid>,
    pub effect: SessionEffect,
    pub plan: MessagePlan,
}

/// What a text does besides its message, as the statement takes it.
#[derive(Debug, Serialize)]
struct TextRow<'a> {
    message_id: Uuid,
    project_id: Uuid,
    number_id: Uuid,
    pool_id: Option<&'a str>,
    contact: &'a str,
    channel: Channel,
    media: Vec<Attachment>,
    turn_id: Option<Uuid>,
    #[serde(flatten)]
    effect: SessionEffect,
}

impl<'a> PlannedText<'a> {
    fn row(&self) -> TextRow<'a> {
        TextRow {
            message_id: self.message_id,
            project_id: self.project_id,
            number_id: self.number_id,
            pool_id: self.pool_id,
            contact: self.contact,
            channel: self.channel.channel,
            media: self.media_urls.iter().map(|url| Attachment::at(url.clone(), None)).collect(),
            turn_id: self.turn_id,
            effect: self.effect,
        }
    }

    fn message(&self) -> PlannedMessage<'_> {
        let conversation = Conversation {
            project_id: self.project_id,
            session_id: self.effect.session_id(),
            endpoint_id: self.number_id,
            contact: self.contact,
        };
        let says = Content { kind: MessageKind::Text, text: self.text.borrowed() };
        let planned = PlannedMessage::new(self.message_id, conversation, says, &self.plan);
        PlannedMessage { turn_id: self.turn_id, ..planned }
    }
}

/// Writes texts to different contacts as they were decided. The caller holds the locks of the
/// contacts.
pub(super) async fn write(connection: &mut PgConnection, texts: &[PlannedText<'_>]) -> Result<(), sqlx::Error> {
    let rows: Vec<TextRow<'_>> = texts.iter().map(PlannedText::row).collect();
    let messages: Vec<PlannedMessage<'_>> = texts.iter().map(PlannedText::message).collect();
    sqlx::query_file!("sql/queries/message/store_texts.sql", Json(rows) as _, messages as _)
        .execute(connection)
        .await?;
    for text in texts {
        let Effect::Open { superseded, .. } = text.effect.effect else { continue };
        metrics::SESSIONS_OPENED.count(&[SessionOrigin::Outbound.as_str()]);
        session::count_closed(CloseReason::Superseded, superseded.map_or(0, |_| 1));
    }
    Ok(())
}
