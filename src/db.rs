//! Opens the database: connections with their limits, the schema, the migrations; it never asks the product's questions.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection};

/// All migrations, embedded in the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// The schema that holds all tables of a cell. Statements never name it: the search path does.
pub const SCHEMA: &str = "textback";

/// The connection settings that every connection of ours has.
pub fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name("textback").options([
        ("search_path", SCHEMA),
        // A carrier waits 15 s for its webhook; no statement of ours may outlive that.
        ("statement_timeout", "12s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ]))
}

/// A pool that connects when it is first used, so a process starts while its database is away.
pub fn pool(url: &str, max_connections: u32) -> Result<PgPool, sqlx::Error> {
    Ok(PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(3))
        .connect_lazy_with(options(url)?))
}

/// Applies the migrations that are missing, and gives the connection that did.
///
/// Errors when the database can't be reached or a migration that was applied differs from ours.
pub async fn migrate(url: &str) -> Result<PgConnection, MigrateError> {
    let mut connection = PgConnection::connect_with(&options(url)?).await?;
    // The name is a constant of ours: nothing from outside reaches this statement.
    sqlx::raw_sql("create schema if not exists textback").execute(&mut connection).await?;
    MIGRATIONS.run(&mut connection).await?;
    Ok(connection)
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database can't be reached or refused us: {0}; check DATABASE_URL")]
    Database(#[from] sqlx::Error),
    #[error("a migration failed: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}
