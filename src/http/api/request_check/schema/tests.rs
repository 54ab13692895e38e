//! Tests the words of faults.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn schema() -> Schema {
    let document = json!({"components": {"schemas": {
        "Kind": {"type": "string", "enum": ["script", "http"]},
        "Inactivity": {"type": "object", "properties": {
            "warn_after_seconds": {"type": "integer", "format": "int32", "minimum": 1.0, "maximum": 2592000.0},
            "warning": {"type": "string", "minLength": 1, "maxLength": 10},
        }},
    }}});
    let schema = json!({"type": "object", "required": ["name", "kind"], "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "kind": {"$ref": "#/components/schemas/Kind"},
        "inactivity": {"$ref": "#/components/schemas/Inactivity"},
        "media_urls": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        "buy": {"type": "boolean"},
        "agent_id": {"type": "string", "format": "uuid"},
        "send_at": {"type": "string", "format": "date-time"},
        "variables": {"type": "object", "additionalProperties": {}},
        "greeting": {"type": "string", "maxLength": 5},
    }});
    Schema::read(&document, &schema)
}

/// A valid body with other fields.
fn with(changes: Value) -> Value {
    let mut body = json!({"name": "a", "kind": "script"});
    body.as_object_mut().expect("an object").extend(changes.as_object().cloned().expect("an object"));
    body
}

#[test]
fn a_fault_names_its_field_and_what_it_must_be() {
    for (body, told) in [
        (json!({"kind": "script"}), "name is missing"),
        (json!({}), "name is missing; kind is missing"),
        (json!("text"), "the body must be an object, not a string"),
        (json!([{}]), "the body must be an object, not an array"),
        (json!(null), "the body must be an object, not null"),
        (with(json!({"name": 7})), "name must be a string, not a number"),
        (with(json!({"name": null})), "name must be a string, not null"),
        (with(json!({"name": ["a"]})), "name must be a string, not an array"),
        (with(json!({"name": ""})), "name must have 1 to 100 characters; it has 0"),
        (with(json!({"greeting": "ääääää"})), "greeting must have at most 5 characters; it has 6"),
        (with(json!({"kind": "scrpt"})), "kind must be one of script, http; it is \"scrpt\""),
        (with(json!({"kind": true})), "kind must be a string, not true or false"),
        (with(json!({"nmae": "a"})), "nmae is not a known field; did you mean name?"),
        (with(json!({"unheard": "of"})), "unheard is not a known field; the known ones are "),
        (with(json!({"a b\n": 1})), "\"a b\\n\" is not a known field; "),
        (
            with(json!({"inactivity": {"warn_after_seconds": "soon"}})),
            "inactivity.warn_after_seconds must be an integer, not a string",
        ),
        (
            with(json!({"inactivity": {"warn_after_seconds": 1.5}})),
            "inactivity.warn_after_seconds must be an integer; it is 1.5",
        ),
        (
            with(json!({"inactivity": {"warn_after_seconds": 0}})),
            "inactivity.warn_after_seconds must be 1 to 2592000; it is 0",
        ),
        (
            with(json!({"inactivity": {"warn_after": 5}})),
            "inactivity.warn_after is not a known field; the known ones are ",
        ),
        (
            with(json!({"inactivity": {"warnign": "x"}})),
            "inactivity.warnign is not a known field; did you mean warning?",
        ),
        (with(json!({"inactivity": []})), "inactivity must be an object, not an array"),
        (with(json!({"media_urls": "a"})), "media_urls must be an array, not a string"),
        (with(json!({"media_urls": ["a", 7]})), "media_urls[1] must be a string, not a number"),
        (with(json!({"media_urls": ["a", null]})), "media_urls[1] must be a string, not null"),
        (with(json!({"media_urls": ["a", "b", "c"]})), "media_urls must have at most 2 items; it has 3"),
        (with(json!({"buy": "true"})), "buy must be true or false, not a string"),
        (with(json!({"agent_id": "7"})), "agent_id must be an id (a UUID); it is \"7\""),
        (with(json!({"send_at": "tomorrow"})), "send_at must be a time with its offset from UTC"),
        (with(json!({"send_at": "2030-01-31T09:00:00"})), "send_at must be a time with its offset from UTC"),
        (with(json!({"variables": "a"})), "variables must be an object, not a string"),
    ] {
        let faults = schema().faults(&body).join("; ");
        assert!(faults.starts_with(told), "{body}: {faults}");
        assert!(!faults.contains("expected") && !faults.contains('`'), "no type of Rust: {faults}");
    }
    let huge: Value =
        serde_json::from_str(r#"{"name": "a", "kind": "http", "inactivity": {"warn_after_seconds": 1e99}}"#)
            .expect("JSON");
    assert_eq!(schema().faults(&huge), ["inactivity.warn_after_seconds must be an integer; it is 1e+99"]);
}

#[test]
fn what_is_valid_has_no_fault_and_null_stands_for_nothing() {
    for body in [
        with(json!({})),
        with(json!({"inactivity": null, "media_urls": null, "buy": null, "send_at": null})),
        with(json!({"inactivity": {"warn_after_seconds": null}, "variables": {"a": {"b": null}}, "media_urls": []})),
        with(json!({"send_at": "2030-01-31T09:00:00+01:00", "agent_id": "0198c0de-0000-7000-8000-000000000000"})),
    ] {
        assert_eq!(schema().faults(&body), Vec::<String>::new(), "{body}");
    }
}

#[test]
fn an_error_has_few_faults_and_short_values() {
    let many: serde_json::Map<String, Value> =
        (0..1000).map(|n| (format!("{n}{}", "x".repeat(1000)), json!(1))).collect();
    let faults = schema().faults(&Value::Object(many));
    assert!(faults.len() <= MOST_FAULTS && faults.iter().all(|fault| fault.len() < 300), "{faults:?}");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("name|kind|inactivity|media_urls|[a-z]{1,6}", inner, 0..4)
                .prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    /// Whatever a caller sends, a fault names a field and no type of Rust.
    #[test]
    fn no_value_panics_and_every_unknown_field_is_told(body in json_value(), name in "[a-z]{3,12}") {
        prop_assume!(schema().faults(&with(json!({}))).is_empty());
        let _ = schema().faults(&body);
        let fields = with(json!({name.clone(): body}));
        let is_known = ["name", "kind", "inactivity", "media_urls", "buy", "agent_id", "send_at", "variables", "greeting"].contains(&name.as_str());
        let told = schema().faults(&fields).join("; ");
        prop_assert!(is_known || told.contains(&format!("{name} is not a known field")), "{}", told);
    }
}
