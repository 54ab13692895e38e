//! What a delivery is: how far the sending of one outbound message has come.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::words::words;

words! {
    /// How far a delivery has come.
    pub enum DeliveryStatus {
        /// It is to be sent.
        Planned = "planned",
        /// The carrier is being called.
        Sending = "sending",
        /// The carrier has it.
        Accepted = "accepted",
        /// The carrier passed it on.
        Sent = "sent",
        /// The contact has it.
        Delivered = "delivered",
        /// It was not delivered.
        Failed = "failed",
        /// Whether the carrier has it is not known yet.
        Unknown = "unknown",
        /// It is not sent.
        Suppressed = "suppressed",
    }
}

words! {
    /// Why a message that the project wanted to send is not sent.
    pub enum RefusalReason {
        /// An operator cancelled it.
        Cancelled = "cancelled",
        /// The contact has opted out.
        ContactOptedOut = "contact_opted_out",
        /// The contact has a session that is not closed, and the message was to be refused then.
        SessionActive = "session_active",
        /// The number is detached.
        NumberDetached = "number_detached",
        /// Its row could not be read.
        Unreadable = "unreadable",
        /// The turn sent as many messages as it may.
        TurnLimitReached = "turn_limit_reached",
        /// The contact got as many messages as the project allows.
        ContactLimitReached = "contact_limit_reached",
        /// The project sent as many messages as it may.
        ProjectLimitReached = "project_limit_reached",
        /// The contact is the number that sends.
        ToIsFrom = "to_is_from",
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
        /// The carrier said that the contact's number is a landline.
        ContactIsLandline = "contact_is_landline",
    }
}

words! {
    /// What kind of failure kept a message from being delivered. Each carrier maps its own codes to
    /// these.
    pub enum DeliveryErrorClass {
        /// The contact wants no messages from this number.
        OptedOut = "opted_out",
        /// The contact can't be reached, now or later.
        PermanentRecipient = "permanent_recipient",
        /// The contact's number is a landline, or of another kind that gets no messages.
        Landline = "landline",
        /// Something is set up wrong on our side.
        PermanentConfig = "permanent_config",
        /// The number lacks the registration that its country asks for.
        Unregistered = "unregistered",
        /// The number is not in the pool through which it was to leave, or the pool is gone. It
        /// leaves from the number alone.
        NotInPool = "not_in_pool",
        /// The carrier refused the text itself.
        Content = "content",
        /// The credentials are wrong or lack a right.
        Auth = "auth",
        /// The carrier account may not send.
        Account = "account",
        /// Too many messages were sent at once.
        Throttled = "throttled",
        /// The carrier failed. It may work later.
        Transient = "transient",
        /// The carrier may have sent it or not.
        Ambiguous = "ambiguous",
        /// Its row could not be read.
        Unreadable = "unreadable",
        /// The contact got as many messages as the project allows.
        ContactLimitReached = "contact_limit_reached",
        /// The project sent as many messages as it may.
        ProjectLimitReached = "project_limit_reached",
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
    }
}

impl DeliveryErrorClass {
    /// Whether a message that a carrier refused for this may be offered again later.
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Throttled | Self::Transient | Self::Auth | Self::Account | Self::NotInPool => true,
            Self::OptedOut
            | Self::PermanentRecipient
            | Self::Landline
            | Self::PermanentConfig
            | Self::Unregistered
            | Self::Content
            | Self::Ambiguous
            | Self::Unreadable
            | Self::ContactLimitReached
            | Self::ProjectLimitReached
            | Self::CountryNotAllowed => false,
        }
    }
}

words! {
    /// Why a status report fits no delivery.
    pub enum ReportRejectReason {
        /// It could not be understood.
        NotUnderstood = "status_not_understood",
        /// No delivery of the project matches.
        DeliveryUnknown = "delivery_unknown",
    }
}

words! {
    /// Who told of a step of a delivery.
    pub enum DeliveryStepSource {
        /// The carrier, in its answer to our call.
        Carrier = "carrier",
        /// The carrier, in a status report.
        Report = "report",
        /// The carrier's list of messages, in which the message was looked up.
        List = "list",
    }
}

/// A step of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, poem_openapi::Object)]
#[oai(skip_serializing_if_is_none)]
pub struct DeliveryStep {
    pub at: DateTime<Utc>,
    pub status: DeliveryStatus,
    pub by: Option<DeliveryStepSource>,
    /// The carrier's error code.
    pub code: Option<i32>,
    pub class: Option<DeliveryErrorClass>,
    pub detail: Option<String>,
}

words! {
    /// What a status report of the carrier changed.
    pub enum ReportOutcome {
        /// The delivery moved forward.
        Moved = "moved",
        /// The delivery was as far already.
        Unchanged = "unchanged",
        /// No delivery of the project fits the report.
        Unknown = "unknown",
    }
}

words! {
    /// What became of an unknown delivery that was looked for at the carrier.
    pub enum ResolveOutcome {
        /// The carrier has it.
        Found = "found",
        /// The carrier certainly does not have it: it is planned again.
        Absent = "absent",
        /// The carrier did not have it once too often: it failed.
        GivenUp = "given_up",
        /// It is too early to say.
        Waiting = "waiting",
        /// Another process has settled it.
        Stale = "stale",
    }
}
