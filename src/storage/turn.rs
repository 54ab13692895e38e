//! Turns: claimed with a lease and a token, renewed while the agent thinks, settled all or nothing; nothing here runs an agent.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::composite::composite;
use crate::storage::delivery::{self, BootInstant};
use crate::storage::set_aside::read_claims;
use crate::storage::{Storage, new_id};

/// A turn that this process may run until its lease ends.
#[derive(Debug, Clone, FromRow)]
pub struct Claim {
    pub turn_id: Uuid,
    pub session_id: Uuid,
    pub project_id: Uuid,
    pub number_id: Uuid,
    /// Who began: `inbound` or `outbound`.
    pub origin: String,
    /// Whether an agent began it, with a text outside its answer.
    pub begun_by_agent: bool,
    pub number: String,
    pub contact: String,
    pub channel: String,
    /// The fencing token: without it nothing of this turn can be written.
    pub token: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// How often the agent has failed at it.
    pub failures: i32,
    pub claimed_at: DateTime<Utc>,
    pub agent_id: Uuid,
    pub agent_version: i32,
    /// Whether `start` ran in an earlier turn of the session.
    pub started: bool,
    pub state: Json<Map<String, Value>>,
    pub language: Option<String>,
    pub handled_seq: i64,
    /// The inbound messages that this turn answers, in order.
    pub waiting: Json<Vec<WaitingMessage>>,
    /// What was said before them, the newest 50.
    pub history: Json<Vec<HistoryEntry>>,
}

impl Claim {
    /// The newest message that the turn knows of: what comes later is not covered by its answer.
    pub fn seen_seq(&self) -> i64 {
        self.waiting.iter().map(|message| message.seq).max().unwrap_or(self.handled_seq)
    }
}

/// An inbound message that waits for its answer.
#[derive(Debug, Clone, Deserialize)]
pub struct WaitingMessage {
    pub id: Uuid,
    pub seq: i64,
    pub text: String,
    /// `[{"id", "url", "content_type", "bytes"}]`
    pub media: Value,
}

/// A message of the past.
#[derive(Debug, Clone, Deserialize)]
pub struct HistoryEntry {
    pub direction: String,
    pub text: String,
    pub at: DateTime<Utc>,
}

/// Claims turns that are due, as far as there is room, for `lease_seconds`.
pub async fn claim(storage: &Storage, room: ClaimLimits, lease_seconds: u32) -> Result<Vec<Claim>, sqlx::Error> {
    let token = new_id();
    let claiming = room.bind_with_projects(sqlx::query(include_str!("../../sql/queries/turn/claim.sql")));
    let claiming = claiming.bind(f64::from(lease_seconds)).bind(token).bind(room.only);
    read_claims(storage, JobKind::Turn, claiming, "session_id", Some(token)).await
}

/// Prolongs the lease. False: it is lost, and what the turn makes will be thrown away.
pub async fn renew(storage: &Storage, claim: &Claim, lease_seconds: u32) -> Result<bool, sqlx::Error> {
    let renewed = sqlx::query(include_str!("../../sql/queries/turn/renew.sql"))
        .bind(claim.session_id)
        .bind(claim.token)
        .bind(f64::from(lease_seconds))
        .execute(&storage.pool)
        .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Gives back turns that were claimed and not begun; the attempt does not count.
pub async fn give_back(storage: &Storage, claims: &[Claim]) -> Result<(), sqlx::Error> {
    let sessions: Vec<Uuid> = claims.iter().map(|claim| claim.session_id).collect();
    let tokens: Vec<Uuid> = claims.iter().map(|claim| claim.token).collect();
    sqlx::query(include_str!("../../sql/queries/turn/give_back.sql"))
        .bind(sessions)
        .bind(tokens)
        .execute(&storage.pool)
        .await?;
    Ok(())
}

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The agent failed.
    Failed,
    /// We did, or the database, and it does not count.
    Ours,
    /// The process that ran the agent ended for an unknown reason. Interruptions are counted apart from failures.
    Interrupted,
    /// The process is stopping: somebody else takes it over, and it does not count.
    HandedOver,
}

/// Puts a turn off after an attempt that came to nothing. False: the lease was lost.
pub async fn put_off(
    storage: &Storage,
    claim: &Claim,
    seconds: f64,
    error: &str,
    reason: Reason,
) -> Result<bool, sqlx::Error> {
    let put_off = sqlx::query(include_str!("../../sql/queries/turn/put_off.sql"))
        .bind(claim.session_id)
        .bind(claim.token)
        .bind(seconds)
        .bind(error)
        .bind(reason == Reason::Failed)
        .execute(&storage.pool)
        .await?;
    Ok(put_off.rows_affected() == 1)
}

/// Counts an interruption of a turn. Returns the number so far, or 0 if the lease was lost.
pub async fn count_interruption(storage: &Storage, claim: &Claim) -> Result<i32, sqlx::Error> {
    let counted = sqlx::query_scalar(include_str!("../../sql/queries/turn/count_interruption.sql"))
        .bind(claim.session_id)
        .bind(claim.token)
        .fetch_optional(&storage.pool)
        .await?;
    Ok(counted.unwrap_or(0))
}

/// What a turn came to.
#[derive(Debug, Clone, sqlx::Encode)]
pub struct Settlement {
    ordinal: i32,
    turn_id: Uuid,
    session_id: Uuid,
    number_id: Uuid,
    contact: String,
    token: Uuid,
    seen_seq: i64,
    started: bool,
    /// `None` when it is what it was.
    state: Option<Json<Map<String, Value>>>,
    language: Option<String>,
    close_reason: Option<&'static str>,
    skip_reason: Option<&'static str>,
    /// What it says, in order: ids, kinds, texts.
    message_ids: Vec<Uuid>,
    kinds: Vec<&'static str>,
    bodies: Vec<String>,
    sends: Option<Json<Vec<PlannedSend>>>,
    /// Under which token and for how long the first text is claimed at once, if its worker has a slot for it.
    send_token: Option<Uuid>,
    send_seconds: Option<f64>,
    next_turn_id: Uuid,
    next_session_id: Uuid,
    /// How many characters of the turn were cut, stored with its last message.
    truncated: Option<i32>,
}

composite!(Settlement, "turn_outcome");

/// A text outside the answer.
#[derive(Debug, Clone, Serialize)]
struct PlannedSend {
    message_id: Uuid,
    number: Option<String>,
    contact: String,
    /// The countries that the contact may be in, by the digits of its number.
    countries: Vec<String>,
    body: String,
    /// The reason why it is not sent, if that is known already.
    refused: Option<&'static str>,
}

impl Settlement {
    /// A settlement that handles what the claim has seen and changes nothing else.
    pub fn of(claim: &Claim) -> Self {
        Self {
            ordinal: 0,
            turn_id: claim.turn_id,
            session_id: claim.session_id,
            number_id: claim.number_id,
            contact: claim.contact.clone(),
            token: claim.token,
            seen_seq: claim.seen_seq(),
            started: claim.started,
            state: None,
            language: claim.language.clone(),
            close_reason: None,
            skip_reason: None,
            message_ids: Vec::new(),
            kinds: Vec::new(),
            bodies: Vec::new(),
            sends: None,
            send_token: None,
            send_seconds: None,
            next_turn_id: new_id(),
            next_session_id: new_id(),
            truncated: None,
        }
    }

    /// What the agent remembers from now on: `None` when that has not changed.
    pub fn remember(mut self, state: Option<Map<String, Value>>, language: Option<String>) -> Self {
        (self.state, self.language) = (state.map(Json), language);
        self.started = true;
        self
    }

    /// Plans a message of the kind `greeting`, `reply` or `error`, after those planned before.
    pub fn say(mut self, kind: &'static str, body: String) -> Self {
        self.message_ids.push(new_id());
        self.kinds.push(kind);
        self.bodies.push(body);
        self
    }

    /// Records how many characters are cut because the turn may not send more messages.
    pub fn cut(mut self, characters: usize) -> Self {
        let cut = i32::try_from(characters).unwrap_or(i32::MAX);
        self.truncated = Some(self.truncated.unwrap_or_default().saturating_add(cut));
        self
    }

    /// Plans a `send_sms`, which is sent after the turn: from the given number of ours, else from the session's. A
    /// refused one is only stored with its reason.
    pub fn send(
        mut self,
        number: Option<String>,
        contact: String,
        countries: Vec<String>,
        body: String,
        refused: Option<&'static str>,
    ) -> Self {
        let send = PlannedSend { message_id: new_id(), number, contact, countries, body, refused };
        self.sends.get_or_insert_default().push(send);
        self
    }

    /// Claims the first text for the worker that settles, for `lease_seconds`; what its delivery will be, if there is a text.
    pub fn send_first(&mut self, claim: &Claim, lease_seconds: u32) -> Option<delivery::Claim> {
        let (id, body) = (*self.message_ids.first()?, self.bodies.first()?.clone());
        let token = new_id();
        (self.send_token, self.send_seconds) = (Some(token), Some(f64::from(lease_seconds)));
        Some(delivery::Claim {
            id,
            token,
            project_id: claim.project_id,
            session_id: claim.session_id,
            from: claim.number.clone(),
            to: claim.contact.clone(),
            body,
            media_urls: Vec::new(),
            attempt: 1,
            asked_at: BootInstant::now(),
        })
    }

    /// Whether there is a text to be sent.
    pub const fn speaks(&self) -> bool {
        !self.message_ids.is_empty()
    }

    /// Closes the session after what was said.
    pub fn close(mut self, reason: &'static str) -> Self {
        self.close_reason = Some(reason);
        self
    }

    /// Says why the waiting messages get no answer.
    pub fn skip(mut self, reason: &'static str) -> Self {
        self.skip_reason = Some(reason);
        self
    }
}

/// Whether a settlement was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Written {
        planned: i32,
        more_work: bool,
        /// The first text is claimed as was asked for.
        leaving: bool,
    },
    /// Somebody else holds the turn by now, or the session is closed: nothing was written.
    Stale,
}

/// Settles a turn; when this answers, it is committed.
pub async fn settle(storage: &Storage, settlement: Settlement) -> Result<Settled, BatchError> {
    let sends = settlement.sends.is_some();
    let settled = storage.turns.submit(settlement).await?;
    if let Settled::Written { planned, more_work, leaving } = settled {
        if planned > i32::from(leaving) {
            storage.notifier.notify(JobKind::Delivery);
        }
        if more_work {
            storage.notifier.notify(JobKind::Turn);
        }
        if sends {
            storage.notifier.notify(JobKind::ScheduledMessage);
        }
    }
    Ok(settled)
}

/// A row of `settle_turns`: outcome, planned, more work, leaving, and the limits that suppressed messages.
type Row = (String, i32, bool, bool, Option<Vec<String>>);

/// One transaction, one round trip for all of them.
pub(super) async fn flush(
    connection: &mut PgConnection,
    mut settlements: Vec<Settlement>,
) -> Result<Vec<Settled>, sqlx::Error> {
    for (settlement, ordinal) in settlements.iter_mut().zip(0..) {
        settlement.ordinal = ordinal;
    }
    let settling =
        sqlx::query_as(include_str!("../../sql/queries/turn/settle.sql")).bind(settlements).fetch_all(connection);
    let settled: Vec<Row> = failpoint::during("turn.in_commit", settling).await?;
    failpoint::reach("turn.after_settle");
    for reason in settled.iter().filter_map(|(.., refused)| refused.as_deref()).flatten() {
        tracing::warn!(reason, "a message of a turn is over a limit of its project and is not sent");
        metrics::counter!("textback_outbound_refused_total", "reason" => reason.clone()).increment(1);
    }
    Ok(settled
        .into_iter()
        .map(|(outcome, planned, more_work, leaving, _)| match outcome.as_str() {
            "settled" => Settled::Written { planned, more_work, leaving },
            _ => Settled::Stale,
        })
        .collect())
}
