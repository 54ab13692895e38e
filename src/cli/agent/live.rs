//! The agent of a folder in `textback dev`: what is saved in the folder answers from the next text
//! on, also in sessions that are open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::check::{self, CheckError};
use super::folder::{AgentFiles, Stamp};
use super::model::{Model, Recordings};
use crate::agents::AgentRuntime;
use crate::config::AgentSettings;
use crate::dev::demo;
use crate::http::own_calls::OwnCalls;
use crate::storage::{Storage, session};

pub use super::model::ModelOptions;

/// How often the files are looked at. Nobody saves a file and texts within that time.
const INTERVAL: Duration = Duration::from_millis(200);

/// The agent of a folder, which answers the number of the demo.
pub struct LiveAgent {
    path: PathBuf,
    options: ModelOptions,
    agents: AgentSettings,
    runtime: AgentRuntime,
    api: OwnCalls,
    storage: Storage,
    stamp: Stamp,
    /// The model on this machine, which ends with this value.
    model: Option<Model>,
}

/// Lets the agent of a folder answer, if one was given.
pub async fn start(
    path: Option<&Path>,
    options: &ModelOptions,
    agents: &AgentSettings,
    api: OwnCalls,
    storage: Storage,
) -> Result<Option<LiveAgent>, CheckError> {
    let Some(path) = path else { return Ok(None) };
    let mut live = LiveAgent {
        path: path.to_owned(),
        options: options.clone(),
        agents: agents.clone(),
        runtime: check::runtime(agents)?,
        api,
        storage,
        stamp: Stamp::new(),
        model: None,
    };
    let (name, _) = live.load().await?;
    let notice = live.model.as_ref().and_then(|model| model.notice.clone());
    println!("  The agent {name} of {} answers {}.", path.display(), demo::NUMBER);
    if let Some(notice) = notice {
        println!("  Note: {notice}.");
    }
    Ok(Some(live))
}

impl LiveAgent {
    /// Loads the agent again whenever a file of it is saved, until the process ends.
    pub fn watch(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut told = None;
            loop {
                tokio::time::sleep(INTERVAL).await;
                match AgentFiles::read(&self.path) {
                    Ok(files) if files.stamp() == self.stamp => {}
                    Ok(_) => {
                        told = None;
                        self.load_and_tell().await;
                    }
                    // It is told once, not at each look.
                    Err(fault) if told.as_ref() == Some(&fault) => {}
                    Err(fault) => {
                        println!("  The agent can't be read; the version before goes on.\n{fault}");
                        told = Some(fault);
                    }
                }
            }
        })
    }

    async fn load_and_tell(&mut self) {
        match self.load().await {
            Ok((name, version)) => {
                println!("  The agent {name} was saved: version {version} answers from the next text on.");
            }
            Err(error) => println!("  The agent can't be used; the version before goes on.\n{error}"),
        }
    }

    /// Stores the agent as it is in its folder. Returns its name and its version.
    async fn load(&mut self) -> Result<(String, i64), CheckError> {
        let mut files = AgentFiles::read(&self.path)?;
        // A version that can't be used is told once, not at each look.
        self.stamp = files.stamp();
        let model = Model::choose(&mut files, &self.options, &Recordings::None).await?;
        check::usable(&files, &self.runtime, &self.agents).await?;
        if let Some(key) = model.secret() {
            files.set_llm("api_key", json!(key));
        }
        let name = files.name().to_owned();
        let stored = self.store(&name, files).await?;
        let (id, version) = (stored.get("id").and_then(Value::as_str), stored.get("version").and_then(Value::as_i64));
        let id: Uuid = id.unwrap_or_default().parse()?;
        self.call(("POST", "numbers"), Some(json!({"number": demo::NUMBER, "agent_id": id}))).await?;
        session::follow_active_version(&mut *self.storage.connection().await?, id).await?;
        self.model = Some(model);
        Ok((name, version.unwrap_or(1)))
    }

    /// Creates the agent, or adds a version to it.
    async fn store(&self, name: &str, mut files: AgentFiles) -> Result<Value, CheckError> {
        let agents = self.call(("GET", "agents?limit=200"), None).await?;
        let listed = agents.get("items").and_then(Value::as_array);
        let found = listed.into_iter().flatten().find(|agent| agent.get("name").and_then(Value::as_str) == Some(name));
        match found.and_then(|agent| agent.get("id")).and_then(Value::as_str) {
            None => self.call(("POST", "agents"), Some(Value::Object(files.agent))).await,
            Some(id) => {
                files.agent.remove("name");
                let path = format!("agents/{id}/versions");
                self.call(("POST", &path), Some(Value::Object(files.agent))).await
            }
        }
    }

    async fn call(&self, operation: (&str, &str), body: Option<Value>) -> Result<Value, CheckError> {
        let (status, answer) = self.api.call(operation, body).await?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let detail = answer.get("detail").and_then(Value::as_str).unwrap_or_default();
        Err(format!("our own API refused the agent ({status}): {detail}").into())
    }
}
