//! The append-only record of what contacts, the carrier and operators said about consent.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::storage::pagination::Page;
use crate::storage::{Storage, new_id};

/// What was once said about texts.
#[derive(Debug, Clone, FromRow)]
pub struct Consent {
    pub id: Uuid,
    /// Our number.
    pub number: String,
    pub contact: String,
    /// `opted_out` or `opted_in`.
    pub kind: String,
    /// `keyword`, `carrier` or `operator`.
    pub source: String,
    /// What the contact texted, or the operator's note.
    pub said: Option<String>,
    pub message_id: Option<Uuid>,
    pub recorded_at: DateTime<Utc>,
}

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub number: Option<String>,
    pub contact: Option<String>,
}

/// The records of a project, newest first, before the one named by the cursor.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Consent>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/consent/list.sql"))
        .bind(project_id)
        .bind(&filter.number)
        .bind(&filter.contact)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |consent: &Consent| consent.id.to_string()))
}

/// An operator records what a contact wants of a number: `opted_out`, which cancels what is planned and ends the session,
/// or `opted_in`.
pub async fn record(
    storage: &Storage,
    project_id: Uuid,
    number_id: Uuid,
    contact: &str,
    kind: &str,
    note: Option<&str>,
) -> Result<Consent, sqlx::Error> {
    let id = new_id();
    sqlx::query(include_str!("../../sql/queries/consent/record.sql"))
        .bind(id)
        .bind(project_id)
        .bind(number_id)
        .bind(contact)
        .bind(kind)
        .bind(note)
        .execute(&storage.pool)
        .await?;
    sqlx::query_as(include_str!("../../sql/queries/consent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_one(&storage.pool)
        .await
}
