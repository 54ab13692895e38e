//! Which arguments of a language model fit the parameters of a tool.
//!
//! The interpreter ignores types, and models make up names and values, so the arguments are checked
//! before the call.

use serde_json::{Map, Number, Value};

use super::tool_parameters::{Parameter, ValueType};
use super::tools::ToolFunction;
use crate::agents::AgentError;
use crate::agents::answer::type_of;
use crate::agents::tool::ToolCall;
use crate::domain::bounds;
use crate::domain::suggestion::or_known;

/// The most bytes of the arguments of one call.
const ARGUMENTS_BYTES: usize = 64 << 10;
/// How much of a name that a model made up an error shows, in bytes.
const SHOWN_BYTES: usize = 40;

/// Bounds the arguments of a call before they are sent to a runner, which could not read a line of
/// JSON that is nested over 127 deep. The error is for the model.
pub(super) fn bound(call: &mut ToolCall) -> Result<(), AgentError> {
    let ToolCall { name, arguments, .. } = call;
    bounds::object(arguments, ARGUMENTS_BYTES).map_err(|what| not_callable(name, &what))
}

fn not_callable(name: &str, what: &str) -> AgentError {
    let name = bounds::text(name, SHOWN_BYTES);
    AgentError::Failed(format!("{name} can't be called with these arguments: {what}"))
}

/// The call with its arguments as the function gets them. The error is for the model.
pub(super) fn accept_call(functions: &[ToolFunction], call: ToolCall) -> Result<ToolCall, AgentError> {
    let Some(function) = functions.iter().find(|function| function.tool.name == call.name) else {
        let name = bounds::text(&call.name, SHOWN_BYTES);
        let known: Vec<&str> = functions.iter().map(|function| function.tool.name.as_str()).collect();
        return Err(AgentError::Failed(format!("{name} is no tool; {}", or_known(&call.name, &known))));
    };
    let arguments =
        accept(&function.parameters, call.arguments).map_err(|what| not_callable(&function.tool.name, &what))?;
    Ok(ToolCall { arguments, ..call })
}

/// The arguments as a function gets them: without those for which it has a default and the model
/// gave none. The error names all that is wrong, in words for the model.
fn accept(parameters: &[Parameter], mut given: Map<String, Value>) -> Result<Map<String, Value>, String> {
    bounds::object(&mut given, ARGUMENTS_BYTES)?;
    let (mut accepted, mut faults) = (Map::new(), Vec::new());
    for parameter in parameters {
        let name = &parameter.name;
        match given.remove(name) {
            Some(Value::Null) | None if parameter.has_default => {}
            Some(Value::Null) | None if parameter.takes_none => {
                accepted.insert(name.clone(), Value::Null);
            }
            None => faults.push(format!("{name} is missing; it must be {}", parameter.of.noun())),
            Some(value) => {
                accepted.insert(name.clone(), parameter.of.accept(name, &value, &mut faults));
            }
        }
    }
    let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    faults.extend(given.keys().map(|name| {
        let shown = bounds::text(name, SHOWN_BYTES);
        format!("{shown} is no parameter; {}", or_known(name, &known))
    }));
    if faults.is_empty() { Ok(accepted) } else { Err(faults.join(". ")) }
}

impl ValueType {
    fn noun(&self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::WholeNumber => "a whole number",
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::List(_) => "a list",
        }
    }

    /// The value as the function gets it. A whole number stays one, however the model writes it,
    /// and a number is never an int. Faults are added with the path of what is wrong.
    fn accept(&self, path: &str, given: &Value, faults: &mut Vec<String>) -> Value {
        let accepted = match (self, given) {
            (Self::Text, Value::String(_)) | (Self::Truth, Value::Bool(_)) => Some(given.clone()),
            (Self::WholeNumber, Value::Number(number)) => whole(number).map(Value::Number),
            (Self::Number, Value::Number(number)) => number.as_f64().and_then(Number::from_f64).map(Value::Number),
            (Self::List(of), Value::Array(items)) => {
                let each = items.iter().enumerate();
                return each.map(|(n, item)| of.accept(&format!("{path}[{n}]"), item, faults)).collect();
            }
            _ => None,
        };
        accepted.unwrap_or_else(|| {
            faults.push(format!("{path} is {}; it must be {}", type_of(given), self.noun()));
            Value::Null
        })
    }
}

/// The whole number that a number stands for: `5` and also `5.0`, which some models write.
fn whole(number: &Number) -> Option<Number> {
    if number.is_i64() || number.is_u64() {
        return Some(number.clone());
    }
    let near = number.as_f64().filter(|near| near.fract() == 0.0)?;
    format!("{near:.0}").parse::<i64>().ok().map(Number::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parameter(name: &str, of: ValueType) -> Parameter {
        Parameter { name: name.to_owned(), of, takes_none: false, has_default: false, description: None }
    }

    fn parameters() -> Vec<Parameter> {
        let texts = || ValueType::List(Box::new(ValueType::Text));
        vec![
            parameter("day", ValueType::Text),
            Parameter { has_default: true, ..parameter("persons", ValueType::WholeNumber) },
            Parameter { takes_none: true, ..parameter("price", ValueType::Number) },
            Parameter { takes_none: true, has_default: true, ..parameter("inside", ValueType::Truth) },
            Parameter { has_default: true, ..parameter("notes", texts()) },
        ]
    }

    fn accepted(given: &Value) -> Result<Value, String> {
        accept(&parameters(), given.as_object().expect("an object").clone()).map(Value::Object)
    }

    #[test]
    fn arguments_that_fit_are_given_by_name_and_the_others_keep_their_defaults() {
        let all = json!({"day": "a", "persons": 2, "price": 1.5, "inside": true, "notes": ["a", ""]});
        assert_eq!(accepted(&all), Ok(all));
        for (given, expected) in [
            (json!({"day": "a"}), json!({"day": "a", "price": null})),
            (
                json!({"day": "", "persons": null, "price": null, "inside": null, "notes": null}),
                json!({"day": "", "price": null}),
            ),
            (json!({"day": "a", "persons": 2.0, "price": 2}), json!({"day": "a", "persons": 2, "price": 2.0})),
            (json!({"day": "a", "persons": -3e2}), json!({"day": "a", "persons": -300, "price": null})),
            (json!({"day": "a", "persons": u64::MAX}), json!({"day": "a", "persons": u64::MAX, "price": null})),
            (json!({"day": "a", "notes": []}), json!({"day": "a", "notes": [], "price": null})),
        ] {
            assert_eq!(accepted(&given).map(|value| value.to_string()), Ok(expected.to_string()), "{given}");
        }
    }

    #[test]
    fn arguments_that_do_not_fit_are_told_all_at_once_without_their_values() {
        for (given, what) in [
            (json!({}), "day is missing; it must be a text"),
            (json!({"day": null}), "day is null; it must be a text"),
            (json!({"day": 5}), "day is a number; it must be a text"),
            (json!({"day": ["a"]}), "day is a list; it must be a text"),
            (json!({"day": "a", "persons": "2"}), "persons is a text; it must be a whole number"),
            (json!({"day": "a", "persons": 2.5}), "persons is a number; it must be a whole number"),
            (json!({"day": "a", "persons": 1e300}), "persons is a number; it must be a whole number"),
            (json!({"day": "a", "persons": true}), "persons is a truth value; it must be a whole number"),
            (json!({"day": "a", "price": "5"}), "price is a text; it must be a number"),
            (json!({"day": "a", "inside": "yes"}), "inside is a text; it must be true or false"),
            (json!({"day": "a", "inside": 1}), "inside is a number; it must be true or false"),
            (json!({"day": "a", "notes": "x"}), "notes is a text; it must be a list"),
            (
                json!({"day": "a", "notes": ["x", null, {}]}),
                "notes[1] is null; it must be a text. notes[2] is an object; it must be a text",
            ),
            (json!({"day": "a", "notes": {"a": "b"}}), "notes is an object; it must be a list"),
            (json!({"dya": "a", "day": "a"}), "dya is no parameter; did you mean day?"),
            (
                json!({"x": 1, "persons": "2"}),
                "day is missing; it must be a text. persons is a text; it must be a whole number. x is no parameter; the known ones are day, persons, price, inside, notes",
            ),
            (json!({"day": "a\0"}), "at day: a text holds the character NUL, which can't be stored"),
        ] {
            assert_eq!(accepted(&given), Err(what.to_owned()), "{given}");
        }
        let large = accepted(&json!({"day": "x".repeat(70_000)})).expect_err("too large");
        assert!(large.contains("65536 is the most"), "{large}");
        assert_eq!(
            accept(&[], Map::from_iter([("x".to_owned(), json!(1))])),
            Err("x is no parameter; none is known".to_owned())
        );
        let huge: Value = serde_json::from_str("{\"day\": \"a\", \"persons\": 1e999}").expect("JSON");
        assert!(accepted(&huge).expect_err("no number of 64 bits").contains("at persons: the number 1e+999"));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,5}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::Array))
    }

    fn fits(of: &ValueType, value: &Value) -> bool {
        match of {
            ValueType::Text => value.is_string(),
            ValueType::WholeNumber => value.is_i64() || value.is_u64(),
            ValueType::Number => value.as_number().is_some_and(|number| !number.is_i64() && !number.is_u64()),
            ValueType::Truth => value.is_boolean(),
            ValueType::List(item) => value.as_array().is_some_and(|items| items.iter().all(|one| fits(item, one))),
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_has_the_types_of_the_parameters(
            given in prop::collection::btree_map("day|persons|price|inside|notes|x", any_value(), 0..6)
        ) {
            if let Ok(accepted) = accept(&parameters(), given.into_iter().collect()) {
                for parameter in parameters() {
                    match accepted.get(&parameter.name) {
                        Some(Value::Null) => prop_assert!(parameter.takes_none && !parameter.has_default),
                        Some(value) => prop_assert!(fits(&parameter.of, value), "{} {value}", parameter.name),
                        None => prop_assert!(parameter.has_default),
                    }
                }
                prop_assert!(accepted.keys().all(|name| parameters().iter().any(|one| one.name == *name)));
            }
        }
    }
}
