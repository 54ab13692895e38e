//! Defines the messages between a process and its script runners. Each is one line of JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::Fault;
use crate::agents::{AgentError, Answer, Conversation};

/// The longest answer of a runner, in bytes of JSON. A turn's texts and state are far smaller. Without a limit, a
/// script's answer would fill the memory of the parent process.
pub(super) const MOST_ANSWER: usize = 8 << 20;

/// The functions that a script defines.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct DefinedFunctions {
    pub has_start: bool,
    pub has_reply: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// Forget all scripts.
    Forget,
    /// Compile a script and keep it under a key.
    Read { key: String, source: String },
    /// Run a compiled script.
    Run { key: String, conversation: Box<Conversation>, texts: Option<Vec<String>> },
    /// Report a script's faults.
    Check { source: String },
    /// Render a template.
    Fill { template: String, variables: Map<String, Value> },
    /// Report why a template can't be parsed.
    CheckTemplate { template: String },
}

/// [`Request::Run`] in its written form, borrowed from the caller.
#[derive(Serialize)]
pub(super) enum RunRequest<'r> {
    Run { key: &'r str, conversation: &'r Conversation, texts: &'r Option<Vec<String>> },
}

#[derive(Serialize, Deserialize)]
pub(super) enum Response {
    /// The runner's first line, unless the start fails: the system's id of the thread that runs scripts, and why there
    /// is no sandbox, if there is none.
    Ready {
        thread: i32,
        no_sandbox: Option<String>,
    },
    Forgotten,
    Read(DefinedFunctions),
    Ran(Box<Answer>),
    Checked(Vec<Fault>),
    /// The text, or what is wrong with the template or its variables.
    Filled(Result<String, String>),
    /// What is wrong with the template.
    TemplateChecked(Result<(), String>),
    Failed(AgentError),
    /// An answer after which the runner ends. The next script gets a new runner.
    Last(Box<Response>),
}
