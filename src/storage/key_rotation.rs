//! What is sealed in rows is sealed anew when the first key changes; it opens nothing for anybody else.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::Storage;
use crate::storage::carrier_account::AccountError;

/// Secrets of a row that one key sealed: of a project's carrier account or of an agent.
struct Sealed {
    id: Uuid,
    project_id: Uuid,
    key_id: String,
    /// `None` where there is no secret.
    secrets: Vec<Option<Vec<u8>>>,
}

/// How many rows each key has sealed.
#[derive(Debug)]
pub struct Count {
    pub key_id: String,
    pub rows: i64,
}

/// Counts what is sealed, by the name of the key.
pub async fn count(connection: &mut PgConnection) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_file_as!(Count, "sql/queries/seal/count.sql").fetch_all(connection).await
}

/// Seals with the first key what the others sealed, and returns how many rows that were. What none of them opens stays.
/// Several processes may do it at once: a row is written only if it still is as it was read.
pub async fn re_encrypt(storage: &Storage, keys: &SecretKeys) -> Result<usize, AccountError> {
    Ok(re_encrypt_accounts(storage, keys).await? + re_encrypt_agents(storage, keys).await?)
}

async fn re_encrypt_accounts(storage: &Storage, keys: &SecretKeys) -> Result<usize, sqlx::Error> {
    let mut connection = storage.connection().await?;
    let accounts = sqlx::query_file_as!(Sealed, "sql/queries/seal/accounts.sql", keys.id());
    let mut renewed = 0;
    for account in accounts.fetch_all(&mut *connection).await? {
        let of = |column| SecretContext::of_carrier_account(account.project_id, column);
        let contexts = vec![of("auth_token"), of("next_auth_token"), of("api_key_secret")];
        let Some(anew) = account.re_encrypted(keys, contexts) else { continue };
        let (read, anew) = (&account.secrets[..], &anew[..]);
        let written = sqlx::query_file!("sql/queries/seal/account.sql", account.id, read as _, keys.id(), anew as _)
            .execute(&mut *connection)
            .await?;
        renewed += usize::from(written.rows_affected() == 1);
    }
    Ok(renewed)
}

async fn re_encrypt_agents(storage: &Storage, keys: &SecretKeys) -> Result<usize, sqlx::Error> {
    let mut connection = storage.connection().await?;
    let agents = sqlx::query_file_as!(Sealed, "sql/queries/seal/agents.sql", keys.id());
    let mut renewed = 0;
    for agent in agents.fetch_all(&mut *connection).await? {
        let contexts = vec![SecretContext::of_agent(agent.project_id, agent.id); 2];
        let Some(anew) = agent.re_encrypted(keys, contexts) else { continue };
        let (read, anew) = (&agent.secrets[..], &anew[..]);
        let written = sqlx::query_file!("sql/queries/seal/agent.sql", agent.id, read as _, keys.id(), anew as _)
            .execute(&mut *connection)
            .await?;
        renewed += usize::from(written.rows_affected() == 1);
    }
    Ok(renewed)
}

impl Sealed {
    /// The secrets, sealed with the first key, in the order of their contexts. `None`: they are sealed with a key that we
    /// don't have, or can't be opened.
    fn re_encrypted(&self, keys: &SecretKeys, contexts: Vec<SecretContext>) -> Option<Vec<Option<Vec<u8>>>> {
        if !keys.decrypts(&self.key_id) {
            return None;
        }
        let anew = |(sealed, context): (&Option<Vec<u8>>, SecretContext)| {
            let anew =
                |sealed| keys.decrypt(&context, &self.key_id, sealed).map(|secret| keys.encrypt(&context, &secret));
            sealed.as_deref().map(anew).transpose()
        };
        let anew: Result<_, SecretError> = self.secrets.iter().zip(contexts).map(anew).collect();
        anew.inspect_err(
            |error| tracing::error!(%error, id = %self.id, "a stored secret can't be opened; give it anew"),
        )
        .ok()
    }
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
