//! Rows that keep a claim from working: found among what is due, and set aside with a reason; it claims nothing itself.

use std::time::Instant;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, FromRow, Postgres, Row};
use uuid::Uuid;

use super::Ledger;
use super::wake::Work;
use crate::bounds;
use crate::db;

/// Work that is due, the oldest first, `most` at most, of no owner in `barred`.
pub async fn due(ledger: &Ledger, work: Work, most: i64, barred: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(include_str!("../../sql/set_aside/due.sql"))
        .bind(work.word())
        .bind(i32::try_from(most).unwrap_or(i32::MAX))
        .bind(barred)
        .fetch_one(&ledger.pool)
        .await
}

/// Sets a row aside for an error of its data; `token` is our own claim of it, if we have one. False: somebody else was faster.
pub async fn set_aside(
    ledger: &Ledger,
    work: Work,
    row: Uuid,
    token: Option<Uuid>,
    error: &sqlx::Error,
) -> Result<bool, sqlx::Error> {
    let why = bounds::error(&format!("this {} can't be read: {error}", work.word().replace('_', " ")));
    let done: bool = sqlx::query_scalar(include_str!("../../sql/set_aside/set_aside.sql"))
        .bind(work.word())
        .bind(row)
        .bind(token)
        .bind(&why)
        .fetch_one(&ledger.pool)
        .await?;
    if done {
        tracing::error!(work = work.word(), row = %row, error = why, "a row can't be read; it is set aside, and the others go on");
        metrics::counter!("textback_set_aside_total", "work" => work.word()).increment(1);
    }
    Ok(done)
}

/// The rows of a statement that claims. The server tells of an error before it lets the rows of the statement go, 100 ms and more where it
/// printed a gigabyte, and the next claim would pass over them: so we wait until it is ready again.
pub(super) async fn fetch(
    ledger: &Ledger,
    claiming: Query<'_, Postgres, PgArguments>,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut connection = ledger.pool.acquire().await?;
    let fetched = claiming.fetch_all(&mut *connection).await;
    if fetched.as_ref().is_err_and(|error| error.as_database_error().is_some()) {
        // What is wrong with the connection is found by whoever uses it next.
        let _ = connection.ping().await;
    }
    fetched
}

/// The claims of a statement that has claimed rows, each with its id in the column `id_column`, under a token. A row that this process
/// can't read is set aside where it reads others: its claim is committed, and nobody else would look at it before its lease ends.
///
/// Errors where it reads none, for then it may be no row's fault.
pub(super) async fn read_claims<C>(
    ledger: &Ledger,
    work: Work,
    claiming: Query<'_, Postgres, PgArguments>,
    id_column: &str,
    token: Option<Uuid>,
) -> Result<Vec<C>, sqlx::Error>
where
    C: for<'r> FromRow<'r, PgRow>,
{
    let rows = fetch(ledger, claiming).await?;
    let mut claims = Vec::with_capacity(rows.len());
    let mut unread = Vec::new();
    for row in &rows {
        match C::from_row(row) {
            Ok(claim) => claims.push(claim),
            Err(error) => unread.push((row.try_get(id_column)?, error)),
        }
    }
    let known = ledger.wakes.claims();
    let now = Instant::now();
    if !claims.is_empty() {
        known.read_at(work, now);
    }
    let most_are_read = unread.len() <= claims.len();
    let mut nobodys = None;
    for (row, error) in unread {
        if !known.is_unread(row, work, now) && !most_are_read {
            nobodys = Some(error);
            continue;
        }
        if let Err(error) = db::patiently(set_aside(ledger, work, row, token, &error)).await {
            // Its lease runs out, and it is claimed and met again.
            tracing::error!(%error, work = work.word(), "a row that can't be read could not be set aside; again later");
        }
    }
    match nobodys {
        Some(error) if claims.is_empty() => Err(error),
        _ => Ok(claims),
    }
}
