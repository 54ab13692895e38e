//! Inactivity jobs: what becomes of sessions without messages, and when the next job is due.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::delivery::RefusalReason;
use crate::domain::session::InactivityOutcome;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::new_id;
use crate::storage::set_aside::wait_after_error;

/// What was decided about one session.
#[derive(Debug, Clone)]
pub struct Decided {
    pub session_id: Uuid,
    pub project_id: Uuid,
    pub outcome: InactivityOutcome,
    /// How long after its time it was warned or ended.
    pub late_seconds: f64,
    /// Whether a message is planned.
    pub planned: bool,
    /// The project's limit that suppressed the warning or the farewell.
    pub refused: Option<RefusalReason>,
}

/// Decides about the sessions whose job is due, at most `limits.most`. It may be ended by a deadlock: it locks as many rows
/// as a batch of turns, and neither knows which rows the other needs. When a message is planned, the caller tells the
/// workers of deliveries.
pub async fn decide(connection: &mut PgConnection, limits: &ClaimLimits) -> Result<Vec<Decided>, sqlx::Error> {
    let most = i32::try_from(limits.most).unwrap_or(i32::MAX);
    let new_ids: Vec<Uuid> = (0..most).map(|_| new_id()).collect();
    let deciding =
        sqlx::query_file_as!(Decided, "sql/queries/inactivity/decide.sql", most, &new_ids[..], limits.only.as_deref(),);
    let decided = deciding.fetch_all(&mut *connection).await;
    wait_after_error(connection, &decided).await;
    decided
}

/// In how many seconds the next job is due. Negative when one is overdue, `None` when there is none.
pub async fn next_due(connection: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/inactivity/next_due.sql").fetch_one(connection).await
}
