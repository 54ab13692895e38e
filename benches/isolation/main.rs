//! Measures the isolation of tenants: the latency of one tenant's messages beside each kind of
//! noisy neighbour. `make isolation` runs it, and it fails if the goal is missed.
//!
//! - TEXTBACK_ISOLATION_BEFORE: another textback program, measured in the same table.
//! - TEXTBACK_ISOLATION_BINARY: a textback program that is measured instead of this one.
//! - TEXTBACK_ISOLATION_SECONDS (default 10): how long the measured tenant texts for each row.
//! - TEXTBACK_ISOLATION_ROWS: measures only these rows (`alone,agents`), and writes no report.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a bench that fails has no result")]

mod carrier;
mod harness;
#[path = "../speed/http.rs"]
mod http;
mod load_generator;
mod neighbours;
#[path = "../speed/report.rs"]
#[allow(dead_code, reason = "the bench of speed uses all of it")]
mod report;
mod scripts;
mod service;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use carrier::Carrier;
use harness::{Binary, ECHO, GOOD_NUMBER, Harness, Peak, Server};
use load_generator::Outcome;
use neighbours::{Neighbour, RunningNeighbours};
use report::Report;
use tokio::runtime::Handle;

/// Messages per second of the measured tenant.
const RATE: f64 = 20.0;
/// The goal: the p99 of another tenant beside 20 hostile agents, on two cores.
const GOAL_MILLISECONDS: f64 = 250.0;

/// The result of a row.
struct Row {
    outcome: Outcome,
    peak: Peak,
    log_bytes: u64,
    others: String,
}

fn main() -> ExitCode {
    // A thousand connections to each side.
    let wanted = 8_192;
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, wanted, wanted);
    let runtime = |threads| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("a runtime")
    };
    // The neighbours have their own runtime, so that they do not delay the clock of the measured
    // tenant.
    let (good, neighbours) = (runtime(1), runtime(1));
    let code = good.block_on(measure(neighbours.handle()));
    neighbours.shutdown_background();
    code
}

fn binaries() -> Vec<Binary> {
    let named =
        |name, variable: &str| std::env::var_os(variable).map(|path| Binary { name, path: PathBuf::from(path) });
    let this = Binary { name: "this", path: PathBuf::from(env!("CARGO_BIN_EXE_textback")) };
    let before = named("before", "TEXTBACK_ISOLATION_BEFORE");
    let binaries: Vec<Binary> =
        before.into_iter().chain([named("this", "TEXTBACK_ISOLATION_BINARY").unwrap_or(this)]).collect();
    for binary in &binaries {
        assert!(binary.path.is_file(), "{} is no program; build it with: make release", binary.path.display());
    }
    binaries
}

fn seconds() -> f64 {
    let given = std::env::var("TEXTBACK_ISOLATION_SECONDS").ok();
    let seconds = given.map_or(10.0, |given| given.parse().expect("TEXTBACK_ISOLATION_SECONDS is a number"));
    assert!((2.0..=60.0).contains(&seconds), "TEXTBACK_ISOLATION_SECONDS is {seconds}; give 2 to 60");
    seconds
}

/// The chosen rows; `kill` is the row about runners that outlive `serve`.
fn wanted_rows() -> Option<Vec<String>> {
    let given = std::env::var("TEXTBACK_ISOLATION_ROWS").ok()?;
    let words: Vec<String> = given.split(',').map(|word| word.trim().to_owned()).collect();
    for word in &words {
        let known = word == "kill" || Neighbour::ALL.iter().any(|neighbour| neighbour.names().0 == word);
        let names = Neighbour::ALL.map(|neighbour| neighbour.names().0).join(", ");
        assert!(known, "TEXTBACK_ISOLATION_ROWS has {word:?}; it may have {names}, kill");
    }
    Some(words)
}

const COLUMNS: [&str; 11] = [
    "beside",
    "binary",
    "p50 ms",
    "p99 ms",
    "max ms",
    "answered within 30 s",
    "ack p99 ms",
    "RSS of serve, MB",
    "largest runner, MB",
    "log, kB",
    "what happened to the others",
];

async fn measure(runtime: &Handle) -> ExitCode {
    let (binaries, seconds, wanted) = (binaries(), seconds(), wanted_rows());
    let is_wanted = |word: &str| wanted.as_ref().is_none_or(|words| words.iter().any(|given| given == word));
    let server = Server::start().await;
    let carrier = Carrier::start(GOOD_NUMBER).await;
    let neighbours: Vec<Neighbour> =
        Neighbour::ALL.into_iter().filter(|neighbour| is_wanted(neighbour.names().0)).collect();
    let mut report = Report::of((neighbours.len() + usize::from(is_wanted("kill"))) * binaries.len());
    let mut rows = Vec::new();
    for neighbour in neighbours {
        for binary in &binaries {
            report.step(&format!("{}: {}", binary.name, neighbour.names().1));
            let row = run(&server, binary, &carrier, runtime, neighbour, seconds).await;
            eprintln!("    {}", cells(neighbour, binary, &row)[2..].join(" | "));
            rows.push((neighbour, binary, row));
        }
    }
    let about = format!(
        "The good tenant gets {RATE} signed messages a second for {seconds} s; a script echoes each. Times are from when a message was due to \
         when the carrier took its reply, over all messages: what is not answered within 30 s counts as longer. *ack* is the time to the \
         webhook's 200, over all tries. Memory is the highest that was seen, ten times a second."
    );
    report.table("A good tenant beside others", &about, &COLUMNS);
    for (neighbour, binary, row) in &rows {
        report.row(&cells(*neighbour, binary, row));
    }
    if is_wanted("kill") {
        let about = "`serve` is ended by SIGKILL while scripts of nine sessions loop in its runners.";
        let mut left = Vec::new();
        for binary in &binaries {
            report.step(&format!("{}: kill -9", binary.name));
            left.push(kill(&server, binary, &carrier, runtime).await);
        }
        report.table("kill -9", about, &["binary", "runners before", "runners 3 s after"]);
        for (binary, [before, after]) in binaries.iter().zip(left) {
            report.row(&[binary.name.to_owned(), before.to_string(), after.to_string()]);
        }
    }
    if wanted.is_none() {
        let results = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/ISOLATION.md"));
        report.write(
            results,
            &server.settings().await,
            &format!("{seconds} s a row, a release build, `serve --with-workers`"),
        );
    }
    judge(&rows)
}

/// Fails if this program misses the goal.
fn judge(rows: &[(Neighbour, &Binary, Row)]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (neighbour, binary, row) in rows {
        let judged = binary.name == "this" && matches!(neighbour, Neighbour::TwentyAgents | Neighbour::TwentyTenants);
        let p99 = percentile(&row.outcome.replied, 0.99);
        if judged && p99 > GOAL_MILLISECONDS {
            eprintln!(
                "the goal is missed: beside {} the good tenant's p99 is {} ms, and {GOAL_MILLISECONDS} is the most",
                neighbour.names().1,
                shown(p99)
            );
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Measures one row: a new database, new processes, the measured tenant and the neighbours.
async fn run(
    server: &Server,
    binary: &Binary,
    carrier: &Carrier,
    runtime: &Handle,
    neighbour: Neighbour,
    seconds: f64,
) -> Row {
    let database = format!("{}_{}", binary.name, neighbour.names().0);
    server.make(&database).await;
    carrier.forget();
    let harness = Arc::new(Harness::open(server, binary, carrier, &database, neighbour.replies()).await);
    let tenant = harness.tenant(1, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    harness.unlimited(&tenant).await;
    let line = harness.script(&tenant, GOOD_NUMBER, "echo", ECHO).await;
    if neighbour.replies() {
        load_generator::warm_up(&line, carrier, "w", (RATE * seconds) as usize).await;
    }
    let others = RunningNeighbours::begin(neighbour, &harness, runtime).await;
    let stop = Arc::new(tokio::sync::Notify::new());
    let watching = tokio::spawn(harness::watch(harness.serve_pid(), stop.clone()));
    tokio::time::sleep(neighbour.lead()).await;
    let outcome = load_generator::load(&line, carrier, "m", RATE, seconds, neighbour.replies()).await;
    let others = others.end(&harness, carrier).await;
    stop.notify_one();
    let peak = watching.await.expect("watched");
    let (log_bytes, runners) = (harness.log_bytes(), harness::runners_of(harness.serve_pid()));
    Arc::into_inner(harness).expect("the others have ended").close();
    // Runners that outlive their process would slow down all later rows.
    end(&runners);
    server.drop_database(&database).await;
    Row { outcome, peak, log_bytes, others }
}

/// Runners before a kill -9 of `serve`, and three seconds after.
async fn kill(server: &Server, binary: &Binary, carrier: &Carrier, runtime: &Handle) -> [usize; 2] {
    let database = format!("{}_kill", binary.name);
    server.make(&database).await;
    let harness = Arc::new(Harness::open(server, binary, carrier, &database, true).await);
    let mut others = RunningNeighbours::begin(Neighbour::SlowScripts, &harness, runtime).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let runners: Vec<i32> =
        harness::runners_of(harness.serve_pid()).into_iter().filter(|pid| harness::still_runs_scripts(*pid)).collect();
    others.stop().await;
    let mut harness = Arc::into_inner(harness).expect("the others have ended");
    // Dropping it sends SIGKILL and waits for the process.
    drop(harness.serve.take());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let left = end(&runners);
    harness.close();
    server.drop_database(&database).await;
    [runners.len(), left]
}

/// Ends those runners that still run; returns how many there were.
fn end(runners: &[i32]) -> usize {
    let left: Vec<i32> = runners.iter().copied().filter(|pid| harness::still_runs_scripts(*pid)).collect();
    for pid in &left {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
    }
    left.len()
}

fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).ceil() as usize).copied().unwrap_or(f64::NAN)
}

fn shown(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms.is_nan() => "–".to_owned(),
        ms if ms.is_infinite() => "over 30,000".to_owned(),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn cells(neighbour: Neighbour, binary: &Binary, row: &Row) -> [String; COLUMNS.len()] {
    let Row { outcome, peak, log_bytes, others } = row;
    let answered = match neighbour.replies() {
        true => format!("{} of {}", outcome.answered(), outcome.messages),
        false => "–".to_owned(),
    };
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
    let mut told = Vec::new();
    let answers = &outcome.answers;
    if count(&answers.accepted) < outcome.messages
        || count(&answers.unavailable) + count(&answers.none) + count(&answers.other) > 0
    {
        told.push(format!(
            "the good tenant's webhooks: {} × 200, {} × 503, {} × another status, {} × no answer within 15 s, slowest {:.1} s",
            count(&answers.accepted),
            count(&answers.unavailable),
            count(&answers.other),
            count(&answers.none),
            outcome.slowest_webhook.as_secs_f64()
        ));
    }
    if outcome.doubled > 0 {
        told.push(format!("{} messages were answered twice", outcome.doubled));
    }
    if others != "–" || told.is_empty() {
        told.push(others.clone());
    }
    [
        neighbour.names().1.to_owned(),
        binary.name.to_owned(),
        shown(percentile(&outcome.replied, 0.5)),
        shown(percentile(&outcome.replied, 0.99)),
        shown(percentile(&outcome.replied, 1.0)),
        answered,
        shown(percentile(&outcome.acknowledged, 0.99)),
        format!("{:.0}", peak.serve_megabytes),
        format!("{:.0}", peak.runner_megabytes),
        format!("{:.0}", *log_bytes as f64 / 1e3),
        told.join("; "),
    ]
}
