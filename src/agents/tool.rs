//! Defines the tools of a language model: what a model is told of them, how they are called, and
//! what they give.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
