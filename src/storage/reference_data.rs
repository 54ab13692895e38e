//! Loads the countries of sql/data into their table. What a project overrode is in another table.

use serde_json::{Map, Value};
use sqlx::PgConnection;
use sqlx::types::Json;

/// Writes the rows that are new or differ, in one statement.
pub async fn load(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let countries = Json(rows(include_str!("../../sql/data/countries.csv")));
    sqlx::query_file!("sql/queries/country/load.sql", countries as _).execute(connection).await?;
    Ok(())
}

/// The rows of a CSV file (RFC 4180) by the names in its first line. An empty field is null.
fn rows(csv: &str) -> Vec<Map<String, Value>> {
    let mut records = records(csv).into_iter();
    let names = records.next().unwrap_or_default();
    records
        .map(|record| {
            let value = |field: String| if field.is_empty() { Value::Null } else { Value::String(field) };
            names.iter().cloned().zip(record.into_iter().map(value)).collect()
        })
        .collect()
}

/// The records of a CSV file. A field in quotes may contain commas, line ends, and quotes written
/// twice.
fn records(csv: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut letters = csv.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut field)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_empty_fields_are_read() {
        let csv = "a,b,c\r\n1,,\"x, \"\"y\"\"\nz\"\n,2,3";
        assert_eq!(
            serde_json::json!(rows(csv)),
            serde_json::json!([{"a": "1", "b": null, "c": "x, \"y\"\nz"}, {"a": null, "b": "2", "c": "3"}])
        );
    }
}
