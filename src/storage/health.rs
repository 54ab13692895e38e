//! Checks whether a process can serve: whether the database answers, has the schema of this binary and can be written.
//! Reports how much work waits.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::secret::sha256;
use crate::storage::connection_settings::Unsuitable;
use crate::storage::database;
use crate::storage::{Storage, schema};

/// Why a process is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("the database does not answer: {0}")]
    Database(sqlx::Error),
    #[error("{0}; {repair}", repair = .0.repair())]
    Unsuitable(Unsuitable),
    #[error(
        "the role of DATABASE_URL lacks rights: {missing}; as the owner of the schema run: textback migrate --grant-to ROLE"
    )]
    Rights { missing: String },
    #[error("the database has schema version {found}, this binary needs {needed}; run: textback migrate")]
    Schema { found: i64, needed: i64 },
    #[error("the database lacks functions of this binary: {missing}; run: textback migrate")]
    Functions { missing: String },
    #[error("the database only reads; is DATABASE_URL a standby's, or is default_transaction_read_only set?")]
    ReadOnly,
    #[error("{0}")]
    Blocked(String),
    #[error("this process has failed to claim work for over {} s: {kinds}; its log says why", NOT_CLAIMABLE.as_secs())]
    NotClaimable { kinds: String },
}

/// How long a failed ingest counts if none has succeeded since. A load balancer sends no requests to a process that is
/// not ready, so no ingest can show that the database works again.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// The messages of how many contacts must have failed if each may have waited for a locked row. With one contact, the
/// cause is its row, and the messages of other contacts are not affected.
const CONTACTS: usize = 2;

/// The results of the latest ingests of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct IngestHealth(Arc<Mutex<Option<Failing>>>);

/// Ingests that failed since the last success.
struct Failing {
    /// The contacts whose messages failed, at most [`CONTACTS`].
    contacts: HashSet<ContactKey>,
    /// Whether an ingest failed for a reason that no single row can cause.
    is_of_the_database: bool,
    last: Instant,
}

/// The hash of a number and a contact. The phone numbers themselves are not stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContactKey([u8; 32]);

impl ContactKey {
    /// The key of a contact of a number.
    pub fn of(project_id: Uuid, number: &str, contact: &str) -> Self {
        Self(sha256(format!("{project_id} {number} {contact}").as_bytes()))
    }
}

impl IngestHealth {
    /// Records that a message could not be stored. `is_of_the_database` is false if one locked row may be the cause.
    pub fn failed(&self, contact: ContactKey, is_of_the_database: bool) {
        let mut failing = self.failing();
        let now = Instant::now();
        // An old failure says nothing about now.
        let mut so_far = failing
            .take()
            .filter(|so_far| so_far.last.elapsed() < FAILED_FOR)
            .unwrap_or_else(|| Failing { contacts: HashSet::new(), is_of_the_database: false, last: now });
        so_far.last = now;
        so_far.is_of_the_database |= is_of_the_database;
        if so_far.contacts.len() < CONTACTS {
            so_far.contacts.insert(contact);
        }
        *failing = Some(so_far);
    }

    /// Records that a message was stored.
    pub fn succeeded(&self) {
        *self.failing() = None;
    }

    /// Whether messages could not be stored within [`FAILED_FOR`], and none was stored since.
    fn fails(&self) -> bool {
        self.failing().as_ref().is_some_and(|failing| {
            failing.last.elapsed() < FAILED_FOR && (failing.is_of_the_database || failing.contacts.len() >= CONTACTS)
        })
    }

    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long all claims of a kind of work may fail before the process is not ready. The search for one failing row among
/// a thousand takes less.
const NOT_CLAIMABLE: Duration = Duration::from_secs(30);

/// How to find and end the session that holds a table. It needs the rights of a superuser, or of the role of that
/// session.
pub const END_THE_HOLDER: &str = "find the holder: select relation::regclass, pid, usename, state, query from pg_locks join pg_stat_activity using (pid) where granted and relation is not null and mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'); end it: select pg_terminate_backend(pid)";

impl From<sqlx::Error> for NotReady {
    fn from(error: sqlx::Error) -> Self {
        if error.as_database_error().is_some_and(database::is_lock_timeout) {
            return Self::Blocked(
                "somebody holds a table that textback needs; see pg_locks and pg_stat_activity".to_owned(),
            );
        }
        Unsuitable::take(error).map_or_else(Self::Database, Self::Unsuitable)
    }
}

/// Checks that the database answers, has the schema of this binary or a newer one, and can be written.
pub async fn check(storage: &Storage) -> Result<(), NotReady> {
    let needed = database::MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let reading = async {
        let state = state(storage).await;
        if !state.as_ref().is_err_and(database::is_connection_lost) {
            return state;
        }
        // A lost connection says nothing about the database. After VALIDATION_INTERVAL the pool checks each connection,
        // so it gives no lost one.
        tokio::time::sleep(database::VALIDATION_INTERVAL).await;
        self::state(storage).await
    };
    let state = match database::with_timeout(reading).await {
        Err(error) => Err(database::reason(&storage.pool, error).await),
        state => state,
    };
    let (found, read_only, missing_functions) = match state {
        Ok(state) => (state.version.unwrap_or(0), state.is_read_only, state.missing_functions),
        // There is no table of migrations, because no migration was ever applied.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => (0, false, Vec::new()),
        // A missing right, such as USAGE of the schema, looks like a missing schema.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => (0, false, Vec::new()),
        Err(error) => return Err(not_ready(storage, error)),
    };
    if found == 0 {
        let missing = missing_grants(&mut *storage.connection().await?, None).await?;
        if !missing.is_empty() {
            return Err(NotReady::Rights { missing: brief(&missing) });
        }
    }
    if found < needed {
        return Err(NotReady::Schema { found, needed });
    }
    if !missing_functions.is_empty() {
        return Err(NotReady::Functions { missing: brief(&missing_functions) });
    }
    if read_only {
        return Err(NotReady::ReadOnly);
    }
    writable(storage).await?;
    let failing = storage.notifier.claim_health().failing_for(NOT_CLAIMABLE);
    if failing.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = failing.into_iter().map(JobKind::as_str).collect();
    Err(NotReady::NotClaimable { kinds: kinds.join(", ") })
}

/// Checks that messages can be stored: the last ingest succeeded, and no session holds a table that every message
/// needs. If a session holds a table that only some messages need, such as `attachment`, the ingest of those messages
/// fails.
async fn writable(storage: &Storage) -> Result<(), NotReady> {
    if storage.ingest_health.fails() {
        return Err(NotReady::Blocked(
            "the last inbound messages could not be stored; the log has the reason".to_owned(),
        ));
    }
    // It is not prepared, because the statement is a block and has no plan.
    let locking = sqlx::raw_sql(include_str!("../../sql/queries/health/writable.sql")).execute(&storage.pool);
    match database::with_timeout(locking).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) if database::is_lock_timeout(error.as_ref()) => Err(NotReady::Blocked(
            "somebody holds a table that every inbound message needs; see pg_locks and pg_stat_activity".to_owned(),
        )),
        Err(error) => Err(not_ready(storage, error)),
    }
}

/// Why a process is not ready, by the error of its check. If the pool has connections and none is free, all of them are
/// held by statements that do not end.
fn not_ready(storage: &Storage, error: sqlx::Error) -> NotReady {
    match (error, storage.pool.size()) {
        (sqlx::Error::PoolTimedOut, all) if all > 0 => {
            NotReady::Blocked(format!("all {all} connections to the database wait for statements that do not end"))
        }
        (error, _) => error.into(),
    }
}

/// What the check reads from the database.
struct State {
    /// The newest migration that was applied.
    version: Option<i64>,
    is_read_only: bool,
    /// The functions of this binary that the database lacks.
    missing_functions: Vec<String>,
}

async fn state(storage: &Storage) -> Result<State, sqlx::Error> {
    let mut connection = storage.connection().await?;
    let functions = schema::function_names();
    sqlx::query_file_as!(State, "sql/queries/health/state.sql", &functions[..]).fetch_one(&mut *connection).await
}

/// The GRANT statements that a role lacks for all commands but migrate. `None` means the current role.
pub async fn missing_grants(connection: &mut PgConnection, role: Option<&str>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/health/missing_grants.sql", role).fetch_all(connection).await
}

/// Grants a role all rights that it lacks, in the transaction of the caller, which runs as the owner of the schema.
/// Returns the number of statements.
pub async fn grant(connection: &mut PgConnection, role: &str) -> Result<usize, sqlx::Error> {
    let missing = missing_grants(connection, Some(role)).await?;
    for statement in &missing {
        // The database made the statement and quoted all names in it.
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.as_str())).execute(&mut *connection).await?;
    }
    Ok(missing.len())
}

/// The first five statements of a list, and the number of the others.
pub fn brief(statements: &[String]) -> String {
    let first = statements.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("; ");
    match statements.len() {
        0..=5 => first,
        all => format!("{first}; and {} more", all - 5),
    }
}

/// How much work is due, for the metrics.
#[derive(Debug, Clone)]
pub struct Backlog {
    pub turns: i64,
    pub oldest_turn_seconds: f64,
    pub deliveries: i64,
    pub oldest_delivery_seconds: f64,
    pub inactivity_jobs: i64,
    pub oldest_inactivity_job_seconds: f64,
    pub scheduled_messages: i64,
    pub oldest_scheduled_message_seconds: f64,
}

/// Counts the work that is due.
pub async fn backlog(connection: &mut PgConnection) -> Result<Backlog, sqlx::Error> {
    sqlx::query_file_as!(Backlog, "sql/queries/health/backlog.sql").fetch_one(connection).await
}

/// The server's version and clock.
pub async fn clock(connection: &mut PgConnection) -> Result<(String, DateTime<Utc>), sqlx::Error> {
    let clock = sqlx::query_file!("sql/queries/health/clock.sql").fetch_one(connection).await?;
    Ok((clock.version, clock.now))
}

/// Work that is due and not claimed.
#[derive(Debug, Clone)]
pub struct Unclaimed {
    pub kind: JobKind,
    pub due: i64,
    /// For how many seconds the oldest row could have been claimed.
    pub seconds: f64,
}

/// The kinds of work with rows that could have been claimed for longer than `seconds`.
pub async fn unclaimed(connection: &mut PgConnection, seconds: f64) -> Result<Vec<Unclaimed>, sqlx::Error> {
    sqlx::query_file_as!(Unclaimed, "sql/queries/health/unclaimed.sql", seconds).fetch_all(connection).await
}

/// The rows of a kind of work that were set aside because they could not be claimed.
#[derive(Debug, Clone)]
pub struct SetAside {
    pub kind: JobKind,
    pub rows: i64,
    /// How many seconds ago the last row was set aside.
    pub seconds: f64,
    pub why: String,
}

/// The rows that were set aside and not yet deleted by an operator.
pub async fn set_aside(connection: &mut PgConnection) -> Result<Vec<SetAside>, sqlx::Error> {
    sqlx::query_file_as!(SetAside, "sql/queries/health/set_aside.sql").fetch_all(connection).await
}

/// An agent whose turns were given up because the processes that ran them ended.
#[derive(Debug, Clone)]
pub struct LostWorkers {
    pub project: String,
    pub agent: String,
    /// How many turns, since the agent was made.
    pub turns: i32,
    /// How many seconds ago the last one was given up.
    pub seconds: f64,
}

/// The agents that lost workers in the last `seconds`, the latest first, ten at most.
pub async fn lost_workers(connection: &mut PgConnection, seconds: f64) -> Result<Vec<LostWorkers>, sqlx::Error> {
    sqlx::query_file_as!(LostWorkers, "sql/queries/health/lost_workers.sql", seconds).fetch_all(connection).await
}

/// A turn or a delivery that is not done after a long time.
#[derive(Debug, Clone)]
pub struct Stuck {
    /// A turn or a delivery.
    pub kind: JobKind,
    /// For how many seconds it has not been done.
    pub seconds: f64,
    pub contact: String,
    /// Its last error.
    pub error: String,
}

/// The turns and deliveries that are not done after `seconds`, the oldest first, ten at most.
pub async fn stuck(connection: &mut PgConnection, seconds: f64) -> Result<Vec<Stuck>, sqlx::Error> {
    sqlx::query_file_as!(Stuck, "sql/queries/health/stuck.sql", seconds).fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingest_fails_when_the_messages_of_two_contacts_fail_or_the_database_is_the_cause() {
        let ingest = IngestHealth::default();
        let pair = |contact: &str| ContactKey::of(Uuid::nil(), "+14155550199", contact);
        for _ in 0..9 {
            ingest.failed(pair("+14155550101"), false);
        }
        assert!(!ingest.fails());
        ingest.failed(pair("+14155550102"), false);
        assert!(ingest.fails());
        ingest.succeeded();
        assert!(!ingest.fails());
        ingest.failed(pair("+14155550101"), true);
        assert!(ingest.fails(), "the database is the cause");
    }
}
