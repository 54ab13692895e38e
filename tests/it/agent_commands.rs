//! Tests the commands for the author of an agent: `textback agent new`, `check`, `chat`, `test` and
//! `push`, and the agent of a folder in `textback dev`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::{Running, printed, run, textback};
use crate::dev::{Dev, data_folder};
use crate::harness::{ADA, NUMBER, TestApp};
use crate::llm_agents::{Model, calls, says};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        // Tests run at the same time, and some share a name.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = data_folder(&format!("author-{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// Writes a file of an agent in this folder.
    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn agent(verb: &str, path: &Path) -> Command {
    let mut command = textback();
    command.env("RUST_LOG", "off").args(["agent", verb]).arg(path);
    command
}

/// The exit code of a command, and all that it printed.
fn told(command: &mut Command) -> (Option<i32>, String) {
    let output = run(command);
    (output.status.code(), printed(&output))
}

/// What a conversation prints when these lines are typed.
fn chat(path: &Path, lines: &str, options: &[&str]) -> String {
    let mut child = agent("chat", path).args(options).stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("typed");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    printed(&output)
}

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/agents")
}

/// A service in Python in a folder, and its port.
fn service(folder: &Path) -> (Running, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
    let mut python = Command::new("python3");
    python.arg("service.py").args(["--port", &port.to_string()]).current_dir(folder).stdout(Stdio::piped());
    let mut running = Running::start(&mut python, true);
    running.until("listening");
    (running, port)
}

#[test]
fn what_new_writes_passes_its_own_check_and_tests() {
    let folder = Folder::new("new");
    for kind in ["script", "http", "llm"] {
        let path = folder.0.join(format!("my {kind} agent"));
        let (code, text) = told(agent("new", &path).args(["--kind", kind]));
        assert!(code == Some(0) && text.contains("agent chat") && text.contains("agent.yaml"), "{text}");
        let readme = std::fs::read_to_string(path.join("README.md")).expect("a page about it");
        assert!(readme.starts_with(&format!("# my {kind} agent\n")), "{readme}");
        let service = (kind == "http").then(|| service(&path));
        if let Some((_, port)) = &service {
            let file = path.join("agent.yaml");
            let yaml = std::fs::read_to_string(&file).expect("read").replace(":9000", &format!(":{port}"));
            std::fs::write(&file, yaml).expect("written");
        }
        let (code, text) = told(&mut agent("check", &path));
        assert!(code == Some(0) && text.contains("the agent can be used"), "{text}");
        let (code, text) = told(&mut agent("test", &path));
        assert!(code == Some(0) && text.contains("2 passed, 0 failed"), "{text}");
        let (code, text) = told(agent("new", &path).args(["--kind", kind]));
        assert!(code == Some(1) && text.contains("is not empty"), "{text}");
    }
    let file = folder.write("file", "");
    assert!(told(&mut agent("new", &file)).1.contains("is a file"));
    assert!(told(agent("new", &folder.0.join("x")).args(["--kind", "robot"])).1.contains("script, http, llm"));
}

/// A model's agent without a fault, and its script.
const DESK: &str =
    "name: desk\nkind: llm\nllm:\n  base_url: https://models.example.com/v1\n  model: small\n  tools: [hours]\n";
const HOURS: &str = "def hours(conv, day: str):\n    \"Tells the hours of a day.\"\n    return \"9 to 17 on \" + day\n";
const PROMPT: &str = "You answer.\n{{ conv.state.name }}\n";

/// Checks a folder with these files. A line without `error` is told of an agent that can be used.
fn assert_checked(yaml: &str, script: &str, prompt: &str, line: &str) {
    let folder = Folder::new("check");
    folder.write("agent.yaml", yaml);
    folder.write("agent.star", script);
    folder.write("prompt.md", prompt);
    let (code, text) = told(&mut agent("check", &folder.0));
    assert!(text.contains(line), "{line} {yaml}: {text}");
    assert_eq!(code == Some(0), !line.contains("error"), "{text}");
}

#[test]
fn check_tells_the_faults_of_settings_with_their_lines() {
    assert_checked(DESK, HOURS, PROMPT, "the agent can be used");
    for (before, after, line) in [
        (
            "kind: llm\n",
            "kind: llm\ngreting: Hi\n",
            "agent.yaml:3:1: error: greting is not a known field; did you mean greeting?",
        ),
        ("small", "small\n  max_round: 3", "agent.yaml:6:3: error: llm.max_round is not a known field"),
        ("small", "small\n  max_rounds: 99", "agent.yaml:6:3: error: llm.max_rounds must be 1 to 20"),
        (
            "https://models.example.com",
            "http://10.0.0.7",
            "agent.yaml:4:3: error: llm.base_url can't be used: 10.0.0.7 is not a public address",
        ),
        ("https://models.example.com", "https://169.254.169.254", "agent.yaml:4:3: error: llm.base_url can't be used"),
        (
            "https://models.example.com",
            "http://127.0.0.1:1",
            "agent.yaml:4:3: warning: textback dev can use llm.base_url",
        ),
        ("small", "small\n  api_key: sk-1", "agent.yaml:6:3: warning: llm.api_key is a secret"),
        ("small", "small\n  prompt: Hi", "agent.yaml:6:3: error: llm.prompt is given here and in prompt.md"),
        ("model: small", "model: 5", "agent.yaml:5:3: error: llm.model must be a string, not a number"),
        ("small", "[small", "error: this is no YAML"),
        ("[hours]\n", "[hours]\nname: twice\n", "agent.yaml:7:1: error: name is given twice"),
    ] {
        assert_checked(&DESK.replace(before, after), HOURS, PROMPT, line);
    }
}

#[test]
fn check_tells_the_faults_of_scripts_and_prompts_with_their_files() {
    let untyped = "def hours(conv, day):\n    \"Tells.\"\n    return day\n";
    for (yaml, script, prompt, line) in [
        (DESK.replace("[hours]", "[hour]"), HOURS, PROMPT, "agent.star: error: "),
        (DESK.to_owned(), untyped, PROMPT, "agent.star:1:17: error: "),
        (DESK.to_owned(), "def hours(conv):\n    \"Tells.\"\n    return our\n", PROMPT, "agent.star:3:12: error: "),
        (
            DESK.to_owned(),
            HOURS,
            "You.\n{{ conv.sate }}\n",
            "prompt.md:2:1: error: llm.prompt can't be used: conv has no sate here; did you mean state?",
        ),
        (DESK.to_owned(), HOURS, "You.\n{{ conv.state.name\n", "prompt.md:2:1: error: llm.prompt can't be used"),
        (DESK.replace("kind: llm", "kind: script"), HOURS, PROMPT, "error: "),
    ] {
        assert_checked(&yaml, script, prompt, line);
    }
}

#[test]
fn check_takes_files_and_folders_of_all_kinds() {
    let folder = Folder::new("kinds");
    let http = folder.write("service.json", r#"{"kind": "http", "url": "https://agent.example.com/texts"}"#);
    let near = folder.write("near.yaml", "kind: http\nurl: http://127.0.0.1:9000/\n");
    let script = folder.write("only/agent.star", "def reply(conv, text): return text\n");
    let empty = folder.0.join("empty");
    std::fs::create_dir_all(&empty).expect("a folder");
    for (path, code, line) in [
        (http.as_path(), 0, "service.json: the agent can be used"),
        (near.as_path(), 0, "near.yaml:2:1: warning: textback dev can use url, and textback serve can't"),
        (script.as_path(), 0, "agent.star: the script can be used"),
        (script.parent().expect("a folder"), 0, "the agent can be used"),
        (empty.as_path(), 1, "this folder has no agent.yaml; textback agent new DIR writes one"),
        (Path::new("/dev/null"), 1, "neither a folder, nor does it end with .star"),
        (folder.0.join("gone.star").as_path(), 1, "this can't be read"),
    ] {
        let (found, text) = told(&mut agent("check", path));
        assert!(found == Some(code) && text.contains(line), "{}: {text}", path.display());
    }
}

#[test]
fn a_chat_shows_answers_tool_calls_and_changes_of_the_state() {
    let said = chat(&examples().join("clinic"), "Monday please\n11:30\nSTOP\nbye\nnot read\n", &[]);
    for line in [
        "a scripted model answers by the rules in",
        "  · free_slots(day=\"monday\") → [\"9:00\",\"11:30\",\"15:00\"]\n",
        "< On Monday I have [\"9:00\",\"11:30\",\"15:00\"]. Which one suits you?\n  · 1 segment\n",
        "  · state.appointment = {\"day\":\"monday\",\"time\":\"11:30\"}\n",
        "< You're booked for Monday at 11:30. Text CHANGE to move it.\n",
        "textback acts on this keyword itself",
        "< Take care!\n",
        "the agent ended the conversation\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // The demo greets in text messages alone.
    for (channel, first) in
        [("sms", "< Hi, you've reached textback. What's your name?\n"), ("webchat", "< Nice to meet you, hi.")]
    {
        let quiet = chat(&examples().join("demo.star"), "hi\n", &["--quiet", "--channel", channel]);
        assert!(quiet.starts_with(first) && quiet.lines().count() == 1, "{channel}: {quiet}");
    }
    let (code, text) = told(agent("chat", &examples().join("demo.star")).args(["--channel", "fax"]));
    assert!(code == Some(2) && text.contains("webchat"), "{text}");
}

#[test]
fn an_agent_that_fails_in_a_chat_says_why() {
    let folder = Folder::new("fails");
    let script = folder
        .write("agent.star", "def reply(conv, text):\n    conv.state.n = int(text)\n    return str(conv.state.n)\n");
    let said = chat(&script, "five\n5\n", &[]);
    assert!(said.contains("  ! the agent failed: ") && said.contains("line 2"), "{said}");
    assert!(said.contains("< Sorry, something went wrong on our side.") && said.contains("< 5\n"), "{said}");
}

#[test]
fn a_file_that_is_saved_answers_the_next_text_of_a_chat() {
    let folder = Folder::new("reload");
    let script = folder.write("agent.star", "def reply(conv, text):\n    conv.state.n = 1\n    return 'one'\n");
    let mut chat = agent("chat", &script);
    let mut child = chat.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut typed = child.stdin.take().expect("piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let mut until = |text: &str| {
        let found = lines.by_ref().map_while(Result::ok).find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("it ended without {text}"))
    };
    typed.write_all(b"hi\n").expect("typed");
    until("< one");
    folder.write("agent.star", "def reply(conv, text): return 'two, after ' + str(conv.state.n)\n");
    typed.write_all(b"hi\n").expect("typed");
    until("the agent was loaded again");
    until("< two, after 1");
    folder.write("agent.star", "def reply(conv, text): return thre\n");
    typed.write_all(b"hi\n").expect("typed");
    until("agent.star:1:31: error");
    until("< two, after 1");
    drop(typed);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn the_examples_pass_their_tests() {
    for (name, count) in [("clinic", 5), ("faq", 4)] {
        let path = examples().join(name);
        let (code, text) = told(&mut agent("check", &path));
        assert!(code == Some(0) && !text.contains("warning"), "{text}");
        let (code, text) = told(&mut agent("test", &path));
        assert!(code == Some(0) && text.contains(&format!("{count} passed, 0 failed")), "{text}");
    }
    let (_running, port) = service(&examples().join("order_status"));
    let folder = Folder::new("orders");
    let yaml = std::fs::read_to_string(examples().join("order_status/agent.yaml")).expect("read");
    folder.write("agent.yaml", &yaml.replace(":9000", &format!(":{port}")));
    let (code, text) = told(agent("test", &folder.0).arg("--tests").arg(examples().join("order_status/tests")));
    assert!(code == Some(0) && text.contains("2 passed, 0 failed"), "{text}");
}

#[test]
fn a_failed_expectation_is_told_with_what_came_instead() {
    let folder = Folder::new("failing");
    folder.write(
        "agent.star",
        "def reply(conv, text):\n    return {'utterance': 'Hi ' + text, 'hangup': text == 'bye'}\n",
    );
    folder.write(
        "tests/one.yaml",
        "name: greets\nrepeat: 2\nturns:\n  - user: Ada\n    expect: {contains: Hi Ada, not_contains: Ada}\n",
    );
    folder.write("tests/two.yaml", "name: ends\nturns:\n  - user: bye\n    expect: {hangup: true}\n  - user: again\n");
    let (code, text) = told(&mut agent("test", &folder.0));
    assert_eq!(code, Some(1), "{text}");
    for line in [
        "FAIL  greets (2 runs)",
        "one.yaml:4: turn 1 of run 2, after \"Ada\"\n        expected: not_contains \"Ada\"\n        got:      \"Hi Ada\"",
        "two.yaml:5: turn 2, after \"again\"\n        expected: the conversation goes on",
        "0 passed, 2 failed",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let output = run(agent("test", &folder.0).arg("--json"));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["failed"], &report["scenarios"][0]["failures"][1]["run"]), (&json!(2), &json!(2)));

    folder.write("tests/two.yaml", "name: ends\nturns:\n  - user: bye\n    expects: {hangup: true}\n");
    let (code, text) = told(&mut agent("test", &folder.0));
    let unknown = "two.yaml:4:5: error: expects is not known in a turn; did you mean expect?";
    assert!(code == Some(1) && text.contains(unknown), "{text}");
    let (code, text) = told(agent("test", &folder.0).arg("--tests").arg(folder.0.join("none.yaml")));
    assert!(code == Some(1) && text.contains("this can't be read"), "{text}");
}

/// A model that is called, and an agent of a folder that may call it.
async fn recorded(name: &str) -> (Folder, Model) {
    let model = Model::with(vec![calls(&[("hours", json!({"day": "monday"}))]), says("From 9 to 17.")]).await;
    let folder = Folder::new(name);
    folder.write("agent.yaml", "kind: llm\nfirst_message: process\nllm:\n  base_url: https://models.example.com/v1\n  model: small\n  tools: [hours]\n");
    folder
        .write("agent.star", "def hours(conv, day: str):\n    \"Tells the hours of a day.\"\n    return \"9 to 17\"\n");
    folder.write("prompt.md", "You answer in session {{ conv.id }}.\n");
    folder.write(
        "tests/hours.yaml",
        "name: tells the hours\nturns:\n  - user: When are you open?\n    expect: {contains: From 9, tool: {name: hours, args: {day: monday}}}\n",
    );
    (folder, model)
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_take_the_models_part() {
    let (folder, model) = recorded("recorded").await;
    let kept = folder.0.join("recorded");
    let mut recording = agent("test", &folder.0);
    recording.arg("--record").arg(&kept).env("TEXTBACK_LLM_URL", model.base_url()).env("TEXTBACK_LLM_KEY", "sk-test-9");
    let (code, text) = told(&mut recording);
    assert!(code == Some(0) && text.contains("1 passed"), "{text}");
    assert_eq!(model.requests().await.len(), 2);
    let answers = std::fs::read_to_string(kept.join("answers.json")).expect("recorded");
    assert!(answers.contains("When are you open?") && !answers.contains("sk-test-9"), "{answers}");

    let (code, text) = told(agent("test", &folder.0).arg("--replay").arg(&kept));
    assert!(code == Some(0) && text.contains("1 passed"), "{text}");
    assert_eq!(model.requests().await.len(), 2, "no request was made");
    folder.write("prompt.md", "You answer otherwise.\n");
    let (code, text) = told(agent("test", &folder.0).arg("--replay").arg(kept.join("answers.json")));
    assert!(code == Some(1) && text.contains("record again with --record"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_pushed_with_its_prompt_its_tools_and_its_key() {
    let (folder, model) = recorded("pushed").await;
    let app = TestApp::new().await;
    let push = |more: &[&str]| {
        let mut command = app.command("agent", &app.secret_key);
        command.arg("push").arg(&folder.0).args(["--project", "tests", "--name", "desk"]).args(more);
        told(command.env("TEXTBACK_LLM_KEY", "sk-test-9").env("TEXTBACK_ALLOW_HOSTS", "127.0.0.0/8"))
    };
    let yaml = std::fs::read_to_string(folder.0.join("agent.yaml")).expect("read");
    folder.write("agent.yaml", &yaml.replace("https://models.example.com/v1", &model.base_url()));
    let (code, text) = push(&["--number", NUMBER]);
    assert!(code == Some(0) && text.contains("agent desk is created") && text.contains("it answers"), "{text}");
    assert_eq!(app.answers(ADA, "When are you open?").await, ["From 9 to 17."]);

    folder.write("prompt.md", "You answer for Acme.\n");
    let (code, text) = push(&[]);
    assert!(code == Some(0) && text.contains("agent desk has version 2"), "{text}");
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    let current =
        app.ok(Method::GET, &format!("/v1/agents/{}", agents["items"][0]["id"].as_str().expect("an id")), None).await;
    assert_eq!(
        (&current["llm"]["prompt"], &current["llm"]["tools"]),
        (&json!("You answer for Acme.\n"), &json!(["hours"]))
    );

    folder.write("prompt.md", "{{ conv.sate }}\n");
    let (code, text) = push(&[]);
    assert!(code == Some(1) && text.contains("prompt.md:1:1: error: llm.prompt can't be used"), "{text}");
    assert_eq!(app.count("select count(*) from agent_version").await, 2);
}

#[test]
fn what_is_saved_in_the_folder_answers_the_next_text_in_dev() {
    let folder = Folder::new("live");
    folder.write("agent.yaml", "name: live\nkind: llm\nfirst_message: process\nllm:\n  base_url: https://models.example.com/v1\n  model: small\n");
    folder.write("prompt.md", "You answer.\n");
    folder.write("model.yaml", "- say: one\n");
    let data = data_folder("live-data");
    let mut dev = Dev::start_with(&data, &["--agent", folder.0.to_str().expect("a path")]);
    let send = |simulator: &str| {
        let mut command = textback();
        command.args(["simulate", "send", "--from", ADA, "--to", NUMBER, "hi", "--simulator-url", simulator]);
        String::from_utf8_lossy(&run(&mut command).stdout).into_owned()
    };
    assert_eq!(send(dev.simulator()), "one\n");
    folder.write("model.yaml", "- say: two, with other rules\n");
    dev.running.until("version 2 answers from the next text on");
    assert_eq!(send(dev.simulator()), "two, with other rules\n", "in the same session");
    folder.write("agent.yaml", "name: live\nkind: lm\nllm: {base_url: https://models.example.com/v1, model: small}\n");
    dev.running.until("agent.yaml:2:1: error: kind must be one of");
    assert_eq!(send(dev.simulator()), "two, with other rules\n");
    drop(dev);
    let _ = std::fs::remove_dir_all(&data);
}
