//! What an answer says, whether a script returned it as a dict or a service sent it as an object:
//! one rule for both.

use serde_json::Value;

/// The keys that a script and a service may give.
pub(super) const KEYS: [&str; 3] = ["utterance", "messages", "hangup"];

/// The keys of an answer that say something. A key that is null says nothing, like one that is
/// absent.
#[derive(Debug, Default)]
pub(super) struct AnswerFields {
    /// One text.
    pub utterance: Option<Value>,
    /// Or some.
    pub messages: Option<Value>,
    /// Whether the session ends.
    pub hangup: Option<Value>,
}

/// Why an answer is not understood. It has no value of the answer, because it is logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// It has neither a text nor an end of the session. Whoever wrote it may have meant another
    /// key.
    Nothing,
    /// It gives both an utterance and messages.
    Both,
    /// A value has another type: what it is and what it must be.
    Type(String),
}

impl AnswerFields {
    /// The texts, blank ones with them, and whether the session ends. `has_others`: whether there
    /// are keys that are not known. One of them may hold the text, so that such an answer does not
    /// end a session silently.
    pub(super) fn read(self, has_others: bool) -> Result<(Vec<String>, bool), Unclear> {
        let has_text = self.utterance.is_some() || self.messages.is_some();
        if !has_text && (self.hangup.is_none() || has_others) {
            return Err(Unclear::Nothing);
        }
        let given = |value: Option<Value>| value.filter(|value| !value.is_null());
        let texts = match (given(self.utterance), given(self.messages)) {
            (None, None) => Vec::new(),
            (Some(Value::String(text)), None) => vec![text],
            (None, Some(Value::Array(texts))) => read_messages(texts)?,
            (None, Some(other)) => return Err(wrong_type("messages", &other, "a list of texts or null")),
            (Some(Value::String(_)), Some(_)) => return Err(Unclear::Both),
            (Some(other), _) => return Err(wrong_type("utterance", &other, "a text or null")),
        };
        match given(self.hangup) {
            None => Ok((texts, false)),
            Some(Value::Bool(hangup)) => Ok((texts, hangup)),
            Some(other) => Err(wrong_type("hangup", &other, "true, false or null")),
        }
    }
}

fn read_messages(messages: Vec<Value>) -> Result<Vec<String>, Unclear> {
    let text = |(position, message)| match message {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&format!("messages[{position}]"), &other, "a text")),
    };
    messages.into_iter().enumerate().map(text).collect()
}

fn wrong_type(key: &str, value: &Value, expected: &str) -> Unclear {
    Unclear::Type(wrong(key, value, expected))
}

/// What is said of a value of another type.
pub(super) fn wrong(key: &str, value: &Value, expected: &str) -> String {
    format!("{key} that is {}; it must be {expected}", type_of(value))
}

/// The type of a value, in words.
pub(super) const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mut answer: Value, has_others: bool) -> Result<(Vec<String>, bool), Unclear> {
        let mut take = |key: &str| answer.as_object_mut().and_then(|fields| fields.remove(key));
        AnswerFields { utterance: take("utterance"), messages: take("messages"), hangup: take("hangup") }
            .read(has_others)
    }

    #[test]
    fn an_answer_has_texts_or_an_end_or_both() {
        for (answer, texts, hangup) in [
            (json!({"utterance": "a"}), vec!["a"], false),
            (json!({"messages": ["a", "b"]}), vec!["a", "b"], false),
            (json!({"utterance": "a", "hangup": true}), vec!["a"], true),
            (json!({"utterance": "a", "messages": null, "hangup": null}), vec!["a"], false),
            (json!({"utterance": null, "messages": ["a"], "hangup": false}), vec!["a"], false),
            (json!({"utterance": null}), vec![], false),
            (json!({"messages": null}), vec![], false),
            (json!({"messages": []}), vec![], false),
            (json!({"utterance": null, "hangup": true}), vec![], true),
            (json!({"hangup": true}), vec![], true),
            (json!({"hangup": false}), vec![], false),
            (json!({"hangup": null}), vec![], false),
        ] {
            let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            assert_eq!(read(answer.clone(), false), Ok((texts.clone(), hangup)), "{answer}");
            let with_others = read(answer.clone(), true);
            match answer.get("utterance").or(answer.get("messages")) {
                Some(_) => assert_eq!(with_others, Ok((texts, hangup)), "{answer}"),
                None => assert_eq!(with_others, Err(Unclear::Nothing), "{answer}: another key may hold the text"),
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let wrong = |what: &str| Unclear::Type(what.to_owned());
        for (answer, fault) in [
            (json!({}), Unclear::Nothing),
            (json!({"utterance": "a", "messages": ["b"]}), Unclear::Both),
            (json!({"utterance": 7}), wrong("utterance that is a number; it must be a text or null")),
            (json!({"messages": "a"}), wrong("messages that is a text; it must be a list of texts or null")),
            (json!({"messages": ["a", null]}), wrong("messages[1] that is null; it must be a text")),
            (json!({"hangup": "yes"}), wrong("hangup that is a text; it must be true, false or null")),
            (json!({"utterance": "a", "hangup": 1}), wrong("hangup that is a number; it must be true, false or null")),
        ] {
            assert_eq!(read(answer.clone(), false), Err(fault), "{answer}");
        }
    }
}
