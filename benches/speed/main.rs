//! Measures the speed of textback: acknowledgements, the whole message flow and idle processes,
//! each compared with a pgbench lower bound and with peers. `make bench` runs it.
//!
//! - TEXTBACK_BENCH_SECONDS (default 8): the duration of each load.
//! - TEXTBACK_BENCH_MESSAGES (default 1000000): the most messages that are stored.
//! - TEXTBACK_BENCH_OPEN_SESSIONS (default 1000000): how many sessions are open then.
//! - TEXTBACK_BENCH_PROFILE: profiles one load instead, by its rate (`load`, `intake`, `bound`,
//!   `peers`), its `statements`, or the `plans` of statements that took over 10 ms.
//!   TEXTBACK_BENCH_RATE sets its texts per second (default: saturated), and TEXTBACK_BENCH_WORKERS
//!   its worker processes (default 0: the workers of `serve`).

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a bench that fails has no result")]

mod bound;
mod growth;
mod harness;
mod http;
mod load_generator;
mod peers;
mod report;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use harness::{Harness, Profile, Server, cpu_seconds, memory_megabytes, statistics};
use load_generator::Pace;
use report::Report;

/// Texts in flight at a time in a saturated load: enough that the workers never wait.
const WINDOW: usize = 512;
/// Connections over which texts are posted, each one after the other.
const CONNECTIONS: usize = 256;

fn percentiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values.get(((values.len().max(1) - 1) as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    [at(0.5), at(0.99), at(1.0)]
}

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The result of one load.
struct Load {
    texts: usize,
    acknowledged: [f64; 3],
    acknowledged_rate: f64,
    slowest: Vec<(f64, f64)>,
    replied: [f64; 3],
    rate: f64,
    commits: f64,
    wal: f64,
    /// Microseconds of CPU per text: textback, PostgreSQL and the load generator.
    cpu: [f64; 3],
}

/// Runs a load and waits for its end. Without workers it waits only for acknowledgements. Before a
/// load at a fixed rate the tables are vacuumed, so that the vacuum after an earlier load does not
/// disturb the latencies.
async fn load(harness: &Harness, server: &Server, pace: Pace, seconds: f64) -> Load {
    if matches!(pace, Pace::Rate(_)) {
        server.vacuum().await;
    }
    let before = statistics(&harness.storage).await;
    let everything = [std::process::id() as i32];
    let cpu = || [cpu_seconds(&harness.pids()), cpu_seconds(&[server.pid()]), cpu_seconds(&everything)];
    let cpu_before = cpu();
    let clocks = load_generator::text(&harness.target, &harness.carrier, pace, seconds, CONNECTIONS).await;
    let texts = clocks.acknowledgements().len();
    if harness.works() {
        harness.until_answered(texts).await;
    }
    let cpu_after = cpu();
    let after = statistics(&harness.storage).await;
    assert_eq!(clocks.doubled.load(Ordering::Relaxed), 0, "nobody is answered twice");
    let a_text = |used: f64| used / texts as f64;
    let [textback, postgres, all] = [0, 1, 2].map(|n| a_text(cpu_after[n] - cpu_before[n]) * 1e6);
    // The other processes are children of this one, so the rest is the load generator.
    Load {
        texts,
        acknowledged: percentiles(clocks.acknowledgements()),
        slowest: clocks.slowest(),
        acknowledged_rate: clocks.rate(true, 1.0, seconds),
        replied: percentiles(clocks.replies()),
        rate: clocks.rate(false, 1.0, seconds),
        commits: a_text(after[0] - before[0]),
        wal: a_text(after[1] - before[1]),
        cpu: [textback, postgres, all - textback - postgres],
    }
}

// The load generator has one thread, because more threads would only be woken more often.
#[tokio::main(worker_threads = 1)]
async fn main() {
    let seconds = setting("TEXTBACK_BENCH_SECONDS", 8.0);
    assert!(
        seconds >= 2.0,
        "TEXTBACK_BENCH_SECONDS is {seconds}: the first second does not count, so let it be 2 at least"
    );
    let server = Server::start().await;
    let scripts = std::env::temp_dir().join(format!("textback-bound-{}", std::process::id()));
    std::fs::create_dir_all(&scripts).expect("a folder");
    match Profile::wanted() {
        None => measure(&server, &scripts, seconds).await,
        Some(Profile::Bound) => print_bounds(&server, &scripts, seconds).await,
        Some(Profile::Peers) => {
            let mut report = Report::of(14);
            peers::prepare(&mut report);
            let mut harness = Harness::start(&server, 0).await;
            report.step("each contact texts once");
            warm_up(&harness).await;
            peers::compare(&mut report, &mut harness, &server, seconds).await;
        }
        Some(wanted) => profile(&server, wanted, seconds).await,
    }
    let _ = std::fs::remove_dir_all(&scripts);
}

/// Measures everything and writes the report.
async fn measure(server: &Server, scripts: &Path, seconds: f64) {
    let mut report = Report::of(51 + 3 * growth::levels().len());
    peers::prepare(&mut report);
    let bound = measure_bounds(&mut report, server, scripts, seconds).await;
    let mut harness = Harness::start(server, 0).await;
    report.step("each contact texts once");
    warm_up(&harness).await;
    let bounds = Bounds { server, scripts, seconds };
    measure_intake(&mut report, &mut harness, &bounds).await;
    measure_flow(&mut report, &mut harness, &bounds).await;
    let mut harness = harness.restart(server).await;
    report.step("each contact texts once, in a new database");
    warm_up(&harness).await;
    peers::compare(&mut report, &mut harness, server, seconds).await;
    measure_slow_disk(&mut report, &mut harness, &bounds).await;
    measure_idle(&mut report, &mut harness, server).await;
    let harness = harness.restart(server).await;
    let harness = measure_growth(&mut report, harness, &bounds).await;
    report.step("the bound once more");
    let again = bound::run(server.url(), scripts, &bound::SCRIPTS[2], 32, seconds as u32).await;
    report.table(
        "The bound, at the end",
        "The machine's own drift between the first measure and the last.",
        &["bound", "texts/s", "before"],
    );
    report.row(&["three".to_owned(), format!("{again:.0}"), format!("{:.0}", bound[2])]);
    let run = format!(
        "each load {seconds} s; TEXTBACK_BENCH_MESSAGES = {}, TEXTBACK_BENCH_OPEN_SESSIONS = {}; the guards against floods and the \
         registration of numbers are off, and the carrier reports nothing after it accepted",
        setting("TEXTBACK_BENCH_MESSAGES", 1e6),
        setting("TEXTBACK_BENCH_OPEN_SESSIONS", 1e6)
    );
    let results = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md"));
    report.write(results, &server.settings().await, &run);
    harness.storage.close().await;
}

/// Measures a bound again next to the load that is compared with it, because the machine's speed
/// varies.
struct Bounds<'b> {
    server: &'b Server,
    scripts: &'b Path,
    seconds: f64,
}

impl Bounds<'_> {
    async fn three(&self, report: &mut Report) -> f64 {
        self.beside(report, &bound::SCRIPTS[2]).await
    }

    async fn beside(&self, report: &mut Report, script: &bound::Script) -> f64 {
        report.step(&format!("the bound {}, beside it", script.name));
        bound::run(self.server.url(), self.scripts, script, 32, self.seconds as u32).await
    }
}

async fn print_bounds(server: &Server, scripts: &Path, seconds: f64) {
    for script in &bound::SCRIPTS {
        let rate = bound::run(server.url(), scripts, script, 32, seconds as u32).await;
        println!("{} {rate:.0}/s", script.name);
    }
}

/// Profiles one load.
async fn profile(server: &Server, wanted: Profile, seconds: f64) {
    let mut harness = Harness::start(server, setting("TEXTBACK_BENCH_WORKERS", 0.0) as usize).await;
    warm_up(&harness).await;
    if wanted == Profile::Intake {
        harness.start_workers(0).await;
    }
    let counted = wanted == Profile::Statements;
    if counted {
        harness::forget_statements(&harness.storage).await;
    }
    let pace = match setting("TEXTBACK_BENCH_RATE", 0.0) as u64 {
        0 if wanted == Profile::Intake => Pace::Acknowledged,
        0 => Pace::Window(setting("TEXTBACK_BENCH_WINDOW", WINDOW as f64) as usize),
        rate => Pace::Rate(rate),
    };
    let load = load(&harness, server, pace, seconds).await;
    println!(
        "{} texts, {:.0}/s, CPU {:.0?} us a text, {:.2} commits and {:.0} bytes of WAL a text, replies {:.1?}, acks {:.1?} ms",
        load.texts, load.rate, load.cpu, load.commits, load.wal, load.replied, load.acknowledged
    );
    // When the slowest acknowledgements were due.
    let mut stalls = load.slowest;
    stalls.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let stalls: Vec<String> = stalls.iter().map(|(due, took)| format!("{due:.2}: {took:.0}")).collect();
    println!("slowest, second: ms  {}", stalls.join("  "));
    if counted {
        harness::print_statements(&harness.storage, load.texts).await;
    }
}

/// Opens a session for each contact.
async fn warm_up(harness: &Harness) {
    let until = load_generator::texted() + load_generator::CONTACTS;
    while load_generator::texted() < until {
        let clocks =
            load_generator::text(&harness.target, &harness.carrier, Pace::Window(WINDOW), 2.0, CONNECTIONS).await;
        harness.until_answered(clocks.acknowledgements().len()).await;
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

async fn measure_intake(report: &mut Report, harness: &mut Harness, bounds: &Bounds<'_>) {
    harness.start_workers(0).await;
    let mut loads = Vec::new();
    for pace in [Pace::Rate(100), Pace::Rate(500), Pace::Rate(1_000)] {
        report.step(&format!("intake, {pace}"));
        loads.push((pace, load(harness, bounds.server, pace, bounds.seconds).await));
    }
    let insert = bounds.beside(report, &bound::SCRIPTS[0]).await;
    let before = bounds.three(report).await;
    report.step("intake, saturated");
    let saturated = load(harness, bounds.server, Pace::Acknowledged, bounds.seconds).await;
    loads.push((Pace::Acknowledged, saturated));
    let three = f64::midpoint(before, bounds.three(report).await);
    let about = format!(
        "Signed webhooks to one `serve`, no worker running; a text is acknowledged when it is on the disk. *three*, before and after the saturated load: {three:.0} texts/s. The bound that only inserts a message and commits: {insert:.0}."
    );
    let columns =
        ["load", "texts/s", "ack p50 ms", "ack p99 ms", "commits/text", "WAL bytes/text", "of *three*", "of *intake*"];
    report.table("Intake", &about, &columns);
    for (pace, load) in loads {
        let [p50, p99, _] = load.acknowledged;
        report.row(&[
            pace.to_string(),
            format!("{:.0}", load.acknowledged_rate),
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            format!("{:.2}", load.commits),
            format!("{:.0}", load.wal),
            format!("{:.2}", load.acknowledged_rate / three),
            format!("{:.2}", load.acknowledged_rate / insert),
        ]);
    }
    // All texts are answered before the next load.
    harness.work_in_serve().await;
    harness.drain().await;
}

const FLOW_COLUMNS: [&str; 12] = [
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
    "CPU µs/text load generator",
    "of *three*",
];

async fn measure_flow(report: &mut Report, harness: &mut Harness, bounds: &Bounds<'_>) {
    let mut rows = Vec::new();
    for workers in [0, 1, 2, 4] {
        for rate in [50, 200, 500] {
            rows.push(flow(report, harness, bounds, workers, Pace::Rate(rate)).await);
        }
    }
    let before = bounds.three(report).await;
    rows.push(flow(report, harness, bounds, 0, Pace::Window(WINDOW)).await);
    let between = bounds.three(report).await;
    for workers in [1, 2, 4] {
        rows.push(flow(report, harness, bounds, workers, Pace::Window(WINDOW)).await);
    }
    let three = f64::midpoint(before, between);
    let about = format!(
        "Signed webhook, session, script agent that echoes, reply accepted by a loopback carrier. Workers in `serve` (`--with-workers`), \
         or so many `work` beside it. Saturated is with 512 texts in flight at a time. *three*, before and after the first saturated \
         load: {three:.0} texts/s."
    );
    flow_table(report, "The whole flow", &about, rows, three);
}

/// One load on the whole flow, with its workers and its result.
async fn flow(
    report: &mut Report,
    harness: &mut Harness,
    bounds: &Bounds<'_>,
    workers: usize,
    pace: Pace,
) -> (Pace, String, Load) {
    report.step(&format!("the flow, {pace}, {workers} workers beside"));
    match workers {
        0 => harness.work_in_serve().await,
        workers => harness.start_workers(workers).await,
    }
    let load = load(harness, bounds.server, pace, bounds.seconds).await;
    (pace, harness.workers(), load)
}

fn flow_table(report: &mut Report, title: &str, about: &str, rows: Vec<(Pace, String, Load)>, three: f64) {
    report.table(title, about, &FLOW_COLUMNS);
    for (pace, workers, load) in rows {
        report.row(&[
            pace.to_string(),
            workers,
            format!("{:.0}", load.rate),
            format!("{:.2}", load.replied[0]),
            format!("{:.2}", load.replied[1]),
            format!("{:.2}", load.acknowledged[1]),
            format!("{:.2}", load.commits),
            format!("{:.0}", load.wal),
            format!("{:.0}", load.cpu[0]),
            format!("{:.0}", load.cpu[1]),
            format!("{:.0}", load.cpu[2]),
            format!("{:.2}", load.rate / three),
        ]);
    }
}

/// The same on a disk whose flush takes 1.5 ms more: PostgreSQL waits as long before each
/// (commit_delay), and whoever commits meanwhile goes along.
async fn measure_slow_disk(report: &mut Report, harness: &mut Harness, bounds: &Bounds<'_>) {
    harness.slow_disk(true).await;
    let mut rows = Vec::new();
    for pace in [Pace::Rate(50), Pace::Rate(500)] {
        rows.push(flow(report, harness, bounds, 0, pace).await);
    }
    let before = bounds.three(report).await;
    rows.push(flow(report, harness, bounds, 0, Pace::Window(WINDOW)).await);
    let three = f64::midpoint(before, bounds.three(report).await);
    harness.slow_disk(false).await;
    let about = format!(
        "The same with commit_delay = 1500 µs and commit_siblings = 0, as on a disk whose flush takes 1.5 ms longer. *three* is {three:.0} texts/s then."
    );
    flow_table(report, "On a slow disk", &about, rows, three);
}

/// The same among more and more that is stored already.
async fn measure_growth(report: &mut Report, mut harness: Harness, bounds: &Bounds<'_>) -> Harness {
    let mut stored = growth::Stored::default();
    let mut rows = Vec::new();
    let mut first = None;
    let mut sizes = Vec::new();
    let mut so_far = 0;
    for (messages, open) in growth::levels() {
        report.step(&format!("growth: {messages} messages and {open} open sessions more"));
        if messages > so_far {
            stored.add_messages(bounds.server, report, messages - so_far).await;
            so_far = messages;
        }
        if open > 0 {
            stored.add_open_sessions(bounds.server, report, open).await;
        }
        harness.work_in_serve().await;
        if first.is_none() {
            warm_up(&harness).await;
        }
        // Caches and plans of the new process, and of a table that was just filled.
        load(&harness, bounds.server, Pace::Window(WINDOW), 2.0).await;
        if first.is_none() {
            growth::delete_messages_but(bounds.server, 10_000).await;
            // Plans for the rewritten tables are made before the measurement.
            load(&harness, bounds.server, Pace::Rate(200), 2.0).await;
        }
        let (messages, open, _) = growth::count(bounds.server).await;
        let before = bounds.three(report).await;
        let saturated = load(&harness, bounds.server, Pace::Window(WINDOW), bounds.seconds).await;
        let three = f64::midpoint(before, bounds.three(report).await);
        let steady = load(&harness, bounds.server, Pace::Rate(200), bounds.seconds).await;
        let (after, _, bytes) = growth::count(bounds.server).await;
        let (rate, of_three) = *first.get_or_insert((saturated.rate, saturated.rate / three));
        rows.push([
            messages.to_string(),
            open.to_string(),
            format!("{:.0}", saturated.rate),
            format!("{:.2}", saturated.rate / rate),
            format!("{three:.0}"),
            format!("{:.2}", saturated.rate / three),
            format!("{:.2}", saturated.rate / three / of_three),
            format!("{:.0}", saturated.cpu[1]),
            format!("{:.0}", saturated.wal),
            format!("{:.2}", steady.replied[0]),
            format!("{:.2}", steady.replied[1]),
        ]);
        sizes.push((after, bytes));
    }
    let about = "The same load on one process in a new database, when so much is stored as it begins; *three* before and after it. Latencies are at 200/s.";
    let columns = [
        "messages",
        "open sessions",
        "texts/s",
        "of the first",
        "*three*",
        "of *three*",
        "that, of the first",
        "CPU µs/text PostgreSQL",
        "WAL bytes/text",
        "reply p50 ms",
        "reply p99 ms",
    ];
    report.table("Growth", about, &columns);
    for row in &rows {
        report.row(row);
    }
    let about = "Bytes a stored message: the table, and its indexes.";
    report.table(
        "Bytes a message",
        about,
        &["messages", "delivery", "inactivity", "message", "session", "turn", "in all"],
    );
    for (messages, bytes) in sizes {
        let cells = bytes.iter().map(|(_, table, indexes)| format!("{table:.0} + {indexes:.0}"));
        let all: f64 = bytes.iter().map(|(_, table, indexes)| table + indexes).sum();
        let row: Vec<String> = [messages.to_string()].into_iter().chain(cells).chain([format!("{all:.0}")]).collect();
        report.row(&row);
    }
    harness
}

async fn measure_idle(report: &mut Report, harness: &mut Harness, server: &Server) {
    report.step("start, idle, size");
    let mut ready = Vec::new();
    let [mut idle, mut idle_memory, mut loaded] = [(); 3].map(|()| Vec::new());
    // `serve` and `work`, then both in one process.
    for workers in [1, 0] {
        let set = async |harness: &mut Harness| match workers {
            0 => harness.work_in_serve().await,
            _ => harness.start_workers(workers).await,
        };
        set(harness).await;
        load(harness, server, Pace::Window(WINDOW), 8.0).await;
        loaded.extend(harness.pids().iter().map(|pid| memory_megabytes(*pid)));
        let mut took = Vec::new();
        for _ in 0..5 {
            harness.start_serve().await;
            took.push(harness.ready_after.as_secs_f64() * 1e3);
        }
        ready.push(format!("{:.1} ms", percentiles(took)[0]));
        set(harness).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let pids = harness.pids();
        let before = cpu_of_each(&pids);
        tokio::time::sleep(Duration::from_secs(20)).await;
        idle.extend(cpu_of_each(&pids).iter().zip(before).map(|(after, before)| (after - before) / 20.0 * 100.0));
        idle_memory.extend(pids.iter().map(|pid| memory_megabytes(*pid)));
    }
    let about = "After the measure on a slow disk, on its database. Memory is that of a process with its script runners, what several \
                 share divided among them (PSS); after a load of 8 seconds with 512 texts in flight.";
    report.table("At rest", about, &["what", "serve", "work", "both in one process"]);
    let row = |name: &str, values: &[f64], unit: &str| {
        let cells = values.iter().map(|value| format!("{value:.1} {unit}"));
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let [apart, together] = [0, 1].map(|at| ready.get(at).cloned().unwrap_or_default());
    report.row(&["start to ready, median of 5".to_owned(), apart, String::new(), together]);
    report.row(&row("idle CPU over 20 s", &idle, "% of a core"));
    report.row(&row("memory at rest", &idle_memory, "MB"));
    report.row(&row("memory after a load", &loaded, "MB"));
    let size =
        std::fs::metadata(env!("CARGO_BIN_EXE_textback")).map(|file| file.len() as f64 / 1e6).unwrap_or_default();
    report.row(&["size of the binary".to_owned(), format!("{size:.1} MB"), String::new(), String::new()]);
}

/// CPU seconds of each process with its children.
fn cpu_of_each(pids: &[i32]) -> Vec<f64> {
    pids.iter().map(|pid| cpu_seconds(&[*pid])).collect()
}
