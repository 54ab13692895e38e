//! What becomes of a delivery whose sending is unsure, by what the carrier's list of messages
//! shows.

use chrono::{DateTime, TimeDelta, Utc};

/// With so many absences before, a delivery that is absent once more is given up. A message that
/// the carrier loses each time must not hold up for ever what follows it.
pub const MOST_ABSENCES: u32 = 3;

/// The longest time until the list is read again.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(15);

/// What is known of an unsure delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The time of the database.
    pub now: DateTime<Utc>,
    /// When the carrier was called.
    pub attempted_at: DateTime<Utc>,
    /// How long after the call an absence in the list is certain.
    pub settle_after: TimeDelta,
    /// Whether the list could be read.
    pub was_listed: bool,
    /// Whether the list has a message that is this delivery's and no other's.
    pub was_found: bool,
    /// How often it was absent before, and was sent again.
    pub absences: u32,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The carrier has it.
    Found,
    /// The carrier does not have it: it is sent again.
    SendAgain,
    /// The carrier never had it, however often it was sent: it failed.
    GiveUp,
    /// It is not certain yet. The list is read again at this time.
    LookAgain { at: DateTime<Utc> },
}

/// Decides about an unsure delivery.
pub fn decide(facts: &Facts) -> Decision {
    if facts.was_found {
        return Decision::Found;
    }
    if facts.was_listed && facts.attempted_at + facts.settle_after < facts.now {
        return if facts.absences >= MOST_ABSENCES { Decision::GiveUp } else { Decision::SendAgain };
    }
    Decision::LookAgain { at: facts.now + (facts.settle_after / 4).min(LONGEST_WAIT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_that_was_read_long_after_the_call_makes_an_absence_certain() {
        let now = DateTime::UNIX_EPOCH;
        let seconds = TimeDelta::seconds;
        let facts = |ago: i64, was_listed, was_found, absences| Facts {
            now,
            attempted_at: now - seconds(ago),
            settle_after: seconds(40),
            was_listed,
            was_found,
            absences,
        };
        let later = Decision::LookAgain { at: now + seconds(10) };
        for (facts, expected) in [
            (facts(1, true, true, 0), Decision::Found),
            (facts(99, true, true, 9), Decision::Found),
            (facts(40, true, false, 0), later),
            (facts(41, true, false, 0), Decision::SendAgain),
            (facts(41, true, false, 2), Decision::SendAgain),
            (facts(41, true, false, 3), Decision::GiveUp),
            (facts(9999, false, false, 3), later),
            (
                Facts { settle_after: seconds(600), ..facts(1, true, false, 0) },
                Decision::LookAgain { at: now + seconds(15) },
            ),
        ] {
            assert_eq!(decide(&facts), expected, "{facts:?}");
        }
    }
}
