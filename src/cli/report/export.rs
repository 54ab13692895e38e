//! Answers as data: CSV and JSON.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::Answer;

/// One document with the rows, what they are of, and what each column means.
pub fn json(answer: &Answer) -> String {
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let report = &answer.report;
    let columns: Vec<Value> = report
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "unit": column.unit.as_str(), "meaning": column.meaning}))
        .collect();
    let document = json!({
        "report": report.name, "title": report.title, "answers": report.answers,
        "project_id": answer.project.as_ref().map(|project| project.project_id),
        "columns": columns, "rows": answer.rows,
    });
    let mut document = document.as_object().cloned().unwrap_or_default();
    if report.is_of_a_time() {
        document.insert("from".to_owned(), time(answer.range.from).into());
        document.insert("to".to_owned(), time(answer.range.to).into());
    }
    if report.has_buckets() {
        document.insert("bucket_seconds".to_owned(), answer.range.bucket.seconds.into());
    }
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

/// Rows with a head, as RFC 4180 has them.
pub fn csv(answer: &Answer) -> String {
    let head: Vec<String> = answer.report.columns.iter().map(|column| column.name.to_owned()).collect();
    let mut lines = vec![head.join(",")];
    for row in &answer.rows {
        let cells = answer.report.columns.iter().map(|column| cell(row.get(column.name).unwrap_or(&Value::Null)));
        lines.push(cells.collect::<Vec<_>>().join(","));
    }
    lines.join("\r\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            let text = if is_formula(text) { format!("'{text}") } else { text.clone() };
            match text.contains([',', '"', '\n', '\r']) {
                true => format!("\"{}\"", text.replace('"', "\"\"")),
                false => text,
            }
        }
        other => other.to_string(),
    }
}

/// Whether a spreadsheet would compute a text: it begins as a formula does
/// (<https://owasp.org/www-community/attacks/CSV_Injection>). An apostrophe before it makes it a
/// text. A number in E.164 or a masked contact is no formula that could do anything.
fn is_formula(text: &str) -> bool {
    let is_number =
        |rest: &str| !rest.is_empty() && rest.chars().all(|letter| letter.is_ascii_digit() || letter == '•');
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
        && !text.strip_prefix('+').is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_spreadsheet_computes_them() {
        for (value, expected) in [
            (json!(null), ""),
            (json!(7), "7"),
            (json!(-0.5), "-0.5"),
            (json!(true), "true"),
            (json!("plain"), "plain"),
            (json!("a,b"), "\"a,b\""),
            (json!("say \"hi\""), "\"say \"\"hi\"\"\""),
            (json!("two\nlines"), "\"two\nlines\""),
            (json!("=1+1"), "'=1+1"),
            (json!("=cmd|' /C calc'!A0,x"), "\"'=cmd|' /C calc'!A0,x\""),
            (json!("@sum(1)"), "'@sum(1)"),
            (json!("-2+3"), "'-2+3"),
            (json!("+1+1"), "'+1+1"),
            (json!("+"), "'+"),
            (json!("\t=1"), "'\t=1"),
            (json!("\r=1"), "\"'\r=1\""),
            (json!("＝1"), "'＝1"),
            (json!("+14155550199"), "+14155550199"),
            (json!("+1415•••0101"), "+1415•••0101"),
            (json!("2026-11-30T12:00:00+00:00"), "2026-11-30T12:00:00+00:00"),
        ] {
            assert_eq!(cell(&value), expected, "{value}");
        }
    }

    #[test]
    fn a_document_says_what_its_rows_mean() {
        let rows = json!([{"time": "2026-11-29T00:00:00+00:00", "direction": "inbound", "texts": 3}]);
        let told: Value = serde_json::from_str(&json(&answer("texts", &rows))).expect("JSON");
        assert_eq!(told["rows"], rows);
        assert_eq!(told["from"], "2026-11-29T00:00:00Z");
        assert_eq!(told["bucket_seconds"], 21_600);
        assert_eq!(told["columns"][2]["unit"], "count");
        let lines = csv(&answer("texts", &rows));
        assert_eq!(lines, "time,direction,texts\r\n2026-11-29T00:00:00+00:00,inbound,3");
        let now: Value = serde_json::from_str(&json(&answer("jobs", &json!([])))).expect("JSON");
        assert!(now.get("from").is_none() && now.get("bucket_seconds").is_none());
    }
}
