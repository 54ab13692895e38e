//! A test application: textback in this process, with its own database, a simulated carrier, and
//! workers that tests step.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::PgPool;
use textback::agents::AgentRuntime;
use textback::agents::http::{Caller, Networks};
use textback::agents::script::runner::Runners;
use textback::carriers::Carriers;
use textback::carriers::twilio::form::Form;
use textback::carriers::twilio::{Twilio, signature};
use textback::channels::{self, Channels};
use textback::config::WorkerSettings;
use textback::domain::channel::Capabilities;
use textback::http::listener::Listening;
use textback::http::metrics::Observed;
use textback::http::router::{self, App};
use textback::jobs::ingest::Ingest;
use textback::jobs::{JobContext, Workers};
use textback::secret::SecretKeys;
use textback::storage::carrier_account::Accounts;
use textback::storage::database;
use textback::storage::notifier::Notifier;
use textback::storage::{Storage, invariant, project};
use twilio_simulator::{Account, Settings, Simulator, TextOutcome};
use url::Url;
use uuid::Uuid;

pub use crate::databases::{empty_database, new_database};

/// Our number in most tests.
pub const NUMBER: &str = "+14155550199";
/// The number of the contact in most tests.
pub const ADA: &str = "+14155550101";
pub const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
pub const AUTH_TOKEN: &str = "2b0f9c1d4e5a6b7c8d9e0f1a2b3c4d5e";
/// An agent that repeats each message, with a count from the state.
pub const ECHO: &str = "
def reply(conv, text):
    conv.state.count = conv.state.get(\"count\", 0) + 1
    return str(conv.state.count) + \": \" + text
";
/// What the channel of our number can do.
pub const TEXTS: Capabilities = channels::sms::CAPABILITIES;
const LEASE_SECONDS: u32 = 30;

/// textback with a database and a simulated carrier of its own.
pub struct TestApp {
    pub database_url: String,
    pub storage: Storage,
    pub simulator: Simulator,
    pub simulator_address: SocketAddr,
    pub api: SocketAddr,
    /// The address of the metrics.
    pub metrics: SocketAddr,
    pub webhook_key: String,
    pub key: String,
    pub secret_key: String,
    pub workers: Workers,
    pub http: reqwest::Client,
}

impl TestApp {
    /// An app with a project that has a carrier account and nothing else.
    pub async fn new() -> Self {
        Self::with_carrier(None).await
    }

    /// The same with another carrier for outbound calls.
    pub async fn with_carrier(carrier_url: Option<Url>) -> Self {
        Self::with_carriers(|simulator| twilio_at(carrier_url.as_ref().unwrap_or(simulator))).await
    }

    /// The same with carriers that are made of the simulator's address.
    pub async fn with_carriers(carriers: impl FnOnce(&Url) -> Carriers) -> Self {
        let database_url = new_database().await;
        let notifier = Arc::new(Notifier::default());
        let storage = Storage::open(&database_url, 10, notifier).expect("a storage");
        let (secret_key, secret_key_text) = SecretKeys::draw();
        let simulator = Simulator::new(Settings::default()).expect("a simulator");
        let listening = loopback().await;
        let simulator_address = listening.address();
        tokio::spawn(listening.serve(simulator.routes(), std::future::pending()));
        simulator.add_account(Account::new(ACCOUNT_SID, AUTH_TOKEN));
        simulator.add_number(ACCOUNT_SID, NUMBER);

        let listening = loopback().await;
        let api = listening.address();
        let public_base = format!("http://{api}");
        let carriers = carriers(&Url::parse(&format!("http://{simulator_address}")).expect("a URL"));
        let accounts = Accounts::new(storage.clone(), secret_key);
        let agent_runtime = agent_runtime();
        let state = App {
            storage: storage.clone(),
            ingest: Ingest::new(storage.clone()),
            accounts: accounts.clone(),
            carriers: carriers.clone(),
            agent_runtime: agent_runtime.clone(),
            public_base: public_base.as_str().into(),
            draining: textback::http::health::Draining::default(),
            console: None,
            docs: true,
        };
        let listening_for_metrics = loopback().await;
        let metrics = listening_for_metrics.address();
        let observed = Observed::serving(&storage);
        let (keys, draining) = (state.accounts.key().clone(), state.draining.clone());
        let health = router::health_routes(storage.clone(), keys, draining, observed);
        tokio::spawn(listening_for_metrics.serve(health, std::future::pending()));
        tokio::spawn(listening.serve(router::routes(state), std::future::pending()));
        let (project, key) = create_project(&storage, "tests").await.expect("a project");
        let app = Self {
            workers: Workers::new(JobContext {
                storage: storage.clone(),
                accounts,
                carriers,
                channels: Channels::default(),
                agent_runtime,
                public_base,
                settings: settings(),
            }),
            database_url,
            storage,
            simulator,
            simulator_address,
            api,
            metrics,
            webhook_key: project.webhook_key,
            key,
            secret_key: secret_key_text,
            http: reqwest::Client::new(),
        };
        let credentials = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN});
        app.ok(Method::PUT, "/v1/carrier", Some(credentials)).await;
        app
    }

    /// An app whose number is answered by a script.
    pub async fn with_agent(source: &str, settings: Value) -> Self {
        let app = Self::new().await;
        app.attach(source, settings).await;
        app
    }

    /// Closes the connections, for tests that use many apps.
    pub async fn end(self) {
        self.storage.close().await;
    }

    /// Workers that call the carrier at another URL.
    pub fn workers_at(&self, carrier_url: Url) -> Workers {
        Workers::new(JobContext { carriers: twilio_at(&carrier_url), ..self.job_context() })
    }

    /// Workers with other script runners.
    pub fn workers_with(&self, runners: Runners) -> Workers {
        Workers::new(JobContext { agent_runtime: agent_runtime_with(runners), ..self.job_context() })
    }

    /// Workers with other settings.
    pub fn workers_of(&self, settings: WorkerSettings) -> Workers {
        Workers::new(JobContext { settings, ..self.job_context() })
    }

    /// Workers with other channels.
    pub fn workers_on(&self, channels: Channels) -> Workers {
        Workers::new(JobContext { channels, ..self.job_context() })
    }

    fn job_context(&self) -> JobContext {
        let carrier = Url::parse(&format!("http://{}", self.simulator_address)).expect("a URL");
        JobContext {
            storage: self.storage.clone(),
            accounts: Accounts::new(self.storage.clone(), self.secret_key.parse().expect("a key")),
            carriers: twilio_at(&carrier),
            channels: Channels::default(),
            agent_runtime: agent_runtime(),
            public_base: format!("http://{}", self.api),
            settings: settings(),
        }
    }

    /// Turns the rate limits off, because contacts of tests text faster than people.
    pub async fn without_rate_limits(&self) {
        self.ok(Method::PATCH, "/v1/project", Some(without_rate_limits())).await;
    }

    /// Creates a script agent and attaches our number to it.
    pub async fn attach(&self, source: &str, settings: Value) -> Uuid {
        let agent_id = self.agent("agent", source, settings).await;
        self.ok(Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": agent_id}))).await;
        agent_id
    }

    /// Creates a script agent. Unless the settings say otherwise, a contact gets nothing when it
    /// fails.
    pub async fn agent(&self, name: &str, source: &str, settings: Value) -> Uuid {
        let mut agent = json!({"name": name, "kind": "script", "source": source, "error_message": ""});
        agent.as_object_mut().expect("an object").extend(settings.as_object().cloned().unwrap_or_default());
        let made = self.ok(Method::POST, "/v1/agents", Some(agent)).await;
        id(&made["id"])
    }

    /// Calls the API with a key.
    pub async fn call(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("http://{}{path}", self.api)).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Calls the API and expects success.
    pub async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(&self.key, method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        answer
    }

    /// Calls the API and expects an error; returns its status and code.
    pub async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> (u16, String) {
        let (status, answer) = self.call(&self.key, method, path, body).await;
        assert!(status.is_client_error(), "{status} {answer}");
        assert_eq!(answer["status"], status.as_u16());
        assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A contact texts our number; the webhook must accept it.
    pub async fn text(&self, from: &str, body: &str) -> TextOutcome {
        let texted = self.simulator.say(from, NUMBER, body).await;
        assert_eq!(texted.error, None);
        texted
    }

    /// Locks a table for the duration of the returned transaction.
    pub async fn lock_table(&self, table: &str) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut holder = pool(&self.database_url).await.begin().await.expect("a transaction");
        let statement =
            format!("set idle_in_transaction_session_timeout = 0; lock table {table} in access exclusive mode");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *holder).await.expect("locked");
        holder
    }

    /// Runs all jobs that are due and lets the carrier report, until nothing is left to do. Then
    /// all invariants must hold.
    pub async fn run_jobs(&self) {
        loop {
            let turns = self.workers.turns.step().await.expect("turns");
            let decided = self.workers.inactivity.step().await.expect("decided");
            let scheduled = self.workers.scheduled_messages.step().await.expect("scheduled messages");
            let deliveries = self.workers.deliveries.step().await.expect("deliveries");
            let unknown = self.workers.unknown_deliveries.step().await.expect("unknown deliveries");
            self.simulator.idle().await;
            if turns + decided + scheduled + deliveries + unknown == 0 {
                let breaches = invariant::check(&mut *pooled(&self.storage).await).await.expect("the invariants");
                assert_eq!(breaches, [], "an invariant does not hold");
                return;
            }
        }
    }

    /// A contact texts, all jobs run, and these are all messages that the contact has received.
    pub async fn answers(&self, from: &str, body: &str) -> Vec<String> {
        self.text(from, body).await;
        self.run_jobs().await;
        self.simulator.received(from, NUMBER)
    }

    /// The sessions of the project, newest first.
    pub async fn sessions(&self) -> Vec<Value> {
        self.ok(Method::GET, "/v1/sessions", None).await["items"].as_array().cloned().expect("items")
    }

    /// The state of a session, which lists omit.
    pub async fn state(&self, session: &Value) -> Value {
        let path = format!("/v1/sessions/{}", session["id"].as_str().expect("an id"));
        self.ok(Method::GET, &path, None).await["state"].clone()
    }

    /// The messages of a session, oldest first.
    pub async fn messages(&self, session: &Value) -> Vec<Value> {
        let path = format!("/v1/sessions/{}/messages?limit=200", session["id"].as_str().expect("an id"));
        self.ok(Method::GET, &path, None).await["items"].as_array().cloned().expect("items")
    }

    /// Posts a form to a webhook as the carrier would, signed with a token.
    pub async fn post(&self, hook: &str, form: &str, token: &str) -> reqwest::Response {
        self.post_to(self.api, hook, form, token).await
    }

    /// The same to a process at an address, which has this address as its public one.
    pub async fn post_to(&self, address: SocketAddr, hook: &str, form: &str, token: &str) -> reqwest::Response {
        let url = format!("http://{address}/webhooks/twilio/{}/{hook}", self.webhook_key);
        let signature = signature::sign(&SecretString::from(token.to_owned()), &url, &Form::read(form.as_bytes()));
        let request = self.http.post(url).header(signature::HEADER, signature);
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.expect("an answer")
    }

    /// Waits until a session of the database waits for a lock.
    pub async fn until_one_waits(&self) {
        self.until_waiting(|waiting| waiting > 0).await;
    }

    /// Waits until no session of the database waits for a lock.
    pub async fn until_none_waits(&self) {
        self.until_waiting(|waiting| waiting == 0).await;
    }

    async fn until_waiting(&self, enough: fn(i64) -> bool) {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let began = Instant::now();
        while !enough(self.count(waiting).await) {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "a session of the database never begins, or never ends, to wait for a lock"
            );
            tokio::task::yield_now().await;
        }
    }

    /// Runs a query that returns one number.
    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.storage.pool()).await.expect("a number")
    }

    /// Runs a statement.
    pub async fn sql(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.storage.pool()).await.expect("done");
    }
}

/// Settings of a project without rate limits.
pub fn without_rate_limits() -> Value {
    json!({"guards": {"texts_per_contact_per_minute": 0, "repeats_in_five_minutes": 0, "texts_per_project_per_minute": 0},
           "outbound_per_contact_per_hour": 0, "outbound_per_contact_per_day": 0})
}

/// The settings of the workers in tests.
pub fn settings() -> WorkerSettings {
    WorkerSettings {
        lease_seconds: LEASE_SECONDS,
        unknown_settle_seconds: 120,
        read_back_seconds: 300,
        poll_seconds: 1.0,
        turn_slots: 1,
        delivery_slots: 1,
    }
}

fn agent_runtime() -> AgentRuntime {
    agent_runtime_with(Runners::of(env!("CARGO_BIN_EXE_textback").into()))
}

/// Twilio at a URL of the test's own.
fn twilio_at(url: &Url) -> Carriers {
    Carriers::new(Arc::new(Twilio::new(url.clone(), url.clone()).expect("a client")))
}

/// An agent runtime whose http agents may be on loopback.
fn agent_runtime_with(runners: Runners) -> AgentRuntime {
    let loopback = ["127.0.0.0/8".parse().expect("a network")];
    AgentRuntime { runners, caller: Caller::new(Networks::public_and(&loopback)).expect("a caller") }
}

/// A deadline that no test reaches.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Parses an id.
pub fn id(value: &Value) -> Uuid {
    value.as_str().and_then(|text| text.parse().ok()).expect("an id")
}

/// The bodies of the messages of one direction.
pub fn bodies(messages: &[Value], direction: &str) -> Vec<String> {
    let of = |message: &&Value| message["direction"] == direction;
    messages.iter().filter(of).map(|message| message["body"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A connection of the product's own pool, for a function of the storage.
pub async fn pooled(storage: &Storage) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
    storage.connection().await.expect("a connection")
}

/// A project with its key.
pub async fn create_project(storage: &Storage, name: &str) -> Result<(project::Project, String), sqlx::Error> {
    let mut transaction = storage.transaction().await?;
    let created = project::create(&mut transaction, name).await?;
    transaction.commit().await?;
    Ok(created)
}

async fn loopback() -> Listening {
    Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)), "nothing").await.expect("a free port")
}

/// A pool of plain connections to a database.
pub async fn pool(url: &str) -> PgPool {
    database::pool(url, 2).expect("a pool")
}
