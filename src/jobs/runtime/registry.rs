//! Builds and runs the workers of a process, one per kind of job.

use std::future::Future;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis_core::error::BoxDynError;
use apalis_core::monitor::{Monitor, MonitorError};
use apalis_core::worker::builder::WorkerBuilder;
use uuid::Uuid;

use crate::jobs::runtime::job::Job;
use crate::jobs::runtime::local_queue::{Leased, LocalQueue};
use crate::jobs::runtime::queue::PgJobQueue;

/// How long running deliveries may go on after the signal to stop. A call to the carrier ends by itself within 15 seconds.
/// Turns end earlier, because another worker can run them again.
pub const GRACE: Duration = Duration::from_secs(20);

/// Why workers ended before they were told to stop.
pub type RuntimeError = MonitorError;

/// The workers of a process.
pub struct Runtime {
    monitor: Monitor,
    /// Tells the names of this process's workers from those of others.
    process: Uuid,
    poll_interval: Duration,
}

impl Runtime {
    /// Workers that look for jobs at least once per interval.
    pub fn new(poll_interval: Duration) -> Self {
        let monitor = Monitor::new()
            // Without its worker, the process would run on and leave the jobs of a kind undone.
            .should_restart(|worker, error| {
                tracing::error!(worker = worker.name(), %error, "a worker ended; it is started again");
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
                        // On the heap: it is some kilobytes, and apalis moves it through each of its layers.
                        Box::pin(jobs.job().run(claim)).await;
                        Ok::<(), BoxDynError>(())
                    }
                })
        });
        Self { monitor, ..self }
    }

    /// Runs the workers until `stop`. Then running jobs may end, and jobs that were not begun are given back.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), RuntimeError> {
        self.monitor
            .run_with_signal(async move {
                stop.await;
                Ok(())
            })
            .await
    }
}
