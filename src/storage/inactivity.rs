//! Silence: scheduled jobs that look whether a session is silent, and warn or end it; the rows decide, and nothing is sent from here.

use sqlx::FromRow;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::set_aside::fetch;
use crate::storage::{Storage, new_id};

/// What was decided about one session, and is committed.
#[derive(Debug, Clone, FromRow)]
pub struct Decided {
    pub session_id: Uuid,
    pub project_id: Uuid,
    /// `warned`, `ended`, or `moved` when it was too early.
    pub outcome: String,
    /// How long after its time it was warned or ended.
    pub late_seconds: f64,
    planned: bool,
    /// The project's limit that suppressed the warning or the farewell.
    pub refused: Option<String>,
}

/// Decides about the sessions whose job is due, at most `room.most`.
pub async fn decide(storage: &Storage, room: ClaimLimits) -> Result<Vec<Decided>, sqlx::Error> {
    let most = i32::try_from(room.most).unwrap_or(i32::MAX);
    let new_ids: Vec<Uuid> = (0..most).map(|_| new_id()).collect();
    // This locks as many rows as a batch of turns. Neither knows which rows the other needs, so they may deadlock.
    let decided = database::retry_on_deadlock(|| {
        let deciding = sqlx::query(include_str!("../../sql/queries/inactivity/decide.sql"));
        fetch(storage, deciding.bind(most).bind(new_ids.clone()).bind(room.only.clone()))
    });
    let decided = decided.await?.iter().map(Decided::from_row).collect::<Result<Vec<_>, _>>()?;
    if decided.iter().any(|decided| decided.planned) {
        storage.notifier.notify(JobKind::Delivery);
    }
    Ok(decided)
}

/// In how many seconds the next job is due; less than nothing when it is already, `None` when there is none.
pub async fn next_due(storage: &Storage) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_scalar(include_str!("../../sql/queries/inactivity/next_due.sql")).fetch_one(&storage.pool).await
}
