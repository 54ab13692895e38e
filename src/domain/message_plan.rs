//! What becomes of an outbound message when it is planned: it is sent, it waits, or it is not sent.
//!
//! docs/decisions/029-registration.md has the reasons.

use std::borrow::Cow;

use super::delivery::{DeliveryErrorClass, DeliveryStatus};
use super::number::SendPolicy;
use super::outbound_limit::LimitReached;

/// What decides about a message of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether messages of its channel leave by deliveries.
    pub has_delivery: bool,
    /// What may be sent from the number of its session.
    pub send_policy: SendPolicy,
    /// Whether the project limits its outbound messages.
    pub has_limits: bool,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagePlan {
    /// It is sent.
    Send,
    /// It waits until the registration of its number is approved.
    Hold,
    /// It failed, because the carrier blocks messages of its number.
    Fail,
    /// It is not sent, because a limit is reached.
    Suppress(LimitReached),
    /// It needs no delivery: its channel has none.
    Show,
}

/// Whether a message must be counted before it is planned. One that can't be sent is not.
pub const fn must_count(facts: &Facts) -> bool {
    let can_be_sent = match facts.send_policy {
        SendPolicy::Open | SendPolicy::Held => true,
        SendPolicy::Blocked => false,
    };
    facts.has_delivery && facts.has_limits && can_be_sent
}

/// Decides about a message, which was counted if it must be. `limit`: the limit that stops it.
pub const fn plan(facts: &Facts, limit: Option<LimitReached>) -> MessagePlan {
    if !facts.has_delivery {
        return MessagePlan::Show;
    }
    match (facts.send_policy, limit) {
        (SendPolicy::Blocked, _) => MessagePlan::Fail,
        (SendPolicy::Open | SendPolicy::Held, Some(limit)) => MessagePlan::Suppress(limit),
        (SendPolicy::Held, None) => MessagePlan::Hold,
        (SendPolicy::Open, None) => MessagePlan::Send,
    }
}

impl MessagePlan {
    /// The status of its delivery, if it has one.
    pub const fn status(&self) -> Option<DeliveryStatus> {
        match self {
            Self::Send | Self::Hold => Some(DeliveryStatus::Planned),
            Self::Fail => Some(DeliveryStatus::Failed),
            Self::Suppress(_) => Some(DeliveryStatus::Suppressed),
            Self::Show => None,
        }
    }

    /// The kind of error that keeps it from being sent.
    pub const fn error_class(&self) -> Option<DeliveryErrorClass> {
        match self {
            Self::Send | Self::Hold | Self::Show => None,
            Self::Fail => Some(DeliveryErrorClass::PermanentConfig),
            Self::Suppress(limit) => Some(limit.class()),
        }
    }

    /// Why it is not sent now, for people.
    pub fn error_detail(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Send | Self::Show => None,
            Self::Hold => Some(Cow::Borrowed("held until the registration of its number is approved")),
            Self::Fail => Some(Cow::Borrowed("number_not_registered: the carrier blocks texts from this number")),
            Self::Suppress(limit) => Some(Cow::Owned(limit.detail())),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::outbound_limit::OutboundLimit;

    const FULL: LimitReached =
        LimitReached { limit: OutboundLimit::ContactPerHour, most: 3, until: DateTime::UNIX_EPOCH };

    fn facts(send_policy: SendPolicy) -> Facts {
        Facts { has_delivery: true, send_policy, has_limits: true }
    }

    #[test]
    fn the_number_decides_before_the_limit() {
        use DeliveryErrorClass::{ContactLimitReached, PermanentConfig};
        use DeliveryStatus::{Failed, Planned, Suppressed};
        use SendPolicy::{Blocked, Held, Open};
        let held = "held until the registration of its number is approved";
        let blocked = "number_not_registered: the carrier blocks texts from this number";
        let full = "contact_limit_reached: the project sends at most 3 messages to one contact in an hour";
        for (policy, limit, expected, status, class, detail) in [
            (Open, None, MessagePlan::Send, Planned, None, None),
            (Held, None, MessagePlan::Hold, Planned, None, Some(held)),
            (Blocked, None, MessagePlan::Fail, Failed, Some(PermanentConfig), Some(blocked)),
            (Open, Some(FULL), MessagePlan::Suppress(FULL), Suppressed, Some(ContactLimitReached), Some(full)),
            (Held, Some(FULL), MessagePlan::Suppress(FULL), Suppressed, Some(ContactLimitReached), Some(full)),
            (Blocked, Some(FULL), MessagePlan::Fail, Failed, Some(PermanentConfig), Some(blocked)),
        ] {
            let planned = plan(&facts(policy), limit);
            assert_eq!(
                (planned, planned.status(), planned.error_class(), planned.error_detail().as_deref()),
                (expected, Some(status), class, detail),
                "{policy} {limit:?}"
            );
        }
    }

    #[test]
    fn a_message_of_a_channel_without_deliveries_is_shown_whatever_its_number_may_send() {
        for policy in [SendPolicy::Open, SendPolicy::Held, SendPolicy::Blocked] {
            let facts = Facts { has_delivery: false, ..facts(policy) };
            let planned = plan(&facts, Some(FULL));
            assert_eq!(
                (planned, planned.status(), planned.error_detail()),
                (MessagePlan::Show, None, None),
                "{policy}"
            );
        }
    }

    #[test]
    fn a_message_is_counted_where_there_is_a_limit_and_it_can_be_sent() {
        for (has_delivery, send_policy, has_limits, expected) in [
            (true, SendPolicy::Open, true, true),
            (true, SendPolicy::Held, true, true),
            (true, SendPolicy::Blocked, true, false),
            (true, SendPolicy::Open, false, false),
            (false, SendPolicy::Open, true, false),
        ] {
            let facts = Facts { has_delivery, send_policy, has_limits };
            assert_eq!(must_count(&facts), expected, "{facts:?}");
        }
    }
}
