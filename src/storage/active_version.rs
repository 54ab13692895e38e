//! Which version of an agent is active in its environments. New sessions get the active version of
//! their endpoint's environment; a session keeps its version.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::agent::Environment;

/// An environment of an agent.
#[derive(Debug, Clone)]
pub struct AgentEnvironment {
    pub environment: Environment,
    /// The version that new sessions get.
    pub version: i32,
    /// What was activated, newest first, at most twenty.
    pub activations: Json<Vec<Activation>>,
}

/// A version that was activated.
#[derive(Debug, Clone, Deserialize)]
pub struct Activation {
    pub version: i32,
    pub activated_at: DateTime<Utc>,
    /// When it was taken back, so that the version before it is active again.
    pub rolled_back_at: Option<DateTime<Utc>>,
}

/// What became of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activated {
    /// The version is active.
    Active,
    /// The agent has no such version.
    NoVersion,
    /// The project has no such agent.
    NoAgent,
}

/// What became of a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolledBack {
    /// This version is active again.
    To(i32),
    /// No version was active before.
    NothingBefore,
    /// The project has no such agent.
    NoAgent,
}

/// The environments of an agent. None, if the project has no such agent.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    agent_id: Uuid,
) -> Result<Vec<AgentEnvironment>, sqlx::Error> {
    sqlx::query_file_as!(AgentEnvironment, "sql/queries/agent/environments.sql", project_id, agent_id)
        .fetch_all(connection)
        .await
}

/// Activates a version of a project's agent in an environment. The caller commits.
pub async fn activate(
    transaction: &mut PgConnection,
    (project_id, agent_id): (Uuid, Uuid),
    environment: Environment,
    version: i32,
) -> Result<Activated, sqlx::Error> {
    if !lock(transaction, project_id, agent_id).await? {
        return Ok(Activated::NoAgent);
    }
    let has_version = sqlx::query_file_scalar!("sql/queries/agent/has_version.sql", agent_id, version);
    if !has_version.fetch_one(&mut *transaction).await? {
        return Ok(Activated::NoVersion);
    }
    set(transaction, agent_id, environment, version).await?;
    Ok(Activated::Active)
}

/// Takes the newest activation in an environment back. The caller commits.
pub async fn roll_back(
    transaction: &mut PgConnection,
    (project_id, agent_id): (Uuid, Uuid),
    environment: Environment,
) -> Result<RolledBack, sqlx::Error> {
    if !lock(transaction, project_id, agent_id).await? {
        return Ok(RolledBack::NoAgent);
    }
    let previous = sqlx::query_file_scalar!("sql/queries/agent/roll_back.sql", agent_id, environment.as_str())
        .fetch_one(transaction)
        .await?;
    Ok(previous.map_or(RolledBack::NothingBefore, RolledBack::To))
}

/// Activates a version. The caller holds the lock of the agent's row, or has just made the agent.
pub(super) async fn set(
    transaction: &mut PgConnection,
    agent_id: Uuid,
    environment: Environment,
    version: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/agent/activate.sql", agent_id, environment.as_str(), version)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Locks the row of an agent. False, if the project has no such agent.
async fn lock(transaction: &mut PgConnection, project_id: Uuid, agent_id: Uuid) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_file!("sql/queries/agent/lock.sql", project_id, agent_id);
    Ok(found.fetch_optional(transaction).await?.is_some())
}
