//! Texts that are to be sent later or after a turn: scheduled jobs that become messages when they are due; nothing here calls the carrier.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::pagination::Page;
use crate::storage::set_aside::fetch;
use crate::storage::{Storage, new_id};

/// A text that waits for its time, or was refused when it came.
#[derive(Debug, Clone, FromRow)]
pub struct ScheduledMessage {
    /// The id that its message will have.
    pub id: Uuid,
    /// Our number.
    pub number: String,
    pub contact: String,
    pub body: String,
    pub media_urls: Vec<String>,
    pub on_active_session: String,
    pub send_at: DateTime<Utc>,
    /// Later than `send_at` when quiet hours put it off; null once it was refused.
    pub due_at: Option<DateTime<Utc>>,
    /// Why it will not be sent.
    pub refusal_reason: Option<String>,
    /// The turn whose agent wanted it.
    pub turn_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

/// What became of one that was due, and is committed.
#[derive(Debug, Clone, FromRow)]
pub struct Due {
    pub message_id: Uuid,
    pub project_id: Uuid,
    /// The session that it is in now.
    pub session_id: Option<Uuid>,
    /// `sent`, `put_off` (quiet hours), or why it was refused.
    pub outcome: String,
    /// How long after its time.
    pub late_seconds: f64,
}

/// Turns scheduled messages that are due into messages with deliveries, at most `room.most`.
pub async fn send_due(storage: &Storage, room: ClaimLimits) -> Result<Vec<Due>, sqlx::Error> {
    let most = i32::try_from(room.most).unwrap_or(i32::MAX);
    let new_ids: Vec<Uuid> = (0..most).flat_map(|_| [new_id(), new_id()]).collect();
    // As in inactivity::decide.
    let due = database::retry_on_deadlock(|| {
        let sending = sqlx::query(include_str!("../../sql/queries/scheduled_message/send_due.sql"));
        fetch(storage, sending.bind(most).bind(new_ids.clone()).bind(room.only.clone()))
    });
    let due = due.await?.iter().map(Due::from_row).collect::<Result<Vec<_>, _>>()?;
    if due.iter().any(|due| due.outcome == "sent") {
        storage.notifier.notify(JobKind::Delivery);
        // A new session runs its start function.
        storage.notifier.notify(JobKind::Turn);
    }
    Ok(due)
}

/// In how many seconds the next one is due; less than nothing when it is already, `None` when there is none.
pub async fn next_due(storage: &Storage) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_scalar(include_str!("../../sql/queries/scheduled_message/next_due.sql")).fetch_one(&storage.pool).await
}

/// One scheduled message of a project.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<ScheduledMessage>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/scheduled_message/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&storage.pool)
        .await
}

/// The scheduled messages of a project that wait or were refused, newest first, before the one named by the cursor.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<ScheduledMessage>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/scheduled_message/list.sql"))
        .bind(project_id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |message: &ScheduledMessage| message.id.to_string()))
}

/// Cancels one that still waits; false when there is none.
pub async fn cancel(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let cancelled = sqlx::query(include_str!("../../sql/queries/scheduled_message/cancel.sql"))
        .bind(project_id)
        .bind(id)
        .execute(&storage.pool)
        .await?;
    Ok(cancelled.rows_affected() == 1)
}
