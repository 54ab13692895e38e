//! Sends scheduled messages when they are due. The claim makes messages with deliveries of them and
//! commits; the job only reports.

use std::time::Duration;

use tracing::field::display;

use crate::channels;
use crate::domain::job::JobKind;
use crate::domain::message::ScheduledOutcome;
use crate::jobs::Shared;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::job::Job;
use crate::jobs::runtime::next_due::NextDue;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::scheduled_message::{self, Due};
use crate::telemetry::metrics;

/// How many scheduled messages are sent in one transaction.
const SLOTS: usize = 100;

/// Sends scheduled messages.
pub struct ScheduledMessages {
    storage: Storage,
    next_due: NextDue,
}

impl ScheduledMessages {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { storage: shared.context.storage.clone(), next_due: NextDue::default() }
    }
}

impl Job for ScheduledMessages {
    type Claim = Due;
    const KIND: JobKind = JobKind::ScheduledMessage;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn concurrency(&self) -> usize {
        SLOTS
    }

    fn owner(claim: &Due) -> Owner {
        Owner::alone(claim.message_id)
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<Due>, sqlx::Error> {
        let (storage, limits) = (&self.storage, &limits);
        let send = || async move {
            let mut transaction = storage.transaction().await?;
            let sent = scheduled_message::send_due(&mut transaction, limits, channels::of_numbers().facts()).await;
            database::end(transaction, sent).await
        };
        let due = database::retry_on_deadlock(send).await?;
        if due.iter().any(|due| due.outcome == ScheduledOutcome::Sent) {
            storage.notifier().notify(JobKind::Delivery);
            // A new session runs its start function.
            storage.notifier().notify(JobKind::Turn);
        }
        let reading = async { scheduled_message::next_due(&mut *storage.connection().await?).await };
        self.next_due.record(reading.await);
        Ok(due)
    }

    fn next_due(&self) -> Option<Duration> {
        Some(self.next_due.get())
    }

    /// Nothing to give back: the claim itself sent the messages.
    async fn give_back(&self, _: Vec<Due>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn run(&self, due: Due) {
        let Due { message_id, project_id, session_id, turn_id, outcome, late_seconds } = due;
        let turn_id = turn_id.map(display);
        let span = tracing::info_span!("scheduled_message.send", %project_id, %message_id, turn_id, session_id = session_id.map(display));
        let _in_span = span.enter();
        match outcome {
            ScheduledOutcome::Sent => {
                tracing::info!(late_seconds, "a scheduled message was planned for delivery");
            }
            ScheduledOutcome::PutOff => {
                tracing::info!("a scheduled message was put off to the end of quiet hours or of a limit's window");
            }
            ScheduledOutcome::ContactLimitReached
            | ScheduledOutcome::ProjectLimitReached
            | ScheduledOutcome::CountryNotAllowed => {
                tracing::warn!(why = outcome.as_str(), "a scheduled message was not sent");
                metrics::OUTBOUND_REFUSED.count(&[outcome.as_str()]);
            }
            ScheduledOutcome::ContactOptedOut
            | ScheduledOutcome::ContactIsLandline
            | ScheduledOutcome::SessionActive
            | ScheduledOutcome::NumberDetached
            | ScheduledOutcome::ToIsFrom => {
                tracing::warn!(why = outcome.as_str(), "a scheduled message was not sent");
            }
        }
        metrics::SCHEDULED_MESSAGES.count(&[outcome.as_str()]);
    }
}
