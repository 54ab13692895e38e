//! Messages of a session, in their order, with how far each has come; it changes none.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::Ledger;
use super::page::Page;

/// A message with what became of it.
#[derive(Debug, Clone, FromRow)]
pub struct Message {
    pub id: Uuid,
    pub session_id: Uuid,
    pub seq: i64,
    pub direction: String,
    pub kind: String,
    pub body: String,
    pub media: Option<serde_json::Value>,
    /// Inbound: `waiting`, `handled` or `skipped`. Outbound: the status of its delivery.
    pub status: String,
    /// Why it was skipped or its delivery failed.
    pub reason: Option<String>,
    pub carrier_sid: Option<String>,
    pub error_code: Option<i32>,
    pub created_at: DateTime<Utc>,
}

/// The messages of a session, oldest first, after the one named by the cursor.
pub async fn list(
    ledger: &Ledger,
    project_id: Uuid,
    session_id: Uuid,
    after: Option<i64>,
    limit: u32,
) -> Result<Page<Message>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/message/list.sql"))
        .bind(project_id)
        .bind(session_id)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&ledger.pool)
        .await?;
    Ok(Page::of(rows, limit, |message: &Message| message.seq.to_string()))
}
