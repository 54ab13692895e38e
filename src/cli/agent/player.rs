//! Plays the part of textback for an agent on this machine: loads it from its files, and lets it
//! answer texts in a conversation without a database.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::check::{self, CheckError};
use super::folder::{AgentFiles, Stamp};
use super::model::{Model, ModelOptions, Recordings};
use crate::agents::llm::record::{KeptCall, ModelRequest, NotPermitted, Recording, RequestOutcome, Round, TurnRecord};
use crate::agents::tool::ToolOutcome;
use crate::agents::{Agent, AgentRuntime, ModelAccess, OutboundRequest};
use crate::config::AgentSettings;
use crate::domain::agent::AgentKind;
use crate::domain::channel::OutboundText;
use crate::domain::llm_budget::ModelTokens;
use crate::jobs::turns::rehearsal::{Cast, Rehearsal};
use crate::storage::agent::NewVersion;

/// What an agent on this machine is run with.
#[derive(Args, Clone)]
pub struct PlayOptions {
    #[command(flatten)]
    pub(super) agents: AgentSettings,
    #[command(flatten)]
    pub(super) model: ModelOptions,
    /// The secret that signs requests to the service of an http agent (whsec_…)
    #[arg(long, env = "TEXTBACK_SIGNING_SECRET", hide_env_values = true)]
    signing_secret: Option<SecretString>,
}

/// An agent that was loaded from its files.
pub(super) struct Player {
    path: PathBuf,
    options: PlayOptions,
    recordings: Recordings,
    runtime: AgentRuntime,
    stamp: Stamp,
    part: Part,
}

/// The agent as it was loaded last.
struct Part {
    version: NewVersion,
    agent: Box<dyn Agent>,
    model: Model,
}

/// What came of one turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Played {
    /// The messages as the contact would get them.
    pub(super) messages: Vec<OutboundText<'static>>,
    pub(super) sends: Vec<OutboundRequest>,
    pub(super) hangup: bool,
    /// The tool calls of the model, in order.
    pub(super) calls: Vec<ShownCall>,
    /// The state before the turn and after it.
    pub(super) states: [Map<String, Value>; 2],
    /// Why the agent failed. The messages are then its error message.
    pub(super) error: Option<String>,
}

/// A tool call of the model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ShownCall {
    pub(super) name: String,
    pub(super) args: Value,
    /// What it gave, or the error that the model got.
    pub(super) result: Result<Value, String>,
}

impl Player {
    /// Loads an agent. The error tells all its faults.
    pub(super) async fn open(path: &Path, options: PlayOptions, recordings: Recordings) -> Result<Self, CheckError> {
        let runtime = check::runtime(&options.agents)?;
        let (part, stamp) = load(path, &options, &recordings, &runtime).await?;
        Ok(Self { path: path.to_owned(), options, recordings, runtime, stamp, part })
    }

    /// Loads the agent again if a file of it was saved. Whether it was loaded; after an error the
    /// agent is what it was.
    pub(super) async fn reload(&mut self) -> Result<bool, CheckError> {
        let stamp = AgentFiles::read(&self.path)?.stamp();
        if stamp == self.stamp {
            return Ok(false);
        }
        self.stamp = stamp;
        (self.part, self.stamp) = load(&self.path, &self.options, &self.recordings, &self.runtime).await?;
        Ok(true)
    }

    /// What is to be said of the model before a conversation.
    pub(super) fn notice(&self) -> Option<&str> {
        self.part.model.notice.as_deref()
    }

    /// Lets the agent answer texts that came together.
    pub(super) async fn turn(&self, session: &mut Rehearsal, texts: &[String]) -> Played {
        let Part { version, agent, model } = &self.part;
        let NewVersion { spec, settings, .. } = version;
        let calls = Arc::new(Calls::default());
        let kind = spec.kind();
        let access = (kind == AgentKind::Llm).then(|| ModelAccess { key: model.key.clone(), record: calls.clone() });
        let before = session.state().clone();
        let signing_secrets = self.options.signing_secret.iter().cloned().collect();
        let cast = Cast { agent: &**agent, kind, settings, signing_secrets, model: access };
        let mut played = match session.turn(cast, texts).await {
            Ok(rehearsed) => Played {
                messages: rehearsed.messages,
                sends: rehearsed.sends,
                hangup: rehearsed.hangup,
                ..Played::default()
            },
            Err(error) => {
                let error = model.problem().unwrap_or_else(|| error.to_string());
                Played { messages: session.error_messages(settings), error: Some(error), ..Played::default() }
            }
        };
        played.states = [before, session.state().clone()];
        played.calls = calls.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        played
    }
}

async fn load(
    path: &Path,
    options: &PlayOptions,
    recordings: &Recordings,
    runtime: &AgentRuntime,
) -> Result<(Part, Stamp), CheckError> {
    let mut files = AgentFiles::read(path)?;
    let stamp = files.stamp();
    let model = Model::choose(&mut files, &options.model, recordings).await?;
    let version = check::usable(&files, runtime, &options.agents).await?;
    // Runners keep what they have compiled by its key, so each load needs its own.
    let agent = runtime.load(Uuid::nil(), Uuid::now_v7().to_string(), &version.spec);
    Ok((Part { version, agent, model }, stamp))
}

/// The tool calls of a turn. Nothing of it is kept, so each turn begins without rounds.
#[derive(Debug, Default)]
struct Calls {
    rounds: Mutex<Vec<Value>>,
    shown: Mutex<Vec<ShownCall>>,
}

impl Calls {
    /// The arguments of a call in the message of its round.
    fn args(&self, round: i32, position: i32) -> Value {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        let message = usize::try_from(round).ok().and_then(|round| rounds.get(round));
        let given = message.and_then(|message| message.pointer(&format!("/tool_calls/{position}/function/arguments")));
        let text = given.and_then(Value::as_str).unwrap_or("{}");
        serde_json::from_str(text).unwrap_or_else(|_| json!(text))
    }
}

impl TurnRecord for Calls {
    fn rounds(&self) -> Recording<'_, Vec<Round>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn message(&self, _: i32, message: Value) -> Recording<'_, ()> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        Box::pin(std::future::ready(Ok(())))
    }

    fn call(&self, call: KeptCall) -> Recording<'_, ()> {
        let args = self.args(call.round, call.position);
        let result = call.result.map(|answer| match answer.outcome {
            ToolOutcome::Content(content) => content,
            ToolOutcome::Utterance { text, hangup: false, .. } => json!({"utterance": text}),
            ToolOutcome::Utterance { text, hangup: true, .. } => json!({"utterance": text, "hangup": true}),
        });
        let shown = ShownCall { name: call.name, args, result };
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).push(shown);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whoever tries an agent waits for its server, so nothing is left alone.
    fn permit(&self) -> Result<(), NotPermitted> {
        Ok(())
    }

    fn observe(&self, _: RequestOutcome) {}

    /// No limit counts on this machine, because a limit is of a session or a project.
    fn reserve(&self, _: ModelTokens) -> Recording<'_, Uuid> {
        Box::pin(std::future::ready(Ok(Uuid::now_v7())))
    }

    fn request(&self, _: ModelRequest) -> Recording<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
