//! The body of a request to a model.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::history;
use super::outcome::Parameter;
use crate::agents::tool::Tool;
use crate::agents::{Conversation, HistoryEntry, UserMessage};
use crate::domain::characters::is_blank;
use crate::domain::llm::LlmSpec;

/// How many characters of one message of the contact the model gets. A text message has 1600 at
/// most; a chat can paste a book.
const MOST_LETTERS: usize = 2_000;

/// The messages before the first answer of the turn: the prompt, the history and what the contact
/// says now. `prompt`: the prompt of the version, filled in.
pub(super) fn first_messages(
    spec: &LlmSpec,
    prompt: &str,
    conversation: &Conversation,
    now: &[UserMessage],
    history_tokens: usize,
) -> Vec<Value> {
    let most_turns = usize::try_from(spec.history_turns).unwrap_or_default();
    let mut said = history::shown(&conversation.history, most_turns, history_tokens).to_vec();
    said.extend(now.iter().map(|message| HistoryEntry {
        role: "user".to_owned(),
        text: text_of(message),
        at: chrono::DateTime::UNIX_EPOCH,
    }));
    let system = format!("{}\n\n{}", prompt.trim(), style(&conversation.channel_type));
    let mut messages = vec![json!({"role": "system", "content": system})];
    messages.extend(history::messages(&said));
    messages
}

/// What the model gets of a message of the contact.
fn text_of(message: &UserMessage) -> String {
    let text: String = message.text.chars().take(MOST_LETTERS).collect();
    let types: Vec<&str> = match message.media.as_array() {
        Some(media) => media.iter().filter_map(|one| one.get("content_type").and_then(Value::as_str)).collect(),
        None => Vec::new(),
    };
    match (is_blank(&text), types.as_slice()) {
        (false, []) => text,
        (true, []) => "(an empty message)".to_owned(),
        (true, types) => format!("(an attachment: {})", types.join(", ")),
        (false, types) => format!("{text}\n(with an attachment: {})", types.join(", ")),
    }
}

/// How to write on a channel. It stands after the prompt, so the prompt may say more of it.
fn style(channel: &str) -> &'static str {
    match channel {
        "voice" => {
            "Your answers are read aloud on the telephone. Write short sentences as people speak, without lists, links or formatting."
        }
        "webchat" => "Your answers are shown in a chat on a web page. Be brief.",
        _ => {
            "Your answers are sent as text messages. Write plain text without formatting, and be brief: at most three short sentences."
        }
    }
}

/// The body of a request with these messages, without the parameters that the server refuses.
/// `most_tokens`: how many tokens the answer may have.
pub(super) fn body(
    spec: &LlmSpec,
    messages: &[Value],
    tools: &[Tool],
    most_tokens: i32,
    refused: &BTreeSet<Parameter>,
) -> Value {
    let takes = |parameter| !refused.contains(&parameter);
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(spec.model));
    if !tools.is_empty() {
        let listed: Vec<Value> = tools.iter().map(|tool| described(tool, takes(Parameter::Strict))).collect();
        body.insert("tools".to_owned(), Value::Array(listed));
    }
    body.insert("messages".to_owned(), json!(messages));
    // Servers that know only one of the two know the first; reasoning models want the second.
    let limit = if takes(Parameter::MaxTokens) { Parameter::MaxTokens.name() } else { "max_completion_tokens" };
    body.insert(limit.to_owned(), json!(most_tokens));
    if let Some(temperature) = spec.temperature.filter(|_| takes(Parameter::Temperature)) {
        body.insert(Parameter::Temperature.name().to_owned(), json!(temperature));
    }
    if let Some(effort) = spec.reasoning_effort.filter(|_| takes(Parameter::ReasoningEffort)) {
        body.insert(Parameter::ReasoningEffort.name().to_owned(), json!(effort));
    }
    Value::Object(body)
}

fn described(tool: &Tool, strict: bool) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(tool.name));
    function.insert("description".to_owned(), json!(tool.description));
    function.insert("parameters".to_owned(), tool.parameters.clone());
    if strict {
        function.insert(Parameter::Strict.name().to_owned(), json!(true));
    }
    json!({"type": "function", "function": function})
}
