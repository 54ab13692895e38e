//! The `script` kind: Starlark, Python's syntax without I/O, bounded in steps, depth, memory and time; it keeps nothing between turns but the state.

pub mod check;
mod conv;
mod depth;
mod interpret;
mod json;
mod queue;
pub mod runner;

use super::{Agent, AgentError, Answer, Answering, Asked, Conversation};
use queue::Queue;
use runner::{Facts, Run, Runners};

/// A script as an agent.
pub struct ScriptAgent {
    facts: Facts,
    runs: Queue,
}

impl ScriptAgent {
    /// Reads a script. `key` names it: another script must have another key.
    pub async fn new(runners: Runners, key: String, source: String) -> Result<Self, AgentError> {
        let facts = runners.read(&key, &source).await?;
        Ok(Self { facts, runs: Queue::new(runners, key, source) })
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
