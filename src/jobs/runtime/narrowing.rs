//! Retries a claim that fails because of a row's data with fewer rows, until that row is found and set aside.
//! [`crate::jobs::runtime::search`] decides which row is to blame.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use crate::jobs::runtime::queue::JobSource;
use crate::jobs::runtime::search::{Conclusion, Search, Step};
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::set_aside;

/// The search state of one kind of work whose claims fail because of some rows.
#[derive(Default)]
pub(crate) struct Narrowing(Mutex<Search>);

/// The claims, and whether there is more to claim at once.
type Claimed<C> = (Vec<C>, bool);

impl Narrowing {
    /// One claim: of all due rows, or of the next group of a search.
    ///
    /// Fails when no row is to blame, or when it is not known which.
    pub(crate) async fn claim<S: JobSource>(
        &self,
        source: &S,
        room: ClaimLimits,
    ) -> Result<Claimed<S::Claim>, sqlx::Error> {
        let Some(group) = self.next(source, &room).await? else { return Ok((Vec::new(), false)) };
        let claiming = source.claim(ClaimLimits { only: group.clone(), ..room });
        match (database::with_timeout(claiming).await, group) {
            (Ok(claims), None) => {
                self.search().succeeded();
                source.storage().notifier().claim_health().succeeded(S::WORK);
                Ok((claims, false))
            }
            (Ok(claims), Some(group)) => {
                // Without claims the group shows nothing: another worker may hold its rows.
                if !claims.is_empty() {
                    source.storage().notifier().claim_health().succeeded(S::WORK);
                }
                self.search().claimed(&group, claims.len());
                match self.conclude(source).await {
                    Ok(goes_on) => Ok((claims, goes_on)),
                    Err(error) if claims.is_empty() => Err(error),
                    Err(_) => Ok((claims, false)),
                }
            }
            (Err(error), group) => self.failed(source, group, error).await,
        }
    }

    /// The rows to claim next, `Some(None)` for all due rows. `None` while all remaining rows failed a moment ago.
    async fn next<S: JobSource>(
        &self,
        source: &S,
        room: &ClaimLimits,
    ) -> Result<Option<Option<Vec<Uuid>>>, sqlx::Error> {
        let most = usize::try_from(room.most).unwrap_or(usize::MAX).max(1);
        let width = match self.search().step(most) {
            Step::All => return Ok(Some(None)),
            Step::Group(group) => return Ok(Some(Some(group))),
            Step::Search { width } => width,
        };
        let asked = i64::try_from(width).unwrap_or(i64::MAX);
        let due = database::with_timeout(set_aside::due(source.storage(), S::WORK, asked, &room.barred())).await?;
        let mut search = self.search();
        search.begin(due, width, Instant::now()).map_or(Ok(()), Err)?;
        match search.step(most) {
            Step::All => Ok(Some(None)),
            Step::Group(group) => Ok(Some(Some(group))),
            Step::Search { .. } => Ok(None),
        }
    }

    async fn failed<S: JobSource>(
        &self,
        source: &S,
        group: Option<Vec<Uuid>>,
        error: sqlx::Error,
    ) -> Result<Claimed<S::Claim>, sqlx::Error> {
        source.storage().notifier().claim_health().failed_at(S::WORK, Instant::now());
        metrics::counter!("textback_claim_failures_total", "work" => S::WORK.as_str()).increment(1);
        let Some(fault) = database::fault(&error) else {
            // While the database is unavailable, a failure says nothing about the rows.
            match error.as_database_error() {
                Some(told) if !database::is_unavailable(told) => self.search().give_up(),
                _ => self.search().put_back(group),
            }
            return Err(error);
        };
        let Some(group) = group else {
            let told = error.to_string();
            self.search().want(error, Instant::now()).map_or(Ok(()), Err)?;
            tracing::warn!(error = told, work = S::WORK.as_str(), "some row may make the claim fail; it is looked for");
            return Ok((Vec::new(), true));
        };
        self.search().failed(group, fault, error, Instant::now());
        self.conclude(source).await.map(|goes_on| (Vec::new(), goes_on))
    }

    /// After all rows of a search were tried: sets aside the rows to blame. Returns whether there is more to claim at
    /// once.
    async fn conclude<S: JobSource>(&self, source: &S) -> Result<bool, sqlx::Error> {
        let blamed = match self.search().conclude(Instant::now()) {
            Conclusion::GoesOn => return Ok(true),
            Conclusion::Rests => return Ok(false),
            Conclusion::Nobody(error) => {
                tracing::error!(
                    work = S::WORK.as_str(),
                    "no row that is due can be claimed, so it may be no row's fault; none is set aside"
                );
                return Err(error);
            }
            Conclusion::Blamed(blamed) => blamed,
        };
        for (row, error) in blamed {
            let setting_aside = set_aside::set_aside(source.storage(), S::WORK, row, None, &error);
            match database::with_timeout(setting_aside).await {
                Ok(true) => self.search().forget(row),
                // Another worker holds the row. A later search finds it again.
                Ok(false) => {}
                Err(cause) => {
                    tracing::error!(error = %cause, work = S::WORK.as_str(), %row, "a row that can't be claimed could not be set aside");
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
