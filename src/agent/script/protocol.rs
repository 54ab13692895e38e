//! What a process and its script runners say to each other: a line of JSON each.

use serde::{Deserialize, Serialize};

use super::check::Fault;
use crate::agent::{AgentError, Answer, Conversation};

/// The longest answer of a runner, in bytes of JSON. A turn's texts and its state are a small part of it; without a bound a
/// script's answer would fill the memory of the process that asked.
pub(super) const MOST_ANSWER: usize = 8 << 20;

/// What a script offers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Facts {
    pub has_start: bool,
    pub has_reply: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// Forget all scripts.
    Forget,
    /// Keep a script under a key.
    Read { key: String, source: String },
    /// Run a script that was read.
    Run { key: String, conversation: Box<Conversation>, texts: Option<Vec<String>> },
    /// Tell a script's faults.
    Check { source: String },
}

/// [`Request::Run`] as it is written, of what the caller keeps.
#[derive(Serialize)]
pub(super) enum RunRequest<'r> {
    Run { key: &'r str, conversation: &'r Conversation, texts: &'r Option<Vec<String>> },
}

#[derive(Serialize, Deserialize)]
pub(super) enum Response {
    /// The runner's first line, unless it fails: the system's number of the thread that runs scripts, and why there is no sandbox if there
    /// is none.
    Ready {
        thread: i32,
        no_sandbox: Option<String>,
    },
    Forgotten,
    Read(Facts),
    Ran(Box<Answer>),
    Checked(Vec<Fault>),
    Failed(AgentError),
    /// The same, and the runner ends: the next script gets a new one.
    Last(Box<Response>),
}
