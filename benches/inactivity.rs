//! Measures inactivity jobs with one and ten million open sessions: the cost of an empty poll, of a
//! claim and of a burst, the lateness of warnings, and the cost of a timer per message.
//! `make bench` runs it.
//!
//! TEXTBACK_BENCH_SESSIONS sets the numbers of sessions, separated by commas (default
//! 1000000,10000000). A number for which the disk is too small is skipped.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that fails has no result")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use textback::dev::postgres;
use textback::domain::session::InactivityOutcome;
use textback::secret::SecretKeys;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::notifier::Notifier;
use textback::storage::{Storage, database, inactivity, ingest, project};
use uuid::Uuid;

const NUMBER: &str = "+14155550199";
/// What a session takes on the disk with its job and all indexes, and some more for WAL and
/// sorting.
const BYTES_A_SESSION: u64 = 2_000;
const BURST: u64 = 100_000;

/// A process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() {
    let counts = std::env::var("TEXTBACK_BENCH_SESSIONS").unwrap_or_else(|_| "1000000,10000000".to_owned());
    for count in counts.split(',').map(|count| count.trim().parse::<u64>().expect("a number of sessions")) {
        let folder = std::env::temp_dir().join(format!("textback-bench-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        assert!(count >= 400_000, "each measurement has sessions of its own; {count} are too few");
        println!("--- {count} open sessions");
        if free_bytes(&folder) < count * BYTES_A_SESSION {
            println!("left out: the disk has no {} GB free", count * BYTES_A_SESSION / 1_000_000_000);
        } else {
            measure(&folder, count).await;
        }
        let _ = std::fs::remove_dir_all(&folder);
    }
}

/// One claim of inactivity jobs, as a worker makes it.
async fn decide(storage: &Storage) -> Vec<inactivity::Decided> {
    let limits = &ClaimLimits::of(500);
    let decide = || async move {
        let mut transaction = storage.transaction().await?;
        let decided = inactivity::decide(&mut transaction, limits, &|_| textback::channels::sms::CAPABILITIES).await;
        database::end(transaction, decided).await
    };
    database::retry_on_deadlock(decide).await.expect("decided")
}

fn free_bytes(folder: &Path) -> u64 {
    let told = nix::sys::statvfs::statvfs(folder).expect("a file system");
    told.blocks_available() * told.fragment_size()
}

async fn measure(folder: &Path, count: u64) {
    // fsync stays on, as in production.
    let settings = [
        ("shared_buffers", "1GB"),
        ("max_wal_size", "8GB"),
        ("maintenance_work_mem", "512MB"),
        // Lateness counts until a warning is committed.
        ("track_commit_timestamp", "on"),
    ];
    let postgres = postgres::builder().settings(settings).start(folder).await.expect("PostgreSQL");
    textback::storage::migrate(postgres.url()).await.expect("the schema");
    let storage = Storage::open(postgres.url(), 6, Arc::new(Notifier::default())).expect("a storage");
    let mut connection = storage.connection().await.expect("a connection");
    let made = project::create(&mut connection, "bench").await.expect("a project").0;
    drop(connection);
    let bench = Bench { storage, url: postgres.url().to_owned(), project_id: made.id, count };
    bench.fill().await;
    bench.empty_poll("empty poll").await;
    bench.claim().await;
    bench.burst().await;
    bench.burst_of_processes().await;
    // With what a burst leaves in the index, and nobody has vacuumed yet.
    bench.empty_poll("after the burst").await;
    bench.lateness().await;
    bench.texts().await;
    bench.storage.close().await;
    postgres.stop();
}

struct Bench {
    storage: Storage,
    url: String,
    project_id: Uuid,
    count: u64,
}

impl Bench {
    async fn sql(&self, statements: String) {
        // A connection without our limits: filling takes minutes.
        let mut connection = PgConnection::connect(&self.url).await.expect("a connection");
        sqlx::raw_sql("set search_path = textback").execute(&mut connection).await.expect("it runs");
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.expect("it runs");
    }

    async fn number(&self, statement: &'static str) -> f64 {
        sqlx::query_scalar(statement).fetch_one(self.storage.pool()).await.expect("a number")
    }

    /// Open sessions that have been silent for up to a day, with their jobs.
    async fn fill(&self) {
        let began = Instant::now();
        let (agent, endpoint, project) = (Uuid::now_v7(), Uuid::now_v7(), self.project_id);
        self.sql(format!(
            "begin;
             insert into agent (id, project_id, name) values ('{agent}', '{project}', 'bench');
             insert into agent_version (agent_id, version, spec, warning, reads_history)
             values ('{agent}', 1, jsonb_build_object('kind', 'script', 'source', 'def reply(conv, text): return text'), 'Are you still there?', false);
             insert into active_version (agent_id, environment, version) select '{agent}', unnest('{{sandbox,live}}'::text[]), 1;
             commit;
             update project set outbound_per_contact_per_hour = 0, outbound_per_contact_per_day = 0;
             insert into endpoint (id, project_id, kind, agent_id) values ('{endpoint}', '{project}', 'number', '{agent}');
             insert into number (id, project_id, number, carrier_id, generation)
             values ('{endpoint}', '{project}', '{NUMBER}', 'PN1', gen_random_uuid())",
        ))
        .await;
        // Foreign keys are not checked while it is filled: that is none of what is measured.
        self.sql(format!(
            "set session_replication_role = replica; set synchronous_commit = off;
             insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged, agent_id,
                                  agent_version, opened_at, last_message_at, warn_after_seconds)
             select ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, endpoint.project_id, endpoint.id,
                    '+1' || (2000000000 + n), 'sms', 'open', 'inbound', true, endpoint.agent_id, 1,
                    now() - interval '3 days', now() - make_interval(secs => 60 + n::float8 * 79200 / {count}), 86400
               from endpoint, generate_series(1, {count}) n;
             insert into inactivity (session_id, project_id, due_at)
             select id, project_id, last_message_at + interval '1 day' from session",
            count = self.count
        ))
        .await;
        for table in ["session", "inactivity", "message", "delivery"] {
            self.sql(format!("vacuum analyze {table}")).await;
        }
        self.sql("checkpoint".to_owned()).await;
        let size = "select sum(pg_total_relation_size(oid))::float8 / 1e9 from pg_class where relname in ('session', 'inactivity')";
        println!("filled in             {:>9.1} s, {:.2} GB", began.elapsed().as_secs_f64(), self.number(size).await);
    }

    async fn empty_poll(&self, what: &str) {
        // Sessions whose warnings could not be sent are checked again.
        while !decide(&self.storage).await.is_empty() {}
        let mut took = Vec::new();
        for _ in 0..200 {
            let began = Instant::now();
            assert!(decide(&self.storage).await.is_empty());
            inactivity::next_due(&mut self.storage.connection().await.expect("a connection")).await.expect("a time");
            took.push(began.elapsed());
        }
        let [p50, p99] = percentiles(took);
        let mut told = Vec::new();
        for statement in [
            "explain (analyze, buffers, format json)
             select inactivity.session_id, session.endpoint_id, session.contact
               from inactivity join session on session.id = inactivity.session_id
              where inactivity.due_at <= now() order by inactivity.due_at limit 500 for update of inactivity skip locked",
            concat!("explain (analyze, buffers, format json) ", include_str!("../sql/queries/inactivity/next_due.sql")),
        ] {
            let plan: Value = sqlx::query_scalar(statement).fetch_one(self.storage.pool()).await.expect("a plan");
            let (plan, time) = (&plan[0]["Plan"], &plan[0]["Execution Time"]);
            let buffers =
                plan["Shared Hit Blocks"].as_u64().unwrap_or(0) + plan["Shared Read Blocks"].as_u64().unwrap_or(0);
            told.push(format!("{time} ms, {buffers} buffers"));
        }
        println!(
            "{what:<22}{p50:>9.2} ms p50 {p99:>8.2} ms p99 of both round trips; in the server: look {}, next {}",
            told[0], told[1]
        );
    }

    /// Lets the jobs of so many sessions be due, from the one on that is named by its place.
    async fn let_be_due(&self, from: u64, many: u64, silent: bool) {
        let range = format!(
            "between ('01900000-0000-7000-8000-' || lpad(to_hex({from}), 12, '0'))::uuid
                 and ('01900000-0000-7000-8000-' || lpad(to_hex({}), 12, '0'))::uuid",
            from + many - 1
        );
        if silent {
            self.sql(format!("update session set last_message_at = now() - interval '1 day' where id {range}")).await;
        }
        self.sql(format!("update inactivity set due_at = now() where session_id {range}")).await;
        self.sql("vacuum analyze inactivity".to_owned()).await;
    }

    async fn claim(&self) {
        for (what, silent, from) in [(InactivityOutcome::Moved, false, 1), (InactivityOutcome::Warned, true, 10_001)] {
            let mut took = Vec::new();
            for n in 0..10 {
                self.let_be_due(from + n * 500, 500, silent).await;
                let began = Instant::now();
                let decided = decide(&self.storage).await;
                took.push(began.elapsed());
                assert!(decided.len() == 500 && decided.iter().all(|decided| decided.outcome == what));
            }
            let [p50, p99] = percentiles(took);
            println!("500 jobs, {:<12}{p50:>9.1} ms p50 {p99:>8.1} ms p99", what.as_str());
        }
    }

    /// A hundred thousand that are due together, by two workers.
    async fn burst(&self) {
        self.let_be_due(100_001, BURST, true).await;
        let began = Instant::now();
        let workers = (0..2).map(|_| {
            let storage = self.storage.clone();
            tokio::spawn(async move {
                let mut done = 0;
                loop {
                    match decide(&storage).await.len() {
                        0 => return done,
                        some => done += some,
                    }
                }
            })
        });
        let mut done = 0;
        for worker in workers.collect::<Vec<_>>() {
            done += worker.await.expect("no panic");
        }
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(done as u64, BURST);
        println!(
            "burst                 {:>9.0} warnings a second, {BURST} in {seconds:.1} s by two workers",
            done as f64 / seconds
        );
    }

    /// The same by two processes, which also try to send what they plan, to a carrier that is not
    /// there.
    async fn burst_of_processes(&self) {
        self.let_be_due(200_001, BURST, true).await;
        let warned = "select count(*)::float8 from message where kind = 'warning'";
        let before = self.number(warned).await;
        let began = Instant::now();
        let _workers = [self.worker(), self.worker()];
        while self.number(warned).await - before < BURST as f64 {
            assert!(began.elapsed() < Duration::from_secs(120), "warnings are missing");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "burst                 {:>9.0} warnings a second, {BURST} in {seconds:.1} s by two processes, from their start",
            BURST as f64 / seconds
        );
    }

    fn worker(&self) -> Process {
        Process(
            Command::new(env!("CARGO_BIN_EXE_textback"))
                .arg("work")
                .env("DATABASE_URL", &self.url)
                .env("TEXTBACK_SECRET_KEY", SecretKeys::draw().1)
                .env("TEXTBACK_PUBLIC_URL", "http://127.0.0.1:9")
                .env("TEXTBACK_TWILIO_API_URL", "http://127.0.0.1:9")
                .env("TEXTBACK_TWILIO_MESSAGING_URL", "http://127.0.0.1:9")
                .env("RUST_LOG", "off")
                .stdout(Stdio::null())
                .spawn()
                .expect("it starts"),
        )
    }

    /// A hundred warnings a second, by a worker of its own process.
    async fn lateness(&self) {
        self.sql("delete from delivery; delete from message where kind = 'warning'".to_owned()).await;
        self.sql(
            "with spread as (
                 select id, row_number() over (order by id) as n
                   from (select id from session order by id desc limit 1000) last
             ), moved as (
                 update session set last_message_at = now() + make_interval(secs => 3 + n::float8 / 100) - interval '1 day'
                   from spread where spread.id = session.id returning session.id, last_message_at
             )
             update inactivity set due_at = last_message_at + interval '1 day' from moved where session_id = moved.id"
                .to_owned(),
        )
        .await;
        let _worker = self.worker();
        let warned = "select count(*)::float8 from message where kind = 'warning'";
        let until = Instant::now() + Duration::from_secs(60);
        while self.number(warned).await < 1000.0 {
            assert!(Instant::now() < until, "warnings are missing");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let late = "select percentile_cont(array[0.5, 0.99, 1]) within group (order by
                        extract(epoch from pg_xact_commit_timestamp(message.xmin) - (session.last_message_at + interval '1 day')))::float8[]
                      from message join session on session.id = session_id where kind = 'warning'";
        let late: Vec<f64> = sqlx::query_scalar(late).fetch_one(self.storage.pool()).await.expect("numbers");
        let [p50, p99, max] = [late[0] * 1e3, late[1] * 1e3, late[2] * 1e3];
        println!(
            "lateness              {p50:>9.1} ms p50 {p99:>8.1} ms p99 {max:>8.1} ms max to the commit, 100 a second"
        );
    }

    /// What texts write into the log with timers and without.
    async fn texts(&self) {
        // Whole pages after a checkpoint would drown the difference.
        self.sql("alter system set full_page_writes = off".to_owned()).await;
        self.sql("select pg_reload_conf()".to_owned()).await;
        let arming = "select pg_get_functiondef('textback.schedule_inactivity'::regproc)";
        let armed: String = sqlx::query_scalar(arming).fetch_one(self.storage.pool()).await.expect("a function");
        let unarmed = "create or replace function textback.schedule_inactivity(of_session uuid, inactivity_after integer, is_new boolean) returns void
                       language plpgsql as $$ begin end $$";
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for round in 0..3 {
            for (timers, bytes) in [(true, &mut with), (false, &mut without)] {
                self.sql(if timers { armed.clone() } else { unarmed.to_owned() }).await;
                // Both text the same people; the first round only makes the pages alike.
                let texts = self.wal_of_texts(&format!("{round} {timers}")).await;
                if round > 0 {
                    bytes.push(texts);
                }
            }
        }
        let mean = |bytes: &[f64]| bytes.iter().sum::<f64>() / bytes.len() as f64;
        println!("WAL a text            {:>9.0} bytes with timers, {:.0} without", mean(&with), mean(&without));
    }

    async fn wal_of_texts(&self, mark: &str) -> f64 {
        const TEXTS: u64 = 2_000;
        self.sql("delete from turn".to_owned()).await;
        let before = self.number("select (pg_current_wal_lsn() - '0/0')::float8").await;
        for n in 0..TEXTS {
            let channel = textback::channels::of_numbers().facts();
            let from = format!("+1{}", 2_000_000_000 + self.count - 10_000 + n);
            let body = format!("a text of {mark}");
            let text = ingest::InboundMessage {
                carrier_id: Some(format!("SM{}", Uuid::now_v7().simple())),
                ..ingest::InboundMessage::of(channel, self.project_id, from, NUMBER.to_owned(), body)
            };
            ingest::store(&self.storage, text).await.expect("taken in");
        }
        let after = self.number("select (pg_current_wal_lsn() - '0/0')::float8").await;
        (after - before) / TEXTS as f64
    }
}

fn percentiles(mut durations: Vec<Duration>) -> [f64; 2] {
    durations.sort();
    let at = |part: f64| durations[((durations.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    [at(0.5), at(0.99)]
}
