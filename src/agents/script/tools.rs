//! TEMPORARY
use crate::agents::Answer;
use serde_json::Value;
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: String,
    pub parameters: Value,
}
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ToolAnswer {
    pub outcome: ToolOutcome,
    pub answer: Answer,
}
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum ToolOutcome {
    Content(Value),
    Utterance { text: String, hangup: bool },
}
pub fn tools(_source: &str, _names: &[String]) -> Result<Vec<Tool>, Vec<super::check::Fault>> {
    Ok(Vec::new())
}
