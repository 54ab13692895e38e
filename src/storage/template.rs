//! Named texts with variables, kept for a project; they are filled in elsewhere.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::storage::Storage;
use crate::storage::pagination::Page;

/// A named text.
#[derive(Debug, Clone, FromRow)]
pub struct Template {
    pub name: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Writes a template, over the one of its name.
pub async fn put(storage: &Storage, project_id: Uuid, name: &str, body: &str) -> Result<Template, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/template/put.sql"))
        .bind(project_id)
        .bind(name)
        .bind(body)
        .fetch_one(&storage.pool)
        .await
}

/// A template by its name.
pub async fn find(storage: &Storage, project_id: Uuid, name: &str) -> Result<Option<Template>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/template/find.sql"))
        .bind(project_id)
        .bind(name)
        .fetch_optional(&storage.pool)
        .await
}

/// The templates of a project by their names, after the one named by the cursor.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    after: Option<String>,
    limit: u32,
) -> Result<Page<Template>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/template/list.sql"))
        .bind(project_id)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |template: &Template| template.name.clone()))
}

/// Removes a template; false when there is none of that name.
pub async fn delete(storage: &Storage, project_id: Uuid, name: &str) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query(include_str!("../../sql/queries/template/delete.sql"))
        .bind(project_id)
        .bind(name)
        .execute(&storage.pool)
        .await?;
    Ok(deleted.rows_affected() == 1)
}
