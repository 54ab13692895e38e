//! Tests the batcher with a real pool: shared flushes, lost connections, an unavailable database
//! and locked rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use textback::domain::keyword::{Keyword, KeywordMatch, KnownBy, Reading};
use textback::domain::message::SkipReason;
use textback::storage::batcher::{BatchError, Batcher, Waiter};
use textback::storage::ingest::{self, InboundMessage, IngestOutcome};
use textback::storage::project;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::harness::{NUMBER, TestApp};

/// A disk that writes only when the test permits it. It records the sizes of the flushes, and how
/// many ran at once.
#[derive(Clone)]
struct Disk {
    sizes: Arc<Mutex<Vec<usize>>>,
    running: Arc<AtomicUsize>,
    most_running: Arc<AtomicUsize>,
    writes: Arc<Semaphore>,
}

impl Disk {
    fn without_permits() -> Self {
        let (sizes, running, most_running) = Default::default();
        Self { sizes, running, most_running, writes: Arc::new(Semaphore::new(0)) }
    }

    /// A batcher that writes to this disk. Each result is ten times the item.
    fn batcher(&self, app: &TestApp) -> Batcher<usize, usize> {
        let disk = self.clone();
        Batcher::start(app.storage.pool().clone(), Waiter::Carrier, move |_, items| {
            let disk = disk.clone();
            Box::pin(async move {
                disk.sizes.lock().expect("not poisoned").push(items.len());
                let running = disk.running.fetch_add(1, Ordering::SeqCst) + 1;
                disk.most_running.fetch_max(running, Ordering::SeqCst);
                disk.writes.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?.forget();
                disk.running.fetch_sub(1, Ordering::SeqCst);
                Ok(items.into_iter().map(|item| item * 10).collect())
            })
        })
    }

    fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().expect("not poisoned").clone()
    }

    /// Waits until this many flushes have begun.
    async fn until_begun(&self, flushes: usize) {
        while self.sizes().len() < flushes {
            tokio::task::yield_now().await;
        }
    }
}

fn submit(batcher: &Batcher<usize, usize>, item: usize) -> JoinHandle<Result<usize, BatchError>> {
    let batcher = batcher.clone();
    tokio::spawn(async move { batcher.submit(item).await })
}

#[tokio::test]
async fn items_that_arrive_during_a_flush_are_flushed_together() {
    let app = TestApp::new().await;
    // The next flush waits for ten milliseconds at most, so a round in which this machine is slower
    // proves nothing.
    for round in 1.. {
        let disk = Disk::without_permits();
        let batcher = disk.batcher(&app);
        let mut submitted = vec![submit(&batcher, 0)];
        disk.until_begun(1).await;
        let began = Instant::now();
        for item in 1..=50 {
            // Each item comes alone. Without the wait, it would be flushed before the next one
            // comes.
            submitted.push(submit(&batcher, item));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        disk.writes.add_permits(51);
        disk.until_begun(2).await;
        let quick = began.elapsed() < Duration::from_millis(8);
        for (item, task) in submitted.into_iter().enumerate() {
            assert_eq!(task.await.expect("no panic").expect("flushed"), item * 10);
        }
        if quick {
            assert_eq!(disk.sizes(), [1, 50]);
            return;
        }
        assert!(round < 100, "this machine is too slow to tell");
    }
}

#[tokio::test]
async fn a_full_batch_is_flushed_in_parallel_to_the_previous_one_and_a_third_waits() {
    let app = TestApp::new().await;
    let disk = Disk::without_permits();
    let batcher = disk.batcher(&app);
    let mut submitted = vec![submit(&batcher, 0)];
    disk.until_begun(1).await;
    submitted.extend((1..=300).map(|item| submit(&batcher, item)));
    disk.until_begun(2).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.sizes(), [1, 128], "two flushes at once, and at most 128 items in one");
    disk.writes.add_permits(302);
    for (item, task) in submitted.into_iter().enumerate() {
        assert_eq!(task.await.expect("no panic").expect("flushed"), item * 10);
    }
    assert_eq!(disk.most_running.load(Ordering::SeqCst), 2);
    assert_eq!(disk.sizes().into_iter().sum::<usize>(), 301);
}

#[tokio::test]
async fn a_flush_worker_replaces_a_lost_connection() {
    let app = TestApp::new().await;
    let batcher: Batcher<i32, i32> =
        Batcher::start(app.storage.pool().clone(), Waiter::Carrier, |connection, items| {
            Box::pin(async move {
                sqlx::query_scalar("select unnest($1::integer[]) * 10").bind(items).fetch_all(connection).await
            })
        });
    assert_eq!(batcher.submit(1).await.expect("flushed"), 10);
    let others = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()) cut";
    assert!(app.count(others).await > 0);
    // A connection that was used just before is not checked, so an item may fail on it, at most
    // once for each connection.
    let mut failed = 0;
    while batcher.submit(2).await.is_err() {
        failed += 1;
        assert!(failed <= 10, "a lost connection is not closed");
    }
    assert_eq!(batcher.submit(3).await.expect("flushed"), 30);
}

#[tokio::test]
async fn a_caller_gets_the_error_of_an_unavailable_database() {
    let nobody =
        textback::storage::Storage::open("postgres://nobody@127.0.0.1:9/none", 1, Arc::default()).expect("a storage");
    let batcher: Batcher<u8, u8> =
        Batcher::start(nobody.pool().clone(), Waiter::Carrier, |_, items| Box::pin(async move { Ok(items) }));
    assert!(matches!(batcher.submit(1).await, Err(BatchError::Database(_))));
}

/// An inbound message to the number of the test app.
pub fn text(project_id: Uuid, from: &str, sid: &str, body: &str, keyword: Option<Keyword>) -> InboundMessage {
    let channel = textback::channels::of_numbers().facts();
    InboundMessage {
        carrier_id: Some(sid.to_owned()),
        form: b"as it came".to_vec(),
        reading: keyword.map_or(Reading::Text, |keyword| {
            Reading::Keyword(KeywordMatch { keyword, known_by: KnownBy::CarrierDefault })
        }),
        ..InboundMessage::of(channel, project_id, from.to_owned(), NUMBER.to_owned(), body.to_owned())
    }
}

/// The messages of a batch have the same outcomes as if each had come alone.
#[tokio::test]
async fn the_messages_of_one_batch_have_the_outcomes_that_they_would_have_alone() {
    let app = TestApp::with_agent("def reply(conv, text): return text", json!({"first_message": "process"})).await;
    let ours = project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("a project")
        .id;
    let (ada, bob, cid, dan) = ("+14155550131", "+14155550132", "+14155550133", "+14155550134");
    for phone in [ada, bob, cid] {
        assert_eq!(app.answers(phone, "hi").await, ["hi"]);
    }
    let mut elsewhere = text(ours, ada, "SM9", "to nobody", None);
    elsewhere.to = "+14155559999".to_owned();
    let texts = [
        text(ours, ada, "SM1", "one", None),
        text(ours, bob, "SM2", "STOP", Some(Keyword::Stop)),
        text(ours, ada, "SM3", "two", None),
        text(ours, cid, "SM4", "once", None),
        text(ours, bob, "SM5", "after STOP", None),
        text(ours, cid, "SM4", "once", None),
        text(ours, dan, "SM6", "new here", None),
        text(ours, cid, "SM7", "yes", Some(Keyword::Yes)),
        elsewhere,
        text(ours, ada, "SM8", "three", None),
    ];
    let stored = futures::future::join_all(texts.into_iter().map(|text| ingest::store(&app.storage, text))).await;
    let words: Vec<&str> = stored.iter().map(|stored| stored.as_ref().expect("stored").outcome.as_str()).collect();
    assert_eq!(
        words,
        ["stored", "skipped", "stored", "stored", "skipped", "duplicate", "stored", "stored", "quarantined", "stored"]
    );
    let opted_out = &stored[4].as_ref().expect("stored").outcome;
    let IngestOutcome::Skipped { reason, .. } = opted_out else { panic!("{opted_out:?}") };
    assert_eq!(*reason, SkipReason::OptedOut);
    let kept = "select count(*) from quarantine where form = 'as it came'::bytea and carrier_id = 'SM9'";
    assert_eq!(app.count(kept).await, 1);

    app.run_jobs().await;
    // One turn answers all waiting messages, in their order.
    assert_eq!(app.simulator.received(ada, NUMBER), ["hi", "one\ntwo\nthree"]);
    assert_eq!(app.simulator.received(bob, NUMBER), ["hi"]);
    assert_eq!(app.simulator.received(cid, NUMBER), ["hi", "once\nyes"]);
    assert_eq!(app.simulator.received(dan, NUMBER), ["new here"]);
}

/// Another transaction locks the session of one contact for long, and the messages of all contacts
/// come together.
#[tokio::test]
async fn one_contacts_lock_delays_no_other_contact() {
    let app = TestApp::with_agent("def reply(conv, text): return text", json!({"first_message": "process"})).await;
    let ours = project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("a project")
        .id;
    let contacts: Vec<String> = (0..10).map(|n| format!("+1415555020{n}")).collect();
    for phone in &contacts {
        assert_eq!(app.answers(phone, "hi").await, ["hi"]);
    }
    let mut holding = app.storage.pool().begin().await.expect("a transaction");
    let hold = "select id from session where contact = $1 for update";
    sqlx::query(hold).bind(&contacts[4]).execute(&mut *holding).await.expect("held");
    let mut stored: Vec<_> = contacts
        .iter()
        .zip(0..)
        .map(|(from, n)| {
            let (storage, text) = (app.storage.clone(), text(ours, from, &format!("SM4{n}"), "more", None));
            tokio::spawn(async move { ingest::store(&storage, text).await })
        })
        .collect();
    let held = stored.remove(4);
    for task in stored {
        assert_eq!(task.await.expect("no panic").expect("stored").outcome.as_str(), "stored");
    }
    assert!(!held.is_finished());
    holding.commit().await.expect("committed");
    assert_eq!(held.await.expect("no panic").expect("stored").outcome.as_str(), "stored");
    app.run_jobs().await;
    for phone in &contacts {
        assert_eq!(app.simulator.received(phone, NUMBER), ["hi", "more"]);
    }
}
