//! Tests eager dispatch: the turn of an inbound message is claimed in the transaction that stores
//! it, and the delivery of its first reply in the transaction that settles it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use textback::domain::message::MessageKind;
use textback::jobs;
use textback::jobs::ingest::Ingest;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::delivery;
use textback::storage::ingest::{self, InboundMessage, IngestOutcome, Ingested, TurnPermit};
use textback::storage::turn::{self, Claim};
use uuid::Uuid;

use crate::batches::text;
use crate::harness::{ADA, ECHO, NUMBER, TestApp, pooled, soon};
use crate::process_harness::{ExpectedReplies, ProcessHarness};

const BEN: &str = "+14155550102";

async fn message(app: &TestApp, from: &str, body: &str) -> InboundMessage {
    let project_id =
        sqlx::query_scalar("select id from project").fetch_one(app.storage.pool()).await.expect("a project");
    text(project_id, from, &format!("SM{}", Uuid::now_v7().simple()), body, None)
}

/// Stores a message for a process with a free slot for a turn of an agent.
pub async fn store(app: &TestApp, from: &str, body: &str, agent_id: Uuid) -> Ingested {
    let permit = Some(TurnPermit { agent_id, lease_seconds: 30 });
    let text = InboundMessage { permit, ..message(app, from, body).await };
    ingest::store(&app.storage, text).await.expect("stored")
}

async fn claimed(app: &TestApp, from: &str, body: &str, agent_id: Uuid) -> Option<Box<Claim>> {
    store(app, from, body, agent_id).await.claim
}

#[tokio::test]
async fn an_eagerly_dispatched_turn_equals_a_claimed_one() {
    let app = TestApp::new().await;
    let agent_id = app.attach(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    assert_eq!(app.answers(ADA, "two").await, ["1: hi", "2: two"]);

    let with_message = claimed(&app, ADA, "three", agent_id).await.expect("a claim");
    assert!(
        turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").is_empty(),
        "nobody else may have it"
    );
    // As if its worker had died: then the same turn is claimed from its row.
    app.sql("update turn set leased_until = now() - interval '1 second'").await;
    let mut claim = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    assert_eq!((with_message.attempt, claim.attempt), (1, 2), "the attempt counts from the message on");
    assert!(claim.text_since.is_some() && with_message.text_since.is_some(), "both know when the text came");
    (claim.attempt, claim.token, claim.claimed_at) = (1, with_message.token, with_message.claimed_at);
    claim.text_since = with_message.text_since;
    assert_eq!(format!("{with_message:?}"), format!("{claim:?}"));

    let late = turn::Settlement::of(&with_message, crate::harness::TEXTS)
        .say(MessageKind::Reply, crate::harness::TEXTS.outbound("too late", false));
    assert_eq!(turn::settle(&app.storage, late).await.expect("an answer"), turn::Settled::Stale);
}

#[tokio::test]
async fn a_session_whose_turn_runs_gets_no_second_one() {
    let app = TestApp::new().await;
    let agent_id = app.attach(ECHO, json!({"first_message": "process"})).await;
    for text in ["one", "two"] {
        app.answers(ADA, text).await;
    }
    let running = claimed(&app, ADA, "three", agent_id).await.expect("a claim");
    assert!(claimed(&app, ADA, "four", agent_id).await.is_none(), "it waits for the turn that runs");
    assert_eq!(running.waiting.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["three"]);
    let settlement = turn::Settlement::of(&running, crate::harness::TEXTS)
        .say(MessageKind::Reply, crate::harness::TEXTS.outbound("to three", false));
    assert_eq!(
        turn::settle(&app.storage, settlement).await.expect("settled"),
        turn::Settled::Written { planned: 1, more_work: true, first_delivery: None },
        "what came meanwhile has a turn of its own"
    );
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: one", "2: two", "to three", "3: four"]);
}

/// What is not in the message is read by a claim. What is not this agent's, or not due, is nobody's
/// yet.
#[tokio::test]
async fn turns_that_need_more_than_their_message_are_claimed_later() {
    let reads = "def reply(conv, text):\n    return str(len(conv.history)) + text\n";
    for (source, settings) in [
        (reads, json!({"first_message": "process"})),
        (ECHO, json!({"first_message": "process", "debounce_seconds": 5})),
    ] {
        let app = TestApp::new().await;
        let agent_id = app.attach(source, settings).await;
        for text in ["one", "two", "three"] {
            assert!(claimed(&app, ADA, text, agent_id).await.is_none(), "{source}");
            app.sql("update turn set due_at = now()").await;
            app.run_jobs().await;
        }
        app.end().await;
    }

    let app = TestApp::new().await;
    let agent_id = app.attach(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "one").await;
    // The number has another agent now, and Ben talks with that one while Ada's session goes on
    // with hers.
    let other = app.agent("other", ECHO, json!({"first_message": "process"})).await;
    app.ok(reqwest::Method::PATCH, &app.number_path().await, Some(json!({"agent_id": other}))).await;
    app.answers(BEN, "one").await;
    assert!(claimed(&app, ADA, "two", other).await.is_none(), "the slot was for Ben's agent");
    app.run_jobs().await;
    assert!(claimed(&app, BEN, "two", other).await.is_some());
    assert!(claimed(&app, ADA, "three", agent_id).await.is_some());
}

/// The delivery that a settlement claims is the one that a claim would have read.
#[tokio::test]
async fn an_eagerly_dispatched_delivery_equals_a_claimed_one() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.text(ADA, "hi").await;
    let claim = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    let mut settlement = turn::Settlement::of(&claim, crate::harness::TEXTS)
        .say(MessageKind::Reply, crate::harness::TEXTS.outbound("hello", false));
    settlement.claim_first_delivery(&claim, 30);
    let settled = turn::settle(&app.storage, settlement).await.expect("settled");
    let turn::Settled::Written { first_delivery: Some(with_turn), .. } = settled else { panic!("{settled:?}") };
    let none = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    assert!(none.is_empty(), "nobody else may have it");
    delivery::give_back(&mut *pooled(&app.storage).await, &[(*with_turn).clone()]).await.expect("given back");
    let mut claims = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    let mut claim = claims.remove(0);
    (claim.token, claim.asked_at) = (with_turn.token, with_turn.asked_at);
    assert_eq!(claim, *with_turn);
}

/// Stores a message as the webhook does. Returns whether its turn is claimed.
async fn ingested(app: &TestApp, ingest: &Ingest, from: &str, body: &str) -> bool {
    let outcome = ingest.message(message(app, from, body).await, soon()).await.expect("stored");
    assert!(matches!(outcome, IngestOutcome::Stored { .. }), "{outcome:?}");
    app.count("select count(*) from turn where lease_token is not null").await > 0
}

#[tokio::test]
async fn eager_turns_are_released_when_the_workers_stop() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    let ingest = app.workers.ingest(app.storage.clone());
    assert!(!ingested(&app, &ingest, ADA, "two").await, "the workers do not run yet");
    app.run_jobs().await;
    app.workers.turns.open();
    assert!(ingested(&app, &ingest, ADA, "three").await, "the agent is known from the message before");

    jobs::run(app.workers.clone(), std::future::ready(())).await.expect("they end");
    // Answered before they stopped, or free for the next worker.
    assert_eq!(app.count("select count(*) from turn where leased_until is not null or attempts > 0").await, 0);
    assert!(!ingested(&app, &ingest, BEN, "hello").await, "a process that stops claims nothing more");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "2: two", "3: three"]);
}

#[tokio::test]
async fn a_turn_whose_request_is_cut_off_runs_all_the_same() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let ingest = app.workers.ingest(app.storage.clone());
    for text in ["one", "two"] {
        ingested(&app, &ingest, ADA, text).await;
        app.run_jobs().await;
    }
    app.workers.turns.open();
    let mut holding = app.storage.pool().begin().await.expect("a transaction");
    sqlx::query("select id from session for update").execute(&mut *holding).await.expect("held");
    let storing = ingest.message(message(&app, ADA, "three").await, soon());
    assert!(tokio::time::timeout(Duration::from_millis(200), storing).await.is_err(), "it waits for the session");
    holding.commit().await.expect("committed");
    while app.count("select count(*) from turn where lease_token is not null").await == 0 {
        tokio::task::yield_now().await;
    }
    jobs::run(app.workers.clone(), std::future::ready(())).await.expect("they end");
    assert_eq!(app.count("select count(*) from turn where leased_until is not null or attempts > 0").await, 0);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: one", "2: two", "3: three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_answers_alone_and_stops_when_it_is_told() {
    let mut harness = ProcessHarness::start("one-process").await;
    harness.variables.push(("TEXTBACK_WITH_WORKERS", "true".to_owned()));
    harness.open(0, ProcessHarness::echo()).await;
    let mut told = harness.phones(10, 20, Duration::from_millis(5));
    let mut expected_replies = ExpectedReplies::default();
    while let Some(texted) = told.recv().await {
        expected_replies.note(texted);
    }
    let verdict = expected_replies.verdict(&harness).await;
    assert_eq!(verdict.acknowledged, 200);
    verdict.must_be_clean("one process");
    let serve = harness.serve.take().expect("it runs");
    serve.tell(Signal::SIGTERM);
    let ended = tokio::task::spawn_blocking(move || serve.ended()).await.expect("it ends");
    assert_eq!(ended, Some(0));
}
