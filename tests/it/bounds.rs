//! Tests the bounds on input from outside: numbers, states, variables and error texts.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Map, Value, json};
use textback::domain::bounds;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{ADA, ECHO, NUMBER, TestApp};

const BEN: &str = "+14155550102";

/// An app in which a service answers our number and a script a second one.
async fn app_with(answer: String) -> (TestApp, MockServer) {
    let service = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_raw(answer, "application/json");
    Mock::given(wiremock::matchers::method("POST")).respond_with(answer).mount(&service).await;
    let app = TestApp::new().await;
    let agent = json!({"name": "service", "kind": "http", "url": service.uri(), "first_message": "process", "error_message": "sorry"});
    let made = app.ok(Method::POST, "/v1/agents", Some(agent)).await;
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": made["id"]}))).await;
    (app, service)
}

async fn last_error(app: &TestApp) -> String {
    sqlx::query_scalar("select max(last_error) from turn").fetch_one(app.storage.pool()).await.expect("an error")
}

#[tokio::test]
async fn a_service_is_told_which_number_can_not_be_kept() {
    for number in ["1e99999", "-1e400", "1e-99999", &"9".repeat(400), "18446744073709551616"] {
        let (app, _service) = app_with(format!(r#"{{"utterance":"ok","state":{{"a":[7,{number}]}}}}"#)).await;
        app.text(ADA, "hi").await;
        app.workers.turns.step().await.expect("turns");
        let error = last_error(&app).await;
        assert!(error.contains("a[1]") && error.contains("number") || error.contains("integer"), "{error}");
        app.end().await;
    }
}

#[tokio::test]
async fn a_state_is_as_large_as_the_database_prints_it() {
    // 5 bytes each in the answer, 311 in the database.
    let (app, _service) = app_with(json!({"utterance": "ok", "state": {"a": vec![1e308; 1000]}}).to_string()).await;
    app.text(ADA, "hi").await;
    app.workers.turns.step().await.expect("turns");
    assert!(last_error(&app).await.contains("262144 is the most"));
}

#[tokio::test]
async fn numbers_are_kept_in_one_form() {
    let long = format!("1.{}", "0".repeat(10_000));
    let answer = format!(r#"{{"utterance":"ok","state":{{"a":[{long},1e2,-0,18446744073709551615,0.1]}}}}"#);
    let (app, _service) = app_with(answer).await;
    assert_eq!(app.answers(ADA, "hi").await, ["ok"]);
    let kept: String =
        sqlx::query_scalar("select state::text from session").fetch_one(app.storage.pool()).await.expect("a state");
    assert_eq!(kept, r#"{"a": [1.0, 100.0, 0, 18446744073709551615, 0.1]}"#);
}

/// As if an older process had let it through: the turn has failed for good, and its neighbours in
/// the batch have not.
#[tokio::test]
async fn an_answer_that_the_database_refuses_is_the_agents_failure_and_nobody_elses() {
    let app = TestApp::with_agent(
        "
def reply(conv, text):
    conv.state.said = text
    return text
",
        json!({"first_message": "process", "error_message": "sorry"}),
    )
    .await;
    app
        .sql("alter domain session_state add constraint session_state_is_not_evil check (not value ? 'said' or value ->> 'said' <> 'evil')")
        .await;
    app.text(ADA, "evil").await;
    app.text(BEN, "good").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, NUMBER), ["good"]);
    assert_eq!(app.simulator.received(ADA, NUMBER), ["sorry"]);
    assert_eq!(app.count("select count(*) from turn").await, 0);
}

#[tokio::test]
async fn a_scripts_numbers_and_errors_are_bounded() {
    let app = TestApp::with_agent(
        "
def reply(conv, text):
    # Not a constant, which would be multiplied when the script is read.
    million = len(text) * 250000
    if text == 'fail':
        fail('x' * (5 * million))
    if text == 'keys':
        conv.state['k' * million] = 1 << 70
    conv.state.a = {'b': [1 << 70]}
",
        json!({"first_message": "process"}),
    )
    .await;
    app.text(ADA, "number").await;
    app.workers.turns.step().await.expect("turns");
    let error = last_error(&app).await;
    assert!(error.contains("conv.state[\"a\"]") && error.contains("64 bits"), "{error}");
    for (contact, text) in [(BEN, "fail"), ("+14155550103", "keys")] {
        app.sql("update turn set due_at = 'infinity', last_error = null").await;
        app.text(contact, text).await;
        app.workers.turns.step().await.expect("turns");
        let error = last_error(&app).await;
        assert!(error.len() <= bounds::ERROR_BYTES && error.contains("(cut)"), "{} {error}", error.len());
    }
}

/// Whatever PostgreSQL would refuse of what an agent names is the agent's failure, and ends.
#[tokio::test]
async fn a_template_that_no_project_can_have_is_the_scripts_failure() {
    for name in ["a\\x00b", "", "a b", ".a"] {
        // A name that is spelled out in the call is refused when the script is saved.
        let agent = format!(
            "def reply(conv, text):\n    name = \"{name}\"\n    conv.send_sms_template(\"{BEN}\", name, {{}})\n"
        );
        let settings = json!({"first_message": "process", "error_message": "sorry"});
        let app = TestApp::with_agent(&agent, settings).await;
        app.text(ADA, "hi").await;
        app.workers.turns.step().await.expect("turns");
        let error = last_error(&app).await;
        assert!(error.contains("not a template name"), "{error}");
        for _ in 0..2 {
            app.sql("update turn set due_at = now()").await;
            app.run_jobs().await;
        }
        assert_eq!(app.simulator.received(ADA, NUMBER), ["sorry"]);
        assert_eq!(app.count("select count(*) from turn").await, 0);
        app.end().await;
    }
    let app = TestApp::new().await;
    let text = json!({"to": ADA, "template": "a\0b", "variables": {}});
    assert_eq!(app.refused(Method::POST, "/v1/messages", Some(text)).await, (422, "text_has_nul".to_owned()));
}

#[tokio::test]
async fn what_a_request_gives_is_bounded_and_so_is_what_it_is_told() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    app.ok(Method::PUT, "/v1/templates/order", Some(json!({"body": "Order {{ id }}"}))).await;
    for (id, told) in [
        ("1e99999", "1e+99999"),
        (&*"9".repeat(100_000), "64 bits"),
        (&*format!("\"{}\"", "x".repeat(100_000)), "65536"),
    ] {
        let body = format!(r#"{{"to": "{ADA}", "template": "order", "variables": {{"id": {id}}}}}"#);
        let request = app.http.post(format!("http://{}/v1/messages", app.api)).bearer_auth(&app.key);
        let answer = request.header("Content-Type", "application/json").body(body).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 422);
        let problem: Value = answer.json().await.expect("a problem");
        assert_eq!(problem["code"], "variables_invalid");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{problem}");
    }
    let long = json!({"to": "x".repeat(500_000), "body": "hi"});
    let (_, problem) = app.call(&app.key, Method::POST, "/v1/messages", Some(long)).await;
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() <= bounds::ERROR_BYTES), "{problem}");
    for number in ["1e99999", "1e-99999", &"9".repeat(400)] {
        let body = format!(r#"{{"name": "a", "kind": "script", "source": "x", "warn_after_seconds": {number}}}"#);
        let request = app.http.post(format!("http://{}/v1/agents", app.api)).bearer_auth(&app.key);
        let answer = request.header("Content-Type", "application/json").body(body).send().await.expect("an answer");
        assert!(answer.status().is_client_error(), "{number}: {}", answer.status());
    }
}

fn any_state() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-400..400_i32).prop_map(|power| Value::from(1.5 * 10_f64.powi(power))),
        "[^\\x00]{0,10}".prop_map(Value::String),
        "[\\x01-\\x20\\\\\"]{0,10}".prop_map(Value::String),
    ];
    let value = leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::hash_map("[^\\x00]{0,5}", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    prop::collection::hash_map("[^\\x00]{0,5}", value, 0..6).prop_map(|fields| fields.into_iter().collect())
}

#[tokio::test]
async fn sizes_are_those_that_the_database_prints() {
    let app = TestApp::new().await;
    let mut runner = TestRunner::deterministic();
    let mut states: Vec<Map<String, Value>> =
        (0..500).map(|_| any_state().new_tree(&mut runner).expect("a value").current()).collect();
    for state in &mut states {
        bounds::object(state, usize::MAX).expect("it can be kept");
    }
    let texts: Vec<String> = states.iter().map(|state| serde_json::to_string(state).expect("JSON")).collect();
    let printed: Vec<i32> = sqlx::query_scalar(
        "select octet_length(given::jsonb::text) from unnest($1::text[]) with ordinality as given (given, n) order by n",
    )
    .bind(&texts)
    .fetch_all(app.storage.pool())
    .await
    .expect("lengths");
    for ((state, text), printed) in states.iter().zip(&texts).zip(printed) {
        assert_eq!(bounds::printed_bytes_of(state), usize::try_from(printed).expect("a length"), "{text}");
    }
}

/// A contact who texts faster than any agent answers, or texts that waited while the database was
/// away.
#[tokio::test]
async fn a_turn_reads_a_hundred_texts_and_the_next_one_the_others() {
    let counts = "def reply(conv, text): return str(len(conv.messages)) + \" to \" + conv.messages[-1]";
    let app = TestApp::with_agent(counts, json!({"first_message": "process"})).await;
    app.without_rate_limits().await;
    for n in 1..=130 {
        app.text(ADA, &format!("text {n}")).await;
    }
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["100 to text 100", "30 to text 130"]);
    app.end().await;
}
