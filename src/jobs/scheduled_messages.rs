//! Scheduled texts: when one is due it becomes a message with its delivery; what is decided is committed before anybody here hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apalis_core::error::BoxDynError;

use crate::domain::job::JobKind;
use crate::jobs::SCHEDULED_SLOTS;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::queue::{JobSource, Leased, claim_at_once};
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::scheduled_message::{self, Due};

/// Sends what was scheduled.
#[derive(Clone)]
pub struct ScheduledMessages {
    storage: Storage,
    /// In how many milliseconds the next one is due, as far as is known.
    next: Arc<AtomicU64>,
}

impl ScheduledMessages {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, next: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Sends all that are due; says how many there were. This is what the worker does, without the worker: for tests.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        Ok(claim_at_once(self, SCHEDULED_SLOTS).await?.len())
    }
}

impl JobSource for ScheduledMessages {
    type Claim = Due;
    const WORK: JobKind = JobKind::ScheduledMessage;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn owner(claim: &Due) -> Owner {
        Owner::alone(claim.message_id)
    }

    async fn claim(&self, room: ClaimLimits) -> Result<Vec<Due>, sqlx::Error> {
        let due = scheduled_message::send_due(&self.storage, room).await?;
        let next = scheduled_message::next_due(&self.storage).await?;
        self.next.store(crate::jobs::milliseconds(next), Ordering::Relaxed);
        Ok(due)
    }

    /// What was sent is done.
    async fn give_back(&self, _: Vec<Due>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn next(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.next.load(Ordering::Relaxed)))
    }
}

/// The worker's function: tells what became of it.
pub(super) async fn work(seated: Leased<Due>) -> Result<(), BoxDynError> {
    let (due, _seat) = seated.into_parts();
    let Due { message_id, session_id, outcome, late_seconds, .. } = due;
    match outcome.as_str() {
        "sent" => tracing::info!(%message_id, session_id = ?session_id, late_seconds, "a scheduled text is on its way"),
        "put_off" => {
            tracing::info!(%message_id, "a scheduled text waits until the contact's quiet hours are over, or the window of a limit")
        }
        why => {
            tracing::warn!(%message_id, why, "a scheduled text is not sent");
            if matches!(why, "contact_limit_reached" | "project_limit_reached" | "country_not_allowed") {
                metrics::counter!("textback_outbound_refused_total", "reason" => outcome.clone()).increment(1);
            }
        }
    }
    metrics::counter!("textback_scheduled_messages_total", "outcome" => outcome).increment(1);
    Ok(())
}
