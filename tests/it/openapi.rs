//! Tests the OpenAPI document: calls each operation and checks each answer against its schema.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate};
use reqwest::{Method, StatusCode, header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, NUMBER, TestApp};

/// An agent with all that an agent may have: it greets, answers, sends outside its answer, and
/// fails when told to.
const AGENT: &str = "
def start(conv):
    conv.state.nothing = None

def reply(conv, text):
    if text == \"boom\":
        fail(\"as asked\")
    if text == \"later\":
        conv.send_sms(\"+14155550155\", None, \"hello from the script\")
    return \"fine: \" + text
";
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn document() -> Value {
    serde_json::from_str(&textback::http::api::document_as_json()).expect("JSON")
}

/// Calls operations, and checks each answer against the document.
struct Checked<'a> {
    app: &'a TestApp,
    document: Value,
    /// The operations that agreed at least once.
    agreed: BTreeSet<String>,
    answers: usize,
}

impl<'a> Checked<'a> {
    fn new(app: &'a TestApp) -> Self {
        Self { app, document: document(), agreed: BTreeSet::new(), answers: 0 }
    }

    /// The path's template and the operation of a call.
    fn operation(&self, method: &Method, path: &str) -> &Value {
        let path = path.split('?').next().unwrap_or_default();
        let fits = |template: &str| {
            let (given, expected): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
            given.len() == expected.len()
                && given.iter().zip(expected).all(|(given, expected)| expected.starts_with('{') || *given == expected)
        };
        let paths = self.document["paths"].as_object().expect("paths");
        let (_, item) = paths.iter().find(|(template, _)| fits(template)).unwrap_or_else(|| panic!("no {path}"));
        let operation = &item[method.as_str().to_lowercase()];
        assert!(operation.is_object(), "no {method} {path}");
        operation
    }

    /// Calls an operation, which must agree.
    async fn ok(&mut self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        let id = self.operation(&method, path)["operationId"].as_str().expect("an id").to_owned();
        self.agreed.insert(id);
        answer
    }

    /// Calls an operation, which must refuse.
    async fn refused(&mut self, method: Method, path: &str, body: Option<Value>) {
        let (status, answer) = self.call(method.clone(), path, body).await;
        assert!(status.is_client_error(), "{method} {path}: {status} {answer}");
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.answers += 1;
        let app = self.app;
        let request = app.http.request(method.clone(), format!("http://{}{path}", app.api)).bearer_auth(&app.key);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        let (status, what) = (answer.status(), format!("{method} {path}"));
        let media_type =
            answer.headers().get(header::CONTENT_TYPE).map(|given| given.to_str().expect("text").to_owned());
        let bytes = answer.bytes().await.expect("a body");

        let responses = &self.operation(&method, path)["responses"];
        let response = responses.get(status.as_str()).or_else(|| (!status.is_success()).then(|| &responses["default"]));
        let response = response.unwrap_or_else(|| panic!("{what}: {status} is not in the document"));
        let Some(content) = response["content"].as_object() else {
            assert!(bytes.is_empty(), "{what}: a body that is not in the document");
            return (status, Value::Null);
        };
        let media_type = media_type.unwrap_or_else(|| panic!("{what}: no content type"));
        if content.contains_key("application/octet-stream") {
            return (status, Value::Null);
        }
        let schema = &content.get(&media_type).unwrap_or_else(|| panic!("{what}: {media_type}"))["schema"];
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        if let Err(fault) = check(&self.document, schema, &value, "$") {
            panic!("{what} ({status}): {fault}\n{value:#}");
        }
        (status, value)
    }
}

/// Checks a value against a schema of OpenAPI 3.0. Stricter than the standard: a property that is
/// not declared is a fault, and so is a null, except below a schema that allows anything.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#'));
        let found = found.ok_or_else(|| format!("{at}: {reference} does not exist"))?;
        return check(document, found, value, at);
    }
    let Some(kind) = schema["type"].as_str() else {
        return if value.is_null() { Err(format!("{at} is null")) } else { Ok(()) };
    };
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{at} is {value}, which is not one of {allowed:?}"));
    }
    match (kind, value) {
        ("object", Value::Object(fields)) => check_object(document, schema, fields, at),
        ("array", Value::Array(items)) => {
            let each = |(n, item)| check(document, &schema["items"], item, &format!("{at}[{n}]"));
            items.iter().enumerate().try_for_each(each)
        }
        ("string", Value::String(text)) => {
            let fits = match schema["format"].as_str() {
                Some("uuid") => Uuid::parse_str(text).is_ok(),
                Some("date-time") => DateTime::parse_from_rfc3339(text).is_ok(),
                Some("naive-date") => text.parse::<NaiveDate>().is_ok(),
                Some(format) => return Err(format!("{at} has the format {format}, which this test does not know")),
                None => true,
            };
            if fits { Ok(()) } else { Err(format!("{at} is {text:?}, which is not a {}", schema["format"])) }
        }
        ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => Ok(()),
        _ => Err(format!("{at} is {value}, which is not a {kind}")),
    }
}

fn check_object(document: &Value, schema: &Value, fields: &Map<String, Value>, at: &str) -> Result<(), String> {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    if let Some(missing) = required.iter().filter_map(Value::as_str).find(|name| !fields.contains_key(*name)) {
        return Err(format!("{at} has no {missing}"));
    }
    fields.iter().try_for_each(|(name, value)| match schema["properties"].get(name) {
        Some(property) => check(document, property, value, &format!("{at}.{name}")),
        None => Err(format!("{at} has {name}, which is not declared")),
    })
}

fn id(value: &Value) -> &str {
    value["id"].as_str().expect("an id")
}

async fn carrier_and_project(api: &mut Checked<'_>) {
    let credentials = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN});
    api.ok(Method::PUT, "/v1/carrier", Some(credentials)).await;
    api.ok(Method::GET, "/v1/carrier", None).await;
    api.ok(Method::GET, "/v1/project", None).await;
    let all = json!({"allowed_countries": ["US", "CA"], "help_message": "Help!", "quiet_hours": {"from": "02:00", "until": "02:01"},
                     "guards": {"repeats_in_five_minutes": 3}});
    api.ok(Method::PATCH, "/v1/project", Some(all)).await;
    let none = json!({"allowed_countries": null, "help_message": null, "quiet_hours": null});
    let project = api.ok(Method::PATCH, "/v1/project", Some(none)).await;
    for name in ["allowed_countries", "help_message", "quiet_hours"] {
        assert!(project.get(name).is_none(), "{name} is left out");
    }
    api.ok(Method::GET, "/v1/usage", None).await;
    api.refused(Method::PATCH, "/v1/project", Some(json!({"default_number": "+14155550777"}))).await;
    api.ok(Method::GET, "/v1/countries?limit=200", None).await;
    api.ok(Method::GET, "/v1/countries/us", None).await;
    let rule = json!({"two_way": true, "registration_policy": "none", "note": "as we know"});
    api.ok(Method::PATCH, "/v1/countries/SM", Some(rule)).await;
    api.refused(Method::GET, "/v1/countries/XX", None).await;
}

async fn agents(api: &mut Checked<'_>) -> String {
    let script = json!({"name": "script", "kind": "script", "source": AGENT, "error_message": "Sorry!", "greeting": "Welcome!",
        "first_message": "greet_then_process", "inactivity": {"closing": "Bye!"}, "max_segments": 3});
    let script = api.ok(Method::POST, "/v1/agents", Some(script)).await;
    assert!(script.get("url").is_none() && script.get("signing_secret").is_none(), "{script}");
    let http = json!({"name": "http", "kind": "http", "url": "http://127.0.0.1:9/agent"});
    let http = api.ok(Method::POST, "/v1/agents", Some(http)).await;
    assert_eq!((&http["timeout_seconds"], &http["first_message"]), (&json!(30), &json!("greet")));
    let paths = [&script, &http].map(|agent| format!("/v1/agents/{}", id(agent)));
    for path in &paths {
        api.ok(Method::GET, path, None).await;
        api.ok(Method::GET, &format!("{path}/versions"), None).await;
        api.ok(Method::GET, &format!("{path}/versions/1"), None).await;
    }
    api.ok(Method::GET, "/v1/agents", None).await;
    api.ok(Method::GET, "/v1/agents?limit=1", None).await;
    api.ok(Method::POST, &format!("{}/signing-secret", paths[1]), None).await;
    api.refused(Method::POST, &format!("{}/signing-secret", paths[0]), None).await;
    let version = json!({"kind": "script", "source": AGENT, "first_message": "process", "error_message": "Sorry!"});
    api.ok(Method::POST, &format!("{}/versions", paths[0]), Some(version)).await;
    api.ok(Method::GET, &format!("{}/environments", paths[0]), None).await;
    api.ok(Method::POST, &format!("{}/environments/sandbox/rollback", paths[0]), None).await;
    api.refused(Method::POST, &format!("{}/environments/sandbox/rollback", paths[0]), None).await;
    let live = format!("{}/environments/live", paths[0]);
    for version in [1, 2] {
        api.ok(Method::PUT, &live, Some(json!({"version": version}))).await;
    }
    api.refused(Method::PUT, &live, Some(json!({"version": 3}))).await;
    api.ok(Method::GET, &format!("{}/versions/2/diff/1", paths[0]), None).await;
    api.refused(Method::POST, "/v1/agents", Some(json!({"name": "a", "kind": "llm"}))).await;
    api.refused(Method::POST, "/v1/agents", Some(json!({"name": "a", "kind": "http", "source": AGENT}))).await;
    id(&script).to_owned()
}

async fn numbers(api: &mut Checked<'_>, agent: &str) -> String {
    api.ok(Method::GET, "/v1/available-numbers?country=US&limit=5", None).await;
    let number = json!({"number": NUMBER, "agent_id": agent});
    let number = api.ok(Method::POST, "/v1/numbers", Some(number)).await;
    let path = format!("/v1/numbers/{}", id(&number));
    api.ok(Method::GET, "/v1/numbers", None).await;
    api.ok(Method::GET, &path, None).await;
    api.ok(Method::PATCH, &path, Some(json!({"repair_drift": false}))).await;
    api.ok(Method::GET, &format!("{path}/health"), None).await;
    // Somebody else changes the webhooks.
    api.app.simulator.change_number(NUMBER, |number| number.sms_url = "https://elsewhere.example/sms".to_owned());
    let health = api.ok(Method::GET, &format!("{path}/health?refresh=true"), None).await;
    assert_eq!(health["status"], "blocked");
    api.ok(Method::GET, &path, None).await;
    api.ok(Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": agent}))).await;
    api.refused(Method::DELETE, &path, None).await;
    api.refused(Method::POST, "/v1/numbers", Some(json!({"number": "4155550199", "agent_id": agent}))).await;
    path
}

async fn templates(api: &mut Checked<'_>) {
    api.ok(Method::PUT, "/v1/templates/ready", Some(json!({"body": "Hi {{ name }}"}))).await;
    api.ok(Method::PUT, "/v1/templates/old", Some(json!({"body": "Bye"}))).await;
    api.ok(Method::GET, "/v1/templates", None).await;
    api.ok(Method::GET, "/v1/templates/ready", None).await;
    api.ok(Method::DELETE, "/v1/templates/old", None).await;
    api.refused(Method::GET, "/v1/templates/old", None).await;
}

/// People text, with media, keywords, failures and too many repeats; each session and message is
/// read.
async fn conversations(api: &mut Checked<'_>) {
    let app = api.app;
    app.text(ADA, "hi").await;
    app.run_jobs().await;
    let text = json!({"from": ADA, "to": NUMBER, "body": "look, later", "media_urls": [PIXEL]});
    app.simulator.text(serde_json::from_value(text).expect("a text")).await;
    app.run_jobs().await;
    app.text("+14155550102", "boom").await;
    for _ in 0..3 {
        app.run_jobs().await;
        app.sql("update turn set due_at = now()").await;
    }
    app.text("+14155550103", "later").await;
    for body in ["again", "again", "again", "STOP"] {
        app.text("+14155550104", body).await;
    }
    app.run_jobs().await;
    let sessions = api.ok(Method::GET, "/v1/sessions", None).await;
    let mut media = Vec::new();
    for session in sessions["items"].as_array().expect("items") {
        api.ok(Method::GET, &format!("/v1/sessions/{}", id(session)), None).await;
        let messages = api.ok(Method::GET, &format!("/v1/sessions/{}/messages", id(session)), None).await;
        for message in messages["items"].as_array().expect("items") {
            api.ok(Method::GET, &format!("/v1/messages/{}", id(message)), None).await;
            media.extend(message["media"].as_array().into_iter().flatten().map(|medium| id(medium).to_owned()));
        }
    }
    let [medium] = &media[..] else { panic!("{media:?}") };
    api.ok(Method::GET, &format!("/v1/media/{medium}"), None).await;
    api.ok(Method::GET, "/v1/sessions?limit=1", None).await;
    let newest = id(&sessions["items"][0]).to_owned();
    api.ok(Method::GET, &format!("/v1/sessions/{newest}/messages?limit=1"), None).await;
    api.ok(Method::GET, &format!("/v1/sessions/{newest}/model-requests"), None).await;
    let oldest = sessions["items"].as_array().and_then(|items| items.last()).expect("a session");
    let ended = api.ok(Method::POST, &format!("/v1/sessions/{}/end", id(oldest)), None).await;
    assert_eq!(ended["close_reason"], "operator_ended");
}

async fn sending(api: &mut Checked<'_>) {
    let send = |body: Value| {
        Some(
            json!({"to": "+14155550105"})
                .as_object()
                .map(|to| {
                    let mut request = to.clone();
                    request.extend(body.as_object().cloned().unwrap_or_default());
                    Value::from(request)
                })
                .expect("an object"),
        )
    };
    let sent = api
        .ok(Method::POST, "/v1/messages", send(json!({"body": "Hello", "media_urls": ["https://a.example/b.png"]})))
        .await;
    api.app.run_jobs().await;
    let message =
        api.ok(Method::GET, &format!("/v1/messages/{}", sent["message_id"].as_str().expect("an id")), None).await;
    assert_eq!(message["status"], "delivered", "{message}");
    api.refused(Method::POST, "/v1/messages", send(json!({"body": "Hello", "on_active_session": "reject"}))).await;
    let scheduled = send(json!({"template": "ready", "variables": {"name": "Ada"}, "send_at": "2000-01-01T00:00:00Z"}));
    api.ok(Method::POST, "/v1/messages", scheduled).await;
    let soon = chrono::Utc::now() + chrono::Duration::days(1);
    for media in [json!([]), json!(["https://a.example/b.png"])] {
        let later = send(json!({"body": "Later", "media_urls": media, "send_at": soon.to_rfc3339()}));
        let later = api.ok(Method::POST, "/v1/messages", later).await;
        let path = format!("/v1/messages/{}", later["message_id"].as_str().expect("an id"));
        assert_eq!(api.ok(Method::GET, &path, None).await["status"], "scheduled");
        api.ok(Method::GET, "/v1/scheduled-messages", None).await;
        let cancelled = api.ok(Method::DELETE, &path, None).await;
        assert_eq!((&cancelled["status"], &cancelled["refusal_reason"]), (&json!("refused"), &json!("cancelled")));
    }
    api.ok(Method::GET, "/v1/scheduled-messages?limit=1", None).await;
    let consent = json!({"number": NUMBER, "contact": "+14155550105", "kind": "opted_out", "note": "by phone"});
    api.ok(Method::POST, "/v1/consents", Some(consent)).await;
    api.ok(Method::GET, "/v1/consents", None).await;
    api.refused(Method::POST, "/v1/messages", send(json!({"body": "Hello"}))).await;
    api.ok(Method::GET, "/v1/usage?contact=%2B14155550105", None).await;
}

/// Somebody texts a number that is detached.
async fn quarantine(api: &mut Checked<'_>) {
    let form = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM1&From=%2B14155550106&To=%2B14155550199&Body=late");
    api.app.post("messages", &form, AUTH_TOKEN).await;
    let items = api.ok(Method::GET, "/v1/quarantine?kind=inbound", None).await;
    let path = format!("/v1/quarantine/{}", id(&items["items"][0]));
    api.ok(Method::GET, &path, None).await;
    api.ok(Method::POST, &format!("{path}/replay"), None).await;
    api.refused(Method::GET, "/v1/quarantine/0198c0de-0000-7000-8000-000000000000", None).await;
}

#[tokio::test]
async fn every_operation_answers_as_the_document_says() {
    let app = TestApp::new().await;
    let mut api = Checked::new(&app);
    carrier_and_project(&mut api).await;
    let agent = agents(&mut api).await;
    let number = numbers(&mut api, &agent).await;
    templates(&mut api).await;
    conversations(&mut api).await;
    sending(&mut api).await;
    api.ok(Method::DELETE, &format!("{number}?at_carrier=keep"), None).await;
    quarantine(&mut api).await;

    let paths = api.document["paths"].as_object().expect("paths").values();
    let operations = paths.flat_map(|item| item.as_object().expect("operations").values());
    let all: BTreeSet<String> =
        operations.map(|operation| operation["operationId"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(api.agreed, all, "each operation agreed at least once");
    assert!(api.answers > 80, "{}", api.answers);
}

/// What generators of clients stumble over.
#[test]
fn the_document_is_plain() {
    let document = document();
    assert_eq!(document["openapi"], "3.0.0");
    assert_eq!(document["servers"], json!([{"url": "/"}]));
    let mut left = vec![(String::from("#"), &document)];
    let mut enums = 0;
    while let Some((at, value)) = left.pop() {
        match value {
            Value::Null => panic!("{at} is null"),
            Value::Array(items) => {
                left.extend(items.iter().enumerate().map(|(n, item)| (format!("{at}/{n}"), item)));
            }
            Value::Object(fields) => {
                for name in ["allOf", "nullable"] {
                    assert!(!fields.contains_key(name) || at.ends_with("/properties"), "{at} has {name}");
                }
                assert!(!fields.contains_key("$ref") || fields.len() == 1, "{at} has more than its $ref");
                if let (Some(default), Some(Value::String(_))) = (fields.get("default"), fields.get("type")) {
                    assert!(!default.is_object(), "{at} has an object as its default");
                }
                enums += usize::from(fields.contains_key("enum"));
                left.extend(fields.iter().map(|(name, field)| (format!("{at}/{name}"), field)));
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert!(enums >= 20, "{enums} enums");
}

/// The checker itself finds faults.
#[test]
fn a_wrong_answer_is_a_fault() {
    let document = json!({"components": {"schemas": {"Color": {"type": "string", "enum": ["red"]}}}});
    let schema = json!({"type": "object", "required": ["id"], "properties": {
        "id": {"type": "string", "format": "uuid"}, "color": {"$ref": "#/components/schemas/Color"},
        "sizes": {"type": "array", "items": {"type": "integer"}}, "state": {"description": "anything"}}});
    let fault = |value: Value| check(&document, &schema, &value, "$").err();
    let id = "0198c0de-0000-7000-8000-000000000000";
    assert_eq!(fault(json!({"id": id, "color": "red", "sizes": [1], "state": {"nothing": null}})), None);
    for wrong in [
        json!({}),
        json!({"id": "7"}),
        json!({"id": null}),
        json!({"id": id, "color": "blue"}),
        json!({"id": id, "color": null}),
        json!({"id": id, "sizes": [1.5]}),
        json!({"id": id, "sizes": null}),
        json!({"id": id, "state": null}),
        json!({"id": id, "unheard": "of"}),
    ] {
        assert!(fault(wrong.clone()).is_some(), "{wrong}");
    }
}
