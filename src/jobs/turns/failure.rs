//! Why a turn has no answer, and what becomes of its messages then. Writes nothing itself.

use crate::agents::AgentError;
use crate::domain::agent::AgentSpec;
use crate::domain::bounds;
use crate::domain::message::{MessageKind, SkipReason};
use crate::storage::agent::Version;
use crate::storage::turn::{Claim, Reason, Settlement};

/// How often a script may fail before the turn is given up: with the backoff within about four seconds.
const MOST_ATTEMPTS: i32 = 3;
/// The same for a service, which may be restarting: with the backoff within about 15 seconds plus its time-outs.
const MOST_ATTEMPTS_OF_A_SERVICE: i32 = 5;

/// How many seconds a turn waits after a failure of ours.
const AFTER_OURS: f64 = 2.0;
/// The longest wait after an interruption. Each wait is twice the one before.
const LONGEST_AFTER_INTERRUPTIONS: f64 = 120.0;
/// How often a turn may be interrupted before it is given up, within about four minutes. Its runner is ended each time,
/// and its session waits.
const MOST_INTERRUPTIONS: i32 = 8;

/// Why a turn has no answer.
pub(crate) struct Failure {
    pub(crate) error: String,
    pub(crate) error_message: Option<String>,
    /// With which failure of the agent it is for good.
    pub(crate) most_attempts: i32,
    pub(crate) reason: Reason,
    /// How often the turn was interrupted, including this time.
    pub(crate) interruptions: i32,
    /// Why its messages are skipped if the failure is for good.
    pub(crate) skip: SkipReason,
}

impl Failure {
    /// What an agent's error means for the turn.
    pub(crate) fn of_agent(error: AgentError, version: &Version) -> Self {
        let most_attempts = match (&error, &version.spec) {
            (AgentError::Ours(what), _) => return Self::of_ours(what.clone()),
            (AgentError::Interrupted(what), _) => {
                let (reason, error_message) = (Reason::Interrupted, version.settings.error_message.clone());
                return Self { reason, error_message, skip: SkipReason::WorkerLost, ..Self::of_ours(what.clone()) };
            }
            // A script that can't be read stays unreadable, and one that exceeded a limit would do so again, at the
            // expense of other scripts.
            (AgentError::Unusable(_) | AgentError::OverLimit(_), _) => 1,
            (AgentError::Failed(_), AgentSpec::Script { .. }) => MOST_ATTEMPTS,
            (AgentError::Failed(_), AgentSpec::Http { .. }) => MOST_ATTEMPTS_OF_A_SERVICE,
        };
        Self {
            error: bounds::error(&error.to_string()),
            error_message: version.settings.error_message.clone(),
            most_attempts,
            reason: Reason::Failed,
            interruptions: 0,
            skip: SkipReason::AgentFailed,
        }
    }

    /// A failure that the agent is not to blame for: its messages wait until we work again.
    pub(crate) fn of_ours(error: String) -> Self {
        let error = bounds::error(&error);
        Self {
            error,
            error_message: None,
            most_attempts: i32::MAX,
            reason: Reason::Ours,
            interruptions: 0,
            skip: SkipReason::AgentFailed,
        }
    }

    /// The process stops while the turn runs.
    pub(crate) fn stopped() -> Self {
        Self { reason: Reason::Stopping, ..Self::of_ours("the worker stopped".to_owned()) }
    }

    /// Records how often the turn was interrupted.
    pub(crate) fn interrupted(&mut self, count: i32) {
        self.interruptions = count;
        if count >= MOST_INTERRUPTIONS {
            self.error = bounds::error(&format!("the turn was interrupted {count} times: {}", self.error));
        }
    }

    /// Whether the turn is given up, after this many earlier failures of the agent.
    pub(crate) fn gives_up(&self, failures: i32) -> bool {
        failures.saturating_add(1) >= self.most_attempts || self.interruptions >= MOST_INTERRUPTIONS
    }

    /// How many seconds the turn waits before its next try.
    pub(crate) fn rest(&self, failures: i32) -> f64 {
        match self.reason {
            Reason::Stopping => 0.0,
            Reason::Failed => 0.5 * 2_f64.powi(failures.saturating_add(1).clamp(1, 10)),
            Reason::Ours => AFTER_OURS,
            Reason::Interrupted => {
                (AFTER_OURS * 2_f64.powi((self.interruptions - 1).clamp(0, 10))).min(LONGEST_AFTER_INTERRUPTIONS)
            }
        }
    }

    /// The person gets the agent's error message if there is one, and the session goes on.
    pub(crate) fn settlement(&self, claim: &Claim) -> Settlement {
        let settlement = Settlement::of(claim);
        if claim.waiting.is_empty() {
            // No message waits: `start` failed in a session that we opened. It runs again with the contact's first message.
            return settlement;
        }
        match self.error_message.as_deref().filter(|text| !text.trim().is_empty()) {
            Some(text) => settlement.say(MessageKind::Error, text.to_owned()),
            None => settlement.skip(self.skip),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: Reason, interruptions: i32) -> Failure {
        let mut failure =
            Failure { reason, error_message: Some("Sorry!".to_owned()), ..Failure::of_ours("killed".to_owned()) };
        failure.interrupted(interruptions);
        failure
    }

    #[test]
    fn a_turn_that_is_interrupted_each_time_rests_longer_and_is_given_up() {
        let rests: Vec<f64> =
            (1..MOST_INTERRUPTIONS).map(|count| failure(Reason::Interrupted, count).rest(0)).collect();
        assert_eq!(rests, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0]);
        assert!((1..MOST_INTERRUPTIONS).all(|count| !failure(Reason::Interrupted, count).gives_up(0)));
        let last = failure(Reason::Interrupted, MOST_INTERRUPTIONS);
        assert!(last.gives_up(0) && last.error.contains("8 times") && last.error.contains("killed"), "{last}");
        // A failure of ours before the run began is retried without end.
        assert!(!failure(Reason::Ours, 0).gives_up(1_000));
        assert!((failure(Reason::Ours, 0).rest(1_000) - AFTER_OURS).abs() < f64::EPSILON);
    }
}
