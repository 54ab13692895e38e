//! Warns and ends inactive sessions when their job is due. The claim decides and commits; the job
//! only reports.

use std::time::Duration;

use crate::channels::Channels;
use crate::domain::job::JobKind;
use crate::domain::session::{CloseReason, InactivityOutcome};
use crate::jobs::Shared;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::job::{Job, claim_at_once};
use crate::jobs::runtime::next_due::NextDue;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::inactivity::{self, Decided};
use crate::telemetry::metrics;

/// How many sessions are decided in one transaction.
const SLOTS: usize = 500;

/// Warns and ends inactive sessions.
pub struct InactivityJobs {
    storage: Storage,
    channels: Channels,
    next_due: NextDue,
}

impl InactivityJobs {
    pub(super) fn new(shared: &Shared) -> Self {
        let context = &shared.context;
        Self { storage: context.storage.clone(), channels: context.channels.clone(), next_due: NextDue::default() }
    }
}

impl Job for InactivityJobs {
    type Claim = Decided;
    const KIND: JobKind = JobKind::Inactivity;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn concurrency(&self) -> usize {
        SLOTS
    }

    fn owner(claim: &Decided) -> Owner {
        Owner::alone(claim.session_id)
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<Decided>, sqlx::Error> {
        let (storage, channels, limits) = (&self.storage, &self.channels, &limits);
        let decide = || async move {
            let mut transaction = storage.transaction().await?;
            let decided = inactivity::decide(&mut transaction, limits, &|kind| channels.capabilities(kind)).await;
            database::end(transaction, decided).await
        };
        let decided = database::retry_on_deadlock(decide).await?;
        if decided.iter().any(|decided| decided.planned) {
            storage.notifier().notify(JobKind::Delivery);
        }
        let reading = async { inactivity::next_due(&mut *storage.connection().await?).await };
        self.next_due.record(reading.await);
        Ok(decided)
    }

    fn next_due(&self) -> Option<Duration> {
        Some(self.next_due.get())
    }

    /// Nothing to give back: the claim itself warned or ended the sessions.
    async fn give_back(&self, _: Vec<Decided>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn run(&self, decided: Decided) {
        let Decided { session_id, project_id, outcome, late_seconds, suppressed, .. } = decided;
        let span = tracing::info_span!("inactivity.decide", %project_id, %session_id);
        let _in_span = span.enter();
        if let Some(reason) = suppressed {
            tracing::warn!(%reason, "a warning or closing message was over a limit of its project and was not sent");
            metrics::OUTBOUND_REFUSED.count(&[reason.as_str()]);
        }
        match outcome {
            InactivityOutcome::Warned => {
                tracing::info!(late_seconds, "the session was inactive; a warning was planned")
            }
            InactivityOutcome::Ended => tracing::info!(late_seconds, "the session timed out"),
            InactivityOutcome::Moved => {
                tracing::debug!("the session was active; it will be checked again")
            }
        }
        if outcome != InactivityOutcome::Moved {
            metrics::INACTIVITY_LATENESS_SECONDS.record_seconds(&[], late_seconds);
        }
        metrics::INACTIVITY_JOBS.count(&[outcome.as_str()]);
        if outcome == InactivityOutcome::Ended {
            metrics::SESSIONS_CLOSED.count(&[CloseReason::TimedOut.as_str()]);
        }
    }

    /// Returns how many sessions were warned or ended.
    async fn step(&self) -> Result<usize, sqlx::Error> {
        let decided = claim_at_once(self, SLOTS).await?;
        Ok(decided.iter().filter(|decided| decided.outcome != InactivityOutcome::Moved).count())
    }
}
