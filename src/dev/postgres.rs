//! The private PostgreSQL of `textback dev`, of the tests and of the benches.

use std::path::Path;

use dev_postgres::{Builder, Error, Postgres};

/// Where `scripts/ensure-postgres.sh` puts PostgreSQL's programs if none are installed.
const FETCHED_PROGRAMS: &str = ".pg/bin";

/// Why `textback dev` has no database.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}; or say where it is with TEXTBACK_PG_BIN, or use a server of your own with DATABASE_URL")]
    NotInstalled(Error),
    #[error(transparent)]
    Other(Error),
}

/// A server with a role and a database for textback.
pub fn builder() -> Builder {
    Postgres::builder("textback").fallback_programs(FETCHED_PROGRAMS)
}

/// Starts the server of a data folder, with the programs of `pg_bin` if it is given.
pub async fn start(folder: &Path, pg_bin: Option<&Path>) -> Result<Postgres, StartError> {
    let builder = match pg_bin {
        Some(pg_bin) => builder().programs(pg_bin),
        None => builder(),
    };
    builder.start(folder).await.map_err(|error| match error {
        Error::NotInstalled { .. } => StartError::NotInstalled(error),
        error => StartError::Other(error),
    })
}
