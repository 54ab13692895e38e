//! The keys of a service's answer that are not known. A service may grow and answer more than
//! textback reads, but a key that was meant for the person or for textback is never dropped.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::domain::agent_error;
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::suggestion::nearest;

/// How many of the unknown keys an error names, and with how many bytes each.
const SHOWN_KEYS: usize = 5;
const SHOWN_BYTES: usize = 40;

/// What services call the words for the person, in lower case without separators.
const WORDS: [&str; 19] = [
    "text",
    "texts",
    "response",
    "responses",
    "reply",
    "replies",
    "message",
    "content",
    "answer",
    "answers",
    "body",
    "output",
    "outputtext",
    "say",
    "speech",
    "msg",
    "completion",
    "choices",
    "fulfillmenttext",
];

/// What services call the end of a session, in the same form. `done` is not among them: it tells of
/// the answer, as in a stream.
const ENDS: [&str; 8] =
    ["end", "endsession", "endconversation", "endcall", "endchat", "closesession", "closeconversation", "terminate"];

/// The known keys that a longer word may misspell.
const LONG_KEYS: [&str; 4] = ["utterance", "messages", "hangup", "handoff"];

/// What a value of an unknown key may say to a person or to textback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    /// Null, false or a text without anything visible.
    Nothing,
    True,
    Something,
}

/// The unknown keys of an answer, as they came.
#[derive(Debug, Default)]
pub(super) struct OtherKeys(Vec<(String, ValueKind)>);

impl OtherKeys {
    /// Reads the value of a key, of which only its kind is kept.
    pub(super) fn read<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        let kind = map.next_value()?;
        self.0.push((key, kind));
        Ok(())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first key that seems to hold words for the person, as errors show it.
    pub(super) fn words(&self) -> Option<String> {
        let is_said =
            |(key, kind): &&(String, ValueKind)| *kind == ValueKind::Something && WORDS.contains(&&*letters(key));
        self.0.iter().find(is_said).map(|(key, _)| shown(key))
    }

    /// The first key that seems to be a misspelt known one, as errors show it, and what was meant.
    pub(super) fn misspelt(&self) -> Option<(String, &'static str)> {
        self.0.iter().find_map(|(key, kind)| Some((shown(key), meant(key, *kind)?)))
    }

    /// The names of the keys for an error, and none of their values. A service may use a contact's
    /// number as a key.
    pub(super) fn names(&self) -> String {
        let names: Vec<String> = self.0.iter().take(SHOWN_KEYS).map(|(key, _)| shown(key)).collect();
        match self.0.len() {
            count if count > SHOWN_KEYS => format!("{} and {} more keys", names.join(", "), count - SHOWN_KEYS),
            _ => names.join(", "),
        }
    }
}

/// The known key that an unknown one stands for. `state` is so short that one wrong letter makes
/// another word, such as `stage` or `stats`.
fn meant(key: &str, kind: ValueKind) -> Option<&'static str> {
    let letters = letters(key);
    if kind == ValueKind::Nothing || WORDS.contains(&&*letters) {
        return None;
    }
    if kind == ValueKind::True && ENDS.contains(&&*letters) {
        return Some("hangup");
    }
    match &*letters {
        "state" | "states" | "sttae" | "staet" | "satte" => Some("state"),
        _ => nearest(&letters, LONG_KEYS),
    }
}

/// A key in lower case without separators.
fn letters(key: &str) -> String {
    key.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn shown(key: &str) -> String {
    format!("`{}`", bounds::text(&agent_error::shown(key), SHOWN_BYTES).escape_debug())
}

impl<'de> Deserialize<'de> for ValueKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = ValueKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<ValueKind, E> {
        Ok(ValueKind::Nothing)
    }

    fn visit_bool<E>(self, is_true: bool) -> Result<ValueKind, E> {
        Ok(if is_true { ValueKind::True } else { ValueKind::Nothing })
    }

    fn visit_str<E>(self, text: &str) -> Result<ValueKind, E> {
        Ok(if is_blank(text) { ValueKind::Nothing } else { ValueKind::Something })
    }

    fn visit_i64<E>(self, _: i64) -> Result<ValueKind, E> {
        Ok(ValueKind::Something)
    }

    fn visit_u64<E>(self, _: u64) -> Result<ValueKind, E> {
        Ok(ValueKind::Something)
    }

    fn visit_f64<E>(self, _: f64) -> Result<ValueKind, E> {
        Ok(ValueKind::Something)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ValueKind, A::Error> {
        let mut kind = ValueKind::Nothing;
        while items.next_element::<IgnoredAny>()?.is_some() {
            kind = ValueKind::Something;
        }
        Ok(kind)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<ValueKind, A::Error> {
        let mut kind = ValueKind::Nothing;
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            kind = ValueKind::Something;
        }
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_meant_for_textback_is_recognised() {
        for (key, kind, known) in [
            ("utterence", ValueKind::Something, Some("utterance")),
            ("Utterance", ValueKind::Something, Some("utterance")),
            ("utterances", ValueKind::Something, Some("utterance")),
            ("mesages", ValueKind::Something, Some("messages")),
            ("hangUp", ValueKind::True, Some("hangup")),
            ("hang_up", ValueKind::True, Some("hangup")),
            ("hang-up", ValueKind::Something, Some("hangup")),
            ("end", ValueKind::True, Some("hangup")),
            ("endSession", ValueKind::True, Some("hangup")),
            ("end_conversation", ValueKind::True, Some("hangup")),
            ("hand_off", ValueKind::True, Some("handoff")),
            ("State", ValueKind::Something, Some("state")),
            // A key that says nothing is dropped, and nothing is lost.
            ("hangUp", ValueKind::Nothing, None),
            ("end", ValueKind::Nothing, None),
            ("end", ValueKind::Something, None),
            ("stage", ValueKind::Something, None),
            ("stats", ValueKind::Something, None),
            ("status", ValueKind::Something, None),
            ("done", ValueKind::True, None),
            ("model", ValueKind::Something, None),
            ("usage", ValueKind::Something, None),
            ("id", ValueKind::Something, None),
            ("language", ValueKind::Something, None),
            ("metadata", ValueKind::Something, None),
            ("message", ValueKind::Something, None),
        ] {
            assert_eq!(meant(key, kind), known, "{key}");
        }
    }
}
