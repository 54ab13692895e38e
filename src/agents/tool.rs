//! Defines the tools of a language model: what a model is told of them, how they are called, and
//! what they give.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Answer;

/// A function that a language model may call, as the model is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// 1 to 64 ASCII letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, in one paragraph of at most 1,024 characters.
    pub description: String,
    /// The JSON Schema of its arguments, which is strict: an object with `additionalProperties`
    /// false and all properties `required`, of which the optional ones may be null.
    pub parameters: Value,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    pub name: String,
    /// As the model gave them. They may fit the tool's parameters or not.
    pub arguments: Map<String, Value>,
    /// Identifies the call among all calls of all turns, and is the same when the call is repeated:
    /// `conv.call_id`.
    pub call_id: String,
    /// The texts of the turn: `conv.messages`.
    pub texts: Vec<String>,
}

/// What a tool gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolAnswer {
    pub outcome: ToolOutcome,
    /// The new state and language, what is to be sent, the log, and the texts of `conv.say`. It
    /// never hangs up: the outcome says so.
    pub answer: Answer,
}

/// What a tool's function returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToolOutcome {
    /// A value for the model. Its JSON has at most 8 kB.
    Content(Value),
    /// The exact text for the contact, with which the turn ends.
    Utterance {
        /// Empty if the turn ends without it.
        text: String,
        /// Whether the session ends too.
        hangup: bool,
        /// What the model is told in its next turn, in at most 8 kB of JSON.
        content: Option<Value>,
    },
}
