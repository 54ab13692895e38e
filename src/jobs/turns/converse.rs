//! Runs the agent: `start` in a new session, and `reply` for the messages that wait. It only plans
//! the outcome; the caller stores it.

use std::time::Instant;

use secrecy::SecretString;
use serde_json::Value;

use crate::agents::{
    Agent, AgentError, AgentFuture, Answer, Conversation, HistoryEntry, LogLine, ModelAccess, OutboundRequest,
    TurnInput, UserMessage,
};
use crate::domain::agent::{AgentKind, AgentSettings, FirstMessage};
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::message::{Direction, MessageKind};
use crate::domain::session::{CloseReason, SessionOrigin};
use crate::jobs::spans::AgentCall;
use crate::jobs::turns::messages::Allowance;
use crate::jobs::turns::replies::Replies;
use crate::storage::turn::{Claim, Settlement, WaitingMessage};
use crate::telemetry::metrics;

/// What an agent gets in a turn beside the claim.
pub(crate) struct TurnContext {
    /// The kind of agent that runs.
    pub(crate) kind: AgentKind,
    /// What signs its requests, the newest first.
    pub(crate) signing_secrets: Vec<SecretString>,
    /// What a turn of a language model has besides.
    pub(crate) model: Option<ModelAccess>,
}

/// Runs `start`, `reply` or both, by the `first_message` of the version. In a session that an
/// outbound message opened, that message is the greeting.
pub(crate) async fn converse(
    agent: &dyn Agent,
    settings: &AgentSettings,
    claim: &Claim,
    context: TurnContext,
    allowance: &mut Allowance<'_>,
) -> Result<(Settlement, Vec<OutboundRequest>), AgentError> {
    let mut replies = Replies::of(settings, claim);
    let mut conversation = conversation(claim);
    let mut settlement = Settlement::of(claim, allowance.capabilities());
    let mut sends = Vec::new();
    let mut processes = true;
    let mut hangup = false;
    let mut log_left = bounds::TURN_LOG_BYTES;

    if !claim.started {
        let started = start(agent, &conversation, claim, context.kind).await?;
        write_log(&started.log, &mut log_left);
        if claim.origin != SessionOrigin::Outbound {
            let greeting = replies.filtered(MessageKind::Greeting, greeting(&started, settings)?).await?;
            let (greets, answers) = match settings.first_message {
                FirstMessage::Greet => (true, false),
                FirstMessage::Process => (false, true),
                FirstMessage::GreetThenProcess => (true, true),
            };
            // Without a greeting, the agent answers the message at once.
            processes = answers || greeting.is_empty();
            if greets {
                settlement = allowance.say(settlement, MessageKind::Greeting, greeting, started.cut);
            }
        }
        (hangup, sends) = (started.hangup, started.sends);
        if claim.begun_by_agent && (hangup || !sends.is_empty()) {
            // Otherwise a message of an agent could start a chain of messages without end.
            tracing::warn!(
                sends = sends.len(),
                hangup,
                "start ran for a text that the agent sent; its messages and its hangup were left out"
            );
            (hangup, sends) = (false, Vec::new());
        }
        (conversation.state, conversation.language) = (started.state, started.language);
    }
    if processes && !hangup && !claim.waiting.is_empty() && agent.replies() {
        let kind = context.kind;
        let call = AgentCall::begin(claim, kind, "reply");
        let input = turn_input(claim, context, call.traceparent());
        let answer = call.end(measured(kind, "reply", agent.reply(conversation.clone(), input)).await)?;
        write_log(&answer.log, &mut log_left);
        replies.saw(&answer.seen);
        let texts = replies.filtered(MessageKind::Reply, answer.texts).await?;
        settlement = allowance.say(settlement, MessageKind::Reply, texts, answer.cut);
        hangup = answer.hangup;
        sends.extend(answer.sends);
        (conversation.state, conversation.language) = (answer.state, answer.language);
    }
    let changed = (conversation.state != claim.state.0).then_some(conversation.state);
    settlement = settlement.remember(changed, conversation.language);
    Ok((if hangup { settlement.close(CloseReason::AgentEnded) } else { settlement }, sends))
}

/// Calls an agent, and counts the call by its result.
async fn measured(kind: AgentKind, function: &str, call: AgentFuture<'_>) -> Result<Answer, AgentError> {
    let began = Instant::now();
    let answer = call.await;
    let result = answer.as_ref().map_or_else(AgentError::kind, |_| "ok");
    metrics::AGENT_CALL_SECONDS.record(&[kind.as_str()], began.elapsed());
    metrics::AGENT_CALLS.count(&[kind.as_str(), function, result]);
    answer
}

/// Runs `start`. Services have no `start`, so for them no call is counted.
async fn start(
    agent: &dyn Agent,
    conversation: &Conversation,
    claim: &Claim,
    kind: AgentKind,
) -> Result<Answer, AgentError> {
    match kind {
        AgentKind::Script | AgentKind::Llm => {
            let call = AgentCall::begin(claim, kind, "start");
            call.end(measured(kind, "start", agent.start(conversation.clone())).await)
        }
        AgentKind::Http => agent.start(conversation.clone()).await,
    }
}

/// The conversation of a claimed turn, as its agent sees it.
fn conversation(claim: &Claim) -> Conversation {
    Conversation {
        id: claim.session_id.to_string(),
        channel_type: claim.channel.to_string(),
        caller_number: claim.contact.clone(),
        callee_number: claim.address.clone(),
        env: claim.environment.to_string(),
        language: claim.language.clone(),
        state: claim.state.0.clone(),
        history: claim
            .history
            .iter()
            .map(|message| HistoryEntry {
                role: match message.direction {
                    Direction::Inbound => "user".to_owned(),
                    Direction::Outbound => "agent".to_owned(),
                },
                text: message.text.clone(),
                at: message.at,
            })
            .collect(),
        media: claim.waiting.iter().flat_map(|message| message.media.as_array().cloned().unwrap_or_default()).collect(),
    }
}

/// The messages that a claimed turn gives its agent.
fn turn_input(claim: &Claim, context: TurnContext, traceparent: Option<String>) -> TurnInput {
    let user_message = |message: &WaitingMessage| UserMessage {
        id: message.id.to_string(),
        text: message.text.clone(),
        media: message.media.clone(),
    };
    TurnInput {
        turn_id: claim.turn_id.to_string(),
        attempt: claim.attempt,
        at: claim.claimed_at,
        messages: claim.waiting.iter().map(user_message).collect(),
        signing_secrets: context.signing_secrets,
        model: context.model,
        traceparent,
    }
}

/// The texts of `start`, or else `conv.state.greet_message`, or else the greeting of the version.
fn greeting(started: &Answer, settings: &AgentSettings) -> Result<Vec<String>, AgentError> {
    if !started.texts.is_empty() {
        return Ok(started.texts.clone());
    }
    let from_state = match started.state.get("greet_message") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(AgentError::Failed("conv.state.greet_message must be a text or None".to_owned()));
        }
    };
    Ok(from_state.or_else(|| settings.greeting.clone()).filter(|text| !is_blank(text)).into_iter().collect())
}

/// Writes the log lines of an agent to the log of textback, in the span of their turn and with
/// their levels. `left` is how many bytes the turn may still log; the lines that do not fit are
/// left out.
fn write_log(lines: &[LogLine], left: &mut usize) {
    for (n, LogLine { level, text, fields }) in lines.iter().enumerate() {
        let text = bounds::text(text, bounds::LOG_LINE_BYTES / 2);
        let printed = Value::from(fields.clone()).to_string();
        let fields = bounds::text(&printed, bounds::LOG_LINE_BYTES / 2);
        let Some(after) = left.checked_sub(text.len() + fields.len()) else {
            *left = 0;
            let lines = lines.len() - n;
            tracing::warn!(target: "textback::agents", lines, "the agent logged more than it may in one turn; the rest was left out");
            return;
        };
        *left = after;
        match level.as_str() {
            "error" => tracing::error!(target: "textback::agents", %text, %fields, "the agent logged a line"),
            "warning" => tracing::warn!(target: "textback::agents", %text, %fields, "the agent logged a line"),
            _ => tracing::info!(target: "textback::agents", %text, %fields, "the agent logged a line"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn lines(count: usize, bytes: usize) -> Vec<LogLine> {
        let line = LogLine { level: "info".to_owned(), text: "x".repeat(bytes), fields: Map::new() };
        vec![line; count]
    }

    #[test]
    fn the_log_lines_of_a_turn_share_one_limit() {
        let mut left = bounds::TURN_LOG_BYTES;
        write_log(&lines(3, 100), &mut left);
        assert_eq!(left, bounds::TURN_LOG_BYTES - 3 * 102, "a text and no fields");
        write_log(&lines(100, 100_000), &mut left);
        assert_eq!(left, 0, "the rest is left out");
    }
}
