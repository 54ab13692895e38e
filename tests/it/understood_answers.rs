//! Tests that an answer which is not understood is a failure that is told, and that a runaway
//! answer is cut.

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::harness::{ADA, NUMBER, TestApp};
use crate::http_agents::{app_with, no_waiting, says, service};

fn answer(body: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body.as_bytes().to_vec(), "application/json")
}

async fn last_error(app: &TestApp) -> String {
    let (error,): (String,) =
        sqlx::query_as("select last_error from turn").fetch_one(app.storage.pool()).await.expect("a turn");
    error
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_a_failure_that_is_told() {
    for (body, told) in [
        (r#"{"text": "Hello"}"#, "`text`"),
        (r#"{"response": "Hello"}"#, "`response`"),
        (r#"{"reply": "Hello"}"#, "`reply`"),
        ("{}", "without utterance and messages"),
        ("[]", "a list"),
        (r#""Hello""#, "a text"),
        ("", "an empty body"),
        (r#"{"body": 7}"#, "`body`"),
        (r#"{"messages": "Hello"}"#, "messages that is a text"),
        (r#"{"utterance": "Hello", "state": []}"#, "state that is a list"),
        (r#"{"utterance": "Hello", "hangup": "yes"}"#, "hangup that is a text"),
        (r#"{"utterance": null, "text": "Hello"}"#, "`text` and without a text for the person"),
        (r#"{"utterance": "Hello", "hangUp": true}"#, "did you mean hangup?"),
        (r#"{"hangup": false}"#, "answered with nothing for the person: it has no text"),
        (r#"{"messages": []}"#, "answered with nothing for the person: it has no text"),
        (r#"{"utterance": "\u200b\u2800"}"#, "answered with nothing for the person: nothing in its text is visible"),
    ] {
        let service = service(vec![answer(body), says("understood")]).await;
        let (app, _) = app_with(&service, json!({})).await;
        app.text(ADA, "hi").await;
        app.run_jobs().await;
        let error = last_error(&app).await;
        assert!(
            error.contains(told)
                && ["must be", "expected", "did you mean", "write"].iter().any(|word| error.contains(word)),
            "{body}: {error}"
        );
        assert!(!error.contains("Hello"), "no text of an answer is stored or logged: {error}");
        let agents = app.ok(Method::GET, "/v1/agents", None).await;
        let shown = agents["items"][0]["last_error"]["message"].as_str().expect("a message");
        assert!(shown.contains(told) && !shown.contains('…'), "the API tells it in the same words: {shown}");
        no_waiting(&app).await;
        assert_eq!(app.simulator.received(ADA, NUMBER), ["understood"], "the service is asked again");
    }
}

#[tokio::test]
async fn only_204_and_null_say_nothing() {
    let answers = vec![
        ResponseTemplate::new(204),
        answer("null"),
        answer(r#"{"utterance": null}"#),
        answer(r#"{"messages": null}"#),
        answer(r#"{"utterance": null, "messages": [], "state": {"step": 2}}"#),
        answer(r#"{"messages": null, "hangup": false, "usage": {"tokens": 7}}"#),
        says("heard you"),
    ];
    let service = service(answers).await;
    let (app, _) = app_with(&service, json!({})).await;
    for text in ["one", "two", "three", "four", "five", "six"] {
        assert!(app.answers(ADA, text).await.is_empty(), "{text}");
    }
    assert_eq!(app.answers(ADA, "seven").await, ["heard you"]);
}

#[tokio::test]
async fn a_mistake_of_encoding_costs_a_character() {
    let raw = b"{\"utterance\": \"caf\xe9\"}".to_vec();
    let answers = vec![
        answer(r#"{"utterance": "Hi \ud83d"}"#),
        answer("\u{feff}{\"utterance\": \"marked\"}"),
        ResponseTemplate::new(200).set_body_raw(raw.clone(), "application/json; charset=iso-8859-1"),
        ResponseTemplate::new(200).set_body_raw(raw, "application/json"),
    ];
    let service = service(answers).await;
    let (app, _) = app_with(&service, json!({})).await;
    for text in ["one", "two", "three", "four"] {
        app.answers(ADA, text).await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Hi \u{fffd}", "marked", "café", "caf\u{fffd}"]);
}

/// The messages of the newest session that left, and the flags of the last one.
async fn sent(app: &TestApp) -> (usize, Value, i64) {
    let session = app.sessions().await.remove(0);
    let messages = app.messages(&session).await;
    let outbound: Vec<&Value> = messages.iter().filter(|message| message["direction"] == "outbound").collect();
    let last = outbound.last().expect("an answer");
    (outbound.len(), last["truncated"].clone(), last["truncated_characters"].as_i64().unwrap_or_default())
}

#[tokio::test]
async fn a_runaway_answer_of_any_agent_is_cut_at_ten_messages() {
    let long = "x".repeat(300_000);
    let many = vec!["again"; 60];
    for (body, cut) in [(json!({"utterance": long}), 284_000), (json!({"messages": many}), 250)] {
        let service = service(vec![ResponseTemplate::new(200).set_body_json(body)]).await;
        let (app, _) = app_with(&service, json!({})).await;
        app.answers(ADA, "hi").await;
        assert_eq!(sent(&app).await, (10, json!(true), cut));
    }
    for (source, cut) in [
        ("def reply(conv, text): return \"x\" * 300000", 284_000),
        ("def reply(conv, text):\n    for n in range(60):\n        conv.say(\"again\")\n    return \"end\"", 253),
        ("def start(conv): return \"x\" * 300000", 284_000),
    ] {
        let app = TestApp::with_agent(source, json!({})).await;
        app.answers(ADA, "hi").await;
        assert_eq!(sent(&app).await, (10, json!(true), cut), "{source}");
    }
    let app =
        TestApp::with_agent("def reply(conv, text): return \"x\" * 300000", json!({"max_messages_per_turn": 2})).await;
    app.answers(ADA, "hi").await;
    assert_eq!(sent(&app).await, (2, json!(true), 296_800));
}

#[tokio::test]
async fn a_message_that_max_segments_cuts_says_so() {
    let source = "def reply(conv, text):\n    conv.say(\"x\" * 500)\n    return \"short\"";
    let app = TestApp::with_agent(source, json!({"first_message": "process", "max_segments": 1})).await;
    app.answers(ADA, "hi").await;
    let session = app.sessions().await.remove(0);
    let messages = app.messages(&session).await;
    let flags: Vec<(&Value, &Value)> =
        messages.iter().map(|message| (&message["truncated"], &message["truncated_characters"])).collect();
    assert_eq!(flags, [(&json!(false), &Value::Null), (&json!(true), &json!(343)), (&json!(false), &Value::Null)]);
    let id = messages[1]["id"].as_str().expect("an id");
    assert_eq!(app.ok(Method::GET, &format!("/v1/messages/{id}"), None).await["truncated"], true);
}

#[tokio::test]
async fn a_script_that_returns_something_else_fails_too() {
    for returned in
        ["5", "[\"a\"]", "True", "{}", "{\"text\": \"a\"}", "(\"a\", \"b\")", "{\"utterance\": 7}", "lambda: 1"]
    {
        // What is returned whatever the text is is refused when the script is saved.
        let source = format!("def reply(conv, text):\n    return {{\"hi\": {returned}}}.get(text, text)");
        let app = TestApp::with_agent(&source, json!({"first_message": "process"})).await;
        app.text(ADA, "hi").await;
        app.run_jobs().await;
        let error = last_error(&app).await;
        assert!(error.contains("reply returned") && error.contains("return a text"), "{returned}: {error}");
    }
    let source = "def start(conv): conv.state.greet_message = len(conv.id)\ndef reply(conv, text): return text";
    let app = TestApp::with_agent(source, json!({})).await;
    app.text(ADA, "hi").await;
    app.run_jobs().await;
    assert!(last_error(&app).await.contains("greet_message must be a text"));
}

#[tokio::test]
async fn a_compressed_answer_is_told_as_such() {
    let gzip = answer("\u{1f}compressed").insert_header("Content-Encoding", "gzip");
    let service = service(vec![gzip]).await;
    let (app, _) = app_with(&service, json!({})).await;
    app.text(ADA, "hi").await;
    app.run_jobs().await;
    let error = last_error(&app).await;
    assert!(error.contains("Content-Encoding gzip") && error.contains("must be"), "{error}");
    let requests = service.received_requests().await.expect("requests");
    assert_eq!(requests[0].headers.get("accept-encoding").and_then(|value| value.to_str().ok()), Some("identity"));
}
