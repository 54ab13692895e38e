//! Tests that what can be known when a value is saved is refused then, and not left to the first
//! message that needs it.
//!
//! The table has each field that a request can save. A field that the document gets and the table
//! lacks fails the test.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

/// A field of a request, and values of it that could never work.
struct Saved {
    operation: &'static str,
    /// Its name; the fields of an object are separated by dots.
    field: &'static str,
    refused: Vec<Value>,
}

fn saved(operation: &'static str, field: &'static str, refused: impl IntoIterator<Item = Value>) -> Saved {
    Saved { operation, field, refused: refused.into_iter().collect() }
}

fn long(characters: usize) -> Value {
    json!("x".repeat(characters))
}

/// 801 characters, which the carrier counts as 1602.
fn emoji() -> Value {
    json!("🎉".repeat(801))
}

fn scripts() -> Vec<Value> {
    [
        "",
        "def reply(conv",
        "def reply(conv): return \"hi\"",
        "def reply(text, conv, x): return text",
        "def reply(conv, text, *, lang): return text",
        "def reply(**given): return \"\"",
        "def reply(text, conv): return text",
        "def start(lang = None, conv = None): return \"hi\"",
        "def reply(conv, text): return conv.stat.name",
        "def reply(conv, text): conv.send_smss(text, None, text)",
        "def reply(conv, text): conv.say()",
        "def reply(conv, text): conv.log.warn(text)",
        "def reply(conv, text): conv.state = {}",
        "def f(c): return c.stat\ndef reply(conv, text): return f(conv)",
        "def reply(conv, text): return {\"uterance\": text}",
        "def reply(conv, text): return [text]",
        "def reply(conv, text): return text.uper()",
        "def reply(conv, text): conv.say(5)",
        "def f(a, b): return a\ndef reply(conv, text): return f(text)",
        "SEEN = []\ndef reply(conv, text): SEEN.append(text)",
        "N = 0\ndef reply(conv, text): N += 1",
        "def start(conv): return 5",
        "reply = 5",
        "reply = None",
        "start = None\ndef reply(conv, text): return text",
        "def start(): return \"hi\"",
        "def start(conv): pass\ndef start_function(conv): pass",
        "def reply(conv, text): return text\ndef end(conv, text): pass",
        "def replay(conv, text): return text",
        "def reply(conv, text): return undefined_name",
        "fail(\"at the top level\")\ndef reply(conv, text): return text",
    ]
    .map(Value::from)
    .to_vec()
}

fn urls() -> Vec<Value> {
    [
        "",
        "agent.example.com/texts",
        "ftp://agent.example.com/",
        "https://",
        "https://ada:secret@agent.example.com/",
        "https://ada@agent.example.com/",
        "https://agent.example.com/#part",
        "https://agent.example.com:0/",
        "https://agent.example.com:99999/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://a..example.com/",
        "https://*.example.com/",
        "http://8.8.8.8/",
    ]
    .map(Value::from)
    .into_iter()
    .chain([
        json!(format!("https://{}.example.com/", "a".repeat(64))),
        json!(format!("https://a.example.com/{}", "x".repeat(2048))),
    ])
    .collect()
}

/// The fields of a model.
fn of_a_model(operation: &'static str) -> Vec<Saved> {
    let beyond =
        |field, least: i64, most: i64| saved(operation, field, [json!(least - 1), json!(most + 1), json!("5")]);
    let prompts = ["", "  ", "{{ name }}", "{{ conv.nme }}", "{% if conv.id %}", "{% if conv.state.x %}y{% endif %}"];
    vec![
        saved(operation, "llm.base_url", urls()),
        saved(operation, "llm.model", [json!(""), json!("  "), long(201)]),
        saved(operation, "llm.api_key", [json!(""), json!("  "), json!("sk-\n4711"), json!("sk-ü"), long(1001)]),
        saved(operation, "llm.prompt", prompts.map(Value::from).into_iter().chain([long(32_769)])),
        saved(operation, "llm.tools", [json!(["book"]), json!("book"), json!([7])]),
        saved(operation, "llm.temperature", [json!(-0.1), json!(2.1), json!("hot")]),
        beyond("llm.max_output_tokens", 16, 32_000),
        saved(operation, "llm.reasoning_effort", [json!("deep"), json!(true)]),
        beyond("llm.history_turns", 0, 25),
        beyond("llm.history_tokens", 0, 200_000),
        beyond("llm.max_rounds", 1, 20),
        beyond("llm.max_tool_calls", 0, 50),
        beyond("llm.request_seconds", 1, 120),
        saved(operation, "llm.max_tokens_per_session", [json!(0), json!(-1), json!(1_000_000_000_001_i64), json!("5")]),
        // A limit of the cost without a price would never be reached.
        saved(operation, "llm.max_cost_per_session", [json!(0), json!(1_000_000_000_001_i64), json!(100)]),
        saved(operation, "llm.refusal_message", [json!(""), json!("  "), long(1601), emoji()]),
    ]
}

fn hosts() -> Vec<Value> {
    let many: Vec<String> = (0..51).map(|n| format!("h{n}.acme.com")).collect();
    let mut refused = vec![json!(many), json!("acme.com"), json!([null]), json!(["acme.com"])];
    let wrong = ["", "acme", "*.acme.com", "https://acme.com", "acme.com/a", "acme.com:443", "a@acme.com", "10.0.0.1"];
    refused.extend(wrong.map(|host| json!([host])));
    refused
}

fn of_an_agent(operation: &'static str) -> Vec<Saved> {
    let text = |field| saved(operation, field, [long(1601), json!(7)]);
    let mut all = of_a_model(operation);
    all.extend([
        saved(operation, "kind", [json!("oracle"), json!("llm"), json!("Script"), json!(null)]),
        saved(operation, "source", scripts()),
        saved(operation, "url", urls()),
        // A script has no timeout, so it would be ignored.
        saved(operation, "timeout_seconds", [json!(0), json!(121), json!(30), json!("5")]),
        text("greeting"),
        saved(operation, "first_message", [json!("wave")]),
        saved(operation, "debounce_seconds", [json!(-1), json!(61)]),
        saved(operation, "inactivity.warn_after_seconds", [json!(0), json!(2_592_001)]),
        saved(operation, "inactivity.grace_seconds", [json!(0), json!(2_592_001)]),
        saved(operation, "inactivity.warning", [json!(""), json!("  "), long(1601), emoji()]),
        saved(operation, "inactivity.closing", [json!(""), json!("  "), long(1601), emoji()]),
        saved(operation, "max_segments", [json!(0), json!(101)]),
        saved(operation, "max_messages_per_turn", [json!(0), json!(51)]),
        saved(operation, "smart_encoding", [json!("yes"), json!(1)]),
        saved(operation, "error_message", [long(1601), json!(7), json!("  "), json!("\u{200b}")]),
        saved(operation, "reactions", [json!("perhaps"), json!(true)]),
        saved(operation, "markdown", [json!("html"), json!(true)]),
        saved(operation, "links", [json!("none"), json!(["acme.com"])]),
        saved(operation, "allowed_link_hosts", hosts()),
        // Without links that are listed, a list has no effect.
        saved(
            operation,
            "allowed_phone_numbers",
            [json!(["+14155550101"]), json!(["4155550101"]), json!("+14155550101"), json!([7])],
        ),
    ]);
    all
}

/// What is no name of anything.
fn names() -> Vec<Value> {
    let mut refused: Vec<Value> =
        ["", "  ", "\u{200b}", "a\nb", "a\r\n", "a\u{2028}b", "a\tb", "\u{1b}[31ma", "a\u{202e}b", "a\u{2066}b"]
            .map(Value::from)
            .to_vec();
    refused.push(long(101));
    refused
}

/// What is no list of a project's own words.
fn words() -> Vec<Value> {
    let many: Vec<String> = (0..21).map(|n| format!("WORD{n}")).collect();
    let mut refused = vec![json!(many), json!("ARRET"), json!([7]), json!([null])];
    refused.extend(["", "  ", "\u{200b}", "…", "STOP", "start", "HELP", "a b c d e"].map(|word| json!([word])));
    refused.push(json!(["x".repeat(33)]));
    refused
}

fn of_a_project() -> Vec<Saved> {
    let project = |field, refused: &[Value]| saved("change_project", field, refused.to_vec());
    vec![
        project("name", &names().into_iter().chain([json!(null)]).collect::<Vec<_>>()),
        project("guards.texts_per_contact_per_minute", &[json!(-1), json!(1001)]),
        project("guards.repeats_in_five_minutes", &[json!(-1), json!(1), json!(2), json!(101)]),
        project("guards.texts_per_project_per_minute", &[json!(-1), json!(1_000_001)]),
        project("outbound_per_contact_per_hour", &[json!(-1), json!(100_001)]),
        project("outbound_per_contact_per_day", &[json!(-1), json!(100_001)]),
        project("outbound_per_project_per_minute", &[json!(-1), json!(10_000_001)]),
        project("outbound_per_project_per_day", &[json!(-1), json!(1_000_000_001)]),
        project("allowed_countries", &[json!([]), json!(["XX"]), json!(["us"]), json!(["USA"]), json!(["US", null])]),
        project("help_message", &[json!(""), json!("  "), long(1601), emoji()]),
        project("opt_out_message", &[json!(""), json!("  "), long(1601), emoji()]),
        project("opt_in_message", &[json!(""), json!("  "), long(1601), emoji()]),
        project("keywords.opt_out", &words()),
        project("keywords.opt_in", &words()),
        project("keywords.help", &words()),
        project("default_number", &[json!("+14155550777"), json!("4155550199"), json!("")]),
        project(
            "quiet_hours.from",
            &[json!("25:00"), json!("9pm"), json!("24:00"), json!("08:00"), json!("21:00:00"), json!("")],
        ),
        project("quiet_hours.until", &[json!("25:00"), json!("21:00"), json!(8)]),
        project("llm_max_tokens_per_day", &[json!(-1), json!(1_000_000_000_001_i64), json!("5"), json!(null)]),
        project("llm_max_cost_per_day", &[json!(-1), json!(1_000_000_000_001_i64), json!(0.5), json!(null)]),
        project(
            "llm_prices",
            &[json!("small"), json!([{"model": "a"}]), json!([{"model": "a", "input": -1, "output": 0}])],
        ),
    ]
}

fn all() -> Vec<Saved> {
    let mut all = of_a_project();
    all.extend(of_an_agent("create_agent"));
    all.extend(of_an_agent("create_agent_version"));
    let nobody = json!(uuid::Uuid::now_v7());
    let tomorrow_a_year = (chrono::Utc::now() + chrono::Duration::days(367)).to_rfc3339();
    all.extend([
        saved("create_agent", "name", names().into_iter().chain([json!("agent")])),
        saved("put_carrier", "carrier", [json!("vonage")]),
        saved(
            "put_carrier",
            "account_sid",
            [json!(""), json!("AC1"), json!(format!("AB{}", "0".repeat(32))), long(34)],
        ),
        saved("put_carrier", "auth_token", [json!(""), json!("wrong"), long(201)]),
        saved("put_carrier", "api_key_sid", [json!("SK1"), json!(format!("SK{}", "0".repeat(32)))]),
        saved("put_carrier", "api_key_secret", [json!("alone"), json!("")]),
        saved("put_carrier", "next_auth_token", [json!(""), long(201)]),
        saved("create_agent_version", "activate_in", [json!(["prod"]), json!("live"), json!([1])]),
        saved("activate_agent_version", "version", [json!(99), json!(0), json!("1"), json!(null)]),
        saved("attach_number", "number", [json!("0415"), json!("+14155550777"), json!("")]),
        saved("attach_number", "agent_id", [nobody.clone(), json!("agent")]),
        saved("attach_number", "buy", [json!("yes")]),
        saved("attach_number", "environment", [json!("prod"), json!(""), json!(["live"])]),
        saved("attach_number", "repair_drift", [json!("yes")]),
        saved("change_number", "agent_id", [nobody, json!("agent"), json!(null)]),
        saved("change_number", "environment", [json!("prod"), json!(null)]),
        saved("change_number", "repair_drift", [json!("yes"), json!(null)]),
        saved("set_country_policy", "two_way", [json!("yes")]),
        saved("set_country_policy", "registration_policy", [json!("some")]),
        saved("set_country_policy", "note", [long(1001)]),
        saved("send_message", "to", [json!("4155550101"), json!(NUMBER), json!("")]),
        saved("send_message", "body", [json!(""), json!("  "), long(1601), emoji()]),
        saved("send_message", "from", [json!("+14155550777"), json!("")]),
        saved("send_message", "on_active_session", [json!("wait")]),
        saved("send_message", "even_to_landline", [json!("yes"), json!(1)]),
        saved(
            "send_message",
            "media_urls",
            [json!(["a.png"]), json!(["file:///a.png"]), json!(vec!["https://a.example/b.png"; 11])],
        ),
        saved("send_message", "template", [json!("nothing"), json!("")]),
        saved("send_message", "variables", [json!({"a": 1}), json!([])]),
        saved(
            "send_message",
            "send_at",
            [json!("tomorrow"), json!("2030-01-01T09:00:00"), json!(tomorrow_a_year), json!("0001-01-01T00:00:00Z")],
        ),
        saved(
            "put_template",
            "body",
            [
                json!(""),
                long(501),
                json!("{{ open"),
                json!("{{ name | upper }}"),
                json!("{% if name is defined %}{{ name }}{% endif %}"),
                json!("{{ name.upper() }}{{ now() }}"),
                json!("{% include \"other\" %}"),
                json!("   "),
                json!("{# a note #}"),
                json!("{% if name %} {% endif %}"),
            ],
        ),
        saved("record_consent", "number", [json!("+14155550777"), json!("")]),
        saved("record_consent", "contact", [json!("ada"), json!("")]),
        saved("record_consent", "kind", [json!("out")]),
        saved("record_consent", "note", [long(1601)]),
    ]);
    all
}

/// A request that is valid, for each operation that saves something.
async fn valid(app: &TestApp) -> Vec<(&'static str, Method, String, Value)> {
    let agent = app.ok(Method::GET, "/v1/agents", None).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let number = app.ok(Method::GET, "/v1/numbers", None).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let version = json!({"kind": "script", "source": ECHO});
    let made = json!({"name": "another", "kind": "script", "source": ECHO});
    let quiet = json!({"quiet_hours": {"from": "21:00", "until": "08:00"}});
    vec![
        ("change_project", Method::PATCH, "/v1/project".to_owned(), quiet),
        (
            "put_carrier",
            Method::PUT,
            "/v1/carrier".to_owned(),
            json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN}),
        ),
        ("create_agent_version", Method::POST, format!("/v1/agents/{agent}/versions"), version),
        ("activate_agent_version", Method::PUT, format!("/v1/agents/{agent}/environments/live"), json!({"version": 1})),
        ("create_agent", Method::POST, "/v1/agents".to_owned(), made),
        ("attach_number", Method::POST, "/v1/numbers".to_owned(), json!({"number": NUMBER, "agent_id": agent})),
        ("change_number", Method::PATCH, format!("/v1/numbers/{number}"), json!({})),
        ("set_country_policy", Method::PATCH, "/v1/countries/SM".to_owned(), json!({})),
        ("send_message", Method::POST, "/v1/messages".to_owned(), json!({"to": ADA, "body": "hi"})),
        ("put_template", Method::PUT, "/v1/templates/order".to_owned(), json!({"body": "Hi {{ name }}"})),
        (
            "record_consent",
            Method::POST,
            "/v1/consents".to_owned(),
            json!({"number": NUMBER, "contact": "+14155550102", "kind": "opted_out"}),
        ),
    ]
}

/// The same request with another value of a field.
fn with(valid: &Value, field: &str, value: &Value) -> Value {
    let mut body = valid.clone();
    if field.starts_with("llm.") {
        body["kind"] = json!("llm");
        body["llm"] = json!({"base_url": "https://models.example.com/v1", "model": "small", "prompt": "Hi"});
        body.as_object_mut().expect("an object").remove("source");
    }
    let mut at = &mut body;
    for name in field.split('.') {
        at = at.as_object_mut().expect("an object").entry(name).or_insert_with(|| json!({}));
    }
    *at = value.clone();
    let fields = body.as_object_mut().expect("an object");
    match field {
        // They stand instead of the other.
        "url" => {
            fields.insert("kind".to_owned(), json!("http"));
            fields.remove("source");
        }
        "template" => _ = fields.remove("body"),
        "api_key_sid" => _ = fields.insert("api_key_secret".to_owned(), json!("wrong")),
        _ => {}
    }
    body
}

#[tokio::test]
async fn a_value_that_could_never_work_is_refused_when_it_is_saved() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let requests = valid(&app).await;
    for Saved { operation, field, refused } in all() {
        let (_, method, path, body) =
            requests.iter().find(|(name, ..)| *name == operation).unwrap_or_else(|| panic!("{operation}"));
        assert!(!refused.is_empty(), "{operation} {field}");
        for value in refused {
            let given = with(body, field, &value);
            let (status, answer) = app.call(&app.key, method.clone(), path, Some(given)).await;
            let shown = value.to_string().chars().take(80).collect::<String>();
            assert!(status.is_client_error(), "{operation} {field} = {shown}: {status} {answer}");
            assert!(
                answer["code"].as_str().is_some_and(|code| !code.is_empty()),
                "{operation} {field} = {shown}: {answer}"
            );
            let detail = answer["detail"].as_str().unwrap_or_default();
            assert!(!detail.contains("failed to parse"), "{operation} {field} = {shown}: {detail}");
        }
    }
    let version = |(name, ..): &&(&str, Method, String, Value)| *name == "create_agent_version";
    let (_, method, path, body) = requests.iter().find(version).expect("a version").clone();
    let with_model = with(&body, "llm.model", &json!("small"));
    let valid = requests.into_iter().chain([("create_agent_version", method, path, with_model)]);
    for (operation, method, path, body) in valid {
        let (status, answer) = app.call(&app.key, method, &path, Some(body)).await;
        assert!(status.is_success(), "{operation} is valid without a wrong value: {status} {answer}");
    }
}

/// The names of the fields of a schema; those of an object in it are separated by dots.
fn fields(document: &Value, schema: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return fields(document, document.pointer(reference.trim_start_matches('#')).expect("a schema"), prefix, into);
    }
    match schema["properties"].as_object() {
        Some(properties) => {
            for (name, property) in properties {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                fields(document, property, &path, into);
            }
        }
        None => _ = into.insert(prefix.to_owned()),
    }
}

#[test]
fn each_field_that_a_request_saves_is_in_the_table() {
    let document: Value = serde_json::from_str(&textback::http::api::document_as_json()).expect("JSON");
    let mut saved_fields = BTreeSet::new();
    let operations = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|item| item.as_object().expect("operations").values());
    for operation in operations {
        let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
        let mut names = BTreeSet::new();
        fields(&document, &content.values().next().expect("a body")["schema"], "", &mut names);
        let of = operation["operationId"].as_str().expect("an id");
        saved_fields.extend(names.into_iter().map(|name| format!("{of} {name}")));
    }
    let table: BTreeSet<String> =
        all().into_iter().map(|saved| format!("{} {}", saved.operation, saved.field)).collect();
    assert_eq!(saved_fields, table, "decide for each field what is refused when it is saved");
}
