//! Tests what is taken out of the texts of agents: thoughts, markdown, links and phone numbers.

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::harness::{ADA, NUMBER, TestApp, bodies};
use crate::http_agents::{app_with, says, service};
use crate::llm_agents::{Model, app_with as model_app, calls, says as model_says};
use crate::metrics;

/// Answers each text with what stands for it.
fn answers(answers: &[(&str, &str)]) -> String {
    let answers = Value::from(
        answers.iter().map(|(text, answer)| ((*text).into(), json!(answer))).collect::<serde_json::Map<_, _>>(),
    );
    format!("ANSWERS = {answers}\ndef reply(conv, text): return ANSWERS.get(text, text)")
}

/// What the contact gets for a text.
async fn answer(app: &TestApp, text: &str) -> Vec<String> {
    let before = app.simulator.received(ADA, NUMBER).len();
    app.answers(ADA, text).await.split_off(before)
}

const MARKDOWN: &str =
    "## Hours\n\n* **Mon–Fri** 9–17\n* Sat `9-12`\n\nSee [our page](https://acme.com/hours). 2*3*4 :-)";

#[tokio::test]
async fn markdown_becomes_plain_text_if_the_agent_wants_it() {
    let script = answers(&[("hours", MARKDOWN)]);
    let app = TestApp::with_agent(&script, json!({"first_message": "process", "markdown": "plain"})).await;
    let plain = "Hours\n\n- Mon–Fri 9–17\n- Sat 9-12\n\nSee our page (https://acme.com/hours). 2*3*4 :-)";
    assert_eq!(answer(&app, "hours").await, [plain]);
    assert_eq!(answer(&app, "*").await, ["*"], "what is no markdown stays");
    let session = app.sessions().await.remove(0);
    assert_eq!(bodies(&app.messages(&session).await, "outbound"), [plain, "*"], "it is stored as it was sent");

    let app = TestApp::with_agent(&script, json!({"first_message": "process"})).await;
    assert_eq!(answer(&app, "hours").await, [MARKDOWN], "the author of a script writes its texts");
}

#[tokio::test]
async fn a_greeting_and_a_service_are_filtered_and_what_the_project_says_is_not() {
    let app = TestApp::with_agent(
        "def reply(conv, text):\n    if text != \"\": fail(\"no\")\n    return text",
        json!({"greeting": "**Welcome**", "markdown": "plain", "error_message": "*Sorry*"}),
    )
    .await;
    assert_eq!(answer(&app, "hi").await, ["Welcome"]);
    app.ok(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "**Ready**", "on_active_session": "join"})))
        .await;
    app.text(ADA, "boom").await;
    for _ in 0..3 {
        app.sql("update turn set due_at = now()").await;
        app.run_jobs().await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Welcome", "**Ready**", "*Sorry*"]);

    let service = service(vec![says("__Open__ until `5`")]).await;
    let (app, _) = app_with(&service, json!({"markdown": "plain"})).await;
    assert_eq!(answer(&app, "hi").await, ["Open until 5"]);
}

#[tokio::test]
async fn thoughts_are_never_sent() {
    let script = answers(&[
        ("a", "<think>They want pizza.\n</think>\n\nWe have pizza."),
        ("b", "They want pasta.</think>We have none."),
        ("c", "<THINK>They want"),
    ]);
    let app = TestApp::with_agent(&script, json!({"first_message": "process"})).await;
    assert_eq!(answer(&app, "a").await, ["We have pizza."]);
    assert_eq!(answer(&app, "b").await, ["We have none."]);
    assert!(answer(&app, "c").await.is_empty(), "nothing is left, so nothing is sent");
    // A greeting of which nothing is left is none, so the text is answered.
    let greets = format!("{script}\ndef start(conv): return \"<think>hello\"");
    let app = TestApp::with_agent(&greets, json!({})).await;
    assert_eq!(answer(&app, "a").await, ["We have pizza."]);
}

#[tokio::test]
async fn a_long_answer_is_filtered_too() {
    let texts: Vec<String> = (0..50).map(|n| format!("**{n}** {}", "x".repeat(1000))).collect();
    let service = service(vec![ResponseTemplate::new(200).set_body_json(json!({"messages": texts}))]).await;
    let (app, _) = app_with(&service, json!({"markdown": "plain", "max_messages_per_turn": 2})).await;
    let received = answer(&app, "hi").await;
    assert_eq!(received.iter().map(|text| text.get(..3)).collect::<Vec<_>>(), [Some("0 x"), Some("1 x")]);
}

#[tokio::test]
async fn only_links_and_numbers_that_are_allowed_or_were_seen_are_sent() {
    let script = answers(&[
        ("menu", "See https://acme.com/menu, www.acme.com/x or (https://evil.example/menu)."),
        ("call", "Call +1 415 555 0123, 555-0177 or us at (415) 555-0199, until 2026-03-04 10:30."),
        ("again", "It is https://bit.ly/abc and not https://bit.ly/abd"),
        ("mine", "Yours is +14155550101."),
    ]);
    let settings = json!({"greeting": "Ask at https://start.example/faq", "links": "listed",
                          "allowed_link_hosts": ["ACME.com"], "allowed_phone_numbers": ["+14155550123"]});
    let app = TestApp::with_agent(&script, settings).await;
    let removed = |what: &str| metrics::value(&format!("textback_reply_removals_total{{what=\"{what}\"}}"));
    let (links, numbers) = (removed("link"), removed("phone_number"));

    assert_eq!(answer(&app, "is https://bit.ly/abc yours?").await, ["Ask at https://start.example/faq"]);
    assert_eq!(answer(&app, "menu").await, ["See https://acme.com/menu, www.acme.com/x or."]);
    let call = "Call +1 415 555 0123, or us at (415) 555-0199, until 2026-03-04 10:30.";
    assert_eq!(answer(&app, "call").await, [call]);
    // It was in the first text of the session, which is in the history now.
    assert_eq!(answer(&app, "again").await, ["It is https://bit.ly/abc and not"]);
    assert_eq!(answer(&app, "mine").await, ["Yours is +14155550101."]);
    assert!(removed("link") >= links + 2.0 && removed("phone_number") >= numbers + 1.0);

    // What another contact said was not seen.
    app.text("+14155550102", "hi").await;
    app.text("+14155550102", "again").await;
    app.run_jobs().await;
    let other = app.simulator.received("+14155550102", NUMBER);
    assert!(other.iter().all(|text| !text.contains("bit.ly")), "{other:?}");
}

#[tokio::test]
async fn a_version_tells_its_filter_and_a_list_without_an_effect_is_refused() {
    let app = TestApp::new().await;
    let agent = |more: Value| {
        let mut agent = json!({"name": "a", "kind": "script", "source": "def reply(conv, text): return text"});
        agent.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        Some(agent)
    };
    let filter = |agent: &Value| {
        ["markdown", "links", "allowed_link_hosts", "allowed_phone_numbers"].map(|field| agent[field].clone())
    };
    let made = app.ok(Method::POST, "/v1/agents", agent(json!({}))).await;
    assert_eq!(filter(&made), [json!("keep"), json!("any"), json!([]), json!([])]);
    let more = json!({"name": "b", "markdown": "plain", "links": "listed", "allowed_link_hosts": ["WWW.München.de"],
                      "allowed_phone_numbers": ["+14155550101"]});
    let made = app.ok(Method::POST, "/v1/agents", agent(more)).await;
    let expected = [json!("plain"), json!("listed"), json!(["xn--mnchen-3ya.de"]), json!(["+14155550101"])];
    assert_eq!(filter(&made), expected);
    let path = format!("/v1/agents/{}/versions/1", made["id"].as_str().expect("an id"));
    assert_eq!(filter(&app.ok(Method::GET, &path, None).await), expected);

    for (more, code) in [
        (json!({"allowed_link_hosts": ["acme.com"]}), "links_not_listed"),
        (json!({"links": "any", "allowed_phone_numbers": ["+14155550101"]}), "links_not_listed"),
        (json!({"links": "listed", "allowed_link_hosts": ["https://acme.com"]}), "link_host_invalid"),
        (json!({"links": "listed", "allowed_phone_numbers": ["415 555 0101"]}), "number_not_e164"),
    ] {
        assert_eq!(app.refused(Method::POST, "/v1/agents", agent(more)).await, (422, code.to_owned()));
    }
}

#[tokio::test]
async fn what_the_prompt_and_the_tools_told_a_model_may_be_sent() {
    let tools = r#"
def find(conv, what: str):
    """Finds a page."""
    return {"page": "https://acme.com/orders/7", "phone": "+14155550188"}
def leave(conv):
    """Says goodbye."""
    return {"utterance": "Bye: https://acme.com/bye", "hangup": True}
"#;
    let said = "See https://acme.com/orders/7, https://acme.com/orders/8, https://made.up/7 and https://acme.com/hours, or call +1 415 555 0188 or +1 415 555 0177.";
    let model = Model::with(vec![
        calls(&[("find", json!({"what": "order"}))]),
        model_says(said),
        calls(&[("leave", json!({}))]),
    ])
    .await;
    let llm = json!({"prompt": "Our hours: https://acme.com/hours", "tools": ["find", "leave"]});
    let app = model_app(&model, llm, json!({"source": tools, "links": "listed"})).await;
    let sent = answer(&app, "where is my order?").await.remove(0);
    for kept in ["https://acme.com/orders/7", "https://acme.com/hours", "+1 415 555 0188"] {
        assert!(sent.contains(kept), "{kept}: {sent}");
    }
    for removed in ["orders/8", "made.up", "0177"] {
        assert!(!sent.contains(removed), "{removed}: {sent}");
    }
    assert_eq!(answer(&app, "bye").await, ["Bye: https://acme.com/bye"], "a tool's own words are its author's");
}
