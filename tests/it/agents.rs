//! Tests agents that fail, and what their contacts notice.

use reqwest::Method;
use serde_json::{Value, json};
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::turn;

use crate::harness::{ADA, ECHO, NUMBER, TestApp};

const FAILS_ON_BOOM: &str = "
def reply(conv, text):
    if text == \"boom\":
        fail(\"as asked\")
    return \"fine: \" + text
";

/// Lets the turns that were put off be due now.
async fn no_waiting(app: &TestApp) {
    app.sql("update turn set due_at = now()").await;
    app.run_jobs().await;
}

#[tokio::test]
async fn a_failing_agent_is_tried_again_then_apologises_and_the_session_goes_on() {
    let app = TestApp::with_agent(FAILS_ON_BOOM, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    app.text(ADA, "boom").await;
    app.run_jobs().await;
    assert!(app.simulator.received(ADA, NUMBER).is_empty(), "it is put off first");
    assert_eq!(app.count("select attempts::bigint from turn where last_error like '%as asked%'").await, 1);
    no_waiting(&app).await;
    no_waiting(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Sorry!"]);
    assert_eq!(app.answers(ADA, "hi").await, ["Sorry!", "fine: hi"]);
}

#[tokio::test]
async fn the_last_error_of_an_agent_stands_in_the_api_without_what_the_contact_said() {
    let agent = "
def reply(conv, text):
    if text != \"hi\":
        fail(\"no order \" + repr(text) + \" of \" + conv.caller_number)
    return \"fine\"
";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    let path = format!(
        "/v1/agents/{}",
        app.ok(Method::GET, "/v1/agents", None).await["items"][0]["id"].as_str().expect("an id")
    );
    app.answers(ADA, "hi").await;
    assert!(app.ok(Method::GET, &path, None).await.get("last_error").is_none());
    app.text(ADA, "my secret").await;
    app.run_jobs().await;
    let error = app.ok(Method::GET, &path, None).await["last_error"].clone();
    assert_eq!((&error["code"], &error["version"]), (&json!("failed"), &json!(1)));
    assert_eq!(error["session_id"], app.sessions().await[0]["id"]);
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("line 4, column 9: fail: …"), "{message}");
    assert!(error["at"].is_string());
    let listed = app.ok(Method::GET, "/v1/agents", None).await;
    assert_eq!(listed["items"][0]["last_error"], error);

    // It stays when the agent works again.
    no_waiting(&app).await;
    no_waiting(&app).await;
    app.answers(ADA, "hi").await;
    let later = app.ok(Method::GET, &path, None).await["last_error"].clone();
    assert_eq!(later["code"], "failed");
}

#[tokio::test]
async fn an_error_message_is_cut_and_split_as_an_answer_is() {
    let messages = |settings: Value| async move {
        let mut settings = settings;
        settings["first_message"] = json!("process");
        let app = TestApp::with_agent(FAILS_ON_BOOM, settings).await;
        app.text(ADA, "boom").await;
        for _ in 0..3 {
            no_waiting(&app).await;
        }
        app.simulator.received(ADA, NUMBER)
    };
    // 1600 characters that need 2400 units of UCS-2.
    let long = "😀 ".repeat(800);
    let parts = messages(json!({"error_message": long})).await;
    assert!(parts.len() == 2 && parts.join(" ").trim_end() == long.trim_end(), "{parts:?}");
    let cut = messages(json!({"error_message": "sorry ".repeat(200), "max_segments": 1})).await;
    assert!(cut.len() == 1 && cut[0].len() <= 160, "{cut:?}");
    let plain = messages(json!({"error_message": "“Sorry”", "smart_encoding": true})).await;
    assert_eq!(plain, ["\"Sorry\""]);
}

#[tokio::test]
async fn an_agent_that_fails_leaves_nobody_without_an_answer() {
    let app = TestApp::new().await;
    for (said, error_message, expected) in [
        ("nothing", None, Some("Sorry, something went wrong on our side. Please try again in a few minutes.")),
        (
            "null",
            Some(json!(null)),
            Some("Sorry, something went wrong on our side. Please try again in a few minutes."),
        ),
        ("a text", Some(json!("Oh no")), Some("Oh no")),
        ("an empty text", Some(json!("")), None),
    ] {
        let mut agent = json!({"name": said, "kind": "script", "source": FAILS_ON_BOOM, "first_message": "process"});
        if let Some(error_message) = error_message {
            agent["error_message"] = error_message;
        }
        let made = app.ok(Method::POST, "/v1/agents", Some(agent)).await;
        assert_eq!(made["error_message"], expected.unwrap_or_default(), "{said}");
        app.ok(Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": made["id"]}))).await;
        let phone = format!("+1415555012{}", said.len() % 10);
        app.text(&phone, "boom").await;
        for _ in 0..3 {
            no_waiting(&app).await;
        }
        assert_eq!(app.simulator.received(&phone, NUMBER), expected.into_iter().collect::<Vec<_>>(), "{said}");
    }
}

#[tokio::test]
async fn without_an_error_message_the_text_is_skipped_with_a_reason() {
    let app = TestApp::with_agent(FAILS_ON_BOOM, json!({"first_message": "process"})).await;
    app.text(ADA, "boom").await;
    for _ in 0..3 {
        no_waiting(&app).await;
    }
    assert!(app.simulator.received(ADA, NUMBER).is_empty());
    let session = app.sessions().await.remove(0);
    let messages = app.messages(&session).await;
    assert_eq!((&messages[0]["status"], &messages[0]["reason"]), (&json!("skipped"), &json!("agent_failed")));
    assert_eq!(app.answers(ADA, "hi").await, ["fine: hi"]);
}

#[tokio::test]
async fn an_endless_script_is_ended_and_holds_up_nobody() {
    let script = "
def reply(conv, text):
    if text == \"loop\":
        # Not a constant, which is refused when the script is saved.
        for i in range(len(text) * 250000000):
            pass
    return \"fine\"
";
    let app = TestApp::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    app.text(ADA, "loop").await;
    app.text("+14155550102", "hi").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received("+14155550102", NUMBER), ["fine"]);
    for _ in 0..2 {
        no_waiting(&app).await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Sorry!"]);
}

#[tokio::test]
async fn a_text_that_ends_its_worker_is_set_aside() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    app.text(ADA, "poison").await;
    for attempt in 1..=8 {
        let claims = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
        assert_eq!(claims[0].attempt, attempt, "counted before the agent runs");
        app.sql("update turn set leased_until = now() - interval '1 second'").await;
    }
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Sorry!"]);
    assert_eq!(app.count("select count(*) from turn").await, 0);
}

#[tokio::test]
async fn workers_that_die_for_other_reasons_do_not_cost_the_text_its_answer() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "hi").await;
    for _ in 0..5 {
        assert_eq!(turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").len(), 1);
        app.sql("update turn set leased_until = now() - interval '1 second'").await;
    }
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn released_claims_do_not_count_as_attempts() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "hi").await;
    for _ in 0..5 {
        let claims = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
        turn::give_back(&mut *crate::harness::pooled(&app.storage).await, &claims).await.expect("given back");
    }
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn a_session_keeps_the_version_it_started_with() {
    let app = TestApp::new().await;
    let agent_id = app.attach("def reply(conv, text): return \"one\"", json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    let version =
        json!({"kind": "script", "source": "def reply(conv, text): return \"two\"", "first_message": "process"});
    let made = app.ok(Method::POST, &format!("/v1/agents/{agent_id}/versions"), Some(version)).await;
    assert_eq!(made["version"], 2);
    assert_eq!(app.answers(ADA, "hi").await, ["one", "one"]);
    assert_eq!(app.answers("+14155550102", "hi").await, ["two"]);
    let versions = app.ok(Method::GET, &format!("/v1/agents/{agent_id}/versions"), None).await;
    assert_eq!(versions["items"].as_array().map(Vec::len), Some(2));
    // What may be long is told by the one, and never by a list.
    for list in [versions, app.ok(Method::GET, "/v1/agents", None).await] {
        assert!(list["items"][0].get("source").is_none() && list["items"][0]["kind"] == "script", "{list}");
    }
    let of = async |path: String| app.ok(Method::GET, &path, None).await["source"].clone();
    assert_eq!(of(format!("/v1/agents/{agent_id}")).await, "def reply(conv, text): return \"two\"");
    assert_eq!(of(format!("/v1/agents/{agent_id}/versions/1")).await, "def reply(conv, text): return \"one\"");
    let unknown = app.refused(Method::GET, &format!("/v1/agents/{agent_id}/versions/3"), None).await;
    assert_eq!(unknown, (404, "not_found".to_owned()));
}

#[tokio::test]
async fn what_a_script_says_arrives_whatever_it_is() {
    let script = "def reply(conv, text): return \"a\\x00b \\u20ac \" + text";
    let app = TestApp::with_agent(script, json!({"first_message": "process"})).await;
    assert_eq!(
        app.answers(ADA, "🎉 'quoted'; drop table message; --").await,
        ["a\u{fffd}b € 🎉 'quoted'; drop table message; --"]
    );
}

#[tokio::test]
async fn a_version_can_never_be_rewritten() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let refused = sqlx::query("update agent_version set greeting = 'x'").execute(app.storage.pool()).await;
    assert!(refused.expect_err("refused").to_string().contains("agent versions never change"));
}

#[tokio::test]
async fn a_script_that_takes_its_process_down_takes_nobody_else_with_it() {
    let script = "
def reply(conv, text):
    x = []
    if text == \"deep\":
        for i in range(900000):
            x = [[[[x]]]]
        return str(x)
    if text == \"hungry\":
        for i in range(40):
            x.append((\"a\" + str(i)) * 100000000)
    return \"fine\"
";
    let app = TestApp::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    for (phone, text) in [(ADA, "deep"), ("+14155550102", "hungry"), ("+14155550103", "hi")] {
        app.text(phone, text).await;
    }
    app.run_jobs().await;
    assert_eq!(app.simulator.received("+14155550103", NUMBER), ["fine"]);
    for _ in 0..2 {
        no_waiting(&app).await;
    }
    for phone in [ADA, "+14155550102"] {
        assert_eq!(app.simulator.received(phone, NUMBER), ["Sorry!"], "{phone}");
    }
}

/// Quick runs go to a runner together; one of them that takes it down must not take the others'
/// answers along.
#[tokio::test]
async fn among_many_who_text_at_once_only_the_one_that_breaks_goes_without_an_answer() {
    let script = "
def reply(conv, text):
    x = []
    if text == \"hungry\":
        for i in range(40):
            x.append((\"a\" + str(i)) * 100000000)
    return \"fine\"
";
    let app = TestApp::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    let phones: Vec<String> = (0..60).map(|n| format!("+141555502{n:02}")).collect();
    // Before and after: by then it is known that the script is quick.
    for round in ["hi", "again"] {
        futures::future::join_all(phones.iter().map(|phone| app.text(phone, round))).await;
        app.run_jobs().await;
    }
    let texts =
        phones.iter().enumerate().map(|(n, phone)| app.text(phone, if n == 7 { "hungry" } else { "and again" }));
    futures::future::join_all(texts).await;
    app.run_jobs().await;
    for (n, phone) in phones.iter().enumerate().filter(|(n, _)| *n != 7) {
        assert_eq!(app.simulator.received(phone, NUMBER), ["fine"; 3], "{n} {phone}");
    }
    for _ in 0..3 {
        no_waiting(&app).await;
    }
    assert_eq!(app.simulator.received(&phones[7], NUMBER), ["fine", "fine", "Sorry!"]);
}

#[tokio::test]
async fn a_state_that_grows_without_end_is_refused_and_the_old_one_stays() {
    let script = "
def reply(conv, text):
    conv.state.kept = text if text != \"grow\" else \"x\" * 1000000
    return conv.state.kept[:10]
";
    let app = TestApp::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    app.answers(ADA, "small").await;
    app.text(ADA, "grow").await;
    for _ in 0..3 {
        no_waiting(&app).await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER), ["small", "Sorry!"]);
    assert_eq!(app.state(&app.sessions().await[0]).await, json!({"kept": "small"}));
}
