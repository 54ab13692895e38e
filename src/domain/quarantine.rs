//! What is kept in quarantine, and what becomes of it when it is processed again.

use super::words::words;

words! {
    /// What is kept in quarantine.
    pub enum QuarantineKind {
        /// A message of a contact that fits no session. One that the carrier sends twice is kept once.
        Inbound = "inbound",
        /// A status report that fits no delivery.
        Status = "status",
        /// The state of a session that could not be read.
        SessionState = "session_state",
    }
}

impl QuarantineKind {
    /// Whether it came in by a webhook, so that it can be processed again.
    pub const fn can_be_replayed(self) -> bool {
        match self {
            Self::Inbound | Self::Status => true,
            Self::SessionState => false,
        }
    }
}

words! {
    /// What became of something in quarantine that was processed again.
    pub enum ReplayOutcome {
        /// The message is stored, and a turn answers it.
        Stored = "stored",
        /// The message is stored, and no turn answers it.
        Skipped = "skipped",
        /// The message was stored before.
        Duplicate = "duplicate",
        /// The report moved its delivery forward.
        Moved = "moved",
        /// The delivery was as far already, or the report is not about a message.
        Unchanged = "unchanged",
        /// It still fits nothing, stays in quarantine, and can be replayed again.
        Quarantined = "quarantined",
    }
}

impl ReplayOutcome {
    /// Whether it ends the quarantine. What still fits nothing may be replayed again.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Stored | Self::Skipped | Self::Duplicate | Self::Moved | Self::Unchanged => true,
            Self::Quarantined => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_webhook_brought_is_replayed_and_only_what_still_fits_nothing_may_be_again() {
        let replayed: Vec<&str> =
            QuarantineKind::ALL.iter().filter(|kind| kind.can_be_replayed()).map(|kind| kind.as_str()).collect();
        assert_eq!(replayed, ["inbound", "status"]);
        let again: Vec<&str> =
            ReplayOutcome::ALL.iter().filter(|outcome| !outcome.is_final()).map(|outcome| outcome.as_str()).collect();
        assert_eq!(again, ["quarantined"]);
    }
}
