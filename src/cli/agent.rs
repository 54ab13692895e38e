//! `textback agent`: writes, checks, tries and tests agents on this machine, and creates and
//! updates them.

mod chat;
mod check;
mod document;
mod folder;
pub(super) mod live;
mod model;
mod new;
mod player;
mod scenario;
mod show;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use poem::http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::operator::{Operator, ProjectOptions};
use super::{Done, print};
use crate::config::AgentSettings;
use crate::dev::shell;
use crate::domain::agent::Environment;
use folder::AgentFiles;

/// The subcommands of `textback agent`.
#[derive(Subcommand)]
pub enum Command {
    /// Write an agent with scenarios and a page about it into a new folder
    New(new::NewOptions),
    /// Print the faults of an agent with file, line and column. The exit code is 1 if it can't be
    /// used
    Check {
        /// The folder of the agent, or its file: a script (.star, .py), or the agent as YAML or
        /// JSON
        path: PathBuf,
        #[command(flatten)]
        agents: AgentSettings,
    },
    /// Talk to an agent in the terminal, without a database. A file that is saved is used from the
    /// next text on
    Chat(chat::ChatOptions),
    /// Run the scenarios of an agent. The exit code is 1 if one fails
    Test(trial::TestOptions),
    /// Create the agent of a folder in a project, or add a version to it and activate it
    Push {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        agent: AgentOptions,
        #[command(flatten)]
        activation: ActivationOptions,
        /// The key at the provider of the agent's model; without it the agent keeps its key
        #[arg(long, env = "TEXTBACK_LLM_KEY", hide_env_values = true)]
        llm_key: Option<SecretString>,
    },
    /// Create an agent of a script (.star or .py), of the YAML or JSON that POST /v1/agents takes,
    /// or of a folder
    Create {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        agent: AgentOptions,
    },
    /// Add a version to an agent and activate it. A script keeps all other settings of the
    /// version before
    Update {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        agent: AgentOptions,
        #[command(flatten)]
        activation: ActivationOptions,
    },
}

/// The agent.
#[derive(Args)]
pub struct AgentOptions {
    /// The folder of the agent, its script, or the agent as YAML or JSON
    file: PathBuf,
    /// The name of the agent [default: the name in the YAML or JSON, or the name of the folder or
    /// the file]
    #[arg(long)]
    name: Option<String>,
    /// A number or a short code of the carrier account that the agent is to answer
    #[arg(long)]
    number: Option<String>,
}

/// Where a version that is added becomes active.
#[derive(Args)]
pub struct ActivationOptions {
    /// The environment in which the version is activated, sandbox or live [default: both]
    #[arg(long, value_name = "ENVIRONMENT")]
    env: Option<Environment>,
}

impl ActivationOptions {
    /// Adds the environment to a new version.
    fn add_to(&self, version: &mut Map<String, Value>) {
        if let Some(environment) = self.env {
            version.insert("activate_in".to_owned(), json!([environment]));
        }
    }
}

/// Runs `textback agent`.
pub async fn run(command: Command) -> Done {
    match command {
        Command::New(options) => new::run(&options),
        Command::Check { path, agents } => check(&path, &agents).await,
        Command::Chat(options) => chat::run(options).await,
        Command::Test(options) => trial::run(options).await,
        Command::Push { project, agent, activation, llm_key } => {
            push(project, &agent, &activation, llm_key.as_ref()).await
        }
        Command::Create { project, agent } => {
            let files = described(&agent)?;
            warn(&files, project.agents()).await?;
            let operator = project.open().await?;
            check_number(&operator, &agent).await?;
            create(&operator, &agent, files.agent).await
        }
        Command::Update { project, agent, activation } => update(project, &agent, &activation).await,
    }
}

async fn check(path: &Path, agents: &AgentSettings) -> Done {
    let files = AgentFiles::read(path)?;
    let checked = check::check(&files, &check::runtime(agents)?, agents).await?;
    for fault in &checked.faults {
        print(&fault.to_string())?;
    }
    if checked.is_fatal() {
        return Ok(ExitCode::FAILURE);
    }
    let what = if files.kind() == "script" && files.folder.is_none() { "script" } else { "agent" };
    print(&format!("{}: the {what} can be used", path.display()))
}

/// Prints what `textback agent check` would warn of in the script. What the API refuses is not
/// repeated.
async fn warn(files: &AgentFiles, agents: &AgentSettings) -> Done {
    for fault in check::script_faults(files, &check::runtime(agents)?).await?.iter().filter(|found| !found.fault.fatal)
    {
        print(&fault.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent that the files describe, with the name that is wanted.
fn described(options: &AgentOptions) -> Result<AgentFiles, folder::FileFault> {
    let mut files = AgentFiles::read(&options.file)?;
    if let Some(name) = &options.name {
        files.agent.insert("name".to_owned(), json!(name));
    }
    Ok(files)
}

/// The id of the agent of this name, if the project has one.
async fn find(operator: &Operator, name: &str) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let agents = operator.all("/v1/agents", &[]).await?;
    let found = agents.iter().find(|agent| agent.get("name").and_then(Value::as_str) == Some(name));
    Ok(found.and_then(|agent| agent.get("id")).and_then(Value::as_str).map(str::to_owned))
}

/// Creates the agent of the files, or adds a version to it.
async fn push(
    project: ProjectOptions,
    options: &AgentOptions,
    activation: &ActivationOptions,
    key: Option<&SecretString>,
) -> Done {
    let mut files = described(options)?;
    check::usable(&files, &check::runtime(project.agents())?, project.agents()).await?;
    warn(&files, project.agents()).await?;
    if let Some(key) = key {
        files.set_llm("api_key", json!(key.expose_secret()));
    }
    let operator = project.open().await?;
    check_number(&operator, options).await?;
    let name = files.name().to_owned();
    match find(&operator, &name).await? {
        None => {
            if activation.env.is_some() {
                print("the agent is new, so its first version is active in all environments")?;
            }
            create(&operator, options, files.agent).await
        }
        Some(id) => {
            files.agent.remove("name");
            activation.add_to(&mut files.agent);
            add_version(&operator, options, (&name, &id), files.agent).await
        }
    }
}

async fn create(operator: &Operator, options: &AgentOptions, agent: Map<String, Value>) -> Done {
    let name = text(&agent, "name").to_owned();
    let made = operator.call(Method::POST, "/v1/agents", Some(Value::Object(agent))).await;
    let made = made.map_err(|refused| match refused.code.as_str() {
        "agent_name_taken" => format!("{refused}; textback agent update adds a version"),
        _ => refused.to_string(),
    })?;
    let made = made.as_object().cloned().unwrap_or_default();
    print(&format!("agent {name} is created: {}", text(&made, "id")))?;
    told(operator, options, &made).await
}

async fn update(project: ProjectOptions, options: &AgentOptions, activation: &ActivationOptions) -> Done {
    let files = described(options)?;
    warn(&files, project.agents()).await?;
    let name = files.name().to_owned();
    let operator = project.open().await?;
    let id = find(&operator, &name).await?.ok_or_else(|| {
        format!("the project has no agent called {name}; give --name, or create it: textback agent create")
    })?;
    check_number(&operator, options).await?;
    let mut agent = files.agent;
    agent.remove("name");
    if agent.get("kind") == Some(&json!("script")) && agent.len() == 2 {
        let current = operator.call(Method::GET, &format!("/v1/agents/{id}"), None).await?;
        agent = with_settings_of(current, agent);
    }
    activation.add_to(&mut agent);
    add_version(&operator, options, (&name, &id), agent).await
}

async fn add_version(
    operator: &Operator,
    options: &AgentOptions,
    (name, id): (&str, &str),
    agent: Map<String, Value>,
) -> Done {
    let environments = agent.get("activate_in").and_then(Value::as_array).cloned().unwrap_or_default();
    let made = operator.call(Method::POST, &format!("/v1/agents/{id}/versions"), Some(Value::Object(agent))).await?;
    let made = made.as_object().cloned().unwrap_or_default();
    let version = made.get("version").and_then(Value::as_i64).unwrap_or_default();
    let sessions = match environments.as_slice() {
        [Value::String(environment)] => format!("new sessions of {environment}"),
        _ => "new sessions".to_owned(),
    };
    print(&format!("agent {name} has version {version}, which {sessions} run: {id}"))?;
    told(operator, options, &made).await
}

/// Refuses a number that can't be attached before anything is made.
async fn check_number(operator: &Operator, options: &AgentOptions) -> Result<(), Box<dyn std::error::Error>> {
    let Some(number) = &options.number else { return Ok(()) };
    let checked = operator.check_number(number).await;
    checked.map_err(|error| format!("nothing was changed, because no agent can answer {number}: {error}").into())
}

/// The new script with the settings of the current version.
fn with_settings_of(current: Value, script: Map<String, Value>) -> Map<String, Value> {
    let Value::Object(mut agent) = current else { return script };
    let of_answers =
        ["id", "name", "created_at", "version", "version_created_at", "active_in", "last_error", "signing_secret"];
    for of_answers in of_answers {
        agent.remove(of_answers);
    }
    for of_the_kind in ["kind", "source", "url", "timeout_seconds"] {
        agent.remove(of_the_kind);
    }
    // An answer leaves out a text that was turned off, and a request without it would get the
    // default.
    agent.entry("error_message").or_insert_with(|| json!(""));
    agent.extend(script);
    agent
}

/// Attaches the number, and prints what to do next.
async fn told(operator: &Operator, options: &AgentOptions, agent: &Map<String, Value>) -> Done {
    if let Some(secret) = agent.get("signing_secret").and_then(Value::as_str) {
        print(&format!("signing secret, told only once: {secret}"))?;
    }
    let id = text(agent, "id");
    let Some(number) = &options.number else {
        return print("next: let it answer a number, if it does not yet: give --number");
    };
    operator
        .attach(number, id)
        .await
        .map_err(|error| format!("the agent is there, but it does not answer {number}: {error}"))?;
    print(&format!("it answers {number} in sessions that begin from now on"))?;
    match &operator.simulated {
        Some(options) => {
            let textback = shell::as_called();
            print(&format!("next: {textback} simulate chat --from +14155550102 --to {number}{options}"))
        }
        None => print(&format!("next: text {number}")),
    }
}

fn text<'a>(of: &'a Map<String, Value>, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_script_keeps_the_settings_of_the_version_before() {
        let current = json!({"id": "1", "name": "a", "created_at": "t", "version": 3, "version_created_at": "t",
            "kind": "http", "url": "https://a.example", "timeout_seconds": 9, "greeting": "Hi", "error_message": "Oh"});
        let script = || json!({"kind": "script", "source": "x"}).as_object().cloned().unwrap_or_default();
        let kept = with_settings_of(current, script());
        let expected = json!({"kind": "script", "source": "x", "greeting": "Hi", "error_message": "Oh"});
        assert_eq!(Value::Object(kept), expected);
        let silent = with_settings_of(json!({"kind": "script", "source": "y"}), script());
        assert_eq!(silent.get("error_message"), Some(&json!("")), "what was turned off stays so");
    }

    #[test]
    fn each_setting_stands_in_the_table_of_the_guide() {
        let document: Value = serde_json::from_str(&crate::http::api::document_as_json()).expect("JSON");
        let fields = document.pointer("/components/schemas/NewAgentVersion/properties").and_then(Value::as_object);
        let guide = include_str!("../../docs/agents.md");
        let (_, settings) = guide.split_once("### Settings\n").expect("the section of the settings");
        let (table, _) = settings.split_once("\n### ").expect("its end");
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let mut told: Vec<&str> = rows.map(|(name, _)| name).collect();
        let names = fields.expect("fields").keys().map(String::as_str);
        let mut taken: Vec<&str> =
            names.filter(|name| !["kind", "source", "url", "activate_in"].contains(name)).collect();
        told.sort_unstable();
        taken.sort_unstable();
        assert_eq!(told, taken);
    }

    /// An answer's field that a request does not have would make every update fail.
    #[test]
    fn each_setting_that_is_kept_is_one_that_a_request_has() {
        let document: Value = serde_json::from_str(&crate::http::api::document_as_json()).expect("JSON");
        let fields = |schema: &str| {
            let fields = document.pointer(&format!("/components/schemas/{schema}/properties"));
            fields.and_then(Value::as_object).expect("fields").clone()
        };
        let kept = with_settings_of(Value::Object(fields("Agent")), Map::new());
        let taken = fields("NewAgentVersion");
        for name in kept.keys() {
            assert!(taken.contains_key(name), "{name} is in an answer only");
        }
        assert!(kept.len() >= 8, "{kept:?}");
    }
}
