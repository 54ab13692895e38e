//! The comments on tables and columns: what each means, and its unit. They stand in sql/comments
//! alone, one file for each table, so that a correction needs no migration.

use std::collections::HashMap;

use sqlx::PgConnection;

/// The files of sql/comments, embedded by build.rs.
static FILES: &[&str] = &include!(concat!(env!("OUT_DIR"), "/comments.rs"));

/// A comment of this binary. Each has a line of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Comment {
    /// As `comment on` names it: `table message`, `column message.body`.
    on: &'static str,
    text: String,
    statement: &'static str,
}

impl Comment {
    /// `None`: the line is no such statement; a test refuses such a line.
    fn parse(statement: &'static str) -> Option<Self> {
        let (on, quoted) = statement.strip_prefix("comment on ")?.split_once(" is ")?;
        let text = quoted.strip_prefix('\'')?.strip_suffix("';")?.replace("''", "'");
        Some(Self { on, text, statement })
    }
}

fn comments() -> impl Iterator<Item = Comment> {
    FILES.iter().flat_map(|file| file.lines()).filter_map(Comment::parse)
}

/// Makes the comments that are missing or differ. The caller holds the lock of migrate and commits.
pub async fn install(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let found = sqlx::query_file!("sql/queries/schema/comments.sql").fetch_all(&mut *connection).await?;
    let found: HashMap<String, String> = found.into_iter().map(|comment| (comment.on, comment.text)).collect();
    let changed: Vec<&str> = comments()
        .filter(|comment| found.get(comment.on) != Some(&comment.text))
        .map(|comment| comment.statement)
        .collect();
    if !changed.is_empty() {
        // They are our own files, and one round trip instead of some 300.
        sqlx::raw_sql(sqlx::AssertSqlSafe(changed.join("\n"))).execute(connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_a_file_is_a_comment_on_the_table_of_the_first_line() {
        for file in FILES {
            let comments: Vec<Comment> = file.lines().map(|line| Comment::parse(line).expect(line)).collect();
            let table = comments[0].on.strip_prefix("table ").expect("the table first");
            for Comment { on, .. } in &comments[1..] {
                assert!(
                    on.strip_prefix("column ").is_some_and(|column| column.starts_with(&format!("{table}."))),
                    "{on}"
                );
            }
        }
    }

    #[test]
    fn a_quote_within_a_comment_is_read_as_one() {
        let line = "comment on column message.body is 'The contact''s text.';";
        let expected = Comment { on: "column message.body", text: "The contact's text.".to_owned(), statement: line };
        assert_eq!(Comment::parse(line), Some(expected));
        for line in ["", "-- comment on table message is 'x';", "comment on table message is null;"] {
            assert_eq!(Comment::parse(line), None, "{line}");
        }
    }
}
