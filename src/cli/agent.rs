//! `textback agent`: checks scripts, and creates and updates agents.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use poem::http::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::operator::{Operator, ProjectOptions};
use super::{Done, print};
use crate::agents::script::Purpose;
use crate::agents::script::check::Fault;
use crate::agents::script::runner::Runners;
use crate::dev::shell;
use crate::http::api::local::read_json;

/// The subcommands of `textback agent`.
#[derive(Subcommand)]
pub enum Command {
    /// Print the faults of a script with line and column. The exit code is 1 if the script can't be
    /// used
    Check {
        /// The file of the script, or of an agent as JSON whose script is checked
        file: PathBuf,
    },
    /// Create an agent of a script (.star or .py), or of the JSON that POST /v1/agents takes
    /// (.json)
    Create {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        agent: AgentOptions,
    },
    /// Add a version to an agent and make it current. A script keeps all other settings of the
    /// version before
    Update {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        agent: AgentOptions,
    },
}

/// The agent.
#[derive(Args)]
pub struct AgentOptions {
    /// The script, or the agent as JSON
    file: PathBuf,
    /// The name of the agent [default: the name in the JSON, or the name of the file]
    #[arg(long)]
    name: Option<String>,
    /// A number or a short code of the carrier account that the agent is to answer
    #[arg(long)]
    number: Option<String>,
}

/// Runs `textback agent`.
pub async fn run(command: Command) -> Done {
    match command {
        Command::Check { file } => check(&file).await,
        Command::Create { project, agent } => create(project, &agent).await,
        Command::Update { project, agent } => update(project, &agent).await,
    }
}

async fn check(file: &Path) -> Done {
    let name = file.display();
    let source = source_of(file)?;
    // A runner has the same limits as the check of the API.
    let faults = Runners::new()?.check(Uuid::nil(), &source, &Purpose::Answers).await?;
    for fault in &faults {
        print(&told_of(file, fault))?;
    }
    if faults.iter().any(|fault| fault.fatal) {
        return Ok(ExitCode::FAILURE);
    }
    print(&format!("{name}: the script can be used"))
}

/// A fault as editors read it, with line and column.
fn told_of(file: &Path, fault: &Fault) -> String {
    let severity = if fault.fatal { "error" } else { "warning" };
    let position = if fault.line > 0 { format!("{}:{}:", fault.line, fault.column) } else { String::new() };
    format!("{}:{position} {severity}: {}", file.display(), fault.message)
}

/// Prints what `textback agent check` would warn of. What the API refuses is not repeated.
async fn warn(file: &Path, agent: &Map<String, Value>) -> Done {
    let source = agent
        .get("source")
        .and_then(Value::as_str)
        .filter(|source| agent.get("kind") == Some(&json!("script")) && !source.contains('\0'));
    let Some(source) = source else { return Ok(ExitCode::SUCCESS) };
    for fault in
        Runners::new()?.check(Uuid::nil(), source, &Purpose::Answers).await?.iter().filter(|fault| !fault.fatal)
    {
        print(&told_of(file, fault))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The script in a file, which is all of it, or the source of the agent that it describes.
fn source_of(file: &Path) -> Result<String, String> {
    let (name, text) = (file.display(), read(file)?);
    let source = match is_json(file) {
        true => match object_in(&text, file)?.remove("source") {
            Some(Value::String(source)) => source,
            _ => return Err(format!("{name} has no source of a script; textback agent create checks all of it")),
        },
        false => text,
    };
    match source.contains('\0') {
        true => Err(format!("the script in {name} contains the character NUL, which can't be stored; remove it")),
        false => Ok(source),
    }
}

fn is_json(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

/// The agent in a file of JSON.
fn object_in(text: &str, file: &Path) -> Result<Map<String, Value>, String> {
    let file = file.display();
    match read_json(text) {
        Ok(Value::Object(agent)) => Ok(agent),
        Ok(_) => Err(format!("{file} holds no JSON object; write one as POST /v1/agents takes it")),
        Err(error) => Err(format!("{file} can't be used: {error}")),
    }
}

/// The text of a file. Some editors begin UTF-8 with a byte order mark, which is no part of the
/// text.
fn read(file: &Path) -> Result<String, String> {
    let name = file.display();
    let bytes = std::fs::read(file).map_err(|error| format!("{name} can't be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("{name} is not UTF-8 (byte {}); save it in UTF-8", error.utf8_error().valid_up_to())
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The agent that a file describes, as POST /v1/agents takes it.
fn described(options: &AgentOptions) -> Result<Map<String, Value>, String> {
    let text = read(&options.file)?;
    let file = options.file.display();
    let ending = options.file.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    let mut agent = match ending.as_str() {
        "json" => object_in(&text, &options.file)?,
        "star" | "py" => {
            let mut agent = Map::new();
            agent.insert("kind".to_owned(), json!("script"));
            agent.insert("source".to_owned(), json!(text));
            agent
        }
        _ => return Err(format!("{file} ends neither with .star or .py (a script) nor with .json (an agent)")),
    };
    let of_file = options.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if let Some(name) = &options.name {
        agent.insert("name".to_owned(), json!(name));
    } else if !agent.contains_key("name") {
        agent.insert("name".to_owned(), json!(of_file));
    }
    Ok(agent)
}

async fn create(project: ProjectOptions, options: &AgentOptions) -> Done {
    let agent = described(options)?;
    let name = text(&agent, "name").to_owned();
    warn(&options.file, &agent).await?;
    let operator = project.open().await?;
    check_number(&operator, options).await?;
    let made = operator.call(Method::POST, "/v1/agents", Some(Value::Object(agent))).await;
    let made = made.map_err(|refused| match refused.code.as_str() {
        "agent_name_taken" => format!("{refused}; textback agent update adds a version"),
        _ => refused.to_string(),
    })?;
    let made = made.as_object().cloned().unwrap_or_default();
    print(&format!("agent {name} is created: {}", text(&made, "id")))?;
    told(&operator, options, &made).await
}

async fn update(project: ProjectOptions, options: &AgentOptions) -> Done {
    let mut agent = described(options)?;
    let name = text(&agent, "name").to_owned();
    agent.remove("name");
    warn(&options.file, &agent).await?;
    let operator = project.open().await?;
    let agents = operator.all("/v1/agents", &[]).await?;
    let found = agents.iter().find(|agent| agent.get("name").and_then(Value::as_str) == Some(&name));
    let id = found.and_then(|agent| agent.get("id")).and_then(Value::as_str).ok_or_else(|| {
        format!("the project has no agent called {name}; give --name, or create it: textback agent create")
    })?;
    check_number(&operator, options).await?;
    if agent.get("kind") == Some(&json!("script")) && agent.len() == 2 {
        let current = operator.call(Method::GET, &format!("/v1/agents/{id}"), None).await?;
        agent = with_settings_of(current, agent);
    }
    let made = operator.call(Method::POST, &format!("/v1/agents/{id}/versions"), Some(Value::Object(agent))).await?;
    let made = made.as_object().cloned().unwrap_or_default();
    let version = made.get("version").and_then(Value::as_i64).unwrap_or_default();
    print(&format!("agent {name} has version {version}, which new sessions run: {id}"))?;
    told(&operator, options, &made).await
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
    for of_answers in ["id", "name", "created_at", "version", "version_created_at", "last_error", "signing_secret"] {
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
        let mut taken: Vec<&str> = names.filter(|name| !["kind", "source", "url"].contains(name)).collect();
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
