//! Tests one fault at a time with real processes: lost connections, a database that has crashed,
//! does not answer, is read-only or refuses connections, clocks that differ, and processes that are
//! suspended.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use textback::storage::ingest::{self, IngestOutcome};
use textback::storage::project;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{ADA, NUMBER, pooled};
use crate::process_harness::{ExpectedReplies, ProcessHarness, Texted};
use crate::proxy::Cut;

/// Sends a text and adds it to the expected replies. Returns whether it was acknowledged.
async fn say(harness: &ProcessHarness, expected_replies: &mut ExpectedReplies, body: &str) -> bool {
    let texted = harness.simulator.say(ADA, NUMBER, body).await;
    let acknowledged = texted.webhook_status == Some(200) && texted.error.is_none();
    expected_replies.note(Texted { from: ADA.to_owned(), body: body.to_owned(), acknowledged });
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_at_any_step_loses_no_message() {
    let mut harness = ProcessHarness::start("cuts").await;
    harness.open(2, ProcessHarness::echo()).await;
    let (mut expected_replies, mut cuts) = (ExpectedReplies::default(), 0);
    for cut in [Cut::Before, Cut::During, Cut::After] {
        // Bytes that only one statement sends: a value with its length before it. A field of a
        // composite type also has its type before it, and an array of one item also has its bounds.
        for (step, words) in [
            ("locking a contact", "\0\0\0\x19\0\0\0\x22SM"),
            ("storing a message", "\0\0\0\x19\0\0\0\x04text"),
            ("a turn", "\0\0\0\x05reply"),
            ("a delivery", "\0\0\0\x01\0\0\0\x01\0\0\0\x08accepted"),
        ] {
            harness.to_database.cut(words, cut);
            cuts += 1;
            // A statement about two messages has other bytes. Then the next message is cut.
            for n in 1.. {
                say(&harness, &mut expected_replies, &format!("{cut:?} {step} {n}")).await;
                let is_cut = harness.to_database.until_cut(cuts);
                if tokio::time::timeout(Duration::from_secs(3), is_cut).await.is_ok() {
                    break;
                }
            }
        }
    }
    // Without status callbacks, only the carrier's list shows whether it accepted the next
    // messages.
    harness.simulator.report_statuses(false);
    // The call that sends a message fails before the carrier gets it, while the carrier works on
    // it, or after the carrier accepted it, when the answer is lost.
    for (count, cut) in [Cut::Before, Cut::During, Cut::After].into_iter().enumerate() {
        harness.to_carrier.cut("POST /2010-04-01/Accounts/", cut);
        assert!(say(&harness, &mut expected_replies, &format!("{cut:?} the call")).await);
        harness.to_carrier.until_cut(count + 1).await;
    }
    let verdict = expected_replies.verdict(&harness).await;
    println!("cut proxies: {cuts} at the database, 3 at the carrier; {verdict}");
    verdict.must_be_clean("cut proxies");
}

/// A fault of the database.
#[derive(Debug, Clone, Copy)]
enum DatabaseFault {
    Crashed,
    Unresponsive,
    ReadOnly,
    NoConnections,
    TableLocked,
}

impl DatabaseFault {
    /// Starts the fault. Returns the connections that must stay open until it ends.
    async fn start(self, harness: &mut ProcessHarness) -> Vec<PgConnection> {
        match self {
            Self::Crashed => {
                let postgres = harness.postgres.take().expect("it runs");
                tokio::task::spawn_blocking(move || postgres.crash()).await.expect("crashed");
                Vec::new()
            }
            Self::Unresponsive => {
                harness.to_database.block();
                Vec::new()
            }
            Self::ReadOnly => {
                harness.sql("alter role current_user set default_transaction_read_only = on").await;
                harness.cut_connections().await;
                Vec::new()
            }
            Self::NoConnections => {
                harness.sql_elsewhere("alter database textback allow_connections false").await;
                let cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'textback'";
                harness.sql_elsewhere(cut).await;
                Vec::new()
            }
            Self::TableLocked => {
                let mut holder = PgConnection::connect(&harness.url).await.expect("a connection");
                let lock = "begin; lock table textback.message in access exclusive mode";
                sqlx::raw_sql(lock).execute(&mut holder).await.expect("held");
                vec![holder]
            }
        }
    }

    /// Ends the fault.
    async fn end(self, harness: &mut ProcessHarness) {
        match self {
            Self::Crashed => harness.crash_database().await,
            Self::Unresponsive => harness.to_database.unblock(),
            Self::ReadOnly => {
                harness
                    .sql("begin read write; alter role current_user reset default_transaction_read_only; commit")
                    .await;
                harness.cut_connections().await;
            }
            Self::NoConnections => harness.sql_elsewhere("alter database textback allow_connections true").await,
            Self::TableLocked => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_reports_a_fault_of_the_database_and_all_processes_work_again_after_it() {
    let mut harness = ProcessHarness::start("troubles").await;
    harness.open(2, ProcessHarness::echo()).await;
    let mut expected_replies = ExpectedReplies::default();
    assert!(say(&harness, &mut expected_replies, "before").await);
    let session = loop {
        let sessions = harness.call(Method::GET, "sessions", Value::Null).await;
        if let Some(id) = sessions["items"][0]["id"].as_str() {
            break id.to_owned();
        }
    };
    for fault in [
        DatabaseFault::Crashed,
        DatabaseFault::Unresponsive,
        DatabaseFault::ReadOnly,
        DatabaseFault::NoConnections,
        DatabaseFault::TableLocked,
    ] {
        let held = fault.start(&mut harness).await;
        // Readers of the locked table take all connections of the API. They share one client,
        // because making a client takes so long that the first of 64 would stop waiting before the
        // last one starts.
        let client = reqwest::Client::new();
        let readers = (0..if matches!(fault, DatabaseFault::TableLocked) { 64 } else { 0 }).map(|_| {
            let url = format!("http://{}/v1/sessions/{session}/messages", harness.api);
            tokio::spawn(client.get(url).bearer_auth(&harness.key).send())
        });
        let readers: Vec<_> = readers.collect();
        let during = format!("during {fault:?}");
        let (acknowledged, (ready, code)) =
            tokio::join!(say(&harness, &mut expected_replies, &during), harness.unreadiness());
        assert!(!acknowledged, "{fault:?}");
        let wanted = match fault {
            DatabaseFault::ReadOnly => "database_read_only",
            DatabaseFault::TableLocked => "database_blocked",
            DatabaseFault::Crashed | DatabaseFault::Unresponsive | DatabaseFault::NoConnections => {
                "database_unavailable"
            }
        };
        assert_eq!((ready, code.as_str()), (503, wanted), "{fault:?}");
        drop(held);
        fault.end(&mut harness).await;
        for reader in readers {
            let status = reader.await.expect("no panic").expect("an answer").status();
            assert!([200, 503].contains(&status.as_u16()), "{status}");
        }
        harness.until_ready().await;
        // The same processes work again. None was restarted.
        assert!(say(&harness, &mut expected_replies, &format!("after {fault:?}")).await);
        let verdict = expected_replies.verdict(&harness).await;
        println!("{fault:?}: {verdict}");
        verdict.must_be_clean(&format!("{fault:?}"));
    }
    for process in harness.work.iter_mut().chain(&mut harness.serve) {
        assert!(process.runs(), "no process ends because of the database");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_new_contacts_at_once_get_one_reply_and_one_session_each() {
    let mut harness = ProcessHarness::start("hundred").await;
    harness.open(4, ProcessHarness::echo()).await;
    let mut texts = harness.phones(100, 1, Duration::ZERO);
    let (mut expected_replies, mut sent) = (ExpectedReplies::default(), Vec::new());
    while let Some(texted) = texts.recv().await {
        expected_replies.note(texted);
    }
    let at_once = (0..100).map(|n| {
        let (simulator, body) = (harness.simulator.clone(), format!("sent {n}"));
        async move { (simulator.say(ADA, NUMBER, &body).await.webhook_status, body) }
    });
    for (status, body) in futures::future::join_all(at_once).await {
        assert_eq!(status, Some(200));
        sent.push(body);
    }
    let verdict = expected_replies.verdict(&harness).await;
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        // They came at the same time, so they have no order. Each has one answer.
        let received = harness.simulator.received(ADA, NUMBER);
        let mut answers: Vec<&str> = received.iter().flat_map(|reply| reply.split('|')).collect();
        answers.sort_unstable();
        sent.sort_unstable();
        if answers == sent {
            break;
        }
        assert!(answers.len() < sent.len() && Instant::now() < until, "{answers:?}");
        tokio::task::yield_now().await;
    }
    assert_eq!(verdict.acknowledged, 100);
    verdict.must_be_clean("a hundred first texts");
    let sessions = harness.call(Method::GET, "sessions?limit=200", Value::Null).await;
    assert_eq!(
        sessions["items"].as_array().map(Vec::len),
        Some(101),
        "one session for each contact, and one for the hundred texts of Ada"
    );
}

/// The variables that give a process another clock. Its monotonic clock does not change.
#[cfg(target_os = "linux")]
fn clock(offset: &str) -> Vec<(&'static str, String)> {
    let folders = std::fs::read_dir("/usr/lib").expect("a folder").flatten().map(|entry| entry.path());
    let library = folders
        .chain(["/usr/lib".into(), "/usr/lib64".into()])
        .map(|folder| folder.join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
        .expect("libfaketime; run scripts/ensure-libfaketime.sh");
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME", offset.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn workers_whose_clocks_are_five_minutes_apart_agree() {
    let mut harness = ProcessHarness::start("clocks").await;
    harness.open(0, ProcessHarness::echo()).await;
    for offset in ["-150s", "+150s"] {
        harness.variables = clock(offset);
        let (worker, doctor) = (harness.start_work(&[]), harness.doctor());
        assert!(doctor.contains("150 s apart"), "the clock was not changed: {doctor}");
        harness.work.push(worker);
    }
    let mut texts = harness.phones(24, 20, Duration::from_millis(50));
    let (mut expected_replies, mut count) = (ExpectedReplies::default(), 0);
    while let Some(texted) = texts.recv().await {
        expected_replies.note(texted);
        count += 1;
        // Each worker is killed once. Its jobs wait until their leases end by the clock of the
        // database.
        if count % 160 == 0 {
            let offset = ["-150s", "+150s"][count / 160 % 2];
            harness.variables = clock(offset);
            harness.work.remove(0);
            harness.work.push(harness.start_work(&[]));
        }
    }
    let verdict = expected_replies.verdict(&harness).await;
    println!("clocks five minutes apart: {verdict}");
    assert_eq!(verdict.acknowledged, 480);
    verdict.must_be_clean("clocks");
}

/// A service that answers after so many seconds, and the agent that calls it.
async fn late_service(seconds: u64) -> (MockServer, Value) {
    let service = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({"messages": ["at last"]}));
    Mock::given(wiremock::matchers::any())
        .respond_with(answer.set_delay(Duration::from_secs(seconds)))
        .mount(&service)
        .await;
    let agent = json!({
        "name": "late", "kind": "http", "url": service.uri(), "timeout_seconds": 60, "first_message": "process",
    });
    (service, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_three_seconds_is_renewed_for_an_agent_that_takes_twenty() {
    let (service, agent) = late_service(20).await;
    let mut harness = ProcessHarness::start("late").await;
    harness.variables.push(("TEXTBACK_ALLOW_HOSTS", "127.0.0.0/8".to_owned()));
    harness.open(2, agent).await;
    assert_eq!(harness.simulator.say(ADA, NUMBER, "hi").await.webhook_status, Some(200));
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 1).await, ["at last"]);
    assert_eq!(service.received_requests().await.expect("recorded").len(), 1, "no other worker called it meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_releases_its_turn_within_seconds() {
    // The service answers so late, and the lease is so long, that waiting would not give the
    // contact an answer in time.
    let (service, agent) = late_service(50).await;
    let mut harness = ProcessHarness::start("handover").await;
    harness.variables.push(("TEXTBACK_ALLOW_HOSTS", "127.0.0.0/8".to_owned()));
    harness.variables.push(("TEXTBACK_LEASE_SECONDS", "600".to_owned()));
    harness.open(1, agent).await;
    assert_eq!(harness.simulator.say(ADA, NUMBER, "hi").await.webhook_status, Some(200));
    while service.received_requests().await.expect("recorded").is_empty() {
        tokio::task::yield_now().await;
    }
    service.reset().await;
    let answer = ResponseTemplate::new(200).set_body_json(json!({"messages": ["at once"]}));
    Mock::given(wiremock::matchers::any()).respond_with(answer).mount(&service).await;
    let stopping = harness.work.remove(0);
    harness.work.push(harness.start_work(&[]));
    let signalled = Instant::now();
    stopping.tell(Signal::SIGTERM);
    let code = tokio::task::spawn_blocking(|| stopping.ended()).await.expect("no panic");
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 1).await, ["at once"]);
    assert_eq!(code, Some(0), "the worker ends without an error");
    assert!(signalled.elapsed() < Duration::from_secs(15), "{:?}", signalled.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_suspended_past_its_lease_writes_nothing_when_it_resumes() {
    let (service, agent) = late_service(2).await;
    let mut harness = ProcessHarness::start("zombie").await;
    harness.variables.push(("TEXTBACK_ALLOW_HOSTS", "127.0.0.0/8".to_owned()));
    harness.open(1, agent).await;
    assert_eq!(harness.simulator.say(ADA, NUMBER, "hi").await.webhook_status, Some(200));
    let until_called = async |times: usize| {
        while service.received_requests().await.expect("recorded").len() < times {
            tokio::task::yield_now().await;
        }
    };
    until_called(1).await;
    harness.work[0].tell(Signal::SIGSTOP);
    harness.work.push(harness.start_work(&[]));
    until_called(2).await;
    harness.work[0].tell(Signal::SIGCONT);
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 1).await, ["at last"]);
    // Both workers run when the next text comes, and the late answer of the first worker was not
    // written.
    assert_eq!(harness.simulator.say(ADA, NUMBER, "and now?").await.webhook_status, Some(200));
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 2).await, ["at last"; 2]);
    let requests = service.received_requests().await.expect("recorded");
    let ids: Vec<_> = requests.iter().map(|request| request.headers["webhook-id"].to_str().expect("text")).collect();
    assert_eq!((ids[0] == ids[1], ids[1] == ids[2], ids.len()), (true, false, 3), "both attempts have one id");
}

/// A machine may be suspended or moved. When this worker resumes, another worker has sent the
/// message that it claimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_suspended_between_claim_and_call_sends_nothing_when_it_resumes() {
    let mut harness = ProcessHarness::start("sleeper").await;
    harness.open(0, ProcessHarness::echo()).await;
    harness.work.push(harness.start_work(&[("TEXTBACK_FAILPOINT", "delivery.after_claim:1:0:stop")]));
    assert_eq!(harness.simulator.say(ADA, NUMBER, "hi").await.webhook_status, Some(200));
    let until = Instant::now() + Duration::from_secs(20);
    while !harness.work[0].is_halted() {
        assert!(Instant::now() < until, "the worker does not stop");
        tokio::task::yield_now().await;
    }
    harness.work.push(harness.start_work(&[]));
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 1).await, ["hi"]);
    harness.work[0].tell(Signal::SIGCONT);
    let mut expected_replies = ExpectedReplies::default();
    for n in 0..10 {
        let body = format!("awake {n}");
        let acknowledged = harness.simulator.say(ADA, NUMBER, &body).await.webhook_status == Some(200);
        expected_replies.note(Texted { from: ADA.to_owned(), body, acknowledged });
    }
    let verdict = expected_replies.verdict(&harness).await;
    verdict.must_be_clean("a worker that was suspended");
    let received = harness.simulator.received(ADA, NUMBER);
    assert_eq!(received.iter().filter(|text| *text == "hi").count(), 1, "{received:?}");
}

/// The machine is suspended while its transaction holds the lock of a contact.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_suspended_in_a_transaction_delays_its_contact_for_less_than_five_seconds() {
    let mut harness = ProcessHarness::start("stopped-in-transaction").await;
    harness.open(1, ProcessHarness::echo()).await;
    assert_eq!(harness.simulator.say(ADA, NUMBER, "hi").await.webhook_status, Some(200));
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 1).await, ["hi"]);
    harness.serve = None;
    let stopping = harness.start_serve(&[("TEXTBACK_FAILPOINT", "ingest.after_load:1:0:stop")]);
    harness.until_ready().await;
    let until_halted = async {
        let until = Instant::now() + Duration::from_secs(20);
        while !stopping.is_halted() {
            assert!(Instant::now() < until, "it does not stop");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        delivered = harness.simulator.say(ADA, NUMBER, "one") => panic!("it does not stop: {delivered:?}"),
        () = until_halted => {}
    }

    let storage = harness.storage();
    let project = project::find_by_name(&mut *pooled(&storage).await, "harness").await.expect("an answer");
    let text = crate::batches::text(project.expect("a project").id, ADA, "SMelsewhere", "two", None);
    // By the database's clock, because this process may wait for a processor.
    let held = async {
        let longest = "select max(extract(epoch from clock_timestamp() - state_change))::double precision \
                       from pg_stat_activity where state = 'idle in transaction' and datname = current_database()";
        let mut seconds: f64 = 0.0;
        loop {
            let now: Option<f64> = sqlx::query_scalar(longest).fetch_one(storage.pool()).await.expect("an answer");
            let Some(now) = now else { break seconds };
            seconds = seconds.max(now);
        }
    };
    let (held, stored) = tokio::join!(held, ingest::store(&storage, text));
    assert!(matches!(stored.expect("stored").outcome, IngestOutcome::Stored { .. }));
    assert!(held > 1.0, "the suspended process held no lock: {held} s");
    assert!(held < 5.0, "{held} s");

    // When it resumes, its transaction was rolled back, with a message that was never acknowledged.
    // It works again.
    stopping.tell(Signal::SIGCONT);
    harness.until_ready().await;
    assert_eq!(harness.simulator.say(ADA, NUMBER, "three").await.webhook_status, Some(200));
    let until = Instant::now() + Duration::from_secs(20);
    let mut received = harness.simulator.received(ADA, NUMBER);
    // The backfill may find "one" too, and one turn answers what waits together.
    while !received.iter().flat_map(|reply| reply.split('|')).any(|body| body == "three") {
        assert!(Instant::now() < until, "{received:?}");
        tokio::task::yield_now().await;
        received = harness.simulator.received(ADA, NUMBER);
    }
    let answered: Vec<&str> =
        received.iter().flat_map(|reply| reply.split('|')).filter(|body| *body != "one").collect();
    assert_eq!(answered, ["hi", "two", "three"]);
}
