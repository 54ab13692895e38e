//! The carrier account of a project: its secrets are sealed in the row and open only in memory, for a few seconds at a time.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use secrecy::SecretString;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::domain::carrier_account::{CarrierAccount, Credentials, TwilioCredentials};
use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::Storage;
use crate::storage::database;

/// How long an opened account is kept. A token that changed in another process is wrong for that
/// long at the most; a signature that fails asks anew at once.
const KEPT: Duration = Duration::from_secs(5);

/// How many look-ups of unproven webhook keys run at a time: keys that were never right, or whose signature was wrong.
/// Anybody may send those, and their look-ups must not use up the connections that store texts.
const UNSURE_AT_A_TIME: usize = 2;
/// How long such a look-up may wait for a permit.
const TURN_WITHIN: Duration = Duration::from_secs(3);
/// How long a webhook key that was right is looked up without waiting.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

/// Why an account can't be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccountError {
    #[error("the database does not answer: {0}")]
    Database(Arc<sqlx::Error>),
    #[error("too many unknown webhook keys are looked up at this moment")]
    TooManyUnknown,
    #[error(transparent)]
    Secret(Arc<SecretError>),
}

impl From<sqlx::Error> for AccountError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<SecretError> for AccountError {
    fn from(error: SecretError) -> Self {
        Self::Secret(Arc::new(error))
    }
}

/// Reads, opens and keeps carrier accounts.
#[derive(Clone)]
pub struct Accounts {
    storage: Storage,
    key: SecretKeys,
    by_project: Cache<Uuid, Option<Arc<CarrierAccount>>>,
    by_webhook_key: Cache<String, Option<Arc<CarrierAccount>>>,
    /// Webhook keys that were right.
    known: Cache<String, ()>,
    unsure: Arc<Semaphore>,
}

impl Accounts {
    /// Opens accounts with this key.
    pub fn new(storage: Storage, key: SecretKeys) -> Self {
        Self {
            storage,
            key,
            by_project: Cache::builder().max_capacity(10_000).time_to_live(KEPT).build(),
            by_webhook_key: Cache::builder().max_capacity(10_000).time_to_live(KEPT).build(),
            known: Cache::builder().max_capacity(10_000).time_to_idle(KNOWN_FOR).build(),
            unsure: Arc::new(Semaphore::new(UNSURE_AT_A_TIME)),
        }
    }

    /// The keys that open what is sealed.
    pub const fn key(&self) -> &SecretKeys {
        &self.key
    }

    /// The projects that have an account, with their names.
    pub async fn projects(&self) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
        let mut connection = self.storage.connection().await?;
        let listed = sqlx::query_file!("sql/queries/carrier_account/list.sql").fetch_all(&mut *connection).await?;
        Ok(listed.into_iter().map(|account| (account.project_id, account.project)).collect())
    }

    /// The account of a project.
    pub async fn of_project(&self, project_id: Uuid) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        if let Some(account) = self.by_project.get(&project_id).await {
            return Ok(account);
        }
        let reading = async {
            let reading = async {
                let mut connection = self.storage.connection().await?;
                let found = sqlx::query_file_as!(Row, "sql/queries/carrier_account/find.sql", project_id);
                found.fetch_optional(&mut *connection).await
            };
            self.open(database::with_timeout::<_, sqlx::Error, _>(reading).await?)
        };
        let read = Box::pin(self.by_project.try_get_with(project_id, reading)).await;
        read.map_err(|error: Arc<AccountError>| (*error).clone())
    }

    /// The account of the project that a webhook key stands for.
    pub async fn of_webhook_key(&self, webhook_key: &str) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        if !is_webhook_key(webhook_key) {
            return Ok(None);
        }
        if let Some(account) = self.by_webhook_key.get(webhook_key).await {
            return Ok(account);
        }
        let reading = async {
            let is_known = self.known.get(webhook_key).await.is_some();
            let _turn = if is_known { None } else { Some(self.turn().await?) };
            self.read_by_webhook_key(webhook_key).await
        };
        let read = Box::pin(self.by_webhook_key.try_get_with_by_ref(webhook_key, reading)).await;
        read.map_err(|error: Arc<AccountError>| (*error).clone())
    }

    /// The same, asked anew: for a signature that fails, since the token may just have changed.
    pub async fn of_webhook_key_anew(&self, webhook_key: &str) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        let turn = self.turn().await?;
        let account = self.read_by_webhook_key(webhook_key).await?;
        drop(turn);
        self.by_webhook_key.insert(webhook_key.to_owned(), account.clone()).await;
        Ok(account)
    }

    /// Seals and writes the account of a project, over the one it had.
    pub async fn put(&self, account: &CarrierAccount) -> Result<(), sqlx::Error> {
        let seal = |column, secret: &SecretString| {
            self.key.encrypt(&SecretContext::of_carrier_account(account.project_id, column), secret)
        };
        let Credentials::Twilio(credentials) = &account.credentials;
        let mut connection = self.storage.connection().await?;
        sqlx::query_file!(
            "sql/queries/carrier_account/put.sql",
            account.project_id,
            credentials.account_sid,
            self.key.id(),
            seal("auth_token", &credentials.auth_token),
            credentials.next_auth_token.as_ref().map(|token| seal("next_auth_token", token)),
            credentials.api_key.as_ref().map(|(sid, _)| sid.as_str()),
            credentials.api_key.as_ref().map(|(_, secret)| seal("api_key_secret", secret)),
        )
        .execute(&mut *connection)
        .await?;
        drop(connection);
        self.by_project.invalidate(&account.project_id).await;
        self.by_webhook_key.invalidate_all();
        Ok(())
    }

    async fn read_by_webhook_key(&self, webhook_key: &str) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        let reading = async {
            let mut connection = self.storage.connection().await?;
            let found = sqlx::query_file_as!(Row, "sql/queries/carrier_account/find_by_webhook_key.sql", webhook_key);
            found.fetch_optional(&mut *connection).await
        };
        let account = self.open(database::with_timeout::<_, sqlx::Error, _>(reading).await?)?;
        if account.is_some() {
            self.known.insert(webhook_key.to_owned(), ()).await;
        }
        Ok(account)
    }

    /// Waits for a permit to look up an unproven key.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, AccountError> {
        match tokio::time::timeout(TURN_WITHIN, self.unsure.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(AccountError::TooManyUnknown),
        }
    }

    fn open(&self, row: Option<Row>) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        let Some(row) = row else { return Ok(None) };
        let open = |column, sealed: &[u8]| {
            self.key.decrypt(&SecretContext::of_carrier_account(row.project_id, column), &row.key_id, sealed)
        };
        let api_key = match (row.api_key_sid, &row.api_key_secret) {
            (Some(sid), Some(secret)) => Some((sid, open("api_key_secret", secret)?)),
            _ => None,
        };
        let credentials = TwilioCredentials {
            auth_token: open("auth_token", &row.auth_token)?,
            next_auth_token: row.next_auth_token.as_deref().map(|token| open("next_auth_token", token)).transpose()?,
            api_key,
            account_sid: row.account_sid,
        };
        Ok(Some(Arc::new(CarrierAccount {
            project_id: row.project_id,
            webhook_key: row.webhook_key,
            credentials: Credentials::Twilio(credentials),
        })))
    }
}

/// Whether a key can be one of ours: letters, digits, `-` and `_`. Other keys are neither looked up nor cached.
fn is_webhook_key(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

struct Row {
    project_id: Uuid,
    webhook_key: String,
    account_sid: String,
    key_id: String,
    auth_token: Vec<u8>,
    next_auth_token: Option<Vec<u8>>,
    api_key_sid: Option<String>,
    api_key_secret: Option<Vec<u8>>,
}
