//! What is kept in quarantine, and what becomes of it when it is processed again.

use super::delivery::ReportRejectReason;
use super::message::RejectReason;
use super::suggestion::nearest;
use super::words::words;

/// Why the state of a session is in quarantine. Its id follows the word:
/// `session_unreadable: <id>`.
const SESSION_UNREADABLE: &str = "session_unreadable";

/// What the reason begins with if the database refused a message without the name of a constraint.
/// The code of its error follows.
const REFUSED_BY_THE_DATABASE: &str = "refused_by_the_database_";

words! {
    /// What is kept in quarantine.
    pub enum QuarantineKind {
        /// A message of a contact that fits no session. One that the carrier sends twice is kept
        /// once.
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

/// Why the database will always refuse a message, from the code of its error: a value can't be
/// stored (class 22), breaks a constraint (class 23), or exceeds an index's limit (class 54). The
/// carrier would send such a message again and again. A row that another transaction wrote first
/// (23505) is found by a retry.
///
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
pub fn refusal(code: &str, constraint: Option<&str>) -> Option<String> {
    is_final(code).then(|| constraint.map_or_else(|| format!("{REFUSED_BY_THE_DATABASE}{code}"), str::to_owned))
}

fn is_final(code: &str) -> bool {
    code != "23505" && ["22", "23", "54"].iter().any(|class| code.starts_with(class))
}

/// The words that textback itself gives as reasons. The names of the constraints are reasons too.
pub fn reasons() -> Vec<&'static str> {
    [RejectReason::WORDS, ReportRejectReason::WORDS, &[SESSION_UNREADABLE]].concat()
}

/// Whether a word can be a reason although no constraint has that name.
pub fn is_reason(word: &str) -> bool {
    let is_code = |code: &str| {
        code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) && is_final(code)
    };
    reasons().contains(&word) || word.strip_prefix(REFUSED_BY_THE_DATABASE).is_some_and(is_code)
}

/// What a word that can't be a reason may stand for, for its error.
pub fn meant_by(word: &str) -> String {
    let reasons = reasons();
    match nearest(word, reasons.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!(
            "the known ones are {}, {REFUSED_BY_THE_DATABASE} with the code of the error, and the names of the constraints",
            reasons.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_will_always_refuse_has_a_reason() {
        for (code, constraint, reason) in [
            (
                "23514",
                Some("attachment_url_has_at_most_4000_characters"),
                Some("attachment_url_has_at_most_4000_characters"),
            ),
            ("22021", None, Some("refused_by_the_database_22021")),
            ("23502", None, Some("refused_by_the_database_23502")),
            ("54000", None, Some("refused_by_the_database_54000")),
            ("23505", Some("message_pk"), None),
            ("40001", None, None),
            ("57014", None, None),
        ] {
            assert_eq!(refusal(code, constraint).as_deref(), reason, "{code}");
            if let (Some(reason), None) = (reason, constraint) {
                assert!(is_reason(reason), "{reason}");
            }
        }
    }

    #[test]
    fn a_word_that_can_be_no_reason_is_known_and_told_with_what_it_may_mean() {
        for reason in reasons() {
            assert!(is_reason(reason), "{reason}");
        }
        for (word, meant) in [
            ("number_not_atached", "did you mean number_not_attached?"),
            ("Delivery-Unknown", "did you mean delivery_unknown?"),
            ("typo", "the known ones are foreign_account, no_message_id,"),
            ("refused_by_the_database_23505", "session_unreadable, refused_by_the_database_ with the code"),
            ("refused_by_the_database_22", "the known ones are"),
            ("refused_by_the_database_22é1", "the known ones are"),
            ("refused_by_the_database_", "the known ones are"),
        ] {
            assert!(!is_reason(word), "{word}");
            assert!(meant_by(word).contains(meant), "{word}: {}", meant_by(word));
        }
    }

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
