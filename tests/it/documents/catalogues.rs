//! Compares the lists of the documents with the code: settings, error codes and log events.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::read;
use crate::commands::{printed, run, textback};
use crate::source::{self, Kind, Token};
use crate::tidy::files;

/// Compares the part of a page after a marker with what it must be. With INSTA_UPDATE=always it
/// writes it.
fn compare(path: &str, marker: &str, expected: &str, renew: &str) {
    let page = read(path);
    let (head, rest) = page.split_once(marker).unwrap_or_else(|| panic!("{path} lacks {marker}"));
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") && rest != expected {
        let whole = format!("{head}{marker}{expected}");
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), whole).expect("written");
    } else {
        assert!(rest == expected, "{path} is not what the code says; run {renew}");
    }
}

#[test]
fn the_page_of_settings_is_what_the_command_line_says() {
    let mut command = textback();
    // A variable that is set is no default.
    let told = run(command.arg("configuration").env("RUST_LOG", "off"));
    assert!(told.status.success(), "{}", printed(&told));
    let markdown = String::from_utf8(told.stdout).expect("UTF-8");
    compare(
        "docs/configuration.md",
        "<!-- The rest is printed by textback configuration. -->\n\n",
        &markdown,
        "make docs-configuration",
    );
    assert!(markdown.matches("\n| `TEXTBACK_").count() > 25, "{markdown}");
}

fn name_of(token: Option<&Token>) -> Option<&str> {
    match &token?.kind {
        Kind::Name(name) => Some(name),
        _ => None,
    }
}

fn is_mark(token: Option<&Token>, mark: char) -> bool {
    token.is_some_and(|token| token.kind == Kind::Mark(mark))
}

/// The status codes that a file names.
const STATUSES: [(&str, u16); 13] = [
    ("BAD_REQUEST", 400),
    ("UNAUTHORIZED", 401),
    ("FORBIDDEN", 403),
    ("NOT_FOUND", 404),
    ("METHOD_NOT_ALLOWED", 405),
    ("REQUEST_TIMEOUT", 408),
    ("GONE", 410),
    ("PAYLOAD_TOO_LARGE", 413),
    ("UNSUPPORTED_MEDIA_TYPE", 415),
    ("TOO_MANY_REQUESTS", 429),
    ("INTERNAL_SERVER_ERROR", 500),
    ("BAD_GATEWAY", 502),
    ("SERVICE_UNAVAILABLE", 503),
];

/// The codes of problems that a file makes, each with its status where the call tells it.
fn codes(path: &str, text: &str) -> Vec<(String, Option<u16>)> {
    let code = text.split("#[cfg(test)]").next().expect("code");
    let tokens = source::rust(code);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Text(word) = &token.kind else { continue };
        if word.len() < 3
            || !word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        {
            continue;
        }
        let before = |steps: usize| at.checked_sub(steps).and_then(|position| tokens.get(position));
        let status = match (before(1), name_of(before(2))) {
            // Problem::invalid("code", …)
            (mark, Some("invalid" | "of_template")) if is_mark(mark, '(') => Some(Some(422)),
            (mark, Some("conflict")) if is_mark(mark, '(') => Some(Some(409)),
            (mark, Some("too_many")) if is_mark(mark, '(') => Some(Some(429)),
            (mark, Some("refused")) if is_mark(mark, '(') => Some(None),
            // Problem::new(StatusCode::GONE, "code", …)
            (mark, Some(name)) if is_mark(mark, ',') => match STATUSES.iter().find(|(known, _)| *known == name) {
                Some((_, status)) => Some(Some(*status)),
                None => (name == "status").then_some(None),
            },
            (mark, Some("code")) if is_mark(mark, ':') => Some(None),
            _ => None,
        };
        let of_readiness = path == "src/http/health.rs" && is_mark(before(1), '>') && is_mark(before(2), '=');
        if let Some(status) = status.or(of_readiness.then_some(Some(503))) {
            found.push((word.clone(), status));
        }
    }
    found
}

#[test]
fn each_error_code_is_documented_with_its_status() {
    let page = read("docs/errors.md");
    let mut documented: BTreeMap<&str, &str> = BTreeMap::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (code, rest) = row.split_once("` | ").expect("a code");
        let status = rest.split(" | ").next().expect("a status");
        assert!(documented.insert(code, status).is_none(), "docs/errors.md has {code} twice");
    }
    let mut made = BTreeSet::new();
    let sources =
        files("src/http", "rs").into_iter().chain([("src/agents/mod.rs".to_owned(), read("src/agents/mod.rs"))]);
    for (path, text) in sources.filter(|(path, _)| !path.ends_with("tests.rs")) {
        for (code, status) in codes(&path, &text) {
            let told = documented
                .get(code.as_str())
                .unwrap_or_else(|| panic!("{path} answers {code}, which docs/errors.md does not explain"));
            if let Some(status) = status {
                let is_told = told.split(", ").any(|one| one == status.to_string());
                assert!(is_told, "docs/errors.md gives {code} the status {told}, and {path} answers it with {status}");
            }
            made.insert(code);
        }
        // The listener refuses before there is a request.
        if text.contains("\\\"code\\\":\\\"too_many_connections\\\"") {
            made.insert("too_many_connections".to_owned());
        }
    }
    let unknown: Vec<_> = documented.keys().filter(|code| !made.contains(**code)).collect();
    assert!(unknown.is_empty(), "docs/errors.md explains codes that nothing answers: {unknown:?}");
    assert!(made.len() > 90, "{}", made.len());
}

/// A call that logs: its level, its message, and its fields.
type Event = (String, String, Vec<String>);

/// The events that a file logs.
fn events(code: &str) -> Vec<Event> {
    let tokens = source::rust(code);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let level = name_of(tokens.get(at)).filter(|name| ["error", "warn", "info", "debug"].contains(name));
        let Some(level) = level.filter(|_| is_mark(tokens.get(at + 1), '!') && is_mark(tokens.get(at + 2), '(')) else {
            continue;
        };
        let (mut depth, mut begins, mut next) = (1, true, at + 3);
        let (mut message, mut fields) = (None, Vec::new());
        while depth > 0 && next < tokens.len() {
            match &tokens[next].kind {
                Kind::Mark('(' | '[' | '{') => depth += 1,
                Kind::Mark(')' | ']' | '}') => depth -= 1,
                Kind::Mark(',') if depth == 1 => begins = true,
                Kind::Mark('%' | '?') if begins => {}
                Kind::Name(name) if begins && depth == 1 => {
                    begins = false;
                    let is_field = [',', ')', '='].iter().any(|mark| is_mark(tokens.get(next + 1), *mark));
                    fields.extend(is_field.then(|| name.clone()));
                }
                Kind::Text(text) if begins && depth == 1 && message.is_none() => {
                    message = Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
                    begins = false;
                }
                _ => begins = false,
            }
            next += 1;
        }
        found.extend(message.map(|message| (level.to_owned(), message, fields)));
    }
    found
}

/// The fields of an event, and the modules that log it.
type FieldsAndModules = (BTreeSet<String>, BTreeSet<String>);

/// All log events as the tables of `docs/operations/log-events.md`.
fn tables_of_events() -> String {
    let mut all: BTreeMap<(&str, String), FieldsAndModules> = BTreeMap::new();
    let levels = ["error", "warn", "info", "debug"];
    for (path, text) in files("src", "rs") {
        let module =
            path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        for (level, message, fields) in events(text.split("#[cfg(test)]").next().expect("code")) {
            let level = levels.iter().find(|known| **known == level).expect("a level");
            let (of_fields, modules) = all.entry((level, message)).or_default();
            of_fields.extend(fields);
            modules.insert(module.clone());
        }
    }
    let mut page = String::new();
    for (level, heading) in levels.iter().zip(["Errors", "Warnings", "Information", "Debugging"]) {
        let _ = write!(page, "## {heading} (`{level}`)\n\n| message | fields | module |\n|---|---|---|\n");
        for ((_, message), (fields, modules)) in all.iter().filter(|((of, _), _)| of == level) {
            let list =
                |names: &BTreeSet<String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let message = message.replace('|', "\\|").replace('<', "&lt;");
            let _ = writeln!(page, "| {message} | {} | {} |", list(fields), list(modules));
        }
        page.push('\n');
    }
    page.trim_end().to_owned() + "\n"
}

#[test]
fn each_log_event_is_listed() {
    let tables = tables_of_events();
    compare(
        "docs/operations/log-events.md",
        "<!-- The rest is made of the code. -->\n\n",
        &tables,
        "INSTA_UPDATE=always cargo test --test it documents",
    );
    assert!(tables.lines().count() > 100, "{tables}");
}

#[test]
fn the_message_and_the_fields_of_a_call_are_found() {
    let code = r#"fn f() { tracing::warn!(target: "t", %one, two = g("x", 1), "it {} \"failed\"", three.len()); info!("done"); }"#;
    let found = events(code);
    assert_eq!(found[0].0, "warn");
    assert_eq!(found[0].2, ["one", "two"]);
    assert!(found[0].1.starts_with("it {}"), "{found:?}");
    assert_eq!(found[1].1, "done");
}
