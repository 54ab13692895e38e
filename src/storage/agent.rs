//! Agents and their versions. A version is immutable.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::agent::{AgentSettings, AgentSpec, FirstMessage, InactivitySettings, SpecFields};
use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::carrier_account::AccountError;
use crate::storage::pagination::Page;
use crate::storage::{Storage, new_id};

/// An agent with its current version. In lists the version has the fields of its spec that lists tell.
#[derive(Debug, Clone)]
pub struct Agent<Spec = AgentSpec> {
    pub id: Uuid,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub version: Version<Spec>,
}

/// A version of an agent. In lists it has the fields of its spec that lists tell.
#[derive(Debug, Clone)]
pub struct Version<Spec = AgentSpec> {
    /// Counts from 1.
    pub version: i32,
    pub spec: Spec,
    pub settings: AgentSettings,
    pub version_created_at: DateTime<Utc>,
}

/// The contents of a new version.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub spec: AgentSpec,
    pub settings: AgentSettings,
}

/// The row of an agent with the row of its current version.
#[derive(FromRow)]
struct AgentRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    #[sqlx(flatten)]
    version: VersionRow,
}

/// The row of a version.
#[derive(FromRow)]
struct VersionRow {
    version: i32,
    spec: Json<SpecFields>,
    greeting: Option<String>,
    first_message: FirstMessage,
    debounce_seconds: i32,
    warn_after_seconds: i32,
    grace_seconds: i32,
    warning: String,
    closing: Option<String>,
    max_segments: Option<i32>,
    max_messages_per_turn: i32,
    smart_encoding: bool,
    error_message: Option<String>,
    version_created_at: DateTime<Utc>,
}

impl VersionRow {
    /// A spec that does not fit its kind is a decode error.
    fn into_version<Spec>(self) -> Result<Version<Spec>, sqlx::Error>
    where
        Spec: TryFrom<SpecFields, Error: std::error::Error + Send + Sync + 'static>,
    {
        let spec = Spec::try_from(self.spec.0).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Version {
            version: self.version,
            spec,
            settings: AgentSettings {
                greeting: self.greeting,
                first_message: self.first_message,
                debounce_seconds: self.debounce_seconds,
                inactivity: InactivitySettings {
                    warn_after_seconds: self.warn_after_seconds,
                    grace_seconds: self.grace_seconds,
                    warning: self.warning,
                    closing: self.closing,
                },
                max_segments: self.max_segments,
                max_messages_per_turn: self.max_messages_per_turn,
                smart_encoding: self.smart_encoding,
                error_message: self.error_message,
            },
            version_created_at: self.version_created_at,
        })
    }
}

impl<Spec> TryFrom<VersionRow> for Version<Spec>
where
    Spec: TryFrom<SpecFields, Error: std::error::Error + Send + Sync + 'static>,
{
    type Error = sqlx::Error;

    fn try_from(row: VersionRow) -> Result<Self, sqlx::Error> {
        row.into_version()
    }
}

impl<Spec> TryFrom<AgentRow> for Agent<Spec>
where
    Version<Spec>: TryFrom<VersionRow, Error = sqlx::Error>,
{
    type Error = sqlx::Error;

    fn try_from(row: AgentRow) -> Result<Self, sqlx::Error> {
        let AgentRow { id, name, created_at, version } = row;
        Ok(Self { id, name, created_at, version: version.try_into()? })
    }
}

/// A new signing secret, and the keys of which the first encrypts it.
pub type NewSecret<'a> = (&'a SecretString, &'a SecretKeys);

/// A signing secret as it is stored.
struct EncryptedSecret {
    key_id: String,
    encrypted: Vec<u8>,
}

impl EncryptedSecret {
    /// Encrypts a secret of an agent.
    fn of(project_id: Uuid, agent_id: Uuid, (secret, key): NewSecret<'_>) -> Self {
        let encrypted = key.encrypt(&SecretContext::of_agent(project_id, agent_id), secret);
        Self { key_id: key.id().to_owned(), encrypted }
    }
}

/// Creates an agent with its first version, and a signing secret if it needs one. The constraint
/// `agent_name_is_unique_in_a_project` refuses a name that another agent of the project has.
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
        give_signing_secret(&mut transaction, id, &EncryptedSecret::of(project_id, id, secret)).await?;
    }
    let agent: AgentRow = sqlx::query_as(include_str!("../../sql/queries/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    agent.try_into()
}

/// Adds a version and makes it current, so that new sessions run it. Stores the secret if one is given and the agent
/// has none, and returns whether it was stored. Returns `None` if the project has no such agent.
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
    let is_stored = match secret {
        Some(secret) => give_signing_secret(&mut transaction, id, &EncryptedSecret::of(project_id, id, secret)).await?,
        None => false,
    };
    let agent: AgentRow = sqlx::query_as(include_str!("../../sql/queries/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Some((agent.try_into()?, is_stored)))
}

async fn give_signing_secret(
    connection: &mut sqlx::PgConnection,
    agent_id: Uuid,
    secret: &EncryptedSecret,
) -> Result<bool, sqlx::Error> {
    let given = sqlx::query(include_str!("../../sql/queries/agent/give_signing_secret.sql"))
        .bind(agent_id)
        .bind(&secret.key_id)
        .bind(&secret.encrypted)
        .execute(connection)
        .await?;
    Ok(given.rows_affected() == 1)
}

/// Changes the signing secret of an agent. The previous secret signs for one more day. Returns false if the project has
/// no such agent, or the agent has no secret.
pub async fn change_signing_secret(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    secret: NewSecret<'_>,
) -> Result<bool, sqlx::Error> {
    let secret = EncryptedSecret::of(project_id, id, secret);
    let changed = sqlx::query(include_str!("../../sql/queries/agent/change_signing_secret.sql"))
        .bind(project_id)
        .bind(id)
        .bind(&secret.key_id)
        .bind(&secret.encrypted)
        .execute(&storage.pool)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// The project of an agent, the key id of its secrets, the newest secret and the previous one.
type EncryptedSecrets = (Uuid, String, Vec<u8>, Option<Vec<u8>>);

/// The secrets that sign requests to an agent now, the newest first.
pub async fn signing_secrets(
    storage: &Storage,
    key: &SecretKeys,
    agent_id: Uuid,
) -> Result<Vec<SecretString>, AccountError> {
    let found: Option<EncryptedSecrets> = sqlx::query_as(include_str!("../../sql/queries/agent/signing_secrets.sql"))
        .bind(agent_id)
        .fetch_optional(&storage.pool)
        .await?;
    let Some((project_id, key_id, newest, previous)) = found else { return Ok(Vec::new()) };
    let context = SecretContext::of_agent(project_id, agent_id);
    let secrets: Result<_, SecretError> =
        std::iter::once(newest).chain(previous).map(|encrypted| key.decrypt(&context, &key_id, &encrypted)).collect();
    Ok(secrets?)
}

async fn insert_version(
    connection: &mut sqlx::PgConnection,
    agent_id: Uuid,
    number: i32,
    version: &NewVersion,
) -> Result<(), sqlx::Error> {
    let NewVersion { spec, settings } = version;
    sqlx::query(include_str!("../../sql/queries/agent/insert_version.sql"))
        .bind(agent_id)
        .bind(number)
        .bind(Json(SpecFields::from(spec.clone())))
        .bind(&settings.greeting)
        .bind(settings.first_message)
        .bind(settings.debounce_seconds)
        .bind(&settings.error_message)
        .bind(settings.inactivity.warn_after_seconds)
        .bind(settings.inactivity.grace_seconds)
        .bind(&settings.inactivity.warning)
        .bind(&settings.inactivity.closing)
        .bind(settings.max_segments)
        .bind(settings.smart_encoding)
        .bind(settings.max_messages_per_turn)
        .bind(spec.reads_history())
        .execute(connection)
        .await?;
    Ok(())
}

/// Finds an agent of a project, with its current version.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Agent>, sqlx::Error> {
    let found: Option<AgentRow> = sqlx::query_as(include_str!("../../sql/queries/agent/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&storage.pool)
        .await?;
    found.map(Agent::try_from).transpose()
}

/// Lists the agents of a project, newest first, without their sources.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Agent<SpecFields>>, sqlx::Error> {
    let rows: Vec<AgentRow> = sqlx::query_as(include_str!("../../sql/queries/agent/list.sql"))
        .bind(project_id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    let agents: Vec<Agent<SpecFields>> = rows.into_iter().map(Agent::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(agents, limit, |agent| agent.id.to_string()))
}

/// Lists the versions of an agent, newest first, without their sources.
pub async fn list_versions(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    before: Option<i32>,
    limit: u32,
) -> Result<Page<Version<SpecFields>>, sqlx::Error> {
    let rows: Vec<VersionRow> = sqlx::query_as(include_str!("../../sql/queries/agent/list_versions.sql"))
        .bind(project_id)
        .bind(id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    let versions: Vec<Version<SpecFields>> = rows.into_iter().map(Version::try_from).collect::<Result<_, _>>()?;
    Ok(Page::of(versions, limit, |version| version.version.to_string()))
}

/// Finds a version of an agent of a project.
pub async fn find_version(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    version: i32,
) -> Result<Option<Version>, sqlx::Error> {
    let found: Option<VersionRow> = sqlx::query_as(include_str!("../../sql/queries/agent/find_version.sql"))
        .bind(project_id)
        .bind(id)
        .bind(version)
        .fetch_optional(&storage.pool)
        .await?;
    found.map(Version::try_from).transpose()
}

/// The version that a session runs. A version is immutable, so the caller may cache it.
pub async fn version(storage: &Storage, agent_id: Uuid, version: i32) -> Result<Version, sqlx::Error> {
    let found: VersionRow = sqlx::query_as(include_str!("../../sql/queries/agent/version.sql"))
        .bind(agent_id)
        .bind(version)
        .fetch_one(&storage.pool)
        .await?;
    found.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::AgentKind;

    fn row(spec: SpecFields) -> VersionRow {
        VersionRow {
            version: 7,
            spec: Json(spec),
            greeting: None,
            first_message: FirstMessage::Greet,
            debounce_seconds: 0,
            warn_after_seconds: 86_400,
            grace_seconds: 600,
            warning: "Are you still there?".to_owned(),
            closing: None,
            max_segments: None,
            max_messages_per_turn: 10,
            smart_encoding: false,
            error_message: None,
            version_created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_row_that_does_not_fit_its_kind_is_a_decode_error() {
        let without_source = SpecFields::of(AgentKind::Script);
        assert!(matches!(Version::<AgentSpec>::try_from(row(without_source.clone())), Err(sqlx::Error::Decode(_))));
        // Lists leave the source out.
        assert!(Version::<SpecFields>::try_from(row(without_source)).is_ok());
    }
}
