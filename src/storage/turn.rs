//! Turns: claimed with a lease and a token, renewed while the agent thinks, settled all or nothing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::delivery::RefusalReason;
use crate::domain::job::JobKind;
use crate::domain::message::{Direction, MessageKind, SkipReason};
use crate::domain::session::{Channel, CloseReason, SessionOrigin};
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::composite::composite;
use crate::storage::delivery::{self, BootInstant};
use crate::storage::set_aside::{Claiming, read_claims};
use crate::storage::{Storage, new_id};

/// A turn that this process may run until its lease ends. The names of the columns say in the SQL text that this struct
/// decides on their types.
#[derive(Debug, Clone, FromRow)]
pub struct Claim {
    pub turn_id: Uuid,
    pub session_id: Uuid,
    pub project_id: Uuid,
    pub number_id: Uuid,
    #[sqlx(rename = "origin: _")]
    pub origin: SessionOrigin,
    /// Whether an agent began it, with a message outside its answer.
    #[sqlx(rename = "begun_by_agent!")]
    pub begun_by_agent: bool,
    pub number: String,
    pub contact: String,
    #[sqlx(rename = "channel: _")]
    pub channel: Channel,
    /// The fencing token: without it nothing of this turn can be written.
    #[sqlx(rename = "token!")]
    pub token: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// How often the agent has failed at it.
    pub failures: i32,
    #[sqlx(rename = "claimed_at!")]
    pub claimed_at: DateTime<Utc>,
    pub agent_id: Uuid,
    pub agent_version: i32,
    /// Whether `start` ran in an earlier turn of the session.
    #[sqlx(rename = "started!")]
    pub started: bool,
    #[sqlx(rename = "state: _")]
    pub state: Json<Map<String, Value>>,
    pub language: Option<String>,
    pub handled_seq: i64,
    /// The inbound messages that this turn answers, in order.
    #[sqlx(rename = "waiting!: _")]
    pub waiting: Json<Vec<WaitingMessage>>,
    /// What was said before them, the newest 50.
    #[sqlx(rename = "history!: _")]
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
    pub direction: Direction,
    pub text: String,
    pub at: DateTime<Utc>,
}

/// Claims turns that are due, within the limits, for `lease_seconds`.
pub async fn claim(storage: &Storage, limits: ClaimLimits, lease_seconds: u32) -> Result<Vec<Claim>, sqlx::Error> {
    let token = new_id();
    let (agents, projects) = (limits.owners.parameters(), limits.projects.parameters());
    let claiming = sqlx::query_file_as!(
        Claim,
        "sql/queries/turn/claim.sql",
        limits.most,
        &agents.barred[..],
        &agents.limited[..],
        &agents.quotas[..],
        agents.others,
        &projects.barred[..],
        &projects.limited[..],
        &projects.quotas[..],
        projects.others,
        f64::from(lease_seconds),
        token,
        limits.only.as_deref(),
    );
    let claim = Claiming { work: JobKind::Turn, id_column: "session_id", token: Some(token) };
    read_claims(storage, claim, claiming).await
}

/// Prolongs the lease. Returns false if it is lost: then the turn's outcome can't be written.
pub async fn renew(connection: &mut PgConnection, claim: &Claim, lease_seconds: u32) -> Result<bool, sqlx::Error> {
    let lease = f64::from(lease_seconds);
    let renewed = sqlx::query_file!("sql/queries/turn/renew.sql", claim.session_id, claim.token, lease)
        .execute(connection)
        .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Gives back turns that were claimed and not begun. The attempt does not count.
pub async fn give_back(connection: &mut PgConnection, claims: &[Claim]) -> Result<(), sqlx::Error> {
    let (sessions, tokens): (Vec<Uuid>, Vec<Uuid>) = claims.iter().map(|claim| (claim.session_id, claim.token)).unzip();
    sqlx::query_file!("sql/queries/turn/give_back.sql", &sessions[..], &tokens[..]).execute(connection).await?;
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

/// How long a turn is put off, and why.
#[derive(Debug, Clone, Copy)]
pub struct Delay<'a> {
    pub seconds: f64,
    pub error: &'a str,
    pub reason: Reason,
}

/// Puts a turn off after an attempt that came to nothing. Returns false if the lease was lost.
pub async fn put_off(connection: &mut PgConnection, claim: &Claim, delay: Delay<'_>) -> Result<bool, sqlx::Error> {
    let put_off = sqlx::query_file!(
        "sql/queries/turn/put_off.sql",
        claim.session_id,
        claim.token,
        delay.seconds,
        delay.error,
        delay.reason == Reason::Failed,
    )
    .execute(connection)
    .await?;
    Ok(put_off.rows_affected() == 1)
}

/// Counts an interruption of a turn. Returns the number so far, or 0 if the lease was lost.
pub async fn count_interruption(connection: &mut PgConnection, claim: &Claim) -> Result<i32, sqlx::Error> {
    let counted = sqlx::query_file_scalar!("sql/queries/turn/count_interruption.sql", claim.session_id, claim.token)
        .fetch_optional(connection)
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

/// A message outside the answer.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedSend {
    pub message_id: Uuid,
    /// The number of ours that it leaves from. `None`: the session's.
    pub number: Option<String>,
    pub contact: String,
    /// The countries that the contact may be in, by the digits of its number.
    pub countries: Vec<String>,
    pub body: String,
    /// Why it is not sent, if that is known already.
    pub refused: Option<RefusalReason>,
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

    /// Plans a message, after those planned before.
    pub fn say(mut self, kind: MessageKind, body: String) -> Self {
        self.message_ids.push(new_id());
        self.kinds.push(kind.as_str());
        self.bodies.push(body);
        self
    }

    /// Records how many characters are cut because the turn may not send more messages.
    pub fn cut(mut self, characters: usize) -> Self {
        let cut = i32::try_from(characters).unwrap_or(i32::MAX);
        self.truncated = Some(self.truncated.unwrap_or_default().saturating_add(cut));
        self
    }

    /// Plans a message outside the answer, which is sent after the turn. A refused one is only stored with its reason.
    pub fn send(mut self, send: PlannedSend) -> Self {
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
    pub fn close(mut self, reason: CloseReason) -> Self {
        self.close_reason = Some(reason.as_str());
        self
    }

    /// Says why the waiting messages get no answer.
    pub fn skip(mut self, reason: SkipReason) -> Self {
        self.skip_reason = Some(reason.as_str());
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
    let read = |(outcome, planned, more_work, leaving, _): Row| match outcome.as_str() {
        "settled" => Ok(Settled::Written { planned, more_work, leaving }),
        "stale" => Ok(Settled::Stale),
        other => Err(sqlx::Error::Decode(format!("settle_turns answered {other}").into())),
    };
    settled.into_iter().map(read).collect()
}
