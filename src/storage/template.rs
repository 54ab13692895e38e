//! Named texts with variables that a project keeps.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::storage::pagination::{Page, rows_to_read};

/// A named text.
#[derive(Debug, Clone)]
pub struct Template {
    pub name: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Writes a template, over the one of its name.
pub async fn put(
    connection: &mut PgConnection,
    project_id: Uuid,
    name: &str,
    body: &str,
) -> Result<Template, sqlx::Error> {
    sqlx::query_file_as!(Template, "sql/queries/template/put.sql", project_id, name, body).fetch_one(connection).await
}

/// A template by its name.
pub async fn find(
    connection: &mut PgConnection,
    project_id: Uuid,
    name: &str,
) -> Result<Option<Template>, sqlx::Error> {
    sqlx::query_file_as!(Template, "sql/queries/template/find.sql", project_id, name).fetch_optional(connection).await
}

/// The templates of a project by their names, after the one that the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    after: Option<String>,
    limit: u32,
) -> Result<Page<Template>, sqlx::Error> {
    let rows = sqlx::query_file_as!(Template, "sql/queries/template/list.sql", project_id, after, rows_to_read(limit))
        .fetch_all(connection)
        .await?;
    Ok(Page::of(rows, limit, |template: &Template| template.name.clone()))
}

/// Removes a template. Returns false if there is none of that name.
pub async fn delete(connection: &mut PgConnection, project_id: Uuid, name: &str) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query_file!("sql/queries/template/delete.sql", project_id, name).execute(connection).await?;
    Ok(deleted.rows_affected() == 1)
}
