//! What is sealed in rows is sealed anew when the first key changes; it opens nothing for anybody else.

use sqlx::FromRow;
use uuid::Uuid;

use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::Storage;
use crate::storage::carrier_account::AccountError;

/// Secrets of a row that one key sealed: of a project's carrier account or of an agent.
#[derive(FromRow)]
struct Sealed {
    id: Uuid,
    project_id: Uuid,
    key_id: String,
    /// Null where there is none.
    secrets: Vec<Option<Vec<u8>>>,
}

/// How many rows each key has sealed.
#[derive(Debug, FromRow)]
pub struct Count {
    pub key_id: String,
    pub rows: i64,
}

/// Counts what is sealed, by the name of the key.
pub async fn count(storage: &Storage) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/seal/count.sql")).fetch_all(&storage.pool).await
}

/// The contexts of a row's secrets, in the order of the secrets.
type ContextsOf = fn(&Sealed) -> Vec<SecretContext>;

/// Seals with the first key what the others sealed, and says how many rows that were. What none of them opens stays. Several
/// processes may do it at once: a row is written only as it was read.
pub async fn re_encrypt(storage: &Storage, keys: &SecretKeys) -> Result<usize, AccountError> {
    let mut renewed = 0;
    let tables: [(_, _, ContextsOf); 2] = [
        (
            include_str!("../../sql/queries/seal/accounts.sql"),
            include_str!("../../sql/queries/seal/account.sql"),
            |row| {
                let of = |column| SecretContext::of_carrier_account(row.project_id, column);
                vec![of("auth_token"), of("next_auth_token"), of("api_key_secret")]
            },
        ),
        (include_str!("../../sql/queries/seal/agents.sql"), include_str!("../../sql/queries/seal/agent.sql"), |row| {
            vec![SecretContext::of_agent(row.project_id, row.id); 2]
        }),
    ];
    for (find, write, contexts) in tables {
        let rows: Vec<Sealed> = sqlx::query_as(find).bind(keys.id()).fetch_all(&storage.pool).await?;
        for row in rows.into_iter().filter(|row| keys.decrypts(&row.key_id)) {
            let anew: Result<Vec<Option<Vec<u8>>>, SecretError> = row
                .secrets
                .iter()
                .zip(contexts(&row))
                .map(|(sealed, context)| {
                    let anew =
                        |sealed| keys.decrypt(&context, &row.key_id, sealed).map(|it| keys.encrypt(&context, &it));
                    sealed.as_deref().map(anew).transpose()
                })
                .collect();
            let anew = match anew {
                Ok(anew) => anew,
                Err(error) => {
                    tracing::error!(%error, id = %row.id, "a stored secret can't be opened; give it anew");
                    continue;
                }
            };
            let written = sqlx::query(write)
                .bind(row.id)
                .bind(&row.secrets)
                .bind(keys.id())
                .bind(anew)
                .execute(&storage.pool)
                .await?;
            renewed += usize::from(written.rows_affected() == 1);
        }
    }
    Ok(renewed)
}

/// Does that beside the beginning of a process; what fails is told, and done at the next start.
pub fn re_encrypt_in_background(storage: &Storage, keys: &SecretKeys) {
    if keys.others() == 0 {
        return;
    }
    let (storage, keys) = (storage.clone(), keys.clone());
    tokio::spawn(async move {
        match re_encrypt(&storage, &keys).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, key_id = keys.id(), "stored secrets are encrypted with the new key"),
            Err(error) => {
                tracing::warn!(%error, "stored secrets could not be re-encrypted; the earlier key is still needed")
            }
        }
    });
}
