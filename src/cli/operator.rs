//! The API for commands that work in one project: over DATABASE_URL, or over the `textback dev`
//! that runs here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use poem::http::Method;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::{carriers, dev, refuse_unsuitable, simulate};
use crate::agents::AgentRuntime;
use crate::agents::http::{Caller, Networks};
use crate::agents::script::runner::Runners;
use crate::config::{AgentSettings, CarrierSettings, DatabaseSettings, MissingSetting, parse_base_url};
use crate::dev::running::RunningDev;
use crate::dev::shell::quoted;
use crate::http::api::ApiState;
use crate::http::api::local::{LocalApi, Refused};
use crate::jobs::ingest::Ingest;
use crate::secret::SecretKeys;
use crate::storage::carrier_account::Accounts;
use crate::storage::notifier::Notifier;
use crate::storage::{Storage, health, project};

/// The usual data folder of `textback dev`.
const DATA_DIR: &str = "./data";

/// How many connections a command uses.
const CONNECTIONS: u32 = 3;

/// The project, and how to reach it.
#[derive(Args)]
pub struct ProjectOptions {
    /// The name or the id of the project
    #[arg(long)]
    project: String,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    carrier: CarrierSettings,
    #[command(flatten)]
    agents: AgentSettings,
    /// The URL of textback serve that Twilio calls; needed to attach a number
    #[arg(long, env = "TEXTBACK_PUBLIC_URL", value_parser = parse_base_url)]
    public_url: Option<Url>,
    /// The data folder of the textback dev to use, without a DATABASE_URL
    #[arg(long, env = "TEXTBACK_DATA_DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
}

/// The API of one project.
pub struct Operator {
    api: LocalApi,
    /// Whether numbers can be attached, because it is known where the carrier calls us.
    has_public_url: bool,
    /// For the project of a `textback dev`, whose numbers are simulated: the options with which
    /// `textback simulate` reaches it, if it does not without.
    pub simulated: Option<String>,
}

/// What the settings come to.
struct Found {
    database_url: String,
    secret_key: SecretKeys,
    carrier: CarrierSettings,
    networks: Networks,
    public_base: Option<String>,
    simulated: Option<String>,
}

impl ProjectOptions {
    /// The networks that agents may be in.
    pub(super) const fn agents(&self) -> &AgentSettings {
        &self.agents
    }

    /// Opens the API of the project.
    pub async fn open(self) -> Result<Operator, Box<dyn std::error::Error>> {
        let wanted = self.project.clone();
        let found = self.find()?;
        refuse_unsuitable(&found.database_url).await?;
        let storage = Storage::open(&found.database_url, CONNECTIONS, Arc::new(Notifier::default()))?;
        // With a wrong key, this command would write secrets that no process can read.
        if let Some(note) = health::check(&storage, Some(&found.secret_key)).await?.note() {
            tracing::warn!(error = %note, "the schema of the database was found newer than this binary");
        }
        let project_id = project_id(&storage, &wanted).await?;
        let state = ApiState {
            accounts: Accounts::new(storage.clone(), found.secret_key),
            carriers: carriers(&found.carrier)?,
            agent_runtime: AgentRuntime { runners: Runners::new()?, caller: Caller::new(found.networks)? },
            ingest: Ingest::new(storage.clone()),
            public_base: found.public_base.clone().unwrap_or_default().into(),
            storage,
        };
        let (api, has_public_url) = (LocalApi::of_project(state, project_id), found.public_base.is_some());
        Ok(Operator { api, has_public_url, simulated: found.simulated })
    }

    fn find(self) -> Result<Found, Box<dyn std::error::Error>> {
        let public_base = self.public_url.map(|url| url.as_str().trim_end_matches('/').to_owned());
        if let Some(url) = self.database.given()? {
            return Ok(Found {
                database_url: url.to_owned(),
                secret_key: self.carrier.required_key()?,
                carrier: self.carrier,
                networks: Networks::public_and(&self.agents.allow_hosts),
                public_base,
                simulated: None,
            });
        }
        let folder = self.data_dir.display();
        let not_found = || {
            format!(
                "DATABASE_URL is not set, and no textback dev runs with the data folder {folder}; set DATABASE_URL, start textback dev, or give --data-dir"
            )
        };
        let running = RunningDev::find(&self.data_dir).ok_or_else(not_found)?;
        let database_url = running
            .database_url
            .clone()
            .ok_or("this textback dev uses the database of DATABASE_URL; set DATABASE_URL for this command too")?;
        let secret_key = match self.carrier.secret_key.clone() {
            Some(key) => key,
            None => {
                let path = self.data_dir.join("secret.key");
                let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                text.trim().parse().map_err(|_| format!("the key in {} is damaged", path.display()))?
            }
        };
        let carrier = Url::parse(&running.carrier)?;
        Ok(Found {
            database_url,
            secret_key,
            carrier: CarrierSettings { twilio_api_url: carrier.clone(), twilio_messaging_url: carrier, ..self.carrier },
            networks: dev::networks(&self.agents)?,
            public_base: Some(public_base.unwrap_or(running.public_url)),
            simulated: Some(options_of_simulate(&running.carrier, &self.data_dir)),
        })
    }
}

/// The options that `textback simulate` needs besides its variables and defaults, each with a blank
/// before it.
fn options_of_simulate(carrier: &str, data_dir: &Path) -> String {
    let without_options = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut options = String::new();
    if carrier != without_options("TEXTBACK_SIMULATOR_URL", simulate::SIMULATOR_URL).trim_end_matches('/') {
        options += &format!(" --simulator-url {}", quoted(carrier));
    }
    if data_dir != Path::new(&without_options("TEXTBACK_DATA_DIR", DATA_DIR)) {
        options += &format!(" --data-dir {}", quoted(&data_dir.display().to_string()));
    }
    options
}

/// The id of the project that a name or an id means. Errors when there is none, or several have the
/// name.
pub(super) async fn project_id(storage: &Storage, wanted: &str) -> Result<Uuid, Box<dyn std::error::Error>> {
    let mut connection = storage.connection().await?;
    let found = match Uuid::parse_str(wanted) {
        Ok(id) => Vec::from_iter(project::find(&mut connection, id).await?),
        Err(_) => project::named(&mut connection, wanted).await?,
    };
    match &found[..] {
        [project] => Ok(project.id),
        [] => Err(format!("there is no project {wanted:?}; textback project create makes one").into()),
        _ => Err(format!(
            "several projects are called {wanted:?}; give --project the id of the one that you mean (GET /v1/project tells it)"
        )
        .into()),
    }
}

impl Operator {
    /// Calls an operation of the API.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Refused> {
        self.api.call(method, path, body).await
    }

    /// All items of a list.
    pub async fn all(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Refused> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut encoded = url::form_urlencoded::Serializer::new(String::new());
            encoded.append_pair("limit", "200").extend_pairs(query);
            if let Some(cursor) = &cursor {
                encoded.append_pair("cursor", cursor);
            }
            let mut page = self.call(Method::GET, &format!("{path}?{}", encoded.finish()), None).await?;
            if let Some(Value::Array(of_page)) = page.get_mut("items").map(Value::take) {
                items.extend(of_page);
            }
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }

    /// Errors when a number could not be attached. Nothing is changed.
    pub async fn check_number(&self, number: &str) -> Result<(), Box<dyn std::error::Error>> {
        if !self.has_public_url {
            return Err(MissingSetting("TEXTBACK_PUBLIC_URL", "https://sms.example.com").into());
        }
        Ok(self.api.check_number(number).await?)
    }

    /// Makes an agent answer a number that was checked.
    pub async fn attach(&self, number: &str, agent_id: &str) -> Result<(), Refused> {
        self.call(Method::POST, "/v1/numbers", Some(json!({"number": number, "agent_id": agent_id}))).await?;
        Ok(())
    }
}
