//! The input of an agent in a claimed turn: the conversation so far, and the messages that wait for an answer.

use secrecy::SecretString;

use crate::agents::{Conversation, HistoryEntry, TurnInput, UserMessage};
use crate::domain::message::Direction;
use crate::storage::turn::{Claim, WaitingMessage};

/// What an agent is told in a turn that is not in its claim.
pub(crate) struct TurnContext {
    /// Where it runs: `sandbox`, `live` or `dev`.
    pub(crate) env: &'static str,
    /// What signs its requests, the newest first.
    pub(crate) signing_secrets: Vec<SecretString>,
}

/// The conversation of a claimed turn, as its agent sees it in `env`.
pub(crate) fn conversation(claim: &Claim, env: &'static str) -> Conversation {
    Conversation {
        id: claim.session_id.to_string(),
        channel_type: claim.channel.to_string(),
        caller_number: claim.contact.clone(),
        callee_number: claim.address.clone(),
        env: env.to_owned(),
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
pub(crate) fn turn_input(claim: &Claim, signing_secrets: Vec<SecretString>) -> TurnInput {
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
        signing_secrets,
    }
}
