//! What becomes of a text that the project sends: whether it may go, when, and what it does to the
//! contact's session.
//!
//! docs/decisions/025-messages-of-the-project.md has the reasons.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::delivery::RefusalReason;
use super::message::{ScheduledOutcome, SendOutcome, WaitReason};
use super::message_plan::{self, MessagePlan};
use super::number::SendPolicy;
use super::outbound_limit::{LimitReached, OutboundLimit};
use super::quiet_hours::QuietHours;
use super::session::{OnActiveSession, SessionOrigin, SessionStatus};
use super::words::words;

/// An operator's scheduled message waits at most this long for a limit to admit it. Later it would
/// mean something else.
const LONGEST_WAIT_FOR_A_LIMIT: TimeDelta = TimeDelta::seconds(3601);

/// A text, as far as the decision needs it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// What it does to a session that is not closed.
    pub on_active_session: OnActiveSession,
    /// The earliest time to send it.
    pub send_at: Option<DateTime<Utc>>,
    /// When the quiet hours end that delay it; `None` if none do.
    pub quiet_until: Option<DateTime<Utc>>,
    pub on_landline: OnLandline,
}

/// What becomes of a text to a contact that the carrier called a landline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLandline {
    /// It is refused.
    Refuse,
    /// It is sent, because the sender insists.
    Send,
    /// It is refused if the carrier said so later than this. Who planned it at this time knew what
    /// was said before.
    RefuseSince(DateTime<Utc>),
}

impl OnLandline {
    /// Whether a text is refused to a contact that was called a landline at a time.
    fn refuses(self, landline_since: DateTime<Utc>) -> bool {
        match self {
            Self::Refuse => true,
            Self::Send => false,
            Self::RefuseSince(planned_at) => landline_since > planned_at,
        }
    }
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
    /// The quiet hours of the project, if they delay this text.
    pub quiet_hours: Option<QuietHours>,
    /// When the carrier called the contact a landline. `None`: never, or the contact has texted
    /// since.
    pub landline_since: Option<DateTime<Utc>>,
    /// The session that is not closed.
    pub session: Option<Session>,
    /// What may be sent from the number.
    pub send_policy: SendPolicy,
    /// Whether the project limits its outbound messages.
    pub has_limits: bool,
    /// Whether the agent of the number wants smart encoding.
    pub smart_encoding: bool,
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
    /// Whether it has only keywords, or messages that get no answer: no conversation has begun in
    /// it.
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
        /// The carrier said that the contact's number is a landline.
        ContactIsLandline = "contact_is_landline",
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
    Wait { until: DateTime<Utc>, reason: WaitReason },
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
    let send_at = request.send_at.filter(|at| *at > facts.now);
    if let Some(until) = request.quiet_until.filter(|until| send_at.is_none_or(|at| at < *until)) {
        return Decision::Wait { until, reason: WaitReason::QuietHours };
    }
    let unless_refused = match (send_at, facts.agent_id) {
        (Some(until), _) => Decision::Wait { until, reason: WaitReason::SendTime },
        (None, Some(agent_id)) => effect(request.on_active_session, agent_id, facts.session),
        (None, None) => return refuse(Refusal::NumberDetached),
    };
    if facts.opted_out {
        return refuse(Refusal::ContactOptedOut);
    }
    if !facts.country_is_allowed {
        return refuse(Refusal::CountryNotAllowed);
    }
    if facts.landline_since.is_some_and(|since| request.on_landline.refuses(since)) {
        return refuse(Refusal::ContactIsLandline);
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

/// Decides about a text that is to be sent and was counted if it must be. `limit`: the limit that
/// stops it. Such a text is refused, where a message of a session is suppressed: whoever sends it
/// is told, and it leaves the session as it is.
pub fn admit(facts: &message_plan::Facts, limit: Option<LimitReached>) -> Admission {
    match message_plan::plan(facts, limit) {
        MessagePlan::Suppress(LimitReached { limit, until, .. }) => Admission::Refuse { reason: limit.into(), until },
        plan @ (MessagePlan::Send | MessagePlan::Hold | MessagePlan::Fail | MessagePlan::Show) => Admission::Send(plan),
    }
}

/// Until when a scheduled message waits that a limit refuses until `until`; `None` if it is
/// refused.
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
            Refusal::ContactIsLandline => Self::ContactIsLandline,
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
            Refusal::ContactIsLandline => Self::ContactIsLandline,
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
            Refusal::ContactIsLandline => Self::ContactIsLandline,
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
            landline_since: None,
            quiet_hours: None,
            session: None,
            send_policy: SendPolicy::Open,
            has_limits: true,
            smart_encoding: false,
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
        let detached = Facts { agent_id: None, ..facts() };
        let out = Facts { opted_out: true, country_is_allowed: false, ..facts() };
        let abroad = Facts { country_is_allowed: false, session: Some(session()), ..facts() };
        let opens = Decision::Send(Effect::Open { agent_id: AGENT, superseded: None });
        let wait = |until, reason| Decision::Wait { until: at(until), reason };
        for (send_at, quiet_until, facts, expected) in [
            (None, None, facts(), opens),
            (Some(0), None, facts(), opens),
            (Some(1), None, facts(), wait(1, WaitReason::SendTime)),
            (None, Some(80), out.clone(), wait(80, WaitReason::QuietHours)),
            // It is not sent before its time, though it is quiet now and no longer then.
            (Some(90), Some(80), facts(), wait(90, WaitReason::SendTime)),
            (Some(70), Some(80), facts(), wait(80, WaitReason::QuietHours)),
            (None, None, Facts { opted_out: true, ..detached.clone() }, refused(Refusal::NumberDetached)),
            // Until its time comes, the number may be attached again.
            (Some(1), None, detached, wait(1, WaitReason::SendTime)),
            (None, None, out.clone(), refused(Refusal::ContactOptedOut)),
            (Some(1), None, out, refused(Refusal::ContactOptedOut)),
            (None, None, Facts { to_is_from: true, ..facts() }, refused(Refusal::ToIsFrom)),
            (Some(1), Some(80), Facts { to_is_from: true, ..facts() }, refused(Refusal::ToIsFrom)),
            (None, None, abroad.clone(), refused(Refusal::CountryNotAllowed)),
            (Some(1), None, abroad, refused(Refusal::CountryNotAllowed)),
        ] {
            let (send_at, quiet_until) = (send_at.map(at), quiet_until.map(at));
            let on_landline = OnLandline::Refuse;
            let request = Request { on_active_session: OnActiveSession::Supersede, send_at, quiet_until, on_landline };
            assert_eq!(decide(&request, &facts), expected, "{request:?} {facts:?}");
        }
    }

    #[test]
    fn a_text_to_a_landline_is_refused_unless_its_sender_knows() {
        let landline = refused(Refusal::ContactIsLandline);
        let opens = Decision::Send(Effect::Open { agent_id: AGENT, superseded: None });
        for (landline_since, on_landline, send_at, expected) in [
            (None, OnLandline::Refuse, None, opens),
            (Some(at(-5)), OnLandline::Refuse, None, landline),
            (Some(at(-5)), OnLandline::Refuse, Some(at(9)), landline),
            (Some(at(-5)), OnLandline::Send, None, opens),
            (
                Some(at(-5)),
                OnLandline::Send,
                Some(at(9)),
                Decision::Wait { until: at(9), reason: WaitReason::SendTime },
            ),
            (Some(at(-5)), OnLandline::RefuseSince(at(-9)), None, landline),
            (Some(at(-5)), OnLandline::RefuseSince(at(-5)), None, opens),
            (Some(at(-5)), OnLandline::RefuseSince(at(-1)), None, opens),
        ] {
            let request =
                Request { on_active_session: OnActiveSession::Supersede, send_at, quiet_until: None, on_landline };
            assert_eq!(
                decide(&request, &Facts { landline_since, ..facts() }),
                expected,
                "{landline_since:?} {request:?}"
            );
        }
        let facts = Facts { landline_since: Some(at(-5)), opted_out: true, ..facts() };
        let insists = OnLandline::Send;
        let (on_active_session, on_landline) = (OnActiveSession::Supersede, insists);
        let request = Request { on_active_session, send_at: None, quiet_until: None, on_landline };
        assert_eq!(decide(&request, &facts), refused(Refusal::ContactOptedOut), "nobody insists on an opt-out");
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
                let on_landline = OnLandline::Refuse;
                let request = Request { on_active_session, send_at: None, quiet_until: None, on_landline };
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
