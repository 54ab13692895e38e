//! What becomes of a text that the project sends: whether it may go, when, and what it does to the contact's session.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::delivery::RefusalReason;
use super::message::{ScheduledOutcome, SendOutcome};
use super::message_plan::{self, MessagePlan};
use super::number::SendPolicy;
use super::outbound_limit::{LimitReached, OutboundLimit};
use super::quiet_hours;
use super::session::{OnActiveSession, SessionOrigin, SessionStatus};
use super::words::words;

/// An operator's scheduled message waits at most this long for a limit to admit it. Later it would mean something else.
const LONGEST_WAIT_FOR_A_LIMIT: TimeDelta = TimeDelta::seconds(3601);

/// A text, as far as the decision needs it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// What it does to a session that is not closed.
    pub on_active_session: OnActiveSession,
    /// The earliest time to send it.
    pub send_at: Option<DateTime<Utc>>,
}

/// What is known under the lock of the number and the contact.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    /// The time of the database.
    pub now: DateTime<Utc>,
    /// The agent of the number; `None` if the number is detached.
    pub agent_id: Option<Uuid>,
    /// Whether the contact is the number itself. The text would come back as a message to it.
    pub to_is_from: bool,
    /// Whether the contact has opted out.
    pub opted_out: bool,
    /// Whether the project sends to the contact's country.
    pub country_is_allowed: bool,
    /// The quiet hours that delay this text.
    pub quiet_hours: Option<quiet_hours::Facts>,
    /// The session that is not closed.
    pub session: Option<Session>,
    /// What may be sent from the number.
    pub send_policy: SendPolicy,
    /// Whether the project limits its outbound messages.
    pub has_limits: bool,
}

impl Facts {
    /// What decides about the text as a message of a channel.
    pub const fn of_message(&self, has_delivery: bool) -> message_plan::Facts {
        message_plan::Facts { has_delivery, send_policy: self.send_policy, has_limits: self.has_limits }
    }
}

/// A session that is not closed.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Session {
    pub id: Uuid,
    pub status: SessionStatus,
    /// Whether the contact sent a message in it that was to be answered.
    pub engaged: bool,
    pub origin: SessionOrigin,
    /// Whether the agent's start function has run.
    pub is_started: bool,
}

impl Session {
    /// Whether it has only keywords, or messages that get no answer: no conversation has begun in it.
    fn is_idle(self) -> bool {
        let is_of_the_contact = match self.origin {
            SessionOrigin::Inbound => true,
            SessionOrigin::Outbound => false,
        };
        is_of_the_contact && !self.engaged && !self.is_started
    }
}

words! {
    /// Why a text is not sent.
    pub enum Refusal {
        /// The number is detached.
        NumberDetached = "number_detached",
        /// The contact has opted out.
        ContactOptedOut = "contact_opted_out",
        /// The contact is the number that sends.
        ToIsFrom = "to_is_from",
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
        /// The contact has a session that is not closed, and the text was to be refused then.
        SessionActive = "session_active",
        /// The contact got as many messages as the project allows.
        ContactLimitReached = "contact_limit_reached",
        /// The project sent as many messages as it may.
        ProjectLimitReached = "project_limit_reached",
    }
}

/// What becomes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is not sent. The session is the one that stands in its way.
    Refuse { reason: Refusal, session_id: Option<Uuid> },
    /// It waits.
    Wait { until: DateTime<Utc> },
    /// It is sent, if no limit on outbound messages refuses it.
    Send(Effect),
}

/// What a text that is sent does to the contact's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// A session opens with it, and its agent starts. The superseded session ends.
    Open { agent_id: Uuid, superseded: Option<Uuid> },
    /// It starts the conversation in a session that has had none.
    Start { session_id: Uuid },
    /// It joins a session, and opens it again if the contact was warned.
    Join {
        session_id: Uuid,
        /// Whether a warning that was not sent yet is withdrawn.
        withdraws_warning: bool,
        /// Whether the session's inactivity job may have to come earlier.
        brings_inactivity_forward: bool,
    },
}

/// Decides about a text.
pub fn decide(request: &Request, facts: &Facts) -> Decision {
    let refuse = |reason| Decision::Refuse { reason, session_id: None };
    if facts.to_is_from {
        return refuse(Refusal::ToIsFrom);
    }
    if let Some(until) = facts.quiet_hours.as_ref().and_then(quiet_hours::Facts::quiet_until) {
        return Decision::Wait { until };
    }
    let unless_refused = match (request.send_at.filter(|at| *at > facts.now), facts.agent_id) {
        (Some(until), _) => Decision::Wait { until },
        (None, Some(agent_id)) => effect(request.on_active_session, agent_id, facts.session),
        (None, None) => return refuse(Refusal::NumberDetached),
    };
    if facts.opted_out {
        return refuse(Refusal::ContactOptedOut);
    }
    if !facts.country_is_allowed {
        return refuse(Refusal::CountryNotAllowed);
    }
    unless_refused
}

fn effect(on_active_session: OnActiveSession, agent_id: Uuid, session: Option<Session>) -> Decision {
    let Some(session) = session else { return Decision::Send(Effect::Open { agent_id, superseded: None }) };
    if session.is_idle() {
        return Decision::Send(Effect::Start { session_id: session.id });
    }
    match on_active_session {
        OnActiveSession::Reject => Decision::Refuse { reason: Refusal::SessionActive, session_id: Some(session.id) },
        OnActiveSession::Supersede => Decision::Send(Effect::Open { agent_id, superseded: Some(session.id) }),
        OnActiveSession::Join => Decision::Send(Effect::Join {
            session_id: session.id,
            withdraws_warning: session.status == SessionStatus::Warned,
            brings_inactivity_forward: session.engaged,
        }),
    }
}

/// What becomes of a text that is to be sent, once it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It becomes this message.
    Send(MessagePlan),
    /// A limit refuses it until a time.
    Refuse { reason: Refusal, until: DateTime<Utc> },
}

/// Decides about a text that is to be sent and was counted if it must be. `limit`: the limit that stops it. Such a text is
/// refused, where a message of a session is suppressed: whoever sends it is told, and it leaves the session as it is.
pub fn admit(facts: &message_plan::Facts, limit: Option<LimitReached>) -> Admission {
    match message_plan::plan(facts, limit) {
        MessagePlan::Suppress(LimitReached { limit, until, .. }) => Admission::Refuse { reason: limit.into(), until },
        plan @ (MessagePlan::Send | MessagePlan::Hold | MessagePlan::Fail | MessagePlan::Show) => Admission::Send(plan),
    }
}

/// Until when a scheduled message waits that a limit refuses until `until`; `None` if it is refused.
pub fn wait_for_limit(is_of_a_turn: bool, now: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // An agent in a loop would fill the table of scheduled messages without end.
    (!is_of_a_turn && until < now + LONGEST_WAIT_FOR_A_LIMIT).then_some(until)
}

impl From<OutboundLimit> for Refusal {
    fn from(limit: OutboundLimit) -> Self {
        if limit.is_of_project() { Self::ProjectLimitReached } else { Self::ContactLimitReached }
    }
}

impl From<Refusal> for SendOutcome {
    fn from(reason: Refusal) -> Self {
        match reason {
            Refusal::NumberDetached => Self::NumberDetached,
            Refusal::ContactOptedOut => Self::ContactOptedOut,
            Refusal::ToIsFrom => Self::ToIsFrom,
            Refusal::CountryNotAllowed => Self::CountryNotAllowed,
            Refusal::SessionActive => Self::SessionActive,
            Refusal::ContactLimitReached => Self::ContactLimitReached,
            Refusal::ProjectLimitReached => Self::ProjectLimitReached,
        }
    }
}

impl From<Refusal> for ScheduledOutcome {
    fn from(reason: Refusal) -> Self {
        match reason {
            Refusal::NumberDetached => Self::NumberDetached,
            Refusal::ContactOptedOut => Self::ContactOptedOut,
            Refusal::ToIsFrom => Self::ToIsFrom,
            Refusal::CountryNotAllowed => Self::CountryNotAllowed,
            Refusal::SessionActive => Self::SessionActive,
            Refusal::ContactLimitReached => Self::ContactLimitReached,
            Refusal::ProjectLimitReached => Self::ProjectLimitReached,
        }
    }
}

impl From<Refusal> for RefusalReason {
    fn from(reason: Refusal) -> Self {
        match reason {
            Refusal::NumberDetached => Self::NumberDetached,
            Refusal::ContactOptedOut => Self::ContactOptedOut,
            Refusal::ToIsFrom => Self::ToIsFrom,
            Refusal::CountryNotAllowed => Self::CountryNotAllowed,
            Refusal::SessionActive => Self::SessionActive,
            Refusal::ContactLimitReached => Self::ContactLimitReached,
            Refusal::ProjectLimitReached => Self::ProjectLimitReached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Uuid = Uuid::from_u128(1);
    const SESSION: Uuid = Uuid::from_u128(2);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap_or_default()
    }

    fn facts() -> Facts {
        Facts {
            now: at(0),
            agent_id: Some(AGENT),
            to_is_from: false,
            opted_out: false,
            country_is_allowed: true,
            quiet_hours: None,
            session: None,
            send_policy: SendPolicy::Open,
            has_limits: true,
        }
    }

    fn session() -> Session {
        Session {
            id: SESSION,
            status: SessionStatus::Open,
            engaged: true,
            origin: SessionOrigin::Inbound,
            is_started: true,
        }
    }

    fn refused(reason: Refusal) -> Decision {
        Decision::Refuse { reason, session_id: None }
    }

    #[test]
    fn a_text_is_refused_or_waits_before_it_does_anything_to_a_session() {
        let quiet = quiet_hours::Facts {
            hours: quiet_hours::QuietHours { from: chrono::NaiveTime::MIN, until: chrono::NaiveTime::MIN },
            clocks: vec![quiet_hours::LocalClock {
                time: chrono::NaiveTime::MIN,
                ends_today: at(70),
                ends_tomorrow: at(80),
            }],
        };
        let detached = Facts { agent_id: None, ..facts() };
        let out = Facts { opted_out: true, country_is_allowed: false, ..facts() };
        let abroad = Facts { country_is_allowed: false, session: Some(session()), ..facts() };
        let opens = Decision::Send(Effect::Open { agent_id: AGENT, superseded: None });
        for (send_at, facts, expected) in [
            (None, facts(), opens),
            (Some(at(0)), facts(), opens),
            (Some(at(1)), facts(), Decision::Wait { until: at(1) }),
            (None, Facts { quiet_hours: Some(quiet), ..out.clone() }, Decision::Wait { until: at(80) }),
            (None, Facts { opted_out: true, ..detached.clone() }, refused(Refusal::NumberDetached)),
            // Until its time comes, the number may be attached again.
            (Some(at(1)), detached, Decision::Wait { until: at(1) }),
            (None, out.clone(), refused(Refusal::ContactOptedOut)),
            (Some(at(1)), out, refused(Refusal::ContactOptedOut)),
            (None, Facts { to_is_from: true, ..facts() }, refused(Refusal::ToIsFrom)),
            (Some(at(1)), Facts { to_is_from: true, ..facts() }, refused(Refusal::ToIsFrom)),
            (None, abroad.clone(), refused(Refusal::CountryNotAllowed)),
            (Some(at(1)), abroad, refused(Refusal::CountryNotAllowed)),
        ] {
            let request = Request { on_active_session: OnActiveSession::Supersede, send_at };
            assert_eq!(decide(&request, &facts), expected, "{request:?} {facts:?}");
        }
    }

    #[test]
    fn a_text_does_to_a_session_what_its_request_says() {
        let idle = Session { engaged: false, is_started: false, ..session() };
        let ours = Session { origin: SessionOrigin::Outbound, ..idle };
        let started = Session { is_started: true, ..idle };
        let warned = Session { status: SessionStatus::Warned, ..session() };
        let join = |withdraws_warning, brings_inactivity_forward| {
            Decision::Send(Effect::Join { session_id: SESSION, withdraws_warning, brings_inactivity_forward })
        };
        let supersede = Decision::Send(Effect::Open { agent_id: AGENT, superseded: Some(SESSION) });
        let reject = Decision::Refuse { reason: Refusal::SessionActive, session_id: Some(SESSION) };
        let start = Decision::Send(Effect::Start { session_id: SESSION });
        for (session, on_supersede, on_join, on_reject) in [
            (session(), supersede, join(false, true), reject),
            (warned, supersede, join(true, true), reject),
            (ours, supersede, join(false, false), reject),
            (started, supersede, join(false, false), reject),
            (idle, start, start, start),
        ] {
            for (on_active_session, expected) in [
                (OnActiveSession::Supersede, on_supersede),
                (OnActiveSession::Join, on_join),
                (OnActiveSession::Reject, on_reject),
            ] {
                let request = Request { on_active_session, send_at: None };
                let facts = Facts { session: Some(session), ..facts() };
                assert_eq!(decide(&request, &facts), expected, "{on_active_session} {session:?}");
            }
        }
    }

    #[test]
    fn a_text_over_a_limit_is_refused_and_any_other_is_planned_as_a_message() {
        let limit = |limit| Some(LimitReached { limit, most: 1, until: at(60) });
        let refuse = |reason| Admission::Refuse { reason, until: at(60) };
        let (of_contact, of_project) = (limit(OutboundLimit::ContactPerDay), limit(OutboundLimit::ProjectPerMinute));
        for (send_policy, limit, expected) in [
            (SendPolicy::Open, None, Admission::Send(MessagePlan::Send)),
            (SendPolicy::Held, None, Admission::Send(MessagePlan::Hold)),
            (SendPolicy::Blocked, None, Admission::Send(MessagePlan::Fail)),
            (SendPolicy::Open, of_contact, refuse(Refusal::ContactLimitReached)),
            (SendPolicy::Held, of_project, refuse(Refusal::ProjectLimitReached)),
        ] {
            let facts = Facts { send_policy, ..facts() }.of_message(true);
            assert_eq!(admit(&facts, limit), expected, "{send_policy} {limit:?}");
        }
    }

    #[test]
    fn an_operators_scheduled_message_waits_for_a_limit_that_ends_within_an_hour() {
        for (is_of_a_turn, until, expected) in [
            (false, at(60), Some(at(60))),
            (false, at(3600), Some(at(3600))),
            (false, at(3601), None),
            (false, at(86_400), None),
            (true, at(60), None),
        ] {
            assert_eq!(wait_for_limit(is_of_a_turn, at(0), until), expected, "{is_of_a_turn} {until}");
        }
    }
}
