//! What a connection of ours must keep: it is set when the connection is made and read back, and a pooler that can't keep it is recognised.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use uuid::Uuid;

/// Settings that every connection of ours has, as PostgreSQL prints them. They are set on the connection, so they are stronger than the
/// defaults of a role (`alter role … set`) and of a database.
pub const SETTINGS: [(&str, &str); 12] = [
    ("search_path", super::SCHEMA),
    // A carrier waits 15 s for its webhook; no statement of ours may outlive that.
    ("statement_timeout", "12s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    // What we acknowledge is on the disk, and what is decided under a lock sees what was committed before it, whatever the database's
    // own defaults are.
    ("synchronous_commit", "on"),
    ("default_transaction_isolation", "read committed"),
    // Every statement of ours has its index. A plan that was made while a table was empty, before statistics are gathered
    // for the first time, would else read all of it or all of another index, text after text: 0.5 ms each after a few
    // thousand texts.
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    // What is forbidden so counts as dear, and what is dear would be compiled: 36 ms for a statement of one.
    ("jit", "off"),
    // Statements are written for these.
    ("plan_cache_mode", "auto"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "UTC"),
];

/// What we don't set, and can't do without: triggers run, and texts are stored as what they are.
const REQUIRED: [(&str, &str); 2] = [("session_replication_role", "origin"), ("server_encoding", "UTF8")];

/// Names the connection that set it; none is set on a server connection that nobody had before us.
const MARK: &str = "textback.connection";
/// How long a second connection may wait for the pooler to give it a server connection.
const SECOND_WITHIN: Duration = Duration::from_secs(3);
/// How often two connections are asked in turn which server process they have. Where a pooler shares two or more server connections,
/// each look has at least an even chance to show it: 16 looks miss it once in 65,000 times.
const LOOKS: usize = 8;

/// Why textback can't work over a connection that was made.
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
    #[error("the connection has {name} = '{found}', but textback needs '{needed}'")]
    Setting { name: &'static str, found: String, needed: &'static str },
}

impl Unsuitable {
    /// What to do about it.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::Pooled => {
                "set pool_mode = session for this database or user (PgBouncer), or let DATABASE_URL lead to PostgreSQL itself"
            }
            Self::OneConnection => {
                "raise pool_size (PgBouncer): serve needs 8 connections, work 12, serve --with-workers 20, and each command 3 for a moment"
            }
            Self::Setting { name: "server_encoding", .. } => "make the database with encoding UTF8",
            Self::Setting { name: "session_replication_role", .. } => {
                "take the setting from the role or the database: alter role … reset session_replication_role"
            }
            Self::Setting { .. } => {
                "a pooler or proxy changes what is set on a connection: let DATABASE_URL lead to PostgreSQL itself, or to PgBouncer in session mode"
            }
        }
    }

    /// The reason in an error, if it is one of these.
    pub fn of(error: &sqlx::Error) -> Option<&Self> {
        match error {
            sqlx::Error::Configuration(reason) => reason.downcast_ref(),
            _ => None,
        }
    }

    /// The reason out of an error, or the error if it is another one.
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

/// Sets what a new connection must keep, and reads it back by another round trip.
///
/// A mark that is there already was set by whoever had the server connection before: by another client at the same time, or by one that
/// is gone where the pooler resets nothing. Only the first is refused.
pub async fn prepare(connection: &mut PgConnection, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mark = Uuid::now_v7().simple().to_string();
    if !set(connection, &mark).await?.is_empty() {
        refuse_pooling(options).await?;
        sqlx::raw_sql("discard all").execute(&mut *connection).await?;
        set(connection, &mark).await?;
    }
    let names = SETTINGS.iter().chain(&REQUIRED).map(|(name, _)| *name).chain([MARK]);
    let asked: Vec<String> = names.map(|name| format!("coalesce(current_setting('{name}', true), '')")).collect();
    // All names are constants of ours. Nothing is prepared: one message is one answer, wherever it goes.
    let asking = AssertSqlSafe(format!("select {}", asked.join(", ")));
    let row = sqlx::raw_sql(asking).fetch_one(&mut *connection).await?;
    let found: Vec<String> = (0..asked.len()).map(|place| row.try_get(place)).collect::<Result<_, _>>()?;
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

/// Sets all, and gives the mark that was there.
async fn set(connection: &mut PgConnection, mark: &str) -> Result<String, sqlx::Error> {
    let settings = SETTINGS.into_iter().chain([(MARK, mark)]);
    let settings: Vec<String> =
        settings.map(|(name, value)| format!("set_config('{name}', '{value}', false)")).collect();
    // All names and values are constants of ours, and the mark is hexadecimal. As one message, which even a pooler keeps together.
    let setting =
        AssertSqlSafe(format!("select coalesce(current_setting('{MARK}', true), ''); select {}", settings.join(", ")));
    let rows = sqlx::raw_sql(setting).fetch_all(connection).await?;
    rows.first().map_or(Ok(String::new()), |row| row.try_get(0))
}

/// Whether connections are sessions of their own. Two are opened and asked in turn which server process serves them: those of a
/// pooler in transaction or statement mode share one, or change theirs, even where nobody else uses it. Nothing is set.
pub async fn check_pooling(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut first = options.connect().await?;
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
    for _ in 0..LOOKS {
        is_shared =
            is_shared || process(&mut first).await? != first_process || process(&mut second).await? != second_process;
    }
    for connection in [first, second] {
        let _ = connection.close().await;
    }
    if is_shared { Err(Unsuitable::Pooled.into()) } else { Ok(()) }
}

/// The same, but that a second connection has to wait is no matter: only sessions of their own wait.
pub async fn refuse_pooling(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    match check_pooling(options).await {
        Err(error) if matches!(Unsuitable::of(&error), Some(Unsuitable::OneConnection)) => Ok(()),
        checked => checked,
    }
}

/// The server process that answers a connection; nothing is prepared for that, which such a pooler may not know.
async fn process(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
