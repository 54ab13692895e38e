//! What one of our numbers is: what it is wanted to be, what was observed at the carrier, and what
//! follows.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::message_plan::MessagePlan;
use super::words::words;

words! {
    /// What a number is to become.
    pub enum DesiredState {
        /// Its messages come here.
        Attached = "attached",
        /// Its messages do not come here. The account keeps the number.
        Detached = "detached",
        /// The account gives it back to the carrier.
        Released = "released",
    }
}

words! {
    /// Why a number can't serve.
    pub enum NumberRefusal {
        /// The account does not own it.
        NotOwned = "not_owned",
        /// The carrier does not sell it.
        NotForSale = "not_for_sale",
        /// It can't carry text messages.
        NoTexts = "no_texts",
    }
}

words! {
    /// Whether a number's messages come here, as observed at the carrier.
    pub enum WebhookState {
        /// Nothing was observed yet.
        Pending = "pending",
        /// They come here.
        Ok = "ok",
        /// Somebody else changed the webhooks.
        Drifted = "drifted",
        /// The carrier could not be asked.
        Unreachable = "unreachable",
    }
}

words! {
    /// Whether a number's registration lets it send.
    pub enum RegistrationStatus {
        /// It needs none.
        NotRequired = "not_required",
        /// It has none.
        Unregistered = "unregistered",
        /// It waits for approval.
        Pending = "pending",
        /// It is approved.
        Approved = "approved",
        /// It was rejected.
        Rejected = "rejected",
        /// The carrier has not told yet.
        Unknown = "unknown",
    }
}

words! {
    /// What becomes of a number's outbound messages, by its registration and its country.
    pub enum SendPolicy {
        /// They are sent.
        Open = "open",
        /// They wait for the approval.
        Held = "held",
        /// They are refused.
        Blocked = "blocked",
    }
}

words! {
    /// What a country asks of numbers that send there.
    pub enum RegistrationPolicy {
        /// Without a registration messages are not sent. They wait while it is pending.
        Required = "required",
        /// Without a registration a warning is shown.
        Advised = "advised",
        /// No registration is needed.
        None = "none",
        /// It is not known.
        Unknown = "unknown",
    }
}

words! {
    /// What happens to a number at the carrier when it is detached.
    pub enum OnDetach {
        /// The account keeps it. Only our webhooks are removed.
        Keep = "keep",
        /// The account gives it back for good. It costs nothing any more, and somebody else may get
        /// it.
        Release = "release",
    }
}

words! {
    /// The type of a number that is for sale.
    pub enum NumberType {
        /// A number of a place.
        Local = "local",
        /// A number of a mobile network.
        Mobile = "mobile",
        /// A number that is free of charge for its callers.
        TollFree = "toll_free",
    }
}

impl RegistrationStatus {
    /// Whether it is read again soon, because somebody waits for it.
    pub const fn may_change_soon(self) -> bool {
        match self {
            Self::NotRequired | Self::Approved => false,
            Self::Unregistered | Self::Pending | Self::Rejected | Self::Unknown => true,
        }
    }
}

/// What may be sent from a number, by the policy of its country and its registration.
pub const fn send_policy(policy: RegistrationPolicy, registration: RegistrationStatus) -> SendPolicy {
    match (policy, registration) {
        (RegistrationPolicy::Advised | RegistrationPolicy::None | RegistrationPolicy::Unknown, _) => SendPolicy::Open,
        (RegistrationPolicy::Required, RegistrationStatus::Pending) => SendPolicy::Held,
        (RegistrationPolicy::Required, RegistrationStatus::Unregistered | RegistrationStatus::Rejected) => {
            SendPolicy::Blocked
        }
        (
            RegistrationPolicy::Required,
            RegistrationStatus::NotRequired | RegistrationStatus::Approved | RegistrationStatus::Unknown,
        ) => SendPolicy::Open,
    }
}

/// What becomes of messages that waited for the registration of their number. They wait on while it
/// is only not found: it may be moving between messaging services.
pub const fn plan_of_held(send_policy: SendPolicy, registration: RegistrationStatus) -> MessagePlan {
    match (send_policy, registration) {
        (SendPolicy::Open, _) => MessagePlan::Send,
        (SendPolicy::Blocked, RegistrationStatus::Rejected) => MessagePlan::Fail,
        (SendPolicy::Blocked | SendPolicy::Held, _) => MessagePlan::Hold,
    }
}

/// Whether a carrier that blocks a message for a lack of registration tells something new of a
/// number.
pub const fn is_news_that_unregistered(known: RegistrationStatus) -> bool {
    match known {
        RegistrationStatus::Pending | RegistrationStatus::Rejected => false,
        RegistrationStatus::NotRequired
        | RegistrationStatus::Unregistered
        | RegistrationStatus::Approved
        | RegistrationStatus::Unknown => true,
    }
}

words! {
    /// Whether people can text a number and are answered, or how bad a finding about it is.
    pub enum NumberHealthStatus {
        /// Nothing keeps messages from coming or going.
        Ok = "ok",
        /// Messages may not come or go.
        AtRisk = "at_risk",
        /// Messages do not come or go.
        Blocked = "blocked",
    }
}

/// Where numbers need a registration for A2P 10DLC (messages of businesses over ordinary numbers):
/// in the United States and what belongs to them (support.twilio.com, article 14910496447771), and
/// by the strict reading in Canada. What follows from it is the country's policy.
const A2P_COUNTRIES: [&str; 6] = ["US", "CA", "PR", "VI", "GU", "AS"];

/// Whether numbers of a country (ISO 3166-1 alpha-2) are registered for A2P 10DLC.
pub fn is_registered_for_a2p(country: &str) -> bool {
    A2P_COUNTRIES.contains(&country)
}

/// Whether a number is toll-free, by the codes of the North American plan
/// (<https://www.nanpa.com/numbering/toll-free>).
pub fn is_toll_free(number: &str) -> bool {
    ["800", "833", "844", "855", "866", "877", "888"]
        .iter()
        .any(|code| number.strip_prefix("+1").is_some_and(|rest| rest.starts_with(code)))
}

/// Something that was done at the carrier about a number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, poem_openapi::Object)]
#[oai(skip_serializing_if_is_none)]
pub struct NumberStep {
    pub at: DateTime<Utc>,
    /// What was done or seen, such as `found`, `bought` or `webhook set`.
    pub step: String,
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_follows_from_the_registration_where_it_is_required() {
        use RegistrationStatus::{Approved, NotRequired, Pending, Rejected, Unknown, Unregistered};
        for (registration, policy, held, is_news) in [
            (NotRequired, SendPolicy::Open, MessagePlan::Send, true),
            (Unknown, SendPolicy::Open, MessagePlan::Send, true),
            (Approved, SendPolicy::Open, MessagePlan::Send, true),
            (Pending, SendPolicy::Held, MessagePlan::Hold, false),
            (Unregistered, SendPolicy::Blocked, MessagePlan::Hold, true),
            (Rejected, SendPolicy::Blocked, MessagePlan::Fail, false),
        ] {
            let required = send_policy(RegistrationPolicy::Required, registration);
            assert_eq!((required, plan_of_held(required, registration)), (policy, held), "{registration}");
            assert_eq!(is_news_that_unregistered(registration), is_news, "{registration}");
            let is_settled = matches!(registration, NotRequired | Approved);
            assert_eq!(registration.may_change_soon(), !is_settled, "{registration}");
            for other in [RegistrationPolicy::Advised, RegistrationPolicy::None, RegistrationPolicy::Unknown] {
                let not_required = send_policy(other, registration);
                assert_eq!(not_required, SendPolicy::Open, "{other} {registration}");
                assert_eq!(plan_of_held(not_required, registration), MessagePlan::Send, "{other} {registration}");
            }
        }
    }
}
