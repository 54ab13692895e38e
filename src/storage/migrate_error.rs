//! Why `textback migrate` could not bring the schema up to date.

use super::connection_settings::Unsuitable;
use super::database::{changed_migration, newest_migration};
use super::unreachable::{self, Unreachable};

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("{0}; {repair}", repair = .0.repair())]
    Unsuitable(Unsuitable),
    #[error("{0}")]
    Unreachable(Unreachable),
    #[error("the database refused us: {text}", text = unreachable::plain(.0))]
    Database(sqlx::Error),
    #[error(
        "the database has schema version {found}, and this binary brings {ours}: run the migrate of the newer textback that made it"
    )]
    Newer { found: i64, ours: i64 },
    #[error("{changed}", changed = changed_migration(*.0))]
    Changed(i64),
    #[error("the database only reads: DATABASE_URL leads to a standby; give the address of the server that writes")]
    Standby,
    #[error(
        "the schema textback can't be used: current_schema() is {0}; the role needs all rights on it (alter schema textback owner to …)"
    )]
    OtherSchema(String),
    #[error(
        "the role of DATABASE_URL may not change the schema textback ({0}); run textback migrate as the role that owns it"
    )]
    NotOwner(String),
    #[error("a migration failed: {0}")]
    Migration(sqlx::migrate::MigrateError),
}

impl MigrateError {
    pub(super) fn of(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError::{Execute, ExecuteMigration, VersionMismatch, VersionMissing};
        match &error {
            VersionMissing(found) => Self::Newer { found: *found, ours: newest_migration() },
            VersionMismatch(version) => Self::Changed(*version),
            Execute(sqlx::Error::Database(told)) | ExecuteMigration(sqlx::Error::Database(told), _)
                if told.code().as_deref() == Some("42501") =>
            {
                Self::NotOwner(told.message().to_owned())
            }
            _ => Self::Migration(error),
        }
    }

    /// Whether another session held a lock for too long, or the two deadlocked. The transaction can
    /// be tried again.
    pub fn is_of_a_lock(&self) -> bool {
        use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
        let error = match self {
            Self::Database(error) | Self::Migration(Execute(error) | ExecuteMigration(error, _)) => error,
            _ => return false,
        };
        let code = error.as_database_error().and_then(|told| told.code());
        matches!(code.as_deref(), Some("55P03" | "40P01"))
    }
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        match Unsuitable::take(error) {
            Ok(reason) => Self::Unsuitable(reason),
            Err(sqlx::Error::Database(told)) if told.code().as_deref() == Some("42501") => {
                Self::NotOwner(told.message().to_owned())
            }
            Err(error) => Self::Database(error),
        }
    }
}
