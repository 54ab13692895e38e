//! Retries a claim that fails because of a row's data with fewer rows, until that row is found and
//! set aside. [`crate::jobs::runtime::search`] decides which row is to blame.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use crate::jobs::runtime::job::Job;
use crate::jobs::runtime::search::{Conclusion, Search, Step};
use crate::repeating::Repeating;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::set_aside;
use crate::telemetry::metrics;

/// Searches that started, and searches that blamed no row. While no row can be claimed, a search
/// starts each second.
static SEARCHED: Repeating = Repeating::new();
static NOBODY: Repeating = Repeating::new();

/// The search state of one kind of job whose claims fail because of some rows.
#[derive(Default)]
pub(crate) struct Narrowing(Mutex<Search>);

/// The claims, and whether there is more to claim at once.
type Claimed<C> = (Vec<C>, bool);

impl Narrowing {
    /// One claim: of all due rows, or of the next group of a search.
    ///
    /// Fails when no row is to blame, or when it is not known which.
    pub(crate) async fn claim<J: Job>(&self, job: &J, limits: ClaimLimits) -> Result<Claimed<J::Claim>, sqlx::Error> {
        let Some(group) = self.next(job, &limits).await? else { return Ok((Vec::new(), false)) };
        let claiming = job.claim(ClaimLimits { only: group.clone(), ..limits });
        match (database::with_timeout(claiming).await, group) {
            (Ok(claims), None) => {
                self.search().succeeded();
                job.storage().notifier().claim_health().succeeded(J::KIND);
                Ok((claims, false))
            }
            (Ok(claims), Some(group)) => {
                // Without claims the group shows nothing: another worker may hold its rows.
                if !claims.is_empty() {
                    job.storage().notifier().claim_health().succeeded(J::KIND);
                }
                self.search().claimed(&group, claims.len());
                match self.conclude(job).await {
                    Ok(goes_on) => Ok((claims, goes_on)),
                    Err(error) if claims.is_empty() => Err(error),
                    Err(_) => Ok((claims, false)),
                }
            }
            (Err(error), group) => self.failed(job, group, error).await,
        }
    }

    /// The rows to claim next, `Some(None)` for all due rows. `None` while all remaining rows
    /// failed a moment ago.
    async fn next<J: Job>(&self, job: &J, limits: &ClaimLimits) -> Result<Option<Option<Vec<Uuid>>>, sqlx::Error> {
        let most = usize::try_from(limits.most).unwrap_or(usize::MAX).max(1);
        let width = match self.search().step(most) {
            Step::All => return Ok(Some(None)),
            Step::Group(group) => return Ok(Some(Some(group))),
            Step::Search { width } => width,
        };
        let most_due = i64::try_from(width).unwrap_or(i64::MAX);
        let reading = async {
            let mut connection = job.storage().connection().await?;
            set_aside::due(&mut connection, J::KIND, most_due, &limits.full()).await
        };
        let due = database::with_timeout(reading).await?;
        let mut search = self.search();
        search.begin(due, width, Instant::now()).map_or(Ok(()), Err)?;
        match search.step(most) {
            Step::All => Ok(Some(None)),
            Step::Group(group) => Ok(Some(Some(group))),
            Step::Search { .. } => Ok(None),
        }
    }

    async fn failed<J: Job>(
        &self,
        job: &J,
        group: Option<Vec<Uuid>>,
        error: sqlx::Error,
    ) -> Result<Claimed<J::Claim>, sqlx::Error> {
        job.storage().notifier().claim_health().failed_at(J::KIND, Instant::now());
        metrics::CLAIM_FAILURES.count(&[J::KIND.as_str()]);
        let Some(fault) = database::fault(&error) else {
            // While the database is unavailable, a failure says nothing about the rows.
            match error.as_database_error() {
                Some(told) if !database::is_unavailable(told) => self.search().give_up(),
                _ => self.search().put_back(group),
            }
            return Err(error);
        };
        let Some(group) = group else {
            let message = error.to_string();
            self.search().want(error, Instant::now()).map_or(Ok(()), Err)?;
            if let Some(times) = SEARCHED.observe(J::KIND.as_str(), &message) {
                tracing::warn!(error = message, times, kind = %J::KIND, "a claim failed, perhaps because of one row; a search for the row started");
            }
            return Ok((Vec::new(), true));
        };
        self.search().failed(group, fault, error, Instant::now());
        self.conclude(job).await.map(|goes_on| (Vec::new(), goes_on))
    }

    /// After all rows of a search were tried: sets aside the rows to blame. Returns whether there
    /// is more to claim at once.
    async fn conclude<J: Job>(&self, job: &J) -> Result<bool, sqlx::Error> {
        let blamed = match self.search().conclude(Instant::now()) {
            Conclusion::GoesOn => return Ok(true),
            Conclusion::Rests => return Ok(false),
            Conclusion::Nobody(error) => {
                if let Some(times) = NOBODY.observe(J::KIND.as_str(), &error.to_string()) {
                    tracing::error!(
                        kind = %J::KIND,
                        times,
                        "no due row could be claimed; none was set aside, because the cause is hardly a single row"
                    );
                }
                return Err(error);
            }
            Conclusion::Blamed(blamed) => blamed,
        };
        for (row, error) in blamed {
            let setting_aside = async {
                let mut connection = job.storage().connection().await?;
                set_aside::set_aside(&mut connection, J::KIND, row, None, &error).await
            };
            match database::with_timeout(setting_aside).await {
                Ok(true) => self.search().forget(row),
                // Another worker holds the row. A later search finds it again.
                Ok(false) => {}
                Err(cause) => {
                    tracing::error!(error = %cause, kind = %J::KIND, %row, "a row that makes the claim fail could not be set aside");
                    return Err(cause);
                }
            }
        }
        Ok(true)
    }

    fn search(&self) -> MutexGuard<'_, Search> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
