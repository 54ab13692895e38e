//! Whether a contact wants messages: what was said about it, and by whom.

use chrono::{DateTime, Utc};

use super::words::words;

words! {
    /// What a contact wants.
    pub enum ConsentKind {
        /// The contact wants no messages.
        OptedOut = "opted_out",
        /// The contact wants messages again.
        OptedIn = "opted_in",
    }
}

words! {
    /// Who said it.
    pub enum ConsentSource {
        /// The contact, with a keyword such as STOP.
        Keyword = "keyword",
        /// The carrier, by refusing a message because the contact opted out.
        Carrier = "carrier",
        /// An operator.
        Operator = "operator",
    }
}

/// The newest record of what a contact wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastConsent {
    pub kind: ConsentKind,
    pub at: DateTime<Utc>,
}

/// Whether a statement of a contact that becomes known late is outdated, because a later one is
/// recorded.
pub fn is_outdated(said_at: DateTime<Utc>, last_at: DateTime<Utc>) -> bool {
    last_at > said_at
}

/// Whether an opt-out is recorded that a carrier tells of by refusing a message. It is not if it is
/// known, or if the contact opted in after the carrier was called for that message.
pub fn records_refusal(called_at: Option<DateTime<Utc>>, last: Option<LastConsent>) -> bool {
    match last {
        None => true,
        Some(LastConsent { kind: ConsentKind::OptedOut, .. }) => false,
        Some(LastConsent { kind: ConsentKind::OptedIn, at }) => {
            !called_at.is_some_and(|called_at| is_outdated(called_at, at))
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_refusal_is_recorded_unless_the_opt_out_is_known_or_the_contact_opted_in_since() {
        use ConsentKind::{OptedIn, OptedOut};
        let called = DateTime::UNIX_EPOCH;
        let (before, after) = (called - TimeDelta::seconds(1), called + TimeDelta::seconds(1));
        for (called_at, last, expected) in [
            (Some(called), None, true),
            (Some(called), Some((OptedIn, before)), true),
            (Some(called), Some((OptedIn, called)), true),
            (Some(called), Some((OptedIn, after)), false),
            (Some(called), Some((OptedOut, before)), false),
            (Some(called), Some((OptedOut, after)), false),
            (None, Some((OptedIn, after)), true),
        ] {
            let last = last.map(|(kind, at)| LastConsent { kind, at });
            assert_eq!(records_refusal(called_at, last), expected, "{called_at:?} {last:?}");
        }
    }
}
