//! The outcome of a turn, as the job that ran it reports it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::agent_error::AgentErrorCode;
use crate::domain::channel::{Capabilities, OutboundText};
use crate::domain::delivery::RefusalReason;
use crate::domain::message::{MessageKind, SkipReason};
use crate::domain::session::CloseReason;
use crate::domain::turn_settlement::Outcome;
use crate::storage::turn::Claim;
use crate::storage::{delivery, new_id};

/// The outcome of a turn.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub(super) turn_id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) endpoint_id: Uuid,
    pub(super) contact: String,
    /// What the channel of its session can do.
    pub(super) capabilities: Capabilities,
    pub(super) token: Uuid,
    pub(super) seen_seq: i64,
    pub(super) started: bool,
    /// The new state of the agent. `None` if it did not change.
    pub(super) state: Option<Map<String, Value>>,
    pub(super) language: Option<String>,
    pub(super) close: Option<CloseReason>,
    pub(super) skip: Option<SkipReason>,
    /// The messages of the turn, in order.
    pub(super) messages: Vec<Message>,
    pub(super) sends: Vec<PlannedSend>,
    /// How many characters of the turn were cut, stored with its last message.
    pub(super) truncated: Option<i32>,
    /// The delivery of the first message, if the caller wants to claim it.
    pub(super) first_delivery: Option<FirstDelivery>,
    /// What is recorded of the turn.
    pub(super) record: Record,
}

/// What is recorded of a turn when it is done and its row is deleted.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) created_at: DateTime<Utc>,
    pub(super) attempts: i32,
    pub(super) failures: i32,
    /// How long the agent ran. `None`: that is not known.
    pub(super) milliseconds: Option<i32>,
    /// Whether the turn was given up.
    pub(super) has_failed: bool,
    /// Why, if the agent is to blame.
    pub(super) error_code: Option<AgentErrorCode>,
}

/// A message of a turn.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: Uuid,
    pub(super) kind: MessageKind,
    pub(super) text: OutboundText<'static>,
    /// How many characters of it were cut because it cost too much.
    pub(super) shortened: Option<i32>,
}

/// A delivery that the settlement claims for the caller.
#[derive(Debug, Clone)]
pub(super) struct FirstDelivery {
    pub(super) claim: Box<delivery::Claim>,
    pub(super) lease_seconds: u32,
}

/// A message that the agent sends outside its answer.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedSend {
    pub message_id: Uuid,
    /// Our number that sends it. `None` means the number of the session.
    pub number: Option<String>,
    /// The carrier's id of the pool that it is sent to, instead of a number.
    pub pool_id: Option<String>,
    pub contact: String,
    /// The countries that the contact may be in, by the digits of its number.
    pub countries: Vec<String>,
    pub body: String,
    /// Why it is not sent, if that is already known.
    pub refused: Option<RefusalReason>,
}

impl Settlement {
    /// A settlement that handles the messages of the claim and changes nothing else.
    pub fn of(claim: &Claim, capabilities: Capabilities) -> Self {
        Self {
            turn_id: claim.turn_id,
            session_id: claim.session_id,
            endpoint_id: claim.endpoint_id,
            contact: claim.contact.clone(),
            capabilities,
            token: claim.token,
            seen_seq: claim.seen_seq(),
            started: claim.started,
            state: None,
            language: claim.language.clone(),
            close: None,
            skip: None,
            messages: Vec::new(),
            sends: Vec::new(),
            truncated: None,
            first_delivery: None,
            record: Record {
                created_at: claim.created_at,
                attempts: claim.attempt,
                failures: claim.failures,
                milliseconds: None,
                has_failed: false,
                error_code: None,
            },
        }
    }

    /// Records how long the agent ran.
    pub fn ran_for(mut self, time: Duration) -> Self {
        self.record.milliseconds = Some(i32::try_from(time.as_millis()).unwrap_or(i32::MAX));
        self
    }

    /// Records that the turn was given up, and why, if the agent is to blame.
    pub fn failed(mut self, code: Option<AgentErrorCode>) -> Self {
        (self.record.has_failed, self.record.error_code) = (true, code);
        self
    }

    /// Sets the new state of the agent, or `None` if it did not change, and the language of the
    /// session.
    pub fn remember(mut self, state: Option<Map<String, Value>>, language: Option<String>) -> Self {
        (self.state, self.language) = (state, language);
        self.started = true;
        self
    }

    /// Plans a message after the planned ones.
    pub fn say(mut self, kind: MessageKind, text: OutboundText<'static>) -> Self {
        self.messages.push(Message { id: new_id(), kind, text, shortened: None });
        self
    }

    /// Records how many characters of the last planned message are cut because it costs too much.
    pub fn shorten_last(mut self, characters: usize) -> Self {
        if let Some(last) = self.messages.last_mut().filter(|_| characters > 0) {
            last.shortened = Some(i32::try_from(characters).unwrap_or(i32::MAX));
        }
        self
    }

    /// Records how many characters are cut because the turn may not send more messages.
    pub fn cut(mut self, characters: usize) -> Self {
        let cut = i32::try_from(characters).unwrap_or(i32::MAX);
        self.truncated = Some(self.truncated.unwrap_or_default().saturating_add(cut));
        self
    }

    /// Plans a message outside the answer, which is sent after the turn. A refused message is only
    /// stored with its reason.
    pub fn send(mut self, send: PlannedSend) -> Self {
        self.sends.push(send);
        self
    }

    /// Asks for the delivery of the first message, to send it from this process. `claim` is the
    /// turn's. The delivery is claimed for `lease_seconds`, unless an earlier message to the
    /// contact waits.
    pub fn claim_first_delivery(&mut self, claim: &Claim, lease_seconds: u32) {
        let Some(message) = self.messages.first() else { return };
        let claim = Box::new(delivery::Claim::of_new_message(message.id, message.text.body().to_owned(), claim));
        self.first_delivery = Some(FirstDelivery { claim, lease_seconds });
    }

    /// The delivery that the caller wants to claim.
    pub fn first_delivery(&self) -> Option<&delivery::Claim> {
        self.first_delivery.as_ref().map(|first| first.claim.as_ref())
    }

    /// Whether the turn has messages.
    pub const fn speaks(&self) -> bool {
        !self.messages.is_empty()
    }

    /// The messages of the turn, in order.
    pub fn messages(&self) -> impl Iterator<Item = &OutboundText<'static>> {
        self.messages.iter().map(|message| &message.text)
    }

    /// The new state of the agent, if it changed.
    pub const fn state(&self) -> Option<&Map<String, Value>> {
        self.state.as_ref()
    }

    /// The language of the session.
    pub fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }

    /// Whether the session ends.
    pub const fn closes(&self) -> bool {
        self.close.is_some()
    }

    /// Closes the session after the messages of the turn.
    pub fn close(mut self, reason: CloseReason) -> Self {
        self.close = Some(reason);
        self
    }

    /// Why the waiting messages are skipped, if they are.
    pub const fn skip_reason(&self) -> Option<SkipReason> {
        self.skip
    }

    /// Skips the waiting messages with this reason.
    pub fn skip(mut self, reason: SkipReason) -> Self {
        self.skip = Some(reason);
        self
    }

    /// What the domain needs to decide.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            messages: self.messages.len(),
            has_deliveries: self.capabilities.delivery_reports,
            closes: self.close.is_some(),
            asks_for_delivery: self.first_delivery.is_some(),
        }
    }
}
