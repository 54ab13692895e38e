//! Silent sessions: looked at when their scheduled job is due; what is decided is committed before anybody here hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apalis_core::error::BoxDynError;

use crate::domain::job::JobKind;
use crate::jobs::SILENCE_SLOTS;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::queue::{JobSource, Leased, claim_at_once};
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::inactivity::{self, Decided};

/// Warns and ends silent sessions.
#[derive(Clone)]
pub struct InactivityJobs {
    storage: Storage,
    /// In how many milliseconds the next one is due, as far as is known.
    next: Arc<AtomicU64>,
}

impl InactivityJobs {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, next: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Looks at all that are due; says how many were warned or ended. This is what the worker does, without the worker:
    /// for tests.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        let decided = claim_at_once(self, SILENCE_SLOTS).await?;
        Ok(decided.iter().filter(|decided| decided.outcome != "moved").count())
    }
}

impl JobSource for InactivityJobs {
    type Claim = Decided;
    const WORK: JobKind = JobKind::Inactivity;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn owner(claim: &Decided) -> Owner {
        Owner::alone(claim.session_id)
    }

    async fn claim(&self, room: ClaimLimits) -> Result<Vec<Decided>, sqlx::Error> {
        let decided = inactivity::decide(&self.storage, room).await?;
        let next = inactivity::next_due(&self.storage).await?;
        self.next.store(crate::jobs::milliseconds(next), Ordering::Relaxed);
        Ok(decided)
    }

    /// What was decided is done.
    async fn give_back(&self, _: Vec<Decided>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn next(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.next.load(Ordering::Relaxed)))
    }
}

/// The worker's function: tells what was decided.
pub(super) async fn work(seated: Leased<Decided>) -> Result<(), BoxDynError> {
    let (decided, _seat) = seated.into_parts();
    let Decided { session_id, outcome, late_seconds, refused, .. } = decided;
    if let Some(reason) = refused {
        tracing::warn!(%session_id, reason, "a warning or a farewell is over a limit of its project and is not sent");
        metrics::counter!("textback_outbound_refused_total", "reason" => reason).increment(1);
    }
    match outcome.as_str() {
        "warned" => tracing::info!(%session_id, late_seconds, "the session is silent; a warning is planned"),
        "ended" => tracing::info!(%session_id, late_seconds, "the session has timed out"),
        _ => tracing::debug!(%session_id, "the session is not silent; it is looked at again later"),
    }
    metrics::counter!("textback_silences_total", "outcome" => outcome.clone()).increment(1);
    if outcome != "moved" {
        metrics::histogram!("textback_silence_lateness_seconds").record(late_seconds);
    }
    Ok(())
}
