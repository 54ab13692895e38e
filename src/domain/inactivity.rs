//! What becomes of a session in which nobody says anything: it is warned, it ends, or it is looked
//! at again later.
//!
//! docs/decisions/032-inactivity-jobs.md has the reasons.

use chrono::{DateTime, TimeDelta, Utc};

use super::delivery::DeliveryStatus;
use super::message::MessageKind;
use super::message_plan::MessagePlan;
use super::session::SessionStatus;

/// A session whose inactivity job is due, as it is under the lock of its contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The time of the database.
    pub now: DateTime<Utc>,
    /// When the last message of either side came.
    pub last_message_at: DateTime<Utc>,
    /// How long the session may be inactive before the contact is warned.
    pub warn_after: TimeDelta,
    /// How long the contact has after the warning.
    pub grace: TimeDelta,
    /// Whether a turn or a delivery of ours is not done. Then the contact waits for us.
    pub owes_answer: bool,
    /// When the contact's quiet hours end, if they last now.
    pub quiet_until: Option<DateTime<Utc>>,
    /// The delivery of the warning, if the contact was warned.
    pub warning: Option<Warning>,
    /// Whether the agent has a closing message.
    pub has_closing: bool,
    /// Whether the channel warns its contacts.
    pub has_warnings: bool,
}

/// The delivery of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warning {
    /// How far the delivery has come.
    pub status: DeliveryStatus,
    /// When the carrier accepted it.
    pub accepted_at: Option<DateTime<Utc>>,
}

/// What is done about an inactive session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing. The job comes due again at this time.
    LookAgain { at: DateTime<Utc> },
    /// The contact is warned. `due_at`: when that should have happened.
    Warn { due_at: DateTime<Utc> },
    /// The session ends. `due_at`: when that should have happened.
    End { due_at: DateTime<Utc>, says_closing: bool },
}

/// Below this time a job may be scheduled for a wait for our answer, which is longer.
const SHORTEST_WAIT_FOR_AN_ANSWER: i32 = 60;

/// Whether the inactivity job of a session may come too late after a new message, so it must be
/// looked at. `before` and `current` are how long the session may be inactive, as it was computed
/// with the last message and as it is now, in seconds. Any other job comes early enough: one that
/// comes too early moves itself.
pub const fn comes_too_late(before: i32, current: i32) -> bool {
    current < before || current < SHORTEST_WAIT_FOR_AN_ANSWER
}

/// Decides about a session whose inactivity job is due.
pub fn decide(facts: &Facts) -> Decision {
    match facts.warning {
        None => decide_open(facts),
        Some(warning) => decide_warned(facts, warning),
    }
}

fn decide_open(facts: &Facts) -> Decision {
    let due_at = facts.last_message_at + facts.warn_after;
    if due_at > facts.now {
        return Decision::LookAgain { at: due_at };
    }
    if facts.owes_answer {
        // The longer the contact has waited for us, the later the next look: a carrier that is away
        // for hours must not cause a look at each of its sessions every second.
        let late = (facts.now - due_at).clamp(TimeDelta::seconds(1), TimeDelta::minutes(1));
        return Decision::LookAgain { at: facts.now + late };
    }
    if !facts.has_warnings {
        return Decision::End { due_at, says_closing: facts.has_closing };
    }
    match facts.quiet_until {
        Some(at) => Decision::LookAgain { at },
        None => Decision::Warn { due_at },
    }
}

/// Whether a contact has got a warning, or may still get it, by the status of its delivery.
const fn may_arrive(status: DeliveryStatus) -> bool {
    match status {
        DeliveryStatus::Failed | DeliveryStatus::Suppressed => false,
        DeliveryStatus::Planned
        | DeliveryStatus::Sending
        | DeliveryStatus::Accepted
        | DeliveryStatus::Sent
        | DeliveryStatus::Delivered
        | DeliveryStatus::Unknown => true,
    }
}

fn decide_warned(facts: &Facts, warning: Warning) -> Decision {
    let was_warned = may_arrive(warning.status);
    let due_at = if was_warned {
        // The grace period begins when the carrier accepts the warning. Until then it ends no
        // earlier than this.
        let due_at = warning.accepted_at.unwrap_or(facts.now) + facts.grace;
        if due_at > facts.now {
            return Decision::LookAgain { at: due_at };
        }
        due_at
    } else {
        // A contact who was not warned gets no grace period.
        facts.now
    };
    // A contact who was not warned is not told of the end. Quiet hours do not delay the end, only
    // its message.
    Decision::End { due_at, says_closing: was_warned && facts.has_closing && facts.quiet_until.is_none() }
}

/// When the session is looked at again after its warning was planned: at once if the contact gets
/// none.
pub fn next_look(facts: &Facts, plan: &MessagePlan) -> DateTime<Utc> {
    if plan.status().is_none_or(may_arrive) { facts.now + facts.grace } else { facts.now }
}

/// The messages of a session that are no longer true, by how it stands: a warning unless the
/// session is warned, and a closing message once another session followed. They are withdrawn where
/// they still wait.
pub const fn outdated_messages(status: SessionStatus, is_followed: bool) -> &'static [MessageKind] {
    match (status, is_followed) {
        (SessionStatus::Warned, false) => &[],
        (SessionStatus::Warned, true) => &[MessageKind::Closing],
        (SessionStatus::Open | SessionStatus::Closed, false) => &[MessageKind::Warning],
        (SessionStatus::Open | SessionStatus::Closed, true) => &[MessageKind::Warning, MessageKind::Closing],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outbound_limit::{LimitReached, OutboundLimit};

    /// A time, in seconds after the last message.
    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap_or_default()
    }

    /// A session whose contact may be silent for 100 seconds, and for 10 more after the warning.
    fn session(now: i64) -> Facts {
        Facts {
            now: at(now),
            last_message_at: at(0),
            warn_after: TimeDelta::seconds(100),
            grace: TimeDelta::seconds(10),
            owes_answer: false,
            quiet_until: None,
            warning: None,
            has_closing: true,
            has_warnings: true,
        }
    }

    fn warned(now: i64, status: DeliveryStatus, accepted: Option<i64>) -> Facts {
        Facts { warning: Some(Warning { status, accepted_at: accepted.map(at) }), ..session(now) }
    }

    #[test]
    fn a_job_comes_too_late_after_the_time_was_made_shorter_and_where_it_is_short() {
        for (before, current, expected) in [
            (86_400, 86_400, false),
            (86_400, 90_000, false),
            (86_400, 3_600, true),
            (60, 60, false),
            (59, 59, true),
            (30, 40, true),
            (30, 60, false),
        ] {
            assert_eq!(comes_too_late(before, current), expected, "{before} {current}");
        }
    }

    #[test]
    fn an_open_session_is_warned_when_its_time_is_over() {
        for (facts, expected) in [
            (session(99), Decision::LookAgain { at: at(100) }),
            (session(100), Decision::Warn { due_at: at(100) }),
            (session(500), Decision::Warn { due_at: at(100) }),
            (Facts { owes_answer: true, ..session(99) }, Decision::LookAgain { at: at(100) }),
            (Facts { owes_answer: true, ..session(100) }, Decision::LookAgain { at: at(101) }),
            (Facts { owes_answer: true, ..session(120) }, Decision::LookAgain { at: at(140) }),
            (Facts { owes_answer: true, ..session(9000) }, Decision::LookAgain { at: at(9060) }),
            (Facts { quiet_until: Some(at(700)), ..session(100) }, Decision::LookAgain { at: at(700) }),
            (Facts { quiet_until: Some(at(700)), ..session(99) }, Decision::LookAgain { at: at(100) }),
            (Facts { has_warnings: false, ..session(99) }, Decision::LookAgain { at: at(100) }),
            (Facts { has_warnings: false, owes_answer: true, ..session(100) }, Decision::LookAgain { at: at(101) }),
            (Facts { has_warnings: false, ..session(100) }, Decision::End { due_at: at(100), says_closing: true }),
        ] {
            assert_eq!(decide(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_warned_session_ends_after_the_grace_that_begins_when_the_carrier_accepts_the_warning() {
        use DeliveryStatus::{Accepted, Delivered, Failed, Planned, Sending, Sent, Suppressed, Unknown};
        for status in [Planned, Sending, Unknown] {
            assert_eq!(decide(&warned(900, status, None)), Decision::LookAgain { at: at(910) }, "{status}");
        }
        for status in [Accepted, Sent, Delivered] {
            assert_eq!(decide(&warned(209, status, Some(200))), Decision::LookAgain { at: at(210) }, "{status}");
            let end = Decision::End { due_at: at(210), says_closing: true };
            assert_eq!(decide(&warned(210, status, Some(200))), end, "{status}");
        }
        for status in [Failed, Suppressed] {
            let end = Decision::End { due_at: at(101), says_closing: false };
            assert_eq!(decide(&warned(101, status, None)), end, "{status}");
        }
    }

    #[test]
    fn a_session_is_looked_at_after_the_grace_or_at_once_if_its_warning_is_not_sent() {
        let full = LimitReached { limit: OutboundLimit::ContactPerDay, most: 1, until: at(900) };
        for (plan, expected) in [
            (MessagePlan::Send, at(110)),
            (MessagePlan::Hold, at(110)),
            (MessagePlan::Show, at(110)),
            (MessagePlan::Fail, at(100)),
            (MessagePlan::Suppress(full), at(100)),
        ] {
            assert_eq!(next_look(&session(100), &plan), expected, "{plan:?}");
        }
    }

    #[test]
    fn a_warning_is_true_while_its_session_is_warned_and_a_closing_until_another_session_follows() {
        use MessageKind::{Closing, Warning};
        use SessionStatus::{Closed, Open, Warned};
        for (status, is_followed, expected) in [
            (Warned, false, &[][..]),
            (Open, false, &[Warning]),
            (Closed, false, &[Warning]),
            (Closed, true, &[Warning, Closing]),
        ] {
            assert_eq!(outdated_messages(status, is_followed), expected, "{status} {is_followed}");
        }
    }

    #[test]
    fn the_closing_message_is_not_sent_in_quiet_hours_and_the_end_is_not_delayed() {
        let ends = warned(210, DeliveryStatus::Accepted, Some(200));
        for (facts, says_closing) in [
            (Facts { has_closing: false, ..ends.clone() }, false),
            (Facts { quiet_until: Some(at(9000)), ..ends.clone() }, false),
            (ends, true),
        ] {
            assert_eq!(decide(&facts), Decision::End { due_at: at(210), says_closing }, "{facts:?}");
        }
    }
}
