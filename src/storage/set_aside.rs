//! Finds due rows that make claims fail, and sets them aside with a reason. Claims nothing itself.

use std::time::Instant;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection, FromRow, Postgres, Row};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::job::JobKind;
use crate::storage::Storage;
use crate::storage::database;

/// At most `most` rows of due work, the oldest first, without the owners in `barred`.
pub async fn due(storage: &Storage, work: JobKind, most: i64, barred: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(include_str!("../../sql/queries/set_aside/due.sql"))
        .bind(work.as_str())
        .bind(i32::try_from(most).unwrap_or(i32::MAX))
        .bind(barred)
        .fetch_one(&storage.pool)
        .await
}

/// Sets a row aside because of an error in its data. `token` is this process's own claim of the row, if it has one.
/// Returns false if another process was faster.
pub async fn set_aside(
    storage: &Storage,
    work: JobKind,
    row: Uuid,
    token: Option<Uuid>,
    error: &sqlx::Error,
) -> Result<bool, sqlx::Error> {
    let why = bounds::error(&format!("this {} can't be read: {error}", work.as_str().replace('_', " ")));
    let done: bool = sqlx::query_scalar(include_str!("../../sql/queries/set_aside/set_aside.sql"))
        .bind(work.as_str())
        .bind(row)
        .bind(token)
        .bind(&why)
        .fetch_one(&storage.pool)
        .await?;
    if done {
        tracing::error!(work = work.as_str(), row = %row, error = why, "a row can't be read; it is set aside, and the others go on");
        metrics::counter!("textback_set_aside_total", "work" => work.as_str()).increment(1);
    }
    Ok(done)
}

/// The rows of a claiming statement. After an error, the server keeps the statement's row locks for a moment: 100 ms
/// and more if it printed a gigabyte. The next claim would skip these rows, so we wait until the server is ready again.
pub(super) async fn fetch(
    storage: &Storage,
    claiming: Query<'_, Postgres, PgArguments>,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut connection = storage.pool.acquire().await?;
    let fetched = claiming.fetch_all(&mut *connection).await;
    if fetched.as_ref().is_err_and(|error| error.as_database_error().is_some()) {
        // A fault of the connection is found at its next use.
        let _ = connection.ping().await;
    }
    fetched
}

/// The claims from rows that a statement has claimed under a token. `id_column` names the column with each row's id. A
/// row that this process can't read is set aside if the process can read others. Its claim is committed, so no other
/// process would look at it before its lease ends.
///
/// Fails if no row can be read, because then the rows may not be to blame.
pub(super) async fn read_claims<C>(
    storage: &Storage,
    work: JobKind,
    claiming: Query<'_, Postgres, PgArguments>,
    id_column: &str,
    token: Option<Uuid>,
) -> Result<Vec<C>, sqlx::Error>
where
    C: for<'r> FromRow<'r, PgRow>,
{
    let rows = fetch(storage, claiming).await?;
    let mut claims = Vec::with_capacity(rows.len());
    let mut unread = Vec::new();
    for row in &rows {
        match C::from_row(row) {
            Ok(claim) => claims.push(claim),
            Err(error) => unread.push((row.try_get(id_column)?, error)),
        }
    }
    let known = storage.notifier.claim_health();
    let now = Instant::now();
    if !claims.is_empty() {
        known.read_at(work, now);
    }
    let most_are_read = unread.len() <= claims.len();
    let mut nobodys = None;
    for (row, error) in unread {
        if !known.is_unreadable(row, work, now) && !most_are_read {
            nobodys = Some(error);
            continue;
        }
        if let Err(error) = database::with_timeout(set_aside(storage, work, row, token, &error)).await {
            // The lease runs out, and a later claim finds the row again.
            tracing::error!(%error, work = work.as_str(), "a row that can't be read could not be set aside; again later");
        }
    }
    match nobodys {
        Some(error) if claims.is_empty() => Err(error),
        _ => Ok(claims),
    }
}
