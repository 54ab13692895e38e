//! What an inbound message does: to which session it belongs, whether it is answered, and what else follows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::consent;
use super::inactivity;
use super::keyword::{Keyword, KeywordMatch, KnownBy};
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
    /// Whether the project has an answer to HELP and this session got none in the last minute.
    pub may_answer_help: bool,
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
    /// Our messages to the contact that are not sent if they still wait, because they are no longer true.
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
    /// It waits for a claim, or one that waits covers this message too.
    Enqueue,
    /// It is claimed for this process at once.
    Claim,
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

/// What a consent keyword does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeywordEffect {
    OptOut,
    OptIn,
    SendHelp,
    /// Nothing: it came late, or HELP was answered by the carrier alone.
    Nothing,
}

/// Decides about one inbound message. `facts` is `None` when no endpoint of ours is attached at its address.
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

/// The messages that become untrue: a new session follows the one before, and an answered message opens its own session
/// again.
fn withdraws(facts: &Facts, effect: &Effect) -> &'static [MessageKind] {
    match (facts.session, effect) {
        (None, _) if facts.previous_session_id.is_some() => inactivity::outdated_messages(SessionStatus::Closed, true),
        (Some(Session { status: SessionStatus::Warned, .. }), Effect::Answer(_)) => {
            inactivity::outdated_messages(SessionStatus::Open, false)
        }
        (None | Some(_), Effect::Answer(_) | Effect::Skip(_) | Effect::Obey(_)) => &[],
    }
}

/// The keyword that a message is in its session. YES restores messages for a contact who opted out. From any other contact
/// it is an ordinary answer. A form of HELP that only we know, and for which the project has no answer, goes to the agent:
/// otherwise nobody would answer it.
fn keyword(found: Option<KeywordMatch>, facts: &Facts) -> Option<KeywordMatch> {
    let found = found?;
    match (found.keyword, found.known_by) {
        (Keyword::Yes, _) => facts.opted_out.then_some(KeywordMatch { keyword: Keyword::Start, ..found }),
        (Keyword::Help, KnownBy::Us) => facts.may_answer_help.then_some(found),
        (Keyword::Help, KnownBy::CarrierReport | KnownBy::CarrierDefault) | (Keyword::Stop | Keyword::Start, _) => {
            Some(found)
        }
    }
}

/// A keyword that backfill found says nothing about what the contact said after it.
fn obey(found: KeywordMatch, sent_at: Option<DateTime<Utc>>, facts: &Facts) -> KeywordEffect {
    let is_outdated =
        sent_at.zip(facts.consent_at).is_some_and(|(sent_at, consent_at)| consent::is_outdated(sent_at, consent_at));
    match (found.keyword, found.known_by) {
        (Keyword::Stop, _) if !is_outdated => KeywordEffect::OptOut,
        (Keyword::Start | Keyword::Yes, _) if !is_outdated => KeywordEffect::OptIn,
        // The carrier says that it has answered it.
        (Keyword::Help, KnownBy::CarrierReport) => KeywordEffect::Nothing,
        (Keyword::Help, KnownBy::CarrierDefault | KnownBy::Us) if facts.may_answer_help => KeywordEffect::SendHelp,
        (Keyword::Stop | Keyword::Start | Keyword::Yes | Keyword::Help, _) => KeywordEffect::Nothing,
    }
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
    let is_claimed = permit == Some(session.agent_id) && session.runs_at_once && !session.has_turn;
    let inactivity = if !session.engaged {
        Inactivity::Schedule
    } else if inactivity::comes_too_late(session.warn_after_seconds, facts.warn_after_seconds) {
        Inactivity::BringForward
    } else {
        Inactivity::Keep
    };
    Answer { turn: if is_claimed { Turn::Claim } else { Turn::Enqueue }, inactivity }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const AGENT: Uuid = Uuid::from_u128(1);
    const SESSION: Uuid = Uuid::from_u128(2);
    const MESSAGE: Uuid = Uuid::from_u128(3);
    const NEW: Target = Target::Open { previous: None };

    fn facts() -> Facts {
        Facts {
            now: DateTime::UNIX_EPOCH,
            stored: None,
            sender: Sender::Contact,
            answers_reactions: false,
            opted_out: false,
            consent_at: None,
            session: None,
            previous_session_id: None,
            paused_until: None,
            warn_after_seconds: 86_400,
            limits: ContactLimits { per_minute: 3, repeats_in_five_minutes: 4 },
            recent: RecentMessages::default(),
            over_project_limit: false,
            may_answer_help: true,
        }
    }

    fn session() -> Session {
        Session {
            id: SESSION,
            agent_id: AGENT,
            status: SessionStatus::Open,
            engaged: true,
            has_turn: false,
            runs_at_once: true,
            warn_after_seconds: 86_400,
        }
    }

    fn by_default(keyword: Keyword) -> KeywordMatch {
        KeywordMatch { keyword, known_by: KnownBy::CarrierDefault }
    }

    fn stored(session: Target, kind: MessageKind, effect: Effect) -> Store {
        Store { session, kind, effect, withdraws: &[], paused_until: None }
    }

    #[test]
    fn what_fits_no_session_is_quarantined_and_what_is_there_is_a_duplicate() {
        let known = Facts { stored: Some((MESSAGE, SESSION)), opted_out: true, ..facts() };
        let plain = Inbound::default();
        for (inbound, facts, expected) in [
            (
                Inbound { reject_reason: Some(RejectReason::NoMessageId), ..plain },
                Some(&known),
                Decision::Quarantine { reason: RejectReason::NoMessageId },
            ),
            (plain, None, Decision::Quarantine { reason: RejectReason::NumberNotAttached }),
            (plain, Some(&known), Decision::Duplicate { message_id: MESSAGE, session_id: SESSION }),
        ] {
            assert_eq!(decide(&inbound, facts), expected, "{inbound:?}");
        }
    }

    #[test]
    fn a_keyword_is_obeyed_and_yes_is_one_only_while_opted_out() {
        let out = Facts { opted_out: true, ..facts() };
        let helped = Facts { may_answer_help: false, ..facts() };
        for (keyword, facts, effect) in [
            (Keyword::Stop, &facts(), KeywordEffect::OptOut),
            (Keyword::Stop, &out, KeywordEffect::OptOut),
            (Keyword::Start, &facts(), KeywordEffect::OptIn),
            (Keyword::Start, &out, KeywordEffect::OptIn),
            (Keyword::Yes, &out, KeywordEffect::OptIn),
            (Keyword::Help, &facts(), KeywordEffect::SendHelp),
            (Keyword::Help, &helped, KeywordEffect::Nothing),
        ] {
            let inbound = Inbound { keyword: Some(by_default(keyword)), ..Inbound::default() };
            let expected = Decision::Store(stored(NEW, MessageKind::Keyword, Effect::Obey(effect)));
            assert_eq!(decide(&inbound, Some(facts)), expected, "{keyword:?} {facts:?}");
        }
        let yes = Inbound { keyword: Some(by_default(Keyword::Yes)), ..Inbound::default() };
        assert!(matches!(decide(&yes, Some(&facts())), Decision::Store(Store { kind: MessageKind::Text, .. })));
    }

    #[test]
    fn help_is_answered_once_by_the_carrier_by_us_or_by_the_agent() {
        for (known_by, may_answer_help, kind, obeyed) in [
            (KnownBy::CarrierReport, true, MessageKind::Keyword, Some(KeywordEffect::Nothing)),
            (KnownBy::CarrierReport, false, MessageKind::Keyword, Some(KeywordEffect::Nothing)),
            (KnownBy::CarrierDefault, true, MessageKind::Keyword, Some(KeywordEffect::SendHelp)),
            (KnownBy::CarrierDefault, false, MessageKind::Keyword, Some(KeywordEffect::Nothing)),
            (KnownBy::Us, true, MessageKind::Keyword, Some(KeywordEffect::SendHelp)),
            (KnownBy::Us, false, MessageKind::Text, None),
        ] {
            let keyword = Some(KeywordMatch { keyword: Keyword::Help, known_by });
            let facts = Facts { may_answer_help, ..facts() };
            let Decision::Store(store) = decide(&Inbound { keyword, ..Inbound::default() }, Some(&facts)) else {
                panic!("{known_by:?}")
            };
            let effect = match store.effect {
                Effect::Obey(effect) => Some(effect),
                Effect::Answer(_) | Effect::Skip(_) => None,
            };
            assert_eq!((store.kind, effect), (kind, obeyed), "{known_by:?} {may_answer_help}");
        }
    }

    #[test]
    fn a_keyword_that_came_late_does_not_undo_what_was_said_after_it() {
        let said = DateTime::UNIX_EPOCH;
        let later = Facts { consent_at: Some(said + TimeDelta::seconds(1)), ..facts() };
        let earlier = Facts { consent_at: Some(said - TimeDelta::seconds(1)), ..facts() };
        for (keyword, facts, effect) in [
            (Keyword::Stop, &later, KeywordEffect::Nothing),
            (Keyword::Start, &later, KeywordEffect::Nothing),
            (Keyword::Stop, &earlier, KeywordEffect::OptOut),
            (Keyword::Start, &earlier, KeywordEffect::OptIn),
            (Keyword::Help, &later, KeywordEffect::SendHelp),
        ] {
            let inbound = Inbound { keyword: Some(by_default(keyword)), sent_at: Some(said), ..Inbound::default() };
            let expected = Decision::Store(stored(NEW, MessageKind::Keyword, Effect::Obey(effect)));
            assert_eq!(decide(&inbound, Some(facts)), expected, "{keyword:?}");
        }
    }

    #[test]
    fn no_turn_answers_a_number_of_ours_and_its_keywords_are_not_obeyed() {
        for (sender, reason) in [(Sender::Itself, SkipReason::ToIsFrom), (Sender::OwnNumber, SkipReason::FromOwnNumber)]
        {
            let facts = Facts { sender, ..facts() };
            for keyword in [None, Some(Keyword::Stop), Some(Keyword::Help)] {
                let inbound = Inbound { keyword: keyword.map(by_default), ..Inbound::default() };
                let expected = Decision::Store(stored(NEW, MessageKind::Text, Effect::Skip(reason)));
                assert_eq!(decide(&inbound, Some(&facts)), expected, "{sender} {keyword:?}");
            }
        }
    }

    #[test]
    fn a_reaction_is_answered_if_the_agent_wants_that_and_no_limit_stops_it() {
        let answers = Facts { answers_reactions: true, ..facts() };
        let paused = Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(1));
        for (facts, reason) in [
            (facts(), Some(SkipReason::Reaction)),
            (Facts { paused_until: paused, ..facts() }, Some(SkipReason::Reaction)),
            (Facts { opted_out: true, ..facts() }, Some(SkipReason::OptedOut)),
            (answers.clone(), None),
            (Facts { paused_until: paused, ..answers.clone() }, Some(SkipReason::Paused)),
            (Facts { opted_out: true, ..answers }, Some(SkipReason::OptedOut)),
        ] {
            let inbound = Inbound { is_reaction: true, ..Inbound::default() };
            let Decision::Store(stored) = decide(&inbound, Some(&facts)) else { panic!("not stored: {facts:?}") };
            assert_eq!(stored.kind, MessageKind::Reaction);
            match (stored.effect, reason) {
                (Effect::Answer(_), None) => {}
                (Effect::Skip(skipped), Some(reason)) => assert_eq!(skipped, reason, "{facts:?}"),
                (effect, _) => panic!("{effect:?} {facts:?}"),
            }
        }
    }

    #[test]
    fn no_turn_answers_what_a_limit_stops() {
        let later = DateTime::UNIX_EPOCH + TimeDelta::seconds(1);
        let paused = Some(later);
        let repeats = Some(DateTime::UNIX_EPOCH + TimeDelta::minutes(10));
        let fast = RecentMessages { same_answers: [0, 0], in_last_minute: 3, passed_in_last_minute: 3 };
        let alike = RecentMessages { same_answers: [3, 0], in_last_minute: 0, passed_in_last_minute: 0 };
        for (facts, reason, paused_until) in [
            (
                Facts { opted_out: true, over_project_limit: true, paused_until: paused, ..facts() },
                SkipReason::OptedOut,
                paused,
            ),
            (Facts { paused_until: paused, over_project_limit: true, ..facts() }, SkipReason::Paused, paused),
            (Facts { recent: alike, over_project_limit: true, ..facts() }, SkipReason::Repeats, repeats),
            (Facts { recent: fast, over_project_limit: true, ..facts() }, SkipReason::ContactTooFast, None),
            (Facts { over_project_limit: true, ..facts() }, SkipReason::ProjectTooFast, None),
        ] {
            let expected = Store { paused_until, ..stored(NEW, MessageKind::Text, Effect::Skip(reason)) };
            assert_eq!(decide(&Inbound::default(), Some(&facts)), Decision::Store(expected), "{facts:?}");
        }
    }

    #[test]
    fn a_message_joins_the_session_and_its_turn_is_claimed_where_that_is_possible() {
        let other = Uuid::from_u128(9);
        let enqueued = Answer { turn: Turn::Enqueue, inactivity: Inactivity::Keep };
        let earlier = Answer { inactivity: Inactivity::BringForward, ..enqueued };
        for (permit, session, warn_after_seconds, expected) in [
            (None, session(), 86_400, enqueued),
            (Some(AGENT), session(), 86_400, Answer { turn: Turn::Claim, ..enqueued }),
            (Some(other), session(), 86_400, enqueued),
            (Some(AGENT), Session { has_turn: true, ..session() }, 86_400, enqueued),
            (Some(AGENT), Session { runs_at_once: false, ..session() }, 86_400, enqueued),
            (
                None,
                Session { engaged: false, ..session() },
                86_400,
                Answer { inactivity: Inactivity::Schedule, ..enqueued },
            ),
            (None, session(), 3600, earlier),
            (None, Session { warn_after_seconds: 30, ..session() }, 30, earlier),
            (None, session(), 90_000, enqueued),
        ] {
            let inbound = Inbound { permit, ..Inbound::default() };
            let facts = Facts { session: Some(session), warn_after_seconds, ..facts() };
            let expected = stored(Target::Join(SESSION), MessageKind::Text, Effect::Answer(expected));
            assert_eq!(decide(&inbound, Some(&facts)), Decision::Store(expected), "{session:?}");
        }
        let new = Answer { turn: Turn::Enqueue, inactivity: Inactivity::Schedule };
        let inbound = Inbound { permit: Some(AGENT), ..Inbound::default() };
        let expected = Decision::Store(stored(NEW, MessageKind::Text, Effect::Answer(new)));
        assert_eq!(decide(&inbound, Some(&facts())), expected);
    }

    #[test]
    fn a_warning_and_a_closing_are_withdrawn_when_they_are_no_longer_true() {
        let warned = Some(Session { status: SessionStatus::Warned, ..session() });
        let out = Facts { opted_out: true, ..facts() };
        let none: &[MessageKind] = &[];
        for (session, previous_session_id, facts, expected) in [
            (warned, None, facts(), &[MessageKind::Warning][..]),
            (warned, None, out.clone(), none),
            (Some(session()), None, facts(), none),
            (None, None, facts(), none),
            (None, Some(MESSAGE), facts(), &[MessageKind::Warning, MessageKind::Closing]),
            (None, Some(MESSAGE), out, &[MessageKind::Warning, MessageKind::Closing]),
        ] {
            let facts = Facts { session, previous_session_id, ..facts };
            let decision = decide(&Inbound::default(), Some(&facts));
            assert!(matches!(decision, Decision::Store(Store { withdraws, .. }) if withdraws == expected), "{facts:?}");
        }
    }
}
