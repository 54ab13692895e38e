//! Tests that no character that people see is cut in two, that nothing invisible is sent, and what
//! smart encoding applies to.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADA, ECHO, NUMBER, TestApp};

const FAMILY: &str = "👨\u{200d}👩\u{200d}👧\u{200d}👦";

#[tokio::test]
async fn a_family_a_flag_and_an_accent_stay_whole_in_long_answers() {
    for cluster in [FAMILY, "🇩🇪", "👍🏽", "e\u{301}", "1\u{fe0f}\u{20e3}", "🏴\u{e0067}\u{e0062}\u{e007f}", "क\u{94d}ष"]
    {
        let source = format!("def reply(conv, text): return \"x\" + \"{cluster}\" * 1000");
        let app = TestApp::with_agent(&source, json!({"first_message": "process"})).await;
        let received = app.answers(ADA, "hi").await;
        let whole = format!("x{}", cluster.repeat(1000));
        assert!(received.len() > 1 && whole.starts_with(&received.concat()), "{cluster}");
        for (n, part) in received.iter().enumerate() {
            let clusters = if n == 0 { part.strip_prefix('x').expect("the first") } else { part };
            assert!(clusters.len() % cluster.len() == 0 && part.encode_utf16().count() <= 1600, "{cluster}: part {n}");
        }
        let app = TestApp::with_agent(&source, json!({"first_message": "process", "max_segments": 1})).await;
        let received = app.answers(ADA, "hi").await;
        let kept = received[0].strip_prefix('x').and_then(|rest| rest.strip_suffix("...")).expect("it is cut");
        assert!(received.len() == 1 && kept.len() % cluster.len() == 0, "{received:?}");
    }
}

#[tokio::test]
async fn nothing_invisible_is_sent() {
    for blank in ["\u{200b}", "\u{2800}", "\u{fe0f}", "\u{3164}", "\u{ad}", "\u{e0067}", " \n"] {
        let source = format!(
            "def start(conv): conv.state.greet_message = \"{blank}\"\ndef reply(conv, text):\n    conv.say(\"{blank}\")\n    return \"{blank}\""
        )
        .replace("\"\n\"", "\"\\n\"")
        .replace(" \n\"", " \\n\"");
        let app = TestApp::with_agent(&source, json!({})).await;
        assert!(app.answers(ADA, "hi").await.is_empty(), "{blank:?}");
        let send = json!({"to": ADA, "body": blank});
        assert_eq!(app.refused(Method::POST, "/v1/messages", Some(send)).await, (422, "body_empty".to_owned()));
        let saved = |path: &'static str, method: Method, body: Value| {
            let app = &app;
            async move { app.refused(method, path, Some(body)).await }
        };
        let agent = |field: &str, value: Value| {
            let mut agent = json!({"name": "x", "kind": "script", "source": ECHO});
            agent[field] = value;
            agent
        };
        let is_blank = (422, "text_is_blank".to_owned());
        for (method, path, body) in [
            (Method::POST, "/v1/agents", agent("name", json!(blank))),
            (Method::POST, "/v1/agents", agent("greeting", json!(blank))),
            (Method::POST, "/v1/agents", agent("error_message", json!(blank))),
            (Method::POST, "/v1/agents", agent("inactivity", json!({"warning": blank}))),
            (Method::POST, "/v1/agents", agent("inactivity", json!({"closing": blank}))),
            (Method::PATCH, "/v1/project", json!({"name": blank})),
            (Method::PATCH, "/v1/project", json!({"help_message": blank})),
            (Method::PUT, "/v1/templates/blank", json!({"body": blank})),
        ] {
            assert_eq!(saved(path, method, body.clone()).await, is_blank, "{path} {body}");
        }
        app.ok(Method::PUT, "/v1/templates/name", Some(json!({"body": "{{ name }}"}))).await;
        let filled = json!({"to": ADA, "template": "name", "variables": {"name": blank}});
        assert_eq!(app.refused(Method::POST, "/v1/messages", Some(filled)).await.1, "template_not_filled", "{blank:?}");
    }
}

#[tokio::test]
async fn smart_encoding_applies_to_every_message_that_leaves() {
    let agent = "
def start(conv):
    return \"“Welcome”\"

def reply(conv, text):
    if text == \"fail\":
        fail(\"no\")
    conv.send_sms(conv.caller_number, None, \"½ price…\")
    conv.send_sms_template(conv.caller_number, \"dash\", {\"name\": \"Ada\"})
    conv.say(\"a\\u200cb\")
    return \"ｆｕｌｌ – width\"
";
    let settings = json!({"first_message": "greet_then_process", "smart_encoding": true, "error_message": "Sorry…",
        "inactivity": {"warn_after_seconds": 60, "grace_seconds": 60, "warning": "Still there…?", "closing": "“Bye”"}});
    let app = TestApp::with_agent(agent, settings).await;
    app.ok(Method::PUT, "/v1/templates/dash", Some(json!({"body": "Hi – {{ name }}"}))).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"help_message": "Acme – ask"}))).await;
    app.answers(ADA, "hi").await;
    app.answers(ADA, "HELP").await;
    app.text(ADA, "fail").await;
    for _ in 0..3 {
        app.run_jobs().await;
        app.sql("update turn set due_at = now()").await;
    }
    app.run_jobs().await;
    let now = json!({"to": ADA, "body": "“Now”", "on_active_session": "join"});
    app.ok(Method::POST, "/v1/messages", Some(now)).await;
    let soon = (chrono::Utc::now() + chrono::Duration::days(1)).to_rfc3339();
    let later = json!({"to": ADA, "body": "“Later”", "on_active_session": "join", "send_at": soon});
    app.ok(Method::POST, "/v1/messages", Some(later)).await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    app.pass(60).await;
    app.pass(60).await;
    let mut received = app.simulator.received(ADA, NUMBER);
    received.sort();
    let mut expected = [
        "\"Welcome\"",
        "ab",
        "full - width",
        "1/2 price...",
        "Hi - Ada",
        "Acme - ask",
        "Sorry...",
        "\"Now\"",
        "\"Later\"",
        "Still there...?",
        "\"Bye\"",
    ];
    expected.sort_unstable();
    assert_eq!(received, expected);
    assert_eq!(app.count("select count(*) from message where direction = 'outbound' and encoding <> 'gsm7'").await, 0);
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    assert_eq!(agents["items"][0]["inactivity"]["warning"], "Still there…?", "settings are kept as they were given");
}
