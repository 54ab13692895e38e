//! The compiler checks statements by their descriptions in `.sqlx`. These tests compare the
//! descriptions with the statements and with the schema.

use std::collections::BTreeSet;
use std::path::Path;

use query_descriptions::{checked_statements, committed, describe};
use serde_json::Value;
use sqlx::PgPool;

use crate::harness::{new_database, pool};
use crate::tidy::files;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `make queries` writes them again.
#[tokio::test]
async fn the_descriptions_of_the_checked_statements_are_the_databases_own() {
    let url = new_database().await;
    let statements = checked_statements(root()).expect("statements");
    let described = describe(&url, "textback", &statements).await.expect("descriptions");
    assert_eq!(described.len(), statements.len(), "two files have the same statement");
    let committed = committed(&root().join(".sqlx")).expect("descriptions");
    let names = |of: &query_descriptions::Descriptions| of.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&committed), names(&described), "run make queries");
    let pool = pool(&url).await;
    for (name, description) in &described {
        let known = &committed[name];
        assert_eq!(without_nullability(known), without_nullability(description), "run make queries");
        assert_no_null_is_overlooked(&pool, known).await;
    }
}

/// Everything but the guess whether a column may be null, which depends on plans and so on the
/// version of PostgreSQL.
fn without_nullability(description: &Value) -> Value {
    let mut description = description.clone();
    description["describe"].as_object_mut().expect("an object").remove("nullable");
    description
}

/// A column that is described as never null must be a column of a table that is declared so.
async fn assert_no_null_is_overlooked(pool: &PgPool, description: &Value) {
    let nullable = description["describe"]["nullable"].as_array().expect("an array");
    for (column, nullable) in description["describe"]["columns"].as_array().expect("an array").iter().zip(nullable) {
        let table = &column["origin"]["Table"];
        if nullable != &Value::Bool(false) {
            continue;
        }
        let declared: bool =
            sqlx::query_scalar("select attnotnull from pg_attribute where attrelid = $1::regclass and attname = $2")
                .bind(table["table"].as_str())
                .bind(table["name"].as_str())
                .fetch_one(pool)
                .await
                .expect("a column");
        assert!(declared, "{table} may be null; run make queries");
    }
}

/// The SQL files and reference data that code includes without a macro that checks them, and why.
const NOT_CHECKED: [(&str, &str); 4] = [
    ("src/storage/health.rs", "queries/health/writable.sql: a block, which PostgreSQL can't prepare"),
    ("src/storage/invariant.rs", "invariants/: definitions of views, which migrate installs"),
    ("src/storage/reference_data.rs", "data/countries.csv: rows"),
    ("src/storage/report.rs", "queries/report/projects.sql: it reads a view, which migrate installs"),
];

#[test]
fn every_statement_that_can_be_checked_is() {
    let mut included = Vec::new();
    for (path, text) in files("src", "rs") {
        for argument in text.split("include_str!(").skip(1) {
            let name = argument.split('"').nth(1).unwrap_or_default();
            if let Some((_, name)) = name.split_once("../sql/") {
                included.push((path.clone(), name.to_owned()));
            }
        }
    }
    included.sort();
    let allowed = NOT_CHECKED.map(|(path, why)| (path, why.split(':').next().unwrap_or_default()));
    assert_eq!(included.iter().map(|(path, name)| (path.as_str(), name.as_str())).collect::<Vec<_>>(), allowed);
}
