//! Re-encrypts the stored secrets with the first of the given keys.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::Storage;
use crate::storage::carrier_account::AccountError;

/// The secrets of one row, a carrier account or an agent. One key encrypts all of them.
struct EncryptedRow {
    id: Uuid,
    project_id: Uuid,
    key_id: String,
    /// `None` where the row has no such secret.
    secrets: Vec<Option<Vec<u8>>>,
}

/// How many rows have secrets that a key encrypts.
#[derive(Debug)]
pub struct Count {
    pub key_id: String,
    pub rows: i64,
}

/// Counts the rows with secrets, by the id of their key.
pub async fn count(connection: &mut PgConnection) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_file_as!(Count, "sql/queries/secret/count.sql").fetch_all(connection).await
}

/// Re-encrypts the secrets that are encrypted with another key than the first one. Returns the number of rows. A row
/// whose secrets none of the keys decrypts stays as it is.
///
/// Several processes may do this at the same time, because a row is only written if it did not change since it was
/// read.
pub async fn re_encrypt(storage: &Storage, keys: &SecretKeys) -> Result<usize, AccountError> {
    Ok(re_encrypt_accounts(storage, keys).await? + re_encrypt_agents(storage, keys).await?)
}

async fn re_encrypt_accounts(storage: &Storage, keys: &SecretKeys) -> Result<usize, sqlx::Error> {
    let mut connection = storage.connection().await?;
    let accounts = sqlx::query_file_as!(EncryptedRow, "sql/queries/secret/accounts.sql", keys.id());
    let mut rows = 0;
    for account in accounts.fetch_all(&mut *connection).await? {
        let of = |column| SecretContext::of_carrier_account(account.project_id, column);
        let contexts = vec![of("auth_token"), of("next_auth_token"), of("api_key_secret")];
        let Some(renewed) = account.re_encrypted(keys, contexts) else { continue };
        let (read, renewed) = (&account.secrets[..], &renewed[..]);
        let written =
            sqlx::query_file!("sql/queries/secret/account.sql", account.id, read as _, keys.id(), renewed as _)
                .execute(&mut *connection)
                .await?;
        rows += usize::from(written.rows_affected() == 1);
    }
    Ok(rows)
}

async fn re_encrypt_agents(storage: &Storage, keys: &SecretKeys) -> Result<usize, sqlx::Error> {
    let mut connection = storage.connection().await?;
    let agents = sqlx::query_file_as!(EncryptedRow, "sql/queries/secret/agents.sql", keys.id());
    let mut rows = 0;
    for agent in agents.fetch_all(&mut *connection).await? {
        let contexts = vec![SecretContext::of_agent(agent.project_id, agent.id); 2];
        let Some(renewed) = agent.re_encrypted(keys, contexts) else { continue };
        let (read, renewed) = (&agent.secrets[..], &renewed[..]);
        let written = sqlx::query_file!("sql/queries/secret/agent.sql", agent.id, read as _, keys.id(), renewed as _)
            .execute(&mut *connection)
            .await?;
        rows += usize::from(written.rows_affected() == 1);
    }
    Ok(rows)
}

impl EncryptedRow {
    /// The secrets, encrypted with the first key. `contexts` are in the order of the secrets. Returns `None` if we
    /// don't have the key of the row, or if a secret can't be decrypted.
    fn re_encrypted(&self, keys: &SecretKeys, contexts: Vec<SecretContext>) -> Option<Vec<Option<Vec<u8>>>> {
        if !keys.decrypts(&self.key_id) {
            return None;
        }
        let renew = |(secret, context): (&Option<Vec<u8>>, SecretContext)| {
            let renew =
                |secret| keys.decrypt(&context, &self.key_id, secret).map(|secret| keys.encrypt(&context, &secret));
            secret.as_deref().map(renew).transpose()
        };
        let renewed: Result<_, SecretError> = self.secrets.iter().zip(contexts).map(renew).collect();
        renewed
            .inspect_err(
                |error| tracing::error!(%error, id = %self.id, "a stored secret can't be decrypted; set it again"),
            )
            .ok()
    }
}

/// Re-encrypts in a task of its own while the process starts. A failure is logged, and the next start tries again.
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
