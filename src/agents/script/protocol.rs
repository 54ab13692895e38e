//! Defines the messages between a process and its script runners, each one line of JSON; and for
//! that process, what it runs and what becomes of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::check::Fault;
use super::functions::Purpose;
use crate::agents::tool::{ToolAnswer, ToolCall};
use crate::agents::{AgentError, Answer, Conversation};

/// The longest answer of a runner, in bytes of JSON. A turn's texts and state are far smaller.
/// Without a limit, a script's answer would fill the memory of the parent process.
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
    Read { key: String, source: String, purpose: Purpose },
    /// Run a compiled script.
    Run { key: String, conversation: Box<Conversation>, call: Call },
    /// Report a script's faults.
    Check { source: String, purpose: Purpose },
    /// Run a script that has no faults with sample texts, and report what fails whatever a text is.
    Try { source: String, purpose: Purpose },
    /// Render a template.
    Fill { template: String, variables: Map<String, Value> },
    /// Report why a template can't be parsed.
    CheckTemplate { template: String },
    /// Fill in a prompt.
    FillPrompt { prompt: String, conv: Value },
    /// Report why a prompt can't be filled in.
    CheckPrompt { prompt: String },
}

/// [`Request::Run`] in its written form, borrowed from the caller.
#[derive(Serialize)]
pub(super) enum RunRequest<'r> {
    Run { key: &'r str, conversation: &'r Conversation, call: &'r Call },
}

#[derive(Serialize, Deserialize)]
pub(super) enum Response {
    /// The runner's first line, unless the start fails: the system's id of the thread that runs
    /// scripts, and why there is no sandbox, if there is none.
    Ready {
        thread: i32,
        no_sandbox: Option<String>,
    },
    Forgotten,
    Read(DefinedFunctions),
    Ran(Box<Output>),
    Checked(Vec<Fault>),
    /// The text, or what is wrong with the template or its variables.
    Filled(Result<String, String>),
    /// What is wrong with the template.
    TemplateChecked(Result<(), String>),
    Failed(AgentError),
    /// An answer after which the runner ends. The next script gets a new runner.
    Last(Box<Response>),
}

/// What a run calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// The start function, when a session begins.
    Start,
    /// `reply`, with the texts that wait.
    Reply { texts: Vec<String> },
    /// A function that is a tool of a language model.
    Tool(ToolCall),
}

/// What a run gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Of [`Call::Start`] and [`Call::Reply`].
    Answer(Answer),
    /// Of [`Call::Tool`].
    Tool(ToolAnswer),
}

/// A run of a script.
pub struct Run {
    pub conversation: Conversation,
    pub call: Call,
}

/// A script and its project.
pub(super) struct Source {
    pub(super) project: Uuid,
    /// Identifies the script in a runner.
    pub(super) key: String,
    pub(super) text: String,
    pub(super) purpose: Purpose,
}

/// Why runs have no answer.
#[derive(Debug)]
pub(super) enum Stop {
    /// No run can have an answer.
    All(AgentError),
    /// The script can't be compiled.
    Unreadable(AgentError),
    /// One of the runs took the runner down. If there was only one run, it did.
    One(AgentError),
    /// The runner ended for an unknown reason. The runs are to be retried.
    Again(String),
    /// The runner ended as planned before these runs. They are to be retried.
    Over,
    /// The runs take longer than a quick slot allows, and no slow slot was free.
    Slow,
}

/// The outcome of runs of a script.
#[derive(Default)]
pub(super) struct Ran {
    /// The answers in order, each with the CPU time that its run used.
    pub(super) answers: Vec<(Result<Output, AgentError>, Duration)>,
    /// What stopped the other runs.
    pub(super) stop: Option<Stop>,
    /// The functions of the script and the time to compile it, if it was compiled for these runs.
    pub(super) functions: Option<DefinedFunctions>,
    pub(super) reading: Duration,
    /// Whether the runs were stopped while the script was being compiled.
    pub(super) is_unread: bool,
    /// The CPU time of all runs together.
    pub(super) used: Duration,
}
