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
const ROOMS: [(&str, &[&str], &[&str]); 8] = [
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
    ("src/dev/", &["ledger", "secret", "dev"], &["poem", "apalis", "starlark"]),
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
        &["body", "console", "guesses", "ledger", "problem", "secret"],
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
        if !path.starts_with("src/carrier/") {
            for word in ["MessageSid", "SmsUrl", "undelivered", "IncomingPhoneNumbers"] {
                assert!(!text.contains(&format!("\"{word}")), "{path} says {word}");
            }
        }
    }
}

#[test]
fn every_statement_is_used_and_lives_in_the_room_of_its_noun() {
    let sources = files("src", "rs");
    for (path, _) in files("sql", "sql") {
        // Invariants are listed by their bare names.
        let path = path.strip_prefix("sql/invariants/").map_or(path.clone(), |name| name.replace(".sql", "\""));
        let users: Vec<&str> =
            sources.iter().filter(|(_, text)| text.contains(&path)).map(|(user, _)| user.as_str()).collect();
        assert!(!users.is_empty(), "{path} is used nowhere");
        assert!(users.iter().all(|user| user.starts_with("src/ledger/")), "{path} is used by {users:?}");
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
    for (folder, ending) in
        [("src", "rs"), ("crates", "rs"), ("tests", "rs"), ("benches", "rs"), ("migrations", "sql"), ("sql", "sql")]
    {
        for (path, text) in files(folder, ending) {
            assert!(text.lines().count() <= 500, "{path} has {} lines", text.lines().count());
        }
    }
}

#[test]
fn every_module_and_statement_says_what_it_is() {
    for (path, text) in ["src", "crates", "tests"].into_iter().flat_map(|folder| files(folder, "rs")) {
        assert!(text.starts_with("//!"), "{path} does not open with a sentence");
    }
    for (path, text) in files("sql", "sql").into_iter().chain(files("migrations", "sql")) {
        assert!(text.starts_with("--"), "{path} does not open with a sentence");
    }
}

#[test]
fn the_crates_know_nothing_of_textback() {
    let code = files("crates", "rs").into_iter().chain(files("crates", "toml")).chain(files("crates", "md"));
    for (path, text) in code {
        assert!(!text.to_lowercase().contains("textback"), "{path} names textback");
    }
    let crates: Vec<String> = files("crates", "toml").into_iter().map(|(path, _)| path).collect();
    assert_eq!(crates, ["crates/dev-postgres/Cargo.toml", "crates/twilio-simulator/Cargo.toml"]);
}
