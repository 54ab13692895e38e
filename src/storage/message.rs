//! Messages of a session, in their order, with how far each has come, and texts that we begin; what a text does to sessions is decided in the schema.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::storage::database;
use crate::storage::ingest::Attachment;
use crate::storage::pagination::Page;
use crate::storage::{Storage, new_id};

/// A message with what became of it.
#[derive(Debug, Clone, FromRow)]
pub struct Message {
    pub id: Uuid,
    pub session_id: Uuid,
    pub seq: i64,
    pub direction: String,
    pub kind: String,
    pub body: String,
    /// `gsm7` or `ucs2`.
    pub encoding: String,
    /// How many segments it costs.
    pub segments: i32,
    pub media: Option<Value>,
    /// Inbound: `waiting`, `handled`, `held` or `skipped`. Outbound: the status of its delivery.
    pub status: String,
    /// Why it is held or skipped, or its delivery failed.
    pub reason: Option<String>,
    pub carrier_sid: Option<String>,
    pub error_code: Option<i32>,
    /// How many characters its turn had to cut.
    pub truncated: Option<i32>,
    pub created_at: DateTime<Utc>,
}

/// A message with every step of its delivery.
#[derive(Debug, Clone, FromRow)]
pub struct Traced {
    #[sqlx(flatten)]
    pub message: Message,
    /// Our number.
    pub number: String,
    pub contact: String,
    pub error_class: Option<String>,
    /// `[{"at", "status", "by"?, "code"?, "class"?, "detail"?}]`, the oldest first.
    pub history: Value,
}

/// The messages of a session, oldest first, after the one named by the cursor.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    session_id: Uuid,
    after: Option<i64>,
    limit: u32,
) -> Result<Page<Message>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/message/list.sql"))
        .bind(project_id)
        .bind(session_id)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |message: &Message| message.seq.to_string()))
}

/// One message of a project.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Traced>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/message/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&storage.pool)
        .await
}

/// By what a request that comes again is known.
#[derive(Debug, Clone)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of the request.
    pub request_hash: Vec<u8>,
}

/// A text that we begin.
#[derive(Debug, Clone)]
pub struct NewText {
    pub project_id: Uuid,
    /// The number that it leaves from.
    pub number_id: Uuid,
    pub contact: String,
    /// The countries that the contact may be in, by the digits of its number.
    pub countries: Vec<String>,
    pub body: String,
    pub media_urls: Vec<String>,
    /// `supersede`, `join` or `reject`.
    pub on_active_session: &'static str,
    /// Not before then.
    pub send_at: Option<DateTime<Utc>>,
}

/// What became of a request to send a text.
#[derive(Debug, Clone, FromRow)]
pub struct Begun {
    /// `sent`, `scheduled`, `replayed`, or why nothing was done: `key_reused`, `contact_opted_out`, `session_active`,
    /// `number_detached`, `country_not_allowed`, `contact_limit_reached`, `project_limit_reached`.
    pub outcome: String,
    pub message_id: Uuid,
    /// Null while it is scheduled.
    pub session_id: Option<Uuid>,
    pub send_at: Option<DateTime<Utc>>,
    /// After how many seconds the limit that refused the message admits one again.
    #[sqlx(default)]
    pub retry_after_seconds: Option<f64>,
}

/// Sends or schedules a text; when this answers, it is committed. With a key it is done once, however often it is asked.
pub async fn send(storage: &Storage, text: &NewText, idempotency: Option<&Idempotency>) -> Result<Begun, sqlx::Error> {
    let media: Vec<Attachment> = text.media_urls.iter().map(|url| Attachment::at(url.clone(), None)).collect();
    let (message_id, session_id, turn_id) = (new_id(), new_id(), new_id());
    let begun: Begun = database::retry_on_deadlock(|| {
        sqlx::query_as(include_str!("../../sql/queries/message/send.sql"))
            .bind(text.project_id)
            .bind(idempotency.map(|idempotency| &idempotency.key))
            .bind(idempotency.map(|idempotency| &idempotency.request_hash))
            .bind(text.send_at)
            .bind(text.number_id)
            .bind(&text.contact)
            .bind(&text.countries)
            .bind(&text.body)
            .bind(Json(&media))
            .bind(text.on_active_session)
            .bind(message_id)
            .bind(session_id)
            .bind(turn_id)
            .fetch_one(&storage.pool)
    })
    .await?;
    if begun.outcome == "sent" {
        storage.notifier.notify(JobKind::Delivery);
        // A new session runs its start function.
        storage.notifier.notify(JobKind::Turn);
    }
    Ok(begun)
}

/// What a key was answered before, if it was used; `key_reused` when it was for another request.
pub async fn replay(
    storage: &Storage,
    project_id: Uuid,
    idempotency: &Idempotency,
) -> Result<Option<Begun>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/message/replay.sql"))
        .bind(project_id)
        .bind(&idempotency.key)
        .bind(&idempotency.request_hash)
        .fetch_optional(&storage.pool)
        .await
}
