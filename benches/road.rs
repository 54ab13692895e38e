//! The whole road under load, on loopback: signed webhooks at a steady rate, an instant agent, a carrier that takes
//! everything. It prints what it measured and judges nothing. It ends by itself.
//!
//! `make bench` runs it. TEXTBACK_BENCH_RATE (texts a second, default 200), TEXTBACK_BENCH_SECONDS (default 10).

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a measurement that stumbles is no measurement")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Response, Route, get, handler, post};
use secrecy::SecretString;
use serde_json::{Value, json};
use textback::carrier::form::Form;
use textback::carrier::signature;
use textback::dev::postgres::Postgres;
use textback::ledger::wake::Wakes;
use textback::ledger::{Ledger, project};
use textback::listen::Listening;
use textback::secret::SecretKeys;

const ACCOUNT_SID: &str = "AC00000000000000000000000000000000";
const AUTH_TOKEN: &str = "bench-token";
const NUMBER: &str = "+14155550199";
/// So many people that hardly anybody texts twice in a second.
const PEOPLE: u64 = 5_000;

/// When each text was posted, until its reply is accepted; then how long that took.
#[derive(Default)]
struct Clocks {
    posted: HashMap<String, Instant>,
    took: Vec<Duration>,
}

type Shared = Arc<Mutex<Clocks>>;

/// A carrier that is never the limit: it takes every text and remembers when.
#[handler]
async fn take_text(clocks: Data<&Shared>, body: poem::Body) -> Response {
    let now = Instant::now();
    let form = Form::read(&body.into_bytes().await.unwrap_or_default());
    let text = form.text("Body").unwrap_or_default();
    let mut clocks = clocks.lock().expect("no panic holds it");
    if let Some(posted) = clocks.posted.remove(&text) {
        clocks.took.push(now - posted);
    }
    let sid = format!("SM{}", uuid::Uuid::now_v7().simple());
    Json(json!({"sid": sid, "status": "queued"})).with_status(StatusCode::CREATED).into_response()
}

fn number() -> Value {
    json!({"sid": "PN1", "phone_number": NUMBER, "capabilities": {"sms": true}})
}

#[handler]
fn list_numbers() -> Json<Value> {
    Json(json!({"incoming_phone_numbers": [number()]}))
}

#[handler]
fn set_number() -> Json<Value> {
    Json(number())
}

/// A process of ours that ends with the measurement.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

#[tokio::main]
async fn main() {
    let rate = setting("TEXTBACK_BENCH_RATE", 200);
    let seconds = setting("TEXTBACK_BENCH_SECONDS", 10).min(600);
    let folder = std::env::temp_dir().join(format!("textback-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    // fsync stays on: an acknowledgement that is not on the disk is none.
    let postgres = Postgres::start(&folder, None, &[("shared_buffers", "512MB"), ("max_wal_size", "4GB")])
        .await
        .expect("PostgreSQL");
    textback::ledger::migrate(postgres.url()).await.expect("the schema");
    let ledger = Ledger::open(postgres.url(), 4, Arc::new(Wakes::default())).expect("a ledger");
    let (made, key) = project::create(&ledger, "bench").await.expect("a project");
    let (_, secret_key) = SecretKeys::draw();

    let clocks = Shared::default();
    let carrier = Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)), "nothing").await.expect("a port");
    let carrier_url = format!("http://{}", carrier.address());
    let routes = Route::new()
        .at("/2010-04-01/Accounts/:account/Messages.json", post(take_text))
        .at("/2010-04-01/Accounts/:account/IncomingPhoneNumbers.json", get(list_numbers))
        .at("/2010-04-01/Accounts/:account/IncomingPhoneNumbers/:sid", post(set_number))
        .data(clocks.clone());
    tokio::spawn(carrier.serve(routes, std::future::pending()));

    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let start = |command: &str| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_textback"));
        process
            .arg(command)
            .env("DATABASE_URL", postgres.url())
            .env("TEXTBACK_SECRET_KEY", &secret_key)
            .env("TEXTBACK_TWILIO_API_URL", &carrier_url)
            .env("TEXTBACK_TWILIO_MESSAGING_URL", &carrier_url)
            .env("TEXTBACK_PUBLIC_URL", format!("http://{address}"))
            .env("TEXTBACK_LISTEN", address.to_string())
            .env("RUST_LOG", "error")
            .stdout(Stdio::null());
        Process(process.spawn().expect("it starts"))
    };
    let began = Instant::now();
    let _serve = start("serve");
    let http = reqwest::Client::builder().pool_max_idle_per_host(1_000).build().expect("a client");
    let ready = async || {
        let answer = http.get(format!("http://{address}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    while !ready().await {
        assert!(began.elapsed() < Duration::from_secs(20), "serve is not ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("serve ready after      {:>8.1} ms", began.elapsed().as_secs_f64() * 1e3);
    let _work = start("work");
    furnish(&http, address, &key).await;

    let hook = format!("http://{address}/webhooks/twilio/{}/messages", made.webhook_key);
    for (name, rate, seconds) in [("warm-up", rate.min(100), 2), ("measured", rate, seconds)] {
        clocks.lock().expect("no panic holds it").took.clear();
        let before = statistics(&ledger).await;
        let acks = load(&http, &hook, &clocks, name, rate, seconds).await;
        wait_for_replies(&clocks).await;
        let after = statistics(&ledger).await;
        if name == "measured" {
            report(&acks, &clocks, rate, seconds, [after[0] - before[0], after[1] - before[1]]);
        }
    }
    drop((_serve, _work));
    ledger.close().await;
    postgres.stop();
    let _ = std::fs::remove_dir_all(&folder);
}

async fn furnish(http: &reqwest::Client, address: SocketAddr, key: &str) {
    let call = async |method: reqwest::Method, path: &str, body: Value| -> Value {
        let request = http.request(method, format!("http://{address}/v1/{path}")).bearer_auth(key).json(&body);
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.expect("JSON")
    };
    call(reqwest::Method::PUT, "carrier", json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN})).await;
    // One phone of the bench texts faster than a person.
    let guards = json!({"texts_per_contact_per_minute": 0, "repeats_in_five_minutes": 0});
    call(reqwest::Method::PATCH, "project", json!({"guards": guards})).await;
    let agent = json!({"name": "echo", "kind": "script", "source": "def reply(conv, text): return text", "first_message": "process"});
    let made = call(reqwest::Method::POST, "agents", agent).await;
    call(reqwest::Method::POST, "numbers", json!({"number": NUMBER, "agent_id": made["id"]})).await;
}

/// Posts texts at a steady rate, whether or not the ones before are answered (an open loop), and
/// gives how long each acknowledgement took from when it was due.
async fn load(
    http: &reqwest::Client,
    hook: &str,
    clocks: &Shared,
    name: &str,
    rate: u64,
    seconds: u64,
) -> Vec<Duration> {
    let token = SecretString::from(AUTH_TOKEN.to_owned());
    let begin = Instant::now();
    let mut posts = Vec::new();
    for n in 0..rate * seconds {
        let due = begin + Duration::from_secs_f64(n as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        let text = format!("{name} {n}");
        let sid = format!("SM{}", uuid::Uuid::now_v7().simple());
        let from = format!("+1212{:07}", n * 7919 % PEOPLE);
        let pairs = [
            ("MessageSid", sid.as_str()),
            ("AccountSid", ACCOUNT_SID),
            ("From", &from),
            ("To", NUMBER),
            ("Body", &text),
            ("NumMedia", "0"),
        ];
        let signature = signature::sign(&token, hook, &Form::of(pairs));
        let request = http.post(hook).header(signature::HEADER, signature).form(&pairs);
        clocks.lock().expect("no panic holds it").posted.insert(text, due);
        posts.push(tokio::spawn(async move {
            let status = request.send().await.expect("an answer").status();
            assert_eq!(status, StatusCode::OK.as_u16());
            due.elapsed()
        }));
    }
    let mut acks = Vec::new();
    for post in posts {
        acks.push(post.await.expect("acknowledged"));
    }
    acks
}

async fn wait_for_replies(clocks: &Shared) {
    let until = Instant::now() + Duration::from_secs(60);
    while !clocks.lock().expect("no panic holds it").posted.is_empty() {
        assert!(Instant::now() < until, "some replies never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Commits and bytes of WAL so far.
async fn statistics(ledger: &Ledger) -> [f64; 2] {
    let read = "select sum(xact_commit)::float8, (select wal_bytes::float8 from pg_stat_wal) from pg_stat_database";
    // Statistics are written about once a second.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let (commits, wal): (f64, f64) = sqlx::query_as(read).fetch_one(ledger.pool()).await.expect("statistics");
    [commits, wal]
}

fn report(acks: &[Duration], clocks: &Shared, rate: u64, seconds: u64, [commits, wal]: [f64; 2]) {
    let took = clocks.lock().expect("no panic holds it").took.clone();
    let texts = acks.len() as f64;
    println!("texts                  {:>8}    at {rate}/s for {seconds} s, {} replies", acks.len(), took.len());
    for (name, durations) in [("webhook acknowledged", acks.to_vec()), ("text to accepted reply", took)] {
        let [p50, p99, max] = percentiles(durations);
        println!("{name:<22} {p50:>8.2} ms p50 {p99:>8.2} ms p99 {max:>8.2} ms max");
    }
    println!("commits a text         {:>8.2}", commits / texts);
    println!("WAL a text             {:>8.0} bytes", wal / texts);
}

fn percentiles(mut durations: Vec<Duration>) -> [f64; 3] {
    durations.sort();
    let at = |part: f64| durations[((durations.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    [at(0.5), at(0.99), at(1.0)]
}
