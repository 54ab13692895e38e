//! `/v1/agents/{id}/environments`: which version new sessions get.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::settings::AgentVersion;
use crate::domain::agent::Environment;
use crate::domain::version_diff;
use crate::http::api::auth::Caller;
use crate::http::api::lists::List;
use crate::http::api::{ApiState, Group};
use crate::http::problem::Problem;
use crate::storage::active_version::{self, Activated, RolledBack};
use crate::storage::agent;
use crate::storage::pagination::Page;

/// `/v1/agents/{id}/environments`
pub struct Api;

/// An environment of an agent.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct AgentEnvironment {
    environment: Environment,
    /// The version that new sessions get. Open sessions keep theirs.
    version: i32,
    /// What was activated, newest first, at most twenty.
    activations: Vec<Activation>,
}

/// A version that was activated.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Activation {
    version: i32,
    activated_at: DateTime<Utc>,
    /// When a rollback took it back.
    rolled_back_at: Option<DateTime<Utc>>,
}

/// The version to be activated.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewActivation {
    version: i32,
}

/// What differs between two versions.
#[derive(Object)]
struct VersionDiff {
    /// The version that is compared with.
    from: i32,
    version: i32,
    /// The settings that differ, in the order of their names.
    changes: Vec<VersionChange>,
}

/// A setting that differs.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct VersionChange {
    /// Its name, such as `greeting` or `inactivity.warning`.
    field: String,
    /// Its value in the version `from`. Left out if the setting is not set there.
    before: Option<poem_openapi::types::Any<serde_json::Value>>,
    /// Its value in `version`. Left out if the setting is not set there.
    after: Option<poem_openapi::types::Any<serde_json::Value>>,
    /// A unified diff, if the setting is a text of several lines.
    lines: Option<String>,
}

#[OpenApi(tag = "Group::Agents")]
impl Api {
    /// List the environments of an agent
    #[oai(path = "/agents/:id/environments", method = "get", operation_id = "list_agent_environments")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<List<AgentEnvironment>>, Problem> {
        let items = environments(&state, caller.reader(), *id).await?;
        Ok(Json(List::of(Page { items, next_cursor: None })))
    }

    /// Activate a version in an environment
    ///
    /// New sessions of the environment's numbers get it. Open sessions keep the version that they
    /// started with, but for the settings of inactivity. A version that is active already stays so.
    #[oai(path = "/agents/:id/environments/:environment", method = "put", operation_id = "activate_agent_version")]
    async fn activate(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        environment: Path<Environment>,
        body: Json<NewActivation>,
    ) -> Result<Json<AgentEnvironment>, Problem> {
        let project_id = caller.writer()?;
        let version = body.0.version;
        let mut transaction = state.storage.transaction().await?;
        match active_version::activate(&mut transaction, (project_id, *id), *environment, version).await? {
            Activated::Active => transaction.commit().await?,
            Activated::NoAgent => return Err(Problem::not_found("agent")),
            Activated::NoVersion => {
                return Err(Problem::invalid(
                    "agent_version_unknown",
                    format!("this agent has no version {version}; GET /v1/agents/{{id}}/versions lists its versions"),
                ));
            }
        }
        one(&state, project_id, *id, *environment).await
    }

    /// Activate the version before again
    ///
    /// Each rollback takes back the newest activation that was not taken back.
    #[oai(
        path = "/agents/:id/environments/:environment/rollback",
        method = "post",
        operation_id = "roll_back_agent_version"
    )]
    async fn roll_back(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        environment: Path<Environment>,
    ) -> Result<Json<AgentEnvironment>, Problem> {
        let project_id = caller.writer()?;
        let mut transaction = state.storage.transaction().await?;
        match active_version::roll_back(&mut transaction, (project_id, *id), *environment).await? {
            RolledBack::To(_) => transaction.commit().await?,
            RolledBack::NoAgent => return Err(Problem::not_found("agent")),
            RolledBack::NothingBefore => {
                return Err(Problem::conflict(
                    "no_version_before",
                    format!(
                        "no other version was active in {} before; activate one with PUT /v1/agents/{{id}}/environments/{}",
                        *environment, *environment
                    ),
                ));
            }
        }
        one(&state, project_id, *id, *environment).await
    }

    /// Compare two versions
    #[oai(path = "/agents/:id/versions/:version/diff/:from", method = "get", operation_id = "compare_agent_versions")]
    async fn compare(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        version: Path<i32>,
        /// The version to compare with, usually the older one.
        from: Path<i32>,
    ) -> Result<Json<VersionDiff>, Problem> {
        let project_id = caller.reader();
        let (before, after) =
            (settings(&state, project_id, *id, *from).await?, settings(&state, project_id, *id, *version).await?);
        let changes = version_diff::changes(&before, &after);
        Ok(Json(VersionDiff {
            from: *from,
            version: *version,
            changes: changes.into_iter().map(VersionChange::from).collect(),
        }))
    }
}

async fn environments(state: &ApiState, project_id: Uuid, agent_id: Uuid) -> Result<Vec<AgentEnvironment>, Problem> {
    let found = active_version::list(&mut *state.storage.connection().await?, project_id, agent_id).await?;
    match found.is_empty() {
        true => Err(Problem::not_found("agent")),
        false => Ok(found.into_iter().map(AgentEnvironment::from).collect()),
    }
}

async fn one(
    state: &ApiState,
    project_id: Uuid,
    agent_id: Uuid,
    environment: Environment,
) -> Result<Json<AgentEnvironment>, Problem> {
    let all = environments(state, project_id, agent_id).await?;
    let found = all.into_iter().find(|one| one.environment == environment);
    Ok(Json(found.ok_or_else(|| Problem::not_found("environment"))?))
}

/// The settings of a version as answers tell them, without what is not a setting.
async fn settings(
    state: &ApiState,
    project_id: Uuid,
    agent_id: Uuid,
    version: i32,
) -> Result<serde_json::Map<String, serde_json::Value>, Problem> {
    let found = agent::find_version(&state.storage, project_id, agent_id, version).await?;
    let found = AgentVersion::from(found.ok_or_else(|| Problem::not_found("version of this agent"))?);
    let mut settings = match found.to_json() {
        Some(serde_json::Value::Object(settings)) => settings,
        _ => return Err(Problem::internal()),
    };
    for not_a_setting in ["version", "version_created_at", "active_in"] {
        settings.remove(not_a_setting);
    }
    Ok(settings)
}

impl From<active_version::AgentEnvironment> for AgentEnvironment {
    fn from(found: active_version::AgentEnvironment) -> Self {
        let active_version::AgentEnvironment { environment, version, activations } = found;
        let activation = |activation: active_version::Activation| {
            let active_version::Activation { version, activated_at, rolled_back_at } = activation;
            Activation { version, activated_at, rolled_back_at }
        };
        Self { environment, version, activations: activations.0.into_iter().map(activation).collect() }
    }
}

impl From<version_diff::Change> for VersionChange {
    fn from(change: version_diff::Change) -> Self {
        let version_diff::Change { field, before, after, lines } = change;
        let any = |value: Option<serde_json::Value>| value.map(poem_openapi::types::Any);
        Self { field, before: any(before), after: any(after), lines }
    }
}
