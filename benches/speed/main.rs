//! How fast textback is beside what its disk allows: the bound by pgbench, intake, the whole road, idle; `make bench` runs it, and it ends by itself.
//!
//! TEXTBACK_BENCH_SECONDS (default 8) is how long each load lasts; TEXTBACK_BENCH_PROFILE looks at
//! one saturating load instead: `load`, its `statements`, or the `plans` of those that took over 10 ms.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that stumbles is no measurement"
)]

mod bound;
mod report;
mod stage;
mod wire;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use report::Report;
use stage::{Profile, SETTINGS, Server, Stage, cpu_seconds, memory_megabytes, statistics};
use wire::Pace;

/// Texts on the road at a time when it is saturated: enough that nobody waits for a text.
const WINDOW: usize = 512;
/// Connections over which texts are posted.
const CONNECTIONS: usize = 64;

fn percentiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values.get(((values.len().max(1) - 1) as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    [at(0.5), at(0.99), at(1.0)]
}

fn setting(name: &str, usual: f64) -> f64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// What one load came to.
struct Load {
    texts: usize,
    acknowledged: [f64; 3],
    acknowledged_rate: f64,
    replied: [f64; 3],
    rate: f64,
    commits: f64,
    wal: f64,
    /// Microseconds of CPU a text: textback, PostgreSQL, and this program with its people and its carrier.
    cpu: [f64; 3],
}

/// Puts a load on the road and waits for its end. Without workers the replies never come.
async fn load(stage: &Stage, server: &Server, pace: Pace, seconds: f64) -> Load {
    let before = statistics(&stage.ledger).await;
    let everything = [std::process::id() as i32];
    let cpu = || [cpu_seconds(&stage.pids()), cpu_seconds(&[server.pid()]), cpu_seconds(&everything)];
    let cpu_before = cpu();
    let clocks = wire::text(&stage.target, &stage.carrier, pace, seconds, CONNECTIONS).await;
    let texts = clocks.acknowledgements().len();
    if !stage.work.is_empty() {
        stage.settle(texts).await;
    }
    let cpu_after = cpu();
    let after = statistics(&stage.ledger).await;
    assert_eq!(clocks.doubled.load(Ordering::Relaxed), 0, "nobody is answered twice");
    let a_text = |used: f64| used / texts as f64;
    let [textback, postgres, all] = [0, 1, 2].map(|n| a_text(cpu_after[n] - cpu_before[n]) * 1e6);
    // The processes are children of this one: what is left is ours.
    Load {
        texts,
        acknowledged: percentiles(clocks.acknowledgements()),
        acknowledged_rate: clocks.rate(true, 1.0, seconds),
        replied: percentiles(clocks.replies()),
        rate: clocks.rate(false, 1.0, seconds),
        commits: a_text(after[0] - before[0]),
        wal: a_text(after[1] - before[1]),
        cpu: [textback, postgres, all - textback - postgres],
    }
}

#[tokio::main]
async fn main() {
    let seconds = setting("TEXTBACK_BENCH_SECONDS", 8.0);
    let server = Server::start().await;
    let scripts = std::env::temp_dir().join(format!("textback-bound-{}", std::process::id()));
    std::fs::create_dir_all(&scripts).expect("a folder");
    if let Some(wanted) = Profile::wanted() {
        return profile(&server, wanted, seconds).await;
    }
    let mut report = Report::of(24);
    let bound = measure_bounds(&mut report, &server, &scripts, seconds).await;
    let mut stage = Stage::set(&server, 1).await;
    report.step("everybody texts once");
    warm_up(&stage).await;
    measure_intake(&mut report, &mut stage, &server, seconds, &bound).await;
    measure_road(&mut report, &mut stage, &server, seconds, &bound).await;
    measure_slow_disk(&mut report, &mut stage, &server, &scripts, seconds).await;
    measure_rest(&mut report, &mut stage).await;
    report.step("the bound once more");
    let again = bound::run(server.url(), &scripts, &bound::SCRIPTS[2], 32, seconds as u32).await;
    report.table(
        "The bound, at the end",
        "The machine's own drift between the first measure and the last.",
        &["bound", "texts/s", "before"],
    );
    report.row(&["three".to_owned(), format!("{again:.0}"), format!("{:.0}", bound[2])]);
    report.write(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md")), &SETTINGS);
    let _ = std::fs::remove_dir_all(&scripts);
    stage.ledger.close().await;
}

/// One saturating load, looked at from near.
async fn profile(server: &Server, wanted: Profile, seconds: f64) {
    let stage = Stage::set(server, setting("TEXTBACK_BENCH_WORKERS", 1.0) as usize).await;
    warm_up(&stage).await;
    let counted = wanted == Profile::Statements;
    if counted {
        stage::forget_statements(&stage.ledger).await;
    }
    let window = setting("TEXTBACK_BENCH_WINDOW", WINDOW as f64) as usize;
    let load = load(&stage, server, Pace::Window(window), seconds).await;
    println!(
        "{} texts, {:.0}/s, CPU {:.0?} us a text, {:.2} commits and {:.0} bytes of WAL a text, replies {:.1?} ms",
        load.texts, load.rate, load.cpu, load.commits, load.wal, load.replied
    );
    if counted {
        stage::print_statements(&stage.ledger, load.texts).await;
    }
}

/// Each of the people gets a session.
async fn warm_up(stage: &Stage) {
    while !wire::everybody_has_texted() {
        let clocks = wire::text(&stage.target, &stage.carrier, Pace::Window(WINDOW), 2.0, CONNECTIONS).await;
        stage.settle(clocks.acknowledgements().len()).await;
    }
}

async fn measure_bounds(report: &mut Report, server: &Server, scripts: &Path, seconds: f64) -> Vec<f64> {
    let about = "pgbench on 32 connections, prepared, two threads: the least SQL that a text could cost.";
    report.table("The bound", about, &["script", "texts/s", "what it does"]);
    let mut rates = Vec::new();
    for script in &bound::SCRIPTS {
        report.step(script.name);
        let rate = bound::run(server.url(), scripts, script, 32, seconds as u32).await;
        report.row(&[script.name.to_owned(), format!("{rate:.0}"), script.what.to_owned()]);
        rates.push(rate);
    }
    rates
}

async fn measure_intake(report: &mut Report, stage: &mut Stage, server: &Server, seconds: f64, bound: &[f64]) {
    stage.work_with(0);
    let about = "Signed webhooks to one `serve`, no worker running; a text is acknowledged when it is on the disk.";
    let columns =
        ["load", "texts/s", "ack p50 ms", "ack p99 ms", "commits/text", "WAL bytes/text", "of *three*", "of *intake*"];
    report.table("Intake", about, &columns);
    for pace in [Pace::Rate(100), Pace::Rate(500), Pace::Rate(1_000), Pace::Acknowledged] {
        report.step(&format!("intake {pace:?}"));
        let load = load(stage, server, pace, seconds).await;
        let [p50, p99, _] = load.acknowledged;
        report.row(&[
            pace.to_string(),
            format!("{:.0}", load.acknowledged_rate),
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            format!("{:.2}", load.commits),
            format!("{:.0}", load.wal),
            format!("{:.2}", load.acknowledged_rate / bound[2]),
            format!("{:.2}", load.acknowledged_rate / bound[0]),
        ]);
    }
    // What came in is answered before the next measure.
    stage.work_with(2);
    stage.drain().await;
}

const ROAD: [&str; 11] = [
    "load",
    "workers",
    "texts/s",
    "reply p50 ms",
    "reply p99 ms",
    "ack p99 ms",
    "commits/text",
    "WAL bytes/text",
    "CPU µs/text textback",
    "CPU µs/text PostgreSQL",
    "of *three*",
];

async fn measure_road(report: &mut Report, stage: &mut Stage, server: &Server, seconds: f64, bound: &[f64]) {
    let about = "Signed webhook, session, script agent that echoes, reply accepted by a loopback carrier. Saturated is with 512 texts on the road at a time.";
    report.table("The whole road", about, &ROAD);
    for (workers, pace) in [
        (1, Pace::Rate(50)),
        (1, Pace::Rate(200)),
        (1, Pace::Rate(500)),
        (1, Pace::Window(WINDOW)),
        (2, Pace::Window(WINDOW)),
        (4, Pace::Window(WINDOW)),
    ] {
        report.step(&format!("road {pace:?}, {workers} workers"));
        stage.work_with(workers);
        road(report, stage, server, pace, seconds, bound[2]).await;
    }
}

async fn road(report: &mut Report, stage: &Stage, server: &Server, pace: Pace, seconds: f64, bound: f64) {
    let load = load(stage, server, pace, seconds).await;
    report.row(&[
        pace.to_string(),
        stage.work.len().to_string(),
        format!("{:.0}", load.rate),
        format!("{:.2}", load.replied[0]),
        format!("{:.2}", load.replied[1]),
        format!("{:.2}", load.acknowledged[1]),
        format!("{:.2}", load.commits),
        format!("{:.0}", load.wal),
        format!("{:.0}", load.cpu[0]),
        format!("{:.0}", load.cpu[1]),
        format!("{:.2}", load.rate / bound),
    ]);
}

/// The same on a disk whose flush takes 1.6 ms: PostgreSQL waits as long before each (commit_delay), and whoever commits
/// meanwhile goes along.
async fn measure_slow_disk(report: &mut Report, stage: &mut Stage, server: &Server, scripts: &Path, seconds: f64) {
    stage.slow_disk(true).await;
    report.step("slow disk: the bound");
    let bound = bound::run(server.url(), scripts, &bound::SCRIPTS[2], 32, seconds as u32).await;
    stage.work_with(1);
    let about = format!(
        "The same with commit_delay = 1500 µs and commit_siblings = 0, as on a disk whose flush takes 1.6 ms. The bound *three* is {bound:.0} texts/s then."
    );
    report.table("On a slow disk", &about, &ROAD);
    for pace in [Pace::Rate(50), Pace::Rate(500), Pace::Window(WINDOW)] {
        report.step(&format!("slow disk: road {pace:?}"));
        road(report, stage, server, pace, seconds, bound).await;
    }
    stage.slow_disk(false).await;
}

async fn measure_rest(report: &mut Report, stage: &mut Stage) {
    report.step("start, idle, size");
    let loaded: Vec<f64> = stage.pids().iter().map(|pid| memory_megabytes(*pid)).collect();
    let mut ready = Vec::new();
    for _ in 0..5 {
        stage.start_serve().await;
        ready.push(stage.ready_after.as_secs_f64() * 1e3);
    }
    stage.work_with(1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pids = stage.pids();
    let before = cpu_of_each(&pids);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let idle: Vec<f64> =
        cpu_of_each(&pids).iter().zip(before).map(|(after, before)| (after - before) / 20.0 * 100.0).collect();
    let megabytes: Vec<f64> = pids.iter().map(|pid| memory_megabytes(*pid)).collect();
    report.table("At rest", "On the database that all of the above has filled.", &["what", "serve", "work"]);
    let both = |name: &str, values: &[f64], unit: &str| {
        let cell = |n: usize| values.get(n).map(|value| format!("{value:.1} {unit}")).unwrap_or_default();
        [name.to_owned(), cell(0), cell(1)]
    };
    report.row(&both("start to ready, median of 5", &[percentiles(ready)[0]], "ms"));
    report.row(&both("idle CPU over 20 s", &idle, "% of a core"));
    report.row(&both("memory at rest", &megabytes, "MB"));
    report.row(&both("memory after the loads", &loaded, "MB"));
    let size =
        std::fs::metadata(env!("CARGO_BIN_EXE_textback")).map(|file| file.len() as f64 / 1e6).unwrap_or_default();
    report.row(&["size of the binary".to_owned(), format!("{size:.1} MB"), String::new()]);
}

/// CPU seconds of each process with its children.
fn cpu_of_each(pids: &[i32]) -> Vec<f64> {
    pids.iter().map(|pid| cpu_seconds(&[*pid])).collect()
}
