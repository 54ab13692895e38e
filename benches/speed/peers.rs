//! Runs the peers (`benches/peers`) under the same load on the same server, with their default
//! settings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::harness::{Harness, Process, Server, cpu_seconds};
use crate::load_generator::{self, ACCOUNT_SID, AUTH_TOKEN, Current, NUMBER, Pace, Target};
use crate::report::Report;
use crate::{CONNECTIONS, WINDOW, load, percentiles};

/// The peers: what they are called, their folders, and whether they only poll for work.
const PEERS: [(&str, &str, bool); 4] = [
    ("graphile-worker", "graphile-worker", false),
    ("pg-boss", "pg-boss", false),
    ("pg-boss, polling", "pg-boss", true),
    ("apalis-postgres", "apalis-postgres", false),
];
/// How long a peer may take for the rest of its answers after a load.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a peer came to.
struct Measured {
    rate: f64,
    /// At 50/s, in milliseconds: median and the hundredth.
    replied: [f64; 3],
    acknowledged: [f64; 3],
    /// Microseconds of CPU a text when it is saturated: the peer, PostgreSQL.
    cpu: [f64; 2],
    unanswered: usize,
}

/// A peer that was built, on a database of its own.
struct Peer {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    target: Target,
    carrier: Current,
    url: String,
    running: Vec<Process>,
}

impl Peer {
    /// Builds a peer and starts it. `None`: what it is built with is not on this machine.
    async fn start(server: &Server, name: &str, folder: &str, polls: bool) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(folder);
        let (program, arguments) = build(&folder)?;
        let database = format!("peer_{}", name.replace(|letter: char| !letter.is_alphanumeric(), "_"));
        let mut connection = PgConnection::connect(server.url()).await.expect("a connection");
        let create = format!("create database {database}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut connection).await.expect("a database");
        let mut url = url::Url::parse(server.url()).expect("a URL");
        url.set_path(&database);

        let current = load_generator::nothing();
        let carrier = load_generator::carrier(current.clone()).await;
        let address: SocketAddr =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let path = "/webhooks/twilio/peer/messages".to_owned();
        let target = Target { address, url: format!("http://{address}{path}"), path };
        let mut environment = vec![
            ("DATABASE_URL", url.to_string()),
            ("LISTEN", address.to_string()),
            ("WEBHOOK_URL", target.url.clone()),
            ("AUTH_TOKEN", AUTH_TOKEN.to_owned()),
            ("ACCOUNT_SID", ACCOUNT_SID.to_owned()),
            ("NUMBER", NUMBER.to_owned()),
            ("CARRIER_URL", format!("http://{carrier}")),
        ];
        if polls {
            environment.push(("POLLS", "yes".to_owned()));
        }
        let mut peer =
            Self { program, arguments, environment, target, carrier: current, url: url.into(), running: Vec::new() };
        assert!(peer.command("migrate").status().expect("it runs").success(), "{name}: migrate");
        for command in ["serve", "work"] {
            peer.running.push(Process(peer.command(command).spawn().expect("it starts")));
        }
        peer.wait_until_ready().await;
        Some(peer)
    }

    fn command(&self, command: &str) -> Command {
        let mut process = Command::new(&self.program);
        process
            .args(&self.arguments)
            .arg(command)
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .env("NODE_ENV", "production")
            .stdout(Stdio::null());
        process
    }

    async fn wait_until_ready(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        let ready = format!("http://{}/readyz", self.target.address);
        while !reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(Instant::now() < until, "{} is not ready", self.program.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The loads that textback gets: saturated, after everybody has texted once and a vacuum, and
    /// 50 a second. What half as many texts in flight come to counts if it is more: that is what
    /// the peer's settings were chosen for. Each twice; the best of all counts.
    async fn measure(&self, server: &Server, seconds: f64) -> Measured {
        let mut unanswered = 0;
        let until = load_generator::texted() + load_generator::CONTACTS;
        while load_generator::texted() < until {
            unanswered += self.load(Pace::Window(WINDOW), 4.0).await.1;
        }
        let mut best = (0.0, [0.0; 2]);
        for window in [WINDOW / 2, WINDOW, WINDOW / 2, WINDOW] {
            let (rate, cpu, left) = self.saturate(server, window, seconds).await;
            unanswered += left;
            if rate > best.0 {
                best = (rate, cpu);
            }
        }
        Server::vacuum_at(&self.url).await;
        let (steady, left) = self.load(Pace::Rate(50), seconds).await;
        unanswered += left;
        Measured {
            rate: best.0,
            replied: percentiles(steady.replies()),
            acknowledged: percentiles(steady.acknowledgements()),
            cpu: best.1,
            unanswered,
        }
    }

    /// Texts a second, CPU a text and what was not answered, with so many texts in flight.
    async fn saturate(&self, server: &Server, window: usize, seconds: f64) -> (f64, [f64; 2], usize) {
        Server::vacuum_at(&self.url).await;
        let pids: Vec<i32> = self.running.iter().map(Process::pid).collect();
        let seconds_of = || [cpu_seconds(&pids), cpu_seconds(&[server.pid()])];
        let before = seconds_of();
        let (saturated, left) = self.load(Pace::Window(window), seconds).await;
        let texts = saturated.acknowledgements().len() as f64;
        let [peer, postgres] = seconds_of();
        let cpu = [(peer - before[0]) / texts * 1e6, (postgres - before[1]) / texts * 1e6];
        (saturated.rate(false, 1.0, seconds), cpu, left)
    }

    /// A load, and how many of its texts were not answered in [`TIMEOUT`].
    async fn load(&self, pace: Pace, seconds: f64) -> (std::sync::Arc<load_generator::Clocks>, usize) {
        let clocks = load_generator::text(&self.target, &self.carrier, pace, seconds, CONNECTIONS).await;
        let texts = clocks.acknowledgements().len();
        let until = Instant::now() + TIMEOUT;
        while clocks.answers() < texts && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let left = texts.saturating_sub(clocks.answers());
        (clocks, left)
    }
}

/// Installs what a peer needs, as its lock file or its pinned versions say; the program and its
/// first arguments.
fn build(folder: &Path) -> Option<(PathBuf, Vec<String>)> {
    let quietly = |command: &mut Command| {
        let done = command.current_dir(folder).stdout(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    };
    if folder.join("package.json").exists() {
        let installed = folder.join("node_modules").exists() || quietly(Command::new("npm").args(["ci", "--silent"]));
        let script = folder.join("index.mjs").to_string_lossy().into_owned();
        return installed.then(|| ("node".into(), vec![script]));
    }
    // It is built as it is, and not as this bench was asked to be.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--quiet"]).env_remove("DATABASE_URL").env_remove("CARGO_TARGET_DIR");
    let name = folder.file_name()?.to_string_lossy().into_owned();
    quietly(&mut cargo).then(|| (folder.join("target/release").join(format!("peer-{name}")), Vec::new()))
}

/// Builds all peers, so that none is built in the middle of what is measured.
pub fn prepare(report: &mut Report) {
    report.step("peers are built");
    for (_, folder, _) in PEERS {
        build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(folder));
    }
}

/// Measures all peers, and textback between them.
pub async fn compare(report: &mut Report, harness: &mut Harness, server: &Server, seconds: f64) {
    harness.work_in_serve().await;
    // As the peers' rate: after a while that does not count, and a vacuum.
    let ours = async || {
        load(harness, server, Pace::Window(WINDOW), 4.0).await;
        server.vacuum().await;
        load(harness, server, Pace::Window(WINDOW), seconds).await.rate
    };
    report.step("textback, before the peers");
    let mut beside = vec![ours().await];
    let mut rows = Vec::new();
    for (name, folder, polls) in PEERS {
        report.step(name);
        match Peer::start(server, name, folder, polls).await {
            Some(peer) => rows.push((name, peer.measure(server, seconds).await)),
            None => {
                eprintln!("    {name} can't be built here (npm and cargo fetch what it needs): not measured");
                continue;
            }
        }
        report.step(&format!("textback, after {name}"));
        beside.push(ours().await);
    }
    report.step("textback at 50/s");
    server.vacuum().await;
    let steady = load(harness, server, Pace::Rate(50), seconds).await;
    // As the peers are divided, whose one thread is not enough for both.
    report.step("textback, serve and work");
    harness.start_workers(1).await;
    load(harness, server, Pace::Window(WINDOW), 4.0).await;
    server.vacuum().await;
    let divided = load(harness, server, Pace::Window(WINDOW), seconds).await.rate;
    let about = format!(
        "The programs of `benches/peers`, a `serve` and a `work` each, since one thread is all that Node has, in turn with one process \
         of textback, each beside what that did before and after it with {WINDOW} texts in flight; of a peer the best \
         of two measures with {} and two with {WINDOW} counts. textback divided is a `serve` and a `work`, too, which made {divided:.0} texts/s. In one \
         process its reply took {:.2} and {:.2} ms at 50/s. All begin in new databases, in which everybody texts once, and which are vacuumed before each measure. What the peers promise less stands in `benches/peers/README.md`.",
        WINDOW / 2,
        steady.replied[0],
        steady.replied[1]
    );
    let columns = [
        "peer",
        "texts/s saturated",
        "textback beside it",
        "textback is",
        "divided it is",
        "reply p50 ms at 50/s",
        "reply p99 ms",
        "ack p99 ms",
        "CPU µs/text peer",
        "CPU µs/text PostgreSQL",
        "not answered in 30 s",
    ];
    report.table("Peers", &about, &columns);
    for ((name, measured), beside) in rows.into_iter().zip(beside.windows(2)) {
        let ours = f64::midpoint(beside[0], beside[1]);
        report.row(&[
            name.to_owned(),
            format!("{:.0}", measured.rate),
            format!("{ours:.0}"),
            format!("{:.2} x", ours / measured.rate),
            format!("{:.2} x", divided / measured.rate),
            format!("{:.2}", measured.replied[0]),
            format!("{:.2}", measured.replied[1]),
            format!("{:.2}", measured.acknowledged[1]),
            format!("{:.0}", measured.cpu[0]),
            format!("{:.0}", measured.cpu[1]),
            measured.unanswered.to_string(),
        ]);
    }
}
