//! Agents and their versions: made, listed, read; a version never changes, and nothing here runs one.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use super::page::Page;
use super::{Ledger, new_id};

/// An agent with its current version.
#[derive(Debug, Clone, FromRow)]
pub struct Agent {
    pub id: Uuid,
    pub name: String,
    pub created_at: DateTime<Utc>,
    #[sqlx(flatten)]
    pub version: Version,
}

/// What a version says, fixed for ever.
#[derive(Debug, Clone, FromRow)]
pub struct Version {
    pub version: i32,
    pub kind: String,
    pub source: String,
    pub greeting: Option<String>,
    pub first_message: String,
    pub debounce_seconds: i32,
    pub error_message: Option<String>,
    pub version_created_at: DateTime<Utc>,
}

/// The contents of a version to be made.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub kind: &'static str,
    pub source: String,
    pub greeting: Option<String>,
    pub first_message: &'static str,
    pub debounce_seconds: i32,
    pub error_message: Option<String>,
}

/// Makes an agent with its first version. The constraint `agent_name_is_unique_in_a_project`
/// refuses a name that is taken.
pub async fn create(ledger: &Ledger, project_id: Uuid, name: &str, version: &NewVersion) -> Result<Agent, sqlx::Error> {
    let mut transaction = ledger.pool.begin().await?;
    let id = new_id();
    sqlx::query(include_str!("../../sql/agent/create.sql"))
        .bind(id)
        .bind(project_id)
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    insert_version(&mut transaction, id, 1, version).await?;
    let agent = sqlx::query_as(include_str!("../../sql/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(agent)
}

/// Adds a version and makes it current: sessions opened from now on run it. `None`: no such agent.
pub async fn add_version(
    ledger: &Ledger,
    project_id: Uuid,
    id: Uuid,
    version: &NewVersion,
) -> Result<Option<Agent>, sqlx::Error> {
    let mut transaction = ledger.pool.begin().await?;
    let next: Option<i32> = sqlx::query_scalar(include_str!("../../sql/agent/advance.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(next) = next else { return Ok(None) };
    insert_version(&mut transaction, id, next, version).await?;
    let agent = sqlx::query_as(include_str!("../../sql/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Some(agent))
}

async fn insert_version(
    connection: &mut sqlx::PgConnection,
    agent_id: Uuid,
    number: i32,
    version: &NewVersion,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../sql/agent/insert_version.sql"))
        .bind(agent_id)
        .bind(number)
        .bind(version.kind)
        .bind(&version.source)
        .bind(&version.greeting)
        .bind(version.first_message)
        .bind(version.debounce_seconds)
        .bind(&version.error_message)
        .execute(connection)
        .await?;
    Ok(())
}

/// One agent of a project, with its current version.
pub async fn find(ledger: &Ledger, project_id: Uuid, id: Uuid) -> Result<Option<Agent>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&ledger.pool)
        .await
}

/// The agents of a project, newest first.
pub async fn list(
    ledger: &Ledger,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Agent>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/agent/list.sql"))
        .bind(project_id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&ledger.pool)
        .await?;
    Ok(Page::of(rows, limit, |agent: &Agent| agent.id.to_string()))
}

/// The versions of an agent, newest first.
pub async fn list_versions(
    ledger: &Ledger,
    project_id: Uuid,
    id: Uuid,
    before: Option<i32>,
    limit: u32,
) -> Result<Page<Version>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/agent/list_versions.sql"))
        .bind(project_id)
        .bind(id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&ledger.pool)
        .await?;
    Ok(Page::of(rows, limit, |version: &Version| version.version.to_string()))
}

/// The version that a session runs. It never changes, so the caller may keep it.
pub async fn version(ledger: &Ledger, agent_id: Uuid, version: i32) -> Result<Version, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/agent/version.sql"))
        .bind(agent_id)
        .bind(version)
        .fetch_one(&ledger.pool)
        .await
}
