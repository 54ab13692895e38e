//! Tests http agents: signed requests, and services that fail, hang or answer garbage.

use std::collections::HashSet;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use textback::jobs;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::commands::Running;
use crate::harness::{ADA, ECHO, NUMBER, TestApp, settings};

const BEN: &str = "+14155550102";
const SECOND_NUMBER: &str = "+14155550198";

/// A service that gives these answers, one after the other, the last one for ever.
pub async fn service(answers: Vec<ResponseTemplate>) -> MockServer {
    let service = MockServer::start().await;
    let last = answers.len() - 1;
    for (n, answer) in answers.into_iter().enumerate() {
        let mock = Mock::given(wiremock::matchers::method("POST")).respond_with(answer);
        let mock = if n < last { mock.up_to_n_times(1) } else { mock };
        mock.mount(&service).await;
    }
    service
}

pub fn says(text: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"utterance": text}))
}

/// An app whose number is answered by a service; with what the making of the agent answered.
pub async fn app_with(service: &MockServer, settings: Value) -> (TestApp, Value) {
    let app = TestApp::new().await;
    let made = make_agent(&app, "service", &format!("{}/texts?tenant=7", service.uri()), settings).await;
    let number = json!({"number": NUMBER, "agent_id": made["id"]});
    app.ok(Method::POST, "/v1/numbers", Some(number)).await;
    (app, made)
}

async fn make_agent(app: &TestApp, name: &str, url: &str, settings: Value) -> Value {
    let mut agent = json!({"name": name, "kind": "http", "url": url, "first_message": "process", "error_message": ""});
    agent.as_object_mut().expect("an object").extend(settings.as_object().cloned().unwrap_or_default());
    app.ok(Method::POST, "/v1/agents", Some(agent)).await
}

async fn requests(service: &MockServer) -> Vec<Request> {
    service.received_requests().await.expect("recorded")
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Checks a request as a receiver would who knows only the convention and the secret.
fn signed_by(secret: &Value, request: &Request) -> bool {
    let secret = secret.as_str().and_then(|text| text.strip_prefix("whsec_")).expect("a secret");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).expect("base64"));
    let signed = [header(request, "webhook-id"), ".", header(request, "webhook-timestamp"), "."].concat().into_bytes();
    let signed = [signed, request.body.clone()].concat();
    header(request, "webhook-signature").split(' ').any(|signature| {
        let tag = signature.strip_prefix("v1,").and_then(|tag| STANDARD.decode(tag).ok()).expect("v1 and base64");
        hmac::verify(&key, &signed, &tag).is_ok()
    })
}

/// Turns that were put off are due now.
pub async fn no_waiting(app: &TestApp) {
    app.sql("update turn set due_at = now()").await;
    app.run_jobs().await;
}

#[tokio::test]
async fn a_service_is_asked_with_the_whole_conversation_and_its_answer_is_texted() {
    let remembers = json!({"messages": ["hello", "what is your name?"], "state": {"asked": "name"}});
    let service = service(vec![ResponseTemplate::new(200).set_body_json(remembers), says("hi Ada")]).await;
    let (app, made) = app_with(&service, json!({})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["hello", "what is your name?"]);
    assert_eq!(app.answers(ADA, "Ada").await.last().map(String::as_str), Some("hi Ada"));

    let received = requests(&service).await;
    let (first, second) = (body(&received[0]), body(&received[1]));
    assert_eq!(received[0].url.path(), "/texts");
    assert_eq!(received[0].url.query(), Some("tenant=7"));
    assert_eq!((&first["attempt"], &first["messages"][0]["text"]), (&json!(1), &json!("hi")));
    assert_eq!((&first["messages"][0]["media"], &first["history"]), (&json!([]), &json!([])));
    assert_eq!(first["conv"]["caller_number"], ADA);
    assert_eq!(first["conv"]["callee_number"], NUMBER);
    assert_eq!((&first["conv"]["channel_type"], &first["conv"]["env"]), (&json!("sms"), &json!("live")));
    assert_eq!(first["conv"]["id"], app.sessions().await[0]["id"]);
    assert_eq!(second["conv"]["state"], json!({"asked": "name"}), "what it remembered lasts");
    let history: Vec<(&Value, &Value)> =
        second["history"].as_array().expect("a list").iter().map(|entry| (&entry["role"], &entry["text"])).collect();
    assert_eq!(
        history,
        [
            (&json!("user"), &json!("hi")),
            (&json!("agent"), &json!("hello")),
            (&json!("agent"), &json!("what is your name?"))
        ]
    );
    assert!(second["history"][0]["at"].as_str().is_some_and(|at| at.contains('T')));
    assert_eq!(header(&received[0], "webhook-id"), first["turn_id"]);
    assert!(received.iter().all(|request| signed_by(&made["signing_secret"], request)));
}

#[tokio::test]
async fn the_signing_secret_is_told_once_and_can_be_changed_without_a_gap() {
    let service = service(vec![says("ok")]).await;
    let (app, made) = app_with(&service, json!({})).await;
    let path = format!("/v1/agents/{}", made["id"].as_str().expect("an id"));
    assert!(app.ok(Method::GET, &path, None).await.get("signing_secret").is_none());
    let (encrypted,): (Vec<u8>,) =
        sqlx::query_as("select signing_secret from agent").fetch_one(app.storage.pool()).await.expect("a secret");
    let secret = made["signing_secret"].as_str().expect("a secret");
    assert!(
        !encrypted.windows(8).any(|part| secret.as_bytes().windows(8).any(|other| other == part)),
        "it is encrypted"
    );

    let changed = app.ok(Method::POST, &format!("{path}/signing-secret"), None).await;
    app.answers(ADA, "one").await;
    let received = requests(&service).await;
    assert!(signed_by(&made["signing_secret"], &received[0]), "the old one signs for a day");
    assert!(signed_by(&changed["signing_secret"], &received[0]));
    // Another change would take the old one from a service that has only that.
    let refused = app.refused(Method::POST, &format!("{path}/signing-secret"), None).await;
    assert_eq!(refused, (409, "signing_secret_changing".to_owned()));
    app.sql("update agent set signing_secret_changed_at = now() - interval '25 hours'").await;
    app.answers(ADA, "two").await;
    let received = requests(&service).await;
    assert!(!signed_by(&made["signing_secret"], &received[1]));
    assert!(signed_by(&changed["signing_secret"], &received[1]));
    let again = app.ok(Method::POST, &format!("{path}/signing-secret"), None).await;
    assert_ne!(again["signing_secret"], changed["signing_secret"], "after a day it can be changed again");

    let next = json!({"kind": "http", "url": format!("{}/v2", service.uri())});
    let next = app.ok(Method::POST, &format!("{path}/versions"), Some(next)).await;
    assert!(next.get("signing_secret").is_none(), "a new version keeps the agent's secret");
    let script = app.agent("script", ECHO, json!({})).await;
    let path = format!("/v1/agents/{script}");
    let refused = app.refused(Method::POST, &format!("{path}/signing-secret"), None).await;
    assert_eq!(refused, (409, "agent_signs_nothing".to_owned()));
    let becomes_a_service = json!({"kind": "http", "url": service.uri()});
    let made = app.ok(Method::POST, &format!("{path}/versions"), Some(becomes_a_service)).await;
    assert!(made["signing_secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
}

#[tokio::test]
async fn a_service_that_fails_is_asked_the_same_again_and_later_texts_wait_for_their_own_turn() {
    let service = service(vec![ResponseTemplate::new(503), says("first"), says("second")]).await;
    let (app, _) = app_with(&service, json!({})).await;
    app.text(ADA, "one").await;
    app.run_jobs().await;
    app.text(ADA, "two").await;
    no_waiting(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["first", "second"]);
    let received: Vec<Value> = requests(&service).await.iter().map(body).collect();
    assert_eq!(received[0]["turn_id"], received[1]["turn_id"]);
    assert_eq!(
        received[0]["messages"], received[1]["messages"],
        "what it may have answered already is not mixed with more"
    );
    assert_eq!((&received[0]["attempt"], &received[1]["attempt"]), (&json!(1), &json!(2)));
    assert_ne!(received[1]["turn_id"], received[2]["turn_id"]);
    assert_eq!(received[2]["messages"][0]["text"], "two");
}

#[tokio::test]
async fn a_service_that_lies_or_fails_for_good_costs_its_error_message_and_the_session_goes_on() {
    let answers = vec![
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_string("<html>I am not JSON</html>"),
        ResponseTemplate::new(302).insert_header("Location", "http://127.0.0.1:1/"),
        ResponseTemplate::new(200).set_body_string("x".repeat(1100 * 1024)),
        ResponseTemplate::new(200).set_body_json(json!({"state": {"a": "\0"}})),
        says("well again"),
    ];
    let service = service(answers).await;
    let (app, _) = app_with(&service, json!({"error_message": "Sorry!"})).await;
    app.text(ADA, "one").await;
    let mut errors = HashSet::new();
    for _ in 0..4 {
        no_waiting(&app).await;
        let (error,): (String,) =
            sqlx::query_as("select last_error from turn").fetch_one(app.storage.pool()).await.expect("a turn");
        errors.insert(error);
        assert!(app.simulator.received(ADA, NUMBER).is_empty());
    }
    for error in ["500", "did not answer with JSON", "302", "1024 KiB"] {
        assert!(errors.iter().any(|told| told.contains(error)), "{error} in {errors:?}");
    }
    no_waiting(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Sorry!"]);
    assert_eq!(requests(&service).await.len(), 5);
    assert_eq!(app.answers(ADA, "two").await, ["Sorry!", "well again"]);
}

#[tokio::test]
async fn a_service_may_say_nothing_and_may_end_the_session() {
    let ends = ResponseTemplate::new(200).set_body_json(json!({"utterance": "bye", "hangup": true}));
    let service = service(vec![ResponseTemplate::new(204), ends]).await;
    let (app, _) = app_with(&service, json!({})).await;
    assert!(app.answers(ADA, "hm").await.is_empty());
    assert_eq!(app.answers(ADA, "bye").await, ["bye"]);
    assert_eq!(app.sessions().await[0]["close_reason"], "agent_ended");
}

#[tokio::test]
async fn addresses_that_are_not_for_agents_are_refused() {
    let app = TestApp::new().await;
    for (url, why) in [
        ("http://10.0.0.7/x", "TEXTBACK_ALLOW_HOSTS=10.0.0.7"),
        ("http://169.254.169.254/latest", "not a public address"),
        ("http://[::1]:80/", "not a public address"),
        ("http://8.8.8.8/x", "TEXTBACK_ALLOW_HOSTS=8.8.8.8"),
        ("http://[2606:4700::1111]/", "TEXTBACK_ALLOW_HOSTS"),
        ("http://134744072/", "TEXTBACK_ALLOW_HOSTS=8.8.8.8"),
        ("http://nobody.invalid/", "TEXTBACK_ALLOW_HOSTS"),
        ("http://example.com/", "TEXTBACK_ALLOW_HOSTS"),
        ("https://user:secret@example.com/", "password"),
        ("ftp://example.com/", "scheme"),
        ("https://example.com/#a", "fragment"),
        (" https://example.com/", "remove blanks"),
        ("https://example.com/a\n", "remove blanks"),
        ("https:///example.com/", "two slashes"),
        ("https:example.com", "two slashes"),
        ("https:\\\\example.com", "https://example.com/ would be called"),
        ("example.com", "full URL"),
    ] {
        let agent = json!({"name": "a", "kind": "http", "url": url});
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/agents", Some(agent)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("agent_url_refused")), "{answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{answer}");
    }
    for url in ["https://8.8.8.8/x", "https://nobody.invalid/", "http://127.0.0.1:9/x"] {
        app.ok(Method::POST, "/v1/agents", Some(json!({"name": url, "kind": "http", "url": url}))).await;
    }
    for inconsistent in [
        json!({"name": "a", "kind": "http"}),
        json!({"name": "a", "kind": "script"}),
        json!({"name": "a", "kind": "http", "url": "https://example.com/", "source": ECHO}),
        json!({"name": "a", "kind": "script", "url": "https://example.com/", "source": ECHO}),
    ] {
        let refused = app.refused(Method::POST, "/v1/agents", Some(inconsistent)).await;
        assert_eq!(refused, (422, "agent_kind_mismatch".to_owned()));
    }
}

#[tokio::test]
async fn a_service_that_hangs_holds_up_nobody_but_its_own_sessions() {
    let hangs = service(vec![says("late").set_delay(Duration::from_secs(60))]).await;
    let (app, _) = app_with(&hangs, json!({"timeout_seconds": 60})).await;
    app.simulator.add_number(crate::harness::ACCOUNT_SID, SECOND_NUMBER);
    let echo = app.agent("echo", ECHO, json!({"first_message": "process"})).await;
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": SECOND_NUMBER, "agent_id": echo}))).await;
    // Far more sessions wait for the service than the worker has slots.
    for n in 0..40 {
        app.text(&format!("+141555503{n:02}"), "hi").await;
    }
    let working = work_with_eight_slots(&app);
    let received = async {
        // Four of eight slots is what one agent gets.
        while requests(&hangs).await.len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), received).await.expect("the service is asked");
    let began = std::time::Instant::now();
    assert_eq!(app.simulator.say(BEN, SECOND_NUMBER, "hello").await.error, None);
    let answered = app.simulator.until_received(BEN, SECOND_NUMBER, 1);
    let answered = tokio::time::timeout(Duration::from_secs(20), answered).await;
    assert_eq!(answered.expect("another agent's session is answered"), ["1: hello"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(requests(&hangs).await.len(), 4, "the others wait for a slot");
    working.abort();
}

#[tokio::test]
async fn services_of_one_project_that_hang_leave_slots_to_the_other_projects() {
    let hangs = service(vec![says("late").set_delay(Duration::from_secs(60))]).await;
    let app = TestApp::new().await;
    for n in 0..6 {
        let number = format!("+1415555999{n}");
        app.simulator.add_number(crate::harness::ACCOUNT_SID, &number);
        let agent = make_agent(&app, &format!("hangs {n}"), &hangs.uri(), json!({"timeout_seconds": 60})).await;
        app.ok(Method::POST, "/v1/numbers", Some(json!({"number": number, "agent_id": agent["id"]}))).await;
        for contact in 0..4 {
            app.simulator.say(&format!("+141555503{n}{contact}"), &number, "hi").await;
        }
    }
    other_project(&app).await;
    let working = work_with_eight_slots(&app);
    let received = async {
        // Six of eight slots is what one project gets. Without a bound of the project six agents
        // would take 4, 2, 1 and 1.
        while requests(&hangs).await.len() < 6 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), received).await.expect("the services are asked");
    assert_eq!(app.simulator.say(BEN, SECOND_NUMBER, "hello").await.error, None);
    let answered = app.simulator.until_received(BEN, SECOND_NUMBER, 1);
    let answered = tokio::time::timeout(Duration::from_secs(20), answered).await;
    assert_eq!(answered.expect("the other project's session is answered"), ["1: hello"]);
    assert_eq!(requests(&hangs).await.len(), 6, "the others wait for a slot");
    working.abort();
}

/// A second project whose number echoes.
pub async fn other_project(app: &TestApp) {
    let (_, key) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    let credentials = json!({"account_sid": crate::harness::ACCOUNT_SID, "auth_token": crate::harness::AUTH_TOKEN});
    app.call(&key, Method::PUT, "/v1/carrier", Some(credentials)).await;
    let agent = json!({"name": "echo", "kind": "script", "source": ECHO, "first_message": "process"});
    let agent_id = app.call(&key, Method::POST, "/v1/agents", Some(agent)).await.1["id"].clone();
    app.simulator.add_number(crate::harness::ACCOUNT_SID, SECOND_NUMBER);
    let number = json!({"number": SECOND_NUMBER, "agent_id": agent_id});
    let (status, answer) = app.call(&key, Method::POST, "/v1/numbers", Some(number)).await;
    assert_eq!(status, 200, "{answer}");
}

/// The workers of a process with eight slots for turns.
pub fn work_with_eight_slots(app: &TestApp) -> tokio::task::JoinHandle<()> {
    let mut slots = settings();
    (slots.turn_slots, slots.delivery_slots, slots.poll_seconds) = (8, 8, 60.0);
    let workers = app.workers_of(slots);
    tokio::spawn(async move {
        let _ = jobs::run(workers, std::future::pending()).await;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_service_checks_signatures_and_answers() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
    let app = TestApp::new().await;
    let made = make_agent(&app, "example", &format!("http://127.0.0.1:{port}/"), json!({})).await;
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": made["id"]}))).await;
    let mut python = std::process::Command::new("python3");
    python
        .args(["examples/agents/service.py", "--port", &port.to_string()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TEXTBACK_SIGNING_SECRET", made["signing_secret"].as_str().expect("a secret"))
        .stdout(std::process::Stdio::piped());
    let mut example = Running::start(&mut python, true);
    example.until("listening");
    let unsigned = app.http.post(format!("http://127.0.0.1:{port}/")).json(&json!({"turn_id": "1"})).send().await;
    assert_eq!(unsigned.expect("an answer").status(), 401);
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    assert_eq!(app.answers(ADA, "again").await, ["1: hi", "2: again"]);
    assert_eq!(app.answers(ADA, "bye").await, ["1: hi", "2: again", "Bye!"]);
    assert_eq!(app.sessions().await[0]["status"], "closed");
}
