//! Implements the commands: each one opens the storage, starts what it needs and waits for a signal
//! to stop.

pub mod agent;
pub mod configuration;
mod dashboards;
pub mod dev;
pub mod doctor;
pub mod environment;
pub mod healthcheck;
mod operator;
pub mod project;
pub mod quarantine;
pub mod report;
pub mod reporting;
pub mod secrets;
pub mod serve;
pub mod simulate;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::carriers::Carriers;
use crate::carriers::twilio::Twilio;
use crate::config::{CarrierSettings, MetricsListen};
use crate::http;
use crate::http::health::{Draining, Readiness};
use crate::http::listener::{AddressTaken, Limits, Listening};
use crate::http::metrics::Observed;
use crate::http::router;
use crate::secret::SecretKeys;
use crate::storage::connection_settings::Unsuitable;
use crate::storage::health::NotReady;
use crate::storage::{Storage, database, health, unreachable};

/// The result of a command. The text of an error is for the user of the command.
pub type Done = Result<ExitCode, Box<dyn std::error::Error>>;

/// Prints a text to standard output. A closed pipe is not an error.
pub fn print(text: &str) -> Done {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Raises the limit of open files to what the system allows, because each turn and each delivery
/// may hold a socket. The usual soft limit of 1,024 exists only for programs that use select(2)
/// (systemd.exec(5), LimitNOFILE).
pub fn open_many_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The default address of metrics, reachable only from this machine. 9464 is the port of
/// OpenTelemetry's Prometheus exporters.
const METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Binds the address of the metrics, if they are served. An address that was given must be free. If
/// another process on this machine has the default address, this process starts without metrics,
/// because its work matters more.
async fn metrics_listening(wanted: Option<MetricsListen>) -> Result<Option<Listening>, AddressTaken> {
    match wanted {
        Some(MetricsListen::Off) => Ok(None),
        Some(MetricsListen::At(address)) => Listening::at(address, "TEXTBACK_METRICS_LISTEN").await.map(Some),
        None => match Listening::at(METRICS_LISTEN, "TEXTBACK_METRICS_LISTEN").await {
            Ok(listening) => Ok(Some(listening)),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the metrics of this process were not served, because another process has their default address; set TEXTBACK_METRICS_LISTEN to another address, such as 127.0.0.1:9465, or to off"
                );
                Ok(None)
            }
        },
    }
}

/// The carriers that accounts can be at.
fn carriers(settings: &CarrierSettings) -> reqwest::Result<Carriers> {
    let twilio = Twilio::new(settings.twilio_api_url.clone(), settings.twilio_messaging_url.clone())?;
    Ok(Carriers::new(Arc::new(twilio)))
}

/// Serves health and metrics on a separate address until `stop`.
fn serve_metrics(
    listening: impl IntoIterator<Item = Listening>,
    (storage, keys, draining): (&Storage, &SecretKeys, &Draining),
    observed: Observed,
    stop: &CancellationToken,
) -> Vec<JoinHandle<std::io::Result<()>>> {
    let mut serving = Vec::new();
    for listening in listening {
        tracing::info!(address = %listening.address(), "metrics listener started");
        // The only clients are health checks and scrapers.
        let listening = listening.with(Limits { connections: 256, ..Limits::default() });
        let routes = router::health_routes(storage.clone(), keys.clone(), draining.clone(), observed.clone());
        serving.push(tokio::spawn(listening.serve(routes, stop.clone().cancelled_owned())));
    }
    let kept = match serving.is_empty() {
        // Nobody reads them, and what was measured must not pile up.
        true => tokio::spawn(http::metrics::only_upkeep(stop.clone())),
        false => {
            tokio::spawn(observed.keep(Readiness::new(storage.clone(), keys.clone()), draining.clone(), stop.clone()))
        }
    };
    serving.push(tokio::spawn(async move { kept.await.map_err(std::io::Error::other) }));
    serving
}

/// Waits for SIGTERM, SIGINT (Ctrl-C) or SIGHUP (the terminal was closed). The handlers are
/// installed by the call itself, so call it before the process reports that it is ready. Before
/// that, a signal ends the process at once.
fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    async move {
        let [Ok(mut term), Ok(mut int), Ok(mut hangup)] = signals else {
            tracing::error!("signal handlers could not be installed; only SIGKILL will end this process");
            return std::future::pending().await;
        };
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
        };
        tracing::info!(signal = name, "shutdown started");
    }
}

/// Refuses a database that textback can't work with, with an explanation, before any other use of
/// it.
async fn refuse_unsuitable(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let checked = database::check_suits(url).await;
    if let Some(Unsuitable::OneConnection) = checked.as_ref().err().and_then(Unsuitable::of) {
        // The database may be slow only at the moment. /readyz and doctor report that.
        tracing::warn!(
            "the database did not accept a second connection in time; if there is a pooler, raise its pool_size"
        );
        return Ok(());
    }
    checked.map_err(|error| match Unsuitable::of(&error) {
        Some(unsuitable) => format!("{unsuitable}; {}", unsuitable.repair()).into(),
        None => unreachable::plain(&error).into(),
    })
}

/// Refuses to start with a key that does not decrypt the stored secrets: each webhook of those
/// projects would be answered with an error. A database that can't be asked now passes; `/readyz`
/// asks again.
async fn refuse_wrong_key(storage: &Storage, keys: &SecretKeys) -> Result<(), NotReady> {
    match health::refuse_unreadable_secrets(storage, keys).await {
        Err(wrong @ NotReady::SecretKey(_)) => Err(wrong),
        _ => Ok(()),
    }
}

/// The error of a command for its user: of a connection, its true cause and what to do about it.
async fn explained(storage: &Storage, error: sqlx::Error) -> Box<dyn std::error::Error> {
    let pool = storage.pool();
    let error = database::reason(pool, error).await;
    match Unsuitable::of(&error) {
        Some(unsuitable) => format!("{unsuitable}; {}", unsuitable.repair()).into(),
        None => unreachable::text(&pool.connect_options(), &error).into(),
    }
}

/// Starts notifying other processes of jobs that this process writes. Ends with the runtime.
fn spawn_notification_publisher(storage: &Storage) {
    tokio::spawn(storage.notifier().clone().publish_notifications(storage.pool().clone()));
}

/// Starts listening to notifications of jobs that other processes write. It keeps one connection.
/// Ends with the runtime.
fn spawn_notification_listener(storage: &Storage) {
    tokio::spawn(storage.notifier().clone().listen_to_notifications(storage.pool().clone()));
}
