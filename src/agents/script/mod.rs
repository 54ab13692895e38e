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
mod flow;
mod functions;
mod greeting;
mod interpret;
mod json;
mod log;
mod loops;
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
mod tool_arguments;
mod tool_outcome;
mod tool_parameters;
pub mod tools;
mod unbound;

use super::tool::{ToolAnswer, ToolCall};
use super::{Agent, AgentError, AgentFuture, Answer, Conversation, TurnInput};
use child::other_answer;
pub use functions::Purpose;
use protocol::{Call, Output, Run, Source};
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
    pub fn new(runners: Runners, project: Uuid, key: String, text: String, purpose: Purpose) -> Self {
        Self { runs: Queue::new(runners, Source { project, key, text, purpose }) }
    }

    async fn run(&self, run: Run) -> Result<Answer, AgentError> {
        let is_defined = self.runs.functions().is_none_or(|defined| match &run.call {
            Call::Start => defined.has_start,
            Call::Reply { .. } => defined.has_reply,
            Call::Tool(_) => true,
        });
        if !is_defined {
            return Ok(Answer::silent(run.conversation));
        }
        match self.runs.run(run).await? {
            Output::Answer(answer) => Ok(answer),
            Output::Tool(_) => Err(other_answer()),
        }
    }

    /// Calls a function of the script that is a tool of a language model ([`Purpose::Tools`]).
    ///
    /// Errors: the text of `Failed` and `OverLimit` is for the model too: what is wrong with the
    /// name or the arguments that it gave, or where the function failed, with line and column.
    pub async fn tool(&self, conversation: Conversation, mut call: ToolCall) -> Result<ToolAnswer, AgentError> {
        tool_arguments::bound(&mut call)?;
        match self.runs.run(Run { conversation, call: Call::Tool(call) }).await? {
            Output::Tool(answer) => Ok(answer),
            Output::Answer(_) => Err(other_answer()),
        }
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
mod flow_tests;
#[cfg(test)]
mod saved_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tool_tests;
