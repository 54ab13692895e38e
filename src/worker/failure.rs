//! Why a turn has no answer, and what becomes of its texts then; it writes nothing itself.

use crate::agent::AgentError;
use crate::bounds;
use crate::ledger::agent::Version;
use crate::ledger::turn::{Claim, Reason, Settlement};

/// How often an agent may fail before it is given up: with the backoff within some four seconds.
const MOST_ATTEMPTS: i32 = 3;
/// The same of a service, which may be starting anew: with the backoff within some 15 seconds and its time-outs.
const MOST_ATTEMPTS_OF_A_SERVICE: i32 = 5;

/// Why a turn has no answer.
pub(super) struct Failure {
    pub(super) error: String,
    pub(super) error_message: Option<String>,
    /// With which failure of the agent it is for good.
    pub(super) most_attempts: i32,
    pub(super) reason: Reason,
    /// What its texts are skipped for when it is for good.
    pub(super) skip: &'static str,
}

impl Failure {
    /// What an agent's error means for the turn.
    pub(super) fn of_agent(error: AgentError, version: &Version) -> Self {
        let most_attempts = match (&error, &version.url) {
            (AgentError::Ours(what), _) => return Self::of_ours(what.clone()),
            // A script that can't be read will not be readable the next time, and one that ran into a bound would do so again, at
            // the cost of all others.
            (AgentError::Unusable(_) | AgentError::OverLimit(_), _) => 1,
            (_, None) => MOST_ATTEMPTS,
            (_, Some(_)) => MOST_ATTEMPTS_OF_A_SERVICE,
        };
        Self {
            error: bounds::error(&error.to_string()),
            error_message: version.error_message.clone(),
            most_attempts,
            reason: Reason::Failed,
            skip: "agent_failed",
        }
    }

    /// A failure that the agent is not to blame for: its text waits until we are well again.
    pub(super) fn of_ours(error: String) -> Self {
        let error = bounds::error(&error);
        Self { error, error_message: None, most_attempts: i32::MAX, reason: Reason::Ours, skip: "agent_failed" }
    }

    /// The process stops in the middle of it.
    pub(super) fn stopped() -> Self {
        Self { reason: Reason::HandedOver, ..Self::of_ours("the worker stopped".to_owned()) }
    }

    /// Whether nobody is asked again.
    pub(super) fn gives_up(&self, claim: &Claim) -> bool {
        claim.failures + 1 >= self.most_attempts
    }

    /// The person gets the agent's error message if there is one, and the session goes on.
    pub(super) fn settlement(&self, claim: &Claim) -> Settlement {
        let settlement = Settlement::of(claim);
        if claim.waiting.is_empty() {
            // Nobody asked anything: a session that we began could not be started. It is tried again with the reply.
            return settlement;
        }
        match self.error_message.as_deref().filter(|text| !text.trim().is_empty()) {
            Some(text) => settlement.say("error", text.to_owned()),
            None => settlement.skip(self.skip),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error)
    }
}
