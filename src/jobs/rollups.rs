//! Counts by hour what happened, for the views of dashboards: docs/decisions/007-rollups.md. One
//! process at a time does it.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::domain::rollup::{Allowed, Step, live_pause, marked_pause, next_width};
use crate::failpoint;
use crate::jobs::Shared;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::job::Job;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::rollup::{self, Wanted};

/// After how long a run ends and the rollups are claimed again, so that a process that stops is not
/// waited for.
const RUN: Duration = Duration::from_secs(10);
/// For how long marked hours are counted in a run.
const MARKED: Duration = Duration::from_millis(500);
/// After how long a run that failed is repeated.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Counts hours.
pub struct Rollups {
    storage: Storage,
    stopping: CancellationToken,
}

/// What a run did.
#[derive(Debug, Default)]
struct Run {
    /// How long counting the current hours (`live`) and the marked hours took.
    live: Option<Duration>,
    marked: Duration,
    leaves_marked: bool,
    steps: usize,
    is_done: bool,
}

impl Rollups {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { storage: shared.context.storage.clone(), stopping: shared.stopping.clone() }
    }

    #[tracing::instrument(name = "rollup.count", skip_all)]
    async fn count(&self, token: Uuid) {
        let run = match self.steps(token).await {
            Ok(Some(run)) => run,
            Ok(None) => return tracing::warn!("another worker claimed the rollups first"),
            Err(error) => {
                tracing::warn!(%error, "the rollups could not be counted; they will be tried again");
                return self.finish(token, AFTER_FAILURE, &Run::default()).await;
            }
        };
        let until_live = run.live.map_or(live_pause(Duration::ZERO), live_pause);
        let due = match (run.is_done, run.leaves_marked) {
            (false, _) => Duration::ZERO,
            (true, true) => marked_pause(run.marked).clamp(Duration::from_secs(1), until_live),
            (true, false) => until_live,
        };
        self.finish(token, due, &run).await;
    }

    /// Counts what is due, the hour that runs first. Returns `None` if another worker has claimed
    /// the rollups meanwhile.
    async fn steps(&self, token: Uuid) -> Result<Option<Run>, sqlx::Error> {
        let (mut run, mut hours, began) = (Run::default(), 1, Instant::now());
        while began.elapsed() < RUN && !self.stopping.is_cancelled() {
            let allowed = Allowed { live: run.live.is_none(), marked: run.marked < MARKED, hours };
            let step_began = Instant::now();
            let stepping = rollup::step(&self.storage, Some(token), Wanted { allowed, early: false });
            let Some(done) = failpoint::during("rollup.in_commit", stepping).await? else { return Ok(None) };
            let took = step_began.elapsed();
            run.steps += 1;
            run.leaves_marked = done.leaves_marked;
            match done.step {
                Step::Rest => {
                    run.is_done = true;
                    break;
                }
                Step::Live { .. } => run.live = Some(took),
                Step::Recount { .. } => run.marked += took,
                Step::Settle { .. } => hours = next_width(hours, took),
                Step::Backlog { since, until } => {
                    tracing::debug!(%since, %until, "hours before the installation of the rollups were counted");
                    hours = next_width(hours, took);
                    // The pause leaves half of one core to the messages of contacts.
                    self.stopping.run_until_cancelled(tokio::time::sleep(took)).await;
                }
                Step::GoBack { to } => {
                    tracing::warn!(since = %to, "the clock of the database went back; the hours after it were counted again");
                }
                Step::End { .. } | Step::Start { .. } | Step::FindOldest => {}
            }
        }
        Ok(Some(run))
    }

    async fn finish(&self, token: Uuid, due: Duration, run: &Run) {
        let (live, marked) = (run.live.map(live_pause), Some(marked_pause(run.marked)));
        let finishing = async {
            let mut connection = self.storage.connection().await?;
            rollup::finish(&mut connection, token, due, live, marked).await
        };
        if let Err(error) = database::with_timeout::<_, sqlx::Error, _>(finishing).await {
            tracing::warn!(%error, "the lease of the rollups could not be given back; it will run out");
        }
    }
}

impl Job for Rollups {
    type Claim = Uuid;
    const KIND: JobKind = JobKind::Rollup;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn owner(_: &Uuid) -> Owner {
        // The rollups belong to no project.
        Owner::alone(Uuid::nil())
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<Uuid>, sqlx::Error> {
        if limits.most < 1 {
            return Ok(Vec::new());
        }
        let token = Uuid::now_v7();
        let claimed = rollup::claim(&mut *self.storage.connection().await?, token).await?;
        Ok(claimed.then_some(token).into_iter().collect())
    }

    async fn give_back(&self, claims: Vec<Uuid>) -> Result<(), sqlx::Error> {
        for token in claims {
            rollup::finish(&mut *self.storage.connection().await?, token, Duration::ZERO, None, None).await?;
        }
        Ok(())
    }

    async fn run(&self, token: Uuid) {
        self.count(token).await;
    }

    /// Counts all that can be counted now, whether it is due or not, and returns how many steps
    /// that took.
    async fn step(&self) -> Result<usize, sqlx::Error> {
        let (mut live, mut hours, mut steps) = (true, 1, 0);
        loop {
            let wanted = Wanted { allowed: Allowed { live, marked: true, hours }, early: true };
            let Some(done) = rollup::step(&self.storage, None, wanted).await? else { return Ok(steps) };
            match done.step {
                Step::Rest => return Ok(steps),
                Step::Live { .. } => live = false,
                _ => hours = next_width(hours, Duration::ZERO),
            }
            steps += 1;
        }
    }
}
