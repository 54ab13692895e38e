//! Limits on what is sent: how much of each is used, and where a project may send. The schema decides what is over a limit.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::Ledger;

/// How much of a limit is used in the window that runs.
#[derive(Debug, Clone, FromRow)]
pub struct Usage {
    /// The name of the setting.
    pub limit: String,
    /// 0: nothing is bounded, and nothing counted.
    pub most: i32,
    pub sent: i32,
    /// When the window ends; null when none runs.
    pub resets_at: Option<DateTime<Utc>>,
}

/// How much of its limits a project has used, and what a contact had of it.
pub async fn usage(ledger: &Ledger, project_id: Uuid, contact: Option<&str>) -> Result<Vec<Usage>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/outbound/usage.sql"))
        .bind(project_id)
        .bind(contact)
        .fetch_all(&ledger.pool)
        .await
}

/// A limit that a project is at.
#[derive(Debug, Clone, FromRow)]
pub struct AtLimit {
    /// The project's name.
    pub name: String,
    pub limit: String,
    pub most: i32,
    /// How many contacts it concerns; 1 where it is the whole project.
    pub contacts: i64,
    pub resets_at: DateTime<Utc>,
}

impl AtLimit {
    /// Whether it stops all that the project sends.
    pub fn is_of_project(&self) -> bool {
        self.limit.contains("per_project")
    }
}

/// The limits that projects are at now.
pub async fn at_limit(ledger: &Ledger) -> Result<Vec<AtLimit>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/outbound/at_limit.sql")).fetch_all(&ledger.pool).await
}

/// Where a project may send, if it has a list of its own.
pub async fn allowed_countries(ledger: &Ledger, project_id: Uuid) -> Result<Option<Arc<[String]>>, sqlx::Error> {
    let found: Option<Option<Vec<String>>> =
        sqlx::query_scalar(include_str!("../../sql/outbound/allowed_countries.sql"))
            .bind(project_id)
            .fetch_optional(&ledger.pool)
            .await?;
    Ok(found.flatten().map(Arc::from))
}
