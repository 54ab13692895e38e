//! Tests requests against the document that is served.

use poem::http::HeaderValue;
use serde_json::json;

use super::*;

fn operations() -> Operations {
    Operations::of(&serde_json::from_str(&crate::http::api::document_as_json()).expect("JSON"), "/v1")
}

/// The code and the detail of a refusal.
fn told(method: Method, target: &str, content_type: Option<&str>, body: &str) -> Option<(&'static str, String)> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut headers = HeaderMap::new();
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).expect("a value"));
    }
    let given = Given { method: &method, path, query, headers: &headers, body: body.as_bytes() };
    operations().check(&given).err().map(|refused| (refused.code(), refused.detail().to_owned()))
}

const JSON: Option<&str> = Some("application/json");

#[test]
fn a_request_is_checked_against_its_own_operation() {
    let id = "0198c0de-0000-7000-8000-000000000000";
    for (method, target, body, code, named) in [
        (Method::GET, "/sessions?stauts=open".to_owned(), "", "parameter_unknown", "did you mean status?"),
        (
            Method::GET,
            "/project?limit=1".to_owned(),
            "",
            "parameter_unknown",
            "limit is not a query parameter here; this operation has none",
        ),
        (
            Method::GET,
            "/sessions?status=opne".to_owned(),
            "",
            "request_invalid",
            "status must be one of open, warned, closed",
        ),
        (Method::GET, "/available-numbers".to_owned(), "", "request_invalid", "the query parameter country is missing"),
        (Method::POST, "/messages?to=x".to_owned(), "{}", "parameter_unknown", "to is not"),
        (
            Method::GET,
            "/agents/not-an-id".to_owned(),
            "",
            "request_invalid",
            "id in the path must be an id (a UUID); it is \"not-an-id\"",
        ),
        (
            Method::GET,
            format!("/agents/{id}/versions/one"),
            "",
            "request_invalid",
            "version in the path must be an integer",
        ),
    ] {
        let refused = told(method, &target, JSON, body).unwrap_or_else(|| panic!("{target} {body}"));
        assert!(refused.0 == code && refused.1.contains(named), "{target} {body}: {refused:?}");
    }
}

#[test]
fn a_body_is_checked_against_its_own_operation() {
    let id = "0198c0de-0000-7000-8000-000000000000";
    for (method, target, body, code, named) in [
        (Method::POST, format!("/sessions/{id}/end"), r#"{"reason": "x"}"#, "body_unexpected", "no body"),
        (Method::GET, format!("/sessions/{id}"), "{\"a\": 1}", "body_unexpected", "no body"),
        (Method::POST, "/agents".to_owned(), "", "request_invalid", "the body is missing"),
        (Method::POST, "/agents".to_owned(), "{}", "request_invalid", "name is missing; kind is missing"),
        (Method::POST, "/agents".to_owned(), "{", "request_invalid", "the body is not valid JSON"),
        (
            Method::POST,
            "/messages".to_owned(),
            r#"{"to": "+1", "body": "a", "body": "b"}"#,
            "request_invalid",
            "body is given twice",
        ),
        (
            Method::POST,
            "/messages".to_owned(),
            r#"{"to": "+1", "txet": "a"}"#,
            "request_invalid",
            "txet is not a known field",
        ),
        (
            Method::POST,
            "/messages".to_owned(),
            r#"{"to": "+1", "variables": []}"#,
            "request_invalid",
            "variables must be an object, not an array",
        ),
        (
            Method::PATCH,
            "/project".to_owned(),
            r#"{"guards": {"repeats_in_five_minutes": "2"}}"#,
            "request_invalid",
            "guards.repeats_in_five_minutes must be an integer, not a string",
        ),
    ] {
        let refused = told(method, &target, JSON, body).unwrap_or_else(|| panic!("{target} {body}"));
        assert!(refused.0 == code && refused.1.contains(named), "{target} {body}: {refused:?}");
    }
}

#[test]
fn a_request_that_its_operation_reads_in_full_passes() {
    let id = "0198c0de-0000-7000-8000-000000000000";
    for (method, target, body) in [
        (Method::GET, "/sessions?status=open&limit=5".to_owned(), ""),
        (Method::POST, format!("/sessions/{id}/end"), ""),
        (Method::POST, format!("/sessions/{id}/end"), " {} "),
        (Method::GET, format!("/sessions/{id}"), "null"),
        (Method::GET, "/templates/gr%C3%BC%C3%9Fe".to_owned(), ""),
        (Method::GET, "/nothing?of=ours".to_owned(), ""),
        (Method::POST, "/messages".to_owned(), r#"{"to": "+1", "variables": {"a": {"b": [1.5, null]}}}"#),
        (Method::PATCH, "/project".to_owned(), r#"{"help_message": null, "quiet_hours": null}"#),
    ] {
        assert_eq!(told(method, &target, JSON, body), None, "{target} {body}");
    }
}

#[test]
fn a_body_is_json_in_utf_8() {
    for content_type in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
        "application/vnd.a+json",
    ] {
        let refused =
            told(Method::POST, "/agents", Some(content_type), "{}").unwrap_or_else(|| panic!("{content_type}"));
        assert_eq!(refused.0, "request_invalid", "{content_type} is read");
    }
    let latin = told(Method::POST, "/agents", Some("application/json; charset=ISO-8859-1"), "{}").expect("refused");
    assert!(latin.0 == "content_type_unsupported" && latin.1.contains("iso-8859-1"), "{latin:?}");
    // The operation itself answers 415.
    assert_eq!(told(Method::POST, "/agents", Some("text/plain"), "{}"), None);
    assert_eq!(told(Method::POST, "/agents", None, "{}"), None);
}

/// Every request body of the document: an unknown field, a missing one, and each field with a wrong
/// type.
#[test]
fn each_field_of_each_operation_is_named_in_its_faults() {
    let operations = operations();
    let (mut fields, mut bodies) = (0, 0);
    for operation in &operations.0 {
        let Some(schema) = &operation.body else { continue };
        bodies += 1;
        let Schema::Object(properties) = schema else { panic!("{operation:?} has a body that is no object") };
        assert!(schema.faults(&json!({"zzz": 1})).iter().any(|fault| fault.starts_with("zzz is not a known field")));
        for Property { name, schema: property, is_required } in properties {
            fields += 1;
            let is_missing = schema.faults(&json!({})).contains(&format!("{name} is missing"));
            assert_eq!(is_missing, *is_required, "{name}");
            let wrong = if *property == Schema::Boolean { json!("a") } else { json!(true) };
            let told = schema.faults(&json!({name: wrong}));
            assert!(told.iter().any(|fault| fault.starts_with(&format!("{name} must be "))), "{name}: {told:?}");
        }
    }
    assert!(bodies >= 10 && fields >= 50, "{bodies} bodies with {fields} fields");
}
