//! Turns: claimed with a lease and a token, renewed while the agent thinks, settled all or nothing.

mod settle;
mod settlement;

pub(super) use settle::flush;
pub use settle::{Settled, settle};
pub use settlement::{PlannedSend, Settlement};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::agent::Environment;
use crate::domain::job::JobKind;
use crate::domain::message::Direction;
use crate::domain::session::{Channel, SessionOrigin};
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::set_aside::{Claiming, read_claims};
use crate::storage::since::Since;
use crate::storage::{Storage, new_id};

/// A turn that this process may run until its lease ends. The names of the columns say in the SQL
/// text that this struct decides on their types.
#[derive(Debug, Clone, FromRow)]
pub struct Claim {
    pub turn_id: Uuid,
    pub session_id: Uuid,
    pub project_id: Uuid,
    pub endpoint_id: Uuid,
    #[sqlx(rename = "origin: _")]
    pub origin: SessionOrigin,
    /// Whether an agent began it, with a message outside its answer.
    #[sqlx(rename = "begun_by_agent!")]
    pub begun_by_agent: bool,
    /// Our address: a number, or the id of another endpoint.
    #[sqlx(rename = "address!")]
    pub address: String,
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
    /// When its first message was stored.
    pub created_at: DateTime<Utc>,
    #[sqlx(rename = "claimed_at!")]
    pub claimed_at: DateTime<Utc>,
    pub agent_id: Uuid,
    pub agent_version: i32,
    /// The environment that its endpoint had when it was opened.
    #[sqlx(rename = "environment: _")]
    pub environment: Environment,
    /// Whether `start` ran in an earlier turn of the session.
    #[sqlx(rename = "started!")]
    pub started: bool,
    #[sqlx(rename = "state: _")]
    pub state: Json<Map<String, Value>>,
    pub language: Option<String>,
    pub handled_seq: i64,
    /// When the oldest message that this turn answers was stored.
    #[sqlx(rename = "text_since: _")]
    pub text_since: Option<Since>,
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

    /// The first message that the turn answers. The turn has its id.
    pub fn first_message(&self) -> Option<Uuid> {
        self.waiting.first().map(|message| message.id)
    }

    /// The ids of the other messages that the turn answers, separated by commas, for its log line.
    /// `None` if there are none.
    pub fn further_messages(&self) -> Option<String> {
        let ids: Vec<String> = self.waiting.iter().skip(1).map(|message| message.id.to_string()).collect();
        (!ids.is_empty()).then(|| ids.join(","))
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

/// How long a turn is put off, and why.
#[derive(Debug, Clone, Copy)]
pub struct Delay<'a> {
    pub seconds: f64,
    pub error: &'a str,
    /// Whether it counts as a failure of the agent.
    pub is_agents: bool,
}

/// Puts a turn off after an attempt that came to nothing. Returns false if the lease was lost.
pub async fn put_off(connection: &mut PgConnection, claim: &Claim, delay: Delay<'_>) -> Result<bool, sqlx::Error> {
    let put_off = sqlx::query_file!(
        "sql/queries/turn/put_off.sql",
        claim.session_id,
        claim.token,
        delay.seconds,
        delay.error,
        delay.is_agents,
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
