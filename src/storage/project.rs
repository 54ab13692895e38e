//! Projects, the tenants: created with their first key, found by name or id, and their settings.

use chrono::{DateTime, NaiveTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::keyword::OwnWords;
use crate::secret::draw_token;
use crate::storage::{api_key, new_id};

/// A tenant.
#[derive(Debug, Clone)]
pub struct Project {
    pub id: Uuid,
    pub name: String,
    pub webhook_key: String,
}

/// Creates a project with a key that may do everything in it. The key is returned here and never
/// again. The caller gives a transaction, so that no project is without a key.
pub async fn create(connection: &mut PgConnection, name: &str) -> Result<(Project, String), sqlx::Error> {
    let project = sqlx::query_file_as!(Project, "sql/queries/project/create.sql", new_id(), name, draw_token(""))
        .fetch_one(&mut *connection)
        .await?;
    let api_key = api_key::create(connection, project.id).await?;
    Ok((project, api_key))
}

/// The oldest project of a name.
pub async fn find_by_name(connection: &mut PgConnection, name: &str) -> Result<Option<Project>, sqlx::Error> {
    sqlx::query_file_as!(Project, "sql/queries/project/find_by_name.sql", name).fetch_optional(connection).await
}

/// Up to two projects of a name, the oldest first.
pub async fn named(connection: &mut PgConnection, name: &str) -> Result<Vec<Project>, sqlx::Error> {
    sqlx::query_file_as!(Project, "sql/queries/project/named.sql", name).fetch_all(connection).await
}

/// A project by its id.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> Result<Option<Project>, sqlx::Error> {
    sqlx::query_file_as!(Project, "sql/queries/project/find.sql", id).fetch_optional(connection).await
}

/// A project with its settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub id: Uuid,
    pub name: String,
    /// How many texts of one contact to one number are answered in a minute; 0 is off.
    pub texts_per_contact_per_minute: i32,
    /// The same text this many times within five minutes pauses its contact; 0 is off.
    pub repeats_in_five_minutes: i32,
    /// How many texts to the project are answered in a minute of the clock; 0 is off.
    pub texts_per_project_per_minute: i32,
    /// How many messages may be planned to one contact in an hour; 0 is off.
    pub outbound_per_contact_per_hour: i32,
    /// The same in 24 hours.
    pub outbound_per_contact_per_day: i32,
    /// How many messages of the whole project may be planned in a minute; 0 is off.
    pub outbound_per_project_per_minute: i32,
    /// The same in 24 hours.
    pub outbound_per_project_per_day: i32,
    /// The countries that the project may send to. Without a list: the countries of its numbers,
    /// and contacts who wrote first.
    pub allowed_countries: Option<Vec<String>>,
    /// What somebody gets who texts HELP.
    pub help_message: Option<String>,
    /// What confirms an opt-out and an opt-in, where the carrier leaves that to us.
    pub opt_out_message: Option<String>,
    pub opt_in_message: Option<String>,
    /// The project's own keywords, as they are compared.
    pub opt_out_words: Vec<String>,
    pub opt_in_words: Vec<String>,
    pub help_words: Vec<String>,
    /// Which number sends when nothing else says so.
    pub default_number: Option<String>,
    /// Quiet hours by the contact's clock: both or none.
    pub quiet_from: Option<NaiveTime>,
    pub quiet_until: Option<NaiveTime>,
    /// How many tokens language models may use on a day of UTC; 0 is off.
    pub llm_max_tokens_per_day: i64,
    /// The same for their cost, in millionths of the currency of the prices.
    pub llm_max_cost_per_day: i64,
    pub created_at: DateTime<Utc>,
}

/// A project's settings.
pub async fn settings(connection: &mut PgConnection, id: Uuid) -> Result<Settings, sqlx::Error> {
    sqlx::query_file_as!(Settings, "sql/queries/project/settings.sql", id).fetch_one(connection).await
}

/// A project's own keywords. Nobody else changes them until the transaction ends.
pub async fn lock_keywords(connection: &mut PgConnection, id: Uuid) -> Result<OwnWords, sqlx::Error> {
    sqlx::query_file_as!(OwnWords, "sql/queries/project/lock_keywords.sql", id).fetch_one(connection).await
}

/// Changes what is named of a project's settings: an object with the names of [`Settings`].
pub async fn change(
    connection: &mut PgConnection,
    id: Uuid,
    changes: &Map<String, Value>,
) -> Result<Settings, sqlx::Error> {
    sqlx::query_file_as!(Settings, "sql/queries/project/change.sql", id, Json(changes) as _).fetch_one(connection).await
}
