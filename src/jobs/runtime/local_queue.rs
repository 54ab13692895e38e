//! The jobs that are claimed in this process and wait for their worker. The statement that stores a
//! message can also claim its turn, and the one that settles a turn its first delivery. Such a job
//! is pushed here, so that the worker need not claim it.
//!
//! A slot is reserved before the statement runs, so that no more is claimed than there are slots.
//!
//! docs/decisions/014-eager-dispatch.md has the reasons.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::{FairLimiter, Owner, Permit};
use crate::jobs::runtime::job::Job;
use crate::storage::database;
use crate::telemetry::metrics;

/// How often a claim is given back while the process stops.
const TRIES_WHILE_STOPPING: u32 = 5;
/// The pause before it is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The claimed jobs of one kind that wait for their worker. It is closed until its worker runs, and
/// when the worker stops. Cheap to clone; all clones are the same.
pub struct LocalQueue<J: Job>(Arc<Inner<J>>);

struct Inner<J: Job> {
    job: J,
    waiting: Mutex<Waiting<J::Claim>>,
    waker: AtomicWaker,
    limiter: FairLimiter,
    /// Cancelled when the process is told to stop.
    stopping: CancellationToken,
}

struct Waiting<C> {
    claims: VecDeque<Leased<C>>,
    is_open: bool,
}

/// A claimed job with the slot that it holds.
pub(super) struct Leased<C> {
    claim: C,
    permit: Permit,
    /// Dropped when all jobs of its claim have ended.
    batch: Option<Arc<oneshot::Sender<()>>>,
}

impl<C> Leased<C> {
    pub(super) const fn new(claim: C, permit: Permit, batch: Option<Arc<oneshot::Sender<()>>>) -> Self {
        Self { claim, permit, batch }
    }

    /// The claim, and what is held while it runs.
    pub(super) fn into_parts(self) -> (C, impl Send + use<C>) {
        (self.claim, (self.permit, self.batch))
    }
}

impl<J: Job> Clone for LocalQueue<J> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J: Job> LocalQueue<J> {
    /// The queue of a kind of job in a process that stops when `stopping` is cancelled.
    pub fn new(job: J, stopping: CancellationToken) -> Self {
        let limiter = FairLimiter::new(job.concurrency());
        let waiting = Mutex::new(Waiting { claims: VecDeque::new(), is_open: false });
        Self(Arc::new(Inner { job, waiting, waker: AtomicWaker::new(), limiter, stopping }))
    }

    /// The kind of job.
    pub fn job(&self) -> &J {
        &self.0.job
    }

    /// See [`Job::step`].
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        self.job().step().await
    }

    /// Reserves a slot for a job of an owner, if the worker runs, the owner may have one more and
    /// its circuit is closed.
    pub fn reserve(&self, owner: Owner) -> Option<Permit> {
        // Another process can run the job at once.
        if self.0.stopping.is_cancelled() || !self.lock().is_open {
            return None;
        }
        if self.job().circuits().iter().any(|(id, _)| *id == owner.id) {
            return None;
        }
        self.0.limiter.try_acquire(owner)
    }

    /// Lets the worker run a job that was claimed for it, on the slot that was reserved before. If
    /// the worker has stopped, the job is given back.
    pub async fn push(&self, claim: J::Claim, permit: Permit)
    where
        J::Claim: Clone + Sync,
    {
        if let Err(Leased { claim, .. }) = self.try_push(Leased::new(claim, permit, None)) {
            self.give_back(claim).await;
        }
    }

    /// Gives back a job that nobody in this process runs, so that it need not wait until its lease
    /// ends.
    pub async fn give_back(&self, claim: J::Claim)
    where
        J::Claim: Clone + Sync,
    {
        let until = Instant::now() + self.job().lease();
        let mut tries = 1;
        while let Err(error) = database::with_timeout(self.job().give_back(vec![claim.clone()])).await {
            tracing::warn!(%error, kind = %J::KIND, tries, "a claim could not be given back");
            if Instant::now() > until || (self.0.stopping.is_cancelled() && tries >= TRIES_WHILE_STOPPING) {
                return;
            }
            tries += 1;
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Sets the gauges of the slots and circuits.
    pub fn observe(&self) {
        let (limiter, work) = (&self.0.limiter, J::KIND.as_str());
        metrics::SLOTS.set_count(&[work], self.job().concurrency());
        metrics::SLOTS_IN_USE.set_count(&[work], limiter.in_use());
        let circuits = self.job().circuits();
        for (state, word) in [(CircuitState::Open, "open"), (CircuitState::HalfOpen, "half_open")] {
            let count = circuits.iter().filter(|(_, found)| *found == state).count();
            metrics::CIRCUITS.set_count(&[work, word], count);
        }
    }

    /// Who holds the slots, reserved ones included.
    pub(super) fn limiter(&self) -> &FairLimiter {
        &self.0.limiter
    }

    /// Adds a job, unless the queue is closed.
    pub(super) fn try_push(&self, leased: Leased<J::Claim>) -> Result<(), Leased<J::Claim>> {
        let mut waiting = self.lock();
        if !waiting.is_open {
            return Err(leased);
        }
        waiting.claims.push_back(leased);
        drop(waiting);
        self.0.waker.wake();
        Ok(())
    }

    /// The next job. Wakes the task of `cx` when one comes later.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Leased<J::Claim>> {
        // Registered before the look, so that no job is missed between both.
        self.0.waker.register(cx.waker());
        self.lock().claims.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes jobs from now on.
    pub fn open(&self) {
        self.lock().is_open = true;
    }

    /// Takes no more jobs, and returns those that were not begun.
    pub(super) fn close(&self) -> Vec<J::Claim> {
        let mut waiting = self.lock();
        waiting.is_open = false;
        waiting.claims.drain(..).map(|leased| leased.claim).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<J::Claim>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
