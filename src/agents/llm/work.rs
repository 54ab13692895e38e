//! The rounds of one turn.

use std::collections::HashMap;

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::LlmAgent;
use super::outcome::{self, Verdict};
use super::reader::{self, Completion, ModelCall};
use super::record::{KeptCall, Round, TurnRecord};
use super::request;
use super::server::{NotAnswered, Server, Wanted};
use super::tools::{self, Called};
use crate::agents::tool::{ToolAnswer, ToolOutcome};
use crate::agents::{AgentError, Answer, Conversation, ModelAccess, TurnInput};

/// How often a model may call a tool with the same arguments in one turn. A model that does so a
/// third time goes round in a circle: 220 equal calls were seen (docs/decisions/045).
const EQUAL_CALLS: usize = 3;

/// A turn of a language model.
pub(super) struct Work<'a> {
    agent: &'a LlmAgent,
    prompt: String,
    input: TurnInput,
    /// With the state as the tools have left it.
    conversation: Conversation,
    /// What the tools said, sent and logged.
    answer: Answer,
    calls: i32,
    equal: HashMap<(String, String), usize>,
}

impl<'a> Work<'a> {
    pub(super) fn of(agent: &'a LlmAgent, prompt: String, conversation: Conversation, input: TurnInput) -> Self {
        let (answer, equal) = (Answer::silent(conversation.clone()), HashMap::new());
        Self { agent, prompt, input, conversation, answer, calls: 0, equal }
    }

    /// Asks the model until it says something, or a tool does.
    pub(super) async fn run(mut self) -> Result<Answer, AgentError> {
        let Some(ModelAccess { key, record }) = self.input.model.clone() else {
            return Err(AgentError::Ours("the turn has no record of its rounds".to_owned()));
        };
        let mut kept = record.rounds().await?.into_iter();
        let mut later = Vec::new();
        for round in 0..self.agent.spec.max_rounds {
            let (message, calls, done) = match kept.next() {
                Some(Round { message, calls }) => {
                    let prefix = self.prefix(round);
                    let read = message.as_object().map(|message| reader::calls_of(message, &prefix));
                    (message, read.unwrap_or_default(), calls)
                }
                None => match self.next((key.as_ref(), &*record), round, &later).await? {
                    Next::Calls(completion) => {
                        record.message(round, completion.message.clone()).await?;
                        (completion.message, completion.calls, Vec::new())
                    }
                    Next::Answer(answer) => return Ok(*answer),
                },
            };
            later.push(message);
            if let Some(answer) = self.call_all(&*record, (round, &calls, done), &mut later).await? {
                return Ok(answer);
            }
        }
        let most = self.agent.spec.max_rounds;
        Err(AgentError::OverLimit(format!("the model called tools in {most} rounds and said nothing (llm.max_rounds)")))
    }

    /// Begins the ids of calls that the server gives none.
    fn prefix(&self, round: i32) -> String {
        format!("call_{}_{round}", self.input.turn_id.replace('-', ""))
    }

    /// The next answer of the model. `later`: the messages since the contact's.
    async fn next(
        &mut self,
        (key, record): (Option<&SecretString>, &dyn TurnRecord),
        round: i32,
        later: &[Value],
    ) -> Result<Next, AgentError> {
        let spec = &self.agent.spec;
        let server = Server { agent: self.agent, key, traceparent: self.input.traceparent.as_deref(), record };
        let mut history_tokens = usize::try_from(spec.history_tokens).unwrap_or_default();
        let (mut most_tokens, mut is_halved, mut is_doubled) = (spec.max_output_tokens, false, false);
        let prefix = self.prefix(round);
        loop {
            let mut messages =
                request::first_messages(spec, &self.prompt, &self.conversation, &self.input.messages, history_tokens);
            messages.extend_from_slice(later);
            let wanted =
                Wanted { round, messages: &messages, tools: &self.agent.tools.all, most_tokens, prefix: &prefix };
            let completion = match server.ask(&wanted).await {
                Ok(completion) => completion,
                Err(NotAnswered::TooLong) if !is_halved => {
                    (is_halved, history_tokens) = (true, history_tokens / 2);
                    continue;
                }
                Err(NotAnswered::TooLong) => {
                    let what = "the prompt, the tools and the history are longer than the model's context; shorten them (llm.prompt, llm.history_tokens)";
                    return Err(AgentError::Unusable(what.to_owned()));
                }
                Err(NotAnswered::Failed(error)) => return Err(error),
            };
            match outcome::of_completion(&completion) {
                Verdict::Calls => return Ok(Next::Calls(Box::new(completion))),
                Verdict::Text(text) | Verdict::CutText(text) => return Ok(self.says(text, false)),
                Verdict::NothingYet if !is_doubled => {
                    (is_doubled, most_tokens) = (true, most_tokens.saturating_mul(2));
                }
                Verdict::NothingYet => {
                    let what = "the model used all tokens of its answer for its thoughts; raise llm.max_output_tokens or lower llm.reasoning_effort";
                    return Err(AgentError::Failed(what.to_owned()));
                }
                Verdict::Nothing if !self.answer.texts.is_empty() => return Ok(self.says(String::new(), false)),
                Verdict::Nothing => return Err(AgentError::Failed("the model said nothing".to_owned())),
                Verdict::Declines => {
                    let what = "the model declined to answer; set llm.refusal_message to say something then";
                    let text = spec.refusal_message.clone();
                    return text
                        .map_or_else(|| Err(AgentError::Unusable(what.to_owned())), |text| Ok(self.says(text, false)));
                }
            }
        }
    }

    /// The answer of the turn: what the tools said, and then a text.
    fn says(&mut self, text: String, hangup: bool) -> Next {
        let mut answer = std::mem::take(&mut self.answer);
        if !text.is_empty() {
            answer.texts.push(text);
        }
        answer.hangup |= hangup;
        answer.seen.push(std::mem::take(&mut self.prompt));
        (answer.state, answer.language) = (self.conversation.state.clone(), self.conversation.language.clone());
        Next::Answer(Box::new(answer))
    }

    /// Runs the calls of a round, in order, but for those that have run before. Returns the answer
    /// if one of them ends the turn.
    async fn call_all(
        &mut self,
        record: &dyn TurnRecord,
        (round, calls, done): (i32, &[ModelCall], Vec<KeptCall>),
        later: &mut Vec<Value>,
    ) -> Result<Option<Answer>, AgentError> {
        let mut done = done.into_iter();
        for (position, call) in (0..).zip(calls) {
            self.calls += 1;
            if self.calls > self.agent.spec.max_tool_calls {
                let most = self.agent.spec.max_tool_calls;
                return Err(AgentError::OverLimit(format!(
                    "the model called more than {most} tools in one turn (llm.max_tool_calls)"
                )));
            }
            self.refuse_circles(call)?;
            let result = match done.next() {
                Some(kept) => kept.result,
                None => {
                    let result = self.call(round, position, call).await?;
                    let kept = KeptCall { round, position, name: call.name.clone(), result: result.clone() };
                    record.call(kept).await?;
                    result
                }
            };
            let content = match result {
                Ok(ToolAnswer { outcome, answer }) => {
                    self.take(answer);
                    match outcome {
                        ToolOutcome::Content(content) => content,
                        ToolOutcome::Utterance { text, hangup, .. } => {
                            self.answer.seen.push(text.clone());
                            return Ok(match self.says(text, hangup) {
                                Next::Answer(answer) => Some(*answer),
                                Next::Calls(_) => None,
                            });
                        }
                    }
                }
                Err(what) => json!({"error": what}),
            };
            let content = match content {
                Value::String(text) => text,
                other => other.to_string(),
            };
            self.answer.seen.push(content.clone());
            later.push(json!({"role": "tool", "tool_call_id": call.id, "content": content}));
        }
        Ok(None)
    }

    /// Refuses a call that was made with the same arguments too often.
    fn refuse_circles(&mut self, call: &ModelCall) -> Result<(), AgentError> {
        let arguments =
            call.arguments.as_ref().map_or_else(Clone::clone, |given| Value::Object(given.clone()).to_string());
        let count = self.equal.entry((call.name.clone(), arguments)).or_default();
        *count += 1;
        if *count < EQUAL_CALLS {
            return Ok(());
        }
        Err(AgentError::OverLimit(format!(
            "the model called {} {EQUAL_CALLS} times with the same arguments",
            call.name
        )))
    }

    async fn call(
        &self,
        round: i32,
        position: i32,
        call: &ModelCall,
    ) -> Result<Result<ToolAnswer, String>, AgentError> {
        let none = Map::new();
        let arguments = match &call.arguments {
            Ok(arguments) => arguments,
            Err(what) => return Ok(Err(what.clone())),
        };
        let arguments = if arguments.is_empty() { &none } else { arguments };
        let call_id = format!("{}.{round}.{position}", self.input.turn_id);
        let texts: Vec<String> = self.input.messages.iter().map(|message| message.text.clone()).collect();
        let called = Called { name: &call.name, arguments, call_id, texts: &texts };
        tools::run(self.agent.script.as_ref(), &self.agent.tools, called, &self.conversation).await
    }

    /// Takes over what a tool changed, said, sent and logged.
    fn take(&mut self, answer: Answer) {
        let Answer { texts, cut, hangup, state, language, sends, log, seen: _ } = answer;
        (self.conversation.state, self.conversation.language) = (state, language);
        self.answer.texts.extend(texts);
        self.answer.cut += cut;
        self.answer.hangup |= hangup;
        self.answer.sends.extend(sends);
        self.answer.log.extend(log);
    }
}

/// What a round begins with.
enum Next {
    Calls(Box<Completion>),
    Answer(Box<Answer>),
}
