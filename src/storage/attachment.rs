//! Media of messages: where each is, and its type and size once it was fetched.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::message::Direction;

/// Something that came with a message or went out with one.
#[derive(Debug, Clone)]
pub struct Attachment {
    pub id: Uuid,
    pub url: String,
    pub content_type: Option<String>,
    /// Known once it was fetched.
    pub bytes: Option<i64>,
    /// The direction of its message.
    pub direction: Direction,
}

/// One attachment of a project.
pub async fn find(
    connection: &mut PgConnection,
    project_id: Uuid,
    id: Uuid,
) -> Result<Option<Attachment>, sqlx::Error> {
    sqlx::query_file_as!(Attachment, "sql/queries/attachment/find.sql", project_id, id).fetch_optional(connection).await
}

/// Stores the type and size of an attachment that was fetched.
pub async fn measure(
    connection: &mut PgConnection,
    id: Uuid,
    content_type: &str,
    bytes: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/attachment/measure.sql", id, content_type, bytes).execute(connection).await?;
    Ok(())
}
