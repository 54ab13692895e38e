//! Checks whether a process can serve: whether the database answers, has the schema of this binary
//! and can be written. Reports how much work waits.
//!
//! docs/decisions/039-wrong-states.md has the reasons.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::secret::{SecretKeys, sha256};
use crate::storage::connection_settings::Unsuitable;
use crate::storage::key_rotation::{self, Unreadable};
use crate::storage::unreachable::{self, Unreachable};
use crate::storage::{Storage, database, schema};

/// A process that can serve, and what its operator should know all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The version of the database's schema, if it is newer than this binary's. That is usual while
    /// a new version is rolled out: `migrate` runs before the processes of the version before are
    /// replaced.
    pub newer_schema: Option<i64>,
}

impl Ready {
    /// What to say of a schema that is newer.
    pub fn note(&self) -> Option<String> {
        let found = self.newer_schema?;
        let ours = database::newest_migration();
        Some(format!(
            "the database has schema version {found}, which is newer than version {ours} of this binary: run the textback that migrated it"
        ))
    }
}

/// Why a process is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error("{0}")]
    Unreachable(Unreachable),
    #[error("the database does not answer: {text}", text = unreachable::plain(.0))]
    Database(sqlx::Error),
    #[error("{0}; {repair}", repair = .0.repair())]
    Unsuitable(Unsuitable),
    #[error(
        "the role of DATABASE_URL lacks rights; as the owner of the schema run: {missing}; or all of them: textback migrate --grant-to ROLE"
    )]
    Rights { missing: String },
    #[error("the database has schema version {found}, this binary needs {needed}; run: textback migrate")]
    Schema { found: i64, needed: i64 },
    #[error("{text}", text = database::changed_migration(*.0))]
    ChangedMigration(i64),
    #[error("the database lacks functions of this binary: {missing}; run: textback migrate")]
    Functions { missing: String },
    #[error(
        "the database only reads, because it is a standby; set DATABASE_URL to the server that writes, or promote this one"
    )]
    Standby,
    #[error(
        "the database only reads, because default_transaction_read_only is set for the role, the database or the server; take it back: alter role … reset default_transaction_read_only"
    )]
    ReadOnly,
    #[error("{0}")]
    Blocked(String),
    #[error("{0}")]
    SecretKey(Unreadable),
    #[error("this process has failed to claim work for over {} s: {kinds}; its log says why", NOT_CLAIMABLE.as_secs())]
    NotClaimable { kinds: String },
}

/// How long a failed ingest counts if none has succeeded since. A load balancer sends no requests
/// to a process that is not ready, so no ingest can show that the database works again.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// The messages of how many contacts must have failed if each may have waited for a locked row.
/// With one contact, the cause is its row, and the messages of other contacts are not affected.
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
    /// Records that a message could not be stored. `is_of_the_database` is false if one locked row
    /// may be the cause.
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

/// How long all claims of a kind of work may fail before the process is not ready. The search for
/// one failing row among a thousand takes less.
const NOT_CLAIMABLE: Duration = Duration::from_secs(30);

/// A larger difference between two clocks makes logs hard to read.
const CLOCKS_APART_SECONDS: f64 = 2.0;

/// How to find and end the session that holds a table. It needs the rights of a superuser, or of
/// the role of that session.
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

/// Checks that the database answers, has the schema of this binary or a newer one, and can be
/// written, and that `keys` decrypt the stored secrets.
pub async fn check(storage: &Storage, keys: Option<&SecretKeys>) -> Result<Ready, NotReady> {
    let needed = database::newest_migration();
    let state = match read_state(storage).await {
        Ok(state) => state,
        // There is no table of migrations, because no migration was ever applied, or a right is
        // missing: without USAGE of the schema it looks like a missing schema.
        Err(error) if database::what_is_missing(&error).is_some() => {
            refuse_missing_rights(storage).await?;
            return Err(NotReady::Schema { found: 0, needed });
        }
        Err(error) => return Err(not_ready(storage, error).await),
    };
    let found = state.versions.last().copied().unwrap_or(0);
    if let Some(outdated) = state.outdated(found, needed) {
        return Err(outdated);
    }
    match (state.is_read_only, state.is_standby) {
        (_, true) => return Err(NotReady::Standby),
        (true, false) => return Err(NotReady::ReadOnly),
        (false, false) => {}
    }
    // A newer schema has tables that this binary does not use, so rights on them may be missing.
    if found == needed {
        refuse_missing_rights(storage).await?;
    }
    writable(storage).await?;
    if let Some(keys) = keys {
        refuse_unreadable_secrets(storage, keys).await?;
    }
    let failing = storage.notifier.claim_health().failing_for(NOT_CLAIMABLE);
    if !failing.is_empty() {
        let kinds: Vec<&str> = failing.into_iter().map(JobKind::as_str).collect();
        return Err(NotReady::NotClaimable { kinds: kinds.join(", ") });
    }
    Ok(Ready { newer_schema: (found > needed).then_some(found) })
}

/// Reads the state of the database, over another connection if the first one is lost.
async fn read_state(storage: &Storage) -> Result<State, sqlx::Error> {
    let reading = async {
        let read = state(storage).await;
        if !read.as_ref().is_err_and(database::is_connection_lost) {
            return read;
        }
        // A lost connection says nothing about the database. After VALIDATION_INTERVAL the pool
        // checks each connection, so it gives no lost one.
        tokio::time::sleep(database::VALIDATION_INTERVAL).await;
        state(storage).await
    };
    database::with_timeout(reading).await
}

/// Refuses a role that lacks a right.
async fn refuse_missing_rights(storage: &Storage) -> Result<(), NotReady> {
    let asking = async { missing_grants(&mut *storage.connection().await?, None).await };
    match database::with_timeout::<_, sqlx::Error, _>(asking).await {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => Err(NotReady::Rights { missing: brief(&missing) }),
        Err(error) => Err(not_ready(storage, error).await),
    }
}

/// Refuses keys that do not decrypt all stored secrets: the webhooks and the deliveries of those
/// projects would fail.
pub async fn refuse_unreadable_secrets(storage: &Storage, keys: &SecretKeys) -> Result<(), NotReady> {
    let asking = async { key_rotation::unreadable(&mut *storage.connection().await?, keys).await };
    match database::with_timeout::<_, sqlx::Error, _>(asking).await {
        Ok(None) => Ok(()),
        Ok(Some(unreadable)) => Err(NotReady::SecretKey(unreadable)),
        Err(error) => Err(not_ready(storage, error).await),
    }
}

/// Checks that messages can be stored: the last ingest succeeded, and no session holds a table that
/// every message needs. If a session holds a table that only some messages need, such as
/// `attachment`, the ingest of those messages fails.
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
        // A right that is missing in a newer schema, where not all rights are looked at.
        Err(error) if database::what_is_missing(&error).is_some() => {
            refuse_missing_rights(storage).await?;
            Err(not_ready(storage, error).await)
        }
        Err(sqlx::Error::Database(error)) if database::is_lock_timeout(error.as_ref()) => Err(NotReady::Blocked(
            "somebody holds a table that every inbound message needs; see pg_locks and pg_stat_activity".to_owned(),
        )),
        Err(error) => Err(not_ready(storage, error).await),
    }
}

/// Why a process is not ready, by the error of its check. A pool that gives no connection does not
/// tell why, so that is looked for: a pooler in transaction mode is one cause. If there is none,
/// and the pool has connections of which none is free, all of them are held by statements that do
/// not end.
async fn not_ready(storage: &Storage, error: sqlx::Error) -> NotReady {
    match (database::reason(&storage.pool, error).await, storage.pool.size()) {
        (sqlx::Error::PoolTimedOut, all) if all > 0 => {
            NotReady::Blocked(format!("all {all} connections to the database wait for statements that do not end"))
        }
        (error, _) => match unreachable::explain(&storage.pool.connect_options(), &error) {
            Some(unreachable) if Unsuitable::of(&error).is_none() => NotReady::Unreachable(unreachable),
            _ => error.into(),
        },
    }
}

/// What the check reads from the database.
struct State {
    /// The migrations that were applied, oldest first, and the checksums of their texts.
    versions: Vec<i64>,
    checksums: Vec<Vec<u8>>,
    is_read_only: bool,
    is_standby: bool,
    /// The functions of this binary that the database lacks.
    missing_functions: Vec<String>,
}

impl State {
    /// Why the schema is not that of this binary or a newer one.
    fn outdated(&self, found: i64, needed: i64) -> Option<NotReady> {
        let applied: HashMap<i64, &[u8]> =
            self.versions.iter().copied().zip(self.checksums.iter().map(Vec::as_slice)).collect();
        let is_changed = |(version, checksum): &(i64, &[u8])| applied.get(version).is_some_and(|is| is != checksum);
        let ours = || database::MIGRATIONS.iter().map(|migration| (migration.version, &*migration.checksum));
        if let Some((version, _)) = ours().find(is_changed) {
            return Some(NotReady::ChangedMigration(version));
        }
        if !ours().all(|(version, _)| applied.contains_key(&version)) {
            return Some(NotReady::Schema { found, needed });
        }
        (!self.missing_functions.is_empty()).then(|| NotReady::Functions { missing: brief(&self.missing_functions) })
    }
}

async fn state(storage: &Storage) -> Result<State, sqlx::Error> {
    let mut connection = storage.connection().await?;
    let functions = schema::function_names();
    sqlx::query_file_as!(State, "sql/queries/health/state.sql", &functions[..]).fetch_one(&mut *connection).await
}

/// The GRANT statements that a role lacks for all commands but migrate. `None` means the current
/// role.
pub async fn missing_grants(connection: &mut PgConnection, role: Option<&str>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/health/missing_grants.sql", role).fetch_all(connection).await
}

/// Grants a role all rights that it lacks, in the transaction of the caller, which runs as the
/// owner of the schema. Returns the number of statements.
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

/// The database's server.
#[derive(Debug, Clone)]
pub struct Server {
    pub version: String,
    /// Its clock.
    pub now: DateTime<Utc>,
    /// How many connections it has for roles that are no superusers.
    pub connections: i32,
}

/// Asks the server for its version, its clock and its connections.
pub async fn server(connection: &mut PgConnection) -> Result<Server, sqlx::Error> {
    sqlx::query_file_as!(Server, "sql/queries/health/server.sql").fetch_one(connection).await
}

/// By how many seconds the clock of this machine and the database's `now` are apart, if that is too
/// much. Rows use the database's clock; logs and the signatures of calls to agents use this
/// machine's.
pub fn clocks_apart(now: DateTime<Utc>) -> Option<f64> {
    let apart = (Utc::now() - now).as_seconds_f64().abs();
    (apart > CLOCKS_APART_SECONDS).then_some(apart)
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
