//! What a delivery is: how far the sending of one outbound message has come.

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
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
    }
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
