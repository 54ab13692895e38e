//! What differs between two versions of an agent.

use serde_json::{Map, Value};
use similar::TextDiff;

/// How many equal lines stand around each change of a text of several lines.
const CONTEXT_LINES: usize = 3;

/// A setting that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its name, such as `greeting` or `inactivity.warning`.
    pub field: String,
    /// Its value in the first version. None, if the setting is not set there.
    pub before: Option<Value>,
    /// Its value in the second version. None, if the setting is not set there.
    pub after: Option<Value>,
    /// A unified diff, if both values are texts and one has several lines.
    pub lines: Option<String>,
}

/// What differs between the settings of two versions, in the order of their names. Fields of an
/// object are compared one by one; lists and all other values as a whole.
pub fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Change> {
    let mut found = Vec::new();
    compare_objects("", before, after, &mut found);
    found
}

fn compare_objects(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Vec<Change>) {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        compare(format!("{path}{name}"), before.get(name), after.get(name), found);
    }
}

fn compare(field: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    if let (Some(Value::Object(before)), Some(Value::Object(after))) = (before, after) {
        compare_objects(&format!("{field}."), before, after, found);
    } else if before != after {
        let lines = before.zip(after).and_then(|(before, after)| lines(before, after));
        found.push(Change { field, before: before.cloned(), after: after.cloned(), lines });
    }
}

/// The unified diff of two texts, if one has several lines.
fn lines(before: &Value, after: &Value) -> Option<String> {
    let (before, after) = before.as_str().zip(after.as_str())?;
    let is_long = before.contains('\n') || after.contains('\n');
    is_long.then(|| TextDiff::from_lines(before, after).unified_diff().context_radius(CONTEXT_LINES).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<(String, Option<Value>, Option<Value>, bool)> {
        let object = |value: &Value| value.as_object().cloned().expect("an object");
        let found = changes(&object(before), &object(after)).into_iter();
        found.map(|change| (change.field, change.before, change.after, change.lines.is_some())).collect()
    }

    #[test]
    fn only_what_differs_is_told_with_both_values() {
        for (before, after, expected) in [
            (json!({"a": 1}), json!({"a": 1}), vec![]),
            (json!({"a": 1}), json!({"a": 2}), vec![("a", Some(json!(1)), Some(json!(2)), false)]),
            (json!({}), json!({"a": ""}), vec![("a", None, Some(json!("")), false)]),
            (json!({"a": [1, 2]}), json!({}), vec![("a", Some(json!([1, 2])), None, false)]),
            (json!({"a": [1, 2]}), json!({"a": [2, 1]}), vec![("a", Some(json!([1, 2])), Some(json!([2, 1])), false)]),
            (
                json!({"llm": {"model": "m", "params": {"t": 1}}, "b": true}),
                json!({"llm": {"model": "n", "params": {"t": 2}}, "b": true}),
                vec![
                    ("llm.model", Some(json!("m")), Some(json!("n")), false),
                    ("llm.params.t", Some(json!(1)), Some(json!(2)), false),
                ],
            ),
            (json!({"a": {"b": 1}}), json!({"a": 1}), vec![("a", Some(json!({"b": 1})), Some(json!(1)), false)]),
            (json!({"s": "one\n"}), json!({"s": "two"}), vec![("s", Some(json!("one\n")), Some(json!("two")), true)]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(field, b, a, lines)| (field.to_owned(), b, a, lines)).collect();
            assert_eq!(told(&before, &after), expected, "{before} {after}");
        }
    }

    #[test]
    fn a_text_of_several_lines_has_a_unified_diff() {
        let source = |second: &str| json!("def reply(conv, text):\n    ".to_owned() + second + "\n");
        let diff = lines(&source("return text"), &source("return text.upper()")).expect("a diff");
        assert_eq!(diff, "@@ -1,2 +1,2 @@\n def reply(conv, text):\n-    return text\n+    return text.upper()\n",);
        assert_eq!(lines(&json!("one"), &json!("two")), None);
    }
}
