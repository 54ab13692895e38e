//! Reads the answer of a service. What is not understood is a failure that says so, and never
//! silence.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::other_keys::OtherKeys;
use crate::agents::answer::{self, AnswerFields, Unclear};
use crate::agents::{Answer, Conversation, MOST_TEXTS, at_most};
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::json_text::without_lone_surrogates;

/// What an answer may be, for errors.
const EXPECTED: &str = "{\"utterance\": text} or {\"messages\": [texts]}, with state and hangup if needed; null for either or for \
     all, or status 204, says nothing, and {\"hangup\": true} ends the session without a text";

/// Reads an answer whose Content-Type names a charset, or none. The error has no value of the
/// answer, because it is logged.
pub(super) fn read(bytes: &[u8], charset: Option<&str>, conversation: Conversation) -> Result<Answer, String> {
    let text = decoded(bytes, charset);
    if is_blank(&text) {
        return Err(format!("answered with an empty body; expected {EXPECTED}"));
    }
    let json = without_lone_surrogates(&text);
    if json.trim() == "null" {
        let Conversation { state, language, .. } = conversation;
        return Ok(Answer { state, language, ..Answer::default() });
    }
    let not_json = |error: serde_json::Error| {
        format!("did not answer with JSON (line {}, column {}); expected {EXPECTED}", error.line(), error.column())
    };
    let value: Fields = match serde_json::from_str(&json) {
        Ok(fields) => fields,
        // serde_json tells the depth by its words alone.
        Err(error) if error.to_string().starts_with("recursion limit") => {
            return Err(format!("answered with JSON that is nested more than 127 deep; expected {EXPECTED}"));
        }
        Err(error) if error.is_data() => return Err(format!("{}; expected {EXPECTED}", not_an_object(&json, &error))),
        Err(error) => return Err(not_json(error)),
    };
    let Fields { utterance, messages, state, hangup, handoff, others } = value;
    if handoff.is_some_and(|handoff| !handoff.is_null() && handoff != Value::Bool(false)) {
        return Err("asked for a handoff, which is not supported".to_owned());
    }
    let says_null = [&utterance, &messages].into_iter().flatten().any(Value::is_null);
    let read = AnswerFields { utterance, messages, hangup }.read(!others.is_empty());
    let (texts, hangup) = read.map_err(|unclear| match unclear {
        Unclear::Nothing => format!("answered {}; expected {EXPECTED}", without_text(&others)),
        Unclear::Both => "answered with an utterance and messages; give one of them".to_owned(),
        Unclear::Type(what) => format!("answered with {what}"),
    })?;
    check_meaning(&Meaning { texts: &texts, hangup, says_null }, &others)?;
    let (texts, cut) = at_most(texts, MOST_TEXTS);
    Ok(Answer {
        texts,
        cut,
        hangup,
        state: match state {
            None | Some(Value::Null) => conversation.state,
            Some(Value::Object(state)) => checked_state(state)?,
            Some(other) => {
                return Err(format!("answered with {}", answer::wrong("state", &other, "an object or null")));
            }
        },
        language: conversation.language,
        ..Answer::default()
    })
}

/// The text of an answer. JSON is UTF-8; a byte order mark or a charset may say something else.
/// Bytes that are not of the charset become U+FFFD.
fn decoded<'a>(bytes: &'a [u8], charset: Option<&str>) -> std::borrow::Cow<'a, str> {
    let charset = charset.and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    charset.unwrap_or(encoding_rs::UTF_8).decode(bytes).0
}

fn checked_state(mut state: Map<String, Value>) -> Result<Map<String, Value>, String> {
    bounds::object(&mut state, bounds::STATE_BYTES)
        .map_err(|what| format!("answered with a state that can't be stored: {what}"))?;
    Ok(state)
}

/// What is said of an answer that is JSON, but not the fields of an answer.
fn not_an_object(json: &str, error: &serde_json::Error) -> String {
    match serde_json::from_str::<Value>(json) {
        Ok(Value::Object(_)) => {
            format!("answered with a key that is given twice (line {}, column {})", error.line(), error.column())
        }
        Ok(value) => format!("answered with {}", answer::type_of(&value)),
        Err(error) => format!("did not answer with JSON (line {}, column {})", error.line(), error.column()),
    }
}

/// What the known keys of an answer say.
struct Meaning<'a> {
    texts: &'a [String],
    hangup: bool,
    /// Whether the answer has null for its text.
    says_null: bool,
}

/// Refuses an answer whose unknown keys were meant for the person or for textback, and one that
/// says nothing without saying so: a variable of the service was empty, or its text has another
/// key.
fn check_meaning(meaning: &Meaning<'_>, others: &OtherKeys) -> Result<(), String> {
    let says_something = meaning.texts.iter().any(|text| !is_blank(text));
    if !says_something && let Some(key) = others.words() {
        return Err(format!(
            "answered with {key} and without a text for the person; write {{\"utterance\": text}} for it"
        ));
    }
    if let Some((key, known)) = others.misspelt() {
        return Err(format!("answered with {key}, which is not known; did you mean {known}?"));
    }
    if says_something || meaning.hangup || meaning.says_null {
        return Ok(());
    }
    let why = match meaning.texts {
        [] => "it has no text",
        _ => "nothing in its text is visible",
    };
    Err(format!("answered with nothing for the person: {why}; expected {EXPECTED}"))
}

/// What is said of an answer without a text.
fn without_text(others: &OtherKeys) -> String {
    match (others.is_empty(), others.misspelt()) {
        (true, _) => "without utterance and messages".to_owned(),
        (false, Some((key, known))) => {
            let names = others.names();
            format!("without utterance and messages, but with {names}; did you mean {known} and not {key}?")
        }
        (false, None) => format!("without utterance and messages, but with {}", others.names()),
    }
}

/// The fields of an answer as they came. A key that is not known is only named, so that services
/// can grow.
#[derive(Default)]
struct Fields {
    utterance: Option<Value>,
    messages: Option<Value>,
    state: Option<Value>,
    hangup: Option<Value>,
    handoff: Option<Value>,
    others: OtherKeys,
}

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            let field = match key.as_str() {
                "utterance" => &mut fields.utterance,
                "messages" => &mut fields.messages,
                "state" => &mut fields.state,
                "hangup" => &mut fields.hangup,
                "handoff" => &mut fields.handoff,
                _ => {
                    fields.others.read(key, &mut map)?;
                    continue;
                }
            };
            if field.is_some() {
                return Err(serde::de::Error::custom("given twice"));
            }
            *field = Some(map.next_value()?);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn conversation() -> Conversation {
        Conversation {
            id: "s".to_owned(),
            channel_type: "sms".to_owned(),
            caller_number: "+14155550101".to_owned(),
            callee_number: "+14155550199".to_owned(),
            env: "live".to_owned(),
            language: None,
            state: Map::from_iter([("kept".to_owned(), json!(1))]),
            history: Vec::new(),
            media: Vec::new(),
        }
    }

    fn of(text: &str) -> Answer {
        read(text.as_bytes(), None, conversation()).expect(text)
    }

    #[test]
    fn answers_are_parsed_as_documented_and_absent_keys_change_nothing() {
        assert_eq!(of(r#"{"utterance": "hi", "more": 1}"#).texts, ["hi"], "a key that is not known is no fault");
        assert_eq!(of(r#"{"utterance": "hi", "message": "ok", "end": false, "status": "end"}"#).texts, ["hi"]);
        assert!(of(r#"{"utterance": "", "hangup": true}"#).hangup, "the end is said");
        assert_eq!(of(r#"{"messages": ["a", " ", "b"], "hangup": true}"#).texts, ["a", "b"]);
        assert_eq!(of(r#"{"utterance": "hi", "messages": null, "state": null, "hangup": null}"#).texts, ["hi"]);
        assert!(of(r#"{"state": {}, "handoff": false, "utterance": null}"#).state.is_empty());
        assert!(of(r#"{"utterance": "bye", "hangup": true}"#).hangup);
        let ended = of(r#"{"hangup": true, "state": {"kept": 2}}"#);
        assert_eq!((ended.texts.len(), ended.hangup, Value::from(ended.state)), (0, true, json!({"kept": 2})));
    }

    #[test]
    fn saying_nothing_is_meant() {
        let silent = Answer { state: conversation().state, ..Answer::default() };
        for text in [
            "null",
            " null\n",
            "\u{feff}null",
            r#"{"utterance": null}"#,
            r#"{"messages": null}"#,
            r#"{"utterance": null, "messages": []}"#,
            r#"{"utterance": null, "messages": null, "text": null}"#,
            r#"{"utterance": null, "text": "", "content": [], "message": {}}"#,
            r#"{"utterance": null, "hangup": false, "state": null, "handoff": false}"#,
            r#"{"messages": null, "model": "m", "usage": {"tokens": 7}, "done": true, "stage": "x"}"#,
        ] {
            assert_eq!(of(text), silent, "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_not_understood_is_refused_with_what_came_and_what_is_expected() {
        for (text, why) in [
            ("", "an empty body"),
            (" \n", "an empty body"),
            ("\u{feff}", "an empty body"),
            ("<html>", "did not answer with JSON (line 1, column 1)"),
            (r#"{"utterance": "a""#, "did not answer with JSON"),
            (r#"{"utterance": "a"} {}"#, "did not answer with JSON"),
            ("[]", "with a list"),
            ("[1]", "with a list"),
            (r#"[{"utterance": "a"}]"#, "with a list"),
            (r#""Hello""#, "with a text"),
            ("7", "with a number"),
            ("true", "with a truth value"),
            ("{}", "without utterance and messages; expected {\"utterance\": text}"),
            (r#"{"text": "Hello"}"#, "without utterance and messages, but with `text`; expected"),
            (r#"{"response": "Hello"}"#, "but with `response`"),
            (r#"{"reply": {"utterance": "Hello"}}"#, "but with `reply`"),
            (r#"{"body": 7, "message": "x"}"#, "but with `body`, `message`"),
            (r#"{"Utterance": "Hello"}"#, "but with `Utterance`; did you mean utterance"),
            (r#"{"utterance ": "Hello"}"#, "but with `utterance `"),
            (r#"{"+14155550101": "Hello"}"#, "but with `…`; expected"),
            (r#"{"a\nb": "Hello"}"#, "but with `a\\nb`; expected"),
            (r#"{"state": {}}"#, "without utterance and messages"),
            (r#"{"text": "Hello", "hangup": true}"#, "without utterance and messages, but with `text`"),
            (r#"{"hangup": false}"#, "answered with nothing for the person: it has no text; expected"),
            (r#"{"hangup": null}"#, "answered with nothing for the person: it has no text"),
            (r#"{"hangup": false, "state": {}}"#, "answered with nothing for the person"),
            (r#"{"messages": []}"#, "answered with nothing for the person: it has no text"),
            (r#"{"utterance": ""}"#, "answered with nothing for the person: nothing in its text is visible"),
            (r#"{"utterance": "\u200b\u2800"}"#, "nothing in its text is visible"),
            (r#"{"messages": ["\ufe0f", "\u3164"]}"#, "nothing in its text is visible"),
            (r#"{"utterance": null, "text": "Hello"}"#, "with `text` and without a text for the person; write"),
            (r#"{"messages": null, "response": {"a": "Hello"}}"#, "with `response` and without a text"),
            (r#"{"messages": [], "reply": ["Hello"]}"#, "with `reply` and without a text"),
            (r#"{"utterance": null, "hangup": true, "outputText": "Hello"}"#, "with `outputText` and without"),
            (r#"{"utterance": "Hello", "hangUp": true}"#, "with `hangUp`, which is not known; did you mean hangup?"),
            (r#"{"utterance": "Hello", "end": true}"#, "with `end`, which is not known; did you mean hangup?"),
            (r#"{"utterance": null, "mesages": ["Hello"]}"#, "did you mean messages?"),
            (r#"{"utterence": "Hello"}"#, "but with `utterence`; did you mean utterance and not `utterence`?"),
            (r#"{"hangup": "yes"}"#, "hangup that is a text"),
            (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}"#, "and 2 more keys"),
            (r#"{"utterance": 7}"#, "utterance that is a number; it must be a text or null"),
            (r#"{"utterance": ["a"]}"#, "utterance that is a list"),
            (r#"{"utterance": {"text": "a"}}"#, "utterance that is an object"),
            (r#"{"utterance": true}"#, "utterance that is a truth value"),
            (r#"{"messages": "a"}"#, "messages that is a text; it must be a list of texts or null"),
            (r#"{"messages": {"0": "a"}}"#, "messages that is an object"),
            (r#"{"messages": ["a", 7]}"#, "messages[1] that is a number; it must be a text"),
            (r#"{"messages": [null]}"#, "messages[0] that is null"),
            (r#"{"messages": [{"text": "a"}]}"#, "messages[0] that is an object"),
            (r#"{"utterance": "a", "state": "b"}"#, "state that is a text; it must be an object or null"),
            (r#"{"utterance": "a", "state": [1]}"#, "state that is a list"),
            (r#"{"utterance": "a", "hangup": "yes"}"#, "hangup that is a text; it must be true, false or null"),
            (r#"{"utterance": "a", "hangup": 1}"#, "hangup that is a number"),
            (r#"{"utterance": "a", "utterance": "b"}"#, "given twice"),
            (r#"{"utterance": "a", "messages": ["b"]}"#, "one of them"),
            (r#"{"utterance": "a", "state": {"a": {"b": ["\u0000"]}}}"#, "NUL"),
            (r#"{"utterance": "a", "state": {"a": [1, 1e99999]}}"#, "at a[1]: the number 1e+99999"),
            (r#"{"utterance": "a", "state": {"a": 123456789012345678901234567890}}"#, "64 bits"),
            (r#"{"utterance": "a", "handoff": {"to": "x"}}"#, "handoff"),
        ] {
            let error = read(text.as_bytes(), None, conversation()).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("Hello"), "no value of an answer is logged: {error}");
        }
        let long = json!({"k".repeat(10_000): 1}).to_string();
        assert!(read(long.as_bytes(), None, conversation()).expect_err("no text").len() < 400);
    }

    #[test]
    fn mistakes_of_encoding_cost_a_character_and_not_the_answer() {
        for (bytes, charset, text) in [
            (&br#"{"utterance": "Hi \ud83d"}"#[..], None, "Hi \u{fffd}"),
            (br#"{"utterance": "\ude00 \ud83d\ude00"}"#, None, "\u{fffd} 😀"),
            (br#"{"utterance": "C:\\ud83d"}"#, None, "C:\\ud83d"),
            (b"{\"utterance\": \"a\xffb\xf0\x9f\x98\"}", None, "a\u{fffd}b\u{fffd}"),
            (b"\xef\xbb\xbf{\"utterance\": \"a\"}", None, "a"),
            (b"\xef\xbb\xbf{\"utterance\": \"\xc3\xa9\"}", Some("latin1"), "é"),
            (b"{\"utterance\": \"\xe9\"}", Some("iso-8859-1"), "é"),
            (b"{\"utterance\": \"\x93a\x94\"}", Some("windows-1252"), "“a”"),
            (b"{\"utterance\": \"\xc3\xa9\"}", Some("UTF-8"), "é"),
            (b"{\"utterance\": \"\xc3\xa9\"}", Some("no-such"), "é"),
            (b"\xff\xfe{\0\"\0u\0t\0t\0e\0r\0a\0n\0c\0e\0\"\0:\0\"\0a\0\"\0}\0", None, "a"),
        ] {
            let answer = read(bytes, charset, conversation()).expect(text);
            assert_eq!(answer.texts, [text], "{charset:?}");
        }
        let kept =
            read(br#"{"utterance": "a", "state": {"\ud83d": "\ud83d"}}"#, None, conversation()).expect("an answer");
        assert_eq!(Value::from(kept.state), json!({"\u{fffd}": "\u{fffd}"}));
    }

    #[test]
    fn more_messages_than_a_run_may_have_are_cut() {
        let many = json!({"messages": vec!["four"; MOST_TEXTS + 3]}).to_string();
        let answer = of(&many);
        assert_eq!((answer.texts.len(), answer.cut), (MOST_TEXTS, 12));
        let texts = [vec![" "; 200], vec!["x"; MOST_TEXTS]].concat();
        let blank = json!({"messages": texts}).to_string();
        assert_eq!((of(&blank).texts.len(), of(&blank).cut), (MOST_TEXTS, 0), "blank ones do not count");
    }

    proptest! {
        #[test]
        fn no_answer_of_a_service_panics(bytes: Vec<u8>) {
            let answer = read(&bytes, None, conversation());
            prop_assert!(answer.is_ok() || answer.is_err_and(|error| !error.is_empty()));
        }

        #[test]
        fn an_object_without_a_text_never_says_nothing(key in "[a-zA-Z_]{0,12}", value in ".{0,12}") {
            prop_assume!(key != "utterance" && key != "messages");
            let error = read(json!({key: value}).to_string().as_bytes(), None, conversation());
            prop_assert!(error.is_err());
        }
    }
}
