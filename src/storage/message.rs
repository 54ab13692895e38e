//! Messages of a session in their order, each with how far it has come.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::delivery::{DeliveryErrorClass, DeliveryStep};
use crate::domain::message::{Attachment, Direction, MessageKind, MessageStatus, SkipReason};
use crate::domain::reaction::Reaction;
use crate::domain::segments::Encoding;
use crate::storage::pagination::{Page, rows_to_read};

/// A message with how far it has come.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: Uuid,
    pub session_id: Uuid,
    pub seq: i64,
    pub direction: Direction,
    pub kind: MessageKind,
    pub body: String,
    pub reaction: Option<Json<Reaction>>,
    pub encoding: Option<Encoding>,
    /// How many segments it costs, where its channel has segments.
    pub segments: Option<i32>,
    pub media: Option<Json<Vec<Attachment>>>,
    pub status: MessageStatus,
    /// Why it is held or skipped, or why its delivery failed.
    pub reason: Option<String>,
    /// Why an inbound one gets no answer.
    pub skip_reason: Option<SkipReason>,
    pub carrier_id: Option<String>,
    pub error_code: Option<i32>,
    /// How many characters its turn had to cut.
    pub truncated: Option<i32>,
    pub created_at: DateTime<Utc>,
}

/// A message with every step of its delivery.
#[derive(Debug, Clone)]
pub struct Traced {
    pub message: Message,
    /// Our number, if the endpoint is one.
    pub number: Option<String>,
    /// The carrier's id of the pool that its session was sent to.
    pub pool_id: Option<String>,
    pub contact: String,
    pub error_class: Option<DeliveryErrorClass>,
    /// Oldest first.
    pub history: Json<Vec<DeliveryStep>>,
}

/// The row of a [`Traced`] message.
struct TracedRow {
    id: Uuid,
    session_id: Uuid,
    seq: i64,
    direction: Direction,
    kind: MessageKind,
    body: String,
    reaction: Option<Json<Reaction>>,
    encoding: Option<Encoding>,
    segments: Option<i32>,
    media: Option<Json<Vec<Attachment>>>,
    status: MessageStatus,
    reason: Option<String>,
    skip_reason: Option<SkipReason>,
    carrier_id: Option<String>,
    error_code: Option<i32>,
    truncated: Option<i32>,
    created_at: DateTime<Utc>,
    number: Option<String>,
    pool_id: Option<String>,
    contact: String,
    error_class: Option<DeliveryErrorClass>,
    history: Json<Vec<DeliveryStep>>,
}

impl From<TracedRow> for Traced {
    fn from(row: TracedRow) -> Self {
        Self {
            message: Message {
                id: row.id,
                session_id: row.session_id,
                seq: row.seq,
                direction: row.direction,
                kind: row.kind,
                body: row.body,
                reaction: row.reaction,
                encoding: row.encoding,
                segments: row.segments,
                media: row.media,
                status: row.status,
                reason: row.reason,
                skip_reason: row.skip_reason,
                carrier_id: row.carrier_id,
                error_code: row.error_code,
                truncated: row.truncated,
                created_at: row.created_at,
            },
            number: row.number,
            pool_id: row.pool_id,
            contact: row.contact,
            error_class: row.error_class,
            history: row.history,
        }
    }
}

/// The messages of a session, oldest first, after the one that the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    session_id: Uuid,
    after: Option<i64>,
    limit: u32,
) -> Result<Page<Message>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        Message,
        "sql/queries/message/list.sql",
        project_id,
        session_id,
        after,
        rows_to_read(limit),
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |message: &Message| message.seq.to_string()))
}

/// One message of a project.
pub async fn find(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<Option<Traced>, sqlx::Error> {
    let found = sqlx::query_file_as!(TracedRow, "sql/queries/message/find.sql", project_id, id);
    Ok(found.fetch_optional(connection).await?.map(Traced::from))
}
