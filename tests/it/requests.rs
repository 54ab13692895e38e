//! Tests that nothing of a request is dropped without a word: each header, parameter and field is
//! used, or refused by its name.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::edge::tell;
use crate::harness::{ADA, ECHO, NUMBER, TestApp};

fn document() -> Value {
    serde_json::from_str(&textback::http::api::document_as_json()).expect("JSON")
}

/// An operation of the document: its method, its path with ids filled in, and what the document
/// says about it.
struct Operation {
    method: Method,
    path: String,
    told: Value,
}

impl Operation {
    fn all() -> Vec<Self> {
        let document = document();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, told) in item.as_object().expect("operations") {
                let path = path.replace("{id}", &Uuid::now_v7().to_string());
                let path = path
                    .replace("{version}", "1")
                    .replace("{from}", "1")
                    .replace("{environment}", "live")
                    .replace("{iso2}", "US")
                    .replace("{name}", "order");
                let method = method.to_ascii_uppercase().parse().expect("a method");
                operations.push(Self { method, path, told: told.clone() });
            }
        }
        assert!(operations.len() > 30, "{}", operations.len());
        operations
    }

    fn parameters(&self) -> Vec<&str> {
        let all = self.told["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|given| given["in"] == "query").filter_map(|given| given["name"].as_str()).collect()
    }
}

impl TestApp {
    /// Status, code and detail of an answer.
    async fn told(&self, method: &Method, path: &str, body: Option<Value>) -> (u16, String, String) {
        let (status, answer) = self.call(&self.key, method.clone(), path, body).await;
        let of = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), of("code"), of("detail"))
    }

    /// Calls the API with these headers besides the key's.
    async fn call_with(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("http://{}{path}", self.api)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.headers(headers).send().await.expect("an answer");
        (answer.status(), answer.json().await.unwrap_or_default())
    }
}

fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::try_from(*name).expect("a name");
        headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    headers
}

#[tokio::test]
async fn a_key_with_an_umlaut_is_a_key() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let text = Some(json!({"to": ADA, "body": "Ihre Bestellung ist da."}));
    let mut sent = Vec::new();
    // Twice in UTF-8, and once as the libraries of Python and Node send it.
    for key in ["bestellung-ü-7".as_bytes(), "bestellung-ü-7".as_bytes(), b"bestellung-\xfc-7"] {
        let with_key = headers(&[("Idempotency-Key", key)]);
        let (status, answer) = app.call_with(Method::POST, "/v1/messages", with_key, text.clone()).await;
        assert_eq!(status, 202, "{answer}");
        sent.push(answer["message_id"].clone());
    }
    app.run_jobs().await;
    assert!(sent.iter().all(|id| *id == sent[0]), "{sent:?}");
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Ihre Bestellung ist da."], "one message at the carrier");
}

#[tokio::test]
async fn a_header_that_is_repeated_unreadable_or_misspelt_sends_nothing() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let text = || Some(json!({"to": ADA, "body": "Hello"}));
    for (given, code, named) in [
        (headers(&[("Idempotency-Key", b"a"), ("Idempotency-Key", b"b")]), "header_repeated", "Idempotency-Key"),
        (headers(&[("X-Idempotency-Key", b"a")]), "header_unknown", "x-idempotency-key"),
        (headers(&[("Idempotency_Key", b"a")]), "header_unknown", "idempotency_key"),
        (headers(&[("Idempotency", b"a")]), "header_unknown", "did you mean Idempotency-Key?"),
        (headers(&[("I-Twilio-Idempotency-Token", b"a")]), "header_unknown", "did you mean Idempotency-Key?"),
        (headers(&[("PayPal-Request-Id", b"a")]), "header_unknown", "paypal-request-id"),
        (headers(&[("X-Request-Id", b"a"), ("X-Request-Id", b"b")]), "header_repeated", "X-Request-Id"),
        (headers(&[("X-Request-Id", "ü".as_bytes())]), "header_unreadable", "X-Request-Id"),
        (headers(&[("X-Request-Id", &[b'x'; 129])]), "request_id_invalid", "X-Request-Id has 129 characters"),
        (headers(&[("X-RequestId", b"a")]), "header_unknown", "did you mean X-Request-Id?"),
        (headers(&[("Content-Type", b"application/json; charset=latin1")]), "content_type_unsupported", "latin1"),
        (headers(&[("Content-Encoding", b"gzip")]), "content_encoding_unsupported", "Content-Encoding"),
        (headers(&[("Authorization", "Bearer tb_ü".as_bytes())]), "header_unreadable", "Authorization"),
        (headers(&[("Authorization", b"Basic dGI6")]), "api_key_missing", "Authorization"),
        (headers(&[("Idempotency-Key", b"")]), "idempotency_key_invalid", "Idempotency-Key"),
        (headers(&[("Idempotency-Key", &[b'k'; 256])]), "idempotency_key_invalid", "Idempotency-Key"),
    ] {
        let (status, answer) = app.call_with(Method::POST, "/v1/messages", given, text()).await;
        assert!(status.is_client_error() && answer["code"] == code, "{named}: {status} {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(named)), "{named}: {answer}");
    }
    // A key has no effect on an operation that has none, and saying so is better than making two
    // agents.
    let agent = Some(json!({"name": "b", "kind": "script", "source": ECHO}));
    let (status, answer) =
        app.call_with(Method::POST, "/v1/agents", headers(&[("Idempotency-Key", b"a")]), agent).await;
    assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("header_unknown")), "{answer}");
    for repeated in ["Host: b.example", "Authorization: Bearer tb_b", "Content-Length: 7"] {
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\nContent-Type: application/json\r\n{repeated}\r\nConnection: close\r\n\r\n{{}}",
            app.key
        );
        let (answer, _) = tell(app.api, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{repeated}: {answer}");
    }
    assert_eq!(app.count("select count(*) from message").await, 0, "nothing was sent");
    let valid =
        app.http.get(format!("http://{}/v1/project", app.api)).header(AUTHORIZATION, format!("bearer {}", app.key));
    assert_eq!(valid.send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_page_refuses_parameters_that_it_would_ignore() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    for path in ["/livez", "/readyz", "/openapi.yaml", "/docs"] {
        let get = |query: &str| app.http.get(format!("http://{}{path}{query}", app.api)).send();
        let whole = get("").await.expect("an answer");
        assert_eq!(whole.status(), 200, "{path}");
        for (query, code) in
            [("?verbose", "parameter_unknown"), ("?format=json", "parameter_unknown"), ("?a=%ff", "parameter_unknown")]
        {
            let answer = get(query).await.expect("an answer");
            assert_eq!(answer.status(), 400, "{path}{query}");
            let told: Value = answer.json().await.expect("a problem");
            assert_eq!(told["code"], code, "{path}{query}: {told}");
            assert!(told["detail"].as_str().is_some_and(|detail| detail.contains("this page has none")), "{told}");
        }
    }
}

/// The whole document: each operation without a key refuses one, and what other products call it.
#[tokio::test]
async fn every_operation_without_a_key_refuses_one() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let mut checked = 0;
    for Operation { method, path, told } in Operation::all() {
        if told["operationId"] == "send_message" {
            continue;
        }
        for name in ["Idempotency-Key", "X-Idempotency-Key", "Dedup-Key"] {
            checked += 1;
            let (status, answer) = app.call_with(method.clone(), &path, headers(&[(name, b"a")]), None).await;
            assert_eq!(
                (status.as_u16(), &answer["code"]),
                (400, &json!("header_unknown")),
                "{method} {path}: {answer}"
            );
            let detail = answer["detail"].as_str().unwrap_or_default();
            assert!(detail.to_lowercase().contains(&name.to_lowercase()), "{method} {path}: {detail}");
        }
    }
    assert!(checked > 90, "{checked}");
    let (status, _) = app.call_with(Method::HEAD, "/v1/sessions", headers(&[("Idempotency-Key", b"a")]), None).await;
    assert_eq!(status, 400, "HEAD");
}

/// The whole document: each operation with each parameter.
#[tokio::test]
async fn every_operation_refuses_parameters_that_it_would_ignore() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let mut checked = 0;
    for operation in Operation::all() {
        let Operation { method, path, .. } = &operation;
        for unknown in ["zzz", "Limit", "limit[]", "x-limit"] {
            let (status, code, detail) = app.told(method, &format!("{path}?{unknown}=1"), None).await;
            assert_eq!((status, code.as_str()), (400, "parameter_unknown"), "{method} {path}?{unknown}: {detail}");
            assert!(detail.contains(unknown), "{method} {path}: {detail}");
        }
        for parameter in operation.parameters() {
            checked += 1;
            let misspelt = format!("{parameter}s");
            let (_, code, detail) = app.told(method, &format!("{path}?{misspelt}=1"), None).await;
            assert_eq!(code, "parameter_unknown", "{method} {path}?{misspelt}: {detail}");
            assert!(detail.contains(&format!("did you mean {parameter}?")), "{detail}");
            for (query, refused) in [
                (format!("{parameter}="), "request_invalid"),
                (parameter.to_owned(), "request_invalid"),
                (format!("{parameter}=%ff"), "parameter_unreadable"),
                (format!("{parameter}=%4"), "parameter_unreadable"),
            ] {
                let (status, code, detail) = app.told(method, &format!("{path}?{query}"), None).await;
                assert_eq!((status, code.as_str()), (400, refused), "{method} {path}?{query}: {detail}");
                assert!(detail.contains(parameter), "{method} {path}?{query}: {detail}");
            }
            let value = match parameter {
                "limit" => "5",
                "status" => "open",
                "kind" => "inbound",
                "since" => "2030-01-01T00:00:00Z",
                "refresh" | "sms" | "replayed" => "true",
                "type" => "local",
                "at_carrier" => "keep",
                _ => "%2B14155550101",
            };
            let twice = format!("{path}?{parameter}={value}&{parameter}={value}");
            let (status, code, detail) = app.told(method, &twice, None).await;
            assert_eq!((status, code.as_str()), (400, "parameter_repeated"), "{method} {twice}: {detail}");
            assert!(detail.contains(parameter), "{method} {twice}: {detail}");
        }
    }
    assert!(checked >= 25, "{checked} parameters");
}

#[tokio::test]
async fn a_parameter_out_of_form_is_refused_and_finds_no_empty_list() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    for (path, code, named) in [
        ("/v1/sessions?contact=abc", "contact_not_e164", "contact must be a number in E.164"),
        ("/v1/sessions?contact=+14155550101", "contact_not_e164", "with the plus as %2B"),
        ("/v1/sessions?contact=14", "contact_not_e164", "3 to 15 digits"),
        ("/v1/sessions?number=4155550199", "number_not_e164", "number must be a number in E.164"),
        ("/v1/consents?contact=abc", "contact_not_e164", "contact"),
        ("/v1/consents?number=abc", "number_not_e164", "number"),
        ("/v1/sessions?number=%2B14155559999", "number_not_ours", "number is \"+14155559999\""),
        ("/v1/consents?number=%2B14155559999", "number_not_ours", "number is \"+14155559999\""),
        ("/v1/quarantine?reason=number_not_atached", "request_invalid", "reason must be"),
        ("/v1/quarantine?reason=number_not_atached", "request_invalid", "did you mean number_not_attached?"),
        ("/v1/quarantine?reason=typo", "request_invalid", "the known ones are foreign_account,"),
        ("/v1/quarantine?reason=message_pk", "request_invalid", "it is \"message_pk\""),
        ("/v1/usage?contact=abc", "contact_not_e164", "contact"),
        ("/v1/sessions?limit=abc", "request_invalid", "limit must be an integer; it is \"abc\""),
        ("/v1/sessions?limit=", "request_invalid", "limit has no value"),
        ("/v1/sessions?limit=10&limit=20", "parameter_repeated", "limit"),
        ("/v1/sessions?limit=201", "limit_out_of_range", "limit must be 1 to 200"),
        ("/v1/sessions?cursor=", "request_invalid", "cursor has no value"),
        ("/v1/sessions?stauts=open", "parameter_unknown", "did you mean status?"),
        ("/v1/sessions?status=opne", "request_invalid", "status must be one of open, warned, closed"),
        ("/v1/sessions?status=open&debug", "parameter_unknown", "debug"),
    ] {
        let (status, told, detail) = app.told(&Method::GET, path, None).await;
        assert!((400..500).contains(&status) && told == code && detail.contains(named), "{path}: {told} {detail}");
    }
    app.ok(Method::GET, "/v1/sessions?contact=%2B14155550101&limit=5&", None).await;
    let own = NUMBER.replace('+', "%2B");
    let number = app.ok(Method::GET, "/v1/numbers", None).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let detach = format!("/v1/numbers/{number}?at_carrier=keep");
    assert_eq!(app.call(&app.key, Method::DELETE, &detach, None).await.0, 204);
    for list in ["sessions", "consents"] {
        app.ok(Method::GET, &format!("/v1/{list}?number={own}"), None).await;
    }
    // HEAD is answered as GET is, without the body.
    for (query, expected) in [("stauts=open", 400), ("limit=10&limit=20", 400), ("status=open", 200)] {
        let (status, _) = app.call(&app.key, Method::HEAD, &format!("/v1/sessions?{query}"), None).await;
        assert_eq!(status, expected, "HEAD {query}");
    }
}

#[tokio::test]
async fn a_body_that_would_be_read_in_part_is_refused_by_the_name_of_its_field() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let nobody = Uuid::now_v7();
    for (method, path, body, told) in [
        (Method::POST, "/v1/agents".to_owned(), json!({"kind": "script"}), "name is missing"),
        (
            Method::POST,
            "/v1/agents".to_owned(),
            json!({"name": null, "kind": "script"}),
            "name must be a string, not null",
        ),
        (
            Method::POST,
            "/v1/agents".to_owned(),
            json!({"name": 7, "kind": "script"}),
            "name must be a string, not a number",
        ),
        (
            Method::POST,
            "/v1/agents".to_owned(),
            json!({"name": "a", "kind": "script", "inactivity": {"warn_after_seconds": "60"}}),
            "inactivity.warn_after_seconds must be an integer, not a string",
        ),
        (
            Method::POST,
            "/v1/agents".to_owned(),
            json!({"name": "a", "kind": "script", "inactivity": {"warn_after": 60}}),
            "inactivity.warn_after is not a known field",
        ),
        (
            Method::POST,
            "/v1/agents".to_owned(),
            json!({"name": "a", "kind": "scirpt"}),
            "kind must be one of script, http",
        ),
        (
            Method::POST,
            format!("/v1/agents/{nobody}/versions"),
            json!({"name": "a", "kind": "script"}),
            "name is not a known field",
        ),
        (
            Method::POST,
            "/v1/messages".to_owned(),
            json!({"to": ADA, "bdoy": "hi"}),
            "bdoy is not a known field; did you mean body?",
        ),
        (
            Method::POST,
            "/v1/messages".to_owned(),
            json!({"to": ADA, "media_urls": [7]}),
            "media_urls[0] must be a string, not a number",
        ),
        (
            Method::PATCH,
            "/v1/project".to_owned(),
            json!({"guards": {"repeats": 3}}),
            "guards.repeats is not a known field",
        ),
        (Method::POST, format!("/v1/sessions/{nobody}/end"), json!({"reason": "done"}), "no body"),
        (Method::GET, "/v1/sessions".to_owned(), json!({"status": "open"}), "no body"),
    ] {
        let (status, answer) = app.call(&app.key, method.clone(), &path, Some(body.clone())).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && detail.contains(told), "{method} {path} {body}: {answer}");
    }
    let twice = app.http.post(format!("http://{}/v1/messages", app.api)).bearer_auth(&app.key);
    let twice =
        twice.header("Content-Type", "application/json").body(r#"{"to": "+14155550101", "body": "a", "body": "b"}"#);
    let answer: Value = twice.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["detail"], "body is given twice; give it once");
    let ended = app.told(&Method::POST, &format!("/v1/sessions/{nobody}/end"), Some(json!({}))).await;
    assert_eq!(ended.0, 404, "an empty object says nothing");
}

/// Each field of each PATCH: null removes a setting, or is refused by its name.
#[tokio::test]
async fn null_removes_a_setting_or_is_refused() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let number = app.ok(Method::GET, "/v1/numbers", None).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let document = document();
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for (path, schema) in [
        ("/v1/project".to_owned(), "ProjectChanges"),
        (format!("/v1/numbers/{number}"), "NumberChanges"),
        ("/v1/countries/SM".to_owned(), "CountryChanges"),
    ] {
        let before = app.ok(Method::GET, &path, None).await;
        for name in document["components"]["schemas"][schema]["properties"].as_object().expect("fields").keys() {
            let (status, answer) = app.call(&app.key, Method::PATCH, &path, Some(json!({name: null}))).await;
            match status.as_u16() {
                200 => removed.push(name.clone()),
                400 => {
                    let detail = answer["detail"].as_str().unwrap_or_default();
                    assert!(detail.contains(name) && detail.contains("null"), "{path} {name}: {answer}");
                    kept.push(name.clone());
                }
                _ => panic!("{path} {name}: {status} {answer}"),
            }
        }
        assert_eq!(app.ok(Method::GET, &path, None).await["name"], before["name"]);
    }
    for name in
        ["allowed_countries", "help_message", "default_number", "quiet_hours", "two_way", "registration_policy", "note"]
    {
        assert!(removed.iter().any(|removed| removed == name), "{name} is removed by null: {removed:?}");
    }
    for name in ["name", "guards", "outbound_per_contact_per_hour", "agent_id", "repair_drift"] {
        assert!(kept.iter().any(|kept| kept == name), "{name} has always a value: {kept:?}");
    }
    let guards = Value::from(Map::from_iter([("repeats_in_five_minutes".to_owned(), Value::Null)]));
    let refused = app.told(&Method::PATCH, "/v1/project", Some(json!({"guards": guards}))).await;
    assert!(refused.2.contains("guards.repeats_in_five_minutes"), "{refused:?}");
}

/// The carrier's webhooks are liberal: what we don't know is kept with the message.
#[tokio::test]
async fn a_webhook_with_unknown_parameters_is_stored() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let text = json!({"from": ADA, "to": NUMBER, "body": "hi", "media_urls": []});
    let texted = app.simulator.text(serde_json::from_value(text).expect("a text")).await;
    assert_eq!(texted.error, None);
    assert_eq!(app.count("select count(*) from message").await, 1);
}

#[tokio::test]
async fn a_contact_whose_texts_come_without_a_plus_is_found_and_opted_out() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    for contact in ["4155550108", "72345"] {
        app.answers(contact, "hi").await;
        let sessions = app.ok(Method::GET, &format!("/v1/sessions?contact={contact}"), None).await;
        assert_eq!(sessions["items"][0]["contact"], contact, "{sessions}");
        let consent = json!({"number": NUMBER, "contact": contact, "kind": "opted_out"});
        app.ok(Method::POST, "/v1/consents", Some(consent)).await;
        let consents = app.ok(Method::GET, &format!("/v1/consents?contact={contact}"), None).await;
        assert_eq!(consents["items"][0]["kind"], "opted_out", "{consents}");
    }
}
