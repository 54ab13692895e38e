//! What a turn keeps of the model's rounds, so that an attempt after a crash goes on from there
//! and no tool takes effect twice.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::agents::AgentError;
use crate::agents::tool::ToolAnswer;
use crate::domain::llm::ModelFinish;
use crate::domain::llm_budget::ModelTokens;

/// The future of a record.
pub type Recording<'a, T> = Pin<Box<dyn Future<Output = Result<T, AgentError>> + Send + 'a>>;

/// What one turn keeps. Each method is done when what it keeps is durable.
pub trait TurnRecord: Send + Sync + std::fmt::Debug {
    /// What earlier attempts of the turn kept, in order.
    fn rounds(&self) -> Recording<'_, Vec<Round>>;

    /// Keeps a message of the model that calls tools, before the first of them runs.
    fn message(&self, round: i32, message: Value) -> Recording<'_, ()>;

    /// Keeps a call with its result, before the next one runs.
    fn call(&self, call: KeptCall) -> Recording<'_, ()>;

    /// Whether the server may be called now.
    fn permit(&self) -> Result<(), NotPermitted>;

    /// Keeps how the server took a request.
    fn observe(&self, outcome: RequestOutcome);

    /// Counts the most that a request may use, before it is made. Fails if the session or the
    /// project has reached a limit.
    fn reserve(&self, most: ModelTokens) -> Recording<'_, Uuid>;

    /// Counts a request that was made, and what it used instead of what was reserved for it.
    fn request(&self, request: ModelRequest) -> Recording<'_, ()>;
}

/// Why the server may not be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPermitted {
    /// It failed repeatedly, and is called again after this time.
    ServerFails(Duration),
    /// It refused the key or the account repeatedly.
    AccountRefused,
}

/// How the server took a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It answered.
    Answered,
    /// It was not reached, did not answer in time, or can't take requests for the moment. It may
    /// have told for how long.
    Failed(Option<Duration>),
    /// It refused the key or the account.
    AccountRefused,
}

/// A round of an earlier attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// The message of the model.
    pub message: Value,
    /// The calls of it that have run, in order.
    pub calls: Vec<KeptCall>,
}

/// A call that has run.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptCall {
    /// The round, from 0.
    pub round: i32,
    /// The position among the calls of its message, from 0.
    pub position: i32,
    /// The tool.
    pub name: String,
    /// What it came to: its answer, or the error that the model gets.
    pub result: Result<ToolAnswer, String>,
}

/// A request to the model, as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRequest {
    /// What was reserved for it.
    pub reservation: Uuid,
    /// What it used, as it counts against the limits.
    pub used: ModelTokens,
    /// The round, from 0.
    pub round: i32,
    /// The provider's name of the model.
    pub model: String,
    /// Why the model stopped.
    pub finish: ModelFinish,
    /// All tokens of the request, if the server says.
    pub prompt_tokens: Option<i32>,
    /// Those among them that the provider had cached.
    pub cached_tokens: Option<i32>,
    /// All tokens of the answer.
    pub output_tokens: Option<i32>,
    /// Those among them that are thoughts.
    pub reasoning_tokens: Option<i32>,
    /// How long the request took, in milliseconds.
    pub milliseconds: i32,
    /// What went wrong, without what the server said.
    pub error: Option<String>,
}
