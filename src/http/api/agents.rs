//! `/v1/agents`: who answers. An agent has versions, which never change.

pub(super) mod environments;
mod llm;
mod settings;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::{ParseError, ParseFromJSON};
use poem_openapi::{ApiResponse, Object, OpenApi};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::visible::named;
use super::{ApiState, Group};
use crate::agents::SpecError;
use crate::domain::agent::{AgentSpec, Environment};
use crate::domain::agent_error::LastError;
use crate::http::problem::Problem;
use crate::outbound_http::standard_webhooks;
use crate::storage::agent::{self, AgentSecrets, NewVersion};
use crate::storage::model_budget;
use crate::storage::refused_by;
use settings::{AgentVersion, NewAgentVersion};

/// `/v1/agents`
pub struct Api;

/// An agent to be made, with its first version.
#[derive(Object)]
struct NewAgent {
    /// The name, which no other agent of the project has.
    // Before the version: that refuses fields that it does not know, and this one is taken out
    // first.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    #[oai(flatten)]
    version: NewAgentVersion,
}

/// A version to be added to an agent. Without `first_message` it is `greet`; without `inactivity`
/// it has the defaults; without `markdown` it is `keep`, and without `links` `any`.
#[derive(Object)]
#[oai(rename = "NewAgentVersion")]
struct AddedVersion {
    /// The environments in which it is activated. Without it in all; with an empty list in none.
    // Before the version, as in `NewAgent`.
    activate_in: Option<Vec<Environment>>,
    #[oai(flatten)]
    version: NewAgentVersion,
}

/// An agent with its live version, or with the version that was made.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Agent {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    /// What signs the requests to an `http` agent (`whsec_…`). It is told only once, when it is
    /// drawn.
    signing_secret: Option<String>,
    last_error: Option<LastError>,
    #[oai(flatten)]
    current: AgentVersion,
}

/// What signs the requests to an `http` agent from now on.
#[derive(Object)]
struct SigningSecret {
    /// It is told only once.
    signing_secret: String,
}

#[derive(ApiResponse)]
enum AgentCreated {
    /// The agent was made
    #[oai(status = 201)]
    Created(Json<Agent>),
}

#[derive(ApiResponse)]
enum VersionCreated {
    /// The version was made
    #[oai(status = 201)]
    Created(Json<Agent>),
}

#[OpenApi(tag = "Group::Agents")]
impl Api {
    /// Make an agent
    #[oai(path = "/agents", method = "post", operation_id = "create_agent")]
    async fn create(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        body: Json<NewAgent>,
    ) -> Result<AgentCreated, Problem> {
        let project_id = caller.writer()?;
        let NewAgent { name, version } = body.0;
        named("name", &name, "give the agent a name")?;
        let version = validate(&state, project_id, version).await?;
        let secret = needed_secret(&version);
        let secrets = AgentSecrets { keys: state.accounts.key(), signing: secret.as_ref() };
        let made = agent::create(&state.storage, project_id, &name, &version, secrets).await;
        let agent = made.map_err(|error| match refused_by(&error) {
            Some("agent_name_is_unique_in_a_project") => Problem::conflict(
                "agent_name_taken",
                format!(
                    "this project already has an agent called {name}; take another name, or add a version to that agent"
                ),
            ),
            _ => error.into(),
        })?;
        Ok(AgentCreated::Created(Json(Agent::with_secret(agent, secret))))
    }

    /// Add a version to an agent and activate it
    ///
    /// The answer has the new version. Open sessions keep the version that they started with.
    #[oai(path = "/agents/:id/versions", method = "post", operation_id = "create_agent_version")]
    async fn create_version(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        body: Json<AddedVersion>,
    ) -> Result<VersionCreated, Problem> {
        let project_id = caller.writer()?;
        let AddedVersion { activate_in, version } = body.0;
        let environments = activate_in.as_deref().unwrap_or(Environment::ALL);
        let version = validate(&state, project_id, version).await?;
        let secret = needed_secret(&version);
        let secrets = AgentSecrets { keys: state.accounts.key(), signing: secret.as_ref() };
        let added = agent::add_version(&state.storage, (project_id, *id), &version, environments, secrets).await?;
        let (agent, taken) = added.ok_or_else(|| Problem::not_found("agent"))?;
        Ok(VersionCreated::Created(Json(Agent::with_secret(agent, secret.filter(|_| taken)))))
    }

    /// Change the secret that signs requests to an `http` agent
    ///
    /// For 24 hours requests are signed with the previous secret too: the header then holds two
    /// signatures, and either is valid. Within these hours the secret can't be changed again.
    #[oai(path = "/agents/:id/signing-secret", method = "post", operation_id = "change_signing_secret")]
    async fn change_signing_secret(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<SigningSecret>, Problem> {
        let project_id = caller.writer()?;
        let secret = standard_webhooks::draw_secret();
        let signing = (&secret, state.accounts.key());
        if !agent::change_signing_secret(&state.storage, project_id, *id, signing).await? {
            let found = agent::find(&state.storage, project_id, *id).await?;
            let secrets = agent::signing_secrets(&state.storage, state.accounts.key(), *id).await?;
            return Err(match found {
                None => Problem::not_found("agent"),
                Some(_) if !secrets.is_empty() => Problem::conflict(
                    "signing_secret_changing",
                    "the signing secret was changed within the last 24 hours, and requests are still signed with the one before too; \
                     change it again after that, or make another agent of this service",
                ),
                Some(_) => Problem::conflict(
                    "agent_signs_nothing",
                    "this agent has no http version, so it has no signing secret",
                ),
            });
        }
        Ok(Json(SigningSecret { signing_secret: secret.expose_secret().to_owned() }))
    }

    /// List agents, newest first
    ///
    /// The items have no `source`. `GET /v1/agents/{id}` has it.
    #[oai(path = "/agents", method = "get", operation_id = "list_agents")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Agent>>, Problem> {
        let (cursor, limit) = (List::<Agent>::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(agent::list(&state.storage, caller.reader(), cursor, limit).await?)))
    }

    /// Read an agent
    #[oai(path = "/agents/:id", method = "get", operation_id = "get_agent")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Agent>, Problem> {
        let agent = agent::find(&state.storage, caller.reader(), *id).await?;
        Ok(Json(agent.ok_or_else(|| Problem::not_found("agent"))?.into()))
    }

    /// List the versions of an agent, newest first
    ///
    /// The items have no `source`. `GET /v1/agents/{id}/versions/{version}` has it.
    #[oai(path = "/agents/:id/versions", method = "get", operation_id = "list_agent_versions")]
    async fn list_versions(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<AgentVersion>>, Problem> {
        let (cursor, limit) = (List::<AgentVersion>::cursor(cursor.0)?, lists::limit(limit.0)?);
        if agent::find(&state.storage, caller.reader(), *id).await?.is_none() {
            return Err(Problem::not_found("agent"));
        }
        Ok(Json(List::of(agent::list_versions(&state.storage, caller.reader(), *id, cursor, limit).await?)))
    }

    /// Read a version of an agent
    #[oai(path = "/agents/:id/versions/:version", method = "get", operation_id = "get_agent_version")]
    async fn get_version(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        version: Path<i32>,
    ) -> Result<Json<AgentVersion>, Problem> {
        let found = agent::find_version(&state.storage, caller.reader(), *id, *version).await?;
        Ok(Json(found.ok_or_else(|| Problem::not_found("version of this agent"))?.into()))
    }
}

/// Reads an agent outside a request, with the checks of `POST /v1/agents` that need neither its
/// script nor its service.
pub(super) fn read(agent: Value) -> Result<NewVersion, String> {
    let NewAgent { name, version } = NewAgent::parse_from_json(Some(agent)).map_err(ParseError::into_message)?;
    let checked = named("name", &name, "give the agent a name").and_then(|()| version.validate());
    checked.map_err(|problem| problem.detail().to_owned())
}

/// Checks a version, its script or the address of its service.
async fn validate(state: &ApiState, project_id: Uuid, version: NewAgentVersion) -> Result<NewVersion, Problem> {
    let version = version.validate()?;
    state.agent_runtime.check(project_id, &version.spec).await.map_err(|error| match error {
        SpecError::Refused { code, detail } => Problem::invalid(code, detail),
        SpecError::Unchecked(error) => error.into(),
    })?;
    if let AgentSpec::Llm { llm, .. } = &version.spec
        && llm.max_cost_per_session.is_some()
    {
        // Without a price the requests would cost nothing, and the limit would never be reached.
        let prices = model_budget::prices(&mut *state.storage.connection().await?, project_id).await?;
        if !prices.iter().any(|price| price.model == llm.model) {
            let detail = format!(
                "llm.max_cost_per_session needs a price of the model {:?}; set it first: PATCH /v1/project with llm_prices, or limit llm.max_tokens_per_session",
                llm.model
            );
            return Err(Problem::invalid("llm_refused", detail));
        }
    }
    Ok(version)
}

/// A new secret, if requests to the agent are signed.
fn needed_secret(version: &NewVersion) -> Option<SecretString> {
    version.spec.is_signed().then(standard_webhooks::draw_secret)
}

impl Agent {
    fn with_secret(agent: agent::Agent, secret: Option<SecretString>) -> Self {
        Self { signing_secret: secret.map(|secret| secret.expose_secret().to_owned()), ..agent.into() }
    }
}

impl<Spec> From<agent::Agent<Spec>> for Agent
where
    AgentVersion: From<agent::Version<Spec>>,
{
    fn from(agent: agent::Agent<Spec>) -> Self {
        let agent::Agent { id, name, created_at, version, last_error } = agent;
        Self { id, name, created_at, signing_secret: None, last_error, current: version.into() }
    }
}
