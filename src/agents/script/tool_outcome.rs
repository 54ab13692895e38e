//! Reads what the function of a tool returned: a value for the language model, or a text for the
//! contact.

use serde_json::Value as Json;
use starlark::values::Value;

use super::json::to_json;
use crate::agents::AgentError;
use crate::agents::answer::{AnswerFields, Unclear};
use crate::agents::tool::ToolOutcome;
use crate::domain::bounds;

/// The most bytes of JSON that a model gets of one call.
const CONTENT_BYTES: usize = 8 << 10;
/// What a tool may return, for errors.
const MAY_BE_RETURNED: &str =
    "return what the model is to know, or a dict with \"utterance\" and, where wanted, \"hangup\" and \"content\"";

/// The outcome of a tool that returned a value.
pub(super) fn read(function: &str, returned: Value) -> Result<ToolOutcome, AgentError> {
    let wrong = |what: String| AgentError::Failed(format!("{function} returned {what}; {MAY_BE_RETURNED}"));
    let json = to_json(returned).map_err(|what| wrong(format!("a value that is no JSON: {what}")))?;
    outcome(json).map_err(wrong)
}

/// The outcome of a value. A dict with an utterance that is not None speaks to the contact. The
/// error says what was returned.
fn outcome(returned: Json) -> Result<ToolOutcome, String> {
    let mut fields = match returned {
        Json::Object(fields) => fields,
        other => return Ok(ToolOutcome::Content(bounded(other))),
    };
    if !fields.contains_key("utterance") {
        if fields.get("hangup") == Some(&Json::Bool(true)) {
            return Err("a dict with hangup and without utterance".to_owned());
        }
        return Ok(ToolOutcome::Content(bounded(Json::Object(fields))));
    }
    let (utterance, hangup, content) = (fields.remove("utterance"), fields.remove("hangup"), fields.remove("content"));
    if let Some(other) = fields.keys().next() {
        return Err(format!("a dict with utterance and with the key {other:?}"));
    }
    let said = AnswerFields { utterance, messages: None, hangup };
    let (texts, hangup) = said.read(false).map_err(|unclear| match unclear {
        Unclear::Type(what) => format!("a dict with {what}"),
        Unclear::Nothing | Unclear::Both => "a dict without an utterance".to_owned(),
    })?;
    let content = content.filter(|content| !content.is_null()).map(bounded);
    Ok(match (texts.into_iter().next(), hangup) {
        (None, false) => ToolOutcome::Content(content.unwrap_or_default()),
        (text, hangup) => ToolOutcome::Utterance { text: text.unwrap_or_default(), hangup, content },
    })
}

/// The value, or as much of its text as the model gets, with a note.
fn bounded(value: Json) -> Json {
    let printed = value.to_string();
    let bytes = printed.len();
    if bytes <= CONTENT_BYTES {
        return value;
    }
    let text = if let Json::String(text) = value { text } else { printed };
    let note = format!("… (cut: it has {bytes} bytes, and the limit is {CONTENT_BYTES})");
    let kept = bounds::printed_prefix(&text, CONTENT_BYTES.saturating_sub(note.len() + 2));
    Json::String(format!("{kept}{note}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn said(text: &str, hangup: bool, content: Option<Json>) -> ToolOutcome {
        ToolOutcome::Utterance { text: text.to_owned(), hangup, content }
    }

    #[test]
    fn a_value_goes_to_the_model_and_an_utterance_to_the_contact() {
        for returned in [
            json!(null),
            json!("a"),
            json!(""),
            json!(5),
            json!(false),
            json!([1, "a"]),
            json!({}),
            json!({"free": ["9:00"], "content": "x", "hangup": false}),
        ] {
            assert_eq!(outcome(returned.clone()), Ok(ToolOutcome::Content(returned)));
        }
        for (returned, expected) in [
            (json!({"utterance": "Bye"}), said("Bye", false, None)),
            (json!({"utterance": "Bye", "hangup": true}), said("Bye", true, None)),
            (json!({"utterance": "Bye", "hangup": null, "content": null}), said("Bye", false, None)),
            (json!({"utterance": "Bye", "content": {"id": 1}}), said("Bye", false, Some(json!({"id": 1})))),
            (json!({"utterance": "", "content": 1}), said("", false, Some(json!(1)))),
            (json!({"utterance": null, "hangup": true}), said("", true, None)),
            (json!({"utterance": null, "content": [1]}), ToolOutcome::Content(json!([1]))),
            (json!({"utterance": null}), ToolOutcome::Content(json!(null))),
        ] {
            assert_eq!(outcome(returned.clone()), Ok(expected), "{returned}");
        }
    }

    #[test]
    fn an_utterance_that_is_not_understood_is_told() {
        for (returned, what) in [
            (json!({"utterance": 5}), "a dict with utterance that is a number; it must be a text or null"),
            (
                json!({"utterance": "a", "hangup": "yes"}),
                "a dict with hangup that is a text; it must be true, false or null",
            ),
            (json!({"utterance": "a", "contnet": 1}), "a dict with utterance and with the key \"contnet\""),
            (json!({"utterance": "a", "messages": ["b"]}), "a dict with utterance and with the key \"messages\""),
            (json!({"hangup": true}), "a dict with hangup and without utterance"),
        ] {
            assert_eq!(outcome(returned.clone()), Err(what.to_owned()), "{returned}");
        }
    }

    #[test]
    fn a_large_value_is_cut_with_a_note() {
        let most = json!("x".repeat(CONTENT_BYTES - 2));
        assert_eq!(bounded(most.clone()), most);
        for (value, begins, bytes) in [
            (json!("é".repeat(5000)), "éé", 10_002),
            (json!("\"".repeat(5000)), "\"\"", 10_002),
            (json!(vec!["a\n"; 2000]), "[\"a\\n\",\"a", 12_001),
            (json!({"a": "x".repeat(9000)}), "{\"a\":\"xxx", 9008),
        ] {
            let cut = bounded(value);
            let text = cut.as_str().expect("a text");
            let note = format!("… (cut: it has {bytes} bytes, and the limit is 8192)");
            assert!(text.starts_with(begins) && text.ends_with(&note), "{text}");
            assert!(
                ((CONTENT_BYTES - 8)..=CONTENT_BYTES).contains(&cut.to_string().len()),
                "{}",
                cut.to_string().len()
            );
        }
    }

    proptest! {
        #[test]
        fn the_json_of_a_bounded_value_is_never_larger(text in "(\\PC|[\"\\\\\n\r\t\u{1}]){0,40}", times in 1_usize..2000) {
            prop_assert!(bounded(json!(text.repeat(times))).to_string().len() <= CONTENT_BYTES);
            prop_assert!(bounded(json!([text.repeat(times)])).to_string().len() <= CONTENT_BYTES);
        }
    }
}
