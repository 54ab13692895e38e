//! Everything dies while people text: workers, the API, the database, the carrier's answers. Every text that was
//! acknowledged is answered exactly once, in order, and every invariant holds.
//!
//! `make test` runs two seeds, one with callbacks and one without; `make chaos` runs more (TEXTBACK_CHAOS_SEEDS, TEXTBACK_CHAOS_TEXTS, TEXTBACK_CHAOS_FIRST_SEED).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use textback::dev::postgres::Postgres;
use textback::ledger::wake::Wakes;
use textback::ledger::{Ledger, invariant, project};
use textback::listen::Listening;
use textback::secret::SecretKey;
use textback::simulator::{Account, Behaviour, Fault, Simulator};

use crate::commands::{Running, textback};
use crate::harness::{ACCOUNT_SID, AUTH_TOKEN, NUMBER, id};

const PHONES: u64 = 24;
/// Says back each text of the turn, so that none can hide among others.
const AGENT: &str = "def reply(conv, text): return \"|\".join(conv.messages)";

/// A small generator (xorshift64*): the same seed gives the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

/// Real processes over a database of their own, and what can befall them.
struct Stage {
    folder: std::path::PathBuf,
    postgres: Option<Postgres>,
    simulator: Simulator,
    simulator_url: String,
    api: SocketAddr,
    secret_key: String,
    url: String,
    serve: Option<Running>,
    work: Vec<Running>,
}

impl Stage {
    async fn set(seed: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("textback-chaos-{}-{seed}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let postgres = Postgres::start(&folder, None, &[("max_connections", "60")]).await.expect("PostgreSQL");
        textback::ledger::migrate(postgres.url()).await.expect("the schema");
        let simulator = Simulator::new(Behaviour::default()).expect("a simulator");
        simulator.add_account(Account::new(ACCOUNT_SID, AUTH_TOKEN));
        simulator.add_number(ACCOUNT_SID, NUMBER);
        let listening = Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)), "nothing").await.expect("a port");
        let simulator_url = format!("http://{}", listening.address());
        tokio::spawn(listening.serve(simulator.routes(), std::future::pending()));
        let api = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let url = postgres.url().to_owned();
        let secret_key = SecretKey::draw().1;
        let mut stage = Self {
            folder,
            postgres: Some(postgres),
            simulator,
            simulator_url,
            api,
            secret_key,
            url,
            serve: None,
            work: Vec::new(),
        };
        stage.serve = Some(stage.start("serve", "serving"));
        stage.work = vec![stage.start("work", "working"), stage.start("work", "working")];
        stage
    }

    fn start(&self, command: &str, ready: &str) -> Running {
        let mut process = textback();
        process
            .arg(command)
            .env("DATABASE_URL", &self.url)
            .env("TEXTBACK_SECRET_KEY", &self.secret_key)
            .env("TEXTBACK_TWILIO_API_URL", &self.simulator_url)
            .env("TEXTBACK_PUBLIC_URL", format!("http://{}", self.api))
            .env("TEXTBACK_LISTEN", self.api.to_string())
            .env("TEXTBACK_LEASE_SECONDS", "3")
            .env("TEXTBACK_UNKNOWN_SETTLE_SECONDS", "3")
            .env("TEXTBACK_POLL_SECONDS", "0.3")
            // Only the word that it is ready: nobody reads on, and a full pipe would hold it up.
            .env("RUST_LOG", "off,textback::command=info")
            .stdout(Stdio::null());
        let mut running = Running::start(&mut process, false);
        running.until(ready);
        running
    }

    /// Makes a project with an agent that answers the number, through the API.
    async fn furnish(&self) {
        let ledger = self.ledger();
        let (_, key) = project::create(&ledger, "chaos").await.expect("a project");
        let http = reqwest::Client::new();
        let call = async |method: Method, path: &str, body: Value| -> Value {
            let request = http.request(method, format!("http://{}/v1/{path}", self.api)).bearer_auth(&key).json(&body);
            request.send().await.expect("an answer").json().await.expect("JSON")
        };
        call(Method::PUT, "carrier", json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN})).await;
        let agent = json!({"name": "echo", "kind": "script", "source": AGENT, "first_message": "process"});
        let made = call(Method::POST, "agents", agent).await;
        call(Method::POST, "numbers", json!({"number": NUMBER, "agent_id": id(&made["id"])})).await;
        ledger.close().await;
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.url, 2, Arc::new(Wakes::default())).expect("a ledger")
    }

    /// Something dies.
    async fn befall(&mut self, dice: &mut Dice) -> &'static str {
        match dice.roll(5) {
            0 => {
                let one = usize::try_from(dice.roll(2)).expect("small");
                drop(self.work.remove(one));
                self.work.push(self.start("work", "working"));
                "kill -9 work"
            }
            1 => {
                self.serve = None;
                self.serve = Some(self.start("serve", "serving"));
                "kill -9 serve"
            }
            2 => {
                if let Some(postgres) = self.postgres.take() {
                    tokio::task::spawn_blocking(move || postgres.crash()).await.expect("crashed");
                }
                let again = Postgres::start(&self.folder, None, &[("max_connections", "60")]).await;
                self.postgres = Some(again.expect("PostgreSQL recovers"));
                "database crash"
            }
            3 => {
                let storm =
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'textback'";
                if let Ok(mut connection) = sqlx::PgConnection::connect(&self.url).await {
                    let _ = sqlx::query(storm).execute(&mut connection).await;
                }
                "all connections cut"
            }
            _ => {
                self.simulator.plan_faults([
                    Fault::AcceptThen500,
                    Fault::TooManyRequests,
                    Fault::Fail500,
                    Fault::AcceptThenGarbage,
                    Fault::AcceptThenHang(5_000),
                ]);
                "unsure carrier"
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serve = None;
        self.work.clear();
        self.postgres = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What was acknowledged, by phone, in the order it was texted.
type Acknowledged = HashMap<String, Vec<String>>;

/// Each phone texts one after the other, all phones at once; every so often something dies.
async fn play(stage: &mut Stage, dice: &mut Dice, texts: u64) -> (Acknowledged, Vec<&'static str>) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for phone in 0..PHONES {
        let (simulator, tell) = (stage.simulator.clone(), tell.clone());
        tokio::spawn(async move {
            let from = format!("+1415555{phone:04}");
            for n in 0..texts / PHONES {
                let body = format!("{phone}-{n}");
                let texted = simulator.say(&from, NUMBER, &body).await;
                let acknowledged = texted.webhook_status == Some(200) && texted.error.is_none();
                let _ = tell.send(acknowledged.then_some((from.clone(), body)));
            }
        });
    }
    drop(tell);
    // Callbacks are best effort. In every other story none comes, and only the carrier's list tells.
    let silent = dice.roll(2) == 0;
    stage.simulator.report_statuses(!silent);
    let first = if silent { "no callbacks" } else { "callbacks" };
    let (mut acknowledged, mut events, mut count) = (Acknowledged::new(), vec![first], 0);
    while let Some(one) = told.recv().await {
        count += 1;
        if let Some((from, body)) = one {
            acknowledged.entry(from).or_default().push(body);
        }
        if count % (texts / 8).max(1) == 0 {
            events.push(stage.befall(dice).await);
        }
    }
    (acknowledged, events)
}

/// The texts that a phone was answered, one by one.
fn answered(simulator: &Simulator, phone: &str) -> Vec<String> {
    simulator.received(phone, NUMBER).iter().flat_map(|reply| reply.split('|')).map(str::to_owned).collect()
}

/// Waits until every acknowledged text is answered, as long as anybody may reasonably take.
async fn until_answered(stage: &Stage, acknowledged: &Acknowledged) -> usize {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let missing: usize = acknowledged
            .iter()
            .map(|(phone, texts)| {
                let answered = answered(&stage.simulator, phone);
                texts.iter().filter(|text| !answered.contains(text)).count()
            })
            .sum();
        if missing == 0 || Instant::now() > until {
            return missing;
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), stage.simulator.step()).await;
    }
}

async fn run(seed: u64, texts: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut stage = Stage::set(seed).await;
    stage.furnish().await;
    let (acknowledged, events) = play(&mut stage, &mut dice, texts).await;
    let lost = until_answered(&stage, &acknowledged).await;
    stage.simulator.idle().await;

    let (mut doubled, mut disordered, mut count) = (0, 0, 0);
    for (phone, texts) in &acknowledged {
        let answered = answered(&stage.simulator, phone);
        count += texts.len();
        doubled += texts.iter().filter(|text| answered.iter().filter(|answer| answer == text).count() > 1).count();
        let in_order: Vec<&String> = answered.iter().filter(|answer| texts.contains(answer)).collect();
        disordered += usize::from(lost + doubled == 0 && in_order != texts.iter().collect::<Vec<_>>());
    }
    let ledger = stage.ledger();
    let breaches = invariant::check(&ledger).await.expect("the invariants");
    ledger.close().await;
    println!(
        "chaos seed {seed}: {texts} texts, {count} acknowledged, {lost} lost, {doubled} doubled, {disordered} phones out of order, {} invariants broken; {}",
        breaches.len(),
        events.join(", ")
    );
    assert_eq!((lost, doubled, disordered, breaches), (0, 0, 0, Vec::new()), "seed {seed}");
    assert!(count > 0, "nothing was acknowledged");
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_text_is_answered_exactly_once_whatever_dies() {
    let first = setting("TEXTBACK_CHAOS_FIRST_SEED", 10);
    for seed in first..first + setting("TEXTBACK_CHAOS_SEEDS", 2) {
        run(seed, setting("TEXTBACK_CHAOS_TEXTS", 480)).await;
    }
}
