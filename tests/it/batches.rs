//! Tests the batcher over a real pool: shared flushes, lost connections and an unavailable database.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use textback::domain::consent::Keyword;
use textback::domain::message::SkipReason;
use textback::storage::batcher::{BatchError, Batcher, RetryBudget};
use textback::storage::ingest::{self, InboundMessage, IngestOutcome};
use textback::storage::project;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::harness::{NUMBER, TestApp};

/// A disk that writes when it is let, and the flushes that went to it: their sizes, and how many were under way at once.
#[derive(Clone)]
struct Disk {
    sizes: Arc<Mutex<Vec<usize>>>,
    under_way: Arc<AtomicUsize>,
    most_under_way: Arc<AtomicUsize>,
    writes: Arc<Semaphore>,
}

impl Disk {
    fn that_waits() -> Self {
        let (sizes, under_way, most_under_way) = Default::default();
        Self { sizes, under_way, most_under_way, writes: Arc::new(Semaphore::new(0)) }
    }

    /// A batcher that writes to it; each answer is ten times the item.
    fn batcher(&self, app: &TestApp) -> Batcher<usize, usize> {
        let disk = self.clone();
        Batcher::start(app.storage.pool().clone(), RetryBudget::Carrier, move |_, items| {
            let disk = disk.clone();
            Box::pin(async move {
                disk.sizes.lock().expect("it is whole").push(items.len());
                let under_way = disk.under_way.fetch_add(1, Ordering::SeqCst) + 1;
                disk.most_under_way.fetch_max(under_way, Ordering::SeqCst);
                disk.writes.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?.forget();
                disk.under_way.fetch_sub(1, Ordering::SeqCst);
                Ok(items.into_iter().map(|item| item * 10).collect())
            })
        })
    }

    fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().expect("it is whole").clone()
    }

    async fn has_seen(&self, flushes: usize) {
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
async fn items_that_wait_during_a_flush_go_with_the_next_one() {
    let app = TestApp::new().await;
    // A flush is waited for for ten milliseconds: a round in which this machine took longer for its part says nothing.
    for round in 1.. {
        let disk = Disk::that_waits();
        let batcher = disk.batcher(&app);
        let mut submitted = vec![submit(&batcher, 0)];
        disk.has_seen(1).await;
        let began = Instant::now();
        for item in 1..=50 {
            // Each comes alone, and could go before the next one comes if nothing held it back.
            submitted.push(submit(&batcher, item));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        disk.writes.add_permits(51);
        disk.has_seen(2).await;
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
async fn a_full_batch_goes_beside_the_one_under_way_and_a_third_waits() {
    let app = TestApp::new().await;
    let disk = Disk::that_waits();
    let batcher = disk.batcher(&app);
    let mut submitted = vec![submit(&batcher, 0)];
    disk.has_seen(1).await;
    submitted.extend((1..=300).map(|item| submit(&batcher, item)));
    disk.has_seen(2).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.sizes(), [1, 128], "two at once, and no more than 128 in one");
    disk.writes.add_permits(302);
    for (item, task) in submitted.into_iter().enumerate() {
        assert_eq!(task.await.expect("no panic").expect("flushed"), item * 10);
    }
    assert_eq!(disk.most_under_way.load(Ordering::SeqCst), 2);
    assert_eq!(disk.sizes().into_iter().sum::<usize>(), 301);
}

#[tokio::test]
async fn a_flush_worker_replaces_a_lost_connection() {
    let app = TestApp::new().await;
    let batcher: Batcher<i32, i32> =
        Batcher::start(app.storage.pool().clone(), RetryBudget::Carrier, |connection, items| {
            Box::pin(async move {
                sqlx::query_scalar("select unnest($1::integer[]) * 10").bind(items).fetch_all(connection).await
            })
        });
    assert_eq!(batcher.submit(1).await.expect("flushed"), 10);
    let others = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()) cut";
    assert!(app.count(others).await > 0);
    // Who comes in that moment may hear of it, of each connection that was in use just before once at most.
    let mut received = 0;
    while batcher.submit(2).await.is_err() {
        received += 1;
        assert!(received <= 10, "a broken connection is not thrown away");
    }
    assert_eq!(batcher.submit(3).await.expect("flushed"), 30);
}

#[tokio::test]
async fn a_database_that_is_away_is_told_to_everybody_who_waits() {
    let nobody =
        textback::storage::Storage::open("postgres://nobody@127.0.0.1:9/none", 1, Arc::default()).expect("a storage");
    let batcher: Batcher<u8, u8> =
        Batcher::start(nobody.pool().clone(), RetryBudget::Carrier, |_, items| Box::pin(async move { Ok(items) }));
    assert!(matches!(batcher.submit(1).await, Err(BatchError::Database(_))));
}

pub fn text(project_id: Uuid, from: &str, sid: &str, body: &str, keyword: Option<Keyword>) -> InboundMessage {
    InboundMessage {
        project_id,
        channel: textback::channels::of_numbers().facts(),
        client_id: None,
        endpoint_id: None,
        carrier_sid: Some(sid.to_owned()),
        to: NUMBER.to_owned(),
        from: from.to_owned(),
        body: body.to_owned(),
        media: Vec::new(),
        form: b"as it came".to_vec(),
        reject_reason: None,
        keyword,
        sent_at: None,
        permit: None,
    }
}

/// Nearly all texts of a batch are written together and the others one by one: nobody can tell.
#[tokio::test]
async fn texts_of_one_batch_become_what_they_would_become_alone() {
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
    let taken = futures::future::join_all(texts.into_iter().map(|text| ingest::store(&app.storage, text))).await;
    let words: Vec<&str> = taken.iter().map(|taken| taken.as_ref().expect("stored").outcome.as_str()).collect();
    assert_eq!(
        words,
        ["stored", "skipped", "stored", "stored", "skipped", "duplicate", "stored", "stored", "quarantined", "stored"]
    );
    let opted_out = &taken[4].as_ref().expect("stored").outcome;
    let IngestOutcome::Skipped { reason, .. } = opted_out else { panic!("{opted_out:?}") };
    assert_eq!(*reason, SkipReason::OptedOut);
    let kept = "select count(*) from quarantine where form = 'as it came'::bytea and carrier_sid = 'SM9'";
    assert_eq!(app.count(kept).await, 1);

    app.run_jobs().await;
    // One turn answers all that waits, in the order in which it was said.
    assert_eq!(app.simulator.received(ada, NUMBER), ["hi", "one\ntwo\nthree"]);
    assert_eq!(app.simulator.received(bob, NUMBER), ["hi"]);
    assert_eq!(app.simulator.received(cid, NUMBER), ["hi", "once\nyes"]);
    assert_eq!(app.simulator.received(dan, NUMBER), ["new here"]);
}

/// Somebody's transaction holds the session of one person for long; the texts of all come together.
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
    let mut taken: Vec<_> = contacts
        .iter()
        .zip(0..)
        .map(|(from, n)| {
            let (storage, text) = (app.storage.clone(), text(ours, from, &format!("SM4{n}"), "more", None));
            tokio::spawn(async move { ingest::store(&storage, text).await })
        })
        .collect();
    let held = taken.remove(4);
    for task in taken {
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
