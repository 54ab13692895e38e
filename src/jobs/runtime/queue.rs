//! Our rows as a queue that apalis can poll: one backend for every kind of work; it knows no kind of work itself.
//!
//! What a backend must not do, learned the hard way by others: it never ends a worker because the
//! database is away, never claims more than there are free slots, and never waits without
//! having somebody who wakes it.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::{FairLimiter, Owner, Permit};
use crate::jobs::runtime::local_queue::LocalQueue;
use crate::jobs::runtime::narrowing::Narrowing;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::notifier::Notifier;

/// The shortest rest: what is due and could not be claimed is somebody else's for that long.
const SOON: Duration = Duration::from_millis(20);

/// How long the next claim waits for what the one before took: what comes meanwhile is claimed together, which costs less than
/// claims that take one each. What takes longer waits for an agent or a carrier, and the others must not wait with it.
const PACE: Duration = Duration::from_millis(10);

/// How often a claim is offered back while the process stops.
const TRIES_AT_THE_END: u32 = 5;

/// How long a source that failed is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Where claims come from.
pub trait JobSource: Clone + Send + Sync + Unpin + 'static {
    /// A piece of work that was claimed, with its lease.
    type Claim: Send + Unpin + 'static;
    /// The bell that is rung for it.
    const WORK: JobKind;

    /// The storage of the rows.
    fn storage(&self) -> &Storage;

    /// Whose work it is: who may crowd out others.
    fn owner(claim: &Self::Claim) -> Owner;

    /// Owners who may not simply go on.
    fn gates(&self) -> Vec<(Uuid, CircuitState)> {
        Vec::new()
    }

    /// Claims work as far as there is room.
    fn claim(&self, room: ClaimLimits) -> impl Future<Output = Result<Vec<Self::Claim>, sqlx::Error>> + Send;

    /// In how long work is due that nobody will ring for, if that is known.
    fn next(&self) -> Option<Duration> {
        None
    }

    /// Gives back what was claimed and not begun.
    fn give_back(&self, claims: Vec<Self::Claim>) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// A claim with the slot that it holds.
pub struct Leased<C> {
    pub claim: C,
    seat: (Permit, Option<Arc<oneshot::Sender<()>>>),
}

/// What one claim took: over when all of it is done.
struct Batch {
    claimed_at: Instant,
    over: oneshot::Receiver<()>,
}

impl<C> Leased<C> {
    /// A claim on its slot.
    pub(crate) const fn of(claim: C, seat: Permit) -> Self {
        Self { claim, seat: (seat, None) }
    }

    /// The claim, and its slot to be held while it is worked on.
    pub fn into_parts(self) -> (C, impl Send + use<C>) {
        (self.claim, self.seat)
    }
}

/// Claims as the worker would with this many slots, all free: for tests.
pub async fn claim_at_once<S: JobSource>(source: &S, slots: usize) -> Result<Vec<S::Claim>, sqlx::Error> {
    let (narrowing, mut all) = (Narrowing::default(), Vec::new());
    loop {
        let room = gated(ClaimLimits::of(slots), &source.gates(), &FairLimiter::default());
        let (claims, goes_on) = narrowing.claim(source, room).await?;
        all.extend(claims);
        if !goes_on {
            return Ok(all);
        }
    }
}

/// Gives back what one claimed and nobody here works on, so that another process has it before its lease runs out: until that is done or
/// would come too late, and while the process stops only a few times.
pub async fn give_back<S: JobSource>(source: &S, claim: S::Claim, lease: Duration, stopping: &CancellationToken)
where
    S::Claim: Clone + Sync,
{
    let until = Instant::now() + lease;
    let mut tries = 1;
    while let Err(error) = database::with_timeout(source.give_back(vec![claim.clone()])).await {
        tracing::warn!(%error, work = %S::WORK, tries, "a claim could not be given back");
        if Instant::now() > until || (stopping.is_cancelled() && tries >= TRIES_AT_THE_END) {
            return;
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The room without owners whose gate is shut, and with one place for those on trial.
fn gated(room: ClaimLimits, gates: &[(Uuid, CircuitState)], shares: &FairLimiter) -> ClaimLimits {
    gates.iter().fold(room, |mut room, (owner, gate)| {
        let trial = *gate == CircuitState::Trial && shares.held_by(*owner) == 0;
        room.owners.set(*owner, usize::from(trial));
        room
    })
}

/// Counts one more for an id, and returns its count.
fn counted(counts: &mut HashMap<Uuid, usize>, id: Uuid) -> usize {
    let count = counts.entry(id).or_default();
    *count += 1;
    *count
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Phase<C> {
    /// Work may wait: it is claimed when everything that was claimed is under way, for the slots that are free then.
    Ready,
    /// Nothing is known to wait: until the bell rings or the interval is over.
    Idle(Boxed<()>),
    Claiming {
        room: ClaimLimits,
        claimed: Boxed<Result<(Vec<C>, bool), sqlx::Error>>,
    },
    GivingBack(Boxed<Result<(), sqlx::Error>>),
    Closed,
}

/// The backend: claims for free slots, hands out, rests until it is woken.
pub struct PgJobQueue<S: JobSource> {
    source: S,
    notifier: Arc<Notifier>,
    slots: usize,
    interval: Duration,
    shares: FairLimiter,
    narrowing: Arc<Narrowing>,
    /// What comes from elsewhere in this process, claimed already.
    handover: LocalQueue<S::Claim>,
    claimed: VecDeque<Leased<S::Claim>>,
    phase: Phase<S::Claim>,
    batch: Option<Batch>,
}

impl<S: JobSource> PgJobQueue<S> {
    /// A queue for a worker with this many slots.
    pub fn new(source: S, notifier: Arc<Notifier>, slots: usize, interval: Duration) -> Self {
        Self::with_handover(source, notifier, slots, interval, LocalQueue::new(slots))
    }

    /// The same, and what is handed over to it comes first.
    pub fn with_handover(
        source: S,
        notifier: Arc<Notifier>,
        slots: usize,
        interval: Duration,
        handover: LocalQueue<S::Claim>,
    ) -> Self {
        handover.open();
        let shares = handover.shares().clone();
        let (claimed, phase, narrowing) = (VecDeque::new(), Phase::Ready, Arc::default());
        Self { source, notifier, slots, interval, shares, narrowing, handover, claimed, phase, batch: None }
    }

    fn claim(&mut self, most: usize) {
        let (source, narrowing) = (self.source.clone(), self.narrowing.clone());
        let room = gated(self.shares.room(most), &source.gates(), &self.shares);
        self.phase = Phase::Claiming {
            room: room.clone(),
            claimed: Box::pin(async move { narrowing.claim(&source, room).await }),
        };
    }

    /// Seats what was claimed; says whether more may wait.
    fn seat(&mut self, room: &ClaimLimits, claims: Vec<S::Claim>) -> bool {
        let (mut of_owners, mut of_projects) = (HashMap::<Uuid, usize>::new(), HashMap::<Uuid, usize>::new());
        let mut all_that_fit = i64::try_from(claims.len()).unwrap_or(i64::MAX) >= room.most;
        let (done, over) = oneshot::channel();
        let done = Arc::new(done);
        self.batch = Some(Batch { claimed_at: Instant::now(), over });
        for claim in claims {
            let owner = S::owner(&claim);
            // Rows beyond the share of an owner or its project wait until a slot is free.
            all_that_fit |= counted(&mut of_owners, owner.id) >= room.owners.get(owner.id);
            if let Some(id) = owner.project_id {
                all_that_fit |= counted(&mut of_projects, id) >= room.projects.get(id);
            }
            self.claimed.push_back(Leased { claim, seat: (self.shares.take(owner), Some(done.clone())) });
        }
        if room.leaves_somebody_out() || all_that_fit {
            self.shares.mark_starved();
        }
        all_that_fit
    }

    /// Until the next claim: where nothing is known to wait until somebody rings, and in any case until the last batch is done.
    fn rest(&mut self, more_waits: bool) {
        let interval = self.source.next().map_or(self.interval, |next| next.clamp(SOON, self.interval.max(SOON)));
        let (notifier, shares, batch) = (self.notifier.clone(), self.shares.clone(), self.batch.take());
        self.phase = Phase::Idle(Box::pin(async move {
            if !more_waits {
                let _ = tokio::time::timeout(interval, async {
                    tokio::select! {
                        () = notifier.wait(S::WORK) => {}
                        () = shares.freed() => {}
                    }
                })
                .await;
            }
            if let Some(Batch { claimed_at, over }) = batch {
                let _ = tokio::time::timeout_at((claimed_at + PACE).into(), over).await;
            }
        }));
    }

    /// After a failure the bell is not listened to: it may ring many times a second.
    fn rest_after_failure(&mut self) {
        self.phase = Phase::Idle(Box::pin(tokio::time::sleep(AFTER_FAILURE)));
    }
}

impl<S: JobSource> Backend for PgJobQueue<S> {
    type Task = Task<Leased<S::Claim>>;
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
            if let Poll::Ready(claim) = self.handover.poll_next(cx) {
                return Poll::Ready(Some(Ok(TaskBuilder::new(claim).build())));
            }
            match &mut self.phase {
                Phase::Ready => {
                    let taken = worker.task_count().max(self.shares.taken());
                    self.claim(self.slots.saturating_sub(taken).max(1));
                }
                Phase::Idle(rest) => {
                    std::task::ready!(rest.as_mut().poll(cx));
                    self.phase = Phase::Ready;
                }
                Phase::Claiming { room, claimed } => match std::task::ready!(claimed.as_mut().poll(cx)) {
                    Ok((claims, narrowing)) => {
                        let room = room.clone();
                        let more_waits = self.seat(&room, claims) || narrowing;
                        self.rest(more_waits);
                    }
                    Err(error) => {
                        tracing::warn!(%error, work = %S::WORK, "no work can be claimed; the worker waits and tries again");
                        self.rest_after_failure();
                    }
                },
                Phase::GivingBack(_) | Phase::Closed => return Poll::Ready(None),
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        self.claimed.extend(self.handover.close());
        loop {
            match &mut self.phase {
                Phase::Claiming { room, claimed } => {
                    if let Ok((claims, _)) = std::task::ready!(claimed.as_mut().poll(cx)) {
                        let room = room.clone();
                        self.seat(&room, claims);
                    }
                    self.phase = Phase::Ready;
                }
                Phase::Ready | Phase::Idle(_) if self.claimed.is_empty() => self.phase = Phase::Closed,
                Phase::Ready | Phase::Idle(_) => {
                    let claims = self.claimed.drain(..).map(|seated| seated.claim).collect();
                    let source = self.source.clone();
                    self.phase =
                        Phase::GivingBack(Box::pin(
                            async move { database::with_timeout(source.give_back(claims)).await },
                        ));
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

impl<S: JobSource> BackendConfig for PgJobQueue<S> {
    type Args = Leased<S::Claim>;
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
