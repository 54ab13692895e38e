//! API keys: stored as hashes, always of one project; a key is told once, when it is made.

use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::secret::{draw_token, sha256};
use crate::storage::{Storage, new_id};

/// The beginning of every key.
const PREFIX: &str = "tb_";

/// Whom a key speaks for.
#[derive(Debug, Clone, FromRow)]
pub struct Key {
    pub project_id: Uuid,
    pub scopes: Vec<String>,
}

/// Makes a key for a project and tells it.
pub(super) async fn create(connection: &mut PgConnection, project_id: Uuid) -> Result<String, sqlx::Error> {
    let key = draw_token(PREFIX);
    sqlx::query(include_str!("../../sql/queries/api_key/create.sql"))
        .bind(new_id())
        .bind(project_id)
        .bind(sha256(key.as_bytes()).as_slice())
        .bind(key.chars().take(8).collect::<String>())
        .execute(connection)
        .await?;
    Ok(key)
}

/// Makes another key for a project and tells it.
pub async fn add(storage: &Storage, project_id: Uuid) -> Result<String, sqlx::Error> {
    let mut connection = storage.pool.acquire().await?;
    create(&mut connection, project_id).await
}

/// Whether a text has the form of a key: the prefix, and 32 bytes in base64.
pub fn is_shaped(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|drawn| {
        drawn.len() == 43 && drawn.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// Whom a key speaks for; `None` when it is not one of ours or was revoked.
///
/// The look-up is by hash, so its time tells nothing about how much of a guess was right.
pub async fn find(storage: &Storage, key: &str) -> Result<Option<Key>, sqlx::Error> {
    // No key of ours has this form, so it gets no statement.
    if !is_shaped(key) {
        return Ok(None);
    }
    sqlx::query_as(include_str!("../../sql/queries/api_key/find.sql"))
        .bind(sha256(key.as_bytes()).as_slice())
        .fetch_optional(&storage.pool)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_drawn_has_the_shape_of_one() {
        let key = draw_token(PREFIX);
        assert!(is_shaped(&key), "{key}");
        for other in ["", "tb_", "tb_wrong", &key[1..], &format!("{key}a"), &key.replace('_', " ")] {
            assert!(!is_shaped(other), "{other}");
        }
    }
}
