//! API keys: stored as hashes, each of one project. A key is shown once, when it is created.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::secret::{draw_token, sha256};
use crate::storage::new_id;

/// The beginning of every key.
const PREFIX: &str = "tb_";

/// The project that a key belongs to, and what it may do there.
#[derive(Debug, Clone)]
pub struct Key {
    pub project_id: Uuid,
    pub scopes: Vec<String>,
}

/// Creates a key for a project and returns it.
pub async fn create(connection: &mut PgConnection, project_id: Uuid) -> Result<String, sqlx::Error> {
    let key = draw_token(PREFIX);
    let hash = sha256(key.as_bytes());
    let prefix: String = key.chars().take(8).collect();
    sqlx::query_file!("sql/queries/api_key/create.sql", new_id(), project_id, &hash[..], prefix)
        .execute(connection)
        .await?;
    Ok(key)
}

/// Whether a text has the form of a key: the prefix, and 32 bytes in base64.
pub fn is_shaped(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|drawn| {
        drawn.len() == 43 && drawn.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// The project of a key. `None` when it is not one of ours or was revoked.
///
/// The look-up is by hash, so its time reveals nothing about how much of a guess was right.
pub async fn find(connection: &mut PgConnection, key: &str) -> Result<Option<Key>, sqlx::Error> {
    // No key of ours has this form, so it gets no statement.
    if !is_shaped(key) {
        return Ok(None);
    }
    let hash = sha256(key.as_bytes());
    sqlx::query_file_as!(Key, "sql/queries/api_key/find.sql", &hash[..]).fetch_optional(connection).await
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
