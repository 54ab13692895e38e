//! What becomes of a turn: of its messages, of its session, and of what came in while its agent
//! ran.

use super::inactivity;
use super::message_plan::{self, MessagePlan};
use super::number::SendPolicy;
use super::outbound_limit::LimitReached;
use super::words::words;

words! {
    /// What happened to a turn that was run.
    pub enum TurnOutcome {
        /// Its agent answered, or chose to say nothing.
        Answered = "answered",
        /// It is given up. The contact got the error message of the agent, if it has one.
        Failed = "failed",
        /// It is run again later.
        PutOff = "put_off",
        /// Another worker has the turn, or its session has ended.
        Stale = "stale",
        /// The outcome could not be written. The turn runs again when its lease ends.
        NotSettled = "not_settled",
    }
}

words! {
    /// How a turn without messages ended, as it is recorded.
    pub enum TurnEnd {
        /// The agent ran and said nothing.
        Silent = "silent",
        /// It was given up, and the agent has no error message.
        Failed = "failed",
        /// Its session ended first.
        Cancelled = "cancelled",
    }
}

/// What a turn came to, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How many messages it says.
    pub messages: usize,
    /// Whether its messages leave by deliveries.
    pub has_deliveries: bool,
    /// Whether its session ends with it.
    pub closes: bool,
    /// Whether this process has a free slot for the delivery of the first message.
    pub asks_for_delivery: bool,
}

/// What is known of a turn that is locked and still claimed under the token of its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What may be sent from the number of its session.
    pub send_policy: SendPolicy,
    /// Whether the project limits its outbound messages.
    pub has_limits: bool,
    /// Whether a delivery to the contact waits.
    pub delivery_waits: bool,
    /// Whether messages came in that the turn does not know of.
    pub newer_waits: bool,
    /// How long the session may be inactive, as it was computed with the last message.
    pub warn_after_seconds: i32,
    /// The same by the agent's current version.
    pub current_warn_after_seconds: i32,
}

/// What becomes of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: somebody else holds it by now, or its session is closed.
    Stale,
    /// It is stored.
    Store(Store),
}

/// How a turn is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// What becomes of its messages, in order. With one or more, the session is open and active
    /// again.
    pub messages: Vec<MessagePlan>,
    /// Whether the delivery of the first message is claimed for this process.
    pub claims_delivery: bool,
    /// Whether the inactivity job of the session would come too late.
    pub brings_inactivity_forward: bool,
    pub next: Next,
}

/// What becomes of the messages that came in while the agent ran. Its answer does not cover them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There are none.
    Nothing,
    /// They get a turn of this session.
    Turn,
    /// This session ends, and they open the next one.
    Session,
}

/// Whether the messages of a turn must be counted before it is decided.
pub fn must_count(outcome: Outcome, facts: &Facts) -> bool {
    outcome.messages > 0 && message_plan::must_count(&facts.of_messages(outcome))
}

impl Facts {
    /// What decides about the messages of the turn.
    const fn of_messages(&self, outcome: Outcome) -> message_plan::Facts {
        let Self { send_policy, has_limits, .. } = *self;
        message_plan::Facts { has_delivery: outcome.has_deliveries, send_policy, has_limits }
    }
}

/// Decides about a turn. `facts` is `None` when it is not claimed any more under the token of the
/// outcome. `limits` tells which messages, by their position, a limit stops.
pub fn decide(outcome: Outcome, facts: Option<&Facts>, limits: &[(usize, LimitReached)]) -> Decision {
    let Some(facts) = facts else { return Decision::Stale };
    let limit_of = |position| limits.iter().find(|(of, _)| *of == position).map(|(_, limit)| *limit);
    let of_messages = facts.of_messages(outcome);
    let messages: Vec<MessagePlan> =
        (0..outcome.messages).map(|position| message_plan::plan(&of_messages, limit_of(position))).collect();
    // Messages leave in order, so nothing may wait before it. An opt-out would have deleted the
    // turn.
    let claims_delivery =
        outcome.asks_for_delivery && !facts.delivery_waits && messages.first() == Some(&MessagePlan::Send);
    let brings_inactivity_forward =
        outcome.messages > 0 && inactivity::comes_too_late(facts.warn_after_seconds, facts.current_warn_after_seconds);
    let next = match (facts.newer_waits, outcome.closes) {
        (false, _) => Next::Nothing,
        (true, false) => Next::Turn,
        (true, true) => Next::Session,
    };
    Decision::Store(Store { messages, claims_delivery, brings_inactivity_forward, next })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::outbound_limit::OutboundLimit;

    const REPLY: Outcome = Outcome { messages: 1, has_deliveries: true, closes: false, asks_for_delivery: true };

    fn facts() -> Facts {
        Facts {
            send_policy: SendPolicy::Open,
            has_limits: false,
            delivery_waits: false,
            newer_waits: false,
            warn_after_seconds: 86_400,
            current_warn_after_seconds: 86_400,
        }
    }

    fn full() -> LimitReached {
        LimitReached { limit: OutboundLimit::ContactPerHour, most: 1, until: DateTime::UNIX_EPOCH }
    }

    fn stored(outcome: Outcome, facts: &Facts, limits: &[(usize, LimitReached)]) -> Store {
        match decide(outcome, Some(facts), limits) {
            Decision::Store(store) => store,
            Decision::Stale => panic!("{facts:?}"),
        }
    }

    #[test]
    fn a_turn_that_somebody_else_holds_is_not_stored() {
        for outcome in [REPLY, Outcome::default(), Outcome { closes: true, ..REPLY }] {
            assert_eq!(decide(outcome, None, &[]), Decision::Stale, "{outcome:?}");
        }
    }

    #[test]
    fn the_first_delivery_is_claimed_if_it_may_leave_at_once() {
        let waits = Facts { delivery_waits: true, ..facts() };
        let held = Facts { send_policy: SendPolicy::Held, ..facts() };
        let blocked = Facts { send_policy: SendPolicy::Blocked, ..facts() };
        let limited = Facts { has_limits: true, ..facts() };
        let (first, second) = (vec![(0, full())], vec![(1, full())]);
        for (outcome, facts, limits, expected) in [
            (REPLY, &facts(), &vec![], true),
            (Outcome { messages: 3, ..REPLY }, &facts(), &vec![], true),
            (Outcome { closes: true, ..REPLY }, &facts(), &vec![], true),
            (Outcome { messages: 0, ..REPLY }, &facts(), &vec![], false),
            (Outcome { asks_for_delivery: false, ..REPLY }, &facts(), &vec![], false),
            (REPLY, &waits, &vec![], false),
            (REPLY, &held, &vec![], false),
            (REPLY, &blocked, &vec![], false),
            (REPLY, &limited, &first, false),
            (Outcome { messages: 2, ..REPLY }, &limited, &second, true),
        ] {
            assert_eq!(stored(outcome, facts, limits).claims_delivery, expected, "{outcome:?} {facts:?}");
        }
    }

    #[test]
    fn a_message_of_a_channel_without_deliveries_is_shown_whatever_its_number_may_send() {
        let shown = Outcome { has_deliveries: false, ..REPLY };
        for send_policy in [SendPolicy::Open, SendPolicy::Held, SendPolicy::Blocked] {
            let facts = Facts { send_policy, has_limits: true, ..facts() };
            let store = stored(shown, &facts, &[(0, full())]);
            assert_eq!((store.messages, store.claims_delivery), (vec![MessagePlan::Show], false), "{send_policy}");
            assert!(!must_count(shown, &facts));
        }
    }

    #[test]
    fn each_message_is_planned_by_the_number_and_by_its_limit() {
        use MessagePlan::{Fail, Hold, Send};
        let three = Outcome { messages: 3, ..REPLY };
        let of = |send_policy| Facts { send_policy, has_limits: true, ..facts() };
        let limits = [(1, full()), (2, full())];
        for (policy, limits, expected) in [
            (SendPolicy::Open, &limits[..0], [Send, Send, Send]),
            (SendPolicy::Held, &limits[..0], [Hold, Hold, Hold]),
            (SendPolicy::Blocked, &limits[..0], [Fail, Fail, Fail]),
            (SendPolicy::Open, &limits[..], [Send, MessagePlan::Suppress(full()), MessagePlan::Suppress(full())]),
            (SendPolicy::Open, &limits[..1], [Send, MessagePlan::Suppress(full()), Send]),
            (SendPolicy::Held, &limits[1..], [Hold, Hold, MessagePlan::Suppress(full())]),
        ] {
            assert_eq!(stored(three, &of(policy), limits).messages, expected, "{policy} {limits:?}");
        }
    }

    #[test]
    fn messages_are_counted_where_there_is_a_limit_and_they_can_be_sent() {
        let limited = Facts { has_limits: true, ..facts() };
        let held = Facts { send_policy: SendPolicy::Held, ..limited };
        let blocked = Facts { send_policy: SendPolicy::Blocked, ..limited };
        for (outcome, facts, expected) in [
            (REPLY, &facts(), false),
            (REPLY, &limited, true),
            (REPLY, &held, true),
            (REPLY, &blocked, false),
            (Outcome::default(), &limited, false),
        ] {
            assert_eq!(must_count(outcome, facts), expected, "{outcome:?} {facts:?}");
        }
    }

    #[test]
    fn what_came_in_while_the_agent_ran_gets_a_turn_here_or_in_the_next_session() {
        let closing = Outcome { closes: true, ..REPLY };
        let newer = Facts { newer_waits: true, ..facts() };
        for (outcome, facts, expected) in [
            (REPLY, &facts(), Next::Nothing),
            (REPLY, &newer, Next::Turn),
            (Outcome::default(), &newer, Next::Turn),
            (closing, &facts(), Next::Nothing),
            (closing, &newer, Next::Session),
        ] {
            assert_eq!(stored(outcome, facts, &[]).next, expected, "{outcome:?} {facts:?}");
        }
    }

    #[test]
    fn only_a_message_makes_the_session_active_again() {
        let shorter = Facts { current_warn_after_seconds: 3600, ..facts() };
        for (outcome, facts, expected) in [
            (REPLY, &facts(), false),
            (REPLY, &shorter, true),
            (Outcome::default(), &shorter, false),
            (REPLY, &Facts { current_warn_after_seconds: 90_000, ..facts() }, false),
        ] {
            assert_eq!(stored(outcome, facts, &[]).brings_inactivity_forward, expected, "{outcome:?} {facts:?}");
        }
    }
}
