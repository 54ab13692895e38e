//! What an inbound message does: to which session it belongs, whether it is answered, and what else
//! follows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::consent::{self, ConsentKind};
use super::inactivity;
use super::keyword::{Keyword, KeywordMatch, KnownBy};
use super::keyword_answer::{AnswerFacts, KeywordAnswer};
use super::message::{MessageKind, RejectReason, Sender, SkipReason};
use super::rate_limit::{self, ContactLimits, RecentMessages};
use super::session::SessionStatus;
use super::words::words;

/// An inbound message, as far as the decision needs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inbound {
    /// Why it fits no session, if its channel knows that already.
    pub reject_reason: Option<RejectReason>,
    /// The consent keyword that it is.
    pub keyword: Option<KeywordMatch>,
    /// Whether it is a reaction to a message of ours.
    pub is_reaction: bool,
    /// When it was sent, if that is long ago: a message that backfill found.
    pub sent_at: Option<DateTime<Utc>>,
    /// The agent of which this process may run a turn at once.
    pub permit: Option<Uuid>,
}

/// What is known under the lock of the message's endpoint and contact.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time of the database.
    pub now: DateTime<Utc>,
    /// The message as it was stored before, with its session.
    pub stored: Option<(Uuid, Uuid)>,
    /// Who sent it.
    pub sender: Sender,
    /// Whether the session's agent answers reactions.
    pub answers_reactions: bool,
    /// Whether the contact has opted out.
    pub opted_out: bool,
    /// When the newest consent of the contact was recorded.
    pub consent_at: Option<DateTime<Utc>>,
    /// The session that is not closed.
    pub session: Option<Session>,
    /// Without such a session: the contact's newest one.
    pub previous_session_id: Option<Uuid>,
    /// Until when loop detection stops the contact's messages.
    pub paused_until: Option<DateTime<Utc>>,
    /// How long the session may be inactive, by the current version of its agent.
    pub warn_after_seconds: i32,
    /// What the project allows to a contact.
    pub limits: ContactLimits,
    /// What the contact sent before.
    pub recent: RecentMessages,
    /// Whether this message is over what the project takes in a minute.
    pub over_project_limit: bool,
    /// What decides about the answer to a keyword, if the message may get one.
    pub answers: AnswerFacts,
}

/// A session that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub id: Uuid,
    pub agent_id: Uuid,
    pub status: SessionStatus,
    /// Whether the contact sent a message in it that was to be answered.
    pub engaged: bool,
    /// Whether it has a turn.
    pub has_turn: bool,
    /// Whether its agent runs as soon as a message comes, and needs no earlier messages for that.
    pub runs_at_once: bool,
    /// How long the session may be inactive, as it was computed with the last message.
    pub warn_after_seconds: i32,
}

/// What becomes of an inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It was stored before.
    Duplicate { message_id: Uuid, session_id: Uuid },
    /// It fits no session and is kept as it came.
    Quarantine { reason: RejectReason },
    /// It is stored.
    Store(Store),
}

impl Decision {
    /// Whether a turn answers the message.
    pub const fn is_answered(&self) -> bool {
        match self {
            Self::Store(store) => matches!(store.effect, Effect::Answer(_)),
            Self::Duplicate { .. } | Self::Quarantine { .. } => false,
        }
    }
}

/// How an inbound message is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where it is stored.
    pub session: Target,
    pub kind: MessageKind,
    /// What follows.
    pub effect: Effect,
    /// Our messages to the contact that are not sent if they still wait, because they are no longer
    /// true.
    pub withdraws: &'static [MessageKind],
    /// Until when loop detection stops the contact's messages from now on.
    pub paused_until: Option<DateTime<Utc>>,
}

/// The session of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The message joins this session.
    Join(Uuid),
    /// The message opens a session, which follows the contact's previous one.
    Open { previous: Option<Uuid> },
}

/// What follows from a stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A turn answers it.
    Answer(Answer),
    /// No turn answers it.
    Skip(SkipReason),
    /// It is a keyword, which is obeyed.
    Obey(KeywordEffect),
}

/// A message that a turn answers. It opens its session again if that was warned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub turn: Turn,
    pub inactivity: Inactivity,
}

/// The turn that answers a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A new one, which waits for a claim.
    Enqueue,
    /// A new one, which is claimed for this process at once.
    Claim,
    /// The one that the session has. It reads this message too, or another turn follows it.
    Present,
}

words! {
    /// What happens to the inactivity job of a session.
    pub enum Inactivity {
        /// The session gets one.
        Schedule = "schedule",
        /// It comes earlier than it was scheduled.
        BringForward = "bring_forward",
        /// It comes early enough: a job that comes too early moves itself.
        Keep = "keep",
    }
}

/// What a consent keyword does. It does nothing if it came late, or if the carrier alone answers
/// HELP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeywordEffect {
    /// What is recorded of the contact's consent.
    pub consent: Option<ConsentKind>,
    /// The answer that we send.
    pub answer: Option<KeywordAnswer>,
}

/// Decides about one inbound message. `facts` is `None` when no endpoint of ours is attached at its
/// address.
pub fn decide(inbound: &Inbound, facts: Option<&Facts>) -> Decision {
    let facts = match (inbound.reject_reason, facts) {
        (Some(reason), _) => return Decision::Quarantine { reason },
        (None, None) => return Decision::Quarantine { reason: RejectReason::NumberNotAttached },
        (None, Some(facts)) => facts,
    };
    if let Some((message_id, session_id)) = facts.stored {
        return Decision::Duplicate { message_id, session_id };
    }
    let (kind, effect) = match (facts.sender.skip_reason(), keyword(inbound.keyword, facts)) {
        (Some(reason), _) => (MessageKind::Text, Effect::Skip(reason)),
        (None, Some(keyword)) => (MessageKind::Keyword, Effect::Obey(obey(keyword, inbound.sent_at, facts))),
        (None, None) => {
            let kind = if inbound.is_reaction { MessageKind::Reaction } else { MessageKind::Text };
            match skip_reason(inbound.is_reaction, facts) {
                Some(reason) => (kind, Effect::Skip(reason)),
                None => (kind, Effect::Answer(answer(inbound.permit, facts))),
            }
        }
    };
    Decision::Store(Store {
        session: match facts.session {
            Some(session) => Target::Join(session.id),
            None => Target::Open { previous: facts.previous_session_id },
        },
        kind,
        withdraws: withdraws(facts, &effect),
        paused_until: match effect {
            Effect::Skip(SkipReason::Repeats) => Some(facts.now + rate_limit::PAUSE),
            Effect::Answer(_) | Effect::Skip(_) | Effect::Obey(_) => facts.paused_until,
        },
        effect,
    })
}

/// The messages that become untrue: a new session follows the one before, and an answered message
/// opens its own session again.
fn withdraws(facts: &Facts, effect: &Effect) -> &'static [MessageKind] {
    match (facts.session, effect) {
        (None, _) if facts.previous_session_id.is_some() => inactivity::outdated_messages(SessionStatus::Closed, true),
        (Some(Session { status: SessionStatus::Warned, .. }), Effect::Answer(_)) => {
            inactivity::outdated_messages(SessionStatus::Open, false)
        }
        (None | Some(_), Effect::Answer(_) | Effect::Skip(_) | Effect::Obey(_)) => &[],
    }
}

/// The keyword that a message is in its session. YES restores messages for a contact who opted out.
/// From any other contact it is an ordinary answer. A form of HELP that only we know, and for which
/// there is no answer, goes to the agent: otherwise nobody would answer it. Where all keywords are
/// ours, there is one.
fn keyword(found: Option<KeywordMatch>, facts: &Facts) -> Option<KeywordMatch> {
    let found = found?;
    match (found.keyword, found.known_by) {
        (Keyword::Yes, _) => facts.opted_out.then_some(KeywordMatch { keyword: Keyword::Start, ..found }),
        (Keyword::Help, KnownBy::Us) => facts.answers.has_help_answer().then_some(found),
        (Keyword::Help, KnownBy::CarrierReport | KnownBy::CarrierDefault) | (Keyword::Stop | Keyword::Start, _) => {
            Some(found)
        }
    }
}

/// A keyword that backfill found says nothing about what the contact said after it.
fn obey(found: KeywordMatch, sent_at: Option<DateTime<Utc>>, facts: &Facts) -> KeywordEffect {
    let is_outdated =
        sent_at.zip(facts.consent_at).is_some_and(|(sent_at, consent_at)| consent::is_outdated(sent_at, consent_at));
    let (consent, answer, is_answered) = match found.keyword {
        Keyword::Help => (None, KeywordAnswer::Help, facts.answers.answers_help()),
        _ if is_outdated => return KeywordEffect::default(),
        Keyword::Stop => {
            let answer = KeywordAnswer::OptOut;
            (Some(ConsentKind::OptedOut), answer, facts.answers.confirms(answer, !facts.opted_out))
        }
        Keyword::Start | Keyword::Yes => {
            let answer = KeywordAnswer::OptIn;
            (Some(ConsentKind::OptedIn), answer, facts.answers.confirms(answer, facts.opted_out))
        }
    };
    let is_answered = match found.known_by {
        // The carrier says that it has answered it.
        KnownBy::CarrierReport => false,
        KnownBy::CarrierDefault | KnownBy::Us => is_answered,
    };
    KeywordEffect { consent, answer: is_answered.then_some(answer) }
}

/// Why no turn answers a message that is no keyword.
fn skip_reason(is_reaction: bool, facts: &Facts) -> Option<SkipReason> {
    if facts.opted_out {
        // An ordinary message does not restore messages to its contact.
        return Some(SkipReason::OptedOut);
    }
    if is_reaction && !facts.answers_reactions {
        return Some(SkipReason::Reaction);
    }
    rate_limit::skip_reason(facts.limits, facts.recent, facts.paused_until, facts.now)
        .or_else(|| facts.over_project_limit.then_some(SkipReason::ProjectTooFast))
}

fn answer(permit: Option<Uuid>, facts: &Facts) -> Answer {
    let Some(session) = facts.session else {
        return Answer { turn: Turn::Enqueue, inactivity: Inactivity::Schedule };
    };
    let turn = if session.has_turn {
        Turn::Present
    } else if permit == Some(session.agent_id) && session.runs_at_once {
        Turn::Claim
    } else {
        Turn::Enqueue
    };
    let inactivity = if !session.engaged {
        Inactivity::Schedule
    } else if inactivity::comes_too_late(session.warn_after_seconds, facts.warn_after_seconds) {
        Inactivity::BringForward
    } else {
        Inactivity::Keep
    };
    Answer { turn, inactivity }
}

#[cfg(test)]
mod tests;
