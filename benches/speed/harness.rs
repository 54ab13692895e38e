//! Starts what is measured: a private PostgreSQL with fsync on, and textback as separate processes,
//! as in production.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dev_postgres::Postgres;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use textback::dev::postgres;
use textback::secret::SecretKeys;
use textback::storage::notifier::Notifier;
use textback::storage::{Storage, project};

use crate::load_generator::{self, ACCOUNT_SID, AUTH_TOKEN, Current, NUMBER, Target};

/// The settings of PostgreSQL. fsync stays on, because an acknowledgement requires that the message
/// is on disk.
const SETTINGS: [(&str, &str); 4] =
    [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("checkpoint_timeout", "30min"), ("max_connections", "200")];

/// A private PostgreSQL, whose data is removed at the end.
pub struct Server {
    postgres: Option<Postgres>,
    folder: PathBuf,
}

impl Server {
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("textback-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut settings = SETTINGS.to_vec();
        if Profile::wanted() == Some(Profile::Statements) {
            settings.extend([("shared_preload_libraries", "pg_stat_statements"), ("pg_stat_statements.track", "all")]);
        }
        if Profile::wanted() == Some(Profile::Plans) {
            settings.extend([
                ("shared_preload_libraries", "auto_explain"),
                ("auto_explain.log_min_duration", "10ms"),
                ("auto_explain.log_analyze", "on"),
                ("auto_explain.log_nested_statements", "on"),
            ]);
        }
        let postgres = postgres::builder().settings(settings).start(&folder).await.expect("PostgreSQL");
        Self { postgres: Some(postgres), folder }
    }

    pub fn url(&self) -> &str {
        self.postgres.as_ref().expect("it runs").url()
    }

    /// Its version and the settings that say what a commit is worth, as it tells them itself.
    pub async fn settings(&self) -> Vec<(String, String)> {
        let mut connection = PgConnection::connect(self.url()).await.expect("a connection");
        let names: Vec<&str> = ["server_version", "fsync", "synchronous_commit"]
            .into_iter()
            .chain(SETTINGS.map(|(name, _)| name))
            .collect();
        let mut settings = Vec::new();
        for name in names {
            let read = "select current_setting($1)";
            let value = sqlx::query_scalar(read).bind(name).fetch_one(&mut connection).await.expect("a setting");
            settings.push((name.to_owned(), value));
        }
        settings
    }

    /// Vacuums all tables, and gathers their statistics.
    pub async fn vacuum(&self) {
        Self::vacuum_at(self.url()).await;
    }

    /// The same of another database.
    pub async fn vacuum_at(url: &str) {
        let mut connection = PgConnection::connect(url).await.expect("a connection");
        sqlx::raw_sql("vacuum analyze").execute(&mut connection).await.expect("vacuumed");
    }

    /// The process of the server.
    pub fn pid(&self) -> i32 {
        self.postgres.as_ref().expect("it runs").pid()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(postgres) = self.postgres.take() {
            postgres.stop();
        }
        if Profile::wanted() == Some(Profile::Plans) {
            let kept = std::env::temp_dir().join("textback-bench-plans.log");
            if let Some(log) = find_log(&self.folder) {
                let _ = std::fs::copy(log, &kept);
                println!("plans of what took over 10 ms: {}", kept.display());
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server's log, somewhere below a folder.
fn find_log(folder: &std::path::Path) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("log") if path.is_file() => Some(path),
            Some("data") => None,
            _ if path.is_dir() => find_log(&path),
            _ => None,
        }
    })
}

/// What a single load is profiled for (TEXTBACK_BENCH_PROFILE), instead of measuring everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Only the pgbench bound.
    Bound,
    /// Its rate and its latencies.
    Load,
    /// The rate of acknowledgements without workers.
    Intake,
    /// Its statements, including those inside functions. This costs a tenth of the speed.
    Statements,
    /// The plans of statements that took over 10 ms. This costs a third of the speed.
    Plans,
    /// The peers and textback, printed and not written to the report.
    Peers,
}

impl Profile {
    pub fn wanted() -> Option<Self> {
        match std::env::var("TEXTBACK_BENCH_PROFILE").ok()?.as_str() {
            "bound" => Some(Self::Bound),
            "load" => Some(Self::Load),
            "intake" => Some(Self::Intake),
            "statements" => Some(Self::Statements),
            "plans" => Some(Self::Plans),
            "peers" => Some(Self::Peers),
            other => {
                panic!("TEXTBACK_BENCH_PROFILE is bound, intake, load, statements, plans or peers, and not {other:?}")
            }
        }
    }
}

/// Resets the statistics of statements.
pub async fn forget_statements(storage: &Storage) {
    let forget =
        "create extension if not exists pg_stat_statements schema public; select public.pg_stat_statements_reset()";
    sqlx::raw_sql(forget).execute(storage.pool()).await.expect("forgotten");
}

/// Prints the statements that took longest, including those inside functions: calls and
/// microseconds per text.
pub async fn print_statements(storage: &Storage, texts: usize) {
    let read = "select calls::float8, total_exec_time * 1000, toplevel, left(regexp_replace(regexp_replace(query, '--[^\n]*', '', 'g'), '[[:space:]]+', ' ', 'g'), 130)
                  from public.pg_stat_statements order by total_exec_time desc limit 45";
    let rows: Vec<(f64, f64, bool, String)> = sqlx::query_as(read).fetch_all(storage.pool()).await.expect("statements");
    for (calls, micros, top, query) in rows {
        let texts = texts as f64;
        println!(
            "  {:>7.3} calls {:>7.1} us a text {} {query}",
            calls / texts,
            micros / texts,
            if top { "TOP" } else { "   " }
        );
    }
}

/// A process that is killed when this is dropped.
pub struct Process(pub Child);

impl Process {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// textback with a database of its own.
pub struct Harness {
    pub storage: Storage,
    pub target: Target,
    pub carrier: Current,
    carrier_url: String,
    secret_key: String,
    database_url: String,
    address: SocketAddr,
    pub serve: Option<Process>,
    pub work: Vec<Process>,
    works_in_serve: bool,
    pub http: reqwest::Client,
    key: String,
    pub ready_after: Duration,
}

impl Harness {
    /// Starts textback with a project whose agent echoes, and with `workers` worker processes; with
    /// 0, `serve` runs workers.
    pub async fn start(server: &Server, workers: usize) -> Self {
        textback::storage::migrate(server.url()).await.expect("the schema");
        let storage = Storage::open(server.url(), 4, Arc::new(Notifier::default())).expect("a storage");
        let mut connection = storage.connection().await.expect("a connection");
        let (made, key) = project::create(&mut connection, "bench").await.expect("a project");
        drop(connection);
        let current = load_generator::nothing();
        let carrier = load_generator::carrier(current.clone()).await;
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let path = format!("/webhooks/twilio/{}/messages", made.webhook_key);
        let mut harness = Self {
            storage,
            target: Target { address, url: format!("http://{address}{path}"), path },
            carrier: current,
            carrier_url: format!("http://{carrier}"),
            secret_key: SecretKeys::draw().1,
            database_url: server.url().to_owned(),
            address,
            serve: None,
            work: Vec::new(),
            works_in_serve: workers == 0,
            http: reqwest::Client::new(),
            key,
            ready_after: Duration::ZERO,
        };
        harness.start_serve().await;
        for _ in 0..workers {
            harness.work.push(harness.spawn("work", false));
        }
        harness.set_up().await;
        harness
    }

    /// Starts again with an empty database, and with the workers of `serve`.
    pub async fn restart(self, server: &Server) -> Self {
        let Self { storage, serve, work, .. } = self;
        drop((serve, work));
        sqlx::raw_sql("drop schema textback cascade").execute(storage.pool()).await.expect("it is gone");
        storage.close().await;
        Self::start(server, 0).await
    }

    /// Starts `serve` and waits until it is ready.
    pub async fn start_serve(&mut self) {
        drop(self.serve.take());
        let began = Instant::now();
        self.serve = Some(self.spawn("serve", self.works_in_serve));
        loop {
            let answer = self.http.get(format!("http://{}/readyz", self.address)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "serve is not ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.ready_after = began.elapsed();
    }

    /// Replaces the workers by this many worker processes, after the old ones have finished their
    /// jobs.
    pub async fn start_workers(&mut self, workers: usize) {
        self.stop_workers().await;
        if self.works_in_serve {
            self.works_in_serve = false;
            self.start_serve().await;
        }
        for _ in 0..workers {
            self.work.push(self.spawn("work", false));
        }
    }

    /// Replaces the workers by those of `serve`.
    pub async fn work_in_serve(&mut self) {
        self.stop_workers().await;
        self.works_in_serve = true;
        self.start_serve().await;
    }

    /// Stops the workers after they have finished their jobs.
    async fn stop_workers(&mut self) {
        if self.works() {
            self.drain().await;
        }
        self.work.clear();
    }

    /// The workers, for the report.
    pub fn workers(&self) -> String {
        match self.work.len() {
            0 if self.works_in_serve => "in `serve`".to_owned(),
            workers => workers.to_string(),
        }
    }

    /// Whether there are workers.
    pub fn works(&self) -> bool {
        self.works_in_serve || !self.work.is_empty()
    }

    fn spawn(&self, command: &str, with_workers: bool) -> Process {
        let mut process = Command::new(env!("CARGO_BIN_EXE_textback"));
        process
            .arg(command)
            .env("DATABASE_URL", &self.database_url)
            .env("TEXTBACK_SECRET_KEY", &self.secret_key)
            .env("TEXTBACK_TWILIO_API_URL", &self.carrier_url)
            .env("TEXTBACK_TWILIO_MESSAGING_URL", &self.carrier_url)
            .env("TEXTBACK_PUBLIC_URL", format!("http://{}", self.address))
            .env("TEXTBACK_LISTEN", self.address.to_string())
            .env("TEXTBACK_WITH_WORKERS", with_workers.to_string())
            .env("RUST_LOG", "error")
            .stdout(Stdio::null());
        Process(process.spawn().expect("it starts"))
    }

    async fn set_up(&self) {
        let call = async |method: reqwest::Method, path: &str, body: Value| -> Value {
            let url = format!("http://{}/v1/{path}", self.address);
            let answer =
                self.http.request(method, url).bearer_auth(&self.key).json(&body).send().await.expect("an answer");
            let status = answer.status();
            let told: Value = answer.json().await.expect("JSON");
            assert!(status.is_success(), "{path}: {status} {told}");
            told
        };
        call(reqwest::Method::PUT, "carrier", json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN})).await;
        // The contacts of the bench text faster than people.
        let guards = json!({"texts_per_contact_per_minute": 0, "repeats_in_five_minutes": 0});
        call(
            reqwest::Method::PATCH,
            "project",
            json!({"guards": guards, "outbound_per_contact_per_hour": 0, "outbound_per_contact_per_day": 0}),
        )
        .await;
        // The carrier of the bench has no registrations.
        call(reqwest::Method::PATCH, "countries/US", json!({"registration_policy": "none"})).await;
        let agent = json!({"name": "echo", "kind": "script", "source": "def reply(conv, text): return text", "first_message": "process"});
        let made = call(reqwest::Method::POST, "agents", agent).await;
        call(reqwest::Method::POST, "numbers", json!({"number": NUMBER, "agent_id": made["id"]})).await;
    }

    /// Waits until `expected` texts are answered.
    pub async fn until_answered(&self, expected: usize) {
        let clocks = self.carrier.lock().expect("not poisoned").clone();
        let until = Instant::now() + Duration::from_secs(120);
        while clocks.answers() < expected {
            assert!(Instant::now() < until, "{} of {expected} texts were answered", clocks.answers());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until no turn and no delivery is left.
    pub async fn drain(&self) {
        let until = Instant::now() + Duration::from_secs(180);
        let left = "select (select count(*) from turn) + (select count(*) from delivery where due_at is not null)";
        while sqlx::query_scalar::<_, i64>(left).fetch_one(self.storage.pool()).await.expect("a count") > 0 {
            assert!(Instant::now() < until, "texts were not answered");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Makes each flush take 1.5 ms longer from now on, or no longer.
    pub async fn slow_disk(&self, slow: bool) {
        for setting in [
            format!("alter system set commit_delay = {}", if slow { 1_500 } else { 0 }),
            format!("alter system set commit_siblings = {}", if slow { 0 } else { 5 }),
            "select pg_reload_conf()".to_owned(),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(setting)).execute(self.storage.pool()).await.expect("it is set");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// The processes of textback.
    pub fn pids(&self) -> Vec<i32> {
        self.serve.iter().chain(&self.work).map(Process::pid).collect()
    }
}

/// Commits and bytes of WAL so far, when the server has counted all.
pub async fn statistics(storage: &Storage) -> [f64; 2] {
    // Statistics are written about once a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let read = "select sum(xact_commit)::float8, (select wal_bytes::float8 from pg_stat_wal) from pg_stat_database";
    let (commits, wal): (f64, f64) = sqlx::query_as(read).fetch_one(storage.pool()).await.expect("statistics");
    [commits, wal]
}

/// Seconds of CPU that processes and all their children have used so far. Children that have ended
/// count as well.
pub fn cpu_seconds(roots: &[i32]) -> f64 {
    let mut parents: HashMap<i32, (i32, f64)> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        // utime, stime, and those of children that were waited for; 100 a second on Linux.
        parents.insert(pid, (number(1) as i32, (number(11) + number(12) + number(13) + number(14)) / 100.0));
    }
    let within = |mut pid: i32| {
        while let Some((parent, _)) = parents.get(&pid) {
            if roots.contains(&pid) {
                return true;
            }
            pid = *parent;
        }
        false
    };
    parents.iter().filter(|(pid, _)| within(**pid)).map(|(_, (_, seconds))| seconds).sum()
}

/// Memory of a process and all its children in megabytes, as of now: what several share is divided
/// among them (PSS).
pub fn memory_megabytes(root: i32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{root}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    let own = line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0;
    let threads = std::fs::read_dir(format!("/proc/{root}/task")).into_iter().flatten().flatten();
    let children: f64 = threads
        .map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default())
        .flat_map(|children| children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .map(memory_megabytes)
        .sum();
    own + children
}
