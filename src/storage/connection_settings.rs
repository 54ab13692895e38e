//! The settings of each database connection. They are set when the connection is made, and then
//! read to verify them. A pooler that does not keep them is refused.
//!
//! docs/decisions/017-connections.md has the reasons.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use uuid::Uuid;

/// Settings of every connection, as PostgreSQL prints them. They are set on the connection, so they
/// override the defaults of a role (`alter role … set`) and of a database.
pub const SETTINGS: [(&str, &str); 12] = [
    ("search_path", crate::storage::database::SCHEMA),
    // Twilio waits 15 s for the response to a webhook, so no statement may take longer.
    ("statement_timeout", "12s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "4s"),
    // An acknowledged message must be on disk, and a decision under a lock must see what was
    // committed before it. The database's own defaults must not change that.
    ("synchronous_commit", "on"),
    ("default_transaction_isolation", "read committed"),
    // Every statement has an index to use. A plan cached while a table is empty and has no
    // statistics would read the whole table or another index: 0.5 ms for each text after a few
    // thousand texts.
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    // Disabling a scan type only raises its cost, which would trigger JIT (36 ms per statement).
    ("jit", "off"),
    // The statements rely on these values.
    ("plan_cache_mode", "auto"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "UTC"),
];

/// Settings that textback needs but does not set. `origin` lets triggers run, and UTF8 stores all
/// texts.
const REQUIRED: [(&str, &str); 2] = [("session_replication_role", "origin"), ("server_encoding", "UTF8")];

/// The oldest major version of PostgreSQL that textback is tested with.
const OLDEST_SERVER: u32 = 15;

/// The setting whose value names the connection that set it. A server connection that no client
/// used before has none.
const MARK: &str = "textback.connection";
/// How long a second connection may wait until the pooler gives it a server connection.
const SECOND_WITHIN: Duration = Duration::from_secs(3);
/// How often each of the two connections is checked for its server process. If a pooler shares two
/// or more server connections, each check detects it with a probability of at least one half. So 16
/// checks miss it once in 65,000 times.
const CHECKS: usize = 8;

/// Why textback can't work over a connection.
#[derive(Debug, thiserror::Error)]
pub enum Unsuitable {
    #[error(
        "DATABASE_URL leads to a pooler in transaction or statement mode, which gives the statements of one connection to several of PostgreSQL's: settings, prepared statements and LISTEN don't hold there"
    )]
    Pooled,
    #[error(
        "a second connection got no answer within {} s: the pooler gives one server connection at a time",
        SECOND_WITHIN.as_secs()
    )]
    OneConnection,
    #[error("the server is PostgreSQL {found}, but textback needs {OLDEST_SERVER} or newer")]
    Server { found: u32 },
    #[error("the connection has {name} = '{found}', but textback needs '{needed}'")]
    Setting { name: &'static str, found: String, needed: &'static str },
}

impl Unsuitable {
    /// What the operator can do about it.
    pub fn repair(&self) -> &'static str {
        match self {
            Self::Pooled => {
                "set pool_mode = session for this database or user (PgBouncer), or let DATABASE_URL lead to PostgreSQL itself"
            }
            Self::OneConnection => {
                "raise pool_size (PgBouncer): serve needs 8 connections, work 12, serve --with-workers 20, and each command 3 for a moment"
            }
            Self::Server { .. } => "upgrade the server, or set DATABASE_URL to a newer one",
            Self::Setting { name: "server_encoding", .. } => "make the database with encoding UTF8",
            Self::Setting { name: "session_replication_role", .. } => {
                "take the setting from the role or the database: alter role … reset session_replication_role"
            }
            Self::Setting { .. } => {
                "a pooler or proxy changes what is set on a connection: let DATABASE_URL lead to PostgreSQL itself, or to PgBouncer in session mode"
            }
        }
    }

    /// The reason inside an error, if the error has one.
    pub fn of(error: &sqlx::Error) -> Option<&Self> {
        match error {
            sqlx::Error::Configuration(reason) => reason.downcast_ref(),
            _ => None,
        }
    }

    /// Takes the reason out of an error, or returns the error if it has none.
    pub fn take(error: sqlx::Error) -> Result<Self, sqlx::Error> {
        match error {
            sqlx::Error::Configuration(reason) => {
                reason.downcast().map(|unsuitable| *unsuitable).map_err(sqlx::Error::Configuration)
            }
            error => Err(error),
        }
    }
}

impl From<Unsuitable> for sqlx::Error {
    fn from(reason: Unsuitable) -> Self {
        Self::Configuration(Box::new(reason))
    }
}

/// Sets the settings of a new connection, and verifies them in another round trip.
///
/// If the server connection has a mark already, another client has set it. If that client still
/// uses the server connection, the connection is refused. Otherwise the pooler did not reset the
/// server connection, and we do.
pub async fn prepare(connection: &mut PgConnection, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    check_server(connection)?;
    let mark = Uuid::now_v7().simple().to_string();
    if !set(connection, &mark).await?.is_empty() {
        refuse_pooling(options).await?;
        sqlx::raw_sql("discard all").execute(&mut *connection).await?;
        set(connection, &mark).await?;
    }
    let names = SETTINGS.iter().chain(&REQUIRED).map(|(name, _)| *name).chain([MARK]);
    let columns: Vec<String> = names.map(|name| format!("coalesce(current_setting('{name}', true), '')")).collect();
    // All names are our constants. Nothing is prepared, so the pooler may send this message to any
    // server connection.
    let reading = AssertSqlSafe(format!("select {}", columns.join(", ")));
    let row = sqlx::raw_sql(reading).fetch_one(&mut *connection).await?;
    let found: Vec<String> = (0..columns.len()).map(|index| row.try_get(index)).collect::<Result<_, _>>()?;
    if found.last() != Some(&mark) {
        return Err(Unsuitable::Pooled.into());
    }
    for ((name, needed), found) in SETTINGS.into_iter().chain(REQUIRED).zip(found) {
        if found != needed {
            return Err(Unsuitable::Setting { name, found, needed }.into());
        }
    }
    Ok(())
}

/// Refuses a server that is too old. It says its version when a connection is made.
fn check_server(connection: &PgConnection) -> Result<(), Unsuitable> {
    match connection.server_version_num().map(|number| number / 10_000) {
        Some(found) if found < OLDEST_SERVER => Err(Unsuitable::Server { found }),
        _ => Ok(()),
    }
}

/// Sets all settings, and returns the mark that the server connection had before.
async fn set(connection: &mut PgConnection, mark: &str) -> Result<String, sqlx::Error> {
    let settings = SETTINGS.into_iter().chain([(MARK, mark)]);
    let settings: Vec<String> =
        settings.map(|(name, value)| format!("set_config('{name}', '{value}', false)")).collect();
    // All names and values are our constants, and the mark is hexadecimal. They go in one message,
    // which no pooler splits.
    let setting =
        AssertSqlSafe(format!("select coalesce(current_setting('{MARK}', true), ''); select {}", settings.join(", ")));
    let rows = sqlx::raw_sql(setting).fetch_all(connection).await?;
    rows.first().map_or(Ok(String::new()), |row| row.try_get(0))
}

/// Checks that each connection is a session of its own, by the server processes of two connections.
/// A pooler in transaction or statement mode gives both the same process, or changes it between
/// statements, even without other clients. Nothing is set.
pub async fn check_pooling(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut first = options.connect().await?;
    check_server(&first)?;
    let first_process = process(&mut first).await?;
    let second = async {
        let mut second = options.connect().await?;
        let process = process(&mut second).await?;
        Ok::<_, sqlx::Error>((second, process))
    };
    let Ok(second) = tokio::time::timeout(SECOND_WITHIN, second).await else {
        return Err(Unsuitable::OneConnection.into());
    };
    let (mut second, second_process) = second?;
    let mut is_shared = first_process == second_process;
    for _ in 0..CHECKS {
        is_shared =
            is_shared || process(&mut first).await? != first_process || process(&mut second).await? != second_process;
    }
    for connection in [first, second] {
        let _ = connection.close().await;
    }
    if is_shared { Err(Unsuitable::Pooled.into()) } else { Ok(()) }
}

/// The same check, but it accepts a second connection that has to wait, because connections wait
/// only in session mode.
pub async fn refuse_pooling(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    match check_pooling(options).await {
        Err(error) if matches!(Unsuitable::of(&error), Some(Unsuitable::OneConnection)) => Ok(()),
        checked => checked,
    }
}

/// The server process of a connection. Nothing is prepared, because a pooler may not support that.
async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
