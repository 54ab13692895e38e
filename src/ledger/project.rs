//! Projects, the tenants: made with their first key, found by name or by their opaque webhook key.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Ledger, key, new_id};
use crate::secret::draw_token;

/// A tenant.
#[derive(Debug, Clone, FromRow)]
pub struct Project {
    pub id: Uuid,
    pub name: String,
    pub webhook_key: String,
}

/// Makes a project with a key that may do everything in it. The key is told here and never again.
pub async fn create(ledger: &Ledger, name: &str) -> Result<(Project, String), sqlx::Error> {
    let mut transaction = ledger.pool.begin().await?;
    let project: Project = sqlx::query_as(include_str!("../../sql/project/create.sql"))
        .bind(new_id())
        .bind(name)
        .bind(draw_token(""))
        .fetch_one(&mut *transaction)
        .await?;
    let api_key = key::create(&mut transaction, project.id).await?;
    transaction.commit().await?;
    Ok((project, api_key))
}

/// The oldest project of a name.
pub async fn find_by_name(ledger: &Ledger, name: &str) -> Result<Option<Project>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/project/find_by_name.sql")).bind(name).fetch_optional(&ledger.pool).await
}

/// A project by its id.
pub async fn find(ledger: &Ledger, id: Uuid) -> Result<Option<Project>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/project/find.sql")).bind(id).fetch_optional(&ledger.pool).await
}
