//! The house rules that a machine can hold: which room imports which, that every statement is used, how long a file is.

use std::fs;
use std::path::Path;

/// The files below a folder with an ending, by their path from the project's root.
pub fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|given| given == ending) {
                let name = path.strip_prefix(root).expect("below the root").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("a readable file")));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no .{ending}");
    found
}

/// What a room may use of ours (`crate::…`), and which crates it must not know.
const ROOMS: [(&str, &[&str], &[&str]); 9] = [
    (
        "src/ledger/",
        &["account", "bounds", "db", "failpoint", "secret", "ledger"],
        &["poem", "apalis", "reqwest", "starlark", "maud"],
    ),
    (
        "src/agent/",
        &["agent", "bounds", "phone", "secret", "segments", "template"],
        &["poem", "apalis", "sqlx", "maud"],
    ),
    ("src/carrier/", &["account", "bounds", "carrier"], &["poem", "apalis", "sqlx", "maud"]),
    ("src/simulator/", &["carrier", "secret", "simulator"], &["apalis", "sqlx", "starlark"]),
    ("src/dev/", &["ledger", "secret", "simulator", "dev"], &["poem", "apalis", "starlark"]),
    ("src/webhook/", &["account", "body", "carrier", "ledger", "problem", "telemetry"], &["apalis", "sqlx", "reqwest"]),
    (
        "src/api/",
        &[
            "account",
            "agent",
            "api",
            "body",
            "bounds",
            "carrier",
            "guesses",
            "ledger",
            "phone",
            "problem",
            "provision",
            "secret",
            "segments",
            "single_flight",
            "telemetry",
            "template",
        ],
        &["apalis", "reqwest", "starlark"],
    ),
    (
        "src/console/",
        &["body", "console", "guesses", "ledger", "problem", "secret", "simulator"],
        &["apalis", "reqwest", "starlark"],
    ),
    (
        "src/worker/",
        &[
            "account",
            "agent",
            "bounds",
            "carrier",
            "config",
            "db",
            "failpoint",
            "ledger",
            "provision",
            "secret",
            "segments",
            "template",
            "worker",
        ],
        &["poem", "reqwest", "starlark"],
    ),
];

#[test]
fn rooms_import_one_way_only() {
    for (path, text) in files("src", "rs") {
        let Some((_, own, foreign)) = ROOMS.iter().find(|(room, _, _)| path.starts_with(room)) else { continue };
        for (n, line) in text.lines().enumerate() {
            let place = format!("{path}:{}: {line}", n + 1);
            for used in line.split("crate::").skip(1) {
                let room: String =
                    used.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
                let grouped = used.starts_with('{');
                assert!(!grouped, "name the rooms one by one: {place}");
                assert!(own.contains(&room.as_str()), "this room does not use {room}: {place}");
            }
            for name in *foreign {
                let said = line.contains(&format!("{name}::")) || line.contains(&format!("use {name}"));
                assert!(!said, "this room does not know {name}: {place}");
            }
        }
    }
}

#[test]
fn only_one_room_says_apalis_and_only_one_knows_the_carriers_words() {
    for (path, text) in files("src", "rs") {
        if !path.starts_with("src/worker/") {
            assert!(!text.lines().any(|line| line.contains("apalis::") || line.contains("apalis_core::")), "{path}");
        }
        if !["src/carrier/", "src/simulator/"].iter().any(|room| path.starts_with(room)) {
            for word in ["MessageSid", "SmsUrl", "undelivered", "IncomingPhoneNumbers"] {
                assert!(!text.contains(&format!("\"{word}")), "{path} says {word}");
            }
        }
    }
}

#[test]
fn every_statement_is_used_and_lives_in_the_room_of_its_noun() {
    let sources = files("src", "rs");
    // build.rs embeds the functions.
    for (path, _) in files("sql", "sql").into_iter().filter(|(path, _)| !path.starts_with("sql/functions/")) {
        // Invariants are listed by their bare names.
        let path = path.strip_prefix("sql/invariants/").map_or(path.clone(), |name| name.replace(".sql", "\""));
        let users: Vec<&str> =
            sources.iter().filter(|(_, text)| text.contains(&path)).map(|(user, _)| user.as_str()).collect();
        assert!(!users.is_empty(), "{path} is used nowhere");
        assert!(users.iter().all(|user| user.starts_with("src/ledger/")), "{path} is used by {users:?}");
    }
}

/// Each function of SQL, with its file, and with its statement down to `end $$;`.
fn functions() -> Vec<(String, String, String)> {
    let parse = |(path, text): (String, String)| {
        let (_, statement) = text.split_once("create or replace function ").expect("a function");
        let (name, _) = statement.split_once('(').expect("its parameters");
        let (body, _) = statement.split_once("\nend $$;\n").expect("its end");
        (path, name.to_owned(), body.to_owned())
    };
    files("sql/functions", "sql").into_iter().map(parse).collect()
}

#[test]
fn every_function_is_called() {
    let statements: Vec<String> = files("sql", "sql").into_iter().map(|(_, text)| text).collect();
    for (path, name, _) in functions() {
        let call = format!("{name}(");
        let calls = statements.iter().flat_map(|text| text.match_indices(&call)).count();
        assert!(calls > 1, "{path} is called nowhere");
    }
}

/// The functions that are longer than 70 lines and still have to be divided. No other may join them.
const LONG_FUNCTIONS: [&str; 7] = [
    "sql/functions/delivery/settle.sql",
    "sql/functions/inactivity/decide.sql",
    "sql/functions/inbound/ingest.sql",
    "sql/functions/inbound/ingest_fast_path.sql",
    "sql/functions/message/send_text.sql",
    "sql/functions/turn/settle.sql",
    "sql/functions/turn/settle_fast_path.sql",
];

#[test]
fn no_function_of_sql_is_longer_than_seventy_lines() {
    for (path, _, body) in functions() {
        let lines = body.lines().count() + 1;
        let is_known = LONG_FUNCTIONS.contains(&path.as_str());
        assert!(lines <= 70 || is_known, "{path} has {lines} lines");
        assert!(lines > 70 || !is_known, "{path} has {lines} lines: take it from the list");
    }
}

/// A rule in a migration could only be changed by another migration.
#[test]
fn migrations_have_no_functions() {
    // The generated column message.segments needs these.
    let needed = ["create function sms_encoding(", "create function sms_segments("];
    for (path, text) in files("migrations", "sql") {
        for line in text.lines().filter(|line| line.starts_with("create")) {
            let is_rule = ["function", "trigger", "view"].iter().any(|kind| line.split(' ').any(|word| word == *kind));
            assert!(!is_rule || needed.iter().any(|start| line.starts_with(start)), "{path}: {line}");
        }
    }
}

#[test]
fn every_code_of_messages_is_documented() {
    let (_, documented) = files("docs", "md").into_iter().find(|(path, _)| path == "docs/messages.md").expect("a page");
    let mut codes = 0;
    for (path, text) in files("src/api", "rs") {
        if !path.starts_with("src/api/messages") {
            continue;
        }
        for told in ["Problem::invalid(", "Problem::conflict(", "Problem::new("] {
            for given in text.split(told).skip(1) {
                let Some(code) = given.split(';').next().and_then(|given| given.split('"').nth(1)) else { continue };
                if !code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                    continue;
                }
                assert!(documented.contains(&format!("`{code}`")), "docs/messages.md does not tell {code}");
                codes += 1;
            }
        }
    }
    assert!(codes > 15, "{codes}");
}

#[test]
fn sql_stands_in_sql_files() {
    for (path, text) in files("src", "rs") {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (n, line) in code.lines().enumerate() {
            let asks = ["query(\"", "query_as(\"", "query_scalar(\""].iter().any(|call| line.contains(call));
            assert!(!asks, "{path}:{}: {line}", n + 1);
        }
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    for (folder, ending) in [("src", "rs"), ("tests", "rs"), ("benches", "rs"), ("migrations", "sql"), ("sql", "sql")] {
        for (path, text) in files(folder, ending) {
            assert!(text.lines().count() <= 500, "{path} has {} lines", text.lines().count());
        }
    }
}

#[test]
fn every_module_and_statement_says_what_it_is() {
    for (path, text) in files("src", "rs").into_iter().chain(files("tests", "rs")) {
        assert!(text.starts_with("//!"), "{path} does not open with a sentence");
    }
    for (path, text) in files("sql", "sql").into_iter().chain(files("migrations", "sql")) {
        assert!(text.starts_with("--"), "{path} does not open with a sentence");
    }
}
