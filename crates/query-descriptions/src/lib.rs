//! Describes the SQL statements of a project, so that the compiler can check their parameters and
//! columns without a database.
//!
//! A statement is checked when Rust code names its file in a macro such as `query_file_as!`. The
//! macro reads the statement's description from `.sqlx`. This crate writes the descriptions without
//! building the project, because the project can't be built while they are missing or wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, SqlSafeStr};

/// Statements by the path of their file from the root of the workspace.
pub type Statements = BTreeMap<String, String>;

/// Descriptions by the name of their file in `.sqlx`.
pub type Descriptions = BTreeMap<String, Value>;

/// Why the statements could not be described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        error: io::Error,
    },
    /// A description in `.sqlx` is not JSON.
    #[error("{path}: {error}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// A migration failed.
    #[error(transparent)]
    Migration(#[from] MigrateError),
    /// The database refused a statement.
    #[error("{path}: {error}")]
    Statement {
        /// The file of the statement.
        path: String,
        /// What the database answered.
        error: sqlx::Error,
    },
    /// The database could not be reached.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The statements that the Rust code below `src` names in a macro: the paths below `sql/queries`
/// that begin a string literal. `include_str!` takes a path that begins with `..`, so statements
/// that are only included are not found.
pub fn checked_statements(root: &Path) -> Result<Statements, Error> {
    let mut statements = Statements::new();
    for source in files(&root.join("src"), "rs")? {
        for found in read(&source)?.split("\"sql/queries/").skip(1) {
            let Some((name, _)) = found.split_once('"') else { continue };
            let path = format!("sql/queries/{name}");
            let text = read(&root.join(&path))?;
            statements.insert(path, text);
        }
    }
    Ok(statements)
}

/// Asks a database for the descriptions of statements, as the macros would. The tables are in a
/// schema that statements do not name.
pub async fn describe(url: &str, schema: &str, statements: &Statements) -> Result<Descriptions, Error> {
    let mut connection = connect(url, schema).await?;
    let mut descriptions = Descriptions::new();
    for (path, text) in statements {
        let described = (&mut connection).describe(AssertSqlSafe(text.as_str()).into_sql_str()).await;
        let described = described.map_err(|error| Error::Statement { path: path.clone(), error })?;
        let hash = hex::encode(digest(&SHA256, text.as_bytes()));
        let name = format!("query-{hash}.json");
        let description = json!({"db_name": "PostgreSQL", "query": text, "describe": described, "hash": hash});
        descriptions.insert(name, description);
    }
    Ok(descriptions)
}

/// Creates the schema in an empty database: the files of `migrations`, then those of
/// `sql/functions`.
///
/// A project that installs its schema by itself can't do it here, because it can't be built while a
/// description is missing.
pub async fn install_schema(url: &str, schema: &str, root: &Path) -> Result<(), Error> {
    let mut connection = connect(url, schema).await?;
    // The name is an argument of the one who runs this, in a database of their own.
    sqlx::raw_sql(AssertSqlSafe(format!("create schema {schema}"))).execute(&mut connection).await?;
    Migrator::new(root.join("migrations")).await?.run(&mut connection).await?;
    // A function may call one that is installed later.
    sqlx::raw_sql("set check_function_bodies = off").execute(&mut connection).await?;
    let functions = root.join("sql/functions");
    if !functions.exists() {
        return Ok(());
    }
    for path in files(&functions, "sql")? {
        let installed = sqlx::raw_sql(AssertSqlSafe(read(&path)?)).execute(&mut connection).await;
        installed.map_err(|error| Error::Statement { path: path.display().to_string(), error })?;
    }
    Ok(())
}

/// The descriptions in a folder. A folder that does not exist has none.
pub fn committed(folder: &Path) -> Result<Descriptions, Error> {
    if !folder.exists() {
        return Ok(Descriptions::new());
    }
    let mut descriptions = Descriptions::new();
    for path in files(folder, "json")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let description = serde_json::from_str(&read(&path)?).map_err(|error| Error::Json { path, error })?;
        descriptions.insert(name, description);
    }
    Ok(descriptions)
}

/// Writes the descriptions to a folder and removes every other description from it. Files that are
/// right already are not touched. Returns how many files were written and how many were removed.
pub fn write(folder: &Path, descriptions: &Descriptions) -> Result<(usize, usize), Error> {
    fs::create_dir_all(folder).map_err(|error| Error::File { path: folder.to_owned(), error })?;
    let mut removed = 0;
    for path in files(folder, "json")? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !descriptions.contains_key(&name) {
            fs::remove_file(&path).map_err(|error| Error::File { path, error })?;
            removed += 1;
        }
    }
    let mut written = 0;
    for (name, description) in descriptions {
        let path = folder.join(name);
        let text = format!("{description:#}\n");
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        fs::write(&path, text).map_err(|error| Error::File { path, error })?;
        written += 1;
    }
    Ok((written, removed))
}

async fn connect(url: &str, schema: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnectOptions::from_str(url)?.options([("search_path", schema)]).connect().await
}

/// The files below a folder with an extension, sorted by their paths.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error| Error::File { path: folder.clone(), error };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|given| given == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::File { path: path.to_owned(), error })
}
