//! The `script` kind: Starlark, Python's syntax without I/O, bounded in steps, depth, memory and time; it keeps nothing between turns but the state.

pub mod check;
mod conv;
mod depth;
mod interpret;
mod json;
pub mod memory;
pub mod process;
mod protocol;
mod queue;
pub mod runner;
pub mod sandbox;
mod slots;
mod spawn;

use super::{Agent, AgentError, Answer, Answering, Asked, Conversation};
use queue::Queue;
use runner::{Facts, Run, Runners, Source};
use uuid::Uuid;

/// A script as an agent.
pub struct ScriptAgent {
    facts: Facts,
    runs: Queue,
}

impl ScriptAgent {
    /// Reads a project's script. `key` names it: another script must have another key.
    pub async fn new(runners: Runners, project: Uuid, key: String, text: String) -> Result<Self, AgentError> {
        let source = Source { project, key, text };
        let facts = runners.read(&source).await?;
        Ok(Self { facts, runs: Queue::new(runners, source) })
    }

    /// Whether one more turn could only wait: the script is slow, and enough of its project's turns wait already.
    pub fn is_full(&self) -> bool {
        self.runs.is_full()
    }

    async fn run(&self, conversation: Conversation, texts: Option<Vec<String>>) -> Result<Answer, AgentError> {
        self.runs.run(Run { conversation, texts }).await
    }
}

/// What an agent without the function makes of a turn: nothing changes.
fn silence(conversation: Conversation) -> Answer {
    Answer { state: conversation.state, language: conversation.language, ..Answer::default() }
}

impl Agent for ScriptAgent {
    fn start(&self, conversation: Conversation) -> Answering<'_> {
        Box::pin(async move {
            if self.facts.has_start { self.run(conversation, None).await } else { Ok(silence(conversation)) }
        })
    }

    fn reply(&self, conversation: Conversation, asked: Asked) -> Answering<'_> {
        Box::pin(async move {
            let texts = asked.messages.into_iter().map(|message| message.text).collect();
            if self.facts.has_reply { self.run(conversation, Some(texts)).await } else { Ok(silence(conversation)) }
        })
    }

    fn replies(&self) -> bool {
        self.facts.has_reply
    }
}

#[cfg(test)]
mod tests;
