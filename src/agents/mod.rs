//! Defines the trait of all kinds of agents, the values that agents and workers exchange, and the
//! factory that makes an agent of what its version says.

mod answer;
pub mod http;
pub mod llm;
pub mod script;
pub mod template;
mod template_faults;
pub mod tool;

pub use script::Headroom;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::agent::AgentSpec;
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use http::HttpAgent;
use llm::LlmAgent;
use llm::record::TurnRecord;
use script::{Purpose, ScriptAgent};

/// The most texts of one run that are kept; the rest is cut. The agent's version limits how many of
/// them are sent (`max_messages_per_turn`), which are 50 at most.
const MOST_TEXTS: usize = 50;

/// The most texts that one run may send outside its answer.
const MOST_SENDS: usize = 10;

/// The script runners and the HTTP caller, shared by all agents of a process. Cheap to clone.
#[derive(Clone)]
pub struct AgentRuntime {
    pub runners: script::runner::Runners,
    pub caller: http::Caller,
}

/// Why a spec can't be stored.
#[derive(Debug)]
pub enum SpecError {
    /// It is wrong, and the detail says what its author can do. `code` is the API's name of the
    /// reason.
    Refused { code: &'static str, detail: String },
    /// It could not be checked.
    Unchecked(AgentError),
}

impl AgentRuntime {
    /// Makes an agent of what its version runs. `key` identifies the version among all versions of
    /// all agents.
    pub fn load(&self, project_id: Uuid, key: String, spec: &AgentSpec) -> Box<dyn Agent> {
        match spec {
            AgentSpec::Script { source } => {
                Box::new(ScriptAgent::new(self.runners.clone(), project_id, key, source.clone(), Purpose::Answers))
            }
            AgentSpec::Http { url, timeout_seconds } => {
                let timeout = Duration::from_secs(u64::try_from(*timeout_seconds).unwrap_or_default());
                Box::new(HttpAgent { caller: self.caller.clone(), url: url.clone(), timeout })
            }
            AgentSpec::Llm { llm, source } => {
                let script = source.as_ref().map(|source| {
                    let purpose = Purpose::Tools(llm.tools.clone());
                    ScriptAgent::new(self.runners.clone(), project_id, key, source.clone(), purpose)
                });
                // They were checked when the version was saved.
                let tools = source.as_ref().and_then(|source| script::tools::tools(source, &llm.tools).ok());
                let means = (self.caller.clone(), self.runners.clone());
                Box::new(LlmAgent::new(means, project_id, (**llm).clone(), script, tools.unwrap_or_default()))
            }
        }
    }

    /// Checks what a version would run, before it is stored.
    pub async fn check(&self, project_id: Uuid, spec: &AgentSpec) -> Result<(), SpecError> {
        match spec {
            AgentSpec::Script { source } => self.check_script(project_id, source, &Purpose::Answers).await,
            AgentSpec::Http { url, .. } => self.caller.check_url(url).await.map_err(|what| SpecError::Refused {
                code: "agent_url_refused",
                detail: format!("url {url} can't be used: {what}"),
            }),
            AgentSpec::Llm { llm, source } => llm::check(self, project_id, llm, source.as_deref()).await,
        }
    }

    /// Checks a script that is to answer, or whose functions are to be tools.
    async fn check_script(&self, project_id: Uuid, source: &str, purpose: &Purpose) -> Result<(), SpecError> {
        let faults = self.runners.check(project_id, source, purpose).await.map_err(SpecError::Unchecked)?;
        let fatal: Vec<String> = faults.iter().filter(|fault| fault.fatal).map(ToString::to_string).collect();
        if fatal.is_empty() {
            return Ok(());
        }
        Err(SpecError::Refused { code: "script_has_faults", detail: fatal.join("\n") })
    }
}

/// What an agent knows of the conversation: the `conv` of scripts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Conversation {
    /// The session's id.
    pub id: String,
    /// `sms`, `webchat` or `voice`.
    pub channel_type: String,
    /// The contact, in E.164.
    pub caller_number: String,
    /// Our number, in E.164 or a short code.
    pub callee_number: String,
    /// `live`, or `dev` in `textback dev`.
    pub env: String,
    pub language: Option<String>,
    /// The agent's state, which is kept with the session.
    pub state: Map<String, Value>,
    /// The earlier messages, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The media of the waiting messages: `[{"id", "url", "content_type", "bytes"}]`.
    #[serde(default)]
    pub media: Vec<Value>,
}

/// An earlier message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// `user` or `agent`.
    pub role: String,
    pub text: String,
    pub at: DateTime<Utc>,
}

/// The input of a turn: the waiting messages.
#[derive(Debug, Clone)]
pub struct TurnInput {
    /// The same for each attempt at the same messages.
    pub turn_id: String,
    /// The number of the attempt, from 1.
    pub attempt: i32,
    /// The time of the attempt, by the database's clock.
    pub at: DateTime<Utc>,
    /// In the order of arrival.
    pub messages: Vec<UserMessage>,
    /// What signs the request of a turn, the newest first, if the spec is signed. They may change
    /// between two turns.
    pub signing_secrets: Vec<SecretString>,
    /// What a turn of a language model has besides. `None` for agents of other kinds.
    pub model: Option<ModelAccess>,
    /// The header `traceparent` of a request to a service, while traces are on.
    pub traceparent: Option<String>,
}

/// What a turn of a language model has besides.
#[derive(Debug, Clone)]
pub struct ModelAccess {
    /// The key at the provider, if one was set: a model on a machine of one's own may need none.
    pub key: Option<SecretString>,
    /// Keeps what the turn did.
    pub record: Arc<dyn TurnRecord>,
}

/// An inbound message.
#[derive(Debug, Clone, Serialize)]
pub struct UserMessage {
    pub id: String,
    pub text: String,
    /// Its media: `[{"id", "url", "content_type", "bytes"}]`.
    pub media: Value,
}

/// The answer of an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The texts to send, in order. None of them is blank.
    pub texts: Vec<String>,
    /// How many characters of further texts were cut, because the run had too many.
    #[serde(default)]
    pub cut: usize,
    /// Whether the session ends with this answer.
    pub hangup: bool,
    /// The new state.
    pub state: Map<String, Value>,
    pub language: Option<String>,
    /// Messages to send outside the answer after the turn.
    #[serde(default)]
    pub sends: Vec<OutboundRequest>,
    /// Lines for the log.
    pub log: Vec<LogLine>,
    /// What the author's prompt and tools told a model: links and phone numbers in it may be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
}

impl Answer {
    /// The answer of an agent that lacks the function: no text, and the state stays.
    pub fn silent(conversation: Conversation) -> Self {
        Self { state: conversation.state, language: conversation.language, ..Self::default() }
    }
}

/// The first `most` texts that are not blank, and how many characters the others have.
fn at_most(texts: Vec<String>, most: usize) -> (Vec<String>, usize) {
    let mut kept: Vec<String> = texts.into_iter().filter(|text| !is_blank(text)).collect();
    let cut = kept.iter().skip(most).map(|text| text.chars().count()).sum();
    kept.truncate(most);
    (kept, cut)
}

/// A message outside the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboundRequest {
    /// In E.164.
    pub to: String,
    /// One of the project's numbers, or a pool that some are in; if absent, the session's number.
    pub from: Option<String>,
    pub body: MessageBody,
}

/// The body of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MessageBody {
    Text(String),
    /// A template of the project, with its variables.
    Template {
        name: String,
        variables: Map<String, Value>,
    },
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// `info`, `warning` or `error`.
    pub level: String,
    pub text: String,
    pub fields: Map<String, Value>,
}

/// Why an agent gave no answer. The text is for the author of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AgentError {
    /// The script can't be read or run at all.
    #[error("{0}")]
    Unusable(String),
    /// It ran and failed.
    #[error("{0}")]
    Failed(String),
    /// It took too much time, steps or memory.
    #[error("{0}")]
    OverLimit(String),
    /// The session or the project has used what its models may use. The operators were told.
    #[error("{0}")]
    OverBudget(String),
    /// The agent was not run, because what it needs is not to be used for the moment. The run is
    /// retried after so many seconds.
    #[error("{what}")]
    NotNow { what: String, seconds: u32 },
    /// The agent was not run to its end, and neither the script nor the service is to blame. The
    /// run is retried, and no attempt counts.
    #[error("{0}")]
    Ours(String),
    /// A run that had begun ended for an unknown reason. It is retried after growing pauses, and
    /// fails in the end.
    #[error("{0}")]
    Interrupted(String),
}

impl AgentError {
    /// Its kind as metrics and spans have it: a word of the table of metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unusable(_) => "unusable",
            Self::Failed(_) => "failed",
            Self::OverLimit(_) => "over_limit",
            Self::OverBudget(_) => "over_budget",
            Self::NotNow { .. } | Self::Ours(_) => "not_run",
            Self::Interrupted(_) => "interrupted",
        }
    }

    /// The same error with at most [`bounds::ERROR_BYTES`] of text: a script chooses the length of
    /// its error.
    pub fn bounded(self) -> Self {
        self.map(|text| bounds::error(&text))
    }

    /// The same kind of error with another text.
    pub fn map(self, change: impl FnOnce(String) -> String) -> Self {
        let (kind, text): (fn(String) -> Self, String) = match self {
            Self::Unusable(text) => (Self::Unusable, text),
            Self::Failed(text) => (Self::Failed, text),
            Self::OverLimit(text) => (Self::OverLimit, text),
            Self::OverBudget(text) => (Self::OverBudget, text),
            Self::NotNow { what, seconds } => return Self::NotNow { what: change(what), seconds },
            Self::Ours(text) => (Self::Ours, text),
            Self::Interrupted(text) => (Self::Interrupted, text),
        };
        kind(change(text))
    }
}

/// The future of an answer.
pub type AgentFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, AgentError>> + Send + 'a>>;

/// An agent of any kind: what a version runs, ready for its turns. It may be kept, because a
/// version never changes.
pub trait Agent: Send + Sync {
    /// Runs once when a session opens. Its text, if it returns one, replaces the greeting.
    fn start(&self, conversation: Conversation) -> AgentFuture<'_>;

    /// Answers all waiting messages together.
    fn reply(&self, conversation: Conversation, input: TurnInput) -> AgentFuture<'_>;

    /// Whether the agent replies to messages at all: some agents only greet.
    fn replies(&self) -> bool;

    /// How many more turns the agent could run now. A turn beyond that could only wait.
    fn headroom(&self) -> Headroom {
        Headroom::Enough
    }
}
