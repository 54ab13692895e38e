//! What people would use instead, put under the same load on the same server: the programs of `benches/peers`; it tunes none of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::stage::{Process, Server, cpu_seconds};
use crate::wire::{self, ACCOUNT_SID, AUTH_TOKEN, Current, NUMBER, Pace, Target};
use crate::{CONNECTIONS, WINDOW, percentiles};

/// The peers' folders.
pub const NAMES: [&str; 3] = ["graphile-worker", "pg-boss", "apalis-postgres"];
/// How long a peer may take for the rest of its answers after a load.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a peer came to.
pub struct Measured {
    pub rate: f64,
    /// At 50/s, in milliseconds: median and the hundredth.
    pub replied: [f64; 3],
    pub acknowledged: [f64; 3],
    /// Microseconds of CPU a text when it is saturated: the peer, PostgreSQL.
    pub cpu: [f64; 2],
    pub unanswered: usize,
}

/// A peer that was built, on a database of its own.
pub struct Peer {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    target: Target,
    carrier: Current,
    running: Vec<Process>,
}

impl Peer {
    /// Builds a peer and starts it. `None`: what it is built with is not on this machine.
    pub async fn start(server: &Server, name: &str) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name);
        let (program, arguments) = build(&folder)?;
        let database = format!("peer_{}", name.replace('-', "_"));
        let mut connection = PgConnection::connect(server.url()).await.expect("a connection");
        let create = format!("create database {database}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut connection).await.expect("a database");
        let mut url = url::Url::parse(server.url()).expect("a URL");
        url.set_path(&database);

        let current = wire::nothing();
        let carrier = wire::carrier(current.clone()).await;
        let address: SocketAddr =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
        let path = "/webhooks/twilio/peer/messages".to_owned();
        let target = Target { address, url: format!("http://{address}{path}"), path };
        let environment = vec![
            ("DATABASE_URL", url.to_string()),
            ("LISTEN", address.to_string()),
            ("WEBHOOK_URL", target.url.clone()),
            ("AUTH_TOKEN", AUTH_TOKEN.to_owned()),
            ("ACCOUNT_SID", ACCOUNT_SID.to_owned()),
            ("NUMBER", NUMBER.to_owned()),
            ("CARRIER_URL", format!("http://{carrier}")),
        ];
        let mut peer = Self { program, arguments, environment, target, carrier: current, running: Vec::new() };
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

    /// The loads that textback gets: saturated, after a while of it that does not count, and 50 a second.
    pub async fn measure(&self, server: &Server, seconds: f64) -> Measured {
        let mut unanswered = self.load(Pace::Window(WINDOW), 4.0).await.1;
        let pids: Vec<i32> = self.running.iter().map(Process::pid).collect();
        let before = [cpu_seconds(&pids), cpu_seconds(&[server.pid()])];
        let (saturated, left) = self.load(Pace::Window(WINDOW), seconds).await;
        let texts = saturated.acknowledgements().len() as f64;
        let cpu =
            [(cpu_seconds(&pids) - before[0]) / texts * 1e6, (cpu_seconds(&[server.pid()]) - before[1]) / texts * 1e6];
        unanswered += left;
        let (steady, left) = self.load(Pace::Rate(50), seconds).await;
        unanswered += left;
        Measured {
            rate: saturated.rate(false, 1.0, seconds),
            replied: percentiles(steady.replies()),
            acknowledged: percentiles(steady.acknowledgements()),
            cpu,
            unanswered,
        }
    }

    /// A load, and how many of its texts were not answered in [`PATIENCE`].
    async fn load(&self, pace: Pace, seconds: f64) -> (std::sync::Arc<wire::Clocks>, usize) {
        let clocks = wire::text(&self.target, &self.carrier, pace, seconds, CONNECTIONS).await;
        let texts = clocks.acknowledgements().len();
        let until = Instant::now() + PATIENCE;
        while clocks.answers() < texts && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let left = texts.saturating_sub(clocks.answers());
        (clocks, left)
    }
}

/// Installs what a peer needs, as its lock file or its pinned versions say; the program and its first arguments.
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
