//! Sessions as operators see them: found, listed and ended.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::agent::Environment;
use crate::domain::session::{Channel, CloseReason, SessionOrigin, SessionStatus};
use crate::storage::pagination::{Page, rows_to_read};
use crate::telemetry::metrics;

/// A session with its endpoint.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: Uuid,
    /// Our number, if the endpoint is one.
    pub number: Option<String>,
    /// The carrier's id of the pool that it was sent to.
    pub pool_id: Option<String>,
    pub contact: String,
    pub channel: Channel,
    pub status: SessionStatus,
    /// The agent's state. Lists leave it out.
    pub state: Option<Value>,
    pub origin: SessionOrigin,
    /// Whether the contact has written in it.
    pub engaged: bool,
    pub agent_id: Uuid,
    pub agent_version: i32,
    pub environment: Environment,
    pub opened_at: DateTime<Utc>,
    pub last_message_at: DateTime<Utc>,
    pub warned_at: Option<DateTime<Utc>>,
    pub closed_at: Option<DateTime<Utc>>,
    pub close_reason: Option<CloseReason>,
    pub previous_session_id: Option<Uuid>,
    /// When the contact is warned, if there is no message until then.
    pub warning_due_at: Option<DateTime<Utc>>,
    /// When the session ends, if there is no message until then.
    pub end_due_at: Option<DateTime<Utc>>,
    /// Until when the messages of the contact are held, if that is not over.
    pub paused_until: Option<DateTime<Utc>>,
}

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub number: Option<String>,
    pub contact: Option<String>,
    pub status: Option<SessionStatus>,
}

/// One session of a project.
pub async fn find(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<Option<Session>, sqlx::Error> {
    sqlx::query_file_as!(Session, "sql/queries/session/find.sql", project_id, id).fetch_optional(connection).await
}

/// The sessions of a project, newest first, before the one that the cursor names. Without their
/// states.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Session>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        Session,
        "sql/queries/session/list.sql",
        project_id,
        filter.number.as_deref(),
        filter.contact.as_deref(),
        filter.status.map(SessionStatus::as_str),
        before,
        rows_to_read(limit),
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |session: &Session| session.id.to_string()))
}

/// Counts sessions that were closed, for the metrics. A transaction that is repeated counts them
/// again, which is rare.
pub(super) fn count_closed(reason: CloseReason, sessions: i64) {
    metrics::SESSIONS_CLOSED.add(&[reason.as_str()], u64::try_from(sessions).unwrap_or(0));
}

/// Ends a session for an operator. A closed one stays as it is. `None`: the project has no such
/// session.
pub async fn end(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<Option<Session>, sqlx::Error> {
    if find(connection, project_id, id).await?.is_none() {
        return Ok(None);
    }
    let reason = CloseReason::OperatorEnded.as_str();
    let ended = sqlx::query_file!("sql/queries/session/end.sql", id, reason).fetch_one(&mut *connection).await?;
    count_closed(CloseReason::OperatorEnded, ended.closed);
    find(connection, project_id, id).await
}

/// Lets the sessions of an agent that are not closed run the active version, in `textback dev`.
/// Elsewhere a session keeps the version that it started with.
pub async fn follow_active_version(connection: &mut PgConnection, agent_id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/session/follow_active_version.sql", agent_id).execute(connection).await?;
    Ok(())
}

/// Moves the clock of a session that is not closed: everything in it happened so many seconds
/// earlier. For people who can't wait. Returns whether there is such a session.
pub async fn skip(
    connection: &mut PgConnection,
    project_id: Uuid,
    id: Uuid,
    seconds: u32,
) -> Result<bool, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/session/advance_clock.sql", project_id, id, f64::from(seconds))
        .fetch_one(connection)
        .await
}
