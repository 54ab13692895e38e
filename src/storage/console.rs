//! What the console of `textback dev` reads: the latest messages with everything that explains
//! their status.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::delivery::DeliveryErrorClass;
use crate::domain::message::{Attachment, Direction, MessageKind, MessageStatus, SkipReason};

/// A message with what explains its status.
#[derive(Debug, Clone)]
pub struct ConsoleMessage {
    pub id: Uuid,
    pub session_id: Uuid,
    pub direction: Direction,
    pub kind: MessageKind,
    pub body: String,
    /// How many segments it costs, where its channel has segments.
    pub segments: Option<i32>,
    pub media: Option<Json<Vec<Attachment>>>,
    pub status: MessageStatus,
    /// Why an inbound one gets no answer.
    pub skip_reason: Option<SkipReason>,
    pub carrier_id: Option<String>,
    pub error_code: Option<i32>,
    pub error_class: Option<DeliveryErrorClass>,
    pub error_detail: Option<String>,
    /// Whether an outbound one waits until its number is registered.
    pub waits_for_registration: bool,
    /// Until when the contact is paused, if it is.
    pub paused_until: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// Whose messages to read.
#[derive(Debug, Clone, Copy)]
pub enum Of<'a> {
    /// Those of a session.
    Session(Uuid),
    /// Those between a number and a contact, of all their sessions.
    Pair { number: &'a str, contact: &'a str },
}

/// The latest messages, oldest first.
pub async fn messages(
    connection: &mut PgConnection,
    project_id: Uuid,
    of: Of<'_>,
    limit: u32,
) -> Result<Vec<ConsoleMessage>, sqlx::Error> {
    let (session_id, number, contact) = match of {
        Of::Session(id) => (Some(id), None, None),
        Of::Pair { number, contact } => (None, Some(number), Some(contact)),
    };
    let mut messages = sqlx::query_file_as!(
        ConsoleMessage,
        "sql/queries/console/messages.sql",
        project_id,
        session_id,
        number,
        contact,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    messages.reverse();
    Ok(messages)
}

/// A text that differs from an earlier one if anything was written to the database in between.
pub async fn snapshot(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/console/snapshot.sql").fetch_one(connection).await
}
