//! Media of messages: where each is and what it turned out to be; nothing here fetches one.

use sqlx::FromRow;
use uuid::Uuid;

use crate::storage::Storage;

/// Something that came with a text or went out with one.
#[derive(Debug, Clone, FromRow)]
pub struct Attachment {
    pub id: Uuid,
    pub url: String,
    pub content_type: Option<String>,
    /// Known once it was fetched.
    pub bytes: Option<i64>,
    /// `inbound` or `outbound`, as its message.
    pub direction: String,
}

/// One medium of a project.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Attachment>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/attachment/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&storage.pool)
        .await
}

/// Notes what a medium turned out to be.
pub async fn measure(storage: &Storage, id: Uuid, content_type: &str, bytes: i64) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../sql/queries/attachment/measure.sql"))
        .bind(id)
        .bind(content_type)
        .bind(bytes)
        .execute(&storage.pool)
        .await?;
    Ok(())
}
