//! Who answers: one trait for all kinds of agents and the plain values between them and the worker; it reads and writes no row.

pub mod http;
pub mod script;
pub mod template;

/// The countries that a number may be in, for the decision whether it may be texted.
pub use crate::domain::phone_number::countries as countries_of;

use std::future::Future;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::bounds;

/// How many texts one run may say. The agent's version limits how many of them are sent (`max_messages_per_turn`).
const MOST_TEXTS: usize = 50;

/// How many texts outside its answer one run may send.
const MOST_SENDS: usize = 10;

/// What agents run with, shared by all of a process. Cheap to clone.
#[derive(Clone)]
pub struct AgentRuntime {
    pub runners: script::runner::Runners,
    pub caller: http::Caller,
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
    /// Our number, in E.164.
    pub callee_number: String,
    /// `live`, or `dev` in `textback dev`.
    pub env: String,
    pub language: Option<String>,
    /// What the agent remembers; it lasts with the session.
    pub state: Map<String, Value>,
    /// What was said before, oldest first.
    pub history: Vec<HistoryEntry>,
    /// What came with the texts that wait: `[{"id", "url", "content_type", "bytes"}]`.
    #[serde(default)]
    pub media: Vec<Value>,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// `user` or `agent`.
    pub role: String,
    pub text: String,
    pub at: DateTime<Utc>,
}

/// What an agent is asked: the texts that wait.
#[derive(Debug, Clone)]
pub struct TurnInput {
    /// The same for each attempt at the same texts.
    pub turn_id: String,
    /// Which attempt it is, from 1.
    pub attempt: i32,
    /// When it is asked, by the database's clock.
    pub at: DateTime<Utc>,
    /// In the order in which they came.
    pub messages: Vec<UserMessage>,
}

/// A text of the person's.
#[derive(Debug, Clone, Serialize)]
pub struct UserMessage {
    pub id: String,
    pub text: String,
    /// What came with it: `[{"id", "url", "content_type", "bytes"}]`.
    pub media: Value,
}

/// What an agent made of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The texts to send, in order.
    pub texts: Vec<String>,
    /// Whether the conversation ends with them.
    pub hangup: bool,
    /// What the agent remembers from now on.
    pub state: Map<String, Value>,
    pub language: Option<String>,
    /// What it wants sent outside the answer, when the turn is over.
    #[serde(default)]
    pub sends: Vec<OutboundRequest>,
    /// What it wants in the log.
    pub log: Vec<LogLine>,
}

impl Answer {
    /// The answer of an agent that lacks the function: it says nothing, and the state stays.
    pub fn silent(conversation: Conversation) -> Self {
        Self { state: conversation.state, language: conversation.language, ..Self::default() }
    }
}

/// A text outside the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboundRequest {
    /// In E.164.
    pub to: String,
    /// A number of ours; without one the session's.
    pub from: Option<String>,
    pub wording: MessageBody,
}

/// What a text says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MessageBody {
    Text(String),
    /// A template of the project's, with its variables.
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

/// Why an agent gave no answer. The text is for the agent's author.
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
    /// The agent was not run to its end, and neither the script nor the service is to blame. The run is retried, and no
    /// attempt counts.
    #[error("{0}")]
    Ours(String),
    /// A run that had begun ended for an unknown reason. It is retried after growing pauses, and given up in the end.
    #[error("{0}")]
    Interrupted(String),
}

impl AgentError {
    /// The same error with at most [`bounds::ERROR_BYTES`] of text: a script chooses the length of its error.
    pub fn bounded(self) -> Self {
        self.map(|text| bounds::error(&text))
    }

    /// The same kind of error with another text.
    pub fn map(self, change: impl FnOnce(String) -> String) -> Self {
        let (kind, text): (fn(String) -> Self, String) = match self {
            Self::Unusable(text) => (Self::Unusable, text),
            Self::Failed(text) => (Self::Failed, text),
            Self::OverLimit(text) => (Self::OverLimit, text),
            Self::Ours(text) => (Self::Ours, text),
            Self::Interrupted(text) => (Self::Interrupted, text),
        };
        kind(change(text))
    }
}

/// The answer that an agent will give.
pub type AgentFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, AgentError>> + Send + 'a>>;

/// Something that can hold a conversation.
pub trait Agent: Send + Sync {
    /// Runs once when a session begins. Its text, if it gives one, takes the place of the greeting.
    fn start(&self, conversation: Conversation) -> AgentFuture<'_>;

    /// Answers the texts that wait, all of them together.
    fn reply(&self, conversation: Conversation, asked: TurnInput) -> AgentFuture<'_>;

    /// Whether `reply` would say anything: an agent may only greet.
    fn replies(&self) -> bool;
}
