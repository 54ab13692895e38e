//! `/v1/agents`: who answers, in versions that never change; it checks scripts and runs none of their functions.

mod inactivity;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::domain::segments;
use crate::http::problem::Problem;
use crate::outbound_http::standard_webhooks;
use crate::storage::agent::{self, NewVersion};
use crate::storage::refused_by;
use inactivity::Silence;

/// `/v1/agents`
pub struct Api;

/// What kind of agent it is.
#[derive(Enum, Clone, Copy)]
#[oai(rename = "AgentKind", rename_all = "snake_case")]
enum Kind {
    /// A script in Starlark, Python's syntax.
    Script,
    /// A service of your own, asked by a signed POST.
    Http,
}

/// What the first text of a session brings.
#[derive(Enum, Clone, Copy)]
#[oai(rename_all = "snake_case")]
enum FirstMessage {
    /// The greeting.
    Greet,
    /// An answer to it.
    Process,
    /// The greeting, then an answer to it.
    GreetThenProcess,
}

impl FirstMessage {
    const fn usual() -> Self {
        Self::Greet
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Greet => "greet",
            Self::Process => "process",
            Self::GreetThenProcess => "greet_then_process",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "process" => Self::Process,
            "greet_then_process" => Self::GreetThenProcess,
            _ => Self::Greet,
        }
    }
}

const fn usual_timeout() -> i32 {
    30
}

/// An agent to be made.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewAgent {
    /// Unique in the project.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    kind: Kind,
    /// Of a `script`: its source, with `start(conv)` and `reply(conv, text)`, at least one of them.
    #[oai(validator(max_length = 262144))]
    source: Option<String>,
    /// Of an `http` agent: where its service is. It is sent
    /// `{turn_id, attempt, conv, messages: [{id, text, media}], history: [{role, text, at}]}`, signed as Standard Webhooks
    /// says, and answers `{utterance | messages: [text], state?, hangup?}`, or 204 to say nothing. A request that fails
    /// comes again with the same `turn_id` and messages, five times at most.
    #[oai(validator(max_length = 2048))]
    url: Option<String>,
    /// Of an `http` agent: how long its service has for an answer, in seconds (1 to 120).
    #[oai(default = "usual_timeout", validator(maximum(value = "120"), minimum(value = "1")))]
    timeout_seconds: i32,
    /// Said at the beginning of a session, unless `start` says something else.
    #[oai(validator(max_length = 1600))]
    greeting: Option<String>,
    /// What the first text of a session brings.
    #[oai(default = "FirstMessage::usual")]
    first_message: FirstMessage,
    /// How long to wait for more texts before answering, in seconds (0 to 60).
    #[oai(default, validator(maximum(value = "60"), minimum(value = "0")))]
    debounce_seconds: i32,
    #[oai(default)]
    silence: Silence,
    /// How many segments one text of the agent may cost (1 to 100); a longer one is cut behind a word. Null: as many as it
    /// takes.
    #[oai(validator(maximum(value = "100"), minimum(value = "1")))]
    max_segments: Option<i32>,
    /// How many messages one turn may send in all (1 to 50); the rest is cut, and its last message says so (`truncated`).
    #[oai(default = "agent::usual_messages_per_turn", validator(maximum(value = "50"), minimum(value = "1")))]
    max_messages_per_turn: i32,
    /// Whether typographic characters (curly quotes, dashes, the ellipsis) are replaced by plain ones where they alone
    /// make a text UCS-2, which has 70 characters in a segment instead of 160.
    #[oai(default)]
    smart_encoding: bool,
    /// Said when the agent fails for good. Without it the person hears nothing, and the text is skipped.
    #[oai(validator(max_length = 1600))]
    error_message: Option<String>,
}

impl NewAgent {
    /// The name, and what would be a version of it.
    fn split(self) -> (String, Behaviour) {
        let behaviour = Behaviour {
            kind: self.kind,
            source: self.source,
            url: self.url,
            timeout_seconds: self.timeout_seconds,
            greeting: self.greeting,
            first_message: self.first_message,
            debounce_seconds: self.debounce_seconds,
            silence: self.silence,
            max_segments: self.max_segments,
            max_messages_per_turn: self.max_messages_per_turn,
            smart_encoding: self.smart_encoding,
            error_message: self.error_message,
        };
        (self.name, behaviour)
    }
}

/// What an agent does: the contents of a version.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Behaviour {
    kind: Kind,
    /// Of a `script`: its source, with `start(conv)` and `reply(conv, text)`, at least one of them.
    #[oai(validator(max_length = 262144))]
    source: Option<String>,
    /// Of an `http` agent: where its service is. It is sent
    /// `{turn_id, attempt, conv, messages: [{id, text, media}], history: [{role, text, at}]}`, signed as Standard Webhooks
    /// says, and answers `{utterance | messages: [text], state?, hangup?}`, or 204 to say nothing. A request that fails
    /// comes again with the same `turn_id` and messages, five times at most.
    #[oai(validator(max_length = 2048))]
    url: Option<String>,
    /// Of an `http` agent: how long its service has for an answer, in seconds (1 to 120).
    #[oai(default = "usual_timeout", validator(maximum(value = "120"), minimum(value = "1")))]
    timeout_seconds: i32,
    /// Said at the beginning of a session, unless `start` says something else.
    #[oai(validator(max_length = 1600))]
    greeting: Option<String>,
    /// What the first text of a session brings.
    #[oai(default = "FirstMessage::usual")]
    first_message: FirstMessage,
    /// How long to wait for more texts before answering, in seconds (0 to 60).
    #[oai(default, validator(maximum(value = "60"), minimum(value = "0")))]
    debounce_seconds: i32,
    #[oai(default)]
    silence: Silence,
    /// How many segments one text of the agent may cost (1 to 100); a longer one is cut behind a word. Null: as many as it
    /// takes.
    #[oai(validator(maximum(value = "100"), minimum(value = "1")))]
    max_segments: Option<i32>,
    /// How many messages one turn may send in all (1 to 50); the rest is cut, and its last message says so (`truncated`).
    #[oai(default = "agent::usual_messages_per_turn", validator(maximum(value = "50"), minimum(value = "1")))]
    max_messages_per_turn: i32,
    /// Whether typographic characters (curly quotes, dashes, the ellipsis) are replaced by plain ones where they alone
    /// make a text UCS-2, which has 70 characters in a segment instead of 160.
    #[oai(default)]
    smart_encoding: bool,
    /// Said when the agent fails for good. Without it the person hears nothing, and the text is skipped.
    #[oai(validator(max_length = 1600))]
    error_message: Option<String>,
}

/// An agent with its current version.
#[derive(Object)]
struct Agent {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    /// What signs the requests to an `http` agent (`whsec_…`): given this once, when it is drawn.
    #[oai(skip_serializing_if_is_none)]
    signing_secret: Option<String>,
    #[oai(flatten)]
    current: AgentVersion,
}

/// A version of an agent. It never changes; sessions keep the version they started with.
#[derive(Object)]
struct AgentVersion {
    version: i32,
    kind: Kind,
    /// Of a `script`; lists leave it out.
    #[oai(skip_serializing_if_is_none)]
    source: Option<String>,
    url: Option<String>,
    timeout_seconds: i32,
    greeting: Option<String>,
    first_message: FirstMessage,
    debounce_seconds: i32,
    silence: Silence,
    max_segments: Option<i32>,
    max_messages_per_turn: i32,
    smart_encoding: bool,
    error_message: Option<String>,
    version_created_at: DateTime<Utc>,
}

/// What signs the requests to an `http` agent from now on.
#[derive(Object)]
struct SigningSecret {
    /// Given this once.
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
    /// The version was made and is current
    #[oai(status = 201)]
    Created(Json<Agent>),
}

#[OpenApi(tag = "Group::Agents")]
impl Api {
    /// Make an agent
    #[oai(path = "/agents", method = "post", operation_id = "create_agent")]
    async fn create(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        body: Json<NewAgent>,
    ) -> Result<AgentCreated, Problem> {
        let project_id = caller.writer()?;
        let (name, behaviour) = body.0.split();
        let version = behaviour.read(&door, project_id).await?;
        let secret = needed_secret(&version);
        let signing = secret.as_ref().map(|secret| (secret, door.accounts.key()));
        let made = agent::create(&door.storage, project_id, &name, &version, signing).await;
        let agent = made.map_err(|error| {
            match refused_by(&error) {
                Some("agent_name_is_unique_in_a_project") => Problem::conflict(
                    "agent_name_taken",
                    format!("an agent of this project is called {name} already; take another name, or add a version to that agent"),
                ),
                _ => error.into(),
            }
        })?;
        Ok(AgentCreated::Created(Json(Agent::with_secret(agent, secret))))
    }

    /// Add a version to an agent and make it current
    ///
    /// Sessions that are open keep the version they started with.
    #[oai(path = "/agents/:id/versions", method = "post", operation_id = "create_agent_version")]
    async fn create_version(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        body: Json<Behaviour>,
    ) -> Result<VersionCreated, Problem> {
        let project_id = caller.writer()?;
        let version = body.0.read(&door, project_id).await?;
        let secret = needed_secret(&version);
        let signing = secret.as_ref().map(|secret| (secret, door.accounts.key()));
        let added = agent::add_version(&door.storage, project_id, *id, &version, signing).await?;
        let (agent, taken) = added.ok_or_else(|| Problem::not_found("agent"))?;
        Ok(VersionCreated::Created(Json(Agent::with_secret(agent, secret.filter(|_| taken)))))
    }

    /// Change the secret that signs requests to an `http` agent
    ///
    /// The one before signs too for 24 hours: the header then holds two signatures, and either is right.
    #[oai(path = "/agents/:id/signing-secret", method = "post", operation_id = "change_signing_secret")]
    async fn change_signing_secret(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<SigningSecret>, Problem> {
        let project_id = caller.writer()?;
        let secret = standard_webhooks::draw_secret();
        let signing = (&secret, door.accounts.key());
        if !agent::change_signing_secret(&door.storage, project_id, *id, signing).await? {
            return Err(match agent::find(&door.storage, project_id, *id).await? {
                None => Problem::not_found("agent"),
                Some(_) => {
                    Problem::conflict("agent_signs_nothing", "this agent has no http version, so nothing is signed")
                }
            });
        }
        Ok(Json(SigningSecret { signing_secret: secret.expose_secret().to_owned() }))
    }

    /// List agents, newest first
    ///
    /// Without their `source`, which `GET /v1/agents/{id}` has.
    #[oai(path = "/agents", method = "get", operation_id = "list_agents")]
    async fn list(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Agent>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(agent::list(&door.storage, caller.reader(), cursor, limit).await?)))
    }

    /// Read an agent
    #[oai(path = "/agents/:id", method = "get", operation_id = "get_agent")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Agent>, Problem> {
        let agent = agent::find(&door.storage, caller.reader(), *id).await?;
        Ok(Json(agent.ok_or_else(|| Problem::not_found("agent"))?.into()))
    }

    /// List the versions of an agent, newest first
    ///
    /// Without their `source`, which `GET /v1/agents/{id}/versions/{version}` has.
    #[oai(path = "/agents/:id/versions", method = "get", operation_id = "list_agent_versions")]
    async fn list_versions(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<AgentVersion>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        if agent::find(&door.storage, caller.reader(), *id).await?.is_none() {
            return Err(Problem::not_found("agent"));
        }
        Ok(Json(List::of(agent::list_versions(&door.storage, caller.reader(), *id, cursor, limit).await?)))
    }

    /// Read a version of an agent
    #[oai(path = "/agents/:id/versions/:version", method = "get", operation_id = "get_agent_version")]
    async fn get_version(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        version: Path<i32>,
    ) -> Result<Json<AgentVersion>, Problem> {
        let found = agent::find_version(&door.storage, caller.reader(), *id, *version).await?;
        Ok(Json(found.ok_or_else(|| Problem::not_found("version of this agent"))?.into()))
    }
}

impl Behaviour {
    /// The version that it describes, if its script or its service can be used.
    async fn read(self, door: &ApiState, project_id: Uuid) -> Result<NewVersion, Problem> {
        let misfit = |detail: &str| Problem::invalid("agent_kind_misfit", detail);
        match (self.kind, &self.source, &self.url) {
            (Kind::Script, Some(source), None) => {
                let faults = door.agent_runtime.runners.check(project_id, source).await?;
                let fatal: Vec<String> = faults.iter().filter(|fault| fault.fatal).map(ToString::to_string).collect();
                if !fatal.is_empty() {
                    return Err(Problem::invalid("script_has_faults", fatal.join("\n")));
                }
            }
            (Kind::Http, None, Some(url)) => {
                let checked = door.agent_runtime.caller.check_url(url).await;
                checked.map_err(|what| {
                    Problem::invalid("agent_url_refused", format!("url {url} can't be used: {what}"))
                })?;
            }
            (Kind::Script, ..) => return Err(misfit("an agent of the kind script has a source and no url")),
            (Kind::Http, ..) => return Err(misfit("an agent of the kind http has a url and no source")),
        }
        let blank = |text: &str| text.trim().is_empty();
        if blank(&self.silence.warning) || self.silence.closing.as_deref().is_some_and(blank) {
            return Err(Problem::invalid(
                "text_is_blank",
                "the warning or the closing text is blank; say something, or leave closing out",
            ));
        }
        // The clock says these, and asks nobody then.
        let worded = |text: String| if self.smart_encoding { segments::plain(text) } else { text };
        Ok(NewVersion {
            kind: self.kind.word(),
            source: self.source,
            url: self.url,
            timeout_seconds: self.timeout_seconds,
            greeting: self.greeting,
            first_message: self.first_message.word(),
            debounce_seconds: self.debounce_seconds,
            silence: agent::Silence {
                warn_after_seconds: self.silence.warn_after_seconds,
                grace_seconds: self.silence.grace_seconds,
                warning: worded(self.silence.warning),
                closing: self.silence.closing.map(worded),
            },
            max_segments: self.max_segments,
            max_messages_per_turn: self.max_messages_per_turn,
            smart_encoding: self.smart_encoding,
            error_message: self.error_message,
        })
    }
}

/// A secret for an agent whose requests are signed.
fn needed_secret(version: &NewVersion) -> Option<SecretString> {
    version.url.as_ref().map(|_| standard_webhooks::draw_secret())
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::Http => "http",
        }
    }
}

impl Agent {
    fn with_secret(agent: agent::Agent, secret: Option<SecretString>) -> Self {
        Self { signing_secret: secret.map(|secret| secret.expose_secret().to_owned()), ..agent.into() }
    }
}

impl From<agent::Agent> for Agent {
    fn from(agent: agent::Agent) -> Self {
        Self {
            id: agent.id,
            name: agent.name,
            created_at: agent.created_at,
            signing_secret: None,
            current: agent.version.into(),
        }
    }
}

impl From<agent::Version> for AgentVersion {
    fn from(version: agent::Version) -> Self {
        Self {
            version: version.version,
            kind: if version.kind == "http" { Kind::Http } else { Kind::Script },
            source: version.source,
            url: version.url,
            timeout_seconds: version.timeout_seconds,
            greeting: version.greeting,
            first_message: FirstMessage::of(&version.first_message),
            debounce_seconds: version.debounce_seconds,
            silence: version.silence.into(),
            max_segments: version.max_segments,
            max_messages_per_turn: version.max_messages_per_turn,
            smart_encoding: version.smart_encoding,
            error_message: version.error_message,
            version_created_at: version.version_created_at,
        }
    }
}
