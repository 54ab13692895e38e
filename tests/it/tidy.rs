//! Tests the rules about the source: the direction of imports, the use of every statement, the
//! length of files and functions.

use std::fs;
use std::path::Path;

use textback::channels::Channels;
use textback::domain::job::JobKind;
use textback::domain::session::Channel;

use crate::source;

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

/// The modules of `src/` that each folder may use (`crate::…`), and the crates that it must not
/// use. Imports run one way: cli → http → jobs → channels, agents, numbers → carriers,
/// outbound_http → storage → domain. http uses jobs to store inbound messages, whose turns run in
/// the same process.
const LAYERS: [(&str, &[&str], &[&str]); 13] = [
    ("domain", &["domain"], &["apalis", "reqwest", "starlark", "maud", "tokio"]),
    // The exporter of traces sends by the HTTP client that the product has.
    ("telemetry/traces", &["domain", "repeating", "telemetry"], &["poem", "apalis", "sqlx", "starlark", "maud"]),
    ("telemetry", &["domain", "telemetry"], &["poem", "apalis", "reqwest", "sqlx", "starlark", "maud"]),
    (
        "storage",
        &["domain", "failpoint", "repeating", "secret", "storage", "telemetry"],
        &["poem", "apalis", "reqwest", "starlark", "maud"],
    ),
    ("outbound_http", &["outbound_http", "secret"], &["poem", "apalis", "sqlx", "starlark", "maud"]),
    ("carriers", &["carriers", "domain"], &["poem", "apalis", "sqlx", "starlark", "maud"]),
    (
        "channels",
        &["carriers", "channels", "domain", "storage"],
        &["poem", "apalis", "sqlx", "reqwest", "starlark", "maud"],
    ),
    ("agents", &["agents", "domain", "outbound_http"], &["poem", "apalis", "sqlx", "maud"]),
    ("numbers", &["carriers", "domain", "failpoint", "numbers", "storage"], &["poem", "apalis", "starlark", "maud"]),
    (
        "jobs",
        &[
            "agents",
            "carriers",
            "channels",
            "config",
            "domain",
            "failpoint",
            "jobs",
            "numbers",
            "repeating",
            "secret",
            "storage",
            "telemetry",
        ],
        &["poem", "reqwest", "starlark", "maud"],
    ),
    ("http/console", &["domain", "http", "secret", "storage"], &["apalis", "reqwest", "starlark"]),
    (
        "http",
        &[
            "agents",
            "carriers",
            "channels",
            "domain",
            "http",
            "jobs",
            "numbers",
            "outbound_http",
            "repeating",
            "secret",
            "storage",
            "telemetry",
        ],
        &["apalis", "reqwest", "starlark"],
    ),
    ("dev", &["dev", "secret", "storage"], &["poem", "apalis", "starlark"]),
];

#[test]
fn modules_import_one_way_only() {
    for (path, text) in files("src", "rs") {
        let inside = |folder: &str| path.starts_with(&format!("src/{folder}/"));
        let Some((folder, own, foreign)) = LAYERS.iter().find(|(folder, _, _)| inside(folder)) else { continue };
        for (n, line) in text.lines().enumerate() {
            let position = format!("{path}:{}: {line}", n + 1);
            for used in line.split("crate::").skip(1) {
                let module: String =
                    used.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
                assert!(!used.starts_with('{'), "name the modules one by one: {position}");
                assert!(own.contains(&module.as_str()), "{folder} does not use {module}: {position}");
            }
            for name in *foreign {
                let used = line.contains(&format!("{name}::")) || line.contains(&format!("use {name}"));
                assert!(!used, "{folder} does not use {name}: {position}");
            }
        }
    }
}

#[test]
fn only_the_runtime_of_jobs_uses_apalis() {
    for (path, text) in files("src", "rs") {
        if !path.starts_with("src/jobs/runtime/") {
            assert!(!text.lines().any(|line| line.contains("apalis::") || line.contains("apalis_core::")), "{path}");
        }
    }
}

/// What Twilio's requests, answers and documents call things.
const WORDS_OF_TWILIO: [&str; 30] = [
    "AccountSid",
    "ApiVersion",
    "AvailablePhoneNumbers",
    "BrandRegistrations",
    "CallSid",
    "IncomingPhoneNumbers",
    "MediaContentType",
    "MediaUrl",
    "MessageSid",
    "MessagingServiceSid",
    "NumMedia",
    "OptOutType",
    "PageSize",
    "PhoneNumberSid",
    "SmsApplicationSid",
    "SmsFallbackUrl",
    "SmsMessageSid",
    "SmsMethod",
    "SmsSid",
    "SmsStatus",
    "SmsUrl",
    "StatusCallback",
    "TWILIO_APPROVED",
    "TwiML",
    "Usa2p",
    "X-Twilio",
    "#rc=",
    "<Response/>",
    "partially_delivered",
    "undelivered",
];

/// Where a carrier's words may stand: in its folder, and where its settings are explained.
const PATHS_OF_TWILIO: [&str; 3] = ["src/carriers/twilio/", "src/config.rs", "src/cli/doctor/"];

/// The part of a line before a comment.
fn code_of<'a>(line: &'a str, comment: &str) -> &'a str {
    // An address has two slashes too.
    let begins = line.match_indices(comment).map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
    begins.map_or(line, |at| &line[..at])
}

#[test]
fn a_carriers_words_stay_in_its_folder() {
    let collected = include_str!("../fixtures/twilio-error-codes.json");
    let collected: serde_json::Value = serde_json::from_str(collected).expect("JSON");
    let codes: Vec<String> =
        collected["codes"].as_array().expect("codes").iter().map(|entry| entry["code"].to_string()).collect();
    assert!(codes.len() > 60, "{}", codes.len());
    let sources = [("src", "rs", "//"), ("sql", "sql", "--"), ("migrations", "sql", "--")];
    for (folder, ending, comment) in sources {
        for (path, text) in files(folder, ending) {
            if PATHS_OF_TWILIO.iter().any(|allowed| path.starts_with(allowed)) {
                continue;
            }
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (n, line) in text.lines().enumerate() {
                let position = format!("{path}:{}: {line}", n + 1);
                for word in WORDS_OF_TWILIO {
                    assert!(!line.contains(word), "{word} is Twilio's: {position}");
                }
                for word in code_of(line, comment).split(|letter: char| !letter.is_ascii_alphanumeric()) {
                    assert!(!codes.iter().any(|code| code == word), "{word} is a code of Twilio's: {position}");
                }
                let names_it = line.contains("carriers::twilio");
                assert!(!names_it || path.starts_with("src/cli/"), "only the commands choose a carrier: {position}");
            }
        }
    }
}

/// Where the word of a channel may stand.
struct ChannelWord {
    channel: Channel,
    /// The files and folders that may have the word.
    paths: &'static [&'static str],
    /// The names with the word that may stand everywhere. A name comes after the names that it
    /// contains.
    names: &'static [&'static str],
}

/// One row for each channel that the product has. The paths are the folder of the channel; the enum
/// of channels and the registry; where a carrier tells or is asked what a number can do; addresses
/// of examples and tests. The names are those that the API, the functions of agents and the table
/// of countries have.
const CHANNEL_WORDS: [ChannelWord; 1] = [ChannelWord {
    channel: Channel::Sms,
    paths: &[
        "src/channels/",
        "src/domain/session.rs",
        "src/carriers/",
        "src/numbers/attempt.rs",
        "src/http/api/available_numbers.rs",
        "src/config.rs",
        "src/agents/script/error_tests.rs",
        "src/agents/script/saved_tests.rs",
        "src/agents/script/tests.rs",
        "src/agents/script/tool_tests.rs",
    ],
    names: &[
        "send_sms",
        "send_sms_template",
        "number_without_sms",
        "country_without_sms",
        "without_sms",
        "sms_country",
        "sms_country_pk",
        "sms.example.com",
        "sms_country_is_iso_3166",
    ],
}];

#[test]
fn each_channel_of_the_product_has_a_row_for_its_word() {
    for kind in Channel::ALL.iter().filter(|kind| Channels::default().get(**kind).is_some()) {
        let rows = CHANNEL_WORDS.iter().filter(|row| row.channel == *kind).count();
        assert_eq!(rows, 1, "CHANNEL_WORDS has {rows} rows for {kind}");
    }
}

#[test]
fn the_word_of_a_channel_stays_in_its_folder() {
    let code = |(path, text): (String, String)| {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        (path, source::rust(&code))
    };
    let sql_files = files("sql", "sql");
    let sql = sql_files.iter().map(|(path, text)| (path.clone(), source::sql(text)));
    let sources: Vec<_> = files("src", "rs").into_iter().map(code).chain(sql).collect();
    let mut found = Vec::new();
    for ChannelWord { channel, paths, names } in CHANNEL_WORDS {
        let word = channel.as_str();
        for (path, tokens) in sources.iter().filter(|(path, _)| !paths.iter().any(|allowed| path.starts_with(allowed)))
        {
            for token in tokens {
                let (source::Kind::Name(text) | source::Kind::Text(text)) = &token.kind else { continue };
                let rest = names.iter().rev().fold(text.to_lowercase(), |text, name| text.replace(name, ""));
                if rest.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|part| part == word) {
                    found.push(format!("{path}:{}: {text}", token.line));
                }
            }
        }
        // SQL's own texts are no names.
        for (path, text) in &sql_files {
            let code: Vec<&str> = text.lines().map(|line| code_of(line, "--")).collect();
            if code.join("\n").contains(&format!("'{word}'")) {
                found.push(path.clone());
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_statement_is_used_by_storage() {
    let sources = files("src", "rs");
    // build.rs embeds the functions, the views, the reports and the comments.
    let is_embedded = |path: &str| {
        ["functions", "reporting", "reports", "comments"]
            .iter()
            .any(|folder| path.starts_with(&format!("sql/{folder}/")))
    };
    for (path, _) in files("sql", "sql").into_iter().filter(|(path, _)| !is_embedded(path)) {
        // Invariants are listed by their bare names.
        let path = path.strip_prefix("sql/invariants/").map_or(path.clone(), |name| name.replace(".sql", "\""));
        let users: Vec<&str> =
            sources.iter().filter(|(_, text)| text.contains(&path)).map(|(user, _)| user.as_str()).collect();
        assert!(!users.is_empty(), "{path} is used nowhere");
        assert!(users.iter().all(|user| user.starts_with("src/storage/")), "{path} is used by {users:?}");
    }
}

/// Each function of SQL, with its file, and with its statement down to `end $$;`, or to the end of
/// a file without it.
fn functions() -> Vec<(String, String, String)> {
    let parse = |(path, text): (String, String)| {
        let (_, statement) = text.split_once("create or replace function ").expect("a function");
        let (name, _) = statement.split_once('(').expect("its parameters");
        let body = statement.split_once("\nend $$;\n").map_or(statement, |(body, _)| body);
        (path, name.to_owned(), body.to_owned())
    };
    files("sql/functions", "sql").into_iter().map(parse).collect()
}

/// Kinds of jobs whose rows are never set aside, and of which nobody is told when they are due and
/// not claimed. The rollups have one row, which says how far they are: `textback doctor` and a
/// metric tell how late that is.
const NOT_SET_ASIDE: &[JobKind] = &[JobKind::Rollup];

/// The files that list the kinds of jobs, and the kinds that each leaves out.
const LISTS_OF_KINDS: [(&str, &[JobKind]); 6] = [
    ("sql/functions/set_aside/due_rows.sql", NOT_SET_ASIDE),
    ("sql/functions/set_aside/end_work.sql", NOT_SET_ASIDE),
    ("sql/functions/set_aside/set_aside.sql", NOT_SET_ASIDE),
    ("sql/queries/health/unclaimed.sql", NOT_SET_ASIDE),
    ("sql/queries/metric_sample/count_queues.sql", &[]),
    // The view has rows of projects, and the rollups belong to none.
    ("sql/reporting/jobs_v1.sql", &[JobKind::Rollup]),
];

#[test]
fn each_kind_of_job_is_listed_where_its_rows_are_found_counted_and_set_aside() {
    for (path, left_out) in LISTS_OF_KINDS {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
        for kind in JobKind::ALL {
            let is_listed = text.contains(&format!("'{kind}'"));
            assert_eq!(is_listed, !left_out.contains(kind), "{path} lists {kind}: {is_listed}");
        }
    }
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

#[test]
fn no_function_of_sql_is_longer_than_seventy_lines() {
    for (path, _, body) in functions() {
        let lines = body.lines().count() + 1;
        assert!(lines <= 70, "{path} has {lines} lines");
    }
}

/// A rule in a migration could only be changed by another migration.
#[test]
fn migrations_have_no_functions() {
    for (path, text) in files("migrations", "sql") {
        for line in text.lines().filter(|line| line.starts_with("create")) {
            let is_rule = ["function", "trigger", "view"].iter().any(|kind| line.split(' ').any(|word| word == *kind));
            assert!(!is_rule, "{path}: {line}");
        }
    }
}

#[test]
fn sql_stands_in_sql_files() {
    for (path, text) in files("src", "rs") {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (n, line) in code.lines().enumerate() {
            let has_sql = ["query(\"", "query_as(\"", "query_scalar(\""].iter().any(|call| line.contains(call));
            assert!(!has_sql, "{path}:{}: {line}", n + 1);
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
fn no_comment_is_wider_than_a_hundred_columns() {
    let mut wide = Vec::new();
    for (folder, ending, marks) in [
        ("src", "rs", "//"),
        ("crates", "rs", "//"),
        ("tests", "rs", "//"),
        ("benches", "rs", "//"),
        ("migrations", "sql", "--"),
        ("sql", "sql", "--"),
        ("benches", "sql", "--"),
    ] {
        // The lines at the head of a report are its title and the meanings of its columns.
        for (path, text) in files(folder, ending).into_iter().filter(|(path, _)| !path.starts_with("sql/reports/")) {
            let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(marks));
            // An address or a list without blanks can't be broken.
            let breakable = comments.filter(|(_, line)| line.split_whitespace().all(|word| word.chars().count() < 80));
            wide.extend(
                breakable.filter(|(_, line)| line.chars().count() > 100).map(|(n, _)| format!("{path}:{}", n + 1)),
            );
        }
    }
    assert!(wide.is_empty(), "comments wider than 100 columns: {wide:#?}");
}

/// Functions over 70 lines, with their lengths. The list only shrinks: a function on it may not
/// grow, and one that fits is removed.
const LONG_RUST_FUNCTIONS: [(&str, &str, usize); 1] = [("src/http/api/project.rs", "change", 76)];

#[test]
fn no_function_of_rust_is_longer_than_seventy_lines() {
    let mut all = files("src", "rs");
    if Path::new(env!("CARGO_MANIFEST_DIR")).join("crates").exists() {
        all.extend(files("crates", "rs"));
    }
    let mut long = Vec::new();
    for (path, text) in &all {
        for source::Function { name, line, lines } in source::functions(text).into_iter().filter(|one| one.lines > 70) {
            let known = LONG_RUST_FUNCTIONS.iter().find(|(file, function, _)| path == file && name == *function);
            if known.is_none_or(|(_, _, most)| lines > *most) {
                long.push(format!("{path}:{line}: {name} has {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_module_and_statement_has_a_heading() {
    for (path, text) in ["src", "crates", "tests"].into_iter().flat_map(|folder| files(folder, "rs")) {
        assert!(text.starts_with("//!"), "{path} does not begin with a heading");
    }
    // A file of sql/comments begins with the comment on its table.
    let sql = files("sql", "sql").into_iter().filter(|(path, _)| !path.starts_with("sql/comments/"));
    for (path, text) in sql.chain(files("migrations", "sql")) {
        assert!(text.starts_with("--"), "{path} does not begin with a heading");
    }
}

/// The crates that are of use without the product. `crates/query-descriptions` builds the product's
/// statements.
const INDEPENDENT_CRATES: [&str; 2] = ["crates/dev-postgres", "crates/twilio-simulator"];

/// They are of use to others too, so their code, manifests and pages do not name the product.
#[test]
fn the_independent_crates_know_nothing_of_textback() {
    for folder in INDEPENDENT_CRATES {
        let code = files(folder, "rs").into_iter().chain(files(folder, "toml")).chain(files(folder, "md"));
        for (path, text) in code {
            assert!(!text.to_lowercase().contains("textback"), "{path} names textback");
        }
    }
}
