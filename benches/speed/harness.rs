//! What is measured: a PostgreSQL of its own with fsync on, and textback as its users run it, processes beside each other; it judges nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use textback::dev::postgres::Postgres;
use textback::secret::SecretKeys;
use textback::storage::notifier::Notifier;
use textback::storage::{Storage, project};

use crate::wire::{self, ACCOUNT_SID, AUTH_TOKEN, Current, NUMBER, Target};

/// The server's settings: fsync stays on, since an acknowledgement that is not on the disk is none.
const SETTINGS: [(&str, &str); 4] =
    [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("checkpoint_timeout", "30min"), ("max_connections", "200")];

/// A PostgreSQL of its own, whose data goes with it.
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
        let postgres = Postgres::start(&folder, None, &settings).await.expect("PostgreSQL");
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

/// What a single saturating load is looked at for (TEXTBACK_BENCH_PROFILE), instead of measuring everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The bound alone.
    Bound,
    /// How fast it is.
    Load,
    /// How fast texts are acknowledged when nobody answers them.
    Intake,
    /// Its statements, those inside functions too, which costs a tenth of the speed.
    Statements,
    /// The plans of what took over 10 ms, which costs a third.
    Plans,
    /// The peers and textback beside them, printed and not written.
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

/// Forgets what was counted of statements so far.
pub async fn forget_statements(storage: &Storage) {
    let forget =
        "create extension if not exists pg_stat_statements schema public; select public.pg_stat_statements_reset()";
    sqlx::raw_sql(forget).execute(storage.pool()).await.expect("forgotten");
}

/// The statements that took longest, those inside functions too: calls and microseconds a text, and how they begin.
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

/// A process that ends with the measurement.
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

/// textback on a database that was made for it.
pub struct Stage {
    pub storage: Storage,
    pub target: Target,
    pub carrier: Current,
    carrier_url: String,
    secret_key: String,
    database_url: String,
    address: SocketAddr,
    pub serve: Option<Process>,
    pub work: Vec<Process>,
    works_inside: bool,
    pub http: reqwest::Client,
    key: String,
    pub ready_after: Duration,
}

impl Stage {
    /// A project with a number that echoes, served and worked for: by so many workers, none of them being those of `serve` itself.
    pub async fn set(server: &Server, workers: usize) -> Self {
        textback::storage::migrate(server.url()).await.expect("the schema");
        let storage = Storage::open(server.url(), 4, Arc::new(Notifier::default())).expect("a ledger");
        let (made, key) = project::create(&storage, "bench").await.expect("a project");
        let current = wire::nothing();
        let carrier = wire::carrier(current.clone()).await;
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let path = format!("/webhooks/twilio/{}/messages", made.webhook_key);
        let mut stage = Self {
            storage,
            target: Target { address, url: format!("http://{address}{path}"), path },
            carrier: current,
            carrier_url: format!("http://{carrier}"),
            secret_key: SecretKeys::draw().1,
            database_url: server.url().to_owned(),
            address,
            serve: None,
            work: Vec::new(),
            works_inside: workers == 0,
            http: reqwest::Client::new(),
            key,
            ready_after: Duration::ZERO,
        };
        stage.start_serve().await;
        for _ in 0..workers {
            stage.work.push(stage.start("work", false));
        }
        stage.furnish().await;
        stage
    }

    /// The same in a database that knows nothing, with the workers of `serve`.
    pub async fn anew(self, server: &Server) -> Self {
        let Self { storage, serve, work, .. } = self;
        drop((serve, work));
        sqlx::raw_sql("drop schema textback cascade").execute(storage.pool()).await.expect("it is gone");
        storage.close().await;
        Self::set(server, 0).await
    }

    /// Starts `serve` and waits until it is ready.
    pub async fn start_serve(&mut self) {
        drop(self.serve.take());
        let began = Instant::now();
        self.serve = Some(self.start("serve", self.works_inside));
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

    /// As many worker processes as this. Those before have written what became of their work.
    pub async fn work_with(&mut self, workers: usize) {
        self.rest().await;
        if self.works_inside {
            self.works_inside = false;
            self.start_serve().await;
        }
        for _ in 0..workers {
            self.work.push(self.start("work", false));
        }
    }

    /// Workers in the process of `serve`, and no others.
    pub async fn work_inside(&mut self) {
        self.rest().await;
        self.works_inside = true;
        self.start_serve().await;
    }

    /// Ends the workers when their work is done.
    async fn rest(&mut self) {
        if self.works() {
            self.drain().await;
        }
        self.work.clear();
    }

    /// Who works, in a word.
    pub fn workers(&self) -> String {
        match self.work.len() {
            0 if self.works_inside => "in `serve`".to_owned(),
            workers => workers.to_string(),
        }
    }

    /// Whether anybody works.
    pub fn works(&self) -> bool {
        self.works_inside || !self.work.is_empty()
    }

    fn start(&self, command: &str, with_workers: bool) -> Process {
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

    async fn furnish(&self) {
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
        // People of the bench text faster than any person.
        let guards = json!({"texts_per_contact_per_minute": 0, "repeats_in_five_minutes": 0});
        call(
            reqwest::Method::PATCH,
            "project",
            json!({"guards": guards, "outbound_per_contact_per_hour": 0, "outbound_per_contact_per_day": 0}),
        )
        .await;
        // Nobody is registered at this carrier, and nobody needs to be.
        call(reqwest::Method::PATCH, "countries/US", json!({"registration_policy": "none"})).await;
        let agent = json!({"name": "echo", "kind": "script", "source": "def reply(conv, text): return text", "first_message": "process"});
        let made = call(reqwest::Method::POST, "agents", agent).await;
        call(reqwest::Method::POST, "numbers", json!({"number": NUMBER, "agent_id": made["id"]})).await;
    }

    /// Waits until everything that was texted is answered.
    pub async fn settle(&self, expected: usize) {
        let clocks = self.carrier.lock().expect("no panic holds it").clone();
        let until = Instant::now() + Duration::from_secs(120);
        while clocks.answers() < expected {
            assert!(Instant::now() < until, "{} of {expected} texts were answered", clocks.answers());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing is left to be answered.
    pub async fn drain(&self) {
        let until = Instant::now() + Duration::from_secs(180);
        let left = "select (select count(*) from turn) + (select count(*) from delivery where due_at is not null)";
        while sqlx::query_scalar::<_, i64>(left).fetch_one(self.storage.pool()).await.expect("a count") > 0 {
            assert!(Instant::now() < until, "texts were not answered");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether each flush takes 1.5 ms longer from now on.
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

/// Seconds of CPU that processes and all their children have used so far. Children that have ended count as well.
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

/// Memory of a process and all its children in megabytes, as of now: what several share is divided among them (PSS).
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
