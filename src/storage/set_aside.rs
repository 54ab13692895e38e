//! Finds due rows that make claims fail, and sets them aside with a reason. Claims nothing itself.

use std::time::Instant;

use sqlx::postgres::PgRow;
use sqlx::{Connection, Execute, Executor, FromRow, PgConnection, Postgres, Row};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::delivery::DeliveryErrorClass;
use crate::domain::job::JobKind;
use crate::domain::session::CloseReason;
use crate::storage::Storage;
use crate::storage::database;
use crate::telemetry::metrics;

/// At most `most` rows of due work, the oldest first, without the owners in `excluded`.
pub async fn due(
    connection: &mut PgConnection,
    work: JobKind,
    most: i64,
    excluded: &[Uuid],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let most = i32::try_from(most).unwrap_or(i32::MAX);
    sqlx::query_file_scalar!("sql/queries/set_aside/due.sql", work.as_str(), most, excluded).fetch_one(connection).await
}

/// Sets a row aside because of an error in its data. `token` is this process's own claim of the
/// row, if it has one. Returns false if another process was faster.
pub async fn set_aside(
    connection: &mut PgConnection,
    work: JobKind,
    row: Uuid,
    token: Option<Uuid>,
    error: &sqlx::Error,
) -> Result<bool, sqlx::Error> {
    let (kind, work) = (work, work.as_str());
    let why = bounds::error(&format!("this {} can't be read: {error}", work.replace('_', " ")));
    let is_set_aside = sqlx::query_file_scalar!("sql/queries/set_aside/set_aside.sql", work, row, token, why)
        .fetch_one(connection)
        .await?;
    if is_set_aside {
        tracing::error!(work, row = %row, error = why, "a row could not be read and was set aside");
        metrics::SET_ASIDE.count(&[work]);
        match kind {
            JobKind::Turn | JobKind::Inactivity => metrics::SESSIONS_CLOSED.count(&[CloseReason::Unreadable.as_str()]),
            JobKind::Delivery | JobKind::UnknownDelivery => {
                metrics::DELIVERIES_FAILED.count(&[DeliveryErrorClass::Unreadable.as_str()]);
            }
            JobKind::ScheduledMessage | JobKind::Number | JobKind::Backfill | JobKind::Rollup => {}
        }
    }
    Ok(is_set_aside)
}

/// Waits until the server is ready again after an error. Until then it keeps the statement's row
/// locks: for 100 ms and more if it printed a gigabyte. The next claim would skip these rows.
async fn wait_after_error<T>(connection: &mut PgConnection, fetched: &Result<T, sqlx::Error>) {
    if fetched.as_ref().is_err_and(|error| error.as_database_error().is_some()) {
        // A fault of the connection is found at its next use.
        let _ = connection.ping().await;
    }
}

/// What a statement claims.
pub(super) struct Claiming {
    pub work: JobKind,
    /// The column with each row's id.
    pub id_column: &'static str,
    /// The token that the statement writes, if it writes one.
    pub token: Option<Uuid>,
}

/// The claims from the rows of a statement that has claimed them. A row that this process can't
/// read is set aside if the process can read others. Its claim is committed, so no other process
/// would look at it before its lease ends.
///
/// The rows are decoded one by one, and not by the macro that checked the statement: that one stops
/// at the first row that it can't decode.
///
/// Fails if no row can be read, because then the rows may not be to blame.
pub(super) async fn read_claims<'q, C>(
    storage: &Storage,
    claiming: Claiming,
    statement: impl Execute<'q, Postgres> + 'q,
) -> Result<Vec<C>, sqlx::Error>
where
    C: for<'r> FromRow<'r, PgRow>,
{
    let Claiming { work, id_column, token } = claiming;
    let mut connection = storage.connection().await?;
    let rows = connection.fetch_all(statement).await;
    wait_after_error(&mut connection, &rows).await;
    drop(connection);
    let rows = rows?;
    let mut claims = Vec::with_capacity(rows.len());
    let mut undecoded = Vec::new();
    for row in &rows {
        match C::from_row(row) {
            Ok(claim) => claims.push(claim),
            Err(error) => undecoded.push((row.try_get(id_column)?, error)),
        }
    }
    let health = storage.notifier.claim_health();
    let now = Instant::now();
    if !claims.is_empty() {
        health.read_at(work, now);
    }
    let most_are_read = undecoded.len() <= claims.len();
    let mut no_rows_fault = None;
    for (row, error) in undecoded {
        if !health.is_unreadable(row, work, now) && !most_are_read {
            no_rows_fault = Some(error);
            continue;
        }
        let setting_aside = async {
            let mut connection = storage.connection().await?;
            set_aside(&mut connection, work, row, token, &error).await
        };
        if let Err(error) = database::with_timeout(setting_aside).await {
            // The lease runs out, and a later claim finds the row again.
            tracing::error!(%error, work = work.as_str(), "a row that can't be read could not be set aside; it will be tried again");
        }
    }
    match no_rows_fault {
        Some(error) if claims.is_empty() => Err(error),
        _ => Ok(claims),
    }
}
