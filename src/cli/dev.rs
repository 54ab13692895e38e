//! `textback dev`: everything in one process, with a private PostgreSQL, a simulated Twilio and a
//! simulated phone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use dev_postgres::Postgres;
use poem::{Endpoint, EndpointExt, Response};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twilio_simulator::{Settings, Simulator};
use url::Url;

use super::agent::live::{self, ModelOptions};
use super::serve::{SERVE_CONNECTIONS, WORK_CONNECTIONS};
use super::{
    Done, metrics_listening, refuse_wrong_key, serve_metrics, spawn_notification_listener,
    spawn_notification_publisher, stop_signal,
};
use crate::agents::AgentRuntime;
use crate::agents::http::{Caller, Network, Networks};
use crate::agents::script::runner::Runners;
use crate::carriers::Carriers;
use crate::carriers::twilio::Twilio;
use crate::channels::Channels;
use crate::config::{AgentSettings, DatabaseSettings, DevSettings, EdgeSettings, ServerSettings, WorkerSettings};
use crate::dev::demo::{self, Demo};
use crate::dev::folder::Folder;
use crate::dev::running::RunningDev;
use crate::dev::{postgres, shell};
use crate::http::console::guard::{self, Guard};
use crate::http::health::Draining;
use crate::http::listener::{AddressTaken, Listening};
use crate::http::metrics::Observed;
use crate::http::own_calls::OwnCalls;
use crate::http::router::{self, App};
use crate::http::{body, console};
use crate::jobs::{JobContext, Workers};
use crate::secret::SecretKeys;
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;
use crate::storage::notifier::Notifier;
use crate::{jobs, storage, telemetry};

/// The time between two statuses of a simulated delivery: long enough to be seen in the console.
const PACE: Duration = Duration::from_millis(300);

/// The options of `textback dev`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    edge: EdgeSettings,
    #[command(flatten)]
    worker: WorkerSettings,
    #[command(flatten)]
    agents: AgentSettings,
    #[command(flatten)]
    dev: DevSettings,
    /// The folder of an agent that answers the number of the demo. What is saved in it is used from
    /// the next text on
    #[arg(long, value_name = "DIR")]
    agent: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOptions,
    /// The key that encrypts stored secrets: 32 bytes in base64
    /// [default: created at the first start]
    #[arg(long, env = "TEXTBACK_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<SecretKeys>,
}

/// Runs `textback dev` until Ctrl-C.
pub async fn run(options: Options) -> Done {
    telemetry::metrics::start();
    require_password_for_remote_clients(&options)?;
    body::limit_memory(options.edge.body_memory());
    let folder = Folder::take(&options.dev.data_dir)?;
    let secret_key = options.secret_key.clone().map_or_else(|| folder.secret_key(), Ok)?;
    // The addresses are bound first, so that nothing else starts if one is in use.
    let listeners = Listeners::bind(&options).await?;
    let (postgres, url) = start_database(&options, &folder).await?;
    storage::migrate(&url).await?;

    let carrier_url = Url::parse(&format!("http://{}", listeners.carrier.address()))?;
    let carriers = Carriers::new(Arc::new(Twilio::new(carrier_url.clone(), carrier_url)?));
    let agent_runtime = AgentRuntime { runners: Runners::new()?, caller: Caller::new(networks(&options.agents)?)? };
    let public_base = listeners.public_base(&options);
    // With a pool of their own, workers can't use up the connections of webhooks.
    let notifier = Arc::new(Notifier::default());
    let worker_storage = Storage::open(&url, WORK_CONNECTIONS, notifier.clone())?;
    let accounts = Accounts::new(worker_storage.clone(), secret_key.clone());
    let workers = Workers::new(JobContext {
        channels: Channels::default(),
        storage: worker_storage.clone(),
        accounts,
        carriers: carriers.clone(),
        agent_runtime: agent_runtime.clone(),
        public_base: public_base.clone(),
        settings: options.worker.clone(),
    });
    let storage = Storage::open(&url, SERVE_CONNECTIONS, notifier)?;
    refuse_wrong_key(&storage, &secret_key).await?;
    spawn_notification_publisher(&worker_storage);
    spawn_notification_listener(&worker_storage);
    let simulator = Simulator::new(Settings { status_delay: PACE })?;
    let demo = demo::project(&storage, &folder).await?;
    let draining = Draining::default();
    let guard = Guard::new(options.dev.console_password().cloned());
    let app = App {
        accounts: Accounts::new(storage.clone(), secret_key.clone()),
        carriers,
        agent_runtime,
        public_base: public_base.into(),
        draining: draining.clone(),
        console: Some(console::ConsoleState {
            storage: storage.clone(),
            project_id: demo.project_id,
            simulator: simulator.clone(),
            guard: guard.clone(),
            draining: draining.clone(),
        }),
        docs: true,
        ingest: workers.ingest(storage.clone()),
        storage: storage.clone(),
    };
    let running_dev = announced(&listeners, &app, postgres.as_ref().map(|_| url.clone()));
    let addresses = (listeners.api.address(), listeners.carrier.address());
    let live_storage = storage.clone();
    let storages = Storages { serving: storage, workers: worker_storage };
    let own = OwnCalls::new(app.clone(), demo.api_key.clone());
    let running = Running::start(app, listeners, guarded(simulator.routes(), guard), storages, workers);
    demo::furnish(async |operation, body| own.call(operation, body).await, &simulator, &secret_key).await?;
    let live = live::start(options.agent.as_deref(), &options.model, &options.agents, own, live_storage).await?;
    let signal = stop_signal();
    let _announced = running_dev.announce(&folder)?;
    let _watching = live.map(live::LiveAgent::watch);
    println!("{}", ready_message(&demo, addresses, &data_location(folder.path(), postgres.is_some())));
    running.until_stopped(signal, postgres).await
}

/// What other commands on this machine learn of this process. `database_url`: of a private
/// database.
fn announced(listeners: &Listeners, app: &App, database_url: Option<String>) -> RunningDev {
    RunningDev {
        api: shell::url_of(listeners.api.address()),
        carrier: shell::url_of(listeners.carrier.address()),
        public_url: app.public_base.to_string(),
        database_url,
    }
}

/// The bound addresses.
struct Listeners {
    api: Listening,
    metrics: Option<Listening>,
    carrier: Listening,
}

impl Listeners {
    async fn bind(options: &Options) -> Result<Self, AddressTaken> {
        Ok(Self {
            api: Listening::at(options.server.listen, "TEXTBACK_LISTEN").await?.with(options.edge.limits()),
            metrics: metrics_listening(options.edge.metrics.metrics_listen).await?,
            carrier: Listening::at(options.dev.simulator_listen, "TEXTBACK_SIMULATOR_LISTEN").await?,
        })
    }

    /// The public base URL. By default it has the bound port, which may differ from the given one
    /// if that is 0.
    fn public_base(&self, options: &Options) -> String {
        match &options.server.public_url {
            Some(_) => options.server.public_base(),
            None => format!("http://{}", self.api.address()),
        }
    }
}

/// The URL of the database, and the private PostgreSQL if no URL was given.
async fn start_database(
    options: &Options,
    folder: &Folder,
) -> Result<(Option<Postgres>, String), Box<dyn std::error::Error>> {
    if let Some(url) = options.database.given()? {
        return Ok((None, url.to_owned()));
    }
    let postgres = postgres::start(folder.path(), options.dev.pg_bin.as_deref()).await?;
    let url = postgres.url().to_owned();
    Ok((Some(postgres), url))
}

/// Says where everything is. Each command runs as it is printed, in any folder.
fn ready_message(demo: &Demo, (api, carrier): (SocketAddr, SocketAddr), data: &str) -> String {
    let (key, number, textback) = (&demo.api_key, demo::NUMBER, shell::this_program());
    let api = shell::url_of(api);
    let [to_carrier, to_console, to_messages] =
        [shell::url_of(carrier), format!("{api}/console"), format!("{api}/v1/messages")]
            .map(|url| shell::quoted(&url).into_owned());
    format!(
        r#"
  textback is ready.

  Console   {api}/console
  API       {api}/docs   (key: {key})
  From a shell
            {textback} simulate send --from +14155550101 --to {number} "hi" --simulator-url {to_carrier}
            {textback} simulate advance-clock --from +14155550101 --to {number} --console-url {to_console}
            curl {to_messages} -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
                 -d '{{"to": "+14155550101", "body": "Your table is ready."}}'

  Ctrl-C stops it. {data}
"#
    )
}

/// The pools of the API and of the workers.
struct Storages {
    serving: Storage,
    workers: Storage,
}

/// Everything that runs until the process stops.
struct Running {
    api: JoinHandle<std::io::Result<()>>,
    carrier: JoinHandle<std::io::Result<()>>,
    metrics: Vec<JoinHandle<std::io::Result<()>>>,
    workers: JoinHandle<Result<(), String>>,
    storages: Storages,
    draining: Draining,
    /// Stops the API, the simulated carrier and the metrics.
    stop: CancellationToken,
    /// Stops the workers.
    stop_workers: CancellationToken,
}

impl Running {
    fn start(
        app: App,
        listeners: Listeners,
        simulator: impl Endpoint<Output = Response> + 'static,
        storages: Storages,
        workers: Workers,
    ) -> Self {
        let (stop, stop_workers) = (CancellationToken::new(), CancellationToken::new());
        let draining = app.draining.clone();
        let metrics = serve_metrics(
            listeners.metrics,
            (&storages.serving, app.accounts.key(), &draining),
            Observed::serving(&storages.serving).and_workers(&storages.workers, &workers),
            &stop,
        );
        let api = tokio::spawn(listeners.api.serve(router::routes(app), stop.clone().cancelled_owned()));
        let carrier = tokio::spawn(listeners.carrier.serve(simulator, stop.clone().cancelled_owned()));
        let stopped = stop_workers.clone().cancelled_owned();
        let workers = tokio::spawn(async move { jobs::run(workers, stopped).await.map_err(|error| error.to_string()) });
        Self { api, carrier, metrics, workers, storages, draining, stop, stop_workers }
    }

    /// Waits for the signal, and stops everything in order. When one part ends, all parts end:
    /// otherwise the process would accept messages that nobody answers.
    async fn until_stopped(mut self, signal: impl Future<Output = ()>, postgres: Option<Postgres>) -> Done {
        let database_ended = async {
            match &postgres {
                Some(postgres) => postgres.ended().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            () = signal => None,
            how = database_ended => Some(format!("PostgreSQL ended: {how}")),
            how = &mut self.api => Some(format!("the API ended: {how:?}")),
            how = &mut self.carrier => Some(format!("the simulated carrier ended: {how:?}")),
            how = &mut self.workers => Some(format!("the workers ended: {how:?}")),
        };
        self.draining.store(true, Ordering::Relaxed);
        self.stop.cancel();
        for part in [self.api, self.carrier].into_iter().chain(self.metrics) {
            if !part.is_finished() {
                let _ = part.await;
            }
        }
        self.storages.serving.close().await;
        // The workers stop last, because they run the turns that the last requests have started.
        self.stop_workers.cancel();
        if !self.workers.is_finished() {
            let _ = self.workers.await;
        }
        self.storages.workers.close().await;
        if let Some(postgres) = postgres {
            tokio::task::spawn_blocking(move || postgres.stop()).await?;
        }
        match ended {
            None => Ok(ExitCode::SUCCESS),
            Some(how) => Err(how.into()),
        }
    }
}

/// A sentence that says where the data is.
fn data_location(folder: &Path, has_database: bool) -> String {
    let folder = folder.display();
    match has_database {
        true => format!("Data is kept in {folder}."),
        false => format!("Data is kept in the database of DATABASE_URL, and the keys in {folder}."),
    }
}

/// The console and the simulated phones have no other access control, so without a password they
/// are only for this machine.
fn require_password_for_remote_clients(options: &Options) -> Result<(), String> {
    if options.dev.console_password().is_some() {
        return Ok(());
    }
    if let Some(url) = options.server.public_url.as_ref().filter(|url| !guard::is_local(url)) {
        return Err(format!(
            "TEXTBACK_PUBLIC_URL is {url}, so other machines reach the console through a proxy and could read and send messages; set TEXTBACK_CONSOLE_PASSWORD"
        ));
    }
    let served =
        [("TEXTBACK_LISTEN", options.server.listen), ("TEXTBACK_SIMULATOR_LISTEN", options.dev.simulator_listen)];
    match served.into_iter().find(|(_, address)| !address.ip().to_canonical().is_loopback()) {
        None => Ok(()),
        Some((setting, address)) => Err(format!(
            "{setting} is {address}, so other machines reach the console and could read and send messages; set TEXTBACK_CONSOLE_PASSWORD, or listen on 127.0.0.1"
        )),
    }
}

/// The simulated carrier, behind the console's guard.
fn guarded<E: Endpoint<Output = Response> + 'static>(
    simulator: E,
    guard: Guard,
) -> impl Endpoint<Output = Response> + 'static {
    let guarded = body::bounded(simulator).around(move |next, request| {
        let guard = guard.clone();
        async move {
            match guard.admit_to_simulator(&request).await {
                Ok(()) => next.call(request).await,
                Err(refused) => Ok(refused),
            }
        }
    });
    router::edge_of_carrier(guarded)
}

/// The allowed networks and this machine, because in development the service of an agent runs on
/// this machine.
pub(super) fn networks(agents: &AgentSettings) -> Result<Networks, String> {
    let mut allowed = agents.allow_hosts.clone();
    for this_machine in ["127.0.0.0/8", "::1"] {
        allowed.push(this_machine.parse::<Network>()?);
    }
    Ok(Networks::public_and(&allowed))
}
