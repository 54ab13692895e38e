//! `textback migrate` and `textback project`: what an operator does once.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;

use super::{Done, print};
use crate::config::DatabaseSettings;
use crate::ledger::wake::Wakes;
use crate::ledger::{self, Ledger, project, refused_by};

/// What `textback project` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Make a project and print its id and its first API key, which is shown only once
    Create {
        #[command(flatten)]
        database: DatabaseSettings,
        /// For people; 1 to 100 characters
        name: String,
    },
}

/// Runs `textback project`.
pub async fn run(command: Command) -> Done {
    let Command::Create { database, name } = command;
    let ledger = Ledger::open(database.required()?, 1, Arc::new(Wakes::default()))?;
    let (project, api_key) = match project::create(&ledger, &name).await {
        Ok(made) => made,
        Err(error) if refused_by(&error) == Some("project_name_has_1_to_100_characters") => {
            return Err("a project's name has 1 to 100 characters".into());
        }
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
            return Err("the database has no tables of textback yet; run: textback migrate".into());
        }
        Err(error) => return Err(error.into()),
    };
    print(&json!({"project_id": project.id, "api_key": api_key}).to_string())
}

/// Runs `textback migrate`.
pub async fn migrate(database: &DatabaseSettings) -> Done {
    ledger::migrate(database.required()?).await?;
    tracing::info!("the database has this binary's schema");
    Ok(ExitCode::SUCCESS)
}
