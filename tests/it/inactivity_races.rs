//! Tests messages at the moment of a warning or an end, with four workers, and a hundred thousand
//! jobs that are due together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use textback::storage::session::Filter;
use textback::storage::{invariant, project, session};

use crate::harness::{NUMBER, TestApp};
use crate::process_harness::{ECHO_ALL, ProcessHarness, Rng, setting};

const PHONES: u64 = 12;
const ROUNDS: u64 = 6;

/// Lets time pass in the open session of a phone, if it has one.
async fn pass(app: &TestApp, project_id: uuid::Uuid, phone: &str, seconds: u32) {
    let filter = Filter { contact: Some(phone.to_owned()), ..Filter::default() };
    let sessions = session::list(&mut *crate::harness::pooled(&app.storage).await, project_id, &filter, None, 1)
        .await
        .expect("sessions");
    if let Some(session) = sessions.items.first() {
        session::skip(&mut *crate::harness::pooled(&app.storage).await, project_id, session.id, seconds)
            .await
            .expect("an answer");
    }
}

/// Waits until a phone shows a text that fits.
async fn until_shown(app: &TestApp, phone: &str, fits: impl Fn(&[String]) -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !fits(&app.simulator.received(phone, NUMBER)) {
        assert!(Instant::now() < until, "{phone} waits in vain: {:?}", app.simulator.received(phone, NUMBER));
        tokio::task::yield_now().await;
    }
}

/// A person who answers at the worst of moments.
async fn text_at_the_moment(app: &TestApp, project_id: uuid::Uuid, phone: &str, mut rng: Rng) -> Vec<String> {
    let mut texts = Vec::new();
    let warnings = |shown: &[String]| shown.iter().filter(|text| *text == "Hello?").count();
    for round in 0..ROUNDS {
        let warned = warnings(&app.simulator.received(phone, NUMBER));
        match rng.below(4) {
            // While the warning is decided about.
            0 => pass(app, project_id, phone, 86_400).await,
            // While the end is.
            1 if round > 0 => {
                pass(app, project_id, phone, 86_400).await;
                until_shown(app, phone, |shown| warnings(shown) > warned).await;
                pass(app, project_id, phone, 600).await;
            }
            // While the warning is on its way.
            2 if round > 0 => {
                pass(app, project_id, phone, 86_400).await;
                until_shown(app, phone, |shown| warnings(shown) > warned).await;
            }
            _ => {}
        }
        for _ in 0..rng.below(60) {
            tokio::task::yield_now().await;
        }
        let text = format!("{phone} {round}");
        app.text(phone, &text).await;
        texts.push(text.clone());
        until_shown(app, phone, |shown| shown.iter().any(|reply| reply.split('|').any(|part| part == text))).await;
    }
    texts
}

async fn race(seed: u64) -> (i64, i64) {
    let inactivity = json!({"warning": "Hello?", "closing": "Bye!"});
    let app = TestApp::with_agent(ECHO_ALL, json!({"first_message": "process", "inactivity": inactivity})).await;
    let app = Arc::new(app);
    let project_id = project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("a project")
        .id;
    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (app, over) = (app.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let done = app.workers.inactivity.step().await.expect("decided")
                        + app.workers.turns.step().await.expect("turns")
                        + app.workers.deliveries.step().await.expect("deliveries");
                    if done == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    let phones: Vec<_> = (0..PHONES)
        .map(|n| {
            let app = app.clone();
            tokio::spawn(async move {
                let phone = format!("+1415555{n:04}");
                let texts = text_at_the_moment(&app, project_id, &phone, Rng::of(seed * PHONES + n)).await;
                (phone, texts)
            })
        })
        .collect();
    let mut texts = 0;
    for person in phones {
        let (phone, sent) = person.await.expect("no panic");
        texts += sent.len();
        let mut answered: HashMap<String, usize> = HashMap::new();
        for answer in app.simulator.received(&phone, NUMBER).iter().flat_map(|reply| reply.split('|')) {
            *answered.entry(answer.to_owned()).or_default() += 1;
        }
        for text in sent {
            assert_eq!(answered.get(&text), Some(&1), "seed {seed}: {text} is answered once");
        }
    }
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("no panic");
    }
    app.simulator.idle().await;
    assert_eq!(
        invariant::check(&mut *crate::harness::pooled(&app.storage).await).await.expect("the invariants"),
        [],
        "seed {seed}"
    );
    let late = "select count(*) from message join session on session.id = session_id
                 where message.created_at > session.closed_at and kind <> 'closing'";
    assert_eq!(app.count(late).await, 0, "seed {seed}: nothing is said in a session after its end");
    let warned = app.count("select count(*) from message where kind = 'warning'").await;
    let ended = app.count("select count(*) from session where close_reason = 'timed_out'").await;
    println!(
        "inactivity seed {seed}: {texts} texts at the moment, {warned} warnings, {ended} ends; each text answered once"
    );
    let closings = app.count("select count(*) from message where kind = 'closing'").await;
    assert_eq!(closings, ended, "seed {seed}: one farewell for each end");
    (warned, ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_text_at_the_very_moment_is_answered_in_the_old_session_or_in_a_new_one() {
    let first = setting("TEXTBACK_CHAOS_FIRST_SEED", 10);
    let (mut warnings, mut ends) = (0, 0);
    for seed in first..first + setting("TEXTBACK_RACE_SEEDS", 3) {
        let (warned, ended) = race(seed).await;
        (warnings, ends) = (warnings + warned, ends + ended);
    }
    assert!(warnings > 0 && ends > 0, "{warnings} warnings and {ends} ends: nothing was at its moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_jobs_that_are_due_together_are_done_once_each_whatever_dies() {
    let mut harness = ProcessHarness::start("storm").await;
    // What is planned leaves one by one: the test is about what is decided.
    harness.variables.push(("TEXTBACK_DELIVERY_SLOTS", "1".to_owned()));
    let mut agent = ProcessHarness::echo();
    agent["inactivity"] = json!({"closing": "Bye!"});
    harness.open(0, agent).await;
    harness
        .sql(
            "insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged, agent_id, agent_version,
                                  opened_at, last_message_at, warn_after_seconds)
             select gen_random_uuid(), endpoint.project_id, endpoint.id, '+1' || (4000000000 + n), 'sms', 'open', 'inbound', true,
                    endpoint.agent_id, 1, now() - interval '2 days', now() - interval '1 day', 86400
               from endpoint, generate_series(1, 100000) n;
             insert into inactivity (session_id, project_id, due_at) select id, project_id, last_message_at + interval '1 day' from session;
             analyze",
        )
        .await;
    let storage = harness.storage();
    let count = async |statement: &'static str| -> i64 {
        sqlx::query_scalar(statement).fetch_one(storage.pool()).await.expect("a number")
    };
    const WARNED: &str = "select count(*) from message where kind = 'warning'";
    const OPEN: &str = "select count(*) from session where status = 'open'";
    const NOT_CLOSED: &str = "select count(*) from session where status <> 'closed'";
    let (took, kills) = storm(&mut harness, &count, OPEN).await;
    let sessions = count("select count(distinct session_id) from message where kind = 'warning'").await;
    assert_eq!((count(WARNED).await, sessions), (100_000, 100_000));
    assert_eq!(count("select count(*) from delivery").await, 100_000);
    assert_eq!(invariant::check(&mut *crate::harness::pooled(&storage).await).await.expect("the invariants"), []);
    println!("storm: 100000 warnings due together, {kills} workers killed, each once in {:.1} s", took.as_secs_f64());

    // All of them got the warning an hour ago, and nobody answered.
    harness
        .sql(
            "update delivery set status = 'accepted', due_at = null, lease_token = null, leased_until = null,
                                 accepted_at = now() - interval '1 hour', carrier_id = 'SM' || id where carrier_id is null;
             update delivery set accepted_at = now() - interval '1 hour';
             update inactivity set due_at = now() - interval '1 second'; analyze",
        )
        .await;
    let (took, kills) = storm(&mut harness, &count, NOT_CLOSED).await;
    let closings = count("select count(*) from message where kind = 'closing'").await;
    let ended = count("select count(*) from session where close_reason = 'timed_out'").await;
    assert_eq!((ended, closings, count("select count(*) from inactivity").await), (100_000, 100_000, 0));
    assert_eq!(count("select count(distinct session_id) from message where kind = 'closing'").await, 100_000);
    assert_eq!(invariant::check(&mut *crate::harness::pooled(&storage).await).await.expect("the invariants"), []);
    println!("storm: 100000 ends due together, {kills} workers killed, each once in {:.1} s", took.as_secs_f64());
    storage.close().await;
}

/// Two workers until nothing is left, of whom six are killed on the way; then none.
async fn storm(
    harness: &mut ProcessHarness,
    count: &impl AsyncFn(&'static str) -> i64,
    left: &'static str,
) -> (Duration, i64) {
    let began = Instant::now();
    let mut kills = 0;
    harness.work = vec![harness.start_work(&[]), harness.start_work(&[])];
    loop {
        let left = count(left).await;
        if kills < 6 && 100_000 - left > 12_000 * (kills + 1) {
            drop(harness.work.remove(0));
            harness.work.push(harness.start_work(&[]));
            kills += 1;
        }
        if left == 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{left} are left");
    }
    assert!(kills > 0, "nobody died");
    harness.work.clear();
    (began.elapsed(), kills)
}
