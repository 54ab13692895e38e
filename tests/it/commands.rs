//! Tests the binary as separate processes: signals, settings, and the private database that ends
//! with its parent.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{ADA, ECHO, NUMBER, TestApp, empty_database, id};

/// How long a process may be silent while a test waits for a line.
const WITHIN: Duration = Duration::from_secs(60);

pub fn textback() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_textback"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TEXTBACK_") || name == "DATABASE_URL") {
        command.env_remove(name);
    }
    command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl TestApp {
    /// A command of the binary with the settings of this app, and a secret key of the test's.
    pub fn command(&self, command: &str, secret_key: &str) -> Command {
        let carrier = format!("http://{}", self.simulator_address);
        let mut process = textback();
        process
            .arg(command)
            .env("DATABASE_URL", &self.database_url)
            .env("TEXTBACK_SECRET_KEY", secret_key)
            .env("TEXTBACK_TWILIO_API_URL", &carrier)
            .env("TEXTBACK_TWILIO_MESSAGING_URL", &carrier)
            .env("TEXTBACK_PUBLIC_URL", format!("http://{}", self.api));
        process
    }
}

/// A process that ends with the test.
pub struct Running {
    child: Child,
    lines: Lines,
}

/// What a process says, line by line, until it ends. A line that never comes fails the test.
struct Lines(Receiver<String>);

impl Lines {
    fn of(printed: impl Read + Send + 'static) -> Self {
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody listens any more once the test has ended.
            let _ = BufReader::new(printed).lines().map_while(Result::ok).try_for_each(|line| to.send(line));
        });
        Self(lines)
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.0.recv_timeout(WITHIN) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it said nothing more within {} s", WITHIN.as_secs()),
        }
    }
}

impl Running {
    /// Starts a command and listens to its standard error or output.
    pub fn start(command: &mut Command, to_output: bool) -> Self {
        let mut child =
            if to_output { command.stderr(Stdio::null()).spawn() } else { command.stdout(Stdio::null()).spawn() }
                .expect("it starts");
        let lines = if to_output {
            Lines::of(child.stdout.take().expect("piped"))
        } else {
            Lines::of(child.stderr.take().expect("piped"))
        };
        Self { child, lines }
    }

    /// Reads on until a line holds a text.
    pub fn until(&mut self, text: &str) -> String {
        let found = self.lines.find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("it ended without saying {text}"))
    }

    /// The lines up to one that holds a text, and that line.
    pub fn all_until(&mut self, text: &str) -> Vec<String> {
        let mut said = Vec::new();
        for line in self.lines.by_ref() {
            let is_last = line.contains(text);
            said.push(line);
            if is_last {
                return said;
            }
        }
        panic!("it ended without saying {text}: {said:?}");
    }

    /// Ends it, and returns the lines that were not read yet.
    pub fn rest(mut self) -> Vec<String> {
        let _ = self.child.kill();
        self.lines.by_ref().collect()
    }

    /// Reads on until it ends, which another must bring about.
    pub fn until_end(mut self) -> Vec<String> {
        self.lines.by_ref().collect()
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn tell(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("it is there");
    }

    /// Whether it was halted by a signal and waits for another.
    pub fn is_halted(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("ours").is_none()
    }

    /// Waits until it aborts; whether it did. One that lives on is ended.
    pub async fn aborts_within(mut self, limit: std::time::Duration) -> bool {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        let ended = tokio::task::spawn_blocking(move || self.child.wait().expect("it ended").signal());
        tokio::select! {
            signal = ended => signal.expect("waited") == Some(Signal::SIGABRT as i32),
            () = tokio::time::sleep(limit) => kill(pid, Signal::SIGKILL).is_err(),
        }
    }

    /// Reads what is left, so that it can end, and gives its exit code.
    pub fn ended(mut self) -> Option<i32> {
        for _ in self.lines.by_ref() {}
        self.child.wait().expect("it ended").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn run(command: &mut Command) -> Output {
    command.output().expect("it runs")
}

pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_and_work_as_separate_processes_answer_a_text() {
    let app = TestApp::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let carrier = format!("http://{}", app.simulator_address);
    let public = format!("http://{free}");
    let with = |command: &mut Command| {
        command
            .env("DATABASE_URL", &app.database_url)
            .env("TEXTBACK_SECRET_KEY", &app.secret_key)
            .env("TEXTBACK_TWILIO_API_URL", &carrier)
            .env("TEXTBACK_TWILIO_MESSAGING_URL", &carrier)
            .env("TEXTBACK_PUBLIC_URL", &public)
            .env("TEXTBACK_LISTEN", free.to_string());
    };
    let mut serve = textback();
    serve.arg("serve");
    with(&mut serve);
    let mut serve = Running::start(&mut serve, false);
    serve.until("server started");
    let mut workers: Vec<Running> = (0..2)
        .map(|_| {
            let mut work = textback();
            // So long an interval that only the notice between processes can wake them in time.
            work.args(["work", "--poll-seconds", "60"]);
            with(&mut work);
            let mut work = Running::start(&mut work, false);
            work.until("workers started");
            work
        })
        .collect();

    let agent = json!({"name": "echo", "kind": "script", "source": ECHO, "first_message": "process"});
    let api = |path: &str| format!("{public}/v1/{path}");
    let made: Value = app
        .http
        .post(api("agents"))
        .bearer_auth(&app.key)
        .json(&agent)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let number = json!({"number": NUMBER, "agent_id": id(&made["id"])});
    let attached = app.http.post(api("numbers")).bearer_auth(&app.key).json(&number).send().await.expect("an answer");
    assert_eq!(attached.status(), 200);
    for n in 1..=5 {
        app.text(ADA, &format!("hi {n}")).await;
        assert_eq!(app.simulator.until_received(ADA, NUMBER, n).await.len(), n);
    }
    for process in workers.drain(..).chain([serve]) {
        process.tell(Signal::SIGTERM);
        assert_eq!(process.ended(), Some(0), "it stops in good order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_and_project_create_make_an_empty_database_usable() {
    let url = empty_database("fresh").await;
    let without = run(textback().args(["project", "create", "Acme"]).env("DATABASE_URL", &url));
    assert!(!without.status.success());
    assert!(printed(&without).contains("textback migrate"), "{}", printed(&without));
    for _ in 0..2 {
        assert!(run(textback().arg("migrate").env("DATABASE_URL", &url)).status.success());
    }
    let created = run(textback().args(["project", "create", "Acme"]).env("DATABASE_URL", &url));
    let made: Value = serde_json::from_slice(&created.stdout).expect("JSON");
    id(&made["project_id"]);
    assert!(made["api_key"].as_str().is_some_and(|key| key.starts_with("tb_") && key.len() > 40));
    for name in ["", " ", "a\nb", "a\u{202e}b"] {
        let refused = run(textback().args(["project", "create", name]).env("DATABASE_URL", &url));
        assert!(!refused.status.success() && printed(&refused).contains("1 to 100"), "{name:?}: {}", printed(&refused));
    }
}

#[test]
fn a_missing_setting_is_named_with_an_example() {
    for (arguments, setting) in [
        (vec!["migrate"], "DATABASE_URL="),
        (vec!["serve", "--database-url", "postgres://x/y", "--listen", "127.0.0.1:0"], "TEXTBACK_SECRET_KEY="),
    ] {
        let output = run(textback().args(&arguments));
        assert_eq!(output.status.code(), Some(1));
        assert!(printed(&output).contains(setting), "{}", printed(&output));
    }
    // A key that was mistyped is nearly the key: the error does not tell it.
    for mistyped in [["--secret-key", "c2hvcnQgc2VjcmV0"].as_slice(), &["--secret-key=c2hvcnQgc2VjcmV0"]] {
        let bad = run(textback().arg("serve").args(mistyped));
        assert!(printed(&bad).contains("32 bytes") && !printed(&bad).contains("c2hvcnQgc2VjcmV0"), "{}", printed(&bad));
    }
}

#[test]
fn agent_check_tells_faults_with_line_and_column() {
    let folder = std::env::temp_dir().join(format!("textback-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("agent.star");
    std::fs::write(&file, "def reply(conv, text):\n    return txt\n").expect("written");
    let output = run(textback().args(["agent", "check"]).arg(&file));
    assert_eq!(output.status.code(), Some(1));
    assert!(printed(&output).contains("agent.star:2:12: error"), "{}", printed(&output));
    // What could never be called is known before the first message.
    for (source, code, told) in [
        (
            "def reply(conv): return 1",
            1,
            "agent.star:1:1: error: reply is called with (conv, text), and it takes (conv)",
        ),
        ("X = 1\nreply = 5", 1, "agent.star:2:1: error: reply is no function"),
        ("def reply(text, conv): return 1", 1, "agent.star:1:1: error: reply takes (conv, text) in this order"),
        (
            "def reply(conv, text): return conv.stat",
            1,
            "agent.star:1:36: error: conv has no attribute stat; did you mean state?",
        ),
        ("def reply(conv, text): return [text]", 1, "agent.star:1:31: error: reply returns a list"),
        (
            "def reply(conv, text): return text.uper()",
            1,
            "agent.star:1:36: error: Object of type `string` has no attribute `uper`, did you mean `upper`?",
        ),
        (
            "SEEN = []\ndef reply(conv, text): SEEN.append(text)",
            1,
            "agent.star:2:24: error: this changes a value of the top",
        ),
        (
            "def reply(conv, text): return str(int(text))",
            0,
            "warning: a test run of reply with the text \"Hello\" fails",
        ),
        ("def reply(conv, text): pass\nstart = None", 1, "agent.star:2:1: error: start is no function"),
        ("def reply(conv, text): pass\ndef end(conv): pass", 0, "agent.star:2:1: warning: end is not called"),
        ("\u{feff}def reply(conv, text): pass\r\n", 0, "the script can be used"),
        ("def reply(conv, text): return 'a\0b'", 1, "contains the character NUL"),
    ] {
        std::fs::write(&file, source).expect("written");
        let output = run(textback().args(["agent", "check"]).arg(&file));
        assert!(output.status.code() == Some(code) && printed(&output).contains(told), "{}", printed(&output));
    }
    let agent = folder.join("agent.json");
    for (text, code, told) in [
        ("{\"kind\": \"script\", \"source\": \"def reply(conv, text): pass\"}", 0, "the script can be used"),
        ("{\"kind\": \"script\", \"source\": \"reply = 5\"}", 1, "agent.json:1:1: error: reply is no function"),
        ("{\"kind\": \"http\", \"url\": \"https://a.example\"}", 0, "the agent can be used"),
        ("[]", 1, "no JSON object"),
    ] {
        std::fs::write(&agent, text).expect("written");
        let output = run(textback().args(["agent", "check"]).arg(&agent));
        assert!(output.status.code() == Some(code) && printed(&output).contains(told), "{}", printed(&output));
    }
    std::fs::write(&file, b"def reply(conv, text): return 'gr\xfc\xdfe'").expect("written");
    let output = run(textback().args(["agent", "check"]).arg(&file));
    assert!(output.status.code() == Some(1) && printed(&output).contains("save it in UTF-8"), "{}", printed(&output));
    for example in crate::tidy::files("examples/agents", "star") {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&example.0);
        // The functions of a folder's script may be tools of a model, which agent.yaml says.
        let folder = script.parent().filter(|folder| folder.join("agent.yaml").exists());
        let output = run(textback().args(["agent", "check"]).arg(folder.unwrap_or(&script)));
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    }
    // The bounds are those of the API.
    std::fs::write(
        &file,
        "B = ('x' * 1000) * 100\nX = [str(i) + B for i in range(200)]\ndef reply(conv, text): return X[0]\n",
    )
    .expect("written");
    let large = run(textback().args(["agent", "check"]).arg(&file));
    assert!(large.status.code() == Some(1) && printed(&large).contains("keeps"), "{}", printed(&large));
    std::fs::remove_dir_all(&folder).expect("removed");
}
