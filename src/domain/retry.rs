//! When work that came to nothing is tried again, and when it is given up.
//!
//! docs/decisions/018-leases-and-attempts.md has the reasons.

/// How often a message is offered to a carrier that certainly did not take it: with the waits
/// between, for some twelve hours. An outage or a wrong credential is repaired by then, and a later
/// reply helps nobody.
pub const MOST_OFFERS: i32 = 150;

/// The longest wait between two offers, in seconds, if the carrier does not ask for a longer one.
const LONGEST_BETWEEN_OFFERS: f64 = 300.0;

/// How often a turn may be claimed before it has failed, because its message may end each worker.
/// Workers also end for other reasons, so this is more than the attempts.
const MOST_CLAIMS: i32 = 8;

/// How often a turn may be interrupted before it is given up, within about four minutes. Its runner
/// is ended each time, and its session waits.
const MOST_INTERRUPTIONS: i32 = 8;

/// How many seconds a turn waits after a failure of ours.
const AFTER_OURS: f64 = 2.0;

/// The longest wait after an interruption, in seconds. Each wait is twice the one before.
const LONGEST_AFTER_INTERRUPTIONS: f64 = 120.0;

/// For how many seconds messages wait for an agent that is not run for the moment. A later answer
/// would come as a surprise.
const LONGEST_POSTPONED: i64 = 300;

/// What happens after a failure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Retry {
    /// It is tried again after so many seconds.
    After { seconds: f64 },
    /// It has failed for good.
    GiveUp,
}

/// What happens to a message that the carrier certainly did not take, after this many offers:
/// another one after 1, 2, 4 … 300 seconds, or when the carrier says. `jitter` lengthens the wait
/// by this part of it, so that messages that were refused together do not come back together.
pub fn of_delivery(offers: i32, retry_after_seconds: Option<f64>, jitter: f64) -> Retry {
    if offers >= MOST_OFFERS {
        return Retry::GiveUp;
    }
    let backoff = 2_f64.powi(offers.clamp(1, 10) - 1).min(LONGEST_BETWEEN_OFFERS);
    Retry::After { seconds: retry_after_seconds.unwrap_or(0.0).max(backoff) * (1.0 + jitter) }
}

/// Why an attempt of a turn came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedAttempt {
    /// The agent failed. The failure of this number is the last one.
    Agent { most_failures: i32 },
    /// We did, or the database, and it does not count.
    Ours,
    /// The agent was not run, because what it needs is not to be used for so many seconds. It does
    /// not count, until the messages have waited for too long.
    Postponed { seconds: u32, waited_seconds: i64 },
    /// The process that ran the agent ended for an unknown reason, for the `count`th time.
    /// Interruptions are counted apart from failures.
    Interrupted { count: i32 },
    /// The process is stopping. Another one runs the turn, and it does not count.
    Stopping,
}

/// Whether a turn that is claimed for the `claims`th time has ended too many workers.
pub const fn ends_workers(claims: i32) -> bool {
    claims > MOST_CLAIMS
}

/// What happens to a turn after an attempt that came to nothing, and this many earlier failures of
/// the agent.
pub fn of_turn(attempt: FailedAttempt, failures: i32) -> Retry {
    let failures = failures.saturating_add(1);
    let seconds = match attempt {
        FailedAttempt::Agent { most_failures } if failures >= most_failures => return Retry::GiveUp,
        FailedAttempt::Agent { .. } => 0.5 * 2_f64.powi(failures.clamp(1, 10)),
        FailedAttempt::Ours => AFTER_OURS,
        FailedAttempt::Postponed { waited_seconds, .. } if waited_seconds >= LONGEST_POSTPONED => return Retry::GiveUp,
        FailedAttempt::Postponed { seconds, .. } => f64::from(seconds),
        FailedAttempt::Interrupted { count } if count >= MOST_INTERRUPTIONS => return Retry::GiveUp,
        FailedAttempt::Interrupted { count } => {
            (AFTER_OURS * 2_f64.powi((count - 1).clamp(0, 10))).min(LONGEST_AFTER_INTERRUPTIONS)
        }
        FailedAttempt::Stopping => 0.0,
    };
    Retry::After { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::AgentKind;

    fn seconds(retry: Retry) -> Option<f64> {
        match retry {
            Retry::After { seconds } => Some(seconds),
            Retry::GiveUp => None,
        }
    }

    #[test]
    fn a_message_is_offered_again_ever_later_and_at_last_never() {
        for (offers, retry_after, jitter, expected) in [
            (1, None, 0.0, Some(1.0)),
            (2, None, 0.0, Some(2.0)),
            (9, None, 0.0, Some(256.0)),
            (10, None, 0.0, Some(300.0)),
            (MOST_OFFERS - 1, None, 0.0, Some(300.0)),
            (MOST_OFFERS, None, 0.0, None),
            (MOST_OFFERS, Some(7.0), 0.0, None),
            // The carrier's time counts if it is longer.
            (1, Some(7.0), 0.0, Some(7.0)),
            (5, Some(7.0), 0.0, Some(16.0)),
            (1, Some(7200.0), 0.0, Some(7200.0)),
            (3, None, 0.25, Some(5.0)),
        ] {
            assert_eq!(seconds(of_delivery(offers, retry_after, jitter)), expected, "{offers} {retry_after:?}");
        }
    }

    #[test]
    fn a_turn_rests_longer_each_time_and_only_failures_that_count_end_it() {
        let script = FailedAttempt::Agent { most_failures: AgentKind::Script.most_failures() };
        let service = FailedAttempt::Agent { most_failures: AgentKind::Http.most_failures() };
        let interrupted = |count| FailedAttempt::Interrupted { count };
        for (attempt, failures, expected) in [
            (script, 0, Some(1.0)),
            (script, 1, Some(2.0)),
            (script, 2, None),
            (service, 0, Some(1.0)),
            (service, 3, Some(8.0)),
            (service, 4, None),
            (FailedAttempt::Agent { most_failures: 1 }, 0, None),
            (FailedAttempt::Ours, 1_000, Some(2.0)),
            (FailedAttempt::Postponed { seconds: 7, waited_seconds: 299 }, 1_000, Some(7.0)),
            (FailedAttempt::Postponed { seconds: 7, waited_seconds: 300 }, 0, None),
            (FailedAttempt::Stopping, 1_000, Some(0.0)),
            // It could not be counted.
            (interrupted(0), 0, Some(2.0)),
            (interrupted(1), 0, Some(2.0)),
            (interrupted(2), 1_000, Some(4.0)),
            (interrupted(6), 0, Some(64.0)),
            (interrupted(7), 0, Some(120.0)),
            (interrupted(8), 0, None),
        ] {
            assert_eq!(seconds(of_turn(attempt, failures)), expected, "{attempt:?} {failures}");
        }
    }

    #[test]
    fn a_turn_whose_workers_do_not_come_back_ends() {
        assert!(!ends_workers(MOST_CLAIMS));
        assert!(ends_workers(MOST_CLAIMS + 1));
    }
}
