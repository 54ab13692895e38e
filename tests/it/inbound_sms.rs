//! Tests the sentences of the page that describes the product.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADA, ECHO, NUMBER, TestApp, bodies};

const SEED: &str = include_str!("../../examples/agents/seed.star");

#[tokio::test]
async fn a_user_texts_one_of_your_numbers_and_the_agent_replies_automatically() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hello").await, ["1: hello"]);
}

#[tokio::test]
async fn a_new_user_opens_a_session_and_the_start_function_runs_with_channel_type_sms() {
    let app = TestApp::with_agent(SEED, json!({})).await;
    assert_eq!(app.answers(ADA, "hello").await, ["Hi, you've reached [Company]. How can I help?"]);
    let sessions = app.sessions().await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["contact"], ADA);
    assert_eq!(sessions[0]["number"], NUMBER);
    assert_eq!(sessions[0]["channel"], "sms");
    assert_eq!(sessions[0]["status"], "open");
    assert_eq!(sessions[0]["origin"], "inbound");
    assert_eq!(sessions[0]["engaged"], true);
    assert!(sessions[0].get("state").is_none(), "a list leaves out what may be long");
    assert_eq!(app.state(&sessions[0]).await["greet_message"], "Hi, you've reached [Company]. How can I help?");
}

#[tokio::test]
async fn the_agent_greets_the_user_or_processes_the_message_directly_or_both() {
    let script = "
def start(conv):
    conv.state.greet_message = \"Welcome\"
def reply(conv, text):
    return \"You said \" + text
";
    for (mode, answers) in [
        ("greet", vec!["Welcome"]),
        ("process", vec!["You said hi"]),
        ("greet_then_process", vec!["Welcome", "You said hi"]),
    ] {
        let app = TestApp::with_agent(script, json!({"first_message": mode})).await;
        assert_eq!(app.answers(ADA, "hi").await, answers, "{mode}");
    }
}

#[tokio::test]
async fn the_greeting_comes_from_start_else_from_its_state_else_from_the_setting() {
    for (start, greeting) in [
        ("conv.state.greet_message = \"from state\"\n    return \"from start\"", "from start"),
        ("conv.state.greet_message = \"from state\"\n    return \"\"", "from state"),
        ("return None", "from the setting"),
    ] {
        let script = format!("def start(conv):\n    {start}\ndef reply(conv, text): return text");
        let app = TestApp::with_agent(&script, json!({"greeting": "from the setting"})).await;
        assert_eq!(app.answers(ADA, "hi").await, [greeting]);
    }
    let app = TestApp::with_agent("def reply(conv, text): return \"no greeting, so: \" + text", json!({})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["no greeting, so: hi"]);
}

#[tokio::test]
async fn with_an_active_session_the_message_is_added_and_the_agent_continues_where_it_left_off() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "one").await;
    assert_eq!(app.answers(ADA, "two").await, ["1: one", "2: two"]);
    let sessions = app.sessions().await;
    assert_eq!(sessions.len(), 1);
    let messages = app.messages(&sessions[0]).await;
    assert_eq!(bodies(&messages, "inbound"), ["one", "two"]);
    assert_eq!(bodies(&messages, "outbound"), ["1: one", "2: two"]);
    let statuses: Vec<&Value> = messages.iter().map(|message| &message["status"]).collect();
    assert_eq!(statuses, ["handled", "delivered", "handled", "delivered"]);
}

#[tokio::test]
async fn the_agent_sees_what_was_said_before() {
    let script = "def reply(conv, text): return \"|\".join([said.role + \" \" + said.text for said in conv.history])";
    let app = TestApp::with_agent(script, json!({"greeting": "Hello"})).await;
    app.answers(ADA, "first").await;
    assert_eq!(app.answers(ADA, "second").await.last().map(String::as_str), Some("user first|agent Hello"));
}

#[tokio::test]
async fn after_a_session_has_ended_a_text_opens_a_new_one_linked_to_it() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "one").await;
    let first = app.sessions().await.remove(0);
    let ended = app.ok(Method::POST, &format!("/v1/sessions/{}/end", first["id"].as_str().expect("id")), None).await;
    assert_eq!((&ended["status"], &ended["close_reason"]), (&json!("closed"), &json!("operator_ended")));

    assert_eq!(app.answers(ADA, "again").await, ["1: one", "1: again"], "a new session begins with a new state");
    let sessions = app.sessions().await;
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0]["previous_session_id"], first["id"]);
}

#[tokio::test]
async fn two_people_and_two_numbers_never_share_a_session() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let other = "+14155550198";
    app.simulator.add_number(crate::harness::ACCOUNT_SID, other);
    let agent = app.sessions().await;
    assert!(agent.is_empty());
    let agent_id = app.ok(Method::GET, "/v1/agents", None).await["items"][0]["id"].clone();
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": other, "agent_id": agent_id}))).await;

    app.text(ADA, "a").await;
    app.text("+14155550102", "b").await;
    app.simulator.say(ADA, other, "c").await;
    app.run_jobs().await;
    assert_eq!(app.sessions().await.len(), 3);
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: a"]);
    assert_eq!(app.simulator.received(ADA, other), ["1: c"], "an answer leaves from the number that was texted");
}

#[tokio::test]
async fn attaching_a_number_sets_its_webhooks_by_itself() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let number = app.simulator.number(NUMBER).expect("a number");
    let base = format!("http://{}/webhooks/twilio/{}", app.api, app.webhook_key);
    let bare = |url: &str| url.split('#').next().unwrap_or_default().to_owned();
    assert_eq!(bare(&number.sms_url), format!("{base}/messages"));
    assert_eq!(bare(&number.sms_fallback_url), format!("{base}/fallback"));
    assert_eq!(bare(&number.status_callback), format!("{base}/status"));
    assert!(number.sms_url.contains("#rc=3&rp=ct,rt,5xx"), "the carrier tries again: {}", number.sms_url);
    assert_eq!(number.sms_method, "POST");
    let listed = app.ok(Method::GET, "/v1/numbers", None).await;
    assert!(listed["items"][0]["webhook_set_at"].is_string());
}
