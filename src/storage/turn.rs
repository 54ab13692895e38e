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
use crate::storage::delivery;
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
        &agents.full[..],
        &agents.limited[..],
        &agents.quotas[..],
        agents.others,
        &projects.full[..],
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
    /// The process is stopping. Another one runs the turn, and it does not count.
    Stopping,
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
#[derive(Debug, Clone)]
pub struct Settlement {
    turn: TurnRow,
    /// The delivery of the first message, which is to be claimed for the caller.
    first_delivery: Option<Box<delivery::Claim>>,
}

/// A settlement as the statement takes it.
#[derive(Debug, Clone, sqlx::Encode)]
struct TurnRow {
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

composite!(TurnRow, "turn_outcome");

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
        let turn = TurnRow {
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
        };
        Self { turn, first_delivery: None }
    }

    /// What the agent remembers from now on: `None` when that has not changed.
    pub fn remember(mut self, state: Option<Map<String, Value>>, language: Option<String>) -> Self {
        (self.turn.state, self.turn.language) = (state.map(Json), language);
        self.turn.started = true;
        self
    }

    /// Plans a message, after those planned before.
    pub fn say(mut self, kind: MessageKind, body: String) -> Self {
        self.turn.message_ids.push(new_id());
        self.turn.kinds.push(kind.as_str());
        self.turn.bodies.push(body);
        self
    }

    /// Records how many characters are cut because the turn may not send more messages.
    pub fn cut(mut self, characters: usize) -> Self {
        let cut = i32::try_from(characters).unwrap_or(i32::MAX);
        self.turn.truncated = Some(self.turn.truncated.unwrap_or_default().saturating_add(cut));
        self
    }

    /// Plans a message outside the answer, which is sent after the turn. A refused one is only stored with its reason.
    pub fn send(mut self, send: PlannedSend) -> Self {
        self.turn.sends.get_or_insert_default().push(send);
        self
    }

    /// Asks for the delivery of the first message, to send it from this process. `claim` is the turn's. The delivery is
    /// claimed for `lease_seconds`, unless an earlier message to the contact waits.
    pub fn claim_first_delivery(&mut self, claim: &Claim, lease_seconds: u32) {
        let (Some(id), Some(body)) = (self.turn.message_ids.first(), self.turn.bodies.first()) else { return };
        let delivery = delivery::Claim::of_new_message(*id, body.clone(), claim);
        (self.turn.send_token, self.turn.send_seconds) = (Some(delivery.token), Some(f64::from(lease_seconds)));
        self.first_delivery = Some(Box::new(delivery));
    }

    /// The delivery that was asked for.
    pub fn first_delivery(&self) -> Option<&delivery::Claim> {
        self.first_delivery.as_deref()
    }

    /// Whether there is a text to be sent.
    pub const fn speaks(&self) -> bool {
        !self.turn.message_ids.is_empty()
    }

    /// Closes the session after what was said.
    pub fn close(mut self, reason: CloseReason) -> Self {
        self.turn.close_reason = Some(reason.as_str());
        self
    }

    /// Says why the waiting messages get no answer.
    pub fn skip(mut self, reason: SkipReason) -> Self {
        self.turn.skip_reason = Some(reason.as_str());
        self
    }
}

/// Whether a settlement was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Written {
        planned: i32,
        more_work: bool,
        /// The delivery of the first message, if it is claimed for the caller.
        first_delivery: Option<Box<delivery::Claim>>,
    },
    /// Somebody else holds the turn by now, or the session is closed: nothing was written.
    Stale,
}

/// Settles a turn. When this returns, it is committed. The caller must send the delivery that was claimed for it.
pub async fn settle(storage: &Storage, settlement: Settlement) -> Result<Settled, BatchError> {
    let sends = settlement.turn.sends.is_some();
    let settled = storage.turns.submit(settlement).await?;
    if let Settled::Written { planned, more_work, first_delivery } = &settled {
        if *planned > i32::from(first_delivery.is_some()) {
            storage.notifier.notify(JobKind::Delivery);
        }
        if *more_work {
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
    settlements: Vec<Settlement>,
) -> Result<Vec<Settled>, sqlx::Error> {
    let (mut turns, deliveries): (Vec<TurnRow>, Vec<Option<Box<delivery::Claim>>>) =
        settlements.into_iter().map(|settlement| (settlement.turn, settlement.first_delivery)).unzip();
    for (turn, ordinal) in turns.iter_mut().zip(0..) {
        turn.ordinal = ordinal;
    }
    let settling = sqlx::query_as(include_str!("../../sql/queries/turn/settle.sql")).bind(turns).fetch_all(connection);
    let settled: Vec<Row> = failpoint::during("turn.in_commit", settling).await?;
    failpoint::reach("turn.after_settle");
    for reason in settled.iter().filter_map(|(.., refused)| refused.as_deref()).flatten() {
        tracing::warn!(reason, "a message of a turn is over a limit of its project and is not sent");
        metrics::counter!("textback_outbound_refused_total", "reason" => reason.clone()).increment(1);
    }
    let read =
        |((outcome, planned, more_work, leaving, _), delivery): (Row, Option<Box<delivery::Claim>>)| match outcome
            .as_str()
        {
            "settled" => Ok(Settled::Written { planned, more_work, first_delivery: delivery.filter(|_| leaving) }),
            "stale" => Ok(Settled::Stale),
            other => Err(sqlx::Error::Decode(format!("settle_turns answered {other}").into())),
        };
    settled.into_iter().zip(deliveries).map(read).collect()
}
