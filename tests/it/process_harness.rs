//! Starts real processes with a PostgreSQL and a simulated carrier of their own, cuts their
//! connections, and checks that each message was answered once.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dev_postgres::Postgres;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use textback::dev::postgres;
use textback::http::listener::Listening;
use textback::secret::SecretKeys;
use textback::storage::notifier::Notifier;
use textback::storage::{Storage, invariant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use twilio_simulator::{Account, Settings, Simulator};

use crate::commands::{Running, textback};
use crate::harness::{ACCOUNT_SID, AUTH_TOKEN, NUMBER, id, without_rate_limits};
use crate::proxy::{Proxy, Upstream};

/// A script that repeats each message of the turn.
pub const ECHO_ALL: &str = "def reply(conv, text): return \"|\".join(conv.messages)";

/// A small random generator (xorshift64*): the same seed gives the same numbers.
pub struct Rng(u64);

impl Rng {
    pub fn of(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // The first numbers of similar seeds are similar.
        for _ in 0..8 {
            rng.below(2);
        }
        rng
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// Real processes over a database of their own.
pub struct ProcessHarness {
    folder: PathBuf,
    pub postgres: Option<Postgres>,
    pub simulator: Simulator,
    pub api: SocketAddr,
    /// The key of the project that owns the number.
    pub key: String,
    secret_key: String,
    /// The URL of the database, without the proxy.
    pub url: String,
    /// The proxies between the processes and the database or the carrier.
    pub to_database: Proxy,
    pub to_carrier: Proxy,
    /// Environment variables of processes that are started later.
    pub variables: Vec<(&'static str, String)>,
    pub serve: Option<Running>,
    pub work: Vec<Running>,
}

impl ProcessHarness {
    /// Starts the database and the carrier.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// The same with further settings of PostgreSQL.
    pub async fn start_with(name: &str, settings: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("textback-processes-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let settings = [&[("max_connections", "80")], settings].concat();
        let postgres = postgres::builder().settings(settings).start(&folder).await.expect("PostgreSQL");
        textback::storage::migrate(postgres.url()).await.expect("the schema");
        let simulator = Simulator::new(Settings::default()).expect("a simulator");
        simulator.add_account(Account::new(ACCOUNT_SID, AUTH_TOKEN));
        simulator.add_number(ACCOUNT_SID, NUMBER);
        let listening = Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)), "nothing").await.expect("a port");
        let to_carrier = Proxy::to(Upstream::Port(listening.address())).await;
        tokio::spawn(listening.serve(simulator.routes(), std::future::pending()));
        let to_database = Proxy::to(Upstream::Socket(socket_of(postgres.url()))).await;
        let api = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        Self {
            folder,
            url: postgres.url().to_owned(),
            postgres: Some(postgres),
            simulator,
            api,
            key: String::new(),
            secret_key: SecretKeys::draw().1,
            to_database,
            to_carrier,
            variables: Vec::new(),
            serve: None,
            work: Vec::new(),
        }
    }

    /// Starts one `serve` and `workers` times `work`, and creates the project, the agent and the
    /// number through the API.
    pub async fn open(&mut self, workers: usize, agent: Value) {
        self.serve = Some(self.start_serve(&[]));
        self.work = (0..workers).map(|_| self.start_work(&[])).collect();
        let storage = self.storage();
        self.key = crate::harness::create_project(&storage, "harness").await.expect("a project").1;
        storage.close().await;
        self.call(Method::PUT, "carrier", json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN})).await;
        self.call(Method::PATCH, "project", without_rate_limits()).await;
        let agent = self.call(Method::POST, "agents", agent).await;
        self.call(Method::POST, "numbers", json!({"number": NUMBER, "agent_id": id(&agent["id"])})).await;
    }

    /// The agent of most tests.
    pub fn echo() -> Value {
        json!({"name": "echo", "kind": "script", "source": ECHO_ALL, "first_message": "process", "error_message": ""})
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("http://{}/v1/{path}", self.api);
        let request = reqwest::Client::new().request(method, url).bearer_auth(&self.key).json(&body);
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let told: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{path} answered {status}: {told}");
        told
    }

    pub fn start_serve(&self, more: &[(&str, &str)]) -> Running {
        self.spawn("serve", "server started", more)
    }

    pub fn start_work(&self, more: &[(&str, &str)]) -> Running {
        self.spawn("work", "workers started", more)
    }

    fn spawn(&self, command: &str, ready: &str, more: &[(&str, &str)]) -> Running {
        let mut running = Running::start(self.command(command, more).stdout(Stdio::null()), false);
        running.until(ready);
        running
    }

    /// A textback command with the settings of this harness.
    pub fn command(&self, command: &str, more: &[(&str, &str)]) -> Command {
        let mut process = textback();
        process
            .arg(command)
            .env("DATABASE_URL", self.proxied_url())
            .env("TEXTBACK_SECRET_KEY", &self.secret_key)
            .env("TEXTBACK_TWILIO_API_URL", format!("http://{}", self.to_carrier.address()))
            .env("TEXTBACK_TWILIO_MESSAGING_URL", format!("http://{}", self.to_carrier.address()))
            .env("TEXTBACK_PUBLIC_URL", format!("http://{}", self.api))
            .env("TEXTBACK_LISTEN", self.api.to_string())
            .env("TEXTBACK_LEASE_SECONDS", "3")
            .env("TEXTBACK_UNKNOWN_SETTLE_SECONDS", "3")
            .env("TEXTBACK_READ_BACK_SECONDS", "1")
            .env("TEXTBACK_POLL_SECONDS", "0.3")
            // Only the line that the process is ready: nobody reads the rest, and a full pipe would
            // block the process.
            .env("RUST_LOG", "off,textback::cli=info")
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .envs(more.iter().copied());
        process
    }

    /// The output of `textback doctor` with the settings of the processes.
    pub fn doctor(&self) -> String {
        self.doctor_with(&[])
    }

    pub fn doctor_with(&self, more: &[(&str, &str)]) -> String {
        let output = self.command("doctor", more).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The address of another proxy in front of `serve`.
    pub async fn to_api(&self) -> SocketAddr {
        Proxy::to(Upstream::Port(self.api)).await.address()
    }

    /// The URL of the database through the proxy.
    fn proxied_url(&self) -> String {
        let mut url = url::Url::parse(&self.url).expect("a URL");
        url.set_query(Some("sslmode=disable"));
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(self.to_database.address().port())).expect("a port");
        url.into()
    }

    pub fn storage(&self) -> Storage {
        Storage::open(&self.url, 2, Arc::new(Notifier::default())).expect("a storage")
    }

    /// The URL of another database of the same server.
    pub fn url_of(&self, database: &str) -> String {
        self.url.replace("/textback?", &format!("/{database}?"))
    }

    /// Runs a statement in the database, without the proxy.
    pub async fn sql(&self, statement: &'static str) {
        let options = textback::storage::database::options(&self.url).expect("a URL");
        let mut connection = sqlx::PgConnection::connect_with(&options).await.expect("a connection");
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("it runs");
    }

    /// Runs a statement from another database of the same server.
    pub async fn sql_elsewhere(&self, statement: &'static str) {
        let options = textback::storage::database::options(&self.url).expect("a URL").database("postgres");
        let mut connection = sqlx::PgConnection::connect_with(&options).await.expect("a connection");
        sqlx::raw_sql(statement).execute(&mut connection).await.expect("it runs");
    }

    /// Restarts the database as a standby, which is read-only.
    pub async fn become_a_standby(&mut self) {
        let mut connection = sqlx::PgConnection::connect(&self.url).await.expect("a connection");
        let data: String = sqlx::query_scalar("select current_setting('data_directory')")
            .fetch_one(&mut connection)
            .await
            .expect("it");
        self.postgres.take().expect("it runs").stop();
        std::fs::write(Path::new(&data).join("standby.signal"), "").expect("written");
        self.postgres = Some(start_postgres(&self.folder).await);
    }

    /// Crashes the database and restarts it.
    pub async fn crash_database(&mut self) {
        if let Some(postgres) = self.postgres.take() {
            tokio::task::spawn_blocking(move || postgres.crash()).await.expect("crashed");
        }
        self.postgres = Some(start_postgres(&self.folder).await);
    }

    /// Ends every connection of the processes to the database.
    pub async fn cut_connections(&self) {
        self.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'textback' and pid <> pg_backend_pid()")
            .await;
    }

    /// Waits until `/readyz` of `serve` reports that it is ready.
    pub async fn until_ready(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while self.readiness().await.0 != 200 {
            assert!(Instant::now() < until, "serve is not ready within 60 s");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until `/readyz` reports that `serve` is not ready, and returns its status and code.
    pub async fn unreadiness(&self) -> (u16, String) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let (status, code) = self.readiness().await;
            if status != 200 || Instant::now() > until {
                return (status, code);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The status of `/readyz`, and the code of its problem.
    pub async fn readiness(&self) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}/readyz", self.api)).await.expect("an answer");
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap_or_default();
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Lets phones text in parallel. Each phone sends one text after the other with a pause, until
    /// it has sent `most` or the receiver is dropped.
    pub fn phones(&self, phones: u64, most: u64, pause: Duration) -> UnboundedReceiver<Texted> {
        let (sender, receiver) = unbounded_channel();
        for phone in 0..phones {
            let (simulator, sender) = (self.simulator.clone(), sender.clone());
            tokio::spawn(async move {
                let mut interval = tokio::time::interval(pause.max(Duration::from_micros(1)));
                interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                for n in 0..most {
                    interval.tick().await;
                    let (from, body) = (format!("+1415555{phone:04}"), format!("{phone}-{n}"));
                    let texted = simulator.say(&from, NUMBER, &body).await;
                    let acknowledged = texted.webhook_status == Some(200) && texted.error.is_none();
                    if sender.send(Texted { from, body, acknowledged }).is_err() {
                        return;
                    }
                }
            });
        }
        receiver
    }
}

impl Drop for ProcessHarness {
    fn drop(&mut self) {
        self.serve = None;
        self.work.clear();
        self.postgres = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn start_postgres(folder: &Path) -> Postgres {
    postgres::builder().setting("max_connections", "80").start(folder).await.expect("PostgreSQL")
}

pub fn socket_of(url: &str) -> PathBuf {
    let url = url::Url::parse(url).expect("a URL");
    let folder = url.query_pairs().find(|(name, _)| name == "host").expect("a socket").1.into_owned();
    Path::new(&folder).join(".s.PGSQL.5432")
}

/// A text that a phone sent.
pub struct Texted {
    pub from: String,
    pub body: String,
    pub acknowledged: bool,
}

/// The texts that the phones sent, each of which must be answered once.
#[derive(Default)]
pub struct ExpectedReplies {
    /// By phone, in the order of sending.
    texts: HashMap<String, Vec<(String, bool)>>,
}

/// The result of comparing sent texts with received replies.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub texts: usize,
    pub acknowledged: usize,
    pub lost: usize,
    pub doubled: usize,
    pub phones_out_of_order: usize,
    pub invariants_broken: Vec<&'static str>,
}

impl ExpectedReplies {
    pub fn note(&mut self, texted: Texted) {
        self.texts.entry(texted.from).or_default().push((texted.body, texted.acknowledged));
    }

    /// Waits for at most 60 s until every acknowledged text is answered, and compares.
    pub async fn verdict(&self, harness: &ProcessHarness) -> Verdict {
        let until = Instant::now() + Duration::from_secs(60);
        let storage = harness.storage();
        loop {
            // An unknown delivery may be sent once more, so nothing is compared before all
            // deliveries are settled.
            let live = "select (select count(*) from turn) + (select count(*) from delivery where due_at is not null)";
            let live: i64 = sqlx::query_scalar(live).fetch_one(storage.pool()).await.unwrap_or(1);
            // A comparison reads every message of every phone, so it waits until nothing is live.
            if (live == 0 && self.compare(&harness.simulator).0 == 0) || Instant::now() > until {
                break;
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), harness.simulator.until_change()).await;
        }
        harness.simulator.idle().await;
        let (lost, doubled, phones_out_of_order) = self.compare(&harness.simulator);
        let breaches = invariant::check(&mut *crate::harness::pooled(&storage).await).await.expect("the invariants");
        if lost > 0 {
            println!("{lost} lost; messages, deliveries and turns by state: {}", states(&storage).await);
        }
        storage.close().await;
        let all = || self.texts.values().flatten();
        Verdict {
            texts: all().count(),
            acknowledged: all().filter(|(_, acknowledged)| *acknowledged).count(),
            lost,
            doubled,
            phones_out_of_order,
            invariants_broken: breaches.into_iter().map(|breach| breach.view).collect(),
        }
    }

    /// How many texts are lost, how many doubled, how many phones have their answers in another
    /// order.
    ///
    /// A text that was not acknowledged may be answered or not, but never twice.
    fn compare(&self, simulator: &Simulator) -> (usize, usize, usize) {
        let (mut lost, mut doubled, mut disordered) = (0, 0, 0);
        for (phone, texts) in &self.texts {
            let answers = simulator.received(phone, NUMBER);
            let mut positions: HashMap<&str, Vec<usize>> = HashMap::new();
            for (position, answer) in answers.iter().flat_map(|reply| reply.split('|')).enumerate() {
                positions.entry(answer).or_default().push(position);
            }
            let positions_of = |text: &String| positions.get(text.as_str()).map(Vec::as_slice).unwrap_or_default();
            doubled += texts.iter().filter(|(text, _)| positions_of(text).len() > 1).count();
            let acknowledged = || texts.iter().filter(|(_, acknowledged)| *acknowledged);
            lost += acknowledged().filter(|(text, _)| positions_of(text).is_empty()).count();
            let order: Vec<usize> =
                acknowledged().filter_map(|(text, _)| positions_of(text).first().copied()).collect();
            disordered += usize::from(!order.is_sorted());
        }
        (lost, doubled, disordered)
    }
}

/// Counts messages, deliveries and turns by state, for the output of a failed test.
async fn states(storage: &Storage) -> String {
    let states = "
        select string_agg(count || ' ' || state, ', ') from (
            select count(*), 'inbound ' || coalesce(skip_reason, case when seq <= handled_seq then 'handled' else 'waiting' end) as state
              from message join session on session.id = session_id where direction = 'inbound' group by 2
            union all
            select count(*), concat_ws(' ', 'delivery', status, error_class, left(error_detail, 80),
                                       'leased for ' || round(extract(epoch from leased_until - now())) || ' s') from delivery group by 2
            union all
            select count(*), concat_ws(' ', 'turn', 'attempt', attempts, 'due in', round(extract(epoch from due_at - now())), 's',
                                       'leased for ' || round(extract(epoch from leased_until - now())) || ' s', left(last_error, 80))
              from turn group by 2) of_each";
    sqlx::query_scalar::<_, Option<String>>(states)
        .fetch_one(storage.pool())
        .await
        .expect("an answer")
        .unwrap_or_default()
}

impl Verdict {
    /// Fails unless every acknowledged text was answered once, in order, and all invariants hold.
    pub fn must_be_clean(&self, test: &str) {
        let faults = (self.lost, self.doubled, self.phones_out_of_order, self.invariants_broken.as_slice());
        assert_eq!(faults, (0, 0, 0, [].as_slice()), "{test}");
        assert!(self.acknowledged > 0, "{test}: nothing was acknowledged");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} texts, {} acknowledged, {} lost, {} doubled, {} phones out of order, {} invariants broken",
            self.texts,
            self.acknowledged,
            self.lost,
            self.doubled,
            self.phones_out_of_order,
            self.invariants_broken.len()
        )
    }
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
