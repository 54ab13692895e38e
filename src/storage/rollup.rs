//! The rollups: counts by hour of what the views of the schema `reporting` tell. A step counts some
//! hours in one transaction, with how far it came, so a worker that dies leaves nothing half done.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::rollup::{Allowed, Hour, Progress, Step, next};
use crate::storage::{Storage, database};

/// How long a worker holds the rollups after a step. While a step runs, the lock of the row holds
/// them.
const LEASE_SECONDS: f64 = 60.0;
/// How many marked hours are read: a step counts one of them.
const MOST_MARKED: i64 = 1;
/// Begins a step, for whose statements nobody waits.
const BEGIN: &str = "set transaction isolation level repeatable read;
    set local statement_timeout = '10min';
    set local lock_timeout = '10min';
    lock table rollup_progress in share update exclusive mode";

/// What a step did.
#[derive(Debug)]
pub struct Done {
    pub step: Step,
    /// How many marked hours wait besides.
    pub leaves_marked: bool,
}

/// How current the rollups are.
#[derive(Debug, Clone)]
pub struct RollupState {
    /// How many seconds ago the last final hour ended, or the rollups were installed.
    pub lag_seconds: f64,
    /// How many hours of before the installation are not counted.
    pub backlog_hours: i64,
    /// How many late changes wait.
    pub marked: i64,
}

/// Claims the rollups under a token. Returns whether they are due and no other worker has them.
pub async fn claim(connection: &mut PgConnection, token: Uuid) -> Result<bool, sqlx::Error> {
    let claimed = sqlx::query_file!("sql/queries/rollup/claim.sql", token, LEASE_SECONDS);
    Ok(claimed.fetch_optional(connection).await?.is_some())
}

/// Which of the hour that runs and the marked hours may be counted by now.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub allowed: Allowed,
    /// Whether they are counted though it is early.
    pub early: bool,
}

/// Does the next step in one transaction. `token`: of the worker that claimed the rollups; `None`:
/// of nobody, for tests and operators. Returns `None` if another worker has claimed them since.
pub async fn step(storage: &Storage, token: Option<Uuid>, wanted: Wanted) -> Result<Option<Done>, sqlx::Error> {
    let mut transaction = storage.transaction().await?;
    let done = step_in(&mut transaction, token, wanted).await;
    database::end(transaction, done).await
}

async fn step_in(
    connection: &mut PgConnection,
    token: Option<Uuid>,
    Wanted { allowed, early }: Wanted,
) -> Result<Option<Done>, sqlx::Error> {
    begin(connection).await?;
    let locking = sqlx::query_file!("sql/queries/rollup/lock.sql", token, MOST_MARKED);
    let Some(found) = locking.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let (may_count, may_recount) = (found.may_count || early, found.may_recount || early);
    let progress = Progress {
        now: found.now,
        ended_before: found.ended_before,
        settled_until: found.settled_until,
        ended_until: found.ended_until,
        is_over: found.is_over,
        counted_from: found.counted_from,
        oldest: found.oldest,
        marked: found.marked,
    };
    let allowed =
        Allowed { live: allowed.live && may_count, marked: allowed.marked && may_recount, hours: allowed.hours };
    let step = next(&progress, allowed);
    let leaves_marked = !progress.marked.is_empty();
    if step == Step::Rest {
        return Ok(Some(Done { step, leaves_marked }));
    }
    let oldest = match &step {
        Step::FindOldest => oldest(connection).await?,
        _ => None,
    };
    if let Some((since, until)) = step.hours() {
        recount(connection, since, until).await?;
    }
    let after = step.after(&progress, oldest);
    let counted_at: Option<DateTime<Utc>> = matches!(step, Step::Live { .. }).then_some(progress.now);
    let has_ended = matches!(step, Step::End { .. } | Step::GoBack { .. });
    sqlx::query_file!(
        "sql/queries/rollup/store.sql",
        after.settled_until,
        after.ended_until,
        after.counted_from,
        after.oldest,
        counted_at,
        has_ended,
        LEASE_SECONDS
    )
    .execute(connection)
    .await?;
    Ok(Some(Done { step, leaves_marked }))
}

/// All statements of the transaction see one snapshot, so that counts are never of rows that are
/// half deleted. It is taken after the lock, which keeps others from counting and nobody from
/// anything else.
async fn begin(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(BEGIN).execute(connection).await?;
    Ok(())
}

async fn oldest(connection: &mut PgConnection) -> Result<Option<Hour>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/rollup/oldest.sql").fetch_one(connection).await
}

async fn recount(connection: &mut PgConnection, since: Hour, until: Hour) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/rollup/recount.sql", since, until).fetch_one(connection).await?;
    Ok(())
}

/// Gives the rollups back: when they are due again, and when the hour that runs and marked hours
/// may be counted again (`None`: as before).
pub async fn finish(
    connection: &mut PgConnection,
    token: Uuid,
    due: Duration,
    live: Option<Duration>,
    marked: Option<Duration>,
) -> Result<(), sqlx::Error> {
    let [live, marked] = [live, marked].map(|pause| pause.map(|pause| pause.as_secs_f64()));
    sqlx::query_file!("sql/queries/rollup/finish.sql", token, due.as_secs_f64(), live, marked)
        .execute(connection)
        .await?;
    Ok(())
}

/// The hours that are counted, or will be: from the oldest to the one that runs. `None`: none is
/// counted yet.
pub async fn hours(connection: &mut PgConnection) -> Result<Option<(Hour, Hour)>, sqlx::Error> {
    let found = sqlx::query_file!("sql/queries/rollup/hours.sql").fetch_optional(connection).await?;
    Ok(found.map(|found| (found.oldest, found.until)))
}

/// Counts an hour again, in a transaction of its own. It waits for a worker that counts.
pub async fn rebuild(storage: &Storage, hour: Hour) -> Result<(), sqlx::Error> {
    let mut transaction = storage.transaction().await?;
    let counted = async {
        begin(&mut transaction).await?;
        recount(&mut transaction, hour, hour + chrono::TimeDelta::hours(1)).await
    }
    .await;
    database::end(transaction, counted).await
}

/// How current the rollups are.
pub async fn state(connection: &mut PgConnection) -> Result<RollupState, sqlx::Error> {
    sqlx::query_file_as!(RollupState, "sql/queries/rollup/state.sql").fetch_one(connection).await
}
