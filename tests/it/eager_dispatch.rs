//! Tests eager dispatch: the turn of an inbound message is claimed in the transaction that stores it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use textback::jobs;
use textback::storage::Storage;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::eager_dispatch::{Beginner, Place};
use textback::storage::ingest::{self, IngestOutcome};
use textback::storage::notifier::Notifier;
use textback::storage::turn::{self, Claim};
use uuid::Uuid;

use crate::batches::text;
use crate::harness::{ADA, ECHO, NUMBER, TestApp, settings};
use crate::process_harness::{ExpectedReplies, ProcessHarness};

const BEN: &str = "+14155550102";

/// Begins everything, and keeps the claims.
#[derive(Default)]
struct Begun(Arc<Mutex<Vec<Claim>>>);

impl Beginner for Begun {
    fn reserve(&self, _: Uuid, _: Uuid) -> Option<Place> {
        let begun = self.0.clone();
        Some(Box::new(move |claim| begun.lock().expect("no panic holds it").push(claim)))
    }

    fn lease_seconds(&self) -> u32 {
        30
    }
}

/// A storage of a process that works too, and the claims of what began there.
pub fn beside(app: &TestApp) -> (Storage, Arc<Mutex<Vec<Claim>>>) {
    let begun = Begun::default();
    let claims = begun.0.clone();
    let storage = Storage::open_beside(&app.database_url, 4, Arc::new(Notifier::default()), Arc::new(begun));
    (storage.expect("a ledger"), claims)
}

pub async fn take_in(app: &TestApp, storage: &Storage, from: &str, body: &str) -> IngestOutcome {
    let project_id =
        sqlx::query_scalar("select id from project").fetch_one(app.storage.pool()).await.expect("a project");
    let sid = format!("SM{}", Uuid::now_v7().simple());
    let text = text(project_id, from, &sid, body, None);
    ingest::take_in(storage, text, crate::harness::soon()).await.expect("taken in")
}

fn begun(taken: &IngestOutcome) -> bool {
    matches!(taken, IngestOutcome::Stored { begun: true, .. })
}

#[tokio::test]
async fn an_eagerly_dispatched_turn_equals_a_claimed_one() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    let (storage, claims) = beside(&app);
    assert!(!begun(&take_in(&app, &storage, ADA, "two").await), "whose turn it will be is not known yet");
    app.run_jobs().await;

    assert!(begun(&take_in(&app, &storage, ADA, "three").await));
    let began = claims.lock().expect("no panic holds it").remove(0);
    assert!(
        turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").is_empty(),
        "nobody else may have it"
    );
    // As if its worker had died: then the same turn is claimed from its row.
    app.sql("update turn set leased_until = now() - interval '1 second'").await;
    let mut claim = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
    assert_eq!((began.attempt, claim.attempt), (1, 2), "the attempt counts from the beginning");
    (claim.attempt, claim.token, claim.claimed_at) = (1, began.token, began.claimed_at);
    assert_eq!(format!("{began:?}"), format!("{claim:?}"));

    let late = turn::Settlement::of(&began).say(textback::domain::message::MessageKind::Reply, "too late".to_owned());
    assert_eq!(turn::settle(&app.storage, late).await.expect("an answer"), turn::Settled::Stale);
}

#[tokio::test]
async fn a_session_whose_turn_runs_gets_no_second_one() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let (storage, claims) = beside(&app);
    for (person, text) in [(ADA, "one"), (ADA, "two")] {
        take_in(&app, &storage, person, text).await;
        app.run_jobs().await;
    }
    assert!(begun(&take_in(&app, &storage, ADA, "three").await));
    assert!(!begun(&take_in(&app, &storage, ADA, "four").await), "it waits for the turn that runs");
    let began = claims.lock().expect("no panic holds it").remove(0);
    assert_eq!(began.waiting.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["three"]);
    let settled = turn::settle(
        &app.storage,
        turn::Settlement::of(&began).say(textback::domain::message::MessageKind::Reply, "to three".to_owned()),
    )
    .await;
    assert_eq!(
        settled.expect("settled"),
        turn::Settled::Written { planned: 1, more_work: true, leaving: false },
        "what came meanwhile has a turn of its own"
    );
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: one", "2: two", "to three", "3: four"]);
}

/// What is not in the text is read by a claim; what is not this agent's, or not due, is nobody's yet.
#[tokio::test]
async fn turns_that_need_more_than_their_text_are_claimed() {
    let reads = "def reply(conv, text):\n    return str(len(conv.history)) + text\n";
    for (source, agent) in [
        (reads, json!({"first_message": "process"})),
        (ECHO, json!({"first_message": "process", "debounce_seconds": 5})),
    ] {
        let app = TestApp::with_agent(source, agent).await;
        let (storage, _) = beside(&app);
        for text in ["one", "two", "three"] {
            assert!(!begun(&take_in(&app, &storage, ADA, text).await), "{source}");
            app.sql("update turn set due_at = now()").await;
            app.run_jobs().await;
        }
        app.end().await;
    }

    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let (storage, _) = beside(&app);
    for text in ["one", "two"] {
        take_in(&app, &storage, ADA, text).await;
        app.run_jobs().await;
    }
    // The number has another agent now, and Ben talks with that one while Ada's session goes on with hers.
    let other = app.agent("other", ECHO, json!({"first_message": "process"})).await;
    app.ok(reqwest::Method::PATCH, &app.number_path().await, Some(json!({"agent_id": other}))).await;
    for text in ["one", "two"] {
        take_in(&app, &storage, BEN, text).await;
        app.run_jobs().await;
    }
    assert!(begun(&take_in(&app, &storage, BEN, "three").await));
    assert!(!begun(&take_in(&app, &storage, ADA, "three").await), "the place was for Ben's agent");
}

#[tokio::test]
async fn eager_turns_are_released_when_the_workers_stop() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    let begins = Storage::open_beside(&app.database_url, 4, Arc::new(Notifier::default()), app.workers.beginner());
    let begins = begins.expect("a ledger");
    take_in(&app, &begins, ADA, "two").await;
    app.run_jobs().await;
    assert!(begun(&take_in(&app, &begins, ADA, "three").await));

    let stopped = jobs::run(app.storage.clone(), app.workers.clone(), settings(), std::future::ready(()));
    stopped.await.expect("they end");
    // Answered before they stopped, or free for the next worker: not held by one who is gone.
    assert_eq!(app.count("select count(*) from turn where leased_until is not null or attempts > 0").await, 0);
    assert!(!begun(&take_in(&app, &begins, BEN, "hello").await), "who has stopped begins nothing");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "2: two", "3: three"]);
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
