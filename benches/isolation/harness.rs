//! Starts what is measured: a textback process on a new database, with its tenants.
//!
//! It uses only the commands and the API of the binary, because the measured binary may be older or
//! newer than this bench.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dev_postgres::Postgres;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use textback::dev::postgres;
use textback::secret::SecretKeys;

use crate::carrier::Carrier;
use crate::load_generator::Line;

pub const GOOD_NUMBER: &str = "+14155550199";
/// The neighbours call from a separate address, as in production, so that limits per address apply
/// to them only.
pub const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub const ECHO: &str = "def reply(conv, text): return text";

/// A textback program that is measured.
#[derive(Clone)]
pub struct Binary {
    /// Its name in the table.
    pub name: &'static str,
    pub path: PathBuf,
}

/// A private PostgreSQL, whose data is removed at the end.
pub struct Server {
    postgres: Option<Postgres>,
    pub folder: PathBuf,
}

impl Server {
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("textback-isolation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let settings = [("shared_buffers", "512MB"), ("max_wal_size", "4GB"), ("max_connections", "200")];
        let postgres = postgres::builder().settings(settings).start(&folder).await.expect("PostgreSQL");
        Self { postgres: Some(postgres), folder }
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        let url = self.postgres.as_ref().expect("it runs").url();
        let (server, options) = url.split_once("/textback?").expect("the URL of the first database");
        format!("{server}/{database}?{options}")
    }

    async fn run(&self, statement: String) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url("textback")).await?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(())
    }

    /// Its version and what says what a commit is worth, as it tells them itself.
    pub async fn settings(&self) -> Vec<(String, String)> {
        let mut connection = PgConnection::connect(&self.url("textback")).await.expect("a connection");
        let mut settings = Vec::new();
        for name in ["server_version", "fsync", "synchronous_commit", "shared_buffers"] {
            let read = sqlx::query_scalar("select current_setting($1)").bind(name);
            settings.push((name.to_owned(), read.fetch_one(&mut connection).await.expect("a setting")));
        }
        settings
    }

    pub async fn make(&self, database: &str) {
        self.run(format!("create database {database}")).await.expect("a database");
    }

    /// Drops a database. A statement that is out of memory may hold its session for a while; after
    /// a minute it is left to the server's end.
    pub async fn drop_database(&self, database: &str) {
        for _ in 0..10 {
            match self.run(format!("drop database {database} with (force)")).await {
                Ok(()) => return,
                Err(error) => eprintln!("    {database} is not dropped yet: {error}"),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(postgres) = self.postgres.take() {
            postgres.stop();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
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
    binary: Binary,
    pub database_url: String,
    pub address: SocketAddr,
    /// The address of its metrics, if it has one.
    pub metrics_address: SocketAddr,
    pub log: PathBuf,
    secret_key: String,
    carrier: SocketAddr,
    pub http: reqwest::Client,
    pub serve: Option<Process>,
}

/// A tenant.
#[derive(Clone)]
pub struct Tenant {
    pub project_id: String,
    pub key: String,
    account_sid: String,
    token: String,
    webhook: String,
    origin: IpAddr,
}

impl Harness {
    /// Migrates a database and starts `serve` on it.
    pub async fn open(server: &Server, binary: &Binary, carrier: &Carrier, database: &str, with_workers: bool) -> Self {
        let ports: Vec<SocketAddr> = [0; 2]
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
            .iter()
            .map(|port| port.local_addr().expect("an address"))
            .collect();
        let client = reqwest::Client::builder().local_address(OTHER_ADDRESS).timeout(Duration::from_secs(60));
        let mut harness = Self {
            binary: binary.clone(),
            database_url: server.url(database),
            address: ports[0],
            metrics_address: ports[1],
            log: server.folder.join(format!("{database}.log")),
            secret_key: SecretKeys::draw().1,
            carrier: carrier.address,
            http: client.build().expect("a client"),
            serve: None,
        };
        harness.run(&["migrate"]);
        harness.start(with_workers).await;
        harness
    }

    fn command(&self) -> Command {
        let carrier = format!("http://{}", self.carrier);
        let mut command = Command::new(&self.binary.path);
        command
            .env("DATABASE_URL", &self.database_url)
            .env("TEXTBACK_SECRET_KEY", &self.secret_key)
            .env("TEXTBACK_TWILIO_API_URL", &carrier)
            .env("TEXTBACK_TWILIO_MESSAGING_URL", &carrier)
            .env("TEXTBACK_PUBLIC_URL", format!("http://{}", self.address))
            .env("TEXTBACK_LISTEN", self.address.to_string())
            .env("TEXTBACK_METRICS_LISTEN", self.metrics_address.to_string())
            .env("TEXTBACK_ALLOW_HOSTS", "127.0.0.0/8")
            .env_remove("RUST_LOG");
        command
    }

    /// Runs a command of the binary to its end, and gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().expect("the binary starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "textback {arguments:?} ended with {}: {errors}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn start(&mut self, with_workers: bool) {
        let log = File::create(&self.log).expect("a log");
        let mut command = self.command();
        command
            .arg("serve")
            .env("TEXTBACK_WITH_WORKERS", with_workers.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log));
        self.serve = Some(Process(command.spawn().expect("serve starts")));
        let began = Instant::now();
        while !self.is_ready().await {
            assert!(began.elapsed() < Duration::from_secs(30), "serve is not ready; its log: {}", self.log_text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("http://{}/readyz", self.address)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default().chars().take(2000).collect()
    }

    pub fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).map(|file| file.len()).unwrap_or_default()
    }

    pub fn serve_pid(&self) -> i32 {
        self.serve.as_ref().expect("it was started").pid()
    }

    /// A project with its own carrier account. What it sends needs no registration.
    pub async fn tenant(&self, index: usize, origin: IpAddr) -> Tenant {
        let made: Value = serde_json::from_str(&self.run(&["project", "create", &format!("tenant {index}")]))
            .expect("the command prints JSON");
        let mut tenant = Tenant {
            project_id: made["project_id"].as_str().expect("an id").to_owned(),
            key: made["api_key"].as_str().expect("a key").to_owned(),
            account_sid: format!("AC{index:032}"),
            token: format!("token-{index}"),
            webhook: String::new(),
            origin,
        };
        let account = json!({"account_sid": tenant.account_sid, "auth_token": tenant.token});
        let told = self.call(&tenant, Method::PUT, "carrier", account).await;
        tenant.webhook = told["webhook_urls"]["messages"].as_str().expect("the webhook's address").to_owned();
        self.call(&tenant, Method::PATCH, "countries/US", json!({"registration_policy": "none"})).await;
        tenant
    }

    /// Switches off every limit of a project, as any tenant may do for itself. A binary may know
    /// more limits than this bench does; they are found by their names in what it tells of a
    /// project.
    pub async fn unlimited(&self, tenant: &Tenant) {
        let guards = json!({"texts_per_contact_per_minute": 0, "repeats_in_five_minutes": 0});
        let _ = self.try_call(tenant, Method::PATCH, "project", json!({"guards": guards})).await;
        let told = self.call(tenant, Method::GET, "project", Value::Null).await;
        for change in limits_of(&told) {
            let _ = self.try_call(tenant, Method::PATCH, "project", change).await;
        }
    }

    /// An agent.
    pub async fn agent(&self, tenant: &Tenant, settings: Value) -> String {
        let made = self.call(tenant, Method::POST, "agents", settings).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A number that an agent answers, and the line to it.
    pub async fn number(&self, tenant: &Tenant, number: &str, agent: &str) -> Line {
        self.call(tenant, Method::POST, "numbers", json!({"number": number, "agent_id": agent})).await;
        Line::to(self.address, &tenant.webhook, &tenant.account_sid, &tenant.token, number, tenant.origin)
    }

    /// A number with a script, and the line to it.
    pub async fn script(&self, tenant: &Tenant, number: &str, name: &str, source: &str) -> Line {
        let agent = json!({"name": name, "kind": "script", "source": source, "first_message": "process"});
        let agent = self.agent(tenant, agent).await;
        self.number(tenant, number, &agent).await
    }

    /// Calls the API and expects success.
    pub async fn call(&self, tenant: &Tenant, method: Method, path: &str, body: Value) -> Value {
        let (status, told) = self.try_call(tenant, method, path, body).await.expect("an answer");
        assert!((200..300).contains(&status), "{path}: {status} {told}; log: {}", self.log_text());
        told
    }

    /// Calls the API, and returns status and body.
    pub async fn try_call(
        &self,
        tenant: &Tenant,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value), reqwest::Error> {
        let mut request =
            self.http.request(method, format!("http://{}/v1/{path}", self.address)).bearer_auth(&tenant.key);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Ends `serve`.
    pub fn close(mut self) {
        drop(self.serve.take());
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Changes that set each outbound limit to 0, one a change: one that is refused leaves the others.
fn limits_of(project: &Value) -> Vec<Value> {
    let mut changes = Vec::new();
    for (name, value) in project.as_object().into_iter().flatten() {
        if let Some(group) = value.as_object() {
            let limits = group.iter().filter(|(_, value)| value.is_number());
            changes.extend(limits.map(|(limit, _)| json!({name: {limit: 0}})));
        } else if value.is_number() && (name.contains("per_") || name.contains("limit")) {
            changes.push(json!({name: 0}));
        }
    }
    changes
}

/// The highest memory of a process and its runners.
#[derive(Default, Clone, Copy)]
pub struct Peak {
    pub serve_megabytes: f64,
    pub runner_megabytes: f64,
}

/// Samples the memory of a process ten times a second until it is told to stop.
pub async fn watch(pid: i32, stop: Arc<tokio::sync::Notify>) -> Peak {
    let mut peak = Peak::default();
    loop {
        peak.serve_megabytes = peak.serve_megabytes.max(resident_megabytes(pid));
        for runner in runners_of(pid) {
            peak.runner_megabytes = peak.runner_megabytes.max(resident_megabytes(runner));
        }
        let pause = tokio::time::sleep(Duration::from_millis(100));
        tokio::select! {
            () = pause => {}
            () = stop.notified() => return peak,
        }
    }
}

fn resident_megabytes(pid: i32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}

/// The processes below one, its runners of scripts.
pub fn runners_of(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children: Vec<i32> = threads
        .map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default())
        .flat_map(|children| children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .collect();
    children.into_iter().flat_map(|child| [vec![child], runners_of(child)].concat()).collect()
}

/// Whether a process is still a runner: its number may have been given to another program.
pub fn still_runs_scripts(pid: i32) -> bool {
    let alive = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    let command = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    alive && String::from_utf8_lossy(&command).contains("run-scripts")
}
