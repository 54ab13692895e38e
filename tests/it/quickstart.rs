//! Tests the pages that newcomers follow: each command in a `console` block prints what the page
//! shows, and each agent in the guides can be created as it stands.

use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::{printed, textback};
use crate::dev::{Dev, data_folder};
use crate::harness::{ACCOUNT_SID, NUMBER, TestApp};
use crate::tidy::files;

/// The blocks of a page: what stands before each, its language, and its text.
fn blocks(page: &str) -> Vec<(&str, &str, &str)> {
    let parts: Vec<&str> = page.split("```").collect();
    assert!(parts.len() % 2 == 1, "each block ends");
    parts
        .chunks_exact(2)
        .map(|part| {
            let (language, text) = part[1].split_once('\n').expect("a language");
            (part[0], language.trim(), text)
        })
        .collect()
}

/// The commands of a block with what they print.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("{line} is printed by no command"),
        }
    }
    found
}

/// A text with each UUID replaced.
fn without_ids(text: &str) -> String {
    let is_of_id = |letter: char| letter.is_ascii_hexdigit() || letter == '-';
    let word = |word: &str| {
        let bare = word.trim_end_matches(|letter| !is_of_id(letter));
        if uuid::Uuid::parse_str(bare).is_ok() { word.replace(bare, "<id>") } else { word.to_owned() }
    };
    text.split_inclusive(|letter| !is_of_id(letter)).map(word).collect()
}

/// The pages with blocks of commands, in the order in which they run. `API` and `AUTH` are set as
/// the pages set them.
fn pages_with_commands() -> Vec<(String, String)> {
    let (first, mut pages): (Vec<_>, Vec<_>) =
        files("docs", "md").into_iter().partition(|(path, _)| path == "docs/quickstart.md");
    pages.retain(|(_, page)| page.contains("\n```console\n"));
    first.into_iter().chain(pages).collect()
}

/// A shell in the folder of a clone, beside a `textback dev`.
fn shell(here: &Path, dev: &Dev, command: &str) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    for (name, value) in textback().get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.args(["-c", command]).current_dir(here).stdin(Stdio::null());
    shell.env("TEXTBACK_SIMULATOR_URL", dev.simulator()).env("TEXTBACK_DATA_DIR", &dev.folder);
    shell
        .env("API", dev.console.replace("/console", "/v1"))
        .env("AUTH", format!("Authorization: Bearer {}", dev.key()));
    shell.env("JSON", "Content-Type: application/json").env("RUST_LOG", "warn").env("NO_PROXY", "*");
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_of_the_guides_prints_what_the_page_shows() {
    let folder = data_folder("quickstart");
    let dev = Dev::start(&folder.join("data"));
    let here = folder.join("clone");
    std::fs::create_dir_all(here.join("target/debug")).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_textback"), here.join("target/debug/textback")).expect("a link");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    std::os::unix::fs::symlink(examples, here.join("examples")).expect("a link");
    let mut ran = 0;
    for (path, page) in pages_with_commands() {
        for (before, language, text) in blocks(&page) {
            if language == "python"
                && let Some((_, name)) = before.rsplit_once("Save this as `")
            {
                std::fs::write(here.join(name.split('`').next().expect("a name")), text).expect("saved");
            }
            for (command, expected) in commands(if language == "console" { text } else { "" }) {
                let output = shell(&here, &dev, &command).output().expect("it runs");
                assert!(output.status.success(), "{path}, {command}: {}", printed(&output));
                assert_eq!(without_ids(&printed(&output)), without_ids(&expected), "{path}, {command}");
                ran += 1;
            }
        }
    }
    assert!(ran >= 12, "{ran} commands");
    drop(dev);
    let _ = std::fs::remove_dir_all(&folder);
}

fn is_agent(text: &str) -> bool {
    let names_a_kind = ["script", "http"].iter().any(|kind| text.contains(&format!("\"kind\": \"{kind}\"")));
    text.trim_start().starts_with("{\"") && names_a_kind
}

/// The JSON of a page that creates an agent: in blocks, and between backticks.
fn agents(page: &str) -> Vec<Value> {
    let in_blocks = blocks(page).into_iter().map(|(_, _, text)| text).collect::<Vec<_>>();
    let in_lines = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let json = in_blocks.into_iter().chain(in_lines).filter(|text| is_agent(text));
    json.map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_agent_in_the_guides_can_be_created_as_it_stands() {
    let app = TestApp::new().await;
    let mut created = 0;
    let mut pages = files("docs", "md");
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    pages.push(("README.md".to_owned(), std::fs::read_to_string(readme).expect("a page")));
    for (path, page) in pages {
        for agent in agents(&page) {
            let (status, answer) = app.call(&app.key, Method::POST, "/v1/agents", Some(agent.clone())).await;
            assert_eq!(status, 201, "{path}: {agent} {answer}");
            // The same from a file.
            let file = std::env::temp_dir().join(format!("textback-agent-{}-{created}.json", std::process::id()));
            std::fs::write(&file, agent.to_string()).expect("written");
            let mut command = app.command("agent", &app.secret_key);
            let command =
                command.args(["create", "--project", "tests", "--name", &format!("of file {created}")]).arg(&file);
            let output = crate::commands::run(command);
            assert!(output.status.success() && printed(&output).contains("is created"), "{}", printed(&output));
            std::fs::remove_file(&file).expect("removed");
            created += 1;
        }
    }
    assert!(created >= 1, "the guides show an agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_created_and_updated_from_a_shell_with_the_checks_of_the_api() {
    let app = TestApp::new().await;
    let folder = data_folder("agent-files");
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let agent = |verb: &str, file: &Path, more: &[&str]| {
        let mut command = app.command("agent", &app.secret_key);
        crate::commands::run(command.arg(verb).arg(file).args(["--project", "tests"]).args(more))
    };
    let script = file("support.star", "def reply(conv, text): return 'one'\n");
    let made = agent("create", &script, &["--number", NUMBER]);
    assert!(made.status.success() && printed(&made).contains("it answers"), "{}", printed(&made));
    let numbers = app.ok(Method::GET, "/v1/numbers", None).await;
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    assert_eq!(numbers["items"][0]["agent_id"], agents["items"][0]["id"]);
    assert_eq!(app.simulator.phone_numbers(), [NUMBER], "{ACCOUNT_SID}");

    let twice = agent("create", &script, &[]);
    assert!(!twice.status.success() && printed(&twice).contains("agent update"), "{}", printed(&twice));
    // The settings stay when the script changes.
    let id = agents["items"][0]["id"].as_str().expect("an id");
    let settings = json!({"kind": "script", "source": "def reply(conv, text): return 'two'", "greeting": "Hi", "error_message": ""});
    app.ok(Method::POST, &format!("/v1/agents/{id}/versions"), Some(settings)).await;
    let script = file("support.star", "def reply(conv, text): return 'three'\ndef end(conv): pass\n");
    let updated = agent("update", &script, &[]);
    assert!(printed(&updated).contains("has version 3"), "{}", printed(&updated));
    assert!(printed(&updated).contains("support.star:2:1: warning: end is not called"), "{}", printed(&updated));
    let current = app.ok(Method::GET, &format!("/v1/agents/{id}"), None).await;
    assert_eq!((&current["greeting"], &current["error_message"]), (&json!("Hi"), &json!("")));
    assert!(current["source"].as_str().is_some_and(|source| source.contains("three")));

    // What went wrong before is no setting, and keeps no repair away.
    app.sql("insert into agent_error (agent_id, project_id, at, code, message, session_id, version) select id, project_id, now(), 'failed', 'a fault', gen_random_uuid(), 3 from agent").await;
    let repaired = agent("update", &file("support.star", "def reply(conv, text): return 'four'\n"), &[]);
    assert!(printed(&repaired).contains("has version 4"), "{}", printed(&repaired));
    let tried = agent("update", &script, &["--env", "sandbox"]);
    assert!(printed(&tried).contains("version 5, which new sessions of sandbox run"), "{}", printed(&tried));
    assert_eq!(app.ok(Method::GET, &format!("/v1/agents/{id}"), None).await["version"], 4, "live is as it was");
    let unknown = agent("update", &script, &["--env", "prod"]);
    assert!(!unknown.status.success() && printed(&unknown).contains("sandbox"), "{}", printed(&unknown));

    for (name, text, why) in [
        ("wrong.star", "def reply(conv, text): return txt\n", "txt"),
        ("wrong.json", "{\"name\": \"a\", \"kind\": ", "not valid JSON"),
        ("list.json", "[]", "no JSON object"),
        (
            "field.json",
            "{\"name\": \"a\", \"kind\": \"http\", \"url\": \"https://a.example\", \"greting\": \"x\"}",
            "greting is not a known field; did you mean greeting?",
        ),
        ("kind.json", "{\"name\": \"a\", \"url\": \"https://a.example\"}", "kind is missing"),
        ("type.json", "{\"kind\": \"http\", \"url\": 7}", "url must be a string, not a number"),
        (
            "twice.json",
            "{\"kind\": \"http\", \"url\": \"https://a.example\", \"url\": \"https://b.example\"}",
            "url is given twice",
        ),
        ("agent.txt", "x", ".star"),
    ] {
        let refused = agent("create", &file(name, text), &[]);
        assert!(refused.status.code() == Some(1) && printed(&refused).contains(why), "{name}: {}", printed(&refused));
    }
    assert_eq!(app.count("select count(*) from agent").await, 1, "what was refused made no agent");
    // Editors of Windows write a byte order mark, and lines that end with CR LF.
    let script = file("windows.STAR", "\u{feff}def reply(conv, text):\r\n    return text\r\n");
    let made = agent("create", &script, &[]);
    assert!(made.status.success(), "{}", printed(&made));
    let unknown = agent("update", &file("unknown.star", "def reply(conv, text): return ''\n"), &[]);
    assert!(printed(&unknown).contains("no agent called unknown"), "{}", printed(&unknown));
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_can_not_be_attached_is_refused_before_an_agent_is_made_for_it() {
    let app = TestApp::new().await;
    let script = std::env::temp_dir().join(format!("textback-support-{}.star", std::process::id()));
    std::fs::write(&script, "def reply(conv, text): return text\n").expect("written");
    let agent = |verb: &str, number: &str| {
        let mut command = app.command("agent", &app.secret_key);
        crate::commands::run(command.arg(verb).arg(&script).args([
            "--project",
            "tests",
            "--name",
            "a",
            "--number",
            number,
        ]))
    };
    for verb in ["create", "update"] {
        for (number, why) in [
            ("4155550199", "is neither in E.164 nor a short code"),
            ("+14155550177", "does not own +14155550177"),
            ("+5355501234", "has no texts in both directions"),
        ] {
            let refused = agent(verb, number);
            let told = printed(&refused);
            assert!(!refused.status.success() && told.contains("nothing was changed") && told.contains(why), "{told}");
        }
        let versions = if verb == "create" { 0 } else { 1 };
        assert_eq!(app.count("select count(*) from agent_version").await, versions, "{verb} made nothing");
        assert!(agent(verb, NUMBER).status.success(), "{verb}");
    }
    std::fs::remove_file(&script).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_a_project_stores_nothing_with_a_wrong_key_and_asks_which_project_is_meant() {
    let app = TestApp::new().await;
    let service = std::env::temp_dir().join(format!("textback-service-{}.json", std::process::id()));
    std::fs::write(&service, json!({"kind": "http", "url": "https://agent.example.com/"}).to_string())
        .expect("written");
    let create = |key: &str| {
        let mut command = app.command("agent", key);
        crate::commands::run(command.arg("create").arg(&service).args(["--project", "tests"]))
    };
    let wrong = create(&textback::secret::SecretKeys::draw().1);
    assert!(!wrong.status.success() && printed(&wrong).contains("TEXTBACK_SECRET_KEY"), "{}", printed(&wrong));
    assert_eq!(app.count("select count(*) from agent").await, 0);

    let namesake = crate::commands::run(app.command("project", &app.secret_key).args(["create", "tests"]));
    let told = printed(&namesake);
    assert!(namesake.status.success() && told.contains("another project has the same name"), "{told}");
    let which = create(&app.secret_key);
    assert!(!which.status.success() && printed(&which).contains("several projects are called"), "{}", printed(&which));
    assert_eq!(app.count("select count(*) from agent").await, 0);
    std::fs::remove_file(&service).expect("removed");
}
