//! Shows what an agent did in a turn: its tool calls, what it changed, and what it sends.

use serde_json::{Map, Value};

use super::player::{Played, ShownCall};
use crate::agents::MessageBody;
use crate::domain::bounds;
use crate::domain::channel::OutboundText;

/// How many bytes of a value are shown.
const SHOWN_BYTES: usize = 300;

/// What a turn did before its messages.
pub(super) fn deeds(played: &Played) -> Vec<String> {
    let Played { calls, sends, states: [before, after], .. } = played;
    let mut lines: Vec<String> = calls.iter().map(call).collect();
    lines.extend(changes(before, after));
    lines.extend(sends.iter().map(|send| match &send.body {
        MessageBody::Text(text) => format!("sends to {}: {}", send.to, bounds::text(text, SHOWN_BYTES)),
        MessageBody::Template { name, .. } => format!("sends to {}: the template {name}", send.to),
    }));
    lines
}

/// A tool call, as it would be written in a script.
fn call(call: &ShownCall) -> String {
    let args = match &call.args {
        Value::Object(args) => args.iter().map(|(name, value)| format!("{name}={}", short(value))).collect(),
        other => vec![short(other)],
    };
    let result = match &call.result {
        Ok(value) => short(value),
        Err(error) => format!("error: {}", bounds::text(error, SHOWN_BYTES)),
    };
    format!("{}({}) → {result}", call.name, args.join(", "))
}

/// What changed in the state.
fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let set = after.iter().filter(|(name, value)| before.get(*name) != Some(value)).map(|(name, value)| {
        match before.get(name) {
            Some(old) => format!("state.{name}: {} → {}", short(old), short(value)),
            None => format!("state.{name} = {}", short(value)),
        }
    });
    let removed =
        before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("state.{name} is removed"));
    set.chain(removed).collect()
}

/// What a message costs, if the channel has segments.
pub(super) fn cost(text: &OutboundText<'_>) -> Option<String> {
    match text.segmentation()?.segments {
        1 => Some("1 segment".to_owned()),
        segments => Some(format!("{segments} segments")),
    }
}

/// A value as JSON, cut if it is long.
pub(super) fn short(value: &Value) -> String {
    bounds::text(&value.to_string(), SHOWN_BYTES).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_and_changes_are_shown_in_one_line_each() {
        let state = |value: Value| value.as_object().cloned().unwrap_or_default();
        let calls = vec![
            ShownCall { name: "free".to_owned(), args: json!({"day": "monday"}), result: Ok(json!(["9:00"])) },
            ShownCall { name: "book".to_owned(), args: json!({}), result: Err("full".to_owned()) },
        ];
        let states = [state(json!({"count": 1, "old": true})), state(json!({"count": 2, "name": "Ada"}))];
        let played = Played { calls, states, ..Played::default() };
        assert_eq!(
            deeds(&played),
            [
                "free(day=\"monday\") → [\"9:00\"]",
                "book() → error: full",
                "state.count: 1 → 2",
                "state.name = \"Ada\"",
                "state.old is removed",
            ]
        );
    }
}
