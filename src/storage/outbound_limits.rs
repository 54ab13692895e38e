//! Limits on outbound messages: the usage of each limit, and the countries that a project may send to. The schema
//! decides what exceeds a limit.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::outbound_limit::OutboundLimit;

/// The usage of a limit in the current window.
#[derive(Debug, Clone)]
pub struct Usage {
    pub limit: OutboundLimit,
    /// The limit. 0 means no limit, and then nothing is counted.
    pub most: i32,
    pub sent: i32,
    /// When the window ends; null without a current window.
    pub resets_at: Option<DateTime<Utc>>,
}

/// A project's usage of its limits, and with a contact the usage of that contact's limits.
pub async fn usage(
    connection: &mut PgConnection,
    project_id: Uuid,
    contact: Option<&str>,
) -> Result<Vec<Usage>, sqlx::Error> {
    sqlx::query_file_as!(Usage, "sql/queries/outbound/usage.sql", project_id, contact).fetch_all(connection).await
}

/// A limit that is reached.
#[derive(Debug, Clone)]
pub struct AtLimit {
    /// The project's name.
    pub name: String,
    pub limit: OutboundLimit,
    pub most: i32,
    /// How many contacts are at the limit; 1 for a limit of the whole project.
    pub contacts: i64,
    pub resets_at: DateTime<Utc>,
}

/// The limits that projects have reached now.
pub async fn at_limit(connection: &mut PgConnection) -> Result<Vec<AtLimit>, sqlx::Error> {
    sqlx::query_file_as!(AtLimit, "sql/queries/outbound/at_limit.sql").fetch_all(connection).await
}

/// The countries that a project may send to, if it has a list of its own.
pub async fn allowed_countries(
    connection: &mut PgConnection,
    project_id: Uuid,
) -> Result<Option<Arc<[String]>>, sqlx::Error> {
    let found = sqlx::query_file_scalar!("sql/queries/outbound/allowed_countries.sql", project_id)
        .fetch_optional(connection)
        .await?;
    Ok(found.flatten().map(Arc::from))
}
