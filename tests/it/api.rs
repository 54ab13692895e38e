//! Tests the API: keys, answers and errors.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ACCOUNT_SID, ADA, ECHO, NUMBER, TestApp};

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_stable_code() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let agent = |change: Value| {
        let mut agent = json!({"name": "other", "kind": "script", "source": ECHO});
        agent.as_object_mut().expect("an object").extend(change.as_object().cloned().expect("an object"));
        Some(agent)
    };
    let nobody = uuid::Uuid::now_v7();
    for (method, path, body, status, code) in [
        (Method::GET, "/v1/nothing".to_owned(), None, 404, "not_found"),
        (Method::DELETE, "/v1/agents".to_owned(), None, 405, "method_not_allowed"),
        (Method::POST, "/v1/agents".to_owned(), Some(json!({})), 400, "request_invalid"),
        (Method::POST, "/v1/agents".to_owned(), Some(json!("text")), 400, "request_invalid"),
        (Method::POST, "/v1/agents".to_owned(), agent(json!({"unheard": "of"})), 400, "request_invalid"),
        (Method::POST, "/v1/agents".to_owned(), agent(json!({"name": ""})), 400, "request_invalid"),
        (Method::POST, "/v1/agents".to_owned(), agent(json!({"debounce_seconds": 61})), 400, "request_invalid"),
        (Method::POST, "/v1/agents".to_owned(), agent(json!({"source": "def reply(conv:"})), 422, "script_has_faults"),
        (Method::POST, "/v1/agents".to_owned(), agent(json!({"greeting": "a\u{0}b"})), 422, "text_has_nul"),
        (Method::POST, "/v1/agents".to_owned(), agent(json!({"name": "a\u{0}b"})), 422, "name_not_usable"),
        (Method::GET, "/v1/sessions?contact=%00".to_owned(), None, 422, "text_has_nul"),
        (
            Method::POST,
            "/v1/agents".to_owned(),
            agent(json!({"source": format!("{ECHO}# {}", "ä".repeat(200_000))})),
            422,
            "value_refused",
        ),
        (Method::POST, "/v1/agents".to_owned(), agent(json!({"name": "agent"})), 409, "agent_name_taken"),
        (Method::GET, format!("/v1/agents/{nobody}"), None, 404, "not_found"),
        (Method::GET, "/v1/agents/not-an-id".to_owned(), None, 400, "request_invalid"),
        (Method::GET, "/v1/agents?limit=0".to_owned(), None, 422, "limit_out_of_range"),
        (Method::GET, "/v1/agents?cursor=%25".to_owned(), None, 422, "cursor_invalid"),
        (Method::GET, "/v1/sessions?status=asleep".to_owned(), None, 400, "request_invalid"),
        (Method::GET, format!("/v1/sessions/{nobody}/messages"), None, 404, "not_found"),
        (Method::POST, format!("/v1/sessions/{nobody}/end"), None, 404, "not_found"),
        (
            Method::PUT,
            "/v1/carrier".to_owned(),
            Some(json!({"account_sid": "AC1", "auth_token": "x"})),
            422,
            "credentials_refused",
        ),
        (
            Method::PUT,
            "/v1/carrier".to_owned(),
            Some(json!({"account_sid": ACCOUNT_SID, "auth_token": "x", "api_key_secret": "y"})),
            422,
            "api_key_incomplete",
        ),
        (
            Method::POST,
            "/v1/numbers".to_owned(),
            Some(json!({"number": "4155550199", "agent_id": nobody})),
            422,
            "number_not_e164",
        ),
        (
            Method::POST,
            "/v1/numbers".to_owned(),
            Some(json!({"number": NUMBER, "agent_id": nobody})),
            422,
            "agent_unknown",
        ),
    ] {
        assert_eq!(app.refused(method.clone(), &path, body).await, (status, code.to_owned()), "{method} {path}");
    }
    let agent_id = app.ok(Method::GET, "/v1/agents", None).await["items"][0]["id"].clone();
    let strange = json!({"number": "+14155550777", "agent_id": agent_id});
    assert_eq!(app.refused(Method::POST, "/v1/numbers", Some(strange)).await, (422, "number_not_owned".to_owned()));
    let huge = app.http.post(format!("http://{}/v1/agents", app.api)).bearer_auth(&app.key).body("x".repeat(2 << 20));
    assert_eq!(huge.send().await.expect("an answer").status(), 413);
}

#[tokio::test]
async fn wrong_credentials_at_the_carrier_are_told_as_such() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let wrong = json!({"account_sid": ACCOUNT_SID, "auth_token": "wrong"});
    assert_eq!(app.refused(Method::PUT, "/v1/carrier", Some(wrong)).await, (422, "credentials_refused".to_owned()));
    // They were right once, and somebody changed them at the carrier.
    app.simulator.add_account(twilio_simulator::Account::new(ACCOUNT_SID, "another token"));
    let agent_id = app.ok(Method::GET, "/v1/agents", None).await["items"][0]["id"].clone();
    let (status, answer) =
        app.call(&app.key, Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": agent_id}))).await;
    assert_eq!((status, &answer["code"]), (StatusCode::BAD_GATEWAY, &json!("carrier_failed")));
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("credentials")), "{answer}");
}

#[tokio::test]
async fn without_a_carrier_account_no_number_can_be_attached() {
    let app = TestApp::new().await;
    let (_, key) = crate::harness::create_project(&app.storage, "bare").await.expect("a project");
    let agent = json!({"name": "a", "kind": "script", "source": ECHO});
    let (_, made) = app.call(&key, Method::POST, "/v1/agents", Some(agent)).await;
    let number = json!({"number": NUMBER, "agent_id": made["id"]});
    let (status, answer) = app.call(&key, Method::POST, "/v1/numbers", Some(number)).await;
    assert_eq!((status, &answer["code"]), (StatusCode::CONFLICT, &json!("carrier_account_missing")));
}

#[tokio::test]
async fn another_projects_things_are_as_unknown_as_no_things() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    let (_, stranger) = crate::harness::create_project(&app.storage, "strangers").await.expect("a project");
    let session = app.sessions().await.remove(0)["id"].as_str().expect("id").to_owned();
    let agent = app.ok(Method::GET, "/v1/agents", None).await["items"][0]["id"].as_str().expect("id").to_owned();
    let number = app.ok(Method::GET, "/v1/numbers", None).await["items"][0]["id"].as_str().expect("id").to_owned();
    for (method, path) in [
        (Method::GET, format!("/v1/sessions/{session}")),
        (Method::GET, format!("/v1/sessions/{session}/messages")),
        (Method::POST, format!("/v1/sessions/{session}/end")),
        (Method::GET, format!("/v1/agents/{agent}")),
        (Method::GET, format!("/v1/agents/{agent}/versions")),
        (Method::GET, format!("/v1/agents/{agent}/versions/1")),
        (Method::GET, format!("/v1/numbers/{number}")),
    ] {
        let (status, answer) = app.call(&stranger, method.clone(), &path, None).await;
        assert_eq!((status, &answer["code"]), (StatusCode::NOT_FOUND, &json!("not_found")), "{method} {path}");
    }
    let version = json!({"kind": "script", "source": ECHO});
    let (status, _) = app.call(&stranger, Method::POST, &format!("/v1/agents/{agent}/versions"), Some(version)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for list in ["sessions", "agents", "numbers"] {
        let (_, answer) = app.call(&stranger, Method::GET, &format!("/v1/{list}"), None).await;
        assert_eq!(answer, json!({"items": []}));
    }
    assert_eq!(app.sessions().await[0]["status"], "open");
}

#[tokio::test]
async fn a_key_is_needed_and_one_that_may_read_may_not_write() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let bare = app.http.get(format!("http://{}/v1/sessions", app.api)).send().await.expect("an answer");
    assert_eq!(bare.status(), 401);
    assert_eq!(bare.headers()["content-type"], "application/problem+json");
    let (status, answer) = app.call("tb_wrong", Method::GET, "/v1/sessions", None).await;
    assert_eq!((status, &answer["code"]), (StatusCode::UNAUTHORIZED, &json!("api_key_invalid")));

    app.sql("update api_key set scopes = '{read}'").await;
    app.ok(Method::GET, "/v1/sessions", None).await;
    assert_eq!(
        app.refused(Method::POST, "/v1/agents", Some(json!({"name": "b", "kind": "script", "source": ECHO}))).await,
        (403, "scope_missing".to_owned())
    );
    app.sql("update api_key set revoked_at = now()").await;
    assert_eq!(app.refused(Method::GET, "/v1/sessions", None).await, (401, "api_key_invalid".to_owned()));
}

#[tokio::test]
async fn secrets_are_neither_returned_nor_stored_in_the_clear() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let mut account = twilio_simulator::Account::new(ACCOUNT_SID, "very-secret-token");
    account.api_keys.insert(format!("SK{}", "0".repeat(32)), "very-secret-api".to_owned());
    account.secondary_auth_token = Some("very-secret-next".to_owned());
    app.simulator.add_account(account);
    let credentials = json!({"account_sid": ACCOUNT_SID, "auth_token": "very-secret-token", "next_auth_token": "very-secret-next",
        "api_key_sid": format!("SK{}", "0".repeat(32)), "api_key_secret": "very-secret-api"});
    let answer = app.ok(Method::PUT, "/v1/carrier", Some(credentials)).await;
    assert!(!answer.to_string().contains("very-secret"));
    assert_eq!(app.ok(Method::GET, "/v1/carrier", None).await, answer, "and is read again as it was told");
    assert_eq!(
        (&answer["api_key_sid"], &answer["has_next_auth_token"]),
        (&json!(format!("SK{}", "0".repeat(32))), &json!(true))
    );
    let base = format!("http://{}/webhooks/twilio/{}", app.api, app.webhook_key);
    assert_eq!(
        answer["webhook_urls"],
        json!({"messages": format!("{base}/messages"), "status": format!("{base}/status"), "fallback": format!("{base}/fallback")})
    );
    let row: String = sqlx::query_scalar("select encode(auth_token, 'escape') || encode(next_auth_token, 'escape') || encode(api_key_secret, 'escape') from carrier_account")
        .fetch_one(app.storage.pool())
        .await
        .expect("a row");
    assert!(!row.contains("very-secret"));
    let keys: Vec<Vec<u8>> =
        sqlx::query_scalar("select hash from api_key").fetch_all(app.storage.pool()).await.expect("keys");
    assert!(keys.iter().all(|hash| hash.as_slice() != app.key.as_bytes()));
}

#[tokio::test]
async fn numbers_come_in_pages() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let agent = app.ok(Method::GET, "/v1/agents", None).await["items"][0]["id"].clone();
    app.simulator.add_number(ACCOUNT_SID, "+14155550177");
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": "+14155550177", "agent_id": agent}))).await;
    let first = app.ok(Method::GET, "/v1/numbers?limit=1", None).await;
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = app.ok(Method::GET, &format!("/v1/numbers?limit=1&cursor={cursor}"), None).await;
    assert_eq!((&first["items"][0]["number"], &second["items"][0]["number"]), (&json!("+14155550177"), &json!(NUMBER)));
    assert_eq!(second.get("next_cursor"), None);
}

#[tokio::test]
async fn lists_come_in_pages_without_gaps_or_repeats() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    for n in 0..7 {
        app.text(&format!("+1415555010{n}"), "hi").await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/sessions?limit=3".to_owned();
    loop {
        let page = app.ok(Method::GET, &path, None).await;
        seen.extend(page["items"].as_array().expect("items").iter().map(|session| session["contact"].clone()));
        match page["next_cursor"].as_str() {
            Some(cursor) => {
                // The positions of both lists are ids, so that of the other list would be read.
                let other = app.refused(Method::GET, &format!("/v1/agents?cursor={cursor}"), None).await;
                assert_eq!(other, (422, "cursor_invalid".to_owned()));
                path = format!("/v1/sessions?limit=3&cursor={cursor}");
            }
            None => break,
        }
    }
    let newest_first: Vec<Value> = (0..7).rev().map(|n| json!(format!("+1415555010{n}"))).collect();
    assert_eq!(seen, newest_first);
    let one = app.ok(Method::GET, "/v1/sessions?contact=%2B14155550103&status=open", None).await;
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    let none = app.ok(Method::GET, "/v1/sessions?status=closed", None).await;
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn messages_come_oldest_first_page_by_page() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    for n in 0..3 {
        app.answers(ADA, &n.to_string()).await;
    }
    let id = app.sessions().await.remove(0)["id"].as_str().expect("id").to_owned();
    let first = app.ok(Method::GET, &format!("/v1/sessions/{id}/messages?limit=4"), None).await;
    let rest = app
        .ok(
            Method::GET,
            &format!("/v1/sessions/{id}/messages?limit=4&cursor={}", first["next_cursor"].as_str().expect("a cursor")),
            None,
        )
        .await;
    let bodies: Vec<&Value> = [&first, &rest]
        .iter()
        .flat_map(|page| page["items"].as_array().expect("items"))
        .map(|message| &message["body"])
        .collect();
    assert_eq!(bodies, ["0", "1: 0", "1", "2: 1", "2", "3: 2"]);
    assert_eq!(rest.get("next_cursor"), None);
}

#[tokio::test]
async fn health_docs_and_metrics_answer_without_a_key() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    textback::telemetry::metrics::start();
    app.answers(ADA, "hi").await;
    for path in ["/livez", "/readyz", "/metrics", "/docs/", "/openapi.yaml"] {
        let at = if path == "/metrics" { app.metrics } else { app.api };
        let answer = app.http.get(format!("http://{at}{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.text().await.expect("a body");
        match path {
            "/metrics" => {
                assert!(text.contains("textback_webhook_requests_total{hook=\"messages\",result=\"stored\"}"));
                assert!(!text.contains("4155550101"), "no label carries a number");
            }
            "/docs/" => assert!(
                !text.contains("https://cdn") && !text.contains("unpkg"),
                "the docs load nothing from elsewhere"
            ),
            _ => {}
        }
    }
}

/// `make openapi` writes it.
#[test]
fn the_openapi_document_is_the_committed_one() {
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/textback.yaml")).unwrap_or_default();
    assert!(
        committed.trim_end() == textback::http::api::document().trim_end(),
        "openapi/textback.yaml is not what the code says; run: make openapi"
    );
    assert!(!committed.contains("serde_json"), "a number is an object");
}

#[tokio::test]
async fn a_refused_method_names_the_methods_of_its_path() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let nobody = uuid::Uuid::now_v7();
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/agents".to_owned(), "GET, HEAD, POST"),
        (Method::POST, "/v1/project".to_owned(), "GET, HEAD, PATCH"),
        (Method::PUT, format!("/v1/sessions/{nobody}"), "GET, HEAD"),
        (Method::GET, format!("/webhooks/twilio/{}/messages", app.webhook_key), "POST"),
        (Method::PUT, "/webhooks/twilio/any/status".to_owned(), "POST"),
        (Method::POST, "/readyz".to_owned(), "GET, HEAD"),
    ] {
        let request = app.http.request(method.clone(), format!("http://{}{path}", app.api)).bearer_auth(&app.key);
        let answer = request.json(&json!({})).send().await.expect("an answer");
        let allow = answer.headers().get("Allow").map(|value| value.to_str().expect("ASCII").to_owned());
        assert_eq!((answer.status().as_u16(), allow.as_deref()), (405, Some(allowed)), "{method} {path}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], "method_not_allowed");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(allowed)), "{problem}");
    }
}

/// Settings that contradict each other would not do what their author said.
#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_with_both_names() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let change = async |change: Value| app.call(&app.key, Method::PATCH, "/v1/project", Some(change)).await;
    for (wanted, code, named) in [
        (
            json!({"outbound_per_contact_per_hour": 20, "outbound_per_contact_per_day": 10}),
            "limits_contradict",
            ["outbound_per_contact_per_hour is 20", "outbound_per_contact_per_day is 10"],
        ),
        (
            json!({"outbound_per_project_per_minute": 11, "outbound_per_project_per_day": 10}),
            "limits_contradict",
            ["outbound_per_project_per_minute is 11", "outbound_per_project_per_day is 10"],
        ),
        (
            json!({"quiet_hours": {"from": "21:00", "until": "21:00"}}),
            "time_invalid",
            ["quiet_hours.from", "quiet_hours.until"],
        ),
        (json!({"quiet_hours": {"from": "00:00", "until": "24:00"}}), "time_invalid", ["quiet_hours", "24:00"]),
    ] {
        let (status, answer) = change(wanted.clone()).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!(code)), "{wanted}: {answer}");
        assert!(named.iter().all(|name| detail.contains(name)), "{wanted}: {detail}");
    }
    for wanted in [
        json!({"outbound_per_contact_per_hour": 10, "outbound_per_contact_per_day": 10}),
        json!({"outbound_per_contact_per_hour": 10, "outbound_per_contact_per_day": 0}),
        json!({"outbound_per_contact_per_hour": 0, "outbound_per_contact_per_day": 5}),
        json!({"outbound_per_project_per_minute": 10, "outbound_per_project_per_day": 100}),
        json!({"quiet_hours": {"from": "21:00", "until": "20:59"}}),
    ] {
        let (status, answer) = change(wanted.clone()).await;
        assert_eq!(status, 200, "{wanted}: {answer}");
    }
    // The longer limit alone counts as it was said, though a shorter one is above it. The shorter
    // one is refused against the longer one of before.
    let (status, answer) = change(json!({"outbound_per_project_per_day": 5})).await;
    assert_eq!((status.as_u16(), &answer["outbound_per_project_per_day"]), (200, &json!(5)), "{answer}");
    let (status, answer) = change(json!({"outbound_per_project_per_minute": 6})).await;
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("limits_contradict")), "{answer}");
    let kept = app.ok(Method::GET, "/v1/project", None).await;
    assert_eq!(kept["outbound_per_project_per_minute"], 10, "what is refused changes nothing");
    for name in ["a\u{200b}b", " agent", "agent\u{3164}"] {
        let hidden = json!({"name": name, "kind": "script", "source": ECHO});
        assert_eq!(app.refused(Method::POST, "/v1/agents", Some(hidden)).await, (422, "name_not_usable".to_owned()));
        let (status, answer) = change(json!({"name": name})).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("name_not_usable")), "{answer}");
    }
    let waits = json!({"name": "waits", "kind": "script", "source": ECHO, "debounce_seconds": 30,
                       "inactivity": {"warn_after_seconds": 30}});
    assert_eq!(app.refused(Method::POST, "/v1/agents", Some(waits)).await, (422, "limits_contradict".to_owned()));
}
