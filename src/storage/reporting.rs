//! The schema `reporting`: its views, the role that reads them, and which role sees which project
//! (docs/reporting.md).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::secret::{random_bytes, sha256};

/// The files of sql/reporting, embedded by build.rs.
static FILES: &[&str] = &include!(concat!(env!("OUT_DIR"), "/reporting.rs"));

/// The view that all others read, so it comes first.
const FIRST: &str = "projects_v1";

/// How often statements about roles are tried. Roles belong to all databases of a server, so
/// another one may change them at the same time.
const TRIES: usize = 5;

/// A view and the statements that make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    name: &'static str,
    statements: &'static str,
}

/// A view in the database.
struct Installed {
    name: String,
    /// The comment that `install` left on its rule: of which statements and definition. Its other
    /// comments are for its readers.
    mark: Option<String>,
    /// A hash of its definition and of all its comments.
    definition: String,
}

/// The views of this binary, in an order in which they can be made.
fn views() -> Vec<View> {
    let mut views: Vec<View> = FILES.iter().filter_map(|file| View::parse(file)).collect();
    views.sort_by_key(|view| (view.name != FIRST, view.name));
    views
}

/// The names of the views of this binary.
pub fn view_names() -> Vec<String> {
    views().iter().map(|view| view.name.to_owned()).collect()
}

impl View {
    fn parse(file: &'static str) -> Option<Self> {
        let (_, rest) = file.split_once("create or replace view reporting.")?;
        let name = rest.split(char::is_whitespace).next()?;
        Some(Self { name, statements: file })
    }

    /// The comment that says from which statements a view was made, and what its definition was
    /// then.
    fn mark(&self, definition: &str) -> String {
        let statements = hex::encode(&sha256(self.statements.as_bytes())[..16]);
        format!("installed by textback migrate: {statements} {definition}")
    }
}

/// Installs the views that are missing or differ, and draws the key of their hashes once. The
/// caller holds the lock of migrate and commits. Does nothing where the role may not create the
/// schema or views in it: [`provide_role`] tells that.
pub async fn install(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (inner, outer) = pads(&random_bytes());
    sqlx::query_file!("sql/queries/reporting/insert_key.sql", &inner[..], &outer[..]).execute(&mut *connection).await?;
    let schema = sqlx::query_file!("sql/queries/reporting/schema.sql").fetch_one(&mut *connection).await?;
    if !schema.may_create {
        return Ok(());
    }
    if !schema.is_there {
        sqlx::raw_sql("create schema reporting").execute(&mut *connection).await?;
    }
    let before = installed(connection).await?;
    let is_current = |view: &View| {
        before.get(view.name).is_some_and(|found| found.mark.as_deref() == Some(&view.mark(&found.definition)))
    };
    let changed: Vec<View> = views().into_iter().filter(|view| !is_current(view)).collect();
    for view in &changed {
        sqlx::raw_sql(view.statements).execute(&mut *connection).await?;
    }
    let after = if changed.is_empty() { before } else { installed(connection).await? };
    for view in &changed {
        let definition = after.get(view.name).map(|found| found.definition.as_str()).unwrap_or_default();
        // The name is from our own file, and the mark is hexadecimal.
        let comment = format!(r#"comment on rule "_RETURN" on reporting.{} is '{}'"#, view.name, view.mark(definition));
        sqlx::raw_sql(AssertSqlSafe(comment)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn installed(connection: &mut PgConnection) -> Result<HashMap<String, Installed>, sqlx::Error> {
    let found = sqlx::query_file_as!(Installed, "sql/queries/reporting/installed.sql").fetch_all(connection).await?;
    Ok(found.into_iter().map(|view| (view.name.clone(), view)).collect())
}

/// A key as HMAC uses it (RFC 2104): combined with the byte 0x36 for the inner hash, and with 0x5c
/// for the outer one.
fn pads(key: &[u8; 32]) -> ([u8; 64], [u8; 64]) {
    let mut block = [0_u8; 64];
    for (byte, of_key) in block.iter_mut().zip(key) {
        *byte = *of_key;
    }
    (block.map(|byte| byte ^ 0x36), block.map(|byte| byte ^ 0x5c))
}

/// Creates the role that reads the views, and grants it that, as far as the role of the connection
/// may. It runs in no transaction: roles belong to all databases of a server, and a transaction of
/// another one would wait for ours.
pub async fn provide_role(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut refused = Vec::new();
    for _ in 0..TRIES {
        let statements = missing(connection).await?;
        refused = run_each(connection, statements).await?;
        if refused.is_empty() {
            return Ok(());
        }
    }
    tracing::warn!(
        statements = refused.len(),
        "the views of the schema reporting could not be opened to dashboards, because the role of DATABASE_URL lacks the right; textback doctor prints the statements that an administrator must run"
    );
    Ok(())
}

/// The statements that are needed so that members of the role `textback_reporting` can read the
/// views.
pub async fn missing(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/reporting/missing.sql", &view_names()[..]).fetch_all(connection).await
}

/// The views of this binary that the database lacks.
pub async fn missing_views(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let installed = installed(connection).await?;
    Ok(view_names().into_iter().filter(|name| !installed.contains_key(name)).collect())
}

/// Runs statements that the database made, and returns those that it refused. Errors when the
/// connection is lost.
async fn run_each(connection: &mut PgConnection, statements: Vec<String>) -> Result<Vec<String>, sqlx::Error> {
    let mut refused = Vec::new();
    for statement in statements {
        match sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut *connection).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) => {
                tracing::debug!(statement, %error, "a statement about the role of the views was refused");
                refused.push(statement);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

/// What a role can see in the views.
#[derive(Debug, Clone)]
pub struct Access {
    pub role_name: String,
    /// `None`: all projects.
    pub project_id: Option<Uuid>,
    pub project: Option<String>,
    pub granted_at: DateTime<Utc>,
    /// Whether the server still has a role of that name.
    pub is_there: bool,
}

/// Why a role can't be given access.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error(
        "there is no role {0:?}; create it first, as an administrator of the database: create role … login password '…'"
    )]
    NoRole(String),
    #[error(
        "the role {0:?} may read the tables of textback, so it sees all projects whatever is granted; use a role without that right"
    )]
    ReadsTables(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Lets a role see a project, or all of them, instead of what it saw before. Returns the statements
/// that an administrator of the database must run, because the role of the connection may not.
pub async fn grant(
    connection: &mut PgConnection,
    role: &str,
    project_id: Option<Uuid>,
) -> Result<Vec<String>, GrantError> {
    let reads_tables =
        sqlx::query_file_scalar!("sql/queries/reporting/role.sql", role).fetch_optional(&mut *connection).await?;
    match reads_tables {
        None => return Err(GrantError::NoRole(role.to_owned())),
        Some(true) => return Err(GrantError::ReadsTables(role.to_owned())),
        Some(false) => {}
    }
    sqlx::query_file!("sql/queries/reporting/grant.sql", role, project_id).execute(&mut *connection).await?;
    let statements =
        sqlx::query_file_scalar!("sql/queries/reporting/missing_of_role.sql", role).fetch_all(&mut *connection).await?;
    Ok(run_each(connection, statements).await?)
}

/// Lets a role see no project. Returns whether it saw one.
pub async fn revoke(connection: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    let revoked = sqlx::query_file!("sql/queries/reporting/revoke.sql", role).execute(connection).await?;
    Ok(revoked.rows_affected() > 0)
}

/// All roles that see a project, by their names.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Access>, sqlx::Error> {
    sqlx::query_file_as!(Access, "sql/queries/reporting/list.sql").fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_makes_the_view_of_its_name_and_the_first_comes_first() {
        let names = view_names();
        assert_eq!(names.len(), FILES.len());
        assert_eq!(names[0], FIRST);
        for view in views() {
            assert_eq!(view.statements.matches("create or replace view").count(), 1, "{}", view.name);
            assert!(view.statements.contains("with (security_barrier)"), "{}", view.name);
            assert!(
                view.name.rsplit_once("_v").is_some_and(|(_, version)| version.parse::<u32>().is_ok()),
                "{}",
                view.name
            );
        }
    }

    #[test]
    fn the_pads_are_those_of_hmac() {
        use aws_lc_rs::hmac;
        let key = [7_u8; 32];
        let (inner, outer) = pads(&key);
        let ours = sha256(&[&outer[..], &sha256(&[&inner[..], b"+14155550101"].concat())[..]].concat());
        let theirs = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), b"+14155550101");
        assert_eq!(ours, theirs.as_ref());
    }
}
