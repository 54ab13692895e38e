//! The `script` kind: Starlark, Python's syntax without I/O, bounded in steps, depth, memory and time; it keeps nothing between turns but the state.

pub mod check;
mod conv;
mod depth;
mod interpret;
mod json;
pub mod runner;

use tokio::sync::Semaphore;

use super::{Agent, AgentError, Answer, Answering, Asked, Conversation};
use runner::{Facts, Runners};

/// A script as an agent.
pub struct ScriptAgent {
    runners: Runners,
    /// Names the script in its runner.
    key: String,
    source: String,
    facts: Facts,
    /// One script may take half of the runners at most: a slow one leaves room for the others.
    share: Semaphore,
}

impl ScriptAgent {
    /// Reads a script. `key` names it: another script must have another key.
    pub async fn new(runners: Runners, key: String, source: String) -> Result<Self, AgentError> {
        let facts = runners.read(&key, &source).await?;
        let share = Semaphore::new((runners.count() / 2).max(1));
        Ok(Self { runners, key, source, facts, share })
    }

    async fn run(&self, conversation: Conversation, texts: Option<Vec<String>>) -> Result<Answer, AgentError> {
        let Ok(_share) = self.share.acquire().await else {
            return Err(AgentError::Failed("the process is stopping".to_owned()));
        };
        self.runners.run(&self.key, &self.source, conversation, texts).await
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
