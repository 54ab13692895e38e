//! Agents that fail, and the people who should not notice much of it.

use reqwest::Method;
use serde_json::json;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::turn;

use crate::harness::{ADA, ECHO, NUMBER, World};

const FAILS_ON_BOOM: &str = "
def reply(conv, text):
    if text == \"boom\":
        fail(\"as asked\")
    return \"fine: \" + text
";

/// Lets the turns that were put off be due now.
async fn no_waiting(world: &World) {
    world.sql("update turn set due_at = now()").await;
    world.settle().await;
}

#[tokio::test]
async fn a_failing_agent_is_tried_again_then_apologises_and_the_session_goes_on() {
    let world = World::with_agent(FAILS_ON_BOOM, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    world.text(ADA, "boom").await;
    world.settle().await;
    assert!(world.simulator.received(ADA, NUMBER).is_empty(), "it is put off first");
    assert_eq!(world.count("select attempts::bigint from turn where last_error like '%as asked%'").await, 1);
    no_waiting(&world).await;
    no_waiting(&world).await;
    assert_eq!(world.simulator.received(ADA, NUMBER), ["Sorry!"]);
    assert_eq!(world.answers(ADA, "hi").await, ["Sorry!", "fine: hi"]);
}

#[tokio::test]
async fn without_an_error_message_the_text_is_skipped_with_a_reason() {
    let world = World::with_agent(FAILS_ON_BOOM, json!({"first_message": "process"})).await;
    world.text(ADA, "boom").await;
    for _ in 0..3 {
        no_waiting(&world).await;
    }
    assert!(world.simulator.received(ADA, NUMBER).is_empty());
    let session = world.sessions().await.remove(0);
    let messages = world.messages(&session).await;
    assert_eq!((&messages[0]["status"], &messages[0]["reason"]), (&json!("skipped"), &json!("agent_failed")));
    assert_eq!(world.answers(ADA, "hi").await, ["fine: hi"]);
}

#[tokio::test]
async fn an_endless_script_is_ended_and_holds_up_nobody() {
    let script = "
def reply(conv, text):
    if text == \"loop\":
        for i in range(1000000000):
            pass
    return \"fine\"
";
    let world = World::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    world.text(ADA, "loop").await;
    world.text("+14155550102", "hi").await;
    world.settle().await;
    assert_eq!(world.simulator.received("+14155550102", NUMBER), ["fine"]);
    for _ in 0..2 {
        no_waiting(&world).await;
    }
    assert_eq!(world.simulator.received(ADA, NUMBER), ["Sorry!"]);
}

#[tokio::test]
async fn a_text_that_takes_its_worker_with_it_is_set_aside() {
    let world = World::with_agent(ECHO, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    world.text(ADA, "poison").await;
    for attempt in 1..=8 {
        let claims = turn::claim(&world.storage, ClaimLimits::of(10), 30).await.expect("claims");
        assert_eq!(claims[0].attempt, attempt, "counted before the agent runs");
        world.sql("update turn set leased_until = now() - interval '1 second'").await;
    }
    world.settle().await;
    assert_eq!(world.simulator.received(ADA, NUMBER), ["Sorry!"]);
    assert_eq!(world.count("select count(*) from turn").await, 0);
}

#[tokio::test]
async fn workers_that_die_for_other_reasons_do_not_cost_the_text_its_answer() {
    let world = World::with_agent(ECHO, json!({"first_message": "process"})).await;
    world.text(ADA, "hi").await;
    for _ in 0..5 {
        assert_eq!(turn::claim(&world.storage, ClaimLimits::of(10), 30).await.expect("claims").len(), 1);
        world.sql("update turn set leased_until = now() - interval '1 second'").await;
    }
    world.settle().await;
    assert_eq!(world.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn claims_given_back_do_not_count_as_attempts() {
    let world = World::with_agent(ECHO, json!({"first_message": "process"})).await;
    world.text(ADA, "hi").await;
    for _ in 0..5 {
        let claims = turn::claim(&world.storage, ClaimLimits::of(10), 30).await.expect("claims");
        turn::give_back(&mut *crate::harness::pooled(&world.storage).await, &claims).await.expect("given back");
    }
    world.settle().await;
    assert_eq!(world.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn a_session_keeps_the_version_it_started_with() {
    let world = World::new().await;
    let agent_id = world.attach("def reply(conv, text): return \"one\"", json!({"first_message": "process"})).await;
    world.answers(ADA, "hi").await;
    let version =
        json!({"kind": "script", "source": "def reply(conv, text): return \"two\"", "first_message": "process"});
    let made = world.ok(Method::POST, &format!("/v1/agents/{agent_id}/versions"), Some(version)).await;
    assert_eq!(made["version"], 2);
    assert_eq!(world.answers(ADA, "hi").await, ["one", "one"]);
    assert_eq!(world.answers("+14155550102", "hi").await, ["two"]);
    let versions = world.ok(Method::GET, &format!("/v1/agents/{agent_id}/versions"), None).await;
    assert_eq!(versions["items"].as_array().map(Vec::len), Some(2));
    // What may be long is told by the one, and never by a list.
    for list in [versions, world.ok(Method::GET, "/v1/agents", None).await] {
        assert!(list["items"][0].get("source").is_none() && list["items"][0]["kind"] == "script", "{list}");
    }
    let of = async |path: String| world.ok(Method::GET, &path, None).await["source"].clone();
    assert_eq!(of(format!("/v1/agents/{agent_id}")).await, "def reply(conv, text): return \"two\"");
    assert_eq!(of(format!("/v1/agents/{agent_id}/versions/1")).await, "def reply(conv, text): return \"one\"");
    let unknown = world.refused(Method::GET, &format!("/v1/agents/{agent_id}/versions/3"), None).await;
    assert_eq!(unknown, (404, "not_found".to_owned()));
}

#[tokio::test]
async fn what_a_script_says_arrives_whatever_it_is() {
    let script = "def reply(conv, text): return \"a\\x00b \\u20ac \" + text";
    let world = World::with_agent(script, json!({"first_message": "process"})).await;
    assert_eq!(
        world.answers(ADA, "🎉 'quoted'; drop table message; --").await,
        ["a\u{fffd}b € 🎉 'quoted'; drop table message; --"]
    );
}

#[tokio::test]
async fn a_version_can_never_be_rewritten() {
    let world = World::with_agent(ECHO, json!({})).await;
    let refused = sqlx::query("update agent_version set greeting = 'x'").execute(world.storage.pool()).await;
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
    let world = World::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    for (phone, text) in [(ADA, "deep"), ("+14155550102", "hungry"), ("+14155550103", "hi")] {
        world.text(phone, text).await;
    }
    world.settle().await;
    assert_eq!(world.simulator.received("+14155550103", NUMBER), ["fine"]);
    for _ in 0..2 {
        no_waiting(&world).await;
    }
    for phone in [ADA, "+14155550102"] {
        assert_eq!(world.simulator.received(phone, NUMBER), ["Sorry!"], "{phone}");
    }
}

/// Quick runs go to a runner together; one of them that takes it down must not take the others' answers along.
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
    let world = World::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    let phones: Vec<String> = (0..60).map(|n| format!("+141555502{n:02}")).collect();
    // Before and after: by then it is known that the script is quick.
    for round in ["hi", "again"] {
        futures::future::join_all(phones.iter().map(|phone| world.text(phone, round))).await;
        world.settle().await;
    }
    let texts =
        phones.iter().enumerate().map(|(n, phone)| world.text(phone, if n == 7 { "hungry" } else { "and again" }));
    futures::future::join_all(texts).await;
    world.settle().await;
    for (n, phone) in phones.iter().enumerate().filter(|(n, _)| *n != 7) {
        assert_eq!(world.simulator.received(phone, NUMBER), ["fine"; 3], "{n} {phone}");
    }
    for _ in 0..3 {
        no_waiting(&world).await;
    }
    assert_eq!(world.simulator.received(&phones[7], NUMBER), ["fine", "fine", "Sorry!"]);
}

#[tokio::test]
async fn a_state_that_grows_without_end_is_refused_and_the_old_one_stays() {
    let script = "
def reply(conv, text):
    conv.state.kept = text if text != \"grow\" else \"x\" * 1000000
    return conv.state.kept[:10]
";
    let world = World::with_agent(script, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    world.answers(ADA, "small").await;
    world.text(ADA, "grow").await;
    for _ in 0..3 {
        no_waiting(&world).await;
    }
    assert_eq!(world.simulator.received(ADA, NUMBER), ["small", "Sorry!"]);
    assert_eq!(world.state(&world.sessions().await[0]).await, json!({"kept": "small"}));
}
