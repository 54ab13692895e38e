//! Tests `textback dev`: one process with its own database, whose data lasts, and the console.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::PgListener;

use crate::commands::{Running, printed, run, textback};
use crate::harness::{ADA, NUMBER};

/// `textback dev` on a data folder of its own and free ports, when it is ready.
pub struct Dev {
    pub running: Running,
    pub console: String,
    simulator: String,
    key: String,
    pub folder: PathBuf,
}

impl Dev {
    pub fn start(folder: &PathBuf) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same with more options.
    pub fn start_with(folder: &PathBuf, options: &[&str]) -> Self {
        let mut command = textback();
        command.args(["dev", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0", "--data-dir"]).arg(folder);
        command.args(options);
        // Nothing of it goes by the proxy of a company's network, which could not reach this
        // machine.
        command.env("http_proxy", "http://127.0.0.1:1").env("no_proxy", "example.com");
        let mut running = Running::start(&mut command, true);
        let last_word = |line: String| line.split_whitespace().last().expect("a word").to_owned();
        let console = last_word(running.until("Console"));
        let key = last_word(running.until("key:")).trim_end_matches(')').to_owned();
        let simulator = last_word(running.until("--simulator-url"));
        running.until("Ctrl-C");
        Self { running, console, simulator, key, folder: folder.clone() }
    }

    /// The URL of its simulated carrier.
    pub fn simulator(&self) -> &str {
        &self.simulator
    }

    /// The API key of its project.
    pub fn key(&self) -> &str {
        &self.key
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
pub fn data_folder(name: &str) -> PathBuf {
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
async fn dev_logs_the_requests_of_its_users_and_not_its_own() {
    let folder = data_folder("log");
    let mut command = Command::new("sh");
    // The log and the banner in the order in which they come.
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1", env!("CARGO_BIN_EXE_textback")]);
    command.args(["dev", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0", "--data-dir"]).arg(&folder);
    let mut dev = Running::start(command.env("RUST_LOG", "info").stdout(Stdio::piped()), true);
    let lines = dev.all_until("Ctrl-C");
    assert!(!lines.iter().any(|line| line.contains("a request was answered")), "{lines:#?}");
    let last_word = |text: &str| {
        let line = lines.iter().find(|line| line.contains(text)).expect(text);
        line.split_whitespace().last().expect("a word").trim_end_matches(')').to_owned()
    };
    let url = last_word("Console").replace("/console", "/v1/project");
    let answer = reqwest::Client::new().get(url).bearer_auth(last_word("key:")).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(dev.until("a request was answered").contains("/v1/project"));
    drop(dev);
    let _ = std::fs::remove_dir_all(&folder);
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
    for address in [&dev.console, &dev.simulator] {
        let rebound = http.get(address).header("Host", "evil.example").send().await.expect("an answer");
        assert_eq!(rebound.status(), 403, "a page of another site can't give us its name");
    }
    let texted = http
        .post(format!("{}/texts", dev.console))
        .header("X-Textback-Console", "1")
        .form(&form)
        .send()
        .await
        .expect("an answer");
    assert_eq!(texted.status(), 204);
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
    assert!(sent.status.success(), "{}", printed(&sent));
    let api = dev.console.replace("/console", "/v1/sessions");
    let sessions = async || -> Value {
        http.get(&api).bearer_auth(&dev.key).send().await.expect("an answer").json().await.expect("JSON")
    };
    assert_eq!(sessions().await["items"].as_array().map(Vec::len), Some(1));

    let second = run(textback()
        .args(["dev", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&folder));
    assert!(!second.status.success() && printed(&second).contains("another textback dev"), "{}", printed(&second));

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

#[tokio::test(flavor = "multi_thread")]
async fn a_text_from_a_shell_tells_what_became_of_it() {
    let folder = data_folder("answers");
    let dev = Dev::start(&folder);
    let simulate = |arguments: &[&str]| {
        let mut command = textback();
        command.arg("simulate").args(arguments).args(["--from", ADA, "--to", NUMBER]);
        command.env("http_proxy", "http://127.0.0.1:1");
        run(command.env("TEXTBACK_SIMULATOR_URL", &dev.simulator).env("TEXTBACK_DATA_DIR", &folder))
    };
    let answered = simulate(&["send", "hi"]);
    assert!(answered.status.success());
    assert_eq!(String::from_utf8_lossy(&answered.stdout), "Hi, you've reached textback. What's your name?\n");
    let fast = simulate(&["send", "--no-wait", "Ada"]);
    let outcome: Value = serde_json::from_slice(&fast.stdout).expect("JSON");
    assert_eq!(outcome["webhook_status"], 200);
    // Of a text that is delivered again its own session tells, although another has begun since.
    let sid = outcome["sid"].as_str().expect("the id of the text").to_owned();
    let again = || simulate(&["send", "--sid", &sid, "--wait-seconds", "20", "Ada"]);
    assert!(again().status.success(), "{}", printed(&again()));
    let send = json!({"to": ADA, "body": "Your table is ready."});
    let api = dev.console.replace("/console", "/v1/messages");
    let sent = reqwest::Client::new().post(api).bearer_auth(&dev.key).json(&send).send().await.expect("an answer");
    assert_eq!(sent.status(), 202);
    assert!(again().status.success(), "{}", printed(&again()));
    // The carrier confirms STOP itself.
    let stopped = simulate(&["send", "STOP"]);
    assert!(stopped.status.success() && printed(&stopped).contains("the contact opted out"), "{}", printed(&stopped));
    let skipped = simulate(&["send", "are you there?"]);
    assert_eq!(skipped.status.code(), Some(1));
    assert!(printed(&skipped).contains("the text is skipped: opted_out"), "{}", printed(&skipped));
    // A line that is not UTF-8 does not end a conversation.
    let lines = folder.join("lines.txt");
    std::fs::write(&lines, b"hi\r\nM\xfcller\nbye\n").expect("written");
    let mut chat = textback();
    chat.args(["simulate", "chat", "--from", "+14155550104", "--to", NUMBER]).env("TEXTBACK_DATA_DIR", &folder);
    chat.env("TEXTBACK_SIMULATOR_URL", &dev.simulator).stdin(std::fs::File::open(&lines).expect("a file"));
    let told = printed(&run(&mut chat));
    assert!(told.contains("Nice to meet you, M\u{fffd}ller") && told.contains("Bye"), "{told}");
    for verb in ["send", "chat"] {
        let bare = run(textback().args(["simulate", verb, "--from", "4155550101", "--to", NUMBER]));
        assert!(bare.status.code() == Some(2) && printed(&bare).contains("such as +14155550101"), "{}", printed(&bare));
    }
    let nobody = ["simulate", "send", "--from", ADA, "--to", NUMBER, "--simulator-url", "http://127.0.0.1:9", "hi"];
    let nobody = run(textback().args(nobody));
    assert!(nobody.status.code() == Some(1) && printed(&nobody).contains("no simulator"), "{}", printed(&nobody));
    drop(dev);
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_inactivity_passes_at_a_click() {
    let folder = data_folder("inactivity");
    let dev = Dev::start(&folder);
    let from_shell = |verb: &str, more: &[&str]| {
        let at =
            if verb == "advance-clock" { ("--console-url", &dev.console) } else { ("--simulator-url", &dev.simulator) };
        let ran = run(textback().args(["simulate", verb, at.0, at.1]).args(more));
        assert!(ran.status.success(), "{}", printed(&ran));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let shown = |what: &str| {
        let started = Instant::now();
        while !from_shell("phone", &[ADA]).contains(what) {
            assert!(started.elapsed() < Duration::from_secs(30), "the phone never shows {what}");
        }
    };
    let pair = ["--from", ADA, "--to", NUMBER];

    from_shell("send", &[&pair[..], &["hi"]].concat());
    shown("[delivered] Hi");
    from_shell("advance-clock", &pair);
    shown("[delivered] Are you still there?");
    let http = reqwest::Client::new();
    let page = async || http.get(&dev.console).send().await.expect("an answer").text().await.expect("a page");
    assert!(page().await.contains("Warned. End at"), "{}", page().await);

    from_shell("advance-clock", &[&pair[..], &["--seconds", "600"]].concat());
    let started = Instant::now();
    while !page().await.contains("Closed: it timed out") {
        assert!(started.elapsed() < Duration::from_secs(30), "the session never ends");
    }

    let form = [("contact", ADA), ("number", NUMBER), ("seconds", "60")];
    let elsewhere = http.post(format!("{}/advance-clock", dev.console)).form(&form).send().await.expect("an answer");
    assert_eq!(elsewhere.status(), 403, "a page of another site can't move a clock");
    let again = run(textback().args(["simulate", "advance-clock", "--console-url", &dev.console]).args(pair));
    assert!(!again.status.success() && printed(&again).contains("no session is open"), "{}", printed(&again));
    drop(dev);
    let _ = std::fs::remove_dir_all(&folder);
}

/// A database that runs for somebody else's eyes is given no secret of ours.
#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_the_console_is_in_no_process_to_be_read() {
    let folder = data_folder("password");
    let mut command = textback();
    command.args(["dev", "--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0"]);
    command.args(["--console-password", "a-password-as-a-flag", "--data-dir"]).arg(&folder);
    command.env("TEXTBACK_CONSOLE_PASSWORD", "a-password-as-a-variable");
    let mut running = Running::start(&mut command, true);
    running.until("Ctrl-C");
    let found = std::fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok()?;
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        (parent == running.id() && name.contains("postgres")).then(|| entry.path())
    });
    let servers: Vec<PathBuf> = found.collect();
    assert_eq!(servers.len(), 1, "its PostgreSQL");
    for process in servers.into_iter().chain([PathBuf::from(format!("/proc/{}", running.id()))]) {
        for file in ["environ", "cmdline"] {
            let shown = std::fs::read(process.join(file)).expect("readable for root");
            assert!(
                !String::from_utf8_lossy(&shown).contains("a-password"),
                "{file} of {} shows it",
                process.display()
            );
        }
    }
    running.tell(Signal::SIGINT);
    assert_eq!(running.ended(), Some(0));
    let _ = std::fs::remove_dir_all(&folder);
}
