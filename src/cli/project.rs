//! `textback migrate` and `textback project`: sets up the database and creates projects.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;

use super::{Done, explained, print, refuse_unsuitable};
use crate::config::DatabaseSettings;
use crate::domain::name;
use crate::storage::notifier::Notifier;
use crate::storage::{self, Storage, health, project, refused_by, unreachable};

/// The subcommands of `textback project`.
#[derive(Subcommand)]
pub enum Command {
    /// Create a project and print its id and its first API key, which is shown only once
    Create {
        #[command(flatten)]
        database: DatabaseSettings,
        /// The name of the project: 1 to 100 characters
        name: String,
    },
}

/// Runs `textback project`.
pub async fn run(command: Command) -> Done {
    let Command::Create { database, name } = command;
    if let Some(fault) = name::fault(&name) {
        return Err(format!("the project's name {fault}; give it a name of 1 to 100 characters").into());
    }
    refuse_unsuitable(database.required()?).await?;
    let storage = Storage::open(database.required()?, 1, Arc::new(Notifier::default()))?;
    let creating = async {
        let mut transaction = storage.transaction().await?;
        let namesakes = project::named(&mut transaction, &name).await?;
        let created = project::create(&mut transaction, &name).await?;
        transaction.commit().await?;
        Ok((created, namesakes))
    };
    let ((project, api_key), namesakes) = match creating.await {
        Ok(made) => made,
        Err(error) if refused_by(&error) == Some("project_name_has_1_to_100_characters") => {
            return Err("a project's name has 1 to 100 characters".into());
        }
        // The schema or a right may be missing, or the database may only read.
        Err(error @ sqlx::Error::Database(_)) => {
            return Err(match health::check(&storage, None).await {
                Err(not_ready) => not_ready.to_string().into(),
                Ok(_) => explained(&storage, error).await,
            });
        }
        Err(error) => return Err(explained(&storage, error).await),
    };
    // It is not refused: a project may also get its name later, and must not learn of the others.
    if let Some(namesake) = namesakes.first() {
        tracing::warn!(
            project_id = %namesake.id,
            "another project has the same name; give --project the id of the one that you mean"
        );
    }
    print(&json!({"project_id": project.id, "api_key": api_key}).to_string())
}

/// Runs `textback migrate`.
pub async fn migrate(database: &DatabaseSettings, grant_to: Option<&str>) -> Done {
    let url = database.required()?;
    storage::migrate(url).await?;
    tracing::info!("the database was migrated to the schema of this binary");
    if let Some(role) = grant_to {
        let storage = Storage::open(url, 1, Arc::new(Notifier::default()))?;
        let granting = async {
            let mut transaction = storage.transaction().await?;
            let statements = health::grant(&mut transaction, role).await?;
            transaction.commit().await?;
            Ok(statements)
        };
        let statements = granting.await.map_err(|error: sqlx::Error| match &error {
            sqlx::Error::Database(told) if told.code().as_deref() == Some("42704") => {
                format!("there is no role {role}; create it first: create role {role} login").into()
            }
            _ => Box::<dyn std::error::Error>::from(unreachable::plain(&error)),
        })?;
        tracing::info!(role, statements, "the role was granted the rights that serve, work and doctor need");
        storage.close().await;
    }
    Ok(ExitCode::SUCCESS)
}
