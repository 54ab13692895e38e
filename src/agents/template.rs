//! Templates filled in: `{{variables}}` by minijinja, strictly; it keeps none and sends nothing.
//!
//! Only script runners call it: minijinja counts steps, and one step such as `[1] * 10000000` costs any amount of time
//! and memory.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use crate::domain::segments;

/// Steps of one filling: far more than 500 characters of template need.
const MOST_STEPS: u64 = 10_000;

/// The longest name of a template, in characters.
const NAME_LETTERS: usize = 100;

/// Whether a template may have this name: letters, digits, `_`, `.` and `-`. The constraint `template_name_is_a_word`
/// has the same rule.
pub fn is_name(name: &str) -> bool {
    let is_in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= NAME_LETTERS
        && name.bytes().next().is_some_and(is_in_word)
        && name.bytes().all(|byte| is_in_word(byte) || byte == b'.' || byte == b'-')
}

/// A template with its variables filled in. The error names what is wrong, for its author: a variable that is missing is
/// one, and so is a text that comes out empty or over 1600 characters.
pub fn fill(body: &str, variables: &Map<String, Value>) -> Result<String, String> {
    let environment = environment();
    let filled = environment.render_str(body, of_fields(variables)).map_err(|error| readable(&error))?;
    match segments::units(&filled) {
        _ if segments::is_blank(&filled) => Err("the text comes out empty".to_owned()),
        units if units > segments::MOST_UNITS => Err(format!(
            "the text comes out {units} characters long (an emoji counts as two); {} is the most",
            segments::MOST_UNITS
        )),
        _ => Ok(filled),
    }
}

/// What keeps a template from ever being filled in, as far as that can be told without its variables.
pub fn check(body: &str) -> Result<(), String> {
    environment().template_from_str(body).map(|_| ()).map_err(|error| readable(&error))
}

/// JSON as templates have it. By hand: serde_json's numbers, with digits of any length, pass for objects elsewhere.
fn of_json(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(truth) => minijinja::Value::from(*truth),
        Value::String(text) => minijinja::Value::from(text.as_str()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => minijinja::Value::from(whole),
            None => minijinja::Value::from(number.to_string()),
        },
        Value::Array(items) => items.iter().map(of_json).collect(),
        Value::Object(fields) => of_fields(fields),
    }
}

fn of_fields(fields: &Map<String, Value>) -> minijinja::Value {
    // Null is as missing as nothing: a text must not say None.
    let given = fields.iter().filter(|(_, value)| !value.is_null());
    minijinja::Value::from_pairs(given.map(|(name, value)| (name.as_str(), of_json(value))))
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(MOST_STEPS));
    environment
}

fn readable(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    error.line().map_or(what.clone(), |line| format!("line {line}: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn with(body: &str, variables: Value) -> Result<String, String> {
        fill(body, variables.as_object().expect("an object"))
    }

    #[test]
    fn variables_are_filled_in_as_they_are() {
        let filled = with("Hi {{ name }}, {{order.id}} is <ready> 🎉", json!({"name": "Ada & Co", "order": {"id": 7}}));
        assert_eq!(filled.as_deref(), Ok("Hi Ada & Co, 7 is <ready> 🎉"));
    }

    #[test]
    fn what_is_missing_is_told_and_never_left_out() {
        for (body, variables, why) in [
            ("Hi {{ name }}", json!({}), "undefined"),
            ("Hi {{ a.b }}", json!({"a": {}}), "undefined"),
            ("Hi {{ name", json!({"name": "x"}), "syntax"),
            ("{{ name }}", json!({"name": "  "}), "empty"),
            ("{{ name }}", json!({"name": "\u{200b}"}), "empty"),
            ("Hi {{ name }}", json!({"name": null}), "undefined"),
            ("{{ name }}", json!({"name": "x".repeat(1601)}), "1601"),
        ] {
            let error = with(body, variables).expect_err(body);
            assert!(error.contains(why), "{body}: {error}");
        }
        assert!(check("{% if %}").is_err());
        assert_eq!(check("Hi {{ name }}"), Ok(()));
    }

    #[test]
    fn a_name_is_a_word() {
        for (name, is_one) in [
            ("order", true),
            ("_a.b-C9", true),
            ("9", true),
            (&*"x".repeat(100), true),
            (&*"x".repeat(101), false),
            ("", false),
            (".a", false),
            ("-a", false),
            ("a b", false),
            ("a\0b", false),
            ("a\n", false),
            ("é", false),
        ] {
            assert_eq!(is_name(name), is_one, "{name:?}");
        }
    }

    #[test]
    fn a_template_that_goes_on_and_on_is_ended() {
        let loops = "{% for a in x %}{% for b in x %}{% for c in x %}{% for d in x %}.{% endfor %}{% endfor %}{% endfor %}{% endfor %}";
        assert!(with(loops, json!({"x": vec![1; 1000]})).is_err());
    }

    proptest! {
        #[test]
        fn no_template_takes_us_down(body in ".{0,100}") {
            let _ = fill(&body, &Map::new());
        }
    }
}
