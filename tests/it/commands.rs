//! The binary as people run it: separate processes, signals, a private database that ends with its parent.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::PgListener;

use crate::harness::{ADA, ECHO, NUMBER, World, empty_database, id};

pub fn textback() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_textback"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TEXTBACK_") || name == "DATABASE_URL") {
        command.env_remove(name);
    }
    command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that ends with the story.
pub struct Running {
    child: Child,
    /// What it says, line by line.
    lines: Box<dyn Iterator<Item = String> + Send>,
}

impl Running {
    /// Starts a command and listens to its standard error or output.
    pub fn start(command: &mut Command, to_output: bool) -> Self {
        let mut child =
            if to_output { command.stderr(Stdio::null()).spawn() } else { command.stdout(Stdio::null()).spawn() }
                .expect("it starts");
        let said: Box<dyn std::io::Read + Send> = if to_output {
            Box::new(child.stdout.take().expect("piped"))
        } else {
            Box::new(child.stderr.take().expect("piped"))
        };
        Self { child, lines: Box::new(BufReader::new(said).lines().map_while(Result::ok)) }
    }

    /// Reads on until a line holds a text.
    pub fn until(&mut self, text: &str) -> String {
        let found = self.lines.find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("it ended without saying {text}"))
    }

    pub fn tell(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("it is there");
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("ours").is_none()
    }

    /// Waits until it aborts; whether it did. One that lives on is ended.
    pub async fn aborts_within(mut self, patience: std::time::Duration) -> bool {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        let ended = tokio::task::spawn_blocking(move || self.child.wait().expect("it ended").signal());
        tokio::select! {
            signal = ended => signal.expect("waited") == Some(Signal::SIGABRT as i32),
            () = tokio::time::sleep(patience) => kill(pid, Signal::SIGKILL).is_err(),
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

fn run(command: &mut Command) -> Output {
    command.output().expect("it runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_and_work_as_separate_processes_answer_a_text() {
    let world = World::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let carrier = format!("http://{}", world.simulator_address);
    let public = format!("http://{free}");
    let with = |command: &mut Command| {
        command
            .env("DATABASE_URL", &world.database_url)
            .env("TEXTBACK_SECRET_KEY", &world.secret_key)
            .env("TEXTBACK_TWILIO_API_URL", &carrier)
            .env("TEXTBACK_PUBLIC_URL", &public)
            .env("TEXTBACK_LISTEN", free.to_string());
    };
    let mut serve = textback();
    serve.arg("serve");
    with(&mut serve);
    let mut serve = Running::start(&mut serve, false);
    serve.until("serving");
    let mut workers: Vec<Running> = (0..2)
        .map(|_| {
            let mut work = textback();
            // So long an interval that only the notice between processes can wake them in time.
            work.args(["work", "--poll-seconds", "60"]);
            with(&mut work);
            let mut work = Running::start(&mut work, false);
            work.until("working");
            work
        })
        .collect();

    let agent = json!({"name": "echo", "kind": "script", "source": ECHO, "first_message": "process"});
    let api = |path: &str| format!("{public}/v1/{path}");
    let made: Value = world
        .http
        .post(api("agents"))
        .bearer_auth(&world.key)
        .json(&agent)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let number = json!({"number": NUMBER, "agent_id": id(&made["id"])});
    let attached =
        world.http.post(api("numbers")).bearer_auth(&world.key).json(&number).send().await.expect("an answer");
    assert_eq!(attached.status(), 200);
    for n in 1..=5 {
        world.text(ADA, "hi").await;
        assert_eq!(world.simulator.until_received(ADA, NUMBER, n).await.len(), n);
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
    assert!(said(&without).contains("textback migrate"), "{}", said(&without));
    for _ in 0..2 {
        assert!(run(textback().arg("migrate").env("DATABASE_URL", &url)).status.success());
    }
    let created = run(textback().args(["project", "create", "Acme"]).env("DATABASE_URL", &url));
    let made: Value = serde_json::from_slice(&created.stdout).expect("JSON");
    id(&made["project_id"]);
    assert!(made["api_key"].as_str().is_some_and(|key| key.starts_with("tb_") && key.len() > 40));
    assert!(said(&run(textback().args(["project", "create", ""]).env("DATABASE_URL", &url))).contains("1 to 100"));
}

#[test]
fn a_missing_setting_is_named_with_an_example() {
    for (arguments, setting) in [
        (vec!["migrate"], "DATABASE_URL="),
        (vec!["serve", "--database-url", "postgres://x/y", "--listen", "127.0.0.1:0"], "TEXTBACK_SECRET_KEY="),
    ] {
        let output = run(textback().args(&arguments));
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(setting), "{}", said(&output));
    }
    let bad = run(textback().args(["serve", "--secret-key", "short"]));
    assert!(said(&bad).contains("32 bytes"), "{}", said(&bad));
}

#[test]
fn agent_check_tells_faults_with_line_and_column() {
    let folder = std::env::temp_dir().join(format!("textback-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("agent.star");
    std::fs::write(&file, "def reply(conv, text):\n    return txt\n").expect("written");
    let output = run(textback().args(["agent", "check"]).arg(&file));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("agent.star:2:12: error"), "{}", said(&output));
    for example in crate::tidy::files("examples/agents", "star") {
        let output =
            run(textback().args(["agent", "check"]).arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(&example.0)));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}

/// `textback dev` on a data folder of its own and free ports, when it is ready.
struct Dev {
    running: Running,
    console: String,
    simulator: String,
    key: String,
    folder: PathBuf,
}

impl Dev {
    fn start(folder: &PathBuf) -> Self {
        let mut command = textback();
        command.args(["dev", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0", "--data-dir"]).arg(folder);
        let mut running = Running::start(&mut command, true);
        let last_word = |line: String| line.split_whitespace().last().expect("a word").to_owned();
        let console = last_word(running.until("Console"));
        let key = last_word(running.until("key:")).trim_end_matches(')').to_owned();
        let simulator = last_word(running.until("--simulator-url"));
        running.until("Ctrl-C");
        Self { running, console, simulator, key, folder: folder.clone() }
    }

    /// A connection to its database that notices when the server is gone.
    async fn witness(&self) -> PgListener {
        let socket = self.folder.join("postgres/socket");
        let mut listener =
            PgListener::connect(&format!("postgres://textback@localhost/textback?host={}", socket.display()))
                .await
                .expect("its database");
        listener.ignore_pool_close_event(true);
        listener
    }
}

/// Below the system's folder for such things, which the database's own user can enter.
fn data_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("textback-dev-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

/// Waits until the server behind a connection has gone.
async fn gone(mut witness: PgListener) {
    // None: the connection broke. It is not made again, since nobody asks twice.
    while let Ok(Some(_)) = witness.try_recv().await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_is_a_working_agent_from_one_command_and_keeps_its_data() {
    let folder = data_folder("works");
    let dev = Dev::start(&folder);
    let http = reqwest::Client::new();
    let page = http.get(&dev.console).send().await.expect("the console").text().await.expect("a page");
    assert!(page.contains("Phone") && page.contains(NUMBER), "{page}");

    let form = [("phone", ADA), ("number", NUMBER), ("body", "hi")];
    let elsewhere = http.post(format!("{}/texts", dev.console)).form(&form).send().await.expect("an answer");
    assert_eq!(elsewhere.status(), 403, "a page of another site can't text");
    let texted = http
        .post(format!("{}/texts", dev.console))
        .header("HX-Request", "true")
        .form(&form)
        .send()
        .await
        .expect("an answer");
    assert_eq!(texted.status(), 200);
    let sent = run(textback().args([
        "simulate",
        "send",
        "--from",
        ADA,
        "--to",
        NUMBER,
        "--simulator-url",
        &dev.simulator,
        "Ada",
    ]));
    assert!(sent.status.success(), "{}", said(&sent));
    let api = dev.console.replace("/console", "/v1/sessions");
    let sessions = async || -> Value {
        http.get(&api).bearer_auth(&dev.key).send().await.expect("an answer").json().await.expect("JSON")
    };
    assert_eq!(sessions().await["items"].as_array().map(Vec::len), Some(1));

    let second = run(textback()
        .args(["dev", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&folder));
    assert!(!second.status.success() && said(&second).contains("another textback dev"), "{}", said(&second));

    let witness = dev.witness().await;
    dev.running.tell(Signal::SIGINT);
    let key = dev.key.clone();
    assert_eq!(dev.running.ended(), Some(0));
    gone(witness).await;

    let again = Dev::start(&folder);
    assert_eq!(again.key, key, "the same project with the same key");
    let kept: Value = http
        .get(again.console.replace("/console", "/v1/sessions"))
        .bearer_auth(&key)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(kept["items"].as_array().map(Vec::len), Some(1));
    drop(again);
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dev_takes_its_database_with_it_and_the_next_start_is_well() {
    let folder = data_folder("killed");
    let dev = Dev::start(&folder);
    let witness = dev.witness().await;
    dev.running.tell(Signal::SIGKILL);
    gone(witness).await;
    let again = Dev::start(&folder);
    let answer = reqwest::Client::new()
        .request(Method::GET, again.console.replace("/console", "/readyz"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    drop(again);
    let _ = std::fs::remove_dir_all(&folder);
}
