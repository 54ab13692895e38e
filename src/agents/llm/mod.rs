//! The `llm` kind of agents: a language model answers, by any API that is compatible with OpenAI's
//! chat completions, and calls functions of the agent's script as its tools.
//!
//! A turn is a number of rounds. In each round the model gets all messages so far. If it calls
//! tools, they run in order and their results begin the next round; if it says something, that is
//! the answer. What a round did is kept before the next one begins.
//!
//! docs/decisions/045-language-models.md has the reasons.

mod history;
mod outcome;
pub(in crate::agents) mod prompt;
mod reader;
pub mod record;
mod request;
mod server;
mod tools;
mod work;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::http::Caller;
use super::script::runner::Runners;
use super::script::{Purpose, ScriptAgent};
use super::tool::Tool;
use super::{Agent, AgentError, AgentFuture, AgentRuntime, Answer, Conversation, Headroom, SpecError, TurnInput};
use crate::domain::llm::LlmSpec;
use outcome::Parameter;
use record::RequestOutcome;
use tools::Tools;
use work::Work;

/// How long the model may take for all rounds of a turn. A person who waits longer writes again.
const TURN: Duration = Duration::from_secs(60);

/// An agent that is a language model.
pub struct LlmAgent {
    caller: Caller,
    runners: Runners,
    project: Uuid,
    spec: LlmSpec,
    /// The script with the tools, and perhaps with a `start`.
    script: Option<ScriptAgent>,
    tools: Tools,
    /// The parameters that the server refused once. They are left out from then on.
    refused: Mutex<BTreeSet<Parameter>>,
}

impl LlmAgent {
    /// An agent of a project. `tools`: those of the script that the spec names.
    pub fn new(
        (caller, runners): (Caller, Runners),
        project: Uuid,
        spec: LlmSpec,
        script: Option<ScriptAgent>,
        tools: Vec<Tool>,
    ) -> Self {
        let tools = Tools::of_script(tools);
        Self { caller, runners, project, spec, script, tools, refused: Mutex::default() }
    }

    fn refused(&self) -> BTreeSet<Parameter> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn leave_out(&self, parameter: Parameter) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(parameter);
    }

    async fn answer(&self, conversation: Conversation, input: TurnInput) -> Result<Answer, AgentError> {
        let prompt = self.prompt(&conversation).await?;
        let record = input.model.as_ref().map(|model| Arc::clone(&model.record));
        let working = Work::of(self, prompt, conversation, input).run();
        if let Ok(answer) = tokio::time::timeout(TURN, working).await {
            return answer;
        }
        // The request that ran is dropped, and nothing else tells that it had no answer.
        if let Some(record) = record {
            record.observe(RequestOutcome::Failed(None));
        }
        let seconds = TURN.as_secs();
        Err(AgentError::Failed(format!("the model did not come to an answer within {seconds} seconds")))
    }

    /// The prompt of the version, filled in.
    async fn prompt(&self, conversation: &Conversation) -> Result<String, AgentError> {
        let mut conv = serde_json::to_value(conversation)
            .map_err(|error| AgentError::Failed(format!("conv is no JSON: {error}")))?;
        if let Value::Object(conv) = &mut conv {
            // They are messages of the request, and the prompt is the same for each turn without
            // them.
            conv.remove("history");
            conv.remove("media");
        }
        self.runners.fill_prompt(self.project, &self.spec.prompt, conv).await
    }
}

/// Checks what a version would run, before it is stored: what would fail at each turn.
pub(super) async fn check(
    runtime: &AgentRuntime,
    project: Uuid,
    spec: &LlmSpec,
    source: Option<&str>,
) -> Result<(), SpecError> {
    let refused = |field: &str, what: String| SpecError::Refused {
        code: "llm_refused",
        detail: format!("llm.{field} can't be used: {what}"),
    };
    if let Some((field, what)) = spec.fault() {
        return Err(refused(field, what));
    }
    if let Err(what) = server::address(&runtime.caller, &spec.base_url) {
        return Err(refused("base_url", what));
    }
    runtime.caller.check_url(&spec.base_url).await.map_err(|what| refused("base_url", what))?;
    match runtime.runners.check_prompt(project, &spec.prompt).await {
        Ok(()) => {}
        Err(AgentError::Failed(what) | AgentError::OverLimit(what)) => return Err(refused("prompt", what)),
        Err(error) => return Err(SpecError::Unchecked(error)),
    }
    match source {
        Some(source) => runtime.check_script(project, source, &Purpose::Tools(spec.tools.clone())).await,
        None if spec.tools.is_empty() => Ok(()),
        None => Err(refused("tools", "the agent has no source whose functions they could be".to_owned())),
    }
}

impl Agent for LlmAgent {
    fn start(&self, conversation: Conversation) -> AgentFuture<'_> {
        match &self.script {
            Some(script) => script.start(conversation),
            None => Box::pin(std::future::ready(Ok(Answer::silent(conversation)))),
        }
    }

    fn reply(&self, conversation: Conversation, input: TurnInput) -> AgentFuture<'_> {
        Box::pin(self.answer(conversation, input))
    }

    fn replies(&self) -> bool {
        true
    }

    fn headroom(&self) -> Headroom {
        self.script.as_ref().map_or(Headroom::Enough, Agent::headroom)
    }
}
