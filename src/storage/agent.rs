//! Agents and their versions: made, listed, read; a version never changes, and nothing here runs one.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::FromRow;
use uuid::Uuid;

use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::carrier_account::AccountError;
use crate::storage::pagination::Page;
use crate::storage::{Storage, new_id};

/// An agent with its current version.
#[derive(Debug, Clone, FromRow)]
pub struct Agent {
    pub id: Uuid,
    pub name: String,
    pub created_at: DateTime<Utc>,
    #[sqlx(flatten)]
    pub version: Version,
}

/// What a version says, fixed for ever.
#[derive(Debug, Clone, FromRow)]
pub struct Version {
    pub version: i32,
    /// `script` or `http`.
    pub kind: String,
    /// The script of a `script` agent; left out in lists.
    #[sqlx(default)]
    pub source: Option<String>,
    /// Where the service of an `http` agent is.
    pub url: Option<String>,
    /// How long the service has for an answer.
    pub timeout_seconds: i32,
    pub greeting: Option<String>,
    pub first_message: String,
    pub debounce_seconds: i32,
    #[sqlx(flatten)]
    pub silence: Silence,
    /// How many segments one text of it may cost; a longer one is cut.
    pub max_segments: Option<i32>,
    /// How many messages one turn may send in all. The rest is cut.
    pub max_messages_per_turn: i32,
    /// Whether typographic characters are replaced where they alone make a text UCS-2.
    pub smart_encoding: bool,
    pub error_message: Option<String>,
    pub version_created_at: DateTime<Utc>,
}

/// How many messages one turn may send by default.
pub const fn usual_messages_per_turn() -> i32 {
    10
}

/// The contents of a version to be made.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub kind: &'static str,
    pub source: Option<String>,
    pub url: Option<String>,
    pub timeout_seconds: i32,
    pub greeting: Option<String>,
    pub first_message: &'static str,
    pub debounce_seconds: i32,
    pub silence: Silence,
    pub max_segments: Option<i32>,
    pub max_messages_per_turn: i32,
    pub smart_encoding: bool,
    pub error_message: Option<String>,
}

/// What becomes of a session in which nobody says anything. Read from the agent's current version, also for sessions
/// that run on an older one.
#[derive(Debug, Clone, FromRow)]
pub struct Silence {
    /// After how many seconds of it the person is warned.
    pub warn_after_seconds: i32,
    /// How many seconds they then have, from the carrier's acceptance of the warning.
    pub grace_seconds: i32,
    pub warning: String,
    /// Said at the end, if anything.
    pub closing: Option<String>,
}

/// A new signing secret, and the key that encrypts it.
pub type NewSecret<'a> = (&'a SecretString, &'a SecretKeys);

/// A signing secret as it is kept.
struct SealedSecret {
    key_id: String,
    sealed: Vec<u8>,
}

impl SealedSecret {
    /// Encrypts a secret of an agent with a key.
    fn of(project_id: Uuid, agent_id: Uuid, (secret, key): NewSecret<'_>) -> Self {
        let sealed = key.encrypt(&SecretContext::of_agent(project_id, agent_id), secret);
        Self { key_id: key.id().to_owned(), sealed }
    }
}

/// Makes an agent with its first version, and a signing secret if it needs one. The constraint
/// `agent_name_is_unique_in_a_project` refuses a name that is taken.
pub async fn create(
    storage: &Storage,
    project_id: Uuid,
    name: &str,
    version: &NewVersion,
    secret: Option<NewSecret<'_>>,
) -> Result<Agent, sqlx::Error> {
    let mut transaction = storage.pool.begin().await?;
    let id = new_id();
    sqlx::query(include_str!("../../sql/queries/agent/create.sql"))
        .bind(id)
        .bind(project_id)
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    insert_version(&mut transaction, id, 1, version).await?;
    if let Some(secret) = secret {
        give_signing_secret(&mut transaction, id, &SealedSecret::of(project_id, id, secret)).await?;
    }
    let agent = sqlx::query_as(include_str!("../../sql/queries/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(agent)
}

/// Adds a version and makes it current: sessions opened from now on run it. It takes the secret if it needs one and
/// has none, and says so. `None`: no such agent.
pub async fn add_version(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    version: &NewVersion,
    secret: Option<NewSecret<'_>>,
) -> Result<Option<(Agent, bool)>, sqlx::Error> {
    let mut transaction = storage.pool.begin().await?;
    let next: Option<i32> = sqlx::query_scalar(include_str!("../../sql/queries/agent/advance.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(next) = next else { return Ok(None) };
    insert_version(&mut transaction, id, next, version).await?;
    let taken = match secret {
        Some(secret) => give_signing_secret(&mut transaction, id, &SealedSecret::of(project_id, id, secret)).await?,
        None => false,
    };
    let agent = sqlx::query_as(include_str!("../../sql/queries/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Some((agent, taken)))
}

async fn give_signing_secret(
    connection: &mut sqlx::PgConnection,
    agent_id: Uuid,
    secret: &SealedSecret,
) -> Result<bool, sqlx::Error> {
    let given = sqlx::query(include_str!("../../sql/queries/agent/give_signing_secret.sql"))
        .bind(agent_id)
        .bind(&secret.key_id)
        .bind(&secret.sealed)
        .execute(connection)
        .await?;
    Ok(given.rows_affected() == 1)
}

/// Changes the signing secret of an agent; the one before signs on for a day. False: no such agent, or it has none.
pub async fn change_signing_secret(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    secret: NewSecret<'_>,
) -> Result<bool, sqlx::Error> {
    let secret = SealedSecret::of(project_id, id, secret);
    let changed = sqlx::query(include_str!("../../sql/queries/agent/change_signing_secret.sql"))
        .bind(project_id)
        .bind(id)
        .bind(&secret.key_id)
        .bind(&secret.sealed)
        .execute(&storage.pool)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// The project of an agent, the key id of its secrets, the newest secret and the previous one.
type SealedSecrets = (Uuid, String, Vec<u8>, Option<Vec<u8>>);

/// What signs requests to an agent now, the newest first.
pub async fn signing_secrets(
    storage: &Storage,
    key: &SecretKeys,
    agent_id: Uuid,
) -> Result<Vec<SecretString>, AccountError> {
    let found: Option<SealedSecrets> = sqlx::query_as(include_str!("../../sql/queries/agent/signing_secrets.sql"))
        .bind(agent_id)
        .fetch_optional(&storage.pool)
        .await?;
    let Some((project_id, key_id, newest, previous)) = found else { return Ok(Vec::new()) };
    let context = SecretContext::of_agent(project_id, agent_id);
    let opened: Result<_, SecretError> =
        std::iter::once(newest).chain(previous).map(|sealed| key.decrypt(&context, &key_id, &sealed)).collect();
    Ok(opened?)
}

async fn insert_version(
    connection: &mut sqlx::PgConnection,
    agent_id: Uuid,
    number: i32,
    version: &NewVersion,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../sql/queries/agent/insert_version.sql"))
        .bind(agent_id)
        .bind(number)
        .bind(version.kind)
        .bind(&version.source)
        .bind(&version.url)
        .bind(version.timeout_seconds)
        .bind(&version.greeting)
        .bind(version.first_message)
        .bind(version.debounce_seconds)
        .bind(&version.error_message)
        .bind(version.silence.warn_after_seconds)
        .bind(version.silence.grace_seconds)
        .bind(&version.silence.warning)
        .bind(&version.silence.closing)
        .bind(version.max_segments)
        .bind(version.smart_encoding)
        .bind(version.max_messages_per_turn)
        .execute(connection)
        .await?;
    Ok(())
}

/// One agent of a project, with its current version.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Agent>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&storage.pool)
        .await
}

/// The agents of a project, newest first, without their sources.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Agent>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/agent/list.sql"))
        .bind(project_id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |agent: &Agent| agent.id.to_string()))
}

/// The versions of an agent, newest first, without their sources.
pub async fn list_versions(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    before: Option<i32>,
    limit: u32,
) -> Result<Page<Version>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/agent/list_versions.sql"))
        .bind(project_id)
        .bind(id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |version: &Version| version.version.to_string()))
}

/// One version of an agent of a project.
pub async fn find_version(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    version: i32,
) -> Result<Option<Version>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/agent/find_version.sql"))
        .bind(project_id)
        .bind(id)
        .bind(version)
        .fetch_optional(&storage.pool)
        .await
}

/// The version that a session runs. It never changes, so the caller may keep it.
pub async fn version(storage: &Storage, agent_id: Uuid, version: i32) -> Result<Version, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/agent/version.sql"))
        .bind(agent_id)
        .bind(version)
        .fetch_one(&storage.pool)
        .await
}
