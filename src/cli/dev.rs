//! `textback dev`: everything in one process, with a database, a carrier and a phone of its own.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use poem::{Endpoint, EndpointExt, Response};
use tokio_util::sync::CancellationToken;
use twilio_simulator::{Remote, Settings, Simulator};
use url::Url;

use super::serve::{SERVE_CONNECTIONS, WORK_CONNECTIONS};
use super::{
    Done, metrics_listening, serve_metrics, spawn_notification_listener, spawn_notification_publisher, told_to_stop,
};
use crate::agents::AgentRuntime;
use crate::agents::http::{Caller, Network, Networks};
use crate::agents::script::runner::Runners;
use crate::carriers::twilio::Client;
use crate::config::{AgentSettings, DatabaseSettings, DevSettings, EdgeSettings, ServerSettings, WorkerSettings};
use crate::dev::folder::Folder;
use crate::dev::{demo, postgres};
use crate::http::console::guard::{self, Guard};
use crate::http::health::Draining;
use crate::http::listener::Listening;
use crate::http::router::App;
use crate::http::{body, console, router};
use crate::jobs::Workers;
use crate::secret::SecretKeys;
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;
use crate::storage::notifier::Notifier;
use crate::{jobs, storage, telemetry};

/// How long a text takes from one status to the next: long enough to be seen.
const PACE: Duration = Duration::from_millis(300);

/// What `textback dev` takes.
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
    /// 32 bytes in base64 that seal the carrier secrets at rest [default: drawn at the first start]
    #[arg(long, env = "TEXTBACK_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<SecretKeys>,
}

/// Runs `textback dev` until Ctrl-C.
pub async fn run(options: Options) -> Done {
    telemetry::metrics();
    refuse_to_serve_strangers(&options)?;
    body::hold_at_most(options.edge.body_memory());
    let folder = Folder::take(&options.dev.data_dir)?;
    let secret_key = match options.secret_key {
        Some(key) => key,
        None => folder.secret_key()?,
    };
    // The addresses first: nothing is started that could not be used.
    let api = Listening::at(options.server.listen, "TEXTBACK_LISTEN").await?.with(options.edge.limits());
    let metrics = metrics_listening(options.edge.metrics_listen).await?;
    let carrier = Listening::at(options.dev.simulator_listen, "TEXTBACK_SIMULATOR_LISTEN").await?;
    let carrier_url = Url::parse(&format!("http://{}", carrier.address()))?;
    let public_base = match &options.server.public_url {
        Some(_) => options.server.public_base(),
        None => format!("http://{}", api.address()),
    };

    let postgres = match options.database.given() {
        Some(_) => None,
        None => Some(postgres::start(folder.path(), options.dev.pg_bin.as_deref()).await?),
    };
    let url = match (&postgres, options.database.given()) {
        (Some(postgres), _) => postgres.url().to_owned(),
        (None, Some(url)) => url.to_owned(),
        (None, None) => unreachable!("one of them is there"),
    };
    storage::migrate(&url).await?;

    // Two ledgers, one set of bells: workers can't take the webhook's connections.
    let notifier = Arc::new(Notifier::default());
    let working = Storage::open(&url, WORK_CONNECTIONS, notifier.clone())?;
    let client = Client::new(carrier_url.clone(), carrier_url.clone())?;
    let agent_runtime = AgentRuntime { runners: Runners::new()?, caller: Caller::new(networks(&options.agents)?)? };
    let accounts = Accounts::new(working.clone(), secret_key.clone());
    let workers =
        Workers::new(&working, &accounts, &client, agent_runtime.clone(), "dev", &public_base, &options.worker);
    let serving = Storage::open_beside(&url, SERVE_CONNECTIONS, notifier, workers.beginner())?;
    spawn_notification_publisher(&working);
    spawn_notification_listener(&working);
    let simulator = Simulator::new(Settings { status_delay: PACE })?;
    let demo = demo::project(&serving, &folder).await?;
    let draining = Draining::default();
    let guard = Guard::new(options.dev.console_password().cloned());
    let app = App {
        accounts: Accounts::new(serving.clone(), secret_key.clone()),
        carrier: client,
        agent_runtime,
        public_base: public_base.as_str().into(),
        draining: draining.clone(),
        console: Some(console::ConsoleState {
            storage: serving.clone(),
            project_id: demo.project_id,
            simulator: Remote::new(carrier_url)?,
            guard: guard.clone(),
        }),
        docs: true,
        storage: serving.clone(),
    };

    // Workers stop last: what the last request began is theirs.
    let (stop, served) = (CancellationToken::new(), CancellationToken::new());
    let (api_address, carrier_address) = (api.address(), carrier.address());
    let mut serves = tokio::spawn(api.serve(router::routes(app), stop.clone().cancelled_owned()));
    let mut simulates = tokio::spawn(carrier.serve(guarded(simulator.routes(), guard), stop.clone().cancelled_owned()));
    let serves_metrics = serve_metrics(metrics, &serving, &draining, stop.clone());
    let worker_settings = options.worker.clone();
    let mut works = tokio::spawn({
        let (working, served) = (working.clone(), served.clone());
        async move { jobs::run(working, workers, worker_settings, served.cancelled_owned()).await }
    });
    demo::furnish(&demo, api_address, &simulator, &secret_key).await?;
    let told = told_to_stop();
    println!(
        "\n  textback is ready.\n\n  Console   http://{api_address}/console\n  API       http://{api_address}/docs   (key: {key})\n  From a shell\n            textback simulate send --from +14155550101 --to {number} \"hi\" --simulator-url http://{carrier_address}\n            textback simulate skip --from +14155550101 --to {number} --console-url http://{api_address}/console\n            curl http://{api_address}/v1/messages -H \"Authorization: Bearer {key}\" -H \"Content-Type: application/json\" \\\n                 -d '{{\"to\": \"+14155550101\", \"body\": \"Your table is ready.\"}}'\n\n  Ctrl-C stops it. {kept}\n",
        key = demo.api_key,
        number = demo::NUMBER,
        kept = kept_where(folder.path(), postgres.is_some()),
    );

    let database_ended = async {
        match &postgres {
            Some(postgres) => postgres.ended().await,
            None => std::future::pending().await,
        }
    };
    // When one part ends, all parts end: otherwise the process would take messages that nobody answers.
    let ended = tokio::select! {
        () = told => None,
        how = database_ended => Some(format!("PostgreSQL ended: {how}")),
        how = &mut serves => Some(format!("the API ended: {how:?}")),
        how = &mut simulates => Some(format!("the simulated carrier ended: {how:?}")),
        how = &mut works => Some(format!("the workers ended: {how:?}")),
    };
    draining.store(true, Ordering::Relaxed);
    stop.cancel();
    for part in [serves, simulates].into_iter().chain(serves_metrics) {
        if !part.is_finished() {
            let _ = part.await;
        }
    }
    serving.close().await;
    served.cancel();
    if !works.is_finished() {
        let _ = works.await;
    }
    working.close().await;
    if let Some(postgres) = postgres {
        tokio::task::spawn_blocking(move || postgres.stop()).await?;
    }
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(how) => Err(how.into()),
    }
}

/// Where the next start finds the data.
fn kept_where(folder: &Path, has_database: bool) -> String {
    let folder = folder.display();
    match has_database {
        true => format!("Data is kept in {folder}."),
        false => format!("Data is kept in the database of DATABASE_URL, and the keys in {folder}."),
    }
}

/// The console and the simulated phones have no other access control, so without a password they are only for this
/// machine.
fn refuse_to_serve_strangers(options: &Options) -> Result<(), String> {
    if options.dev.console_password().is_some() {
        return Ok(());
    }
    if let Some(url) = options.server.public_url.as_ref().filter(|url| !guard::is_local(url)) {
        return Err(format!(
            "TEXTBACK_PUBLIC_URL is {url}, so others reach this by a proxy, and the console would let them read and text; set TEXTBACK_CONSOLE_PASSWORD"
        ));
    }
    let served =
        [("TEXTBACK_LISTEN", options.server.listen), ("TEXTBACK_SIMULATOR_LISTEN", options.dev.simulator_listen)];
    match served.into_iter().find(|(_, address)| !address.ip().to_canonical().is_loopback()) {
        None => Ok(()),
        Some((setting, address)) => Err(format!(
            "{setting} is {address}, which others reach, and the console would let them read and text; set TEXTBACK_CONSOLE_PASSWORD, or listen at 127.0.0.1"
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
    router::edge(guarded)
}

/// What was allowed, and this machine: in development an agent's service runs beside us.
fn networks(agents: &AgentSettings) -> Result<Networks, String> {
    let mut allowed = agents.allow_hosts.clone();
    for this_machine in ["127.0.0.0/8", "::1"] {
        allowed.push(this_machine.parse::<Network>()?);
    }
    Ok(Networks::public_and(&allowed))
}
