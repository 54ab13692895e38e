//! What one of our numbers is: what it is wanted to be, what was observed at the carrier, and what follows.

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
    pub enum Registration {
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
