//! Checks the query string of an operation: its parameters and their values.

use poem::http::StatusCode;

use super::schema::Property;
use crate::http::problem::Problem;
use crate::http::query::{self, ReadBy};

/// Checks a query string against the parameters of an operation.
pub(super) fn check(query: &str, parameters: &[Property]) -> Result<(), Problem> {
    let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let mut given: Vec<&str> = Vec::new();
    query::read(query, &known, ReadBy::Operation, |name, value, has_plus| {
        given.push(name);
        match parameters.iter().find(|parameter| parameter.name == name) {
            Some(parameter) => check_value(parameter, value, has_plus),
            None => Ok(()),
        }
    })?;
    match parameters.iter().find(|parameter| parameter.is_required && !given.contains(&parameter.name.as_str())) {
        Some(missing) => Err(refused("request_invalid", format!("the query parameter {} is missing", missing.name))),
        None => Ok(()),
    }
}

fn check_value(parameter: &Property, value: &str, has_plus: bool) -> Result<(), Problem> {
    let name = &parameter.name;
    if value.is_empty() {
        return Err(refused(
            "request_invalid",
            format!("the query parameter {name} has no value; give one, or leave the parameter out"),
        ));
    }
    if value.contains('\0') {
        return Err(Problem::invalid("text_has_nul", format!("the query parameter {name} contains the character NUL")));
    }
    match parameter.schema.parameter_fault(value) {
        Some(fault) => {
            let why = if has_plus { "; a + in a query is a blank, so write %2B for it" } else { "" };
            Err(refused("request_invalid", format!("the query parameter {name} {fault}{why}")))
        }
        None => Ok(()),
    }
}

fn refused(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::schema::Schema;
    use super::*;

    fn parameters() -> Vec<Property> {
        let of = |name: &str, schema: Value| Property {
            name: name.to_owned(),
            schema: Schema::read(&Value::Null, &schema),
            is_required: false,
        };
        vec![
            of("contact", json!({"type": "string"})),
            of("status", json!({"type": "string", "enum": ["open", "closed"]})),
            of("limit", json!({"type": "integer", "format": "uint32"})),
            of("refresh", json!({"type": "boolean"})),
            of("since", json!({"type": "string", "format": "date-time"})),
        ]
    }

    #[test]
    fn what_an_operation_does_not_have_or_cannot_read_is_refused_by_name() {
        for (query, code, told) in [
            ("stauts=open", "parameter_unknown", "stauts is not a query parameter here; did you mean status?"),
            ("Limit=1", "parameter_unknown", "Limit is not a query parameter here; did you mean limit?"),
            (
                "page=2",
                "parameter_unknown",
                "page is not a query parameter here; the known ones are contact, status, limit, refresh, since",
            ),
            ("limit[]=1", "parameter_unknown", "limit[] is not a query parameter here; the known ones are"),
            ("=1", "parameter_unknown", "\"\" is not"),
            ("limit=10&limit=20", "parameter_repeated", "the query parameter limit is given more than once"),
            ("limit=10&l%69mit=10", "parameter_repeated", "the query parameter limit is given more than once"),
            ("limit=", "request_invalid", "the query parameter limit has no value"),
            ("limit", "request_invalid", "the query parameter limit has no value"),
            ("contact=", "request_invalid", "the query parameter contact has no value"),
            ("limit=abc", "request_invalid", "the query parameter limit must be an integer; it is \"abc\""),
            ("limit=1.5", "request_invalid", "must be an integer"),
            ("limit=-1", "request_invalid", "the query parameter limit must be 0 to 4294967295; it is -1"),
            ("limit=99999999999999999999", "request_invalid", "limit must be an integer"),
            (
                "status=opne",
                "request_invalid",
                "the query parameter status must be one of open, closed; it is \"opne\"",
            ),
            ("status=Open", "request_invalid", "must be one of"),
            ("refresh=yes", "request_invalid", "the query parameter refresh must be true or false; it is \"yes\""),
            ("since=2030-01-31T09:00:00+01:00", "request_invalid", "so write %2B for it"),
            ("contact=%4", "parameter_unreadable", "the query parameter contact: a % must be followed"),
            ("contact=100%", "parameter_unreadable", "the query parameter contact: a % must be followed"),
            ("contact=%zz", "parameter_unreadable", "the query parameter contact: a % must be followed"),
            ("contact=%ff", "parameter_unreadable", "the query parameter contact: its percent-encoding is not UTF-8"),
            ("%ff=1", "parameter_unreadable", "the query parameter %ff: its percent-encoding is not UTF-8"),
            ("contact=a%00b", "text_has_nul", "the query parameter contact contains"),
        ] {
            let refused = check(query, &parameters()).expect_err(query);
            assert_eq!(refused.code(), code, "{query}: {refused}");
            assert!(refused.detail().contains(told), "{query}: {refused}");
        }
    }

    #[test]
    fn what_an_operation_has_is_accepted_in_every_spelling() {
        for query in [
            "",
            "&",
            "limit=10&",
            "limit=10&status=open",
            "st%61tus=%6fpen",
            "contact=%2B14155550101",
            "contact=a+b",
            "since=2030-01-31T09:00:00%2B01:00",
        ] {
            assert_eq!(check(query, &parameters()).map_err(|refused| refused.to_string()), Ok(()), "{query}");
        }
        let required = [Property { is_required: true, ..parameters().remove(0) }];
        assert!(check("", &required).expect_err("missing").detail().contains("contact is missing"));
        assert!(check("a=b", &[]).expect_err("none").detail().contains("this operation has none"));
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "[ -~]{0,60}") {
            let _ = check(&query, &parameters());
        }

        #[test]
        fn an_unknown_parameter_is_refused_and_named(name in "[a-z_]{1,30}", value in "[a-z0-9]{0,10}") {
            prop_assume!(!["contact", "status", "limit", "refresh", "since"].contains(&name.as_str()));
            let refused = check(&format!("limit=5&{name}={value}"), &parameters()).expect_err("refused");
            prop_assert_eq!(refused.code(), "parameter_unknown");
            prop_assert!(refused.detail().contains(&name));
        }
    }
}
