//! Connects to the database, applies the migrations, and says what an error of the database means.
//! The statements of the product are in the other modules.

use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres, Row, Transaction};
use tokio::sync::Semaphore;

use super::connection_settings::{self, Unsuitable};
use super::database_url::DatabaseUrl;
use super::migrate_error::MigrateError;
use super::unreachable;
use crate::telemetry::metrics;

/// All migrations, embedded in the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// The version of the newest migration of this binary.
pub fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// What to say of a database whose migration has another text than ours.
pub fn changed_migration(version: i64) -> String {
    format!(
        "the database was made with another text of migration {version} than this binary has: run the build of textback that made it, or restore a backup into a database that this one migrated"
    )
}

/// The schema that contains all tables. Statements do not name it; the search path contains it.
pub const SCHEMA: &str = "textback";

/// The options of a plain connection, with all settings in its start-up message.
pub fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(DatabaseUrl::from_str(url)?.options.application_name("textback").options(connection_settings::SETTINGS))
}

/// The options of a connection that [`connection_settings::prepare`] sets up later. Its start-up
/// message contains nothing that PgBouncer refuses or silently ignores
/// (`ignore_startup_parameters`).
fn bare(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let DatabaseUrl { options, ignored } = url.parse()?;
    if !ignored.is_empty() {
        static TOLD: Once = Once::new();
        let parameters = ignored.join(", ");
        TOLD.call_once(|| tracing::warn!(parameters, "parameters of DATABASE_URL that have no effect were ignored"));
    }
    Ok(options.application_name("textback").extra_float_digits(None))
}

/// How long we wait for a statement. The server enforces the timeouts of
/// [`connection_settings::SETTINGS`], so they do not help when the server itself disappears.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(13);
/// How long a connection counts as working after it worked. Then it is checked before its next use.
pub const VALIDATION_INTERVAL: Duration = Duration::from_millis(100);
/// How long the check of the database may take when a process starts. A slow database is checked
/// later.
const SUITS_WITHIN: Duration = Duration::from_secs(6);
/// How long the cause of a missing connection is looked for. A closed port refuses at once.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// How many look for it at once. An overloaded server does not get a connection from each of those
/// who wait.
static LOOKING: Semaphore = Semaphore::const_new(2);
/// What is said of a database that does not answer in time.
const NO_ANSWER: &str = "the database does not answer";
/// How long the check of a connection may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Waits for the database for at most [`CLIENT_TIMEOUT`]. The future is boxed, because it is
/// several kilobytes and would otherwise be a part of the future of every caller, and be moved with
/// it for each message.
pub fn with_timeout<T, E: From<sqlx::Error>, F: Future<Output = Result<T, E>>>(
    statement: F,
) -> impl Future<Output = Result<T, E>> + use<T, E, F> {
    let statement = Box::pin(statement);
    async move {
        match tokio::time::timeout(CLIENT_TIMEOUT, statement).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out().into()),
        }
    }
}

/// The error of a database that does not answer in time.
pub fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, NO_ANSWER))
}

/// Replaces NUL, which PostgreSQL can't store in a text.
pub fn strip_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Whether the database is unavailable, and the statement is not at fault: the database is
/// read-only (25006), has no memory or disk space (class 53), refuses connections (55000), stops or
/// cancels statements (class 57), or another session holds a table (55P03).
///
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
pub fn is_unavailable(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    ["25006", "53", "55000", "55P03", "57"].iter().any(|class| code.starts_with(class))
}

/// What a statement misses in the database although the statement is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A schema, table, column, function or type: the database was never migrated, or to another
    /// version.
    Schema,
    /// A right of the role.
    Right,
}

/// What a statement missed, by its error.
pub fn what_is_missing(error: &sqlx::Error) -> Option<Missing> {
    match error {
        sqlx::Error::TypeNotFound { .. } => Some(Missing::Schema),
        sqlx::Error::Database(told) => match &*told.code()? {
            "3F000" | "42P01" | "42703" | "42883" | "42704" => Some(Missing::Schema),
            "42501" => Some(Missing::Right),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a row's data made a statement fail, so that the statement could read the other rows
/// without it: a value that can't be computed, printed or stored (classes 21, 22, 23, 54, P0, XX),
/// a value that took all memory (53200), or one that this process can't read.
pub fn is_of_the_data(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(told) if told.code().as_deref() == Some("53200") => !is_of_the_lock_table(told.as_ref()),
        _ => matches!(fault(error), Some(Fault::Row | Fault::RowOrServer)),
    }
}

/// What may have caused a claim to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A row: a value that can't be computed, printed or stored (classes 22 and 54).
    Row,
    /// A row, the schema or the server: a refusal by an operator's trigger or constraint, a damaged
    /// index, a value that this process can't read.
    RowOrServer,
    /// A row, or a passing condition: no memory, no time, or a lost connection.
    RowOrMoment,
}

/// The possible cause of a failure; `None` where a row can't be the cause.
pub fn fault(error: &sqlx::Error) -> Option<Fault> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    match error {
        sqlx::Error::Database(told) => {
            let code = told.code().unwrap_or_default();
            match code.get(..2).unwrap_or_default() {
                "22" | "54" => Some(Fault::Row),
                "21" | "23" | "P0" | "XX" => Some(Fault::RowOrServer),
                _ if code == "53200" => (!is_of_the_lock_table(told.as_ref())).then_some(Fault::RowOrMoment),
                // A statement took too long, or the server lost this backend or another one.
                _ if ["57014", "57P01", "57P02"].contains(&&*code) => Some(Fault::RowOrMoment),
                _ => None,
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Some(Fault::RowOrServer),
        sqlx::Error::Io(told) => {
            matches!(told.kind(), TimedOut | BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
                .then_some(Fault::RowOrMoment)
        }
        _ => None,
    }
}

/// Whether a server without memory (53200) lacks it for locks (`max_locks_per_transaction`). No
/// row's data causes that.
fn is_of_the_lock_table(error: &(dyn DatabaseError + 'static)) -> bool {
    let told = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
    error.message().contains("shared memory")
        || told
            .and_then(|told| told.file())
            .is_some_and(|file| matches!(file, "lock.c" | "predicate.c" | "shmem.c" | "dynahash.c"))
}

/// Whether another session held a row or a table for too long (55P03). Items that need other rows
/// may still be written.
pub fn is_lock_timeout(error: &dyn DatabaseError) -> bool {
    error.code().as_deref() == Some("55P03")
}

/// Whether the server cancelled a statement that took too long (57014), because of a lock or a slow
/// disk.
pub fn is_given_up(error: &dyn DatabaseError) -> bool {
    error.code().as_deref() == Some("57014")
}

/// Whether the connection was lost during the statement: it was closed, or the server ended it
/// (57P01). Another connection may work.
pub fn is_connection_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::TimedOut,
        sqlx::Error::Database(error) => error.code().as_deref() == Some("57P01"),
        _ => false,
    }
}

/// Commits a transaction, or rolls it back after an error and waits until the server has done that.
/// Until then the server keeps its locks, and the next claim would skip the locked rows. That takes
/// 100 ms or more if the server printed a gigabyte.
pub async fn end<T>(transaction: Transaction<'_, Postgres>, done: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
    match done {
        Ok(value) => transaction.commit().await.map(|()| value),
        // The connection is lost, so the server rolls back.
        Err(error @ sqlx::Error::Io(_)) => Err(error),
        Err(error) => {
            // If the rollback fails, the next use of the connection finds that out.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

/// Repeats a statement or a transaction that the database ended because of a deadlock (40P01).
/// Nothing of it was written.
pub async fn retry_on_deadlock<T, F: Future<Output = Result<T, sqlx::Error>>>(
    statement: impl Fn() -> F,
) -> Result<T, sqlx::Error> {
    for _ in 0..3 {
        match statement().await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => count_retry("conflict"),
            answer => return answer,
        }
    }
    statement().await
}

/// Counts a retry and its reason: a whole batch was refused (`refused_batch`), another transaction
/// was faster or the two deadlocked (`conflict`), another session held its rows or tables (`lock`),
/// or a session's state could not be read (`unreadable_row`).
pub fn count_retry(why: &'static str) {
    metrics::BATCH_RETRIES.count(&[why]);
}

/// A connection of a pool. The wait for it is measured. An error has its true cause, because the
/// pool says the same of a closed port as of connections that are all in use.
pub async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let began = Instant::now();
    let acquired = pool.acquire().await;
    metrics::POOL_WAIT_SECONDS.record(&[], began.elapsed());
    match acquired {
        Err(error @ sqlx::Error::PoolTimedOut) => {
            metrics::POOL_TIMEOUTS.count(&[]);
            Err(cause(pool, error).await)
        }
        acquired => acquired,
    }
}

/// Why a pool gave no connection, by one connection of our own. The error stays as it is if that
/// one is made: all connections of the pool are in use.
pub(super) async fn cause(pool: &PgPool, error: sqlx::Error) -> sqlx::Error {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof};
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return error;
    }
    let options = pool.connect_options();
    let looked = async {
        let _permit = LOOKING.acquire().await;
        reach(&options).await
    };
    match tokio::time::timeout(LOOK_WITHIN, looked).await {
        Ok(Ok(())) => error,
        // No statement ran, so the error must not look as if a row's data had ended one.
        Ok(Err(sqlx::Error::Io(told)))
            if matches!(told.kind(), TimedOut | BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) =>
        {
            sqlx::Error::Io(std::io::Error::new(NotConnected, told.to_string()))
        }
        Ok(Err(reason)) => reason,
        Err(_) => sqlx::Error::Io(std::io::Error::new(NotConnected, NO_ANSWER)),
    }
}

/// A pool that connects when it is first used, so a process starts while its database is away.
pub fn pool(url: &str, max_connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = bare(url)?;
    let to_prepare = options.clone();
    // Set when a pooler is detected. Connections that were made earlier are then not reliable
    // either.
    let shared = Arc::new(AtomicBool::new(false));
    let is_shared = shared.clone();
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .after_connect(move |connection, _| {
            let (options, shared) = (to_prepare.clone(), shared.clone());
            Box::pin(async move {
                let prepared = with_timeout(async {
                    // A server connection that no client used before shows nothing.
                    if shared.load(Ordering::Relaxed) {
                        connection_settings::refuse_pooling(&options).await?;
                    }
                    connection_settings::prepare(connection, &options).await
                })
                .await;
                match prepared.as_ref().map_err(Unsuitable::of) {
                    Ok(()) => shared.store(false, Ordering::Relaxed),
                    Err(Some(Unsuitable::Pooled)) => shared.store(true, Ordering::Relaxed),
                    Err(_) => {}
                }
                prepared
            })
        })
        .acquire_timeout(Duration::from_secs(3))
        // A check before each use would cost a round trip for each statement. A connection that was
        // used less than VALIDATION_INTERVAL ago needs none.
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let is_shared = is_shared.load(Ordering::Relaxed);
            Box::pin(async move {
                if is_shared {
                    return Ok(false);
                }
                if meta.idle_for < VALIDATION_INTERVAL {
                    return Ok(true);
                }
                let pinged = tokio::time::timeout(CHECK_TIMEOUT, connection.ping()).await;
                Ok(matches!(pinged, Ok(Ok(()))))
            })
        })
        // A caller that stops waiting leaves its statement running on the connection. The
        // connection returns to the pool when it answers, and is closed if it does not answer in
        // time.
        .after_release(|connection, _| {
            Box::pin(async move {
                let pinged = tokio::time::timeout(CHECK_TIMEOUT, connection.ping()).await;
                pinged.unwrap_or_else(|_| Err(timed_out())).map(|()| true)
            })
        })
        .connect_lazy_with(options))
}

/// Opens a connection and sets it up. Errors with the reason if the database refuses the connection
/// or its settings.
pub async fn reach(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    with_timeout(async {
        let mut connection = options.connect().await?;
        connection_settings::prepare(&mut connection, options).await?;
        connection.close().await
    })
    .await
}

/// Why a pool gave no connection. The pool reports only that it timed out; the cause is in the
/// server, a pooler or the network.
pub async fn reason(pool: &PgPool, error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::PoolTimedOut => {
            let options = pool.connect_options();
            let looked = async {
                connection_settings::refuse_pooling(&options).await?;
                reach(&options).await
            };
            match tokio::time::timeout(CHECK_TIMEOUT, looked).await {
                Ok(Err(reason)) => reason,
                Ok(Ok(())) => error,
                Err(_) => timed_out(),
            }
        }
        error => error,
    }
}

/// Refuses a database that textback can't work with, such as one behind a pooler in transaction
/// mode. An unavailable database passes: it may come back, and its connections are checked when
/// they are made.
pub async fn check_suits(url: &str) -> Result<(), sqlx::Error> {
    let options = bare(url)?;
    match tokio::time::timeout(SUITS_WITHIN, connection_settings::check_pooling(&options)).await {
        Ok(Err(error)) if Unsuitable::of(&error).is_some() => Err(error),
        _ => Ok(()),
    }
}

/// Opens the connection of `migrate`.
///
/// Errors when the database can't be reached or is not suitable.
pub async fn open_to_migrate(url: &str) -> Result<PgConnection, MigrateError> {
    let options = bare(url)?;
    let connecting = async {
        // This comes before any change, because behind a pooler another server connection could get
        // the change.
        connection_settings::refuse_pooling(&options).await?;
        let mut connection = options.connect().await?;
        connection_settings::prepare(&mut connection, &options).await?;
        Ok::<_, sqlx::Error>(connection)
    };
    let connected = with_timeout(connecting).await;
    let mut connection = connected.map_err(|error| match unreachable::explain(&options, &error) {
        Some(unreachable) => MigrateError::Unreachable(unreachable),
        None => error.into(),
    })?;
    let is_standby: bool = sqlx::raw_sql("select pg_is_in_recovery()").fetch_one(&mut connection).await?.try_get(0)?;
    if is_standby {
        return Err(MigrateError::Standby);
    }
    Ok(connection)
}

/// Creates the schema and applies the missing migrations, in the caller's transaction. The caller
/// holds the lock of migrate.
///
/// Errors when the role lacks a right, or when a migration that was applied differs from ours.
pub async fn apply_migrations(connection: &mut PgConnection) -> Result<(), MigrateError> {
    // A role that may not create schemas may still own one that an administrator created.
    let is_there: bool = sqlx::raw_sql("select exists (select from pg_namespace where nspname = 'textback')")
        .fetch_one(&mut *connection)
        .await?
        .try_get(0)?;
    if !is_there {
        // The name is our constant. No input reaches this statement.
        sqlx::raw_sql("create schema if not exists textback").execute(&mut *connection).await?;
    }
    let current: Option<String> =
        sqlx::raw_sql("select current_schema()::text").fetch_one(&mut *connection).await?.try_get(0)?;
    if current.as_deref() != Some(SCHEMA) {
        return Err(MigrateError::OtherSchema(current.unwrap_or_else(|| "none".to_owned())));
    }
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrations.dangerous_set_table_name("textback._sqlx_migrations");
    // The caller's lock ends with the transaction, so it needs no statement that releases it after
    // an error.
    migrations.set_locking(false);
    migrations.run(connection).await.map_err(MigrateError::of)
}
