//! Reads what a model answered. Servers that are compatible with OpenAI's API leave fields out,
//! give them other types, or put calls and thoughts into the text, so everything is optional here.
//!
//! docs/decisions/045-language-models.md names the servers and what they do.

use serde_json::{Map, Value, json};

use crate::domain::llm::ModelFinish;
use crate::domain::reply_filter::think;
use crate::domain::{bounds, json_text};

/// What a model answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Completion {
    /// What it says to the contact, without its thoughts.
    pub text: String,
    /// The tools that it calls, in order. They decide what comes next, whatever `finish` says.
    pub calls: Vec<ModelCall>,
    pub finish: Finish,
    /// Whether it declines to answer.
    pub refuses: bool,
    pub usage: Usage,
    /// The message as it came, to be sent back with the results of its calls. A call has an id, a
    /// type and arguments that are JSON, because some servers refuse a message without them.
    pub message: Value,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// It said all that it wanted to, or the server does not say why.
    Done,
    /// The answer reached the limit of tokens.
    Length,
    /// The provider's filter took the answer away.
    Filtered,
}

impl From<Finish> for ModelFinish {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Done => Self::Done,
            Finish::Length => Self::Length,
            Finish::Filtered => Self::Filtered,
        }
    }
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ModelCall {
    pub id: String,
    pub name: String,
    /// The arguments by name, or what is wrong with them.
    pub arguments: Result<Map<String, Value>, String>,
}

/// How many tokens a request took, as far as the server says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// All tokens of the request.
    pub prompt: Option<i32>,
    /// Those among them that the provider had cached.
    pub cached: Option<i32>,
    /// All tokens of the answer, thoughts among them.
    pub output: Option<i32>,
    /// The thoughts.
    pub reasoning: Option<i32>,
}

/// Reads the body of an answer. `prefix` begins the ids of calls that have none. The error says
/// what is wrong with the body, and has nothing of it.
pub(super) fn read(body: &[u8], prefix: &str) -> Result<Completion, String> {
    let text = String::from_utf8_lossy(body);
    let mut body: Value = serde_json::from_str(&json_text::without_lone_surrogates(&text))
        .map_err(|_| "an answer that is no JSON".to_owned())?;
    // Its messages are stored, and PostgreSQL accepts no NUL.
    bounds::told(&mut body, usize::MAX);
    let choice = body.get("choices").and_then(|choices| choices.get(0)).ok_or_else(|| match body.get("error") {
        Some(_) => "an error with the status of a success".to_owned(),
        None => "an answer without choices".to_owned(),
    })?;
    let Some(Value::Object(message)) = choice.get("message") else {
        return Err("an answer without a message".to_owned());
    };
    let said = text_of(message.get("content"));
    let (said, mut calls) = (think::cut(&said), calls_of(message, prefix));
    let mut text = said.trim().to_owned();
    if calls.is_empty()
        && let Some((before, call)) = call_in_text(&text, prefix)
    {
        text = before;
        calls.push(call);
    }
    let refuses = message.get("refusal").and_then(Value::as_str).is_some_and(|refusal| !refusal.trim().is_empty());
    let finish = finish_of(choice.get("finish_reason").or_else(|| choice.get("stop_reason")));
    let message = sendable(message.clone(), &calls);
    Ok(Completion { text, calls, finish, refuses, usage: usage_of(body.get("usage")), message })
}

/// The text of a content: a string, or a list of parts.
fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| match part {
                Value::String(text) => Some(text.as_str()),
                part => part.get("text").and_then(Value::as_str),
            });
            texts.collect()
        }
        _ => String::new(),
    }
}

/// The calls of a message, also of the form that came before `tool_calls`.
pub(super) fn calls_of(message: &Map<String, Value>, prefix: &str) -> Vec<ModelCall> {
    let listed = message.get("tool_calls").and_then(Value::as_array);
    let single = message.get("function_call").filter(|call| call.is_object());
    let calls = listed.into_iter().flatten().chain(single.filter(|_| listed.is_none_or(Vec::is_empty)));
    let read = |(n, call): (usize, &Value)| {
        let function = call.get("function").unwrap_or(call);
        let name = function.get("name").and_then(Value::as_str)?.trim();
        if name.is_empty() {
            return None;
        }
        let id = call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
        Some(ModelCall {
            id: id.map_or_else(|| format!("{prefix}_{n}"), str::to_owned),
            name: name.to_owned(),
            arguments: arguments_of(function.get("arguments").or_else(|| function.get("parameters")), name),
        })
    };
    calls.enumerate().filter_map(read).collect()
}

/// The arguments of a call: JSON in a string, in a string of that, an object, or nothing.
fn arguments_of(given: Option<&Value>, name: &str) -> Result<Map<String, Value>, String> {
    let parsed = |text: &str| match text.trim() {
        "" => Ok(Value::Object(Map::new())),
        text => serde_json::from_str::<Value>(text).map_err(|error| format!("the arguments are no JSON: {error}")),
    };
    let mut value = given.cloned().unwrap_or(Value::Null);
    for _ in 0..2 {
        if let Value::String(text) = &value {
            value = parsed(text)?;
        }
    }
    let arguments = match value {
        Value::Null => Map::new(),
        Value::Object(arguments) => arguments,
        _ => return Err("the arguments are no JSON object".to_owned()),
    };
    // Some models repeat the whole call in its arguments.
    let is_repeated = arguments.len() == 2 && arguments.get("name").and_then(Value::as_str) == Some(name);
    match arguments.get("arguments").or_else(|| arguments.get("parameters")) {
        Some(Value::Object(inner)) if is_repeated => Ok(inner.clone()),
        _ => Ok(arguments),
    }
}

/// A call that a model wrote into its text as `<tool_call>{…}</tool_call>`, whose end may be
/// missing, and the text before it.
fn call_in_text(text: &str, prefix: &str) -> Option<(String, ModelCall)> {
    let (before, after) = text.split_once("<tool_call>")?;
    let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
    let call = values.next()?.ok()?;
    let name = call.get("name").and_then(Value::as_str)?.to_owned();
    let arguments = arguments_of(call.get("arguments").or_else(|| call.get("parameters")), &name);
    Some((before.trim().to_owned(), ModelCall { id: format!("{prefix}_0"), name, arguments }))
}

fn finish_of(reason: Option<&Value>) -> Finish {
    match reason.and_then(Value::as_str) {
        Some("length" | "max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("content_filter" | "refusal" | "safety") => Finish::Filtered,
        _ => Finish::Done,
    }
}

fn usage_of(usage: Option<&Value>) -> Usage {
    let at = |path: &str| {
        let number = usage?.pointer(path)?;
        number.as_i64().and_then(|count| i32::try_from(count).ok()).filter(|count| *count >= 0)
    };
    Usage {
        prompt: at("/prompt_tokens"),
        cached: at("/prompt_tokens_details/cached_tokens"),
        output: at("/completion_tokens"),
        reasoning: at("/completion_tokens_details/reasoning_tokens"),
    }
}

/// The message with calls that every server takes back. Fields that are not known stay as they
/// came, because some providers sign them.
fn sendable(mut message: Map<String, Value>, calls: &[ModelCall]) -> Value {
    message.insert("role".to_owned(), json!("assistant"));
    message.remove("function_call");
    if calls.is_empty() {
        message.remove("tool_calls");
        return Value::Object(message);
    }
    let came = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
    let came = came.into_iter().filter(|call| {
        let name = call.get("function").unwrap_or(call).get("name").and_then(Value::as_str);
        name.is_some_and(|name| !name.trim().is_empty())
    });
    let mut came = came.map(|call| match call {
        Value::Object(call) => call,
        _ => Map::new(),
    });
    let sent = calls.iter().map(|call| {
        let mut sent = came.next().unwrap_or_default();
        sent.insert("id".to_owned(), json!(call.id));
        sent.insert("type".to_owned(), json!("function"));
        let arguments = call.arguments.as_ref().map_or_else(|_| "{}".to_owned(), |given| json!(given).to_string());
        sent.insert("function".to_owned(), json!({"name": call.name, "arguments": arguments}));
        Value::Object(sent)
    });
    let sent: Vec<Value> = sent.collect();
    message.insert("tool_calls".to_owned(), Value::Array(sent));
    Value::Object(message)
}

#[cfg(test)]
mod tests;
