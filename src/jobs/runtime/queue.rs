//! Builds and runs the workers of a process, one per kind of job, over a backend of apalis. The
//! backend claims due rows for free slots and hands them out.
//!
//! It never ends its worker because the database is unavailable, and never claims more than there
//! are free slots.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::error::BoxDynError;
use apalis_core::monitor::{Monitor, MonitorError};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;
use uuid::Uuid;

use crate::jobs::runtime::job::{Job, with_circuits};
use crate::jobs::runtime::local_queue::{Leased, LocalQueue};
use crate::jobs::runtime::narrowing::Narrowing;
use crate::repeating::Repeating;
use crate::storage::claim_limits::{ClaimLimits, Quotas};
use crate::storage::{database, unreachable};

/// How long running deliveries may go on after the signal to stop. A call to the carrier ends by
/// itself within 15 seconds. Turns end earlier, because another worker can run them again.
pub const GRACE: Duration = Duration::from_secs(20);

/// The shortest wait before the next claim, even if a job is due already: another process may hold
/// it.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// How long the next claim waits for the jobs of the one before. The jobs that become due meanwhile
/// are claimed together, which costs less than a claim for each. A job that takes longer waits for
/// an agent or a carrier, and others must not wait with it.
const BATCH_WAIT: Duration = Duration::from_millis(10);

/// The pause after a claim that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Claims that fail, by the kind of job. They are repeated each second, and the cause may last for
/// hours.
static NOT_CLAIMED: Repeating = Repeating::new();

/// Workers that end, by the kind of job. One that ends at its start is started again at once.
static ENDED: Repeating = Repeating::new();

/// Why workers ended before they were told to stop.
pub type RuntimeError = MonitorError;

/// The workers of a process.
pub struct Runtime {
    monitor: Monitor,
    /// Part of the names of this process's workers, so that no other process has the same.
    process: Uuid,
    poll_interval: Duration,
}

impl Runtime {
    /// Workers that look for jobs at least once per interval.
    pub fn new(poll_interval: Duration) -> Self {
        let monitor = Monitor::new()
            // Without its worker, the process would run on and leave the jobs of a kind undone.
            .should_restart(|worker, error| {
                if let Some(times) = ENDED.observe("", &error.to_string()) {
                    tracing::error!(worker = worker.name(), %error, times, "a worker ended unexpectedly and was started again");
                }
                true
            })
            .shutdown_timeout(GRACE);
        Self { monitor, process: Uuid::now_v7(), poll_interval }
    }

    /// Adds the worker of a kind of job.
    pub fn register<J: Job>(self, queue: &LocalQueue<J>) -> Self {
        queue.job().start();
        let (queue, process, poll_interval) = (queue.clone(), self.process, self.poll_interval);
        let monitor = self.monitor.register(move |restart| {
            let jobs = queue.clone();
            WorkerBuilder::new(format!("{}-{process}-{restart}", J::KIND))
                .backend(PgJobQueue::new(queue.clone(), poll_interval))
                .concurrency(queue.job().concurrency())
                .catch_panic()
                .build(move |leased: Leased<J::Claim>| {
                    let jobs = jobs.clone();
                    async move {
                        let (claim, _held) = leased.into_parts();
                        // On the heap: it is some kilobytes, and apalis moves it through each of
                        // its layers.
                        Box::pin(jobs.job().run(claim)).await;
                        Ok::<(), BoxDynError>(())
                    }
                })
        });
        Self { monitor, ..self }
    }

    /// Runs the workers until `stop`. Then running jobs may end, and jobs that were not begun are
    /// given back.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), RuntimeError> {
        self.monitor
            .run_with_signal(async move {
                stop.await;
                Ok(())
            })
            .await
    }
}

/// The backend of one worker.
struct PgJobQueue<J: Job> {
    queue: LocalQueue<J>,
    /// Claims jobs until `closing` is cancelled. `None` when it has ended.
    claimer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    closing: CancellationToken,
}

impl<J: Job> PgJobQueue<J> {
    /// Fills a queue with due jobs. Looks for them at least once per `poll_interval`.
    fn new(queue: LocalQueue<J>, poll_interval: Duration) -> Self {
        queue.open();
        let closing = CancellationToken::new();
        let claimer = Claimer { queue: queue.clone(), narrowing: Narrowing::default(), poll_interval };
        Self { queue, claimer: Some(Box::pin(claimer.run(closing.clone()))), closing }
    }
}

impl<J: Job> Backend for PgJobQueue<J> {
    type Task = Task<Leased<J::Claim>>;
    type Error = sqlx::Error;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    /// Polled when a slot is free. The claimer runs only when no job waits in the queue, so it
    /// claims for the slots that are free then.
    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        let task = |leased| Some(Ok(TaskBuilder::new(leased).build()));
        if self.closing.is_cancelled() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(leased) = self.queue.poll_next(cx) {
            return Poll::Ready(task(leased));
        }
        if let Some(claimer) = &mut self.claimer {
            let _ = claimer.as_mut().poll(cx);
        }
        self.queue.poll_next(cx).map(task)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        self.closing.cancel();
        if let Some(claimer) = &mut self.claimer {
            std::task::ready!(claimer.as_mut().poll(cx));
            self.claimer = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<J: Job> BackendConfig for PgJobQueue<J> {
    type Args = Leased<J::Claim>;
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

struct Claimer<J: Job> {
    queue: LocalQueue<J>,
    narrowing: Narrowing,
    poll_interval: Duration,
}

/// The jobs of one claim that are not done. `ended` resolves when all are.
struct Batch {
    claimed_at: Instant,
    ended: oneshot::Receiver<()>,
    /// Whether more jobs may be due.
    more_wait: bool,
}

impl<J: Job> Claimer<J> {
    /// Claims until `closing` is cancelled. A claim that runs at that time is finished, and what
    /// was not begun is given back.
    async fn run(self, closing: CancellationToken) {
        while !closing.is_cancelled() {
            match self.claim().await {
                Ok(batch) => {
                    if NOT_CLAIMED.ended(J::KIND.as_str()) {
                        tracing::info!(kind = %J::KIND, "jobs can be claimed again");
                    }
                    closing.run_until_cancelled(self.wait(batch)).await
                }
                Err(error) => {
                    self.log_failure(error).await;
                    // Notifications do not end this pause, because there may be many in a second.
                    closing.run_until_cancelled(tokio::time::sleep(AFTER_FAILURE)).await
                }
            };
        }
        let claims = self.queue.close();
        if claims.is_empty() {
            return;
        }
        if let Err(error) = database::with_timeout(self.queue.job().give_back(claims)).await {
            tracing::warn!(%error, kind = %J::KIND, "claims could not be given back; their leases will run out");
        }
    }

    /// Logs why no job can be claimed. When the database is lost, the pool reports only a time-out,
    /// so the cause is looked up.
    async fn log_failure(&self, error: sqlx::Error) {
        let Some(times) = NOT_CLAIMED.observe(J::KIND.as_str(), &error.to_string()) else { return };
        let pool = self.queue.job().storage().pool();
        let error = unreachable::text(&pool.connect_options(), &database::reason(pool, error).await);
        tracing::warn!(error, times, kind = %J::KIND, "no job could be claimed; the worker will try again each second");
    }

    /// Claims jobs for the free slots and adds them to the queue.
    async fn claim(&self) -> Result<Batch, sqlx::Error> {
        let (job, limiter) = (self.queue.job(), self.queue.limiter());
        // The worker asks for a job only when it has a free slot.
        let free = limiter.free().max(1);
        let limits = with_circuits(limiter.limits(free), &job.circuits(), limiter);
        let (claims, narrowing) = self.narrowing.claim(job, limits.clone()).await?;
        let is_full = reaches_a_limit::<J>(&claims, &limits);
        if limits.leaves_somebody_out() || is_full {
            limiter.mark_starved();
        }
        let (done, ended) = oneshot::channel();
        let done = Arc::new(done);
        for claim in claims {
            let permit = limiter.acquire(J::owner(&claim));
            // The queue is open: only this claimer closes it.
            let _ = self.queue.try_push(Leased::new(claim, permit, Some(done.clone())));
        }
        Ok(Batch { claimed_at: Instant::now(), ended, more_wait: is_full || narrowing })
    }

    /// Waits until it is time for the next claim: until a job may be due, and until the last batch
    /// has ended or [`BATCH_WAIT`] is over.
    async fn wait(&self, batch: Batch) {
        if !batch.more_wait {
            let longest = self.poll_interval.max(SHORTEST_WAIT);
            let job = self.queue.job();
            let wait = job.next_due().map_or(self.poll_interval, |due| due.clamp(SHORTEST_WAIT, longest));
            let _ = tokio::time::timeout(wait, async {
                tokio::select! {
                    () = job.storage().notifier().wait(J::KIND) => {}
                    () = self.queue.limiter().freed() => {}
                }
            })
            .await;
        }
        let _ = tokio::time::timeout_at((batch.claimed_at + BATCH_WAIT).into(), batch.ended).await;
    }
}

/// Whether a claim reached its limit, or that of an owner or a project. More jobs may be due then.
fn reaches_a_limit<J: Job>(claims: &[J::Claim], limits: &ClaimLimits) -> bool {
    let (mut by_owner, mut by_project) = (HashMap::new(), HashMap::new());
    for owner in claims.iter().map(J::owner) {
        *by_owner.entry(owner.id).or_insert(0) += 1;
        if let Some(id) = owner.project_id {
            *by_project.entry(id).or_insert(0) += 1;
        }
    }
    let reached =
        |counts: HashMap<Uuid, usize>, quotas: &Quotas| counts.into_iter().any(|(id, count)| count >= quotas.get(id));
    i64::try_from(claims.len()).unwrap_or(i64::MAX) >= limits.most
        || reached(by_owner, &limits.owners)
        || reached(by_project, &limits.projects)
}
