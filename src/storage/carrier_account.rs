//! The carrier account of a project. Its secrets are encrypted in the row, and are decrypted only
//! in memory, for a few seconds.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use secrecy::SecretString;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::domain::carrier_account::{CarrierAccount, CarrierKind, Credentials};
use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::Storage;
use crate::storage::database;

/// How long a decrypted account is cached. If another process changes a token, this one uses the
/// old token for that long at most. If a signature does not fit, the account is read again at once.
const CACHED_FOR: Duration = Duration::from_secs(5);

/// How many look-ups of unproven webhook keys run at a time: keys that never led to an account, or
/// whose signature was wrong. Anybody can send such keys, and their look-ups must not use up the
/// connections that store messages.
const UNPROVEN_AT_A_TIME: usize = 2;
/// How long such a look-up may wait for a permit.
const PERMIT_WITHIN: Duration = Duration::from_secs(3);
/// How long after its last use a webhook key that led to an account is looked up without a permit.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

/// Why an account can't be read.
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

/// Reads, decrypts and caches carrier accounts. Clones share the caches and are cheap.
#[derive(Clone)]
pub struct Accounts {
    storage: Storage,
    key: SecretKeys,
    by_project: Cache<Uuid, Option<Arc<CarrierAccount>>>,
    by_webhook_key: Cache<String, Option<Arc<CarrierAccount>>>,
    /// Webhook keys that led to an account.
    known: Cache<String, ()>,
    unproven: Arc<Semaphore>,
}

impl Accounts {
    /// Accounts whose secrets are decrypted with `key`.
    pub fn new(storage: Storage, key: SecretKeys) -> Self {
        Self {
            storage,
            key,
            by_project: Cache::builder().max_capacity(10_000).time_to_live(CACHED_FOR).build(),
            by_webhook_key: Cache::builder().max_capacity(10_000).time_to_live(CACHED_FOR).build(),
            known: Cache::builder().max_capacity(10_000).time_to_idle(KNOWN_FOR).build(),
            unproven: Arc::new(Semaphore::new(UNPROVEN_AT_A_TIME)),
        }
    }

    /// The keys that encrypt and decrypt stored secrets.
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
            self.decrypt(database::with_timeout::<_, sqlx::Error, _>(reading).await?)
        };
        let read = Box::pin(self.by_project.try_get_with(project_id, reading)).await;
        read.map_err(|error: Arc<AccountError>| (*error).clone())
    }

    /// The account of the project that has a webhook key.
    pub async fn of_webhook_key(&self, webhook_key: &str) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        if !is_webhook_key(webhook_key) {
            return Ok(None);
        }
        if let Some(account) = self.by_webhook_key.get(webhook_key).await {
            return Ok(account);
        }
        let reading = async {
            let is_known = self.known.get(webhook_key).await.is_some();
            let _permit = if is_known { None } else { Some(self.permit().await?) };
            self.read_by_webhook_key(webhook_key).await
        };
        let read = Box::pin(self.by_webhook_key.try_get_with_by_ref(webhook_key, reading)).await;
        read.map_err(|error: Arc<AccountError>| (*error).clone())
    }

    /// The same, read from the database. It is used when a signature does not fit, because the
    /// token may just have changed.
    pub async fn of_webhook_key_uncached(
        &self,
        webhook_key: &str,
    ) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        let permit = self.permit().await?;
        let account = self.read_by_webhook_key(webhook_key).await?;
        drop(permit);
        self.by_webhook_key.insert(webhook_key.to_owned(), account.clone()).await;
        Ok(account)
    }

    /// Encrypts and writes the account of a project. It replaces the previous one.
    pub async fn put(&self, account: &CarrierAccount) -> Result<(), sqlx::Error> {
        let encrypt = |column, secret: &SecretString| {
            self.key.encrypt(&SecretContext::of_carrier_account(account.project_id, column), secret)
        };
        let credentials = &account.credentials;
        let mut connection = self.storage.connection().await?;
        sqlx::query_file!(
            "sql/queries/carrier_account/put.sql",
            account.project_id,
            account.carrier as _,
            credentials.account_sid,
            self.key.id(),
            encrypt("auth_token", &credentials.auth_token),
            credentials.next_auth_token.as_ref().map(|token| encrypt("next_auth_token", token)),
            credentials.api_key.as_ref().map(|(sid, _)| sid.as_str()),
            credentials.api_key.as_ref().map(|(_, secret)| encrypt("api_key_secret", secret)),
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
        let account = self.decrypt(database::with_timeout::<_, sqlx::Error, _>(reading).await?)?;
        if account.is_some() {
            self.known.insert(webhook_key.to_owned(), ()).await;
        }
        Ok(account)
    }

    /// Waits for a permit to look up an unproven key.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, AccountError> {
        match tokio::time::timeout(PERMIT_WITHIN, self.unproven.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(AccountError::TooManyUnknown),
        }
    }

    fn decrypt(&self, row: Option<Row>) -> Result<Option<Arc<CarrierAccount>>, AccountError> {
        let Some(row) = row else { return Ok(None) };
        let decrypt = |column, encrypted: &[u8]| {
            self.key.decrypt(&SecretContext::of_carrier_account(row.project_id, column), &row.key_id, encrypted)
        };
        let api_key = match (row.api_key_sid, &row.api_key_secret) {
            (Some(sid), Some(secret)) => Some((sid, decrypt("api_key_secret", secret)?)),
            _ => None,
        };
        let credentials = Credentials {
            auth_token: decrypt("auth_token", &row.auth_token)?,
            next_auth_token: row
                .next_auth_token
                .as_deref()
                .map(|token| decrypt("next_auth_token", token))
                .transpose()?,
            api_key,
            account_sid: row.account_sid,
        };
        Ok(Some(Arc::new(CarrierAccount {
            project_id: row.project_id,
            webhook_key: row.webhook_key,
            carrier: row.carrier,
            credentials,
        })))
    }
}

/// Whether a text has the form of our webhook keys: letters, digits, `-` and `_`. Others are
/// neither looked up nor cached.
fn is_webhook_key(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

struct Row {
    project_id: Uuid,
    webhook_key: String,
    carrier: CarrierKind,
    account_sid: String,
    key_id: String,
    auth_token: Vec<u8>,
    next_auth_token: Option<Vec<u8>>,
    api_key_sid: Option<String>,
    api_key_secret: Option<Vec<u8>>,
}
