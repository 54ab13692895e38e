//! Runs the agent: `start` in a new session, and `reply` for the messages that wait. It only plans the outcome; the
//! caller stores it.

use serde_json::Value;

use crate::agents::{Agent, AgentError, Answer, OutboundRequest};
use crate::domain::agent::{AgentSettings, FirstMessage};
use crate::domain::bounds;
use crate::domain::message::MessageKind;
use crate::domain::session::{CloseReason, SessionOrigin};
use crate::jobs::turns::agent_log::write_log;
use crate::jobs::turns::input::{TurnContext, conversation, turn_input};
use crate::jobs::turns::messages::Allowance;
use crate::storage::turn::{Claim, Settlement};

/// Runs `start`, `reply` or both, by the `first_message` of the version. In a session that an outbound message opened,
/// that message is the greeting.
pub(crate) async fn converse(
    agent: &dyn Agent,
    settings: &AgentSettings,
    claim: &Claim,
    context: TurnContext,
    allowance: &mut Allowance<'_>,
) -> Result<(Settlement, Vec<OutboundRequest>), AgentError> {
    let mut conversation = conversation(claim, context.env);
    let mut settlement = Settlement::of(claim, allowance.capabilities());
    let mut sends = Vec::new();
    let mut processes = true;
    let mut hangup = false;
    let mut log_left = bounds::TURN_LOG_BYTES;

    if !claim.started {
        let started = agent.start(conversation.clone()).await?;
        write_log(&started.log, &mut log_left);
        if claim.origin != SessionOrigin::Outbound {
            let greeting = greeting(&started, settings);
            let (greets, answers) = match settings.first_message {
                FirstMessage::Greet => (true, false),
                FirstMessage::Process => (false, true),
                FirstMessage::GreetThenProcess => (true, true),
            };
            // Without a greeting, the agent answers the message at once.
            processes = answers || greeting.is_empty();
            if greets {
                settlement = allowance.say(settlement, MessageKind::Greeting, greeting);
            }
        }
        (hangup, sends) = (started.hangup, started.sends);
        if claim.begun_by_agent && (hangup || !sends.is_empty()) {
            // Otherwise a message of an agent could start a chain of messages without end.
            tracing::warn!(
                sends = sends.len(),
                hangup,
                "start ran for a text of an agent: what it sends, and its hangup, is left out"
            );
            (hangup, sends) = (false, Vec::new());
        }
        (conversation.state, conversation.language) = (started.state, started.language);
    }
    if processes && !hangup && !claim.waiting.is_empty() && agent.replies() {
        let answer = agent.reply(conversation.clone(), turn_input(claim, context.signing_secrets)).await?;
        write_log(&answer.log, &mut log_left);
        settlement = allowance.say(settlement, MessageKind::Reply, answer.texts);
        hangup = answer.hangup;
        sends.extend(answer.sends);
        (conversation.state, conversation.language) = (answer.state, answer.language);
    }
    let changed = (conversation.state != claim.state.0).then_some(conversation.state);
    settlement = settlement.remember(changed, conversation.language);
    Ok((if hangup { settlement.close(CloseReason::AgentEnded) } else { settlement }, sends))
}

/// The texts of `start`, or else `conv.state.greet_message`, or else the greeting of the version.
fn greeting(started: &Answer, settings: &AgentSettings) -> Vec<String> {
    if !started.texts.is_empty() {
        return started.texts.clone();
    }
    let from_state = started.state.get("greet_message").and_then(Value::as_str).map(str::to_owned);
    from_state.or_else(|| settings.greeting.clone()).filter(|text| !text.trim().is_empty()).into_iter().collect()
}
