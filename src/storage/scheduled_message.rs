//! Messages that are to be sent later or after a turn. They become messages with deliveries when they are due.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::delivery::RefusalReason;
use crate::domain::message::ScheduledOutcome;
use crate::domain::session::OnActiveSession;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::new_id;
use crate::storage::pagination::{Page, rows_to_read};
use crate::storage::set_aside::wait_after_error;

/// A message that waits for its time, or that was refused when it came.
#[derive(Debug, Clone)]
pub struct ScheduledMessage {
    /// The id that its message will have.
    pub id: Uuid,
    /// Our number.
    pub number: String,
    pub contact: String,
    pub body: String,
    pub media_urls: Vec<String>,
    pub on_active_session: OnActiveSession,
    pub send_at: DateTime<Utc>,
    /// Later than `send_at` when quiet hours put it off. `None` once it was refused.
    pub due_at: Option<DateTime<Utc>>,
    /// Why it will not be sent.
    pub refusal_reason: Option<RefusalReason>,
    /// The turn whose agent wanted it.
    pub turn_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

/// What became of one that was due.
#[derive(Debug, Clone)]
pub struct Due {
    pub message_id: Uuid,
    pub project_id: Uuid,
    /// The session that it is in now.
    pub session_id: Option<Uuid>,
    pub outcome: ScheduledOutcome,
    /// How long after its time.
    pub late_seconds: f64,
}

/// Turns scheduled messages that are due into messages with deliveries, at most `limits.most`. It may be ended by a
/// deadlock: it locks as many rows as a batch of turns, and neither knows which rows the other needs. When one was sent,
/// the caller tells the workers of deliveries, and those of turns, because a new session runs its start function.
pub async fn send_due(connection: &mut PgConnection, limits: &ClaimLimits) -> Result<Vec<Due>, sqlx::Error> {
    let most = i32::try_from(limits.most).unwrap_or(i32::MAX);
    let new_ids: Vec<Uuid> = (0..most).flat_map(|_| [new_id(), new_id()]).collect();
    let sending = sqlx::query_file_as!(
        Due,
        "sql/queries/scheduled_message/send_due.sql",
        most,
        &new_ids[..],
        limits.only.as_deref(),
    );
    let sent = sending.fetch_all(&mut *connection).await;
    wait_after_error(connection, &sent).await;
    sent
}

/// In how many seconds the next one is due. Negative when one is overdue, `None` when there is none.
pub async fn next_due(connection: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/scheduled_message/next_due.sql").fetch_one(connection).await
}

/// One scheduled message of a project.
pub async fn find(
    connection: &mut PgConnection,
    project_id: Uuid,
    id: Uuid,
) -> Result<Option<ScheduledMessage>, sqlx::Error> {
    sqlx::query_file_as!(ScheduledMessage, "sql/queries/scheduled_message/find.sql", project_id, id)
        .fetch_optional(connection)
        .await
}

/// The scheduled messages of a project that wait or were refused, newest first, before the one that the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<ScheduledMessage>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        ScheduledMessage,
        "sql/queries/scheduled_message/list.sql",
        project_id,
        before,
        rows_to_read(limit),
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |message: &ScheduledMessage| message.id.to_string()))
}

/// Cancels one that still waits. Returns false if there is none.
pub async fn cancel(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let cancelled =
        sqlx::query_file!("sql/queries/scheduled_message/cancel.sql", project_id, id).execute(connection).await?;
    Ok(cancelled.rows_affected() == 1)
}
