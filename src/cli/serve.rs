//! `textback serve` and `textback work`: the API and the workers, as separate processes or as one.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::ArgAction::Set;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{
    Done, carriers, metrics_listening, refuse_unsuitable, refuse_wrong_key, serve_metrics, spawn_notification_listener,
    spawn_notification_publisher, stop_signal,
};
use crate::agents::AgentRuntime;
use crate::agents::http::{Caller, Networks};
use crate::agents::script::runner::Runners;
use crate::carriers::Carriers;
use crate::channels::Channels;
use crate::config::{
    AgentSettings, CarrierSettings, DatabaseSettings, EdgeSettings, MetricsListen, MetricsSettings, MissingSetting,
    ServerSettings, WorkerSettings, parse_address, parse_base_url, parse_switch,
};
use crate::http::body;
use crate::http::health::Draining;
use crate::http::listener::{AddressTaken, Listening};
use crate::http::metrics::Observed;
use crate::http::router::{self, App};
use crate::jobs::ingest::Ingest;
use crate::jobs::{JobContext, Workers};
use crate::secret::SecretKeys;
use crate::storage::carrier_account::Accounts;
use crate::storage::health::NotReady;
use crate::storage::notifier::Notifier;
use crate::storage::{Storage, health, key_rotation};
use crate::{jobs, telemetry};

/// Database connections of a serving process: two flush inbound messages, the others serve the API.
pub(super) const SERVE_CONNECTIONS: u32 = 8;
/// Database connections of a worker: claims, settling, lease renewals, and one that listens to
/// notifications.
pub(super) const WORK_CONNECTIONS: u32 = 12;

/// The options of `textback serve`.
#[derive(Args)]
pub struct ServeOptions {
    #[command(flatten)]
    pub server: ServerSettings,
    #[command(flatten)]
    pub edge: EdgeSettings,
    #[command(flatten)]
    pub carrier: CarrierSettings,
    #[command(flatten)]
    pub agents: AgentSettings,
    /// Run workers in this process too. This takes fewer database statements per message than two
    /// processes
    #[arg(long, env = "TEXTBACK_WITH_WORKERS", value_parser = parse_switch, action = Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub with_workers: bool,
    #[command(flatten)]
    pub worker: WorkerSettings,
}

/// The options of `textback work`.
#[derive(Args)]
pub struct WorkOptions {
    #[command(flatten)]
    pub worker: WorkerSettings,
    #[command(flatten)]
    pub carrier: CarrierSettings,
    #[command(flatten)]
    pub agents: AgentSettings,
    /// The URL of `textback serve` that Twilio calls to report deliveries
    #[arg(long, env = "TEXTBACK_PUBLIC_URL", value_parser = parse_base_url)]
    pub public_url: Option<url::Url>,
    #[command(flatten)]
    pub metrics: MetricsSettings,
    /// Another address that serves /livez, /readyz and /metrics of this process. With it,
    /// TEXTBACK_METRICS_LISTEN has no default [default: none]
    #[arg(long, env = "TEXTBACK_WORK_LISTEN", value_parser = parse_address)]
    pub health_listen: Option<SocketAddr>,
}

/// Runs `textback serve`.
pub async fn serve(database: &DatabaseSettings, options: ServeOptions) -> Done {
    telemetry::metrics::start();
    let ServeOptions { server, edge, carrier, agents, with_workers, worker: settings } = options;
    body::limit_memory(edge.body_memory());
    let (url, notifier) = (database.required()?, Arc::new(Notifier::default()));
    let carriers = carriers(&carrier)?;
    let (agent_runtime, public_base) = (agent_runtime(&agents)?, server.public_base());
    // Workers have a separate pool, so that they can't use up the connections of webhooks.
    let worker_storage = with_workers.then(|| Storage::open(url, WORK_CONNECTIONS, notifier.clone())).transpose()?;
    let workers = match &worker_storage {
        Some(storage) => {
            let (runtime, public_base) = (agent_runtime.clone(), public_base.clone());
            Some(workers_of(storage, (&carrier, &carriers), runtime, public_base, settings)?)
        }
        None => None,
    };
    let storage = Storage::open(url, SERVE_CONNECTIONS, notifier)?;
    let ingest = match &workers {
        Some(workers) => workers.ingest(storage.clone()),
        None => Ingest::new(storage.clone()),
    };
    let key = carrier.required_key()?;
    refuse_unsuitable(url).await?;
    let listening = Listening::at(server.listen, "TEXTBACK_LISTEN").await?.with(edge.limits());
    let metrics = metrics_listening(edge.metrics.metrics_listen).await?;
    let draining = Draining::default();
    let app = App {
        accounts: Accounts::new(storage.clone(), key.clone()),
        carriers,
        agent_runtime,
        public_base: public_base.into(),
        draining: draining.clone(),
        console: None,
        docs: edge.docs,
        ingest,
        storage: storage.clone(),
    };
    check_database(&storage, &key).await?;
    warn_of_local_url(&app.public_base, &carrier);
    key_rotation::re_encrypt_in_background(&storage, &key);
    spawn_notification_publisher(&storage);
    let signal = stop_signal();
    tracing::info!(address = %listening.address(), public_url = %app.public_base, with_workers, "server started");

    let stopped = CancellationToken::new();
    let observed = match worker_storage.as_ref().zip(workers.as_ref()) {
        Some((storage_of_workers, workers)) => Observed::serving(&storage).and_workers(storage_of_workers, workers),
        None => Observed::serving(&storage),
    };
    let metrics = serve_metrics(metrics, (&storage, &key, &draining), observed, &stopped);
    let serving = listening.serve(router::routes(app), async move {
        signal.await;
        draining.store(true, Ordering::Relaxed);
    });
    match worker_storage.zip(workers) {
        None => serving.await?,
        Some((worker_storage, workers)) => {
            serve_with_workers(serving, &storage, worker_storage, workers).await?;
        }
    }
    stopped.cancel();
    for metrics in metrics {
        metrics.await??;
    }
    storage.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Serves until the signal and runs workers beside it. The workers stop last, because they run the
/// turns that the last requests have started.
async fn serve_with_workers(
    serving: impl Future<Output = std::io::Result<()>>,
    storage: &Storage,
    worker_storage: Storage,
    workers: Workers,
) -> Result<(), Box<dyn std::error::Error>> {
    spawn_notification_listener(&worker_storage);
    let served = CancellationToken::new();
    let mut running = tokio::spawn(jobs::run(workers, served.clone().cancelled_owned()));
    tokio::select! {
        ended = serving => ended?,
        // Without its workers the process would accept messages that nobody answers.
        how = &mut running => return Err(format!("the workers ended: {how:?}").into()),
    }
    storage.close().await;
    served.cancel();
    running.await??;
    worker_storage.close().await;
    Ok(())
}

/// Runs `textback work`.
pub async fn work(database: &DatabaseSettings, options: WorkOptions) -> Done {
    telemetry::metrics::start();
    let storage = Storage::open(database.required()?, WORK_CONNECTIONS, Arc::new(Notifier::default()))?;
    let carriers = carriers(&options.carrier)?;
    let public_url = options.public_url.as_ref();
    let public_url = public_url.ok_or(MissingSetting("TEXTBACK_PUBLIC_URL", "https://sms.example.com"))?;
    let public_base = public_url.as_str().trim_end_matches('/');
    let (carrier, runtime) = (&options.carrier, agent_runtime(&options.agents)?);
    let workers = workers_of(&storage, (carrier, &carriers), runtime, public_base.to_owned(), options.worker.clone())?;
    let key = carrier.required_key()?;
    refuse_unsuitable(database.required()?).await?;
    let health = health_listening(&options).await?;
    check_database(&storage, &key).await?;
    warn_of_local_url(public_base, carrier);
    key_rotation::re_encrypt_in_background(&storage, &key);
    spawn_notification_publisher(&storage);
    spawn_notification_listener(&storage);

    let stop = CancellationToken::new();
    let draining = Draining::default();
    let observed = Observed::working(&storage, &workers);
    let health = serve_metrics(health, (&storage, &key, &draining), observed, &stop);
    let signal = stop_signal();
    tracing::info!(
        turn_slots = options.worker.turn_slots,
        delivery_slots = options.worker.delivery_slots,
        "workers started"
    );
    // The workers run on a thread of the runtime. On the main thread, each step of each turn would
    // have to wake it.
    let running = jobs::run(workers, async move {
        signal.await;
        draining.store(true, Ordering::Relaxed);
    });
    tokio::spawn(running).await??;
    stop.cancel();
    for health in health {
        health.await??;
    }
    storage.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Binds the addresses where `work` serves its health and its metrics.
async fn health_listening(options: &WorkOptions) -> Result<Vec<Listening>, AddressTaken> {
    let (health, metrics) = (options.health_listen, options.metrics.metrics_listen);
    let mut listening = Vec::new();
    if let Some(address) = health {
        listening.push(Listening::at(address, "TEXTBACK_WORK_LISTEN").await?);
    }
    // Both settings may name the same address. Port 0 is another one each time.
    let is_same =
        |health: SocketAddr| metrics.is_none_or(|metrics| metrics == MetricsListen::At(health) && health.port() != 0);
    if !health.is_some_and(is_same) {
        listening.extend(metrics_listening(metrics).await?);
    }
    Ok(listening)
}

/// The workers of a process that calls `carriers`.
fn workers_of(
    storage: &Storage,
    (carrier, carriers): (&CarrierSettings, &Carriers),
    agent_runtime: AgentRuntime,
    public_base: String,
    settings: WorkerSettings,
) -> Result<Workers, MissingSetting> {
    Ok(Workers::new(JobContext {
        channels: Channels::default(),
        storage: storage.clone(),
        accounts: Accounts::new(storage.clone(), carrier.required_key()?),
        carriers: carriers.clone(),
        agent_runtime,
        public_base,
        settings,
    }))
}

/// The script runners and the HTTP caller of agents.
fn agent_runtime(agents: &AgentSettings) -> Result<AgentRuntime, Box<dyn std::error::Error>> {
    Ok(AgentRuntime { runners: Runners::new()?, caller: Caller::new(Networks::public_and(&agents.allow_hosts))? })
}

/// Checks the database when the process starts. It refuses a wrong secret key. Of everything else
/// it logs a warning and the process starts, since the database, its schema and its rights may come
/// later; `/readyz` reports it until then.
async fn check_database(storage: &Storage, key: &SecretKeys) -> Result<(), NotReady> {
    match health::check(storage, Some(key)).await {
        Ok(ready) => {
            if let Some(note) = ready.note() {
                tracing::warn!(error = %note, "the schema of the database was found newer than this binary");
            }
            warn_of_clocks(storage).await;
        }
        Err(wrong @ NotReady::SecretKey(_)) => return Err(wrong),
        Err(not_ready) => {
            if !matches!(not_ready, NotReady::Unreachable(_) | NotReady::Database(_) | NotReady::Unsuitable(_)) {
                refuse_wrong_key(storage, key).await?;
            }
            tracing::warn!(error = %not_ready, "the process started without being ready; it will serve when the error is repaired");
        }
    }
    Ok(())
}

/// Logs a warning if the clock of this machine is wrong, or the database's.
async fn warn_of_clocks(storage: &Storage) {
    let asking = async { health::server(&mut *storage.connection().await?).await };
    if let Ok(server) = asking.await
        && let Some(seconds) = health::clocks_apart(server.now)
    {
        tracing::warn!(
            seconds,
            "the clocks of this machine and of the database were found apart; synchronise them (chrony, ntpd), or agents may refuse signed calls as too old"
        );
    }
}

/// Logs a warning if the real carrier is told an address that only this machine can reach.
fn warn_of_local_url(public_base: &str, carrier: &CarrierSettings) {
    let is_local = |url: &url::Url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified() || ip.is_private(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => true,
    };
    let is_simulated = is_local(&carrier.twilio_api_url);
    if !is_simulated && public_base.parse().is_ok_and(|url| is_local(&url)) {
        tracing::warn!(
            public_url = public_base,
            "the public address was found to be one that no carrier can reach, so no text will arrive; set TEXTBACK_PUBLIC_URL to the address of this server on the internet"
        );
    }
}
