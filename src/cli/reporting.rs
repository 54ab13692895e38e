//! `textback reporting`: says which role of the database sees which project in the views for
//! dashboards, and counts hours again.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use serde_json::json;

use super::operator::project_id;
use super::{Done, dashboards, explained, print, refuse_unsuitable};
use crate::config::DatabaseSettings;
use crate::storage::notifier::Notifier;
use crate::storage::reporting::{self, Access, GrantError};
use crate::storage::rollup;
use crate::storage::{Storage, health};

/// After how many hours a rebuild tells how far it is: a month.
const EACH: u32 = 720;

/// The subcommands of `textback reporting`.
#[derive(Subcommand)]
pub enum Command {
    /// Let a role see a project in the views, or all projects, instead of what it saw before
    Grant {
        #[command(flatten)]
        database: DatabaseSettings,
        /// The role of the database that a dashboard connects as
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        role: String,
        #[command(flatten)]
        scope: Scope,
    },
    /// Let a role see nothing in the views
    Revoke {
        #[command(flatten)]
        database: DatabaseSettings,
        /// The role of the database
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        role: String,
    },
    /// Count hours again for the views by hour, after rows were changed by hand. Workers do it by
    /// themselves otherwise
    Rebuild {
        #[command(flatten)]
        database: DatabaseSettings,
        /// Only hours from this time on (RFC 3339), and not all
        #[arg(long)]
        since: Option<DateTime<Utc>>,
    },
    /// List the roles, with the project that each sees
    List {
        #[command(flatten)]
        database: DatabaseSettings,
    },
    /// Write the dashboards for Grafana and for Superset to a folder. No database is needed
    Dashboards {
        /// The folder; it gets the folders grafana and superset
        folder: PathBuf,
    },
}

/// What a role sees.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Scope {
    /// The name or the id of the project
    #[arg(long)]
    project: Option<String>,
    /// All projects, for the operators of this textback
    #[arg(long)]
    all_projects: bool,
}

/// Runs `textback reporting`.
pub async fn run(command: Command) -> Done {
    let database = match &command {
        Command::Grant { database, .. }
        | Command::Revoke { database, .. }
        | Command::Rebuild { database, .. }
        | Command::List { database } => database,
        Command::Dashboards { folder } => {
            let written = dashboards::write(folder)?;
            return print(&json!({"folder": folder, "files": written}).to_string());
        }
    };
    refuse_unsuitable(database.required()?).await?;
    let storage = Storage::open(database.required()?, 2, Arc::new(Notifier::default()))?;
    let done = match &command {
        Command::Grant { role, scope, .. } => grant(&storage, role, scope).await,
        Command::Revoke { role, .. } => revoke(&storage, role).await,
        Command::Rebuild { since, .. } => rebuild(&storage, *since).await,
        Command::List { .. } | Command::Dashboards { .. } => list(&storage).await,
    };
    match done.map_err(|error| error.downcast::<sqlx::Error>()) {
        Ok(done) => Ok(done),
        Err(Err(error)) => Err(error),
        // The schema or a right may be missing, or the database may only read.
        Err(Ok(error)) => Err(match health::check(&storage, None).await {
            Err(not_ready) => not_ready.to_string().into(),
            Ok(_) => explained(&storage, *error).await,
        }),
    }
}

async fn grant(storage: &Storage, role: &str, scope: &Scope) -> Done {
    let project_id = match &scope.project {
        Some(wanted) => Some(project_id(storage, wanted).await?),
        None => None,
    };
    let mut connection = storage.connection().await?;
    let granted = reporting::grant(&mut connection, role, project_id).await;
    // `run` looks for an error of the database itself.
    let refused = granted.map_err(|error| match error {
        GrantError::Database(error) => Box::<dyn std::error::Error>::from(error),
        error => error.into(),
    })?;
    if !refused.is_empty() {
        return Err(format!(
            "what the role {role} may see is stored, but the role of DATABASE_URL may not do the rest: as an administrator of the database, run:\n{};",
            refused.join(";\n")
        )
        .into());
    }
    print(&json!({"role": role, "project_id": project_id}).to_string())
}

async fn revoke(storage: &Storage, role: &str) -> Done {
    let mut connection = storage.connection().await?;
    match reporting::revoke(&mut connection, role).await? {
        true => Ok(ExitCode::SUCCESS),
        false => Err(format!("the role {role} saw no project; textback reporting list names those that do").into()),
    }
}

async fn list(storage: &Storage) -> Done {
    let mut connection = storage.connection().await?;
    for Access { role_name, project_id, project, granted_at, is_there } in reporting::list(&mut connection).await? {
        let access = json!({
            "role": role_name, "project_id": project_id, "project": project,
            "granted_at": granted_at, "role_exists": is_there,
        });
        print(&access.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts hours again, the newest first, each in a transaction of its own. It can be ended and
/// begun again at any time.
async fn rebuild(storage: &Storage, since: Option<DateTime<Utc>>) -> Done {
    let Some((oldest, until)) = rollup::hours(&mut *storage.connection().await?).await? else {
        return Err("no hour was counted yet: a worker counts them, so start textback work".into());
    };
    let first = since.map_or(oldest, |since| since.max(oldest));
    if first >= until {
        return Err(format!("--since {first} is after the hour that runs").into());
    }
    let (mut hour, mut counted) = (until, 0_u32);
    while hour > first {
        hour -= TimeDelta::hours(1);
        rollup::rebuild(storage, hour).await?;
        counted += 1;
        if counted.is_multiple_of(EACH) {
            print(&json!({"hours": counted, "counted_from": hour}).to_string())?;
        }
    }
    print(&json!({"hours": counted, "counted_from": hour, "done": true}).to_string())
}
