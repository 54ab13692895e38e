//! Renders the templates of projects with minijinja. A missing variable is an error.
//!
//! Only script runners call it. minijinja limits the steps of a template, but a single step such as `[1] * 10000000` can
//! use any amount of time and memory.

use minijinja::machinery::{Instruction, Instructions, get_compiled_template};
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use crate::domain::characters::is_blank;
use crate::domain::segments;

/// The most steps of one rendering: far more than a template of 500 characters needs.
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

/// Renders a template with its variables. The error tells the author what is wrong, such as a missing variable, or a
/// result that is empty or over 1600 characters.
pub fn fill(body: &str, variables: &Map<String, Value>) -> Result<String, String> {
    let environment = environment();
    let filled = environment.render_str(body, of_fields(variables)).map_err(|error| readable(&error))?;
    match segments::units(&filled) {
        _ if is_blank(&filled) => Err("the rendered text is empty".to_owned()),
        units if units > segments::MOST_UNITS => Err(format!(
            "the rendered text is {units} characters long (an emoji counts as two); the limit is {}",
            segments::MOST_UNITS
        )),
        _ => Ok(filled),
    }
}

/// Checks a template as far as that is possible without its variables: its syntax, and that nothing in it fails with
/// every message. One without variables must be a text that can be sent.
pub fn check(body: &str) -> Result<(), String> {
    let environment = environment();
    let template = environment.template_from_str(body).map_err(|error| readable(&error))?;
    let compiled = get_compiled_template(&template);
    let instructions = || std::iter::once(&compiled.instructions).chain(compiled.blocks.values());
    instructions().try_for_each(check_instructions)?;
    if !instructions().any(may_show) {
        return Err("the rendered text is always empty".to_owned());
    }
    match template.undeclared_variables(false).is_empty() {
        true => fill(body, &Map::new()).map(|_| ()),
        false => Ok(()),
    }
}

/// Looks for filters, tests and calls, which the engine looks for only while it renders. The environment has none, and
/// variables are JSON, which has no functions.
fn check_instructions(instructions: &Instructions) -> Result<(), String> {
    let all = (0..).map_while(|index| Some((index, instructions.get(index)?)));
    for (index, instruction) in all {
        let unknown = match instruction {
            Instruction::ApplyFilter(name, ..) => format!("the filter {name} is not known; templates have no filters"),
            Instruction::PerformTest(name, ..) => {
                format!("the test \"is {name}\" is not known; templates have no tests")
            }
            // The names that a loop has.
            Instruction::CallFunction("loop", _) | Instruction::CallMethod("cycle" | "changed", _) => continue,
            Instruction::CallFunction(name, _) | Instruction::CallMethod(name, _) => {
                format!("{name} is called, and templates have no functions")
            }
            Instruction::CallObject(_) => "a value is called, and templates have no functions".to_owned(),
            _ => continue,
        };
        return Err(instructions.get_line(index).map_or(unknown.clone(), |line| format!("line {line}: {unknown}")));
    }
    Ok(())
}

/// Whether instructions may write something visible.
fn may_show(instructions: &Instructions) -> bool {
    (0..).map_while(|index| instructions.get(index)).any(|instruction| match instruction {
        Instruction::EmitRaw(text) => !is_blank(text),
        Instruction::Emit => true,
        _ => false,
    })
}

/// Converts JSON to minijinja's values. serde_json's own conversion would turn its numbers, which keep all digits, into
/// objects.
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
    // Null counts as missing, because the text would otherwise contain "none".
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
    fn variables_are_rendered_unchanged() {
        let filled = with("Hi {{ name }}, {{order.id}} is <ready> 🎉", json!({"name": "Ada & Co", "order": {"id": 7}}));
        assert_eq!(filled.as_deref(), Ok("Hi Ada & Co, 7 is <ready> 🎉"));
    }

    #[test]
    fn a_missing_variable_is_an_error() {
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
    fn what_would_fail_with_every_message_is_refused_when_it_is_saved() {
        for (body, why) in [
            ("{% if %}", "syntax"),
            ("{{ name | upper }}", "line 1: the filter upper is not known"),
            ("Hi\n{% if vip %}{{ name|title }}{% endif %}", "line 2: the filter title is not known"),
            ("{% if name is defined %}{{ name }}{% endif %}", "the test \"is defined\" is not known"),
            ("{% for n in range(3) %}{{ n }}{% endfor %}{{ name }}", "range is called"),
            ("{{ name.upper() }}", "upper is called"),
            ("{{ texts[0]() }}", "a value is called"),
            ("{% include \"other\" %}", "include"),
            ("{% extends \"other\" %}", "extends"),
            ("{% macro a() %}{% endmacro %}{{ name }}", "macro"),
            ("   ", "empty"),
            ("{# a note #}", "empty"),
            ("{{ 1 / 0 }}", "line 1"),
            ("{% if name %} {% endif %}", "always empty"),
            ("{% for name in names %}\u{200b}{% else %}\n{% endfor %}", "always empty"),
        ] {
            let error = check(body).expect_err(body);
            assert!(error.contains(why), "{body}: {error}");
        }
        for body in [
            "Bye",
            "Hi {{ name }}",
            "{{ order.id }} {% if vip and not late %}!{% elif count > 2 %}?{% else %}.{% endif %}",
            "{% for item in items %}{{ loop.index }} {{ item.name ~ \"x\" }}{{ loop.cycle(\",\", \";\") }}{% else %}none{% endfor %}",
            "{% if vip %}!{% endif %}",
            "{% for child in children recursive %}{{ child.name }}{{ loop(child.children) }}{% endfor %}",
            "{% set total = a + b %}{{ total }} {{ names[0] }} {{ \"x\" in names }}",
        ] {
            assert_eq!(check(body), Ok(()), "{body}");
        }
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
    fn an_endless_template_is_stopped() {
        let loops = "{% for a in x %}{% for b in x %}{% for c in x %}{% for d in x %}.{% endfor %}{% endfor %}{% endfor %}{% endfor %}";
        assert!(with(loops, json!({"x": vec![1; 1000]})).is_err());
    }

    proptest! {
        #[test]
        fn no_template_panics(body in ".{0,100}") {
            let filled = fill(&body, &Map::new());
            prop_assert!(filled.is_ok() || filled.is_err_and(|error| !error.is_empty()));
        }
    }
}
