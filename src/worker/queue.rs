//! Our rows as a queue that apalis can poll: one backend for every kind of work; it knows no kind of work itself.
//!
//! What a backend must not do, learned the hard way by others: it never ends a worker because the
//! database is away, never claims more than there are free slots, and never waits without
//! having somebody who wakes it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::worker::context::WorkerContext;
use tower::layer::util::Identity;

use crate::ledger::wake::{Wakes, Work};

/// How long a source that failed is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Where claims come from.
pub trait Source: Clone + Send + Sync + Unpin + 'static {
    /// A piece of work that was claimed, with its lease.
    type Claim: Send + Unpin + 'static;
    /// The bell that is rung for it.
    const WORK: Work;

    /// Claims up to `most` pieces of work.
    fn claim(&self, most: usize) -> impl Future<Output = Result<Vec<Self::Claim>, sqlx::Error>> + Send;

    /// Gives back what was claimed and not begun.
    fn give_back(&self, claims: Vec<Self::Claim>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Phase<C> {
    /// Nothing is known to wait: until the bell rings or the interval is over.
    Resting(Boxed<()>),
    Claiming {
        asked: usize,
        claimed: Boxed<Result<Vec<C>, sqlx::Error>>,
    },
    GivingBack(Boxed<Result<(), sqlx::Error>>),
    Closed,
}

/// The backend: claims for free slots, hands out, rests until it is woken.
pub struct RowQueue<S: Source> {
    source: S,
    wakes: Arc<Wakes>,
    slots: usize,
    interval: Duration,
    claimed: VecDeque<S::Claim>,
    phase: Phase<S::Claim>,
}

impl<S: Source> RowQueue<S> {
    /// A queue for a worker with this many slots.
    pub fn new(source: S, wakes: Arc<Wakes>, slots: usize, interval: Duration) -> Self {
        let mut queue = Self { source, wakes, slots, interval, claimed: VecDeque::new(), phase: Phase::Closed };
        queue.claim(slots);
        queue
    }

    fn claim(&mut self, most: usize) {
        let source = self.source.clone();
        self.phase = Phase::Claiming { asked: most, claimed: Box::pin(async move { source.claim(most).await }) };
    }

    fn rest(&mut self, interval: Duration) {
        let wakes = self.wakes.clone();
        self.phase = Phase::Resting(Box::pin(async move {
            let _ = tokio::time::timeout(interval, wakes.rung(S::WORK)).await;
        }));
    }

    /// After a failure the bell is not listened to: it may ring many times a second.
    fn rest_after_failure(&mut self) {
        self.phase = Phase::Resting(Box::pin(tokio::time::sleep(AFTER_FAILURE)));
    }
}

impl<S: Source> Backend for RowQueue<S> {
    type Task = Task<S::Claim>;
    type Error = sqlx::Error;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        loop {
            if let Some(claim) = self.claimed.pop_front() {
                return Poll::Ready(Some(Ok(TaskBuilder::new(claim).build())));
            }
            // Asked anew each time, since handlers end while a claim is under way.
            let free = self.slots.saturating_sub(worker.task_count()).max(1);
            match &mut self.phase {
                Phase::Resting(rest) => {
                    std::task::ready!(rest.as_mut().poll(cx));
                    self.claim(free);
                }
                Phase::Claiming { asked, claimed } => match std::task::ready!(claimed.as_mut().poll(cx)) {
                    Ok(claims) => {
                        let all_there_was = claims.len() < *asked;
                        self.claimed.extend(claims);
                        if all_there_was {
                            self.rest(self.interval);
                        } else {
                            self.claim(free);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, work = ?S::WORK, "no work can be claimed; the worker waits and tries again");
                        metrics::counter!("textback_claim_failures_total").increment(1);
                        self.rest_after_failure();
                    }
                },
                Phase::GivingBack(_) | Phase::Closed => return Poll::Ready(None),
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        loop {
            match &mut self.phase {
                Phase::Claiming { claimed, .. } => {
                    if let Ok(claims) = std::task::ready!(claimed.as_mut().poll(cx)) {
                        self.claimed.extend(claims);
                    }
                    self.phase = Phase::Resting(Box::pin(std::future::ready(())));
                }
                Phase::Resting(_) if self.claimed.is_empty() => self.phase = Phase::Closed,
                Phase::Resting(_) => {
                    let (source, claims) = (self.source.clone(), self.claimed.drain(..).collect());
                    self.phase = Phase::GivingBack(Box::pin(async move { source.give_back(claims).await }));
                }
                Phase::GivingBack(given_back) => {
                    if let Err(error) = std::task::ready!(given_back.as_mut().poll(cx)) {
                        tracing::warn!(%error, "claims could not be given back; their leases will run out");
                    }
                    self.phase = Phase::Closed;
                }
                Phase::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: Source> BackendConfig for RowQueue<S> {
    type Args = S::Claim;
    type Id = u64;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
