//! Answers as people read them: a head, a small chart, and rows with aligned figures.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{Answer, chart};
use crate::domain::report::moment::Span;
use crate::domain::report::{Chart, Column, Unit};

/// How many cells the longest bar takes.
const BAR: usize = 24;
/// How many letters of a text are shown.
const MOST_LETTERS: usize = 60;

/// A table whose cells are texts. A figure stands right-aligned.
struct Table {
    head: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

/// The answer with its head.
pub fn answer(answer: &Answer) -> String {
    let report = &answer.report;
    let mut lines = vec![report.title.to_owned(), report.answers.to_owned(), scope(answer), String::new()];
    match (answer.rows.is_empty(), report.chart, report.series()) {
        (true, ..) => lines.push("there is nothing".to_owned()),
        (_, Chart::Figures, _) => lines.extend(figures(answer)),
        (_, Chart::Lines | Chart::Bars, Some(series)) => lines.extend(by_series(answer, series)),
        (_, Chart::Lines | Chart::Bars, None) => lines.extend(by_figure(answer)),
        (_, Chart::Ranking | Chart::Table, _) => lines.extend(table(answer).lines()),
    }
    lines.join("\n")
}

/// What the answer is of.
fn scope(answer: &Answer) -> String {
    let report = &answer.report;
    let mut parts = Vec::new();
    match report.is_of_a_time() {
        true => parts.push(format!("from {} to {} UTC", time(answer.range.from), time(answer.range.to))),
        false => parts.push("now".to_owned()),
    }
    if report.has_buckets() {
        parts.push(format!("by {}", span(answer.range.bucket)));
    }
    parts.push(match &answer.project {
        Some(project) => format!("project {}", plain(&project.name)),
        None => "all projects".to_owned(),
    });
    parts.join(", ")
}

fn figures(answer: &Answer) -> Vec<String> {
    let row = answer.rows.first().cloned().unwrap_or_default();
    let cells =
        answer.report.columns.iter().map(|column| {
            vec![column.name.to_owned(), cell(column.unit, row.get(column.name)), column.meaning.to_owned()]
        });
    let head = vec![(String::new(), false), (String::new(), true), (String::new(), false)];
    Table { head, rows: cells.collect() }.lines().into_iter().skip(1).collect()
}

/// A line of the chart and a column of the table for each figure.
fn by_figure(answer: &Answer) -> Vec<String> {
    let lines = answer.report.figures().map(|column| {
        let figures: Vec<Option<f64>> = answer.rows.iter().map(|row| figure(row, column.name)).collect();
        let most = figures.iter().flatten().copied().fold(0.0, f64::max);
        let most = format!("at most {}", cell(column.unit, Some(&Value::from(most))));
        vec![column.name.to_owned(), chart::columns(&figures), most]
    });
    let head = vec![(String::new(), false), (String::new(), false), (String::new(), false)];
    let mut lines: Vec<String> = Table { head, rows: lines.collect() }.lines().into_iter().skip(1).collect();
    lines.push(String::new());
    lines.extend(table(answer).lines());
    lines
}

/// A line of the chart and a column of the table for each text of a column, and a bar for their
/// sum.
fn by_series(answer: &Answer, series: &Column) -> Vec<String> {
    let Some(counted) = answer.report.figures().next() else { return Vec::new() };
    let mut times: Vec<&str> = answer.rows.iter().map(|row| string(row, "time")).collect();
    times.dedup();
    let mut totals: Vec<(String, f64)> = Vec::new();
    for row in &answer.rows {
        let (name, value) = (plain(string(row, series.name)), figure(row, counted.name).unwrap_or_default());
        match totals.iter_mut().find(|(known, _)| *known == name) {
            Some((_, total)) => *total += value,
            None => totals.push((name, value)),
        }
    }
    totals.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let at = |time: &str, name: &str| {
        let is_it = |row: &&Map<String, Value>| string(row, "time") == time && plain(string(row, series.name)) == name;
        answer.rows.iter().find(is_it).and_then(|row| figure(row, counted.name)).unwrap_or_default()
    };
    let value = |figure: f64| cell(counted.unit, Some(&Value::from(figure)));
    let drawn = totals.iter().map(|(name, total)| {
        let figures: Vec<Option<f64>> = times.iter().map(|time| Some(at(time, name))).collect();
        vec![name.clone(), chart::columns(&figures), format!("{} in all", value(*total))]
    });
    let head = vec![(String::new(), false), (String::new(), false), (String::new(), true)];
    let mut lines: Vec<String> = Table { head, rows: drawn.collect() }.lines().into_iter().skip(1).collect();
    lines.push(String::new());
    let sum = |time: &str| totals.iter().map(|(name, _)| at(time, name)).sum::<f64>();
    let most = times.iter().map(|time| sum(time)).fold(0.0, f64::max);
    let rows = times.iter().map(|time| {
        let mut cells = vec![cell(Unit::Time, Some(&Value::from(*time)))];
        cells.extend(totals.iter().map(|(name, _)| value(at(time, name))));
        cells.push(chart::bar(sum(time), most, BAR));
        cells
    });
    let mut head = vec![("time".to_owned(), false)];
    head.extend(totals.iter().map(|(name, _)| (name.clone(), true)));
    head.push((String::new(), false));
    lines.extend(Table { head, rows: rows.collect() }.lines());
    lines
}

/// All columns. Where a row is a sum, it has a bar for the first column that is a count. Where it
/// is one thing, its time comes first.
fn table(answer: &Answer) -> Table {
    let columns = &answer.report.columns;
    let mut head: Vec<(String, bool)> =
        columns.iter().map(|column| (column.name.to_owned(), column.unit.is_figure())).collect();
    let cells =
        |row: &Map<String, Value>| columns.iter().map(|column| cell(column.unit, row.get(column.name))).collect();
    let mut rows: Vec<Vec<String>> = answer.rows.iter().map(cells).collect();
    let is_summed = columns.first().is_some_and(|column| column.unit == Unit::Text);
    if let Some(counted) = answer.report.columns_of(Unit::Count).next().filter(|_| is_summed) {
        let most = answer.rows.iter().filter_map(|row| figure(row, counted.name)).fold(0.0, f64::max);
        head.push((String::new(), false));
        for (cells, row) in rows.iter_mut().zip(&answer.rows) {
            cells.push(chart::bar(figure(row, counted.name).unwrap_or_default(), most, BAR));
        }
    }
    Table { head, rows }
}

impl Table {
    fn lines(&self) -> Vec<String> {
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            let head = self.head.get(at).map(|(name, _)| name);
            cells.chain(head).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let line = |cells: Vec<&String>| {
            let aligned = cells.iter().enumerate().map(|(at, cell)| {
                let width = width(at);
                match self.head.get(at) {
                    Some((_, true)) => format!("{cell:>width$}"),
                    _ => format!("{cell:<width$}"),
                }
            });
            aligned.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = line(self.head.iter().map(|(name, _)| name).collect());
        std::iter::once(head).chain(self.rows.iter().map(|row| line(row.iter().collect()))).collect()
    }
}

fn string<'a>(row: &'a Map<String, Value>, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn figure(row: &Map<String, Value>, name: &str) -> Option<f64> {
    row.get(name).and_then(Value::as_f64)
}

/// A value as people read it.
fn cell(unit: Unit, value: Option<&Value>) -> String {
    let value = value.unwrap_or(&Value::Null);
    match (unit, value) {
        (_, Value::Null) => "–".to_owned(),
        (_, Value::Bool(holds)) => if *holds { "yes" } else { "no" }.to_owned(),
        (Unit::Time, Value::String(text)) => match DateTime::parse_from_rfc3339(text) {
            Ok(at) => time(at.to_utc()),
            Err(_) => plain(text),
        },
        (_, Value::String(text)) => cut(&plain(text)),
        (unit, value) => {
            let figure = value.as_f64().unwrap_or_default();
            match unit {
                Unit::Seconds => seconds(figure),
                Unit::Share => format!("{:.1} %", figure * 100.0),
                Unit::Number => format!("{figure:.2}"),
                _ => thousands(&format!("{figure:.0}")),
            }
        }
    }
}

/// A time in UTC, to the minute.
pub fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

fn span(span: Span) -> String {
    match span.seconds {
        seconds if seconds % 604_800 == 0 => format!("{}w", seconds / 604_800),
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds => format!("{}h", seconds / 3_600),
    }
}

fn seconds(figure: f64) -> String {
    match figure.abs() {
        size if size < 10.0 => format!("{figure:.2} s"),
        size if size < 120.0 => format!("{figure:.0} s"),
        size if size < 7_200.0 => format!("{:.0} min", figure / 60.0),
        size if size < 172_800.0 => format!("{:.1} h", figure / 3_600.0),
        _ => format!("{:.1} d", figure / 86_400.0),
    }
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_LETTERS) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A text without what a terminal obeys: control characters, and those that turn the direction of a
/// line.
pub fn plain(text: &str) -> String {
    let is_obeyed = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|letter| if is_obeyed(letter) { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::answer as example;
    use super::*;

    #[test]
    fn values_are_told_in_their_units() {
        for (unit, value, expected) in [
            (Unit::Count, json!(1_234_567), "1,234,567"),
            (Unit::Count, json!(999), "999"),
            (Unit::Count, json!(0), "0"),
            (Unit::Count, json!(-1000), "-1,000"),
            (Unit::Count, json!(-100), "-100"),
            (Unit::Number, json!(0.126), "0.13"),
            (Unit::Share, json!(0.975), "97.5 %"),
            (Unit::Seconds, json!(0.25), "0.25 s"),
            (Unit::Seconds, json!(45), "45 s"),
            (Unit::Seconds, json!(600), "10 min"),
            (Unit::Seconds, json!(21_600), "6.0 h"),
            (Unit::Seconds, json!(864_000), "10.0 d"),
            (Unit::Whether, json!(true), "yes"),
            (Unit::Time, json!("2026-11-30T18:00:00+02:00"), "2026-11-30 16:00"),
            (Unit::Text, json!(null), "–"),
            (Unit::Text, json!("a\u{1b}[31m\u{202e}b\nc"), "a\u{fffd}[31m\u{fffd}b\u{fffd}c"),
            (Unit::Text, json!("x".repeat(61)), &format!("{}…", "x".repeat(60))),
        ] {
            assert_eq!(cell(unit, Some(&value)), expected);
        }
    }

    #[test]
    fn an_answer_over_time_has_a_column_for_each_text_and_a_chart() {
        let row =
            |time: &str, direction: &str, texts: u32| json!({"time": time, "direction": direction, "texts": texts});
        let (first, second) = ("2026-11-29T00:00:00+00:00", "2026-11-29T06:00:00+00:00");
        let rows = json!([row(first, "inbound", 1000), row(first, "outbound", 10), row(second, "outbound", 20)]);
        let expected = "Texts in and out
How many messages came from contacts and went to them.
from 2026-11-29 00:00 to 2026-11-30 12:00 UTC, by 6h, all projects

inbound   █·  1,000 in all
outbound  ▄█     30 in all

time              inbound  outbound
2026-11-29 00:00    1,000        10  ████████████████████████
2026-11-29 06:00        0        20  ▌";
        assert_eq!(answer(&example("texts", &rows)), expected);
    }

    #[test]
    fn answers_of_other_kinds_are_aligned_too() {
        let rows = json!([{"kind": "turn", "depth": 12, "due": 2, "running": 0, "oldest_due_seconds": 3.5},
                          {"kind": "inactivity", "depth": 1200, "due": 0, "running": 0, "oldest_due_seconds": 0.0}]);
        let told = answer(&example("jobs", &rows));
        let rows = told.split_once("\n\n").expect("a table").1;
        let expected = "kind        depth  due  running  oldest_due_seconds
turn           12    2        0              3.50 s  ▎
inactivity  1,200    0        0              0.00 s  ████████████████████████";
        assert_eq!(rows, expected);
        let told = answer(&example("jobs", &json!([])));
        assert!(told.ends_with("\nnow, all projects\n\nthere is nothing"), "{told}");
        let told =
            answer(&example("due", &json!([{"due": 3, "running": 1, "oldest_due_seconds": 61, "in_quarantine": 0}])));
        assert!(told.contains("\noldest_due_seconds  61 s  Time for which"), "{told}");
    }
}
