//! What becomes of an outbound message when it is planned: it is sent, it waits, or it is not sent.

use super::delivery::{DeliveryErrorClass, DeliveryStatus};
use super::number::SendPolicy;

/// A limit on outbound messages that stops a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    pub class: DeliveryErrorClass,
    /// Which limit it is, for people.
    pub detail: String,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Whether a message is counted against the limits of its project, if there are any. One that can't be sent is not.
pub const fn is_counted(policy: SendPolicy) -> bool {
    match policy {
        SendPolicy::Open | SendPolicy::Held => true,
        SendPolicy::Blocked => false,
    }
}

/// Decides about a message, by what may be sent from its number and the limit that stops it, if one does.
pub fn plan(policy: SendPolicy, limit: Option<LimitReached>) -> MessagePlan {
    match (policy, limit) {
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
            Self::Suppress(limit) => Some(limit.class),
        }
    }

    /// Why it is not sent now, for people.
    pub fn error_detail(&self) -> Option<&str> {
        match self {
            Self::Send | Self::Show => None,
            Self::Hold => Some("held until the registration of its number is approved"),
            Self::Fail => Some("number_not_registered: the carrier blocks texts from this number"),
            Self::Suppress(limit) => Some(&limit.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_decides_before_the_limit() {
        use DeliveryErrorClass::{ContactLimitReached, PermanentConfig};
        use DeliveryStatus::{Failed, Planned, Suppressed};
        let limit = || Some(LimitReached { class: ContactLimitReached, detail: "full".to_owned() });
        for (policy, limit, plan_is, status, class, is_counted_is) in [
            (SendPolicy::Open, None, MessagePlan::Send, Planned, None, true),
            (SendPolicy::Held, None, MessagePlan::Hold, Planned, None, true),
            (SendPolicy::Blocked, None, MessagePlan::Fail, Failed, Some(PermanentConfig), false),
            (SendPolicy::Blocked, limit(), MessagePlan::Fail, Failed, Some(PermanentConfig), false),
        ] {
            let planned = plan(policy, limit);
            assert_eq!(
                (&planned, planned.status(), planned.error_class()),
                (&plan_is, Some(status), class),
                "{policy}"
            );
            assert_eq!(is_counted(policy), is_counted_is, "{policy}");
        }
        for policy in [SendPolicy::Open, SendPolicy::Held] {
            let planned = plan(policy, limit());
            assert_eq!(
                (planned.status(), planned.error_class()),
                (Some(Suppressed), Some(ContactLimitReached)),
                "{policy}"
            );
            assert_eq!(planned.error_detail(), Some("full"));
        }
    }
}
