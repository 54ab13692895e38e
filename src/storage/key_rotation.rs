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

/// Stored secrets that none of the given keys decrypts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{rows} stored secrets were encrypted with key {theirs}, but TEXTBACK_SECRET_KEY is key {ours}, which does not decrypt them: {examples}; give the key of that data, alone or after a comma, or see \"A lost secret key\" in docs/operations/secrets.md"
)]
pub struct Unreadable {
    /// How many carrier accounts and agents have such secrets.
    pub rows: i64,
    /// The ids of the keys that encrypted them, and of those that were given.
    theirs: String,
    ours: String,
    /// The first five rows.
    examples: String,
}

struct UnreadableRow {
    kind: String,
    id: Uuid,
    key_id: String,
    all_rows: i64,
}

/// Finds the stored secrets that none of the keys decrypts, by the id of the key that is stored
/// beside each.
pub async fn unreadable(connection: &mut PgConnection, keys: &SecretKeys) -> Result<Option<Unreadable>, sqlx::Error> {
    let given = keys.ids();
    let found = sqlx::query_file_as!(UnreadableRow, "sql/queries/secret/unreadable.sql", &given[..]);
    let found = found.fetch_all(connection).await?;
    let Some(first) = found.first() else { return Ok(None) };
    let mut theirs: Vec<&str> = found.iter().map(|row| row.key_id.as_str()).collect();
    theirs.sort_unstable();
    theirs.dedup();
    let mut examples: Vec<String> = found.iter().map(|row| format!("the {} {}", row.kind, row.id)).collect();
    let shown = i64::try_from(found.len()).unwrap_or_default();
    if first.all_rows > shown {
        examples.push(format!("and {} more", first.all_rows - shown));
    }
    Ok(Some(Unreadable {
        rows: first.all_rows,
        theirs: theirs.join(", "),
        ours: given.join(", "),
        examples: examples.join(", "),
    }))
}

/// Re-encrypts the secrets that are encrypted with another key than the first one. Returns the
/// number of rows. A row whose secrets none of the keys decrypts stays as it is.
///
/// Several processes may do this at the same time, because a row is only written if it did not
/// change since it was read.
pub async fn re_encrypt(storage: &Storage, keys: &SecretKeys) -> Result<usize, AccountError> {
    let of_accounts_and_agents = re_encrypt_accounts(storage, keys).await? + re_encrypt_agents(storage, keys).await?;
    Ok(of_accounts_and_agents + re_encrypt_model_keys(storage, keys).await?)
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

async fn re_encrypt_model_keys(storage: &Storage, keys: &SecretKeys) -> Result<usize, sqlx::Error> {
    let mut connection = storage.connection().await?;
    let found = sqlx::query_file_as!(EncryptedRow, "sql/queries/secret/model_keys.sql", keys.id());
    let mut rows = 0;
    for row in found.fetch_all(&mut *connection).await? {
        let contexts = vec![SecretContext::of_model_key(row.project_id, row.id)];
        let Some(renewed) = row.re_encrypted(keys, contexts) else { continue };
        let (read, renewed) = (&row.secrets[..], &renewed[..]);
        let written = sqlx::query_file!("sql/queries/secret/model_key.sql", row.id, read as _, keys.id(), renewed as _)
            .execute(&mut *connection)
            .await?;
        rows += usize::from(written.rows_affected() == 1);
    }
    Ok(rows)
}

impl EncryptedRow {
    /// The secrets, encrypted with the first key. `contexts` are in the order of the secrets.
    /// Returns `None` if we don't have the key of the row, or if a secret can't be decrypted.
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
                |error| tracing::error!(%error, id = %self.id, "a stored secret could not be decrypted; set it again"),
            )
            .ok()
    }
}

/// Re-encrypts in a task of its own while the process starts. A failure is logged, and the next
/// start tries again.
pub fn re_encrypt_in_background(storage: &Storage, keys: &SecretKeys) {
    if keys.others() == 0 {
        return;
    }
    let (storage, keys) = (storage.clone(), keys.clone());
    tokio::spawn(async move {
        match re_encrypt(&storage, &keys).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, key_id = keys.id(), "stored secrets were encrypted with the new key"),
            Err(error) => {
                tracing::warn!(%error, "stored secrets could not be re-encrypted; the earlier key is still needed")
            }
        }
    });
}
