//! What an inbound message does: to which session it belongs, whether it is answered, and what else follows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::consent::Keyword;
use super::inactivity;
use super::message::{MessageKind, SkipReason};
use super::rate_limit::{self, ContactLimits, RecentMessages};
use super::session::SessionStatus;

/// The reason in quarantine of a message to an endpoint that is not attached.
pub const NOT_ATTACHED: &str = "number_not_attached";

/// An inbound message, as far as the decision needs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inbound {
    /// Why it fits no session, if its channel knows that already.
    pub misfit: Option<&'static str>,
    /// The consent keyword that it is.
    pub keyword: Option<Keyword>,
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
    /// The agent of the endpoint.
    pub agent_id: Uuid,
    /// Whether the contact has opted out.
    pub opted_out: bool,
    /// When the newest consent of the contact was recorded.
    pub consent_at: Option<DateTime<Utc>>,
    /// The session that is not closed.
    pub session: Option<Session>,
    /// The contact's newest session, closed or not.
    pub newest: Option<Newest>,
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
    /// The same by the agent's current version.
    pub current_warn_after_seconds: i32,
}

/// The newest session of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    pub id: Uuid,
    /// Until when loop detection stops the contact's messages.
    pub paused_until: Option<DateTime<Utc>>,
}

/// What becomes of an inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It was stored before.
    Duplicate { message_id: Uuid, session_id: Uuid },
    /// It fits no session and is kept as it came.
    Quarantine { reason: &'static str },
    /// It is stored.
    Store(Store),
}

/// How an inbound message is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The session that it joins; `None` opens one.
    pub session_id: Option<Uuid>,
    pub kind: MessageKind,
    /// What follows.
    pub effect: Effect,
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
    /// Whether a warning that was not sent yet is withdrawn.
    pub withdraws_warning: bool,
}

/// The turn that answers a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It waits for a claim, or one that waits covers this message too.
    Enqueue,
    /// It is claimed for this process at once.
    Claim,
}

/// What happens to the inactivity job of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inactivity {
    /// The session gets one.
    Schedule,
    /// It comes earlier than it was scheduled.
    BringForward,
    /// It comes early enough: a job that comes too early moves itself.
    Keep,
}

/// What a consent keyword does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeywordEffect {
    OptOut,
    OptIn,
    SendHelp,
    /// Nothing: it came late, or HELP has no answer.
    Nothing,
}

/// Decides about one inbound message. `facts` is `None` when no endpoint of ours is attached at its address.
pub fn decide(inbound: &Inbound, facts: Option<&Facts>) -> Decision {
    let facts = match (inbound.misfit, facts) {
        (Some(reason), _) => return Decision::Quarantine { reason },
        (None, None) => return Decision::Quarantine { reason: NOT_ATTACHED },
        (None, Some(facts)) => facts,
    };
    if let Some((message_id, session_id)) = facts.stored {
        return Decision::Duplicate { message_id, session_id };
    }
    let session_id = facts.session.map(|session| session.id);
    let store = |kind, effect| Decision::Store(Store { session_id, kind, effect });
    match keyword(inbound.keyword, facts.opted_out) {
        Some(keyword) => store(MessageKind::Keyword, Effect::Obey(obey(keyword, inbound.sent_at, facts))),
        None => match skip_reason(facts) {
            Some(reason) => store(MessageKind::Text, Effect::Skip(reason)),
            None => store(MessageKind::Text, Effect::Answer(answer(inbound.permit, facts.session))),
        },
    }
}

/// YES restores messages for a contact who opted out. From any other contact it is an ordinary answer.
fn keyword(keyword: Option<Keyword>, opted_out: bool) -> Option<Keyword> {
    match keyword {
        Some(Keyword::Yes) => opted_out.then_some(Keyword::Start),
        keyword => keyword,
    }
}

/// A keyword that backfill found says nothing about what the contact said after it.
fn obey(keyword: Keyword, sent_at: Option<DateTime<Utc>>, facts: &Facts) -> KeywordEffect {
    let is_outdated = sent_at.zip(facts.consent_at).is_some_and(|(sent_at, consent_at)| consent_at > sent_at);
    match keyword {
        Keyword::Stop if !is_outdated => KeywordEffect::OptOut,
        Keyword::Start | Keyword::Yes if !is_outdated => KeywordEffect::OptIn,
        Keyword::Help if facts.may_answer_help => KeywordEffect::SendHelp,
        Keyword::Stop | Keyword::Start | Keyword::Yes | Keyword::Help => KeywordEffect::Nothing,
    }
}

/// Why no turn answers a message that is no keyword.
fn skip_reason(facts: &Facts) -> Option<SkipReason> {
    if facts.opted_out {
        // An ordinary message does not restore messages to its contact.
        return Some(SkipReason::OptedOut);
    }
    let paused_until = facts.newest.and_then(|newest| newest.paused_until);
    rate_limit::skip_reason(facts.limits, facts.recent, paused_until, facts.now)
        .or_else(|| facts.over_project_limit.then_some(SkipReason::ProjectTooFast))
}

fn answer(permit: Option<Uuid>, session: Option<Session>) -> Answer {
    let Some(session) = session else {
        return Answer { turn: Turn::Enqueue, inactivity: Inactivity::Schedule, withdraws_warning: false };
    };
    let is_claimed = permit == Some(session.agent_id) && session.runs_at_once && !session.has_turn;
    let inactivity = if !session.engaged {
        Inactivity::Schedule
    } else if inactivity::comes_too_late(session.warn_after_seconds, session.current_warn_after_seconds) {
        Inactivity::BringForward
    } else {
        Inactivity::Keep
    };
    Answer {
        turn: if is_claimed { Turn::Claim } else { Turn::Enqueue },
        inactivity,
        withdraws_warning: session.status == SessionStatus::Warned,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const AGENT: Uuid = Uuid::from_u128(1);
    const SESSION: Uuid = Uuid::from_u128(2);
    const MESSAGE: Uuid = Uuid::from_u128(3);

    fn facts() -> Facts {
        Facts {
            now: DateTime::UNIX_EPOCH,
            stored: None,
            agent_id: AGENT,
            opted_out: false,
            consent_at: None,
            session: None,
            newest: None,
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
            current_warn_after_seconds: 86_400,
        }
    }

    fn stored(session_id: Option<Uuid>, kind: MessageKind, effect: Effect) -> Decision {
        Decision::Store(Store { session_id, kind, effect })
    }

    #[test]
    fn what_fits_no_session_is_quarantined_and_what_is_there_is_a_duplicate() {
        let known = Facts { stored: Some((MESSAGE, SESSION)), opted_out: true, ..facts() };
        let plain = Inbound::default();
        for (inbound, facts, expected) in [
            (
                Inbound { misfit: Some("from_missing"), ..plain },
                Some(&known),
                Decision::Quarantine { reason: "from_missing" },
            ),
            (plain, None, Decision::Quarantine { reason: NOT_ATTACHED }),
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
            let inbound = Inbound { keyword: Some(keyword), ..Inbound::default() };
            let expected = stored(None, MessageKind::Keyword, Effect::Obey(effect));
            assert_eq!(decide(&inbound, Some(facts)), expected, "{keyword:?} {facts:?}");
        }
        let yes = Inbound { keyword: Some(Keyword::Yes), ..Inbound::default() };
        assert!(matches!(decide(&yes, Some(&facts())), Decision::Store(Store { kind: MessageKind::Text, .. })));
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
            let inbound = Inbound { keyword: Some(keyword), sent_at: Some(said), ..Inbound::default() };
            let expected = stored(None, MessageKind::Keyword, Effect::Obey(effect));
            assert_eq!(decide(&inbound, Some(facts)), expected, "{keyword:?}");
        }
    }

    #[test]
    fn no_turn_answers_what_a_limit_stops() {
        let paused = Some(Newest { id: SESSION, paused_until: Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(1)) });
        let fast = RecentMessages { alike: 0, in_last_minute: 3, passed_in_last_minute: 3 };
        let alike = RecentMessages { alike: 3, in_last_minute: 0, passed_in_last_minute: 0 };
        for (facts, reason) in [
            (Facts { opted_out: true, over_project_limit: true, newest: paused, ..facts() }, SkipReason::OptedOut),
            (Facts { newest: paused, over_project_limit: true, ..facts() }, SkipReason::Paused),
            (Facts { recent: alike, over_project_limit: true, ..facts() }, SkipReason::Repeats),
            (Facts { recent: fast, over_project_limit: true, ..facts() }, SkipReason::ContactTooFast),
            (Facts { over_project_limit: true, ..facts() }, SkipReason::ProjectTooFast),
        ] {
            let expected = stored(None, MessageKind::Text, Effect::Skip(reason));
            assert_eq!(decide(&Inbound::default(), Some(&facts)), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_message_joins_the_session_and_its_turn_is_claimed_where_that_is_possible() {
        let other = Uuid::from_u128(9);
        let usual = Answer { turn: Turn::Enqueue, inactivity: Inactivity::Keep, withdraws_warning: false };
        for (permit, session, expected) in [
            (None, session(), usual),
            (Some(AGENT), session(), Answer { turn: Turn::Claim, ..usual }),
            (Some(other), session(), usual),
            (Some(AGENT), Session { has_turn: true, ..session() }, usual),
            (Some(AGENT), Session { runs_at_once: false, ..session() }, usual),
            (None, Session { engaged: false, ..session() }, Answer { inactivity: Inactivity::Schedule, ..usual }),
            (
                None,
                Session { current_warn_after_seconds: 3600, ..session() },
                Answer { inactivity: Inactivity::BringForward, ..usual },
            ),
            (
                None,
                Session { current_warn_after_seconds: 30, warn_after_seconds: 30, ..session() },
                Answer { inactivity: Inactivity::BringForward, ..usual },
            ),
            (None, Session { current_warn_after_seconds: 90_000, ..session() }, usual),
            (None, Session { status: SessionStatus::Warned, ..session() }, Answer { withdraws_warning: true, ..usual }),
        ] {
            let inbound = Inbound { permit, ..Inbound::default() };
            let facts = Facts { session: Some(session), ..facts() };
            let expected = stored(Some(SESSION), MessageKind::Text, Effect::Answer(expected));
            assert_eq!(decide(&inbound, Some(&facts)), expected, "{session:?}");
        }
        let new = Answer { turn: Turn::Enqueue, inactivity: Inactivity::Schedule, withdraws_warning: false };
        let inbound = Inbound { permit: Some(AGENT), ..Inbound::default() };
        assert_eq!(decide(&inbound, Some(&facts())), stored(None, MessageKind::Text, Effect::Answer(new)));
    }
}
