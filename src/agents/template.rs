//! Renders the templates of projects with minijinja. A variable that is missing is an error, and so
//! is one that the template has no place for.
//!
//! Only script runners call it. minijinja limits the steps of a template, but a single step such as
//! `[1] * 10000000` can use any amount of time and memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::machinery::{Instruction, Instructions, get_compiled_template};
use minijinja::value::Object;
use minijinja::{Environment, ErrorKind, Template, UndefinedBehavior};
use serde_json::{Map, Value};

use super::template_faults;
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::segments;
use crate::domain::suggestion::or_known;

/// The most steps of one rendering: far more than a template of 500 characters needs.
const MOST_STEPS: u64 = 10_000;

/// The longest name of a template, in characters.
const NAME_LETTERS: usize = 100;

/// Whether a template may have this name: letters, digits, `_`, `.` and `-`. The constraint
/// `template_name_is_a_word` has the same rule.
pub fn is_name(name: &str) -> bool {
    let is_in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= NAME_LETTERS
        && name.bytes().next().is_some_and(is_in_word)
        && name.bytes().all(|byte| is_in_word(byte) || byte == b'.' || byte == b'-')
}

/// The longest name of a variable that an error shows, in bytes.
const SHOWN_NAME_BYTES: usize = 60;

/// Renders a template with its variables. The error tells the author what is wrong, such as a
/// variable that is missing or has no place in the template, or a result that is empty or over 1600
/// characters.
pub fn fill(body: &str, variables: &Map<String, Value>) -> Result<String, String> {
    let environment = environment();
    let template = environment.template_from_str(body).map_err(|error| readable(&error))?;
    let known = variables_of(&template);
    if let Some(name) = variables.keys().find(|name| !known.contains(*name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = if known.is_empty() { "it has no variables".to_owned() } else { or_known(name, &known) };
        return Err(format!("it has no place for the variable {}; {hint}", shown(name)));
    }
    let given = Arc::new(Given::of(variables));
    let filled = template.render(minijinja::Value::from_dyn_object(given.clone()));
    if let Some(name) = given.first_missing() {
        return Err(match variables.contains_key(&name) {
            true => format!("the variable {} is null, which counts as missing; give it a value", shown(&name)),
            false => format!("the variable {} is missing; give it in variables", shown(&name)),
        });
    }
    let filled = filled.map_err(|error| match error.kind() {
        ErrorKind::UndefinedError => with_names(body, variables).unwrap_or_else(|| readable(&error)),
        _ => readable(&error),
    })?;
    match segments::units(&filled) {
        _ if filled.contains('\0') => Err("the rendered text holds the character NUL, which can't be sent".to_owned()),
        _ if is_blank(&filled) => Err("the rendered text is empty".to_owned()),
        units if units > segments::MOST_UNITS => Err(format!(
            "the rendered text is {units} characters long (an emoji counts as two); the limit is {}",
            segments::MOST_UNITS
        )),
        _ => Ok(filled),
    }
}

/// Checks a template as far as that is possible without its variables: its syntax, and that nothing
/// in it fails with every message. One without variables must be a text that can be sent.
pub fn check(body: &str) -> Result<(), String> {
    let environment = environment();
    let template = environment.template_from_str(body).map_err(|error| readable(&error))?;
    let compiled = get_compiled_template(&template);
    let instructions = || std::iter::once(&compiled.instructions).chain(compiled.blocks.values());
    instructions().try_for_each(check_instructions)?;
    if let Some(fault) = template_faults::first(body, &environment) {
        return Err(fault);
    }
    match variables_of(&template).is_empty() {
        true => fill(body, &Map::new()).map(|_| ()),
        false => Ok(()),
    }
}

/// The names of the variables that a template has a place for. `{{ order.id }}` is a place for
/// `order`.
fn variables_of(template: &Template<'_, '_>) -> BTreeSet<String> {
    let mut known = BTreeSet::from_iter(template.undeclared_variables(false));
    // The engine takes `{% set name = name ~ "!" %}` for a template that sets its name itself.
    let compiled = get_compiled_template(template);
    for instructions in std::iter::once(&compiled.instructions).chain(compiled.blocks.values()) {
        let mut set_before = BTreeSet::from(["loop", "self"]);
        for instruction in (0..).map_while(|index| instructions.get(index)) {
            match instruction {
                Instruction::StoreLocal(name) => drop(set_before.insert(*name)),
                Instruction::Lookup(name) if !set_before.contains(name) => drop(known.insert((*name).to_owned())),
                _ => {}
            }
        }
    }
    known
}

/// What is undefined, by the words of the template, such as `order.id`. The engine names it only in
/// its debug mode, which looks up more variables than the template does, so the first rendering is
/// without.
fn with_names(body: &str, variables: &Map<String, Value>) -> Option<String> {
    let mut environment = environment();
    environment.set_debug(true);
    let error = environment.render_str(body, of_fields(variables)).err()?;
    Some(readable(&error))
}

/// Looks for filters, tests and calls, which the engine looks for only while it renders. The
/// environment has none, and variables are JSON, which has no functions.
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

/// The variables of a message, as its template looks them up. It notes the first one that is
/// missing: the engine compares with a missing variable without an error.
#[derive(Debug)]
struct Given {
    values: BTreeMap<String, minijinja::Value>,
    missing: Mutex<Option<String>>,
}

impl Given {
    fn of(variables: &Map<String, Value>) -> Self {
        let given = variables.iter().filter(|(_, value)| !value.is_null());
        Self { values: given.map(|(name, value)| (name.clone(), of_json(value))).collect(), missing: Mutex::default() }
    }

    fn first_missing(&self) -> Option<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Object for Given {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<minijinja::Value> {
        let found = self.values.get(name).cloned();
        if found.is_none() {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| name.to_owned());
        }
        found
    }
}

/// Converts JSON to minijinja's values. serde_json's own conversion would turn its numbers, which
/// keep all digits, into objects.
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

/// An object as a value of minijinja, without its fields that are null.
pub(super) fn of_fields(fields: &Map<String, Value>) -> minijinja::Value {
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

fn shown(name: &str) -> String {
    let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_word && name.len() <= SHOWN_NAME_BYTES {
        name.to_owned()
    } else {
        format!("{:?}", bounds::text(name, SHOWN_NAME_BYTES))
    }
}

/// What an error says, without its place.
pub(super) fn without_line(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

pub(super) fn readable(error: &minijinja::Error) -> String {
    let what = without_line(error);
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
            ("Hi {{ name }}", json!({}), "the variable name is missing"),
            ("Hi {{ a.b }}", json!({}), "the variable a is missing"),
            ("Hi {{ a.b }}", json!({"a": {}}), "`a.b` is undefined"),
            ("Hi\n{{ a.b.c }}", json!({"a": {}}), "line 2: undefined value: `a.b` is undefined"),
            ("{% for item in items %}{{ item.name }}{% endfor %}", json!({"items": [{}]}), "`item.name` is undefined"),
            ("{% if a %}{{ b }}{% endif %}{{ c }}", json!({"a": true, "c": 1}), "the variable b is missing"),
            ("{% if vip %}x{% endif %}y", json!({}), "the variable vip is missing"),
            ("{% if language == 'de' %}Hallo{% else %}Hello{% endif %}", json!({}), "the variable language is missing"),
            ("{{ 1 / 0 }}{{ name }}", json!({"name": 1}), "line 1"),
            ("Hi {{ name", json!({"name": "x"}), "syntax"),
            ("{{ name }}", json!({"name": "  "}), "empty"),
            ("{{ name }}", json!({"name": "\u{200b}"}), "empty"),
            ("Hi {{ name }}", json!({"name": null}), "the variable name is null"),
            ("{{ name }}", json!({"name": "x".repeat(1601)}), "1601"),
        ] {
            let error = with(body, variables).expect_err(body);
            assert!(error.contains(why), "{body}: {error}");
        }
        assert!(check("{% if %}").is_err());
        assert_eq!(check("Hi {{ name }}"), Ok(()));
    }

    #[test]
    fn a_variable_without_a_place_in_the_template_is_an_error() {
        for (body, variables, why) in [
            ("Hi {{ name }}", json!({"name": "x", "nmae": "x"}), "no place for the variable nmae; did you mean name?"),
            ("Hi {{ name }}", json!({"nmae": "x"}), "no place for the variable nmae; did you mean name?"),
            ("Hi {{ name }}", json!({"name": "x", "Name": "x"}), "no place for the variable Name; did you mean name?"),
            (
                "Hi {{ name }}, {{ id }}",
                json!({"code": null}),
                "no place for the variable code; the known ones are id, name",
            ),
            ("Bye", json!({"name": "x"}), "no place for the variable name; it has no variables"),
            ("Hi {{ order.id }}", json!({"order": {"id": 1}, "id": 1}), "no place for the variable id"),
            ("Hi {{ name }}", json!({"name": "x", "first name": 1}), "no place for the variable \"first name\""),
            (
                "{% for item in items %}{{ item }}{{ loop.index }}{% endfor %}",
                json!({"items": [1], "item": 1}),
                "no place for the variable item",
            ),
            ("{% set total = a %}{{ total }}", json!({"a": 1, "total": 2}), "no place for the variable total"),
        ] {
            let error = with(body, variables).expect_err(body);
            assert!(error.contains(why), "{body}: {error}");
        }
    }

    #[test]
    fn a_variable_has_a_place_wherever_the_template_names_it() {
        for (body, variables, filled) in [
            ("Hi {{ order.id }}", json!({"order": {"id": 1, "note": "not used"}}), "Hi 1"),
            ("{% if vip %}{{ code }}{% endif %}.", json!({"vip": false, "code": "x"}), "."),
            ("{% if vip %}{{ code }}{% endif %}.", json!({"vip": false}), "."),
            ("{% set name = name ~ '!' %}{{ name }}", json!({"name": "Ada"}), "Ada!"),
            ("{% if a %}{% set b = 1 %}{% endif %}{{ b }}", json!({"a": false, "b": 2}), "2"),
            ("{% for b in a %}{{ b }}{% endfor %}{{ b }}", json!({"a": [1], "b": 2}), "12"),
            ("{% with name = name %}{{ name }}{% endwith %}", json!({"name": "Ada"}), "Ada"),
            ("{{ names[position] }}", json!({"names": ["a", "b"], "position": 1}), "b"),
            ("{{ 'x' in order }} {{ order == {} }}", json!({"order": {"y": 1}}), "False False"),
        ] {
            assert_eq!(with(body, variables).as_deref(), Ok(filled), "{body}");
        }
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
            ("{{ name }}{{ 1/0 }}", "line 1"),
            ("{{ name }}\n{{ none.x }}", "line 2: none.x has no value"),
            ("{{ name }}{{ none.x.y }}", "line 1"),
            ("{% if vip %}{{ name }}{% else %}{{ 1 // 0 }}{% endif %}", "line 1"),
            ("{% for x in 5 %}{{ x }}{{ name }}{% endfor %}", "5 is a number and has no items"),
            ("{{ name }}{{ name / 0 }}", "line 1"),
            ("{{ name - 'x' }}", "line 1"),
            ("{{ name }}{{ a % 0 }}", "line 1"),
            ("{{ name }}{{ 'a' - 1 }}", "line 1"),
            ("{{ name }}{{ true and [] - 1 }}", "line 1"),
            ("{{ name }}{{ 'Ada'.first }}", "has no value"),
            ("{{ name }}{{ {'a': 1}.b }}", "has no value"),
            ("{{ name }}{{ -'x' }}", "line 1"),
            ("{{ 'x' in 5 }}{{ a }}", "line 1: invalid operation: cannot perform a containment check"),
            ("{{ a }}{{ b not in 5 }}", "containment check"),
            ("{{ a if false }}", "a if false has no value"),
            ("Hi\n{{ a if false }}", "line 2: a if false has no value"),
            ("Hi {{ none }}", "none is always none"),
            ("Hi {{ none if vip else none }}", "is always none"),
            ("{% set b = none %}Hi {{ b }}", "b is always none"),
            ("{% set b = 5 %}{{ name }}{{ b - 'x' }}", "line 1"),
            ("{% set b = 5 %}{% for x in b %}{{ name }}{% endfor %}", "b is a number and has no items"),
            ("Hi {{ \"\\u0000\" }}", "holds the character NUL"),
            ("Hi {{ name }}{{ \"a\\u0000\" ~ 1 }}", "holds the character NUL"),
            ("{% if false %}Hi {{ name }}{% endif %}", "always empty"),
            ("{% for x in [] %}{{ name }}{% endfor %}", "always empty"),
            ("{% set b = ' ' %}{{ b }}{% if name %}{{ b }}{% endif %}", "always empty"),
            ("{% set b %}Hi{% endset %}{% if name %} {% endif %}", "always empty"),
            ("{% set x = 1 / 0 %}{{ name }}", "line 1"),
            ("{% with x = 'a' - 1 %}{{ name }}{% endwith %}", "line 1"),
            ("{% for name in names %}\u{200b}{% else %}\n{% endfor %}", "always empty"),
        ] {
            let error = check(body).expect_err(body);
            assert!(error.contains(why), "{body}: {error}");
        }
    }

    #[test]
    fn what_may_be_sent_is_accepted_when_it_is_saved() {
        for body in [
            "Bye",
            "Hi {{ name }}",
            "{{ order.id }} {% if vip and not late %}!{% elif count > 2 %}?{% else %}.{% endif %}",
            "{% for item in items %}{{ loop.index }} {{ item.name ~ \"x\" }}{{ loop.cycle(\",\", \";\") }}{% else %}none{% endfor %}",
            "{% if vip %}!{% endif %}",
            "{{ name / 2 }} {{ name + 1 }} {{ name * 3 }} {{ -name }} {{ a % b }} {{ a / b }} {{ a - b }}",
            "{% if count > 0 %}{{ total / count }}{% endif %}{{ 1 / count }}",
            "{% if false %}{{ 1 / 0 }}{% endif %}{{ name }}",
            "{% if true %}{{ name }}{% else %}{{ none.x }}{% endif %}",
            "{{ name if vip else 'you' }} {{ 'a' if false else name }} {{ false and 1 / 0 }}",
            "{% for x in name %}{{ x }}{% endfor %}{% for k in [1, 2] %}{{ k }}{% endfor %}.",
            "{% for x in items[1:] %}{{ x.name.first[0] }}{% endfor %}{{ order['id'] }}{{ order[key] }}",
            "{{ {'de': 'Hallo', 'en': 'Hello'}[language] }} {{ ['a', 'b'][position] }}",
            "{{ name ~ 1 ~ none }} {{ name == none }} {{ 'x' in name }} {{ not name }} {{ name and 5 }}",
            "{{ 'abc'[0] }} {{ 'abc'[1:] }} {{ [1, 2][0] }} {{ {'a': 1}.a }} {{ (1 + 2) * 3 }} {{ name }}",
            "{% for a in 'ab' %}{{ a }}{% endfor %}{% for k in {'a': 1} %}{{ k }}{% endfor %}{{ 1 == 'a' }}",
            "{{ a < b }} {{ a < 'x' }} {{ 1 < 2 < a }} {{ a >= 5 }} {{ [a, b] }} {{ {'x': a} }}",
            "{% set x = name %}{{ x / 2 }}{% with y = x %}{{ y - 1 }}{% endwith %}",
            "{% for child in children recursive %}{{ child.name }}{{ loop(child.children) }}{% endfor %}",
            "{% set name = name ~ '!' %}{{ name }}",
            "{{ name or none }} {{ name if vip else none }} {{ name if vip }}",
            "{% set b = none %}{% if vip %}{% set b = name %}{% endif %}{{ b }}",
            "{% set b = none %}{% set b = name %}{{ b }}",
            "{% set b = none %}{{ name if b == none else b }}",
            "{% if vip %}{% set b = none %}{% endif %}Hi {{ b }}",
            "{% for b in names %}{{ b }}{% endfor %}{% with b = name %}{{ b }}{% endwith %}",
            "{% set b %}Hi {{ name }}{% endset %}{{ b }}",
            "{% for x in [] %}{{ name }}{% else %}none{% endfor %}",
            "{{ (name) in (names) }} {{ 1 if (name in names) else 2 }}",
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
