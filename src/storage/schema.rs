//! Installs the functions, triggers and views of this binary, and replaces only those that differ
//! from what is installed.
//!
//! docs/decisions/002-sql-functions.md explains the rules.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::secret::sha256;
use crate::storage::invariant;

/// The files below sql/functions, embedded by build.rs.
static FILES: &[&str] = &include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// Functions of earlier releases that no supported process calls. Each is dropped, and leaves this
/// list a release later.
const RETIRED: &[&str] = &[];

/// A function, trigger or view of this binary.
#[derive(Debug)]
struct Object {
    /// As `comment on` names it: `function lock_contact`,
    /// `trigger consent_is_append_only on consent`.
    name: String,
    statement: &'static str,
}

/// An object of the database.
struct Installed {
    name: String,
    /// The comment that `install` left: of which statement and definition.
    mark: Option<String>,
    /// A hash of the definition in the catalogue.
    definition: String,
}

/// Installs what is missing or differs. The caller holds the lock of migrate and commits. Returns
/// the names of what was installed.
pub async fn install(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let before = installed(connection).await?;
    let is_current = |object: &Object| {
        before.get(&object.name).is_some_and(|found| found.mark.as_deref() == Some(&mark(object, &found.definition)))
    };
    let changed: Vec<Object> = objects().filter(|object| !is_current(object)).collect();
    for object in &changed {
        sqlx::raw_sql(object.statement).execute(&mut *connection).await?;
    }
    for name in RETIRED {
        // The names are our constants.
        sqlx::raw_sql(AssertSqlSafe(format!("drop function if exists {name}"))).execute(&mut *connection).await?;
    }
    let after = if changed.is_empty() { before } else { installed(connection).await? };
    for object in &changed {
        let definition = after.get(&object.name).map(|found| found.definition.as_str()).unwrap_or_default();
        // The name is from our own file, and the mark is hexadecimal.
        let comment = format!("comment on {} is '{}'", object.name, mark(object, definition));
        sqlx::raw_sql(AssertSqlSafe(comment)).execute(&mut *connection).await?;
    }
    Ok(changed.into_iter().map(|object| object.name).collect())
}

/// The names of the functions that this binary calls.
pub fn function_names() -> Vec<String> {
    objects().filter_map(|object| object.name.strip_prefix("function ").map(str::to_owned)).collect()
}

/// The comment that says from which statement an object was made, and what its definition was then.
/// A definition that somebody changed by hand no longer fits it.
fn mark(object: &Object, definition: &str) -> String {
    let statement = hex::encode(&sha256(object.statement.as_bytes())[..16]);
    format!("installed by textback migrate: {statement} {definition}")
}

async fn installed(connection: &mut PgConnection) -> Result<HashMap<String, Installed>, sqlx::Error> {
    let found = sqlx::query_file_as!(Installed, "sql/queries/schema/installed.sql").fetch_all(connection).await?;
    Ok(found.into_iter().map(|object| (object.name.clone(), object)).collect())
}

/// All objects of this binary. Functions come first: triggers and views call them.
fn objects() -> impl Iterator<Item = Object> {
    let functions = FILES.iter().flat_map(|file| statements(file));
    let views = invariant::definitions().flat_map(statements);
    functions.chain(views).filter_map(Object::parse)
}

/// The statements of a file. Each begins a line with `create or replace`, and goes on to the next
/// one.
fn statements(file: &'static str) -> Vec<&'static str> {
    let is_at_a_line = |at: &usize| *at == 0 || file.as_bytes().get(at - 1) == Some(&b'\n');
    let begins: Vec<usize> = file.match_indices("create or replace ").map(|(at, _)| at).filter(is_at_a_line).collect();
    let ends = begins.iter().skip(1).copied().chain([file.len()]);
    begins.iter().zip(ends).filter_map(|(begin, end)| file.get(*begin..end)).map(str::trim_end).collect()
}

impl Object {
    /// Reads the kind and the name of what a statement creates. `None` for a statement that creates
    /// something else; a test refuses files with such a statement.
    fn parse(statement: &'static str) -> Option<Self> {
        let mut words = statement
            .split(|letter: char| letter.is_whitespace() || letter == '(')
            .filter(|word| !word.is_empty())
            .skip(3);
        let (kind, name) = (words.next()?, words.next()?);
        let name = match kind {
            "function" | "view" => format!("{kind} {name}"),
            "trigger" => format!("trigger {name} on {}", words.skip_while(|word| *word != "on").nth(1)?),
            _ => return None,
        };
        Some(Self { name, statement })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_one_function_and_the_triggers_that_call_it() {
        for file in FILES {
            let names: Vec<String> =
                statements(file).into_iter().map(|text| Object::parse(text).expect(text).name).collect();
            let (first, others) = names.split_first().expect("a statement");
            let function = first.strip_prefix("function ").expect("a function first");
            assert!(others.iter().all(|name| name.starts_with("trigger ")), "{names:?}");
            assert!(
                statements(file).iter().skip(1).all(|text| text.contains(&format!("execute function {function}("))),
                "{names:?}"
            );
        }
        let mut names = function_names();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), FILES.len(), "no two functions have the same name");
        assert!(names.iter().any(|name| name == "lock_contact"));
        assert!(objects().any(|object| object.name == "trigger consent_is_append_only on consent"));
        assert_eq!(
            objects().filter(|object| object.name.starts_with("view ")).count(),
            invariant::definitions().count()
        );
    }

    #[test]
    fn statements_are_told_apart() {
        let file = "-- About create or replace function a.\ncreate or replace function a() as $$ 1 $$;\n\ncreate or replace trigger b before update or delete on c\n    execute function a();\n";
        let found: Vec<Object> = statements(file).into_iter().filter_map(Object::parse).collect();
        let names: Vec<&str> = found.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["function a", "trigger b on c"]);
        assert_eq!(found[0].statement, "create or replace function a() as $$ 1 $$;");
        assert_eq!(
            found[1].statement,
            "create or replace trigger b before update or delete on c\n    execute function a();"
        );
    }
}
