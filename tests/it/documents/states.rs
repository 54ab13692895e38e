//! Compares the state diagrams of the documents, and the tables below them, with the enums and the
//! code.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta};
use textback::domain::consent::{ConsentKind, ConsentSource};
use textback::domain::delivery::DeliveryStatus;
use textback::domain::inactivity::{self, Decision, Facts, Warning};
use textback::domain::session::{CloseReason, InactivityOutcome, SessionStatus};
use textback::domain::turn_settlement::{TurnEnd, TurnOutcome};

use super::read;
use crate::harness::{new_database, pool};
use crate::tidy::files;

/// An arrow of a diagram: from which state, to which, and what stands at it. Before the first state
/// is `start`, after the last `end`.
type Arrow = (String, String, String);

/// The arrows of a page's state diagram.
fn arrows(page: &str) -> Vec<Arrow> {
    let (_, diagram) = page.split_once("```mermaid\nstateDiagram-v2\n").expect("a state diagram");
    let diagram = diagram.split("```").next().expect("its end");
    let arrow = |line: &str| {
        let (from, rest) = line.trim().split_once(" --> ").unwrap_or_else(|| panic!("{line} is no arrow"));
        let (to, label) = rest.split_once(": ").unwrap_or((rest, ""));
        let state = |name: &str, outer: &str| if name == "[*]" { outer.to_owned() } else { name.to_owned() };
        (state(from, "start"), state(to, "end"), label.to_owned())
    };
    diagram.lines().map(arrow).collect()
}

/// The states of a diagram.
fn states(arrows: &[Arrow]) -> BTreeSet<&str> {
    let both = arrows.iter().flat_map(|(from, to, _)| [from.as_str(), to.as_str()]);
    both.filter(|state| !matches!(*state, "start" | "end")).collect()
}

fn words(words: &[&'static str]) -> BTreeSet<&'static str> {
    words.iter().copied().collect()
}

/// The cells of the table below a header.
fn rows(page: &str, header: &str) -> Vec<Vec<String>> {
    let (_, table) = page.split_once(header).unwrap_or_else(|| panic!("no table {header}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect()
}

/// The transitions of a table, each with its last cell.
fn transitions(rows: &[Vec<String>]) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for row in rows {
        for from in row[0].split(", ") {
            for to in row[1].split(", ") {
                all.push((from.to_owned(), to.to_owned(), row.last().expect("a cell").clone()));
            }
        }
    }
    all
}

fn pairs(transitions: &[(String, String, String)]) -> BTreeSet<(&str, &str)> {
    transitions.iter().map(|(from, to, _)| (from.as_str(), to.as_str())).collect()
}

/// The words that the statements of a file set as the status of a table's rows.
fn written(sql: &str, table: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for statement in sql.split(&format!("update {table}")).skip(1) {
        let Some((_, set)) = statement.split_once("set ") else { continue };
        let set = set.split(" where ").next().expect("a list");
        let set = set.split("\n     where ").next().expect("a list");
        for (at, _) in set.match_indices("status = '") {
            // A comparison inside the list is none of the written values.
            let begins = set[..at].trim_end().is_empty() || set[..at].trim_end().ends_with(',');
            if begins {
                found.insert(set[at + "status = '".len()..].split('\'').next().expect("a word").to_owned());
            }
        }
    }
    found
}

/// Each file that writes a status of the table stands in the page's table, and each file there has
/// the word.
fn each_writer_is_told(page: &str, table: &str, transitions: &[(String, String, String)]) {
    for (_, to, path) in transitions {
        let source = read(path);
        let is_there = match path.strip_suffix(".sql") {
            Some(_) => source.contains(&format!("'{to}'")) || source.contains("status = to_status"),
            None => source.to_lowercase().contains(&format!("::{to}")),
        };
        assert!(is_there, "{page}: {path} does not write {to}");
    }
    for (path, sql) in files("sql", "sql") {
        for word in written(&sql, table) {
            let is_told = transitions.iter().any(|(_, to, of)| *to == word && *of == path);
            assert!(is_told, "{page} does not tell that {path} makes it {word}");
        }
    }
}

#[test]
fn the_page_of_sessions_has_their_states_transitions_and_reasons() {
    let page = read("docs/concepts/session.md");
    let arrows = arrows(&page);
    assert_eq!(states(&arrows), words(SessionStatus::WORDS));
    let transitions = transitions(&rows(&page, "| from | to | when | code |"));
    let drawn: BTreeSet<_> =
        arrows.iter().filter(|(_, to, _)| to != "end").map(|(from, to, _)| (from.as_str(), to.as_str())).collect();
    assert_eq!(drawn, pairs(&transitions));
    each_writer_is_told("docs/concepts/session.md", "session", &transitions);
    let reasons = rows(&page, "| `close_reason` | why |");
    let reasons: BTreeSet<&str> = reasons.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(reasons, words(CloseReason::WORDS));
}

#[test]
fn the_page_of_turns_has_their_outcomes() {
    let page = read("docs/concepts/turn.md");
    let arrows = arrows(&page);
    let mut expected = words(TurnEnd::WORDS);
    expected.extend(["waiting", "running", "answered"]);
    assert_eq!(states(&arrows), expected);
    let labels: BTreeSet<&str> = arrows.iter().map(|(_, _, label)| label.as_str()).collect();
    let outcomes = rows(&page, "| outcome | what happens |");
    let outcomes: BTreeSet<&str> = outcomes.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(outcomes, words(TurnOutcome::WORDS));
    assert!(outcomes.is_subset(&labels), "{labels:?}");
    let told = rows(&page, "| state | what it means |");
    let told: BTreeSet<&str> = told.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_page_of_deliveries_has_their_states_and_transitions() {
    let page = read("docs/concepts/delivery.md");
    let arrows = arrows(&page);
    assert_eq!(states(&arrows), words(DeliveryStatus::WORDS));
    let transitions = transitions(&rows(&page, "| from | to | when | code |"));
    let told = pairs(&transitions);
    for (from, to, _) in arrows.iter().filter(|(_, to, _)| to != "end") {
        assert!(told.contains(&(from.as_str(), to.as_str())), "the table lacks {from} to {to}");
    }
    each_writer_is_told("docs/concepts/delivery.md", "delivery", &transitions);

    // What a report of the carrier may do is decided by the ranks of the database.
    let pool = pool(&new_database().await).await;
    let ranks: Vec<(String, i32)> =
        sqlx::query_as("select status, delivery_rank(status) from unnest($1) as all_of (status)")
            .bind(DeliveryStatus::WORDS)
            .fetch_all(&pool)
            .await
            .expect("ranks");
    let rank = |of: &str| ranks.iter().find(|(status, _)| status == of).map(|(_, rank)| *rank).expect("a rank");
    let reported = ["accepted", "sent", "delivered", "failed"];
    let mut expected = BTreeSet::new();
    for from in DeliveryStatus::WORDS {
        for to in reported {
            let without_answer = matches!(*from, "failed" | "suppressed") && to != "failed";
            if rank(to) > rank(from) || without_answer {
                expected.insert((*from, to));
            }
        }
    }
    let by_report: Vec<_> =
        transitions.iter().filter(|(_, _, path)| path == "sql/functions/delivery/record_status.sql").cloned().collect();
    assert_eq!(pairs(&by_report), expected);
}

/// What the rule decides about a session, over all facts that it looks at.
fn decided() -> BTreeSet<(&'static str, &'static str)> {
    let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
    let mut found = BTreeSet::new();
    let mut warnings = vec![None];
    for status in DeliveryStatus::ALL {
        warnings.extend(
            [None, Some(now), Some(now - TimeDelta::days(1))]
                .map(|accepted_at| Some(Warning { status: *status, accepted_at })),
        );
    }
    for warning in warnings {
        for bits in 0..16_u8 {
            let bit = |position: u8| bits & (1 << position) != 0;
            let facts = Facts {
                now,
                last_message_at: if bit(0) { now } else { now - TimeDelta::days(2) },
                warn_after: TimeDelta::days(1),
                grace: TimeDelta::minutes(10),
                owes_answer: bit(1),
                quiet_until: bit(2).then(|| now + TimeDelta::hours(1)),
                warning,
                has_closing: false,
                has_warnings: bit(3),
            };
            let outcome = match inactivity::decide(&facts) {
                Decision::LookAgain { .. } => InactivityOutcome::Moved,
                Decision::Warn { .. } => InactivityOutcome::Warned,
                Decision::End { .. } => InactivityOutcome::Ended,
            };
            let from = if warning.is_some() { SessionStatus::Warned } else { SessionStatus::Open };
            found.insert((from.as_str(), outcome.as_str()));
        }
    }
    found
}

#[test]
fn the_page_of_inactivity_has_what_the_rule_decides() {
    let page = read("docs/inactivity.md");
    let arrows = arrows(&page);
    assert_eq!(states(&arrows), words(SessionStatus::WORDS));
    let by_job = arrows.iter().filter(|(_, _, label)| InactivityOutcome::WORDS.contains(&label.as_str()));
    let drawn: BTreeSet<_> = by_job.clone().map(|(from, _, label)| (from.as_str(), label.as_str())).collect();
    assert_eq!(drawn, decided());
    for (from, to, label) in by_job {
        let expected = match label.as_str() {
            "moved" => from,
            "warned" => "warned",
            _ => "closed",
        };
        assert_eq!(to, expected, "{label}");
    }
    let told = rows(&page, "| from | outcome | when |");
    assert_eq!(told.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect::<BTreeSet<_>>(), decided());
}

#[test]
fn the_page_of_consent_has_its_kinds_and_sources() {
    let page = read("docs/concepts/consent.md");
    let arrows = arrows(&page);
    assert_eq!(states(&arrows), words(ConsentKind::WORDS));
    let transitions = transitions(&rows(&page, "| from | to | when | source |"));
    let drawn: BTreeSet<_> = arrows.iter().map(|(from, to, _)| (from.as_str(), to.as_str())).collect();
    assert_eq!(drawn, pairs(&transitions));
    let sources: BTreeSet<&str> = transitions.iter().map(|(_, _, source)| source.as_str()).collect();
    assert_eq!(sources, words(ConsentSource::WORDS));
}

#[test]
fn a_written_status_is_found_and_a_compared_one_is_not() {
    let sql = "update delivery\n   set status = 'failed', due_at = null,\n       x = case when status = 'sent' then 1 end\n where status = 'planned'";
    assert_eq!(written(sql, "delivery").into_iter().collect::<Vec<_>>(), ["failed"]);
    assert_eq!(written("update session set status = 'closed' where id = 1", "session").len(), 1);
    assert_eq!(written("select 1 from delivery where status = 'sent'", "delivery").len(), 0);
}
