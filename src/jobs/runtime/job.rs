//! What each kind of job tells the runtime: how its rows are claimed, run and given back.

use std::future::Future;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::{FairLimiter, Owner};
use crate::jobs::runtime::narrowing::Narrowing;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;

/// How many jobs a step claims if a worker has fewer slots.
const STEP_SLOTS: usize = 64;

/// A kind of job.
pub trait Job: Send + Sync + 'static {
    /// A job that was claimed, with its lease.
    type Claim: Send + Unpin + 'static;
    /// Names the kind in notifications, logs and metrics.
    const KIND: JobKind;

    /// The storage of the rows.
    fn storage(&self) -> &Storage;

    /// How many jobs run at a time in a process.
    fn concurrency(&self) -> usize;

    /// For how long a job is claimed. Zero if the claim itself does the work.
    fn lease(&self) -> Duration {
        Duration::ZERO
    }

    /// The owner of a job, who may hold only a share of the slots.
    fn owner(claim: &Self::Claim) -> Owner;

    /// The owners whose circuit is not closed.
    fn circuits(&self) -> Vec<(Uuid, CircuitState)> {
        Vec::new()
    }

    /// Claims due jobs within the limits.
    fn claim(&self, limits: ClaimLimits) -> impl Future<Output = Result<Vec<Self::Claim>, sqlx::Error>> + Send;

    /// The time until the next job is due that no notification will announce, such as a timer.
    /// `None`: not known.
    fn next_due(&self) -> Option<Duration> {
        None
    }

    /// Gives back jobs that were claimed and not begun.
    fn give_back(&self, claims: Vec<Self::Claim>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Runs a job to its end, and stores the outcome in the row of the job.
    fn run(&self, claim: Self::Claim) -> impl Future<Output = ()> + Send;

    /// Called before the worker starts.
    fn start(&self) {}

    /// Claims the due jobs and runs them without a worker, for tests. Returns the number of jobs.
    fn step(&self) -> impl Future<Output = Result<usize, sqlx::Error>> + Send
    where
        Self: Sized,
    {
        async {
            let claims = claim_at_once(self, self.concurrency().max(STEP_SLOTS)).await?;
            let count = claims.len();
            futures::future::join_all(claims.into_iter().map(|claim| self.run(claim))).await;
            Ok(count)
        }
    }
}

/// Claims as a worker with this many free slots would, for tests.
pub async fn claim_at_once<J: Job>(job: &J, slots: usize) -> Result<Vec<J::Claim>, sqlx::Error> {
    let (narrowing, limiter, mut all) = (Narrowing::default(), FairLimiter::new(slots), Vec::new());
    loop {
        let limits = with_circuits(ClaimLimits::of(slots), &job.circuits(), &limiter);
        let (claims, more_wait) = narrowing.claim(job, limits).await?;
        all.extend(claims);
        if !more_wait {
            return Ok(all);
        }
    }
}

/// The limits without owners whose circuit is open, and with one job for those whose circuit is
/// half open.
pub(super) fn with_circuits(
    mut limits: ClaimLimits,
    circuits: &[(Uuid, CircuitState)],
    limiter: &FairLimiter,
) -> ClaimLimits {
    for (owner, state) in circuits {
        let may_try = match state {
            CircuitState::Open => false,
            CircuitState::HalfOpen => limiter.held_by(*owner) == 0,
        };
        limits.owners.set(*owner, usize::from(may_try));
    }
    limits
}
