//! The tools of a turn: the functions of the agent's script, and those that textback has for every
//! model.

use serde_json::{Map, Value, json};

use crate::agents::script::ScriptAgent;
use crate::agents::tool::{Tool, ToolAnswer, ToolCall, ToolOutcome};
use crate::agents::{AgentError, Answer, Conversation};
use crate::domain::bounds;
use crate::domain::characters::is_blank;

/// Ends the session with a last text.
const END_CONVERSATION: &str = "end_conversation";

/// The tools of a turn.
pub(super) struct Tools {
    /// By name: an order that does not change keeps the start of a request the same, which
    /// providers reuse.
    pub(super) all: Vec<Tool>,
    /// Whether textback ends the conversation, and no function of the script.
    ends_built_in: bool,
}

impl Tools {
    /// The tools of a script and those of textback. A function of the script with the name of one
    /// of textback's takes its place.
    pub(super) fn of_script(mut all: Vec<Tool>) -> Self {
        let ends_built_in = !all.iter().any(|tool| tool.name == END_CONVERSATION);
        if ends_built_in {
            all.push(end_conversation());
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Self { all, ends_built_in }
    }

    fn has(&self, name: &str) -> bool {
        self.all.iter().any(|tool| tool.name == name)
    }
}

fn end_conversation() -> Tool {
    Tool {
        name: END_CONVERSATION.to_owned(),
        description: "Ends the conversation with a last message. Call it when the person says goodbye or has all that they wanted.".to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {"farewell": {"type": "string", "description": "The last message to the person."}},
            "required": ["farewell"],
            "additionalProperties": false,
        }),
    }
}

/// A call of a tool.
pub(super) struct Called<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a Map<String, Value>,
    /// The same for each attempt at the turn, for services that the tool's effects reach.
    pub(super) call_id: String,
    /// The texts of the turn.
    pub(super) texts: &'a [String],
}

/// Runs a tool. The inner error is what the model gets; with the outer one the turn fails.
pub(super) async fn run(
    script: Option<&ScriptAgent>,
    tools: &Tools,
    called: Called<'_>,
    conversation: &Conversation,
) -> Result<Result<ToolAnswer, String>, AgentError> {
    let Called { name, arguments, call_id, texts } = called;
    if !tools.has(name) {
        let known: Vec<&str> = tools.all.iter().map(|tool| tool.name.as_str()).collect();
        return Ok(Err(format!("there is no tool {}; the tools are {}", bounds::text(name, 64), known.join(", "))));
    }
    let Some(script) = script.filter(|_| !tools.ends_built_in || name != END_CONVERSATION) else {
        return Ok(ended(arguments, conversation));
    };
    let call = ToolCall { name: name.to_owned(), arguments: arguments.clone(), call_id, texts: texts.to_vec() };
    match script.tool(conversation.clone(), call).await {
        Ok(answer) => Ok(Ok(answer)),
        // The model may call it otherwise, or say that it did not work.
        Err(AgentError::Failed(what) | AgentError::OverLimit(what)) => Ok(Err(what)),
        Err(
            error @ (AgentError::Unusable(_)
            | AgentError::OverBudget(_)
            | AgentError::NotNow { .. }
            | AgentError::Ours(_)
            | AgentError::Interrupted(_)),
        ) => Err(error),
    }
}

fn ended(arguments: &Map<String, Value>, conversation: &Conversation) -> Result<ToolAnswer, String> {
    let farewell = arguments.get("farewell").and_then(Value::as_str).unwrap_or_default();
    if is_blank(farewell) {
        return Err("farewell is missing; give the last message to the person".to_owned());
    }
    let outcome = ToolOutcome::Utterance { text: farewell.to_owned(), hangup: true, content: None };
    Ok(ToolAnswer { outcome, answer: Answer::silent(conversation.clone()) })
}
