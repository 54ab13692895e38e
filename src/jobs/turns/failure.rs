//! Why a turn failed, and what happens to its messages. The caller stores that.

use crate::agents::AgentError;
use crate::channels::Channels;
use crate::domain::agent::AgentSettings;
use crate::domain::agent_error::{self, AgentErrorCode};
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::message::{MessageKind, SkipReason};
use crate::domain::retry::{self, FailedAttempt, Retry};
use crate::jobs::turns::messages::Allowance;
use crate::storage::agent::{self, FailedTurn, Version};
use crate::storage::turn::{Claim, Settlement};
use crate::storage::{Storage, database};

/// Why a turn failed.
pub(crate) struct Failure {
    pub(crate) error: String,
    /// The settings of the agent, if the contact is to get its error message.
    pub(crate) settings: Option<Box<AgentSettings>>,
    pub(crate) attempt: FailedAttempt,
    /// The skip reason of its messages if the turn is not retried.
    pub(crate) skip: SkipReason,
    /// What the operators of the agent are told. `None`: the agent is not to blame.
    pub(crate) code: Option<AgentErrorCode>,
}

impl Failure {
    /// The failure of a turn whose agent returned an error.
    pub(crate) fn of_agent(error: AgentError, version: &Version) -> Self {
        let (code, most_failures) = match &error {
            AgentError::Ours(what) => return Self::of_ours(what.clone()),
            AgentError::Interrupted(what) => {
                let settings = Some(Box::new(version.settings.clone()));
                let attempt = FailedAttempt::Interrupted { count: 0 };
                let code = Some(AgentErrorCode::WorkerLost);
                return Self { attempt, settings, skip: SkipReason::WorkerLost, code, ..Self::of_ours(what.clone()) };
            }
            AgentError::NotNow { what, seconds } => {
                let settings = Some(Box::new(version.settings.clone()));
                let attempt = FailedAttempt::Postponed { seconds: *seconds, waited_seconds: 0 };
                let code = Some(AgentErrorCode::Failed);
                return Self { attempt, settings, code, ..Self::of_ours(what.clone()) };
            }
            AgentError::OverBudget(_) => (AgentErrorCode::OverBudget, 1),
            // A retry of an unreadable script would fail again. A script that exceeded a limit
            // would do so again, and slow down other scripts.
            AgentError::Unusable(_) => (AgentErrorCode::Unusable, 1),
            AgentError::OverLimit(_) => (AgentErrorCode::OverLimit, 1),
            AgentError::Failed(_) => (AgentErrorCode::Failed, version.spec.kind().most_failures()),
        };
        Self {
            error: bounds::error(&error.to_string()),
            settings: Some(Box::new(version.settings.clone())),
            attempt: FailedAttempt::Agent { most_failures },
            skip: SkipReason::AgentFailed,
            code: Some(code),
        }
    }

    /// A failure of textback and not of the agent. The messages wait until textback works again.
    pub(crate) fn of_ours(error: String) -> Self {
        let error = bounds::error(&error);
        Self { error, settings: None, attempt: FailedAttempt::Ours, skip: SkipReason::AgentFailed, code: None }
    }

    /// The failure of a turn that runs while the process stops.
    pub(crate) fn stopped() -> Self {
        Self { attempt: FailedAttempt::Stopping, ..Self::of_ours("the worker stopped".to_owned()) }
    }

    /// Records how often the turn was interrupted.
    pub(crate) fn interrupted(&mut self, count: i32) {
        self.attempt = FailedAttempt::Interrupted { count };
        if self.retry(0) == Retry::GiveUp {
            self.error = bounds::error(&format!("the turn was interrupted {count} times: {}", self.error));
        }
    }

    /// Records how long the messages of the turn have waited.
    pub(crate) fn waited(&mut self, claim: &Claim) {
        if let FailedAttempt::Postponed { waited_seconds, .. } = &mut self.attempt {
            *waited_seconds = (claim.claimed_at - claim.created_at).num_seconds();
        }
    }

    /// Whether the turn is retried, after this many earlier failures of the agent.
    pub(crate) fn retry(&self, failures: i32) -> Retry {
        retry::of_turn(self.attempt, failures)
    }

    /// Records the failure as the last error of the agent, if it is one. The turn does not depend
    /// on it. What keeps an agent from being run was recorded before, with its reason.
    pub(crate) async fn record(&self, storage: &Storage, claim: &Claim) {
        let is_recorded =
            self.code == Some(AgentErrorCode::OverBudget) || matches!(self.attempt, FailedAttempt::Postponed { .. });
        let Some(code) = self.code.filter(|_| !is_recorded) else { return };
        let turn = FailedTurn {
            project_id: claim.project_id,
            agent_id: claim.agent_id,
            session_id: claim.session_id,
            version: claim.agent_version,
        };
        let message = self.to_string();
        let recording = async { agent::record_error(&mut *storage.connection().await?, turn, code, &message).await };
        if let Err(error) = database::with_timeout::<_, sqlx::Error, _>(recording).await {
            tracing::warn!(%error, "the error of the agent could not be recorded");
        }
    }

    /// The settlement of a turn that is not retried. The contact gets the error message of the
    /// agent, if it has one. The session stays open.
    pub(crate) fn settlement(&self, claim: &Claim, channels: &Channels) -> Settlement {
        let settlement = Settlement::of(claim, channels.capabilities(claim.channel)).failed(self.code);
        if claim.waiting.is_empty() {
            // No message waits, so `start` failed in a session that an outbound message opened. It
            // runs again with the first message of the contact.
            return settlement;
        }
        let settlement = match (self.settings.as_deref(), channels.get(claim.channel)) {
            (Some(settings), Some(channel)) => {
                let texts = settings.error_message.iter().filter(|text| !is_blank(text));
                Allowance::of(settings, channel).say(settlement, MessageKind::Error, texts.cloned().collect(), 0)
            }
            _ => settlement,
        };
        if settlement.speaks() { settlement } else { settlement.skip(self.skip) }
    }
}

impl std::fmt::Display for Failure {
    /// For logs, so without what may be of a contact. The row of the turn keeps the whole error.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&agent_error::shown(&self.error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_of_a_failure_has_nothing_of_a_contact() {
        let error = r#"line 3, column 7: "my card is 4111" of +14155550101 is no order"#;
        assert_eq!(Failure::of_ours(error.to_owned()).to_string(), "line 3, column 7: … of … is no order");
    }

    #[test]
    fn a_turn_that_is_interrupted_too_often_says_so() {
        let interrupted = |count| {
            let mut failure = Failure::of_ours("killed".to_owned());
            failure.interrupted(count);
            failure
        };
        let (not_yet, last) = (interrupted(7), interrupted(8));
        assert_eq!((not_yet.retry(0) == Retry::GiveUp, not_yet.error.as_str()), (false, "killed"));
        assert!(last.error.contains("8 times") && last.error.contains("killed"), "{last}");
        assert_eq!(last.retry(0), Retry::GiveUp);
    }
}
