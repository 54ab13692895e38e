//! Sessions as operators see them: read, listed, ended; opening and closing happen in the functions of the schema.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::storage::Storage;
use crate::storage::pagination::Page;

/// A session's row, with the number it is held on.
#[derive(Debug, Clone, FromRow)]
pub struct Session {
    pub id: Uuid,
    pub number: String,
    pub contact: String,
    pub channel: String,
    pub status: String,
    /// The agent's state; left out in lists.
    #[sqlx(default)]
    pub state: Option<Value>,
    pub origin: String,
    pub engaged: bool,
    pub agent_id: Uuid,
    pub agent_version: i32,
    pub opened_at: DateTime<Utc>,
    pub last_message_at: DateTime<Utc>,
    pub warned_at: Option<DateTime<Utc>>,
    pub closed_at: Option<DateTime<Utc>>,
    pub close_reason: Option<String>,
    pub previous_session_id: Option<Uuid>,
    /// When the contact will be warned, if nobody says anything.
    pub warning_due_at: Option<DateTime<Utc>>,
    /// When it will end, if nobody says anything.
    pub end_due_at: Option<DateTime<Utc>>,
}

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub number: Option<String>,
    pub contact: Option<String>,
    pub status: Option<String>,
}

/// One session of a project.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Session>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/session/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&storage.pool)
        .await
}

/// The sessions of a project, newest first, before the one that the cursor names. Without their states.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Session>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/session/list.sql"))
        .bind(project_id)
        .bind(&filter.number)
        .bind(&filter.contact)
        .bind(&filter.status)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |session: &Session| session.id.to_string()))
}

/// Ends a session. A closed one stays as it is. `None`: the project has no such session.
pub async fn end(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Session>, sqlx::Error> {
    if find(storage, project_id, id).await?.is_none() {
        return Ok(None);
    }
    sqlx::query(include_str!("../../sql/queries/session/end.sql"))
        .bind(id)
        .bind("operator_ended")
        .execute(&storage.pool)
        .await?;
    find(storage, project_id, id).await
}

/// Moves the clock of a session that is not closed: everything in it happened so much earlier. For people who can't wait.
/// Says whether there was one.
pub async fn skip(storage: &Storage, project_id: Uuid, id: Uuid, seconds: u32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(include_str!("../../sql/queries/session/advance_clock.sql"))
        .bind(project_id)
        .bind(id)
        .bind(f64::from(seconds))
        .fetch_one(&storage.pool)
        .await
}
