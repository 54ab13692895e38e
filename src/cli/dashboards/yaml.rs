//! Writes YAML: mappings and sequences in block style, texts as JSON writes them, which YAML 1.2
//! reads, and texts of several lines as literal blocks.

use std::fmt::Write;

use serde_json::Value;

/// A document.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

fn block(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let _ = write!(text, "{indent}{key}:");
                entry(text, value, depth + 1);
            }
        }
        Value::Array(items) => {
            for item in items {
                let _ = write!(text, "{indent}-");
                entry(text, item, depth + 1);
            }
        }
        other => {
            let _ = writeln!(text, "{indent}{other}");
        }
    }
}

/// What follows a key or a dash.
fn entry(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(text, value, depth);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(text, value, depth);
        }
        Value::String(lines) if lines.contains('\n') && lines.lines().all(|line| line.trim_end() == line) => {
            let indent = "  ".repeat(depth);
            text.push_str(" |-\n");
            for line in lines.lines() {
                let _ = writeln!(text, "{}", format!("{indent}{line}").trim_end());
            }
        }
        other => {
            let _ = writeln!(text, " {other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let value = json!({
            "text": "it's \"quoted\": no # comment", "lines": "select 1\n  from x\n\n where y", "none": null, "yes": true, "number": 1.5,
            "empty": {}, "nothing": [], "blank": "", "looks": "1.0.0", "word": "null", "trailing": "a \nb",
            "list": [1, "two", {"a": [1, {"b": null}], "c": "•"}, [["deep"]], {}],
        });
        let written = document(&value);
        let read: Value = serde_yaml::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(read, value, "{written}");
    }
}
