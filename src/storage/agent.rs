//! Agents and their versions. A version is immutable.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::agent::{
    AgentSettings, AgentSpec, Environment, FirstMessage, InactivitySettings, Reactions, SpecFields,
};
use crate::domain::agent_error::{AgentErrorCode, LastError};
use crate::domain::reply_filter::{FilterSettings, Links, Markdown};
use crate::secret::{SecretContext, SecretError, SecretKeys};
use crate::storage::carrier_account::AccountError;
use crate::storage::pagination::Page;
use crate::storage::{Storage, active_version, model, new_id};

/// An agent with its live version, or with another one of its versions. In lists the version has
/// the fields of its spec that lists tell.
#[derive(Debug, Clone)]
pub struct Agent<Spec = AgentSpec> {
    pub id: Uuid,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub version: Version<Spec>,
    /// Left out where a version was asked for.
    pub last_error: Option<LastError>,
}

/// A version of an agent. In lists it has the fields of its spec that lists tell.
#[derive(Debug, Clone)]
pub struct Version<Spec = AgentSpec> {
    /// Counts from 1.
    pub version: i32,
    pub spec: Spec,
    pub settings: AgentSettings,
    /// The environments whose new sessions get it.
    pub active_in: Vec<Environment>,
    pub version_created_at: DateTime<Utc>,
}

/// The contents of a new version.
#[derive(Debug, Clone)]
pub struct NewVersion {
    pub spec: AgentSpec,
    pub settings: AgentSettings,
    /// The key at the provider of the agent's model, if it is to be set. It is not part of the
    /// version.
    pub model_key: Option<SecretString>,
}

impl NewVersion {
    /// Whether its turns get the history. Loading it costs more than the rest of a claim.
    fn reads_history(&self) -> bool {
        self.spec.reads_history() || self.settings.needs_history()
    }
}

/// A version with its agent, as statements return it. The macros of sqlx fill no nested structs, so
/// the statements of versions return the agent too.
struct VersionRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
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
    reactions: Reactions,
    error_message: Option<String>,
    markdown: Markdown,
    links: Links,
    allowed_link_hosts: Vec<String>,
    allowed_phone_numbers: Vec<String>,
    active_in: Vec<Environment>,
    version_created_at: DateTime<Utc>,
    last_error: Option<Json<LastError>>,
}

impl<Spec> TryFrom<VersionRow> for Agent<Spec>
where
    Spec: TryFrom<SpecFields, Error: std::error::Error + Send + Sync + 'static>,
{
    type Error = sqlx::Error;

    /// A spec that does not fit its kind is a decode error.
    fn try_from(row: VersionRow) -> Result<Self, sqlx::Error> {
        let spec = Spec::try_from(row.spec.0).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let settings = AgentSettings {
            greeting: row.greeting,
            first_message: row.first_message,
            debounce_seconds: row.debounce_seconds,
            inactivity: InactivitySettings {
                warn_after_seconds: row.warn_after_seconds,
                grace_seconds: row.grace_seconds,
                warning: row.warning,
                closing: row.closing,
            },
            max_segments: row.max_segments,
            max_messages_per_turn: row.max_messages_per_turn,
            smart_encoding: row.smart_encoding,
            reactions: row.reactions,
            error_message: row.error_message,
            reply_filter: FilterSettings {
                markdown: row.markdown,
                links: row.links,
                allowed_link_hosts: row.allowed_link_hosts,
                allowed_phone_numbers: row.allowed_phone_numbers,
            },
        };
        let VersionRow { version, active_in, version_created_at, .. } = row;
        let version = Version { version, spec, settings, active_in, version_created_at };
        let last_error = row.last_error.map(|error| error.0);
        Ok(Self { id: row.id, name: row.name, created_at: row.created_at, version, last_error })
    }
}

impl<Spec> TryFrom<VersionRow> for Version<Spec>
where
    Agent<Spec>: TryFrom<VersionRow, Error = sqlx::Error>,
{
    type Error = sqlx::Error;

    fn try_from(row: VersionRow) -> Result<Self, sqlx::Error> {
        Agent::try_from(row).map(|agent| agent.version)
    }
}

/// A new signing secret, and the keys of which the first encrypts it.
pub type NewSecret<'a> = (&'a SecretString, &'a SecretKeys);

/// What encrypts the secrets of an agent, and the signing secret that it is given, if it has none.
#[derive(Clone, Copy)]
pub struct AgentSecrets<'a> {
    pub keys: &'a SecretKeys,
    pub signing: Option<&'a SecretString>,
}

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

/// Creates an agent with its first version, which is active in all environments, and a signing
/// secret if it needs one. The constraint
/// `agent_name_is_unique_in_a_project` refuses a name that another agent of the project has.
pub async fn create(
    storage: &Storage,
    project_id: Uuid,
    name: &str,
    version: &NewVersion,
    secrets: AgentSecrets<'_>,
) -> Result<Agent, sqlx::Error> {
    let mut transaction = storage.transaction().await?;
    let id = new_id();
    sqlx::query_file!("sql/queries/agent/create.sql", id, project_id, name).execute(&mut *transaction).await?;
    insert_version(&mut transaction, id, 1, version).await?;
    for environment in Environment::ALL {
        active_version::set(&mut transaction, id, *environment, 1).await?;
    }
    give_secrets(&mut transaction, (project_id, id), version, secrets).await?;
    let agent = find_in(&mut transaction, project_id, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    transaction.commit().await?;
    Ok(agent)
}

/// Adds a version and activates it in these environments, so that their new sessions run it. Stores
/// the secret if one is given and the agent has none, and returns whether it was stored. Returns
/// `None` if the project has no such agent.
pub async fn add_version(
    storage: &Storage,
    (project_id, id): (Uuid, Uuid),
    version: &NewVersion,
    environments: &[Environment],
    secrets: AgentSecrets<'_>,
) -> Result<Option<(Agent, bool)>, sqlx::Error> {
    let mut transaction = storage.transaction().await?;
    let next = sqlx::query_file_scalar!("sql/queries/agent/advance.sql", project_id, id)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(next) = next else { return Ok(None) };
    insert_version(&mut transaction, id, next, version).await?;
    for environment in environments {
        active_version::set(&mut transaction, id, *environment, next).await?;
    }
    let is_stored = give_secrets(&mut transaction, (project_id, id), version, secrets).await?;
    let agent = find_in(&mut transaction, project_id, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    let finding = sqlx::query_file_as!(VersionRow, "sql/queries/agent/find_version.sql", project_id, id, next);
    let version = finding.fetch_one(&mut *transaction).await?.try_into()?;
    transaction.commit().await?;
    Ok(Some((Agent { version, ..agent }, is_stored)))
}

/// Stores the secrets of an agent that come with a version. Returns whether the signing secret was
/// stored: an agent that has one keeps it.
async fn give_secrets(
    connection: &mut PgConnection,
    (project_id, id): (Uuid, Uuid),
    version: &NewVersion,
    AgentSecrets { keys, signing }: AgentSecrets<'_>,
) -> Result<bool, sqlx::Error> {
    if let Some(key) = &version.model_key {
        model::set_key(connection, keys, (project_id, id), key).await?;
    }
    match signing {
        Some(secret) => give_signing_secret(connection, id, &EncryptedSecret::of(project_id, id, (secret, keys))).await,
        None => Ok(false),
    }
}

async fn give_signing_secret(
    connection: &mut PgConnection,
    agent_id: Uuid,
    secret: &EncryptedSecret,
) -> Result<bool, sqlx::Error> {
    let EncryptedSecret { key_id, encrypted } = secret;
    let given = sqlx::query_file!("sql/queries/agent/give_signing_secret.sql", agent_id, key_id, encrypted)
        .execute(connection)
        .await?;
    Ok(given.rows_affected() == 1)
}

/// Changes the signing secret of an agent. The previous secret signs for one more day. Returns
/// false if the project has no such agent, or the agent has no secret.
pub async fn change_signing_secret(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    secret: NewSecret<'_>,
) -> Result<bool, sqlx::Error> {
    let EncryptedSecret { key_id, encrypted } = EncryptedSecret::of(project_id, id, secret);
    let changed = sqlx::query_file!("sql/queries/agent/change_signing_secret.sql", project_id, id, key_id, encrypted)
        .execute(&mut *storage.connection().await?)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// The secrets that sign requests to an agent now, the newest first.
pub async fn signing_secrets(
    storage: &Storage,
    key: &SecretKeys,
    agent_id: Uuid,
) -> Result<Vec<SecretString>, AccountError> {
    let found = sqlx::query_file!("sql/queries/agent/signing_secrets.sql", agent_id);
    let Some(found) = found.fetch_optional(&mut *storage.connection().await?).await? else { return Ok(Vec::new()) };
    let context = SecretContext::of_agent(found.project_id, agent_id);
    let secrets: Result<_, SecretError> = std::iter::once(found.newest)
        .chain(found.previous)
        .map(|encrypted| key.decrypt(&context, &found.key_id, &encrypted))
        .collect();
    Ok(secrets?)
}

async fn insert_version(
    connection: &mut PgConnection,
    agent_id: Uuid,
    number: i32,
    version: &NewVersion,
) -> Result<(), sqlx::Error> {
    let NewVersion { spec, settings, .. } = version;
    let filter = &settings.reply_filter;
    sqlx::query_file!(
        "sql/queries/agent/insert_version.sql",
        agent_id,
        number,
        Json(SpecFields::from(spec.clone())) as _,
        settings.greeting.as_deref(),
        settings.first_message as _,
        settings.debounce_seconds,
        settings.error_message.as_deref(),
        settings.inactivity.warn_after_seconds,
        settings.inactivity.grace_seconds,
        settings.inactivity.warning,
        settings.inactivity.closing.as_deref(),
        settings.max_segments,
        settings.smart_encoding,
        settings.max_messages_per_turn,
        version.reads_history(),
        settings.reactions as _,
        filter.markdown as _,
        filter.links as _,
        &filter.allowed_link_hosts[..],
        &filter.allowed_phone_numbers[..],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Finds an agent of a project, with its live version.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Agent>, sqlx::Error> {
    find_in(&mut *storage.connection().await?, project_id, id).await
}

async fn find_in(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<Option<Agent>, sqlx::Error> {
    let finding = sqlx::query_file_as!(VersionRow, "sql/queries/agent/find.sql", project_id, id);
    finding.fetch_optional(connection).await?.map(Agent::try_from).transpose()
}

/// Lists the agents of a project, newest first, without their sources.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Agent<SpecFields>>, sqlx::Error> {
    let most = i64::from(limit) + 1;
    let rows = sqlx::query_file_as!(VersionRow, "sql/queries/agent/list.sql", project_id, before, most)
        .fetch_all(&mut *storage.connection().await?)
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
    let most = i64::from(limit) + 1;
    let rows = sqlx::query_file_as!(VersionRow, "sql/queries/agent/list_versions.sql", project_id, id, before, most)
        .fetch_all(&mut *storage.connection().await?)
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
    let finding = sqlx::query_file_as!(VersionRow, "sql/queries/agent/find_version.sql", project_id, id, version);
    finding.fetch_optional(&mut *storage.connection().await?).await?.map(Version::try_from).transpose()
}

/// Where an agent failed.
#[derive(Debug, Clone, Copy)]
pub struct FailedTurn {
    pub project_id: Uuid,
    pub agent_id: Uuid,
    pub session_id: Uuid,
    pub version: i32,
}

/// Records the last error of an agent. `message` is without what may be of a contact.
pub async fn record_error(
    connection: &mut PgConnection,
    turn: FailedTurn,
    code: AgentErrorCode,
    message: &str,
) -> Result<(), sqlx::Error> {
    let FailedTurn { project_id, agent_id, session_id, version } = turn;
    let code = code.as_str();
    sqlx::query_file!("sql/queries/agent/record_error.sql", agent_id, project_id, code, message, session_id, version)
        .execute(connection)
        .await?;
    Ok(())
}

/// The version that a session runs. A version is immutable, so the caller may cache it.
pub async fn version(storage: &Storage, agent_id: Uuid, version: i32) -> Result<Version, sqlx::Error> {
    let finding = sqlx::query_file_as!(VersionRow, "sql/queries/agent/version.sql", agent_id, version);
    finding.fetch_one(&mut *storage.connection().await?).await?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::agent::AgentKind;

    fn row(spec: SpecFields) -> VersionRow {
        VersionRow {
            id: Uuid::nil(),
            name: "support".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
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
            reactions: Reactions::Ignore,
            error_message: None,
            markdown: Markdown::Keep,
            links: Links::Any,
            allowed_link_hosts: Vec::new(),
            allowed_phone_numbers: Vec::new(),
            active_in: Vec::new(),
            version_created_at: DateTime::UNIX_EPOCH,
            last_error: None,
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
