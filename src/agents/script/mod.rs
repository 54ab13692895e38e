//! The `script` kind of agents: Starlark scripts, limited in steps, depth, memory and time. Only
//! the state lasts from one turn to the next.
//!
//! docs/decisions/037-script-runners.md has the reasons.

mod accepted;
mod certain;
pub mod check;
mod child;
mod conv;
mod conv_use;
mod dead;
mod depth;
mod docstring;
mod dry_run;
mod evident;
mod functions;
mod greeting;
mod interpret;
mod json;
mod members;
pub mod memory;
mod module_names;
pub mod process;
mod protocol;
mod queue;
mod returns;
pub mod runner;
mod samples;
pub mod sandbox;
mod slots;
mod slowness;
mod tool_parameters;
mod tools;
mod type_words;
mod typed;
mod types;
mod unbound;

use super::{Agent, AgentError, AgentFuture, Answer, Conversation, TurnInput};
use protocol::{Call, Run, Source};
use queue::Queue;
use runner::Runners;
pub use slots::Headroom;
pub use tools::tools;
use uuid::Uuid;

/// An agent that is a script.
pub struct ScriptAgent {
    runs: Queue,
}

impl ScriptAgent {
    /// A project's script, which is compiled at its first turn. `key` identifies the script, so
    /// each script needs its own key.
    pub fn new(runners: Runners, project: Uuid, key: String, text: String) -> Self {
        Self { runs: Queue::new(runners, Source { project, key, text }) }
    }

    async fn run(&self, run: Run) -> Result<Answer, AgentError> {
        let is_defined = self.runs.functions().is_none_or(|defined| match &run.call {
            Call::Start => defined.has_start,
            Call::Reply { .. } => defined.has_reply,
        });
        if !is_defined {
            return Ok(Answer::silent(run.conversation));
        }
        self.runs.run(run).await
    }
}

impl Agent for ScriptAgent {
    fn start(&self, conversation: Conversation) -> AgentFuture<'_> {
        Box::pin(self.run(Run { conversation, call: Call::Start }))
    }

    fn reply(&self, conversation: Conversation, input: TurnInput) -> AgentFuture<'_> {
        let texts = input.messages.into_iter().map(|message| message.text).collect();
        Box::pin(self.run(Run { conversation, call: Call::Reply { texts } }))
    }

    fn replies(&self) -> bool {
        self.runs.functions().is_none_or(|defined| defined.has_reply)
    }

    fn headroom(&self) -> Headroom {
        self.runs.headroom()
    }
}

#[cfg(test)]
mod error_tests;
#[cfg(test)]
mod saved_tests;
#[cfg(test)]
mod tests;
