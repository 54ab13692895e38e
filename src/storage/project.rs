//! Projects, the tenants: made with their first key, found by name or by their opaque webhook key.

use chrono::{DateTime, NaiveTime, Utc};
use serde_json::{Map, Value};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::secret::draw_token;
use crate::storage::{Storage, api_key, new_id};

/// A tenant.
#[derive(Debug, Clone, FromRow)]
pub struct Project {
    pub id: Uuid,
    pub name: String,
    pub webhook_key: String,
}

/// Makes a project with a key that may do everything in it. The key is told here and never again.
pub async fn create(storage: &Storage, name: &str) -> Result<(Project, String), sqlx::Error> {
    let mut transaction = storage.pool.begin().await?;
    let project: Project = sqlx::query_as(include_str!("../../sql/queries/project/create.sql"))
        .bind(new_id())
        .bind(name)
        .bind(draw_token(""))
        .fetch_one(&mut *transaction)
        .await?;
    let api_key = api_key::create(&mut transaction, project.id).await?;
    transaction.commit().await?;
    Ok((project, api_key))
}

/// The oldest project of a name.
pub async fn find_by_name(storage: &Storage, name: &str) -> Result<Option<Project>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/project/find_by_name.sql"))
        .bind(name)
        .fetch_optional(&storage.pool)
        .await
}

/// A project by its id.
pub async fn find(storage: &Storage, id: Uuid) -> Result<Option<Project>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/project/find.sql")).bind(id).fetch_optional(&storage.pool).await
}

/// A project with its settings.
#[derive(Debug, Clone, FromRow)]
pub struct Settings {
    pub id: Uuid,
    pub name: String,
    /// How many texts of one contact to one number are answered in a minute; 0 is off.
    pub texts_per_contact_per_minute: i32,
    /// How often the same text may come in five minutes before its contact is paused; 0 is off.
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
    /// The countries that the project may send to. Without a list: the countries of its numbers, and contacts who wrote
    /// first.
    pub allowed_countries: Option<Vec<String>>,
    /// What somebody gets who texts HELP.
    pub help_message: Option<String>,
    /// Which number sends when nothing else says so.
    pub default_number: Option<String>,
    /// Quiet hours by the contact's clock: both or none.
    pub quiet_from: Option<NaiveTime>,
    pub quiet_until: Option<NaiveTime>,
    pub created_at: DateTime<Utc>,
}

/// A project's settings.
pub async fn settings(storage: &Storage, id: Uuid) -> Result<Settings, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/project/settings.sql")).bind(id).fetch_one(&storage.pool).await
}

/// Changes what is named of a project's settings: an object with the names of [`Settings`].
pub async fn change(storage: &Storage, id: Uuid, changes: &Map<String, Value>) -> Result<Settings, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/project/change.sql"))
        .bind(id)
        .bind(Json(changes))
        .fetch_one(&storage.pool)
        .await
}
