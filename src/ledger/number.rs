//! Our numbers: attached to a project and an agent, read, listed; it never calls the carrier.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::page::Page;
use super::room::Room;
use super::{Ledger, new_id};

/// A number that a project has attached.
#[derive(Debug, Clone, FromRow)]
pub struct Number {
    pub id: Uuid,
    pub number: String,
    pub agent_id: Uuid,
    pub carrier_sid: String,
    pub webhook_set_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// Attaches a number, or changes the agent of one that is attached. Its webhooks count as not
/// set until `mark_webhook_set`.
pub async fn attach(
    ledger: &Ledger,
    project_id: Uuid,
    number: &str,
    agent_id: Uuid,
    carrier_sid: &str,
    country: Option<&str>,
) -> Result<Number, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/number/attach.sql"))
        .bind(new_id())
        .bind(project_id)
        .bind(number)
        .bind(agent_id)
        .bind(carrier_sid)
        .bind(country)
        .fetch_one(&ledger.pool)
        .await
}

/// Notes that the carrier has confirmed the webhooks of a number.
pub async fn mark_webhook_set(ledger: &Ledger, id: Uuid) -> Result<Number, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/number/mark_webhook_set.sql")).bind(id).fetch_one(&ledger.pool).await
}

/// One attached number of a project.
pub async fn find(ledger: &Ledger, project_id: Uuid, id: Uuid) -> Result<Option<Number>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/number/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&ledger.pool)
        .await
}

/// The attached numbers of a project, newest first.
pub async fn list(
    ledger: &Ledger,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Number>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/number/list.sql"))
        .bind(project_id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&ledger.pool)
        .await?;
    Ok(Page::of(rows, limit, |number: &Number| number.id.to_string()))
}

/// A number whose inbound texts are to be read back from the carrier.
#[derive(Debug, Clone, FromRow)]
pub struct ReadBack {
    pub id: Uuid,
    pub project_id: Uuid,
    pub number: String,
    /// What came before that is not ours.
    pub attached_at: DateTime<Utc>,
    /// The texts up to then are known, by the carrier's clock.
    pub heard_until: DateTime<Utc>,
}

/// Claims numbers that are to be read back, as far as there is room, and puts each off for `every_seconds`.
pub async fn claim_read_back(ledger: &Ledger, room: Room, every_seconds: u32) -> Result<Vec<ReadBack>, sqlx::Error> {
    room.bind(sqlx::query_as(include_str!("../../sql/number/claim_read_back.sql")))
        .bind(f64::from(every_seconds))
        .fetch_all(&ledger.pool)
        .await
}

/// Notes that the texts up to a time of the carrier's are known.
pub async fn mark_heard(ledger: &Ledger, id: Uuid, until: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../sql/number/mark_heard.sql")).bind(id).bind(until).execute(&ledger.pool).await?;
    Ok(())
}

/// A number that a text can leave from.
#[derive(Debug, Clone, FromRow)]
pub struct Sender {
    pub id: Uuid,
    pub number: String,
    /// ISO 3166-1 alpha-2, when the digits tell.
    pub country: Option<String>,
    /// Whether it may not send for want of its registration.
    pub unregistered: bool,
}

/// An attached number of a project, by its digits.
pub async fn find_by_number(ledger: &Ledger, project_id: Uuid, number: &str) -> Result<Option<Sender>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/number/find_by_number.sql"))
        .bind(project_id)
        .bind(number)
        .fetch_optional(&ledger.pool)
        .await
}

/// The number that texts a contact when nobody names one; `None` when the project has none.
pub async fn choose(
    ledger: &Ledger,
    project_id: Uuid,
    contact: &str,
    country: Option<&str>,
) -> Result<Option<Sender>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/number/choose.sql"))
        .bind(project_id)
        .bind(contact)
        .bind(country)
        .fetch_optional(&ledger.pool)
        .await
}
