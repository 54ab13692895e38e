//! Tests sessions under load: many messages at once, messages during a turn, and ends from both
//! sides.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::json;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::turn;

use crate::harness::{ADA, ECHO, NUMBER, TestApp, bodies};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_parallel_first_texts_make_one_session_with_a_hundred_messages() {
    let app = TestApp::with_agent(
        "def reply(conv, text): return str(len(conv.messages))",
        json!({"first_message": "process"}),
    )
    .await;
    app.without_rate_limits().await;
    let texts = (0..100).map(|n| {
        let simulator = app.simulator.clone();
        async move { simulator.say(ADA, NUMBER, &format!("text {n}")).await }
    });
    for texted in futures::future::join_all(texts).await {
        assert_eq!(texted.webhook_status, Some(200));
    }
    let sessions = app.sessions().await;
    assert_eq!(sessions.len(), 1);
    let messages = app.messages(&sessions[0]).await;
    let distinct: HashSet<String> = bodies(&messages, "inbound").into_iter().collect();
    assert_eq!(distinct.len(), 100);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["100"], "one turn answers them all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_posts_of_one_message_are_one_message_with_one_answer() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let sid = "SM00000000000000000000000000000001";
    let form = format!(
        "AccountSid={}&MessageSid={sid}&From=%2B14155550101&To=%2B14155550199&Body=hi",
        crate::harness::ACCOUNT_SID
    );
    let posts = (0..50).map(|_| app.post("messages", &form, crate::harness::AUTH_TOKEN));
    for answer in futures::future::join_all(posts).await {
        assert_eq!(answer.status(), 200);
    }
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
    app.post("fallback", &form, crate::harness::AUTH_TOKEN).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"], "the fallback brings the same text");
}

#[tokio::test]
async fn a_message_that_is_posted_again_a_day_later_is_still_the_same_one() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let form = format!(
        "AccountSid={}&MessageSid=SM00000000000000000000000000000002&From=%2B14155550101&To=%2B14155550199&Body=hi",
        crate::harness::ACCOUNT_SID
    );
    app.post("messages", &form, crate::harness::AUTH_TOKEN).await;
    app.run_jobs().await;
    let session = app.sessions().await.remove(0);
    app.ok(Method::POST, &format!("/v1/sessions/{}/end", session["id"].as_str().expect("an id")), None).await;
    app.sql("update message set created_at = created_at - interval '1 day'").await;
    app.sql("update session set last_message_at = last_message_at - interval '1 day', closed_at = closed_at - interval '1 day'").await;
    assert_eq!(app.post("messages", &form, crate::harness::AUTH_TOKEN).await.status(), 200);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
    assert_eq!(app.sessions().await.len(), 1, "no session was opened for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_people_at_once_get_a_session_and_an_answer_each() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let phones: Vec<String> = (0..60).map(|n| format!("+1415555{n:04}")).collect();
    for round in ["one", "two"] {
        futures::future::join_all(phones.iter().map(|phone| app.text(phone, round))).await;
        app.run_jobs().await;
    }
    for phone in &phones {
        assert_eq!(app.simulator.received(phone, NUMBER), ["1: one", "2: two"]);
    }
    assert_eq!(app.count("select count(*) from session").await, 60);
    assert_eq!(app.count("select count(*) from turn").await, 0);
}

#[tokio::test]
async fn a_text_that_comes_while_the_agent_thinks_gets_a_turn_of_its_own() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "one").await;
    let claims = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    assert_eq!(claims.len(), 1);
    app.text(ADA, "two").await;
    assert!(
        turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").is_empty(),
        "one turn of a session at a time"
    );

    let settlement = turn::Settlement::of(&claims[0], crate::harness::TEXTS)
        .say(textback::domain::message::MessageKind::Reply, crate::harness::TEXTS.outbound("to one".to_owned(), false));
    let settled = turn::settle(&app.storage, settlement).await.expect("settled");
    assert_eq!(settled, turn::Settled::Written { planned: 1, more_work: true, first_delivery: None });
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["to one", "1: two"]);
}

/// The agent answers while its lease is being renewed: the renewal moves the turn's row under the
/// settling.
#[tokio::test]
async fn a_turn_that_settles_while_its_lease_is_renewed_is_over() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "one").await;
    let claim = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    let mut renewing = app.storage.pool().begin().await.expect("a transaction");
    sqlx::query("update turn set leased_until = leased_until + interval '1 minute'")
        .execute(&mut *renewing)
        .await
        .expect("renewed");
    let settling = tokio::spawn({
        let storage = app.storage.clone();
        let settlement = turn::Settlement::of(&claim, crate::harness::TEXTS).say(
            textback::domain::message::MessageKind::Reply,
            crate::harness::TEXTS.outbound("to one".to_owned(), false),
        );
        async move { turn::settle(&storage, settlement).await }
    });
    app.until_one_waits().await;
    renewing.commit().await.expect("committed");
    let settled = settling.await.expect("no panic").expect("settled");
    assert_eq!(settled, turn::Settled::Written { planned: 1, more_work: false, first_delivery: None });
    assert_eq!(app.count("select count(*) from turn").await, 0);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["to one"]);
}

/// An index is built on the table of deliveries, for as long as it takes.
#[tokio::test]
async fn a_turn_that_can_not_be_settled_is_kept_until_it_can() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "one").await;
    let mut building = app.storage.pool().begin().await.expect("a transaction");
    sqlx::query("lock table delivery in share mode").execute(&mut *building).await.expect("locked");
    let answering = tokio::spawn({
        let turns = app.workers.turns.clone();
        async move { turns.step().await }
    });
    for _ in 0..2 {
        app.until_one_waits().await;
        app.until_none_waits().await;
    }
    app.until_one_waits().await;
    assert_eq!(app.count("select attempts::bigint from turn").await, 1, "it is nobody's fault");
    building.commit().await.expect("committed");
    assert_eq!(answering.await.expect("no panic").expect("turns"), 1);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: one"]);
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_writes_nothing() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "one").await;
    let zombie = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    app.sql("update turn set leased_until = now() - interval '1 second'").await;
    let holder = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    assert!(!turn::renew(&mut *crate::harness::pooled(&app.storage).await, &zombie, 30).await.expect("an answer"));
    let settled = async |claim: &turn::Claim, text: &str| {
        let settlement = turn::Settlement::of(claim, crate::harness::TEXTS)
            .say(textback::domain::message::MessageKind::Reply, crate::harness::TEXTS.outbound(text.to_owned(), false));
        turn::settle(&app.storage, settlement).await.expect("an answer")
    };
    assert_eq!(settled(&zombie, "too late").await, turn::Settled::Stale, "somebody else holds it");
    assert!(matches!(settled(&holder, "in time").await, turn::Settled::Written { planned: 1, .. }));
    assert_eq!(settled(&zombie, "far too late").await, turn::Settled::Stale, "it is settled");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["in time"]);
}

#[tokio::test]
async fn the_agent_can_end_a_session_after_its_last_words() {
    let script = "def reply(conv, text): return {\"utterance\": \"bye\", \"hangup\": True}";
    let app = TestApp::with_agent(script, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["bye"]);
    let session = app.sessions().await.remove(0);
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("agent_ended")));
}

#[tokio::test]
async fn a_text_that_crosses_the_agents_goodbye_opens_the_next_session() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "one").await;
    let claim = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    app.text(ADA, "wait").await;
    let goodbye = turn::Settlement::of(&claim, crate::harness::TEXTS)
        .say(textback::domain::message::MessageKind::Reply, crate::harness::TEXTS.outbound("bye".to_owned(), false))
        .close(textback::domain::session::CloseReason::AgentEnded);
    turn::settle(&app.storage, goodbye).await.expect("settled");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["bye", "1: wait"]);
    let sessions = app.sessions().await;
    assert_eq!((&sessions[0]["status"], &sessions[1]["status"]), (&json!("open"), &json!("closed")));
    assert_eq!(sessions[0]["previous_session_id"], sessions[1]["id"]);
    assert_eq!(bodies(&app.messages(&sessions[0]).await, "inbound"), ["wait"]);
}

#[tokio::test]
async fn ending_a_session_skips_what_nobody_answered_and_stops_its_turn() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "one").await;
    let running = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    let session = app.sessions().await.remove(0);
    let end = format!("/v1/sessions/{}/end", session["id"].as_str().expect("id"));
    app.ok(Method::POST, &end, None).await;
    let again = app.ok(Method::POST, &end, None).await;
    assert_eq!(again["status"], "closed", "ending twice is ending once");

    let late = turn::Settlement::of(&running, crate::harness::TEXTS).say(
        textback::domain::message::MessageKind::Reply,
        crate::harness::TEXTS.outbound("too late".to_owned(), false),
    );
    assert_eq!(turn::settle(&app.storage, late).await.expect("an answer"), turn::Settled::Stale);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), Vec::<String>::new());
    let messages = app.messages(&session).await;
    assert_eq!((&messages[0]["status"], &messages[0]["reason"]), (&json!("skipped"), &json!("session_ended")));
}

#[tokio::test]
async fn a_debounced_agent_waits_for_more() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process", "debounce_seconds": 5})).await;
    app.text(ADA, "one").await;
    app.text(ADA, "two").await;
    app.run_jobs().await;
    assert!(app.simulator.received(ADA, NUMBER).is_empty());
    app.sql("update turn set due_at = due_at - interval '5 seconds'").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: one\ntwo"]);
}

#[tokio::test]
async fn what_is_recorded_of_a_silent_turn_moves_and_goes_with_its_session() {
    let app =
        TestApp::with_agent("def reply(conv, text):\n    return None\n", json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, Vec::<String>::new());
    let old = "select count(*) from turn_without_message where created_at < now() - interval '50 seconds' and finished_at < now() - interval '50 seconds'";
    assert_eq!((app.count("select count(*) from turn_without_message").await, app.count(old).await), (1, 0));
    app.sql("select advance_session_clock(project_id, id, 60) from session").await;
    assert_eq!(app.count(old).await, 1);
    for gone in ["inactivity", "message", "session"] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("delete from {gone}")))
            .execute(app.storage.pool())
            .await
            .expect(gone);
    }
    assert_eq!(app.count("select count(*) from turn_without_message").await, 0);
}
