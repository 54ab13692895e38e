//! What the commands do: open the storage, start doors and hands, wait for the signal; the only place that knows them all.

pub mod agent;
pub mod dev;
pub mod doctor;
pub mod project;
pub mod secrets;
pub mod serve;
pub mod simulate;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::MetricsListen;
use crate::http::health::Draining;
use crate::http::listener::{AddressTaken, Limits, Listening};
use crate::http::router;
use crate::storage::Storage;
use crate::storage::connection_settings::Unsuitable;
use crate::storage::database;

/// How a command ended; an error is a sentence for whoever typed it.
pub type Done = Result<ExitCode, Box<dyn std::error::Error>>;

/// Prints a text to standard output. A reader that went away is no fault.
pub fn print(text: &str) -> Done {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Lets this process have as many open files as its system allows: a turn and a text on their way may each hold a socket, and the
/// usual soft limit of 1,024 is there for programs that know no better (systemd.exec(5), LimitNOFILE).
pub fn open_many_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The default address of metrics, reachable only from this machine. 9464 is the port of OpenTelemetry's Prometheus
/// exporters.
const METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Binds the address of the metrics, if they are served. If another process on this machine has the default address,
/// this process starts without metrics.
async fn metrics_listening(wanted: Option<MetricsListen>) -> Result<Option<Listening>, AddressTaken> {
    match wanted {
        Some(MetricsListen::Off) => Ok(None),
        Some(MetricsListen::At(address)) => Listening::at(address, "TEXTBACK_METRICS_LISTEN").await.map(Some),
        None => match Listening::at(METRICS_LISTEN, "TEXTBACK_METRICS_LISTEN").await {
            Ok(listening) => Ok(Some(listening)),
            Err(error) => {
                tracing::warn!(%error, "the metrics of this process are served nowhere");
                Ok(None)
            }
        },
    }
}

/// Serves health and metrics at an address of their own, until `stop`.
fn serve_metrics(
    listening: Option<Listening>,
    storage: &Storage,
    draining: &Draining,
    stop: CancellationToken,
) -> Option<JoinHandle<std::io::Result<()>>> {
    let listening = listening?;
    tracing::info!(address = %listening.address(), "serving metrics");
    // There are few clients: a prober and some scrapers.
    let listening = listening.with(Limits { connections: 256, ..Limits::default() });
    let routes = router::health_routes(storage.clone(), draining.clone());
    Some(tokio::spawn(listening.serve(routes, stop.cancelled_owned())))
}

/// Listens for SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is closed); the future ends at the first of them. Signals
/// are heard from the call on, so call it before the process says that it is ready: until then a signal ends it at once.
fn told_to_stop() -> impl Future<Output = ()> + Send + 'static {
    let heard = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    async move {
        let [Ok(mut term), Ok(mut int), Ok(mut hangup)] = heard else {
            tracing::error!("signals can't be heard; only SIGKILL will end this process");
            return std::future::pending().await;
        };
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
        };
        tracing::info!(signal = name, "stopping");
    }
}

/// Refuses a database that textback can't work with, with an explanation, before any other use of it.
async fn refuse_unsuitable(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let checked = database::check_suits(url).await;
    if let Some(Unsuitable::OneConnection) = checked.as_ref().err().and_then(Unsuitable::of) {
        // The database may only be slow at the moment; /readyz and doctor report that.
        tracing::warn!("the database gave no second connection in time; a pooler must give enough of them");
        return Ok(());
    }
    checked.map_err(|error| match Unsuitable::of(&error) {
        Some(unsuitable) => format!("{unsuitable}; {}", unsuitable.mend()).into(),
        None => error.into(),
    })
}

/// Starts telling other processes of work that is written here. Ends with the runtime.
fn spawn_notification_publisher(storage: &Storage) {
    tokio::spawn(storage.notifier().clone().publish_notifications(storage.pool().clone()));
}

/// Starts hearing of work that other processes write; keeps one connection. Ends with the runtime.
fn spawn_notification_listener(storage: &Storage) {
    tokio::spawn(storage.notifier().clone().listen_to_notifications(storage.pool().clone()));
}
