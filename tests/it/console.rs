//! Tests the console of `textback dev`: its page, the events that keep it up to date, and the
//! commands of its banner.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection};

use crate::commands::{Running, printed, run, textback};
use crate::dev::{Dev, data_folder};
use crate::harness::{ADA, NUMBER, TestApp};

const BOB: &str = "+14155550102";
/// How long a page may take to show something.
const WITHIN: Duration = Duration::from_secs(30);

/// A page at an address of the console, with what its script would show.
struct Page {
    stream: reqwest::Response,
    unread: String,
    parts: Map<String, Value>,
}

impl Page {
    async fn open(console: &str, query: &str) -> Self {
        let stream = Client::new().get(format!("{console}/changes?{query}")).send().await.expect("a stream");
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        Self { stream, unread: String::new(), parts: Map::new() }
    }

    /// The next event. `None`: the stream ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                let event = (field("event: ").to_owned(), serde_json::from_str(field("data: ")).expect("JSON"));
                self.unread = rest.to_owned();
                return Some(event);
            }
            let chunk = self.stream.chunk().await.ok()??;
            self.unread.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// Follows the events until a part holds a text.
    async fn until(&mut self, part: &str, text: &str) -> String {
        let following = async {
            loop {
                let shown = self.parts.get(part).and_then(Value::as_str).unwrap_or_default();
                if shown.contains(text) {
                    return shown.to_owned();
                }
                let (name, data) = self.next().await.expect("the stream goes on");
                if let (Value::Object(changed), "parts") = (data, name.as_str()) {
                    self.parts.extend(changed);
                }
            }
        };
        match tokio::time::timeout(WITHIN, following).await {
            Ok(shown) => shown,
            Err(_) => panic!("{part} never shows {text}: {:?}", self.parts),
        }
    }
}

fn query(phone: &str) -> String {
    format!("phone={}&number={}", phone.replace('+', "%2B"), NUMBER.replace('+', "%2B"))
}

async fn page_of(dev: &Dev, query: &str) -> String {
    let answer = Client::new().get(format!("{}?{query}", dev.console)).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "{query}");
    answer.text().await.expect("a page")
}

async fn text(dev: &Dev, phone: &str, body: &str) {
    let form = [("phone", phone), ("number", NUMBER), ("body", body)];
    let request = Client::new().post(format!("{}/texts", dev.console)).header("X-Textback-Console", "1").form(&form);
    assert_eq!(request.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
}

/// The address of the session of a contact in the list of a page.
fn link_to<'a>(page: &'a str, contact: &str) -> &'a str {
    let (_, list) = page.split_once("id=\"sessions\"").expect("the list");
    let before = list.split(&format!("<bdi>{contact}</bdi>")).next().expect("the contact");
    let link = before.rsplit("href=\"/console?").next().expect("a link");
    link.split('"').next().expect("its end")
}

async fn rows_of(dev: &Dev) -> PgConnection {
    let socket = dev.folder.join("postgres/socket");
    let url = format!("postgres://textback@localhost/textback?host={}", socket.display());
    PgConnection::connect(&url).await.expect("its database")
}

async fn change(rows: &mut PgConnection, statement: &'static str) {
    let done = sqlx::query(statement).execute(rows).await.expect("a change");
    assert_eq!(done.rows_affected(), 1, "{statement}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_phones_own_session_and_opens_any_other() {
    let folder = data_folder("console-sessions");
    let dev = Dev::start(&folder);
    let root = dev.console.replace("/console", "/");
    let unguided = Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let answer = unguided.get(&root).send().await.expect("an answer");
    assert_eq!(
        (answer.status(), &answer.headers()["location"]),
        (StatusCode::SEE_OTHER, &"/console".parse().expect("text"))
    );
    assert!(page_of(&dev, "").await.contains("This phone has no session with +14155550199 yet"));

    text(&dev, ADA, "I am Ada").await;
    text(&dev, BOB, "I am Bob").await;
    // Bob's session is newer, and Ada's phone shows her own all the same.
    let mut ada = Page::open(&dev.console, &query(ADA)).await;
    let own = ada.until("session", "Hi, you").await;
    assert!(own.contains("I am Ada") && !own.contains("I am Bob"), "{own}");
    let page = page_of(&dev, &query(ADA)).await;
    assert!(page.contains("I am Ada") && !page.contains("I am Bob"), "{page}");
    assert!(page.contains("this phone") && page.matches("badge good").count() == 3, "{page}");

    // A misspelt parameter would show another phone than the one that was meant.
    for (query, told) in [
        ("fone=1", "fone is not a query parameter here; the known ones are phone, number, session"),
        ("phones=1", "did you mean phone?"),
        ("phone=%2B1&phone=%2B2", "given more than once"),
    ] {
        let refused = Client::new().get(format!("{}?{query}", dev.console)).send().await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{query}");
        assert!(refused.text().await.expect("a page").contains(told), "{query}");
        let refused = Client::new().get(format!("{}/changes?{query}", dev.console)).send().await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    let link = link_to(&page, BOB).replace("&amp;", "&");
    let other = page_of(&dev, &link).await;
    assert!(other.contains("I am Ada") && other.contains("I am Bob"), "her phone and his session: {other}");
    assert!(other.contains("This is not the current session of the phone"), "{other}");
    assert!(Page::open(&dev.console, &link).await.until("session", "I am Bob").await.contains("version 1"));
    for unknown in ["01890000-0000-7000-8000-000000000000", "none", "%22%3E%3Cscript%3E"] {
        let page = page_of(&dev, &format!("{}&session={unknown}", query(ADA))).await;
        assert!(page.contains("There is no session") && !page.contains("<script>"), "{page}");
    }
    // The page works without its script: a form of the page leads back to it.
    let form = [("phone", ADA), ("number", NUMBER), ("body", "Ada")];
    let form = unguided.post(format!("{}/texts", dev.console)).header("Sec-Fetch-Site", "same-origin").form(&form);
    let answer = form.send().await.expect("an answer");
    let back = answer.headers()["location"].to_str().expect("text").to_owned();
    assert_eq!((answer.status(), back), (StatusCode::SEE_OTHER, format!("/console?{}", query(ADA))));
    ada.until("texts", "Nice to meet you, Ada").await;
    drop(dev);
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn only_dev_has_a_console_at_its_root() {
    let app = TestApp::new().await;
    for path in ["/", "/console"] {
        let answer = Client::new().get(format!("http://{}{path}", app.api)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_reaches_the_page_as_an_event_with_its_reason_in_words() {
    let folder = data_folder("console-events");
    let dev = Dev::start(&folder);
    let mut page = Page::open(&dev.console, &query(ADA)).await;
    page.until("texts", "No texts yet").await;
    text(&dev, ADA, "hi").await;
    let texts = page.until("texts", "Delivered").await;
    assert!(texts.contains("Handled") && texts.contains("textback. What") && !texts.contains("received"), "{texts}");

    let mut rows = rows_of(&dev).await;
    change(&mut rows, "update textback.message set skip_reason = 'repeats' where direction = 'inbound'").await;
    page.until("texts", "Not answered: the same message came too often in five minutes").await;
    change(&mut rows, "update textback.session set paused_until = now() + interval '10 minutes'").await;
    page.until("texts", "paused until <time").await;
    change(
        &mut rows,
        "update textback.delivery set status = 'failed', error_code = 30006, error_class = 'permanent_recipient', error_detail = 'Landline'",
    )
    .await;
    for part in ["texts", "session"] {
        page.until(part, "Failed: the contact can't be reached (code 30006, Landline)").await;
    }
    change(&mut rows, "update textback.session set status = 'warned', warned_at = now()").await;
    page.until("sessions", "Warned").await;

    // A page that connects again is sent everything.
    let mut again = Page::open(&dev.console, &query(ADA)).await;
    let (name, parts) = again.next().await.expect("an event");
    let ids: Vec<&String> = parts.as_object().expect("parts").keys().collect();
    assert_eq!((name.as_str(), ids.len()), ("parts", 3), "{ids:?}");
    assert!(parts["texts"].as_str().expect("HTML").contains("code 30006"));

    // Streams end with the process, and don't keep it.
    dev.running.tell(Signal::SIGINT);
    assert_eq!(dev.running.ended(), Some(0));
    while again.next().await.is_some() {}
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_write_is_text_and_never_code() {
    let folder = data_folder("console-escapes");
    let dev = Dev::start(&folder);
    let hostile =
        "</textarea><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\r\n\r\nevent: parts\u{2028}שלום";
    text(&dev, ADA, hostile).await;
    let mut page = Page::open(&dev.console, &query(ADA)).await;
    let texts = page.until("texts", "alert(1)").await;
    assert!(texts.contains("&lt;script&gt;") && texts.contains("event: parts\u{2028}שלום"), "{texts}");
    assert!(texts.contains("dir=\"auto\""), "{texts}");
    for shown in [texts, page.until("session", "alert(1)").await, page_of(&dev, &query(ADA)).await] {
        assert!(!shown.contains("<img") && !shown.contains("<script>"), "{shown}");
    }
    for given in ["%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E", "..%2F..%2Fnumbers", "%00", "anna"] {
        let answer = Client::new().get(format!("{}?phone={given}", dev.console)).send().await.expect("an answer");
        let (status, page) = (answer.status(), answer.text().await.expect("a page"));
        assert!(!page.contains("<script>"), "{page}");
        let is_refused = status == StatusCode::BAD_REQUEST && page.contains("is no phone number");
        assert!(is_refused || given == "%00", "{given} {status}: {page}");
    }
    let answer = Client::new().get(&dev.console).send().await.expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let page = answer.text().await.expect("a page");
    // Scripts and styles come from files only, as the policy asks.
    for inline in [" onclick=", " onkeydown=", " style=", "<style", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!((page.matches("<script").count(), page.matches("src=\"/console/console.js\"").count()), (1, 1));
    for asset in ["console.js", "style.css"] {
        let url = format!("{}/{asset}", dev.console);
        assert_eq!(Client::new().get(url).send().await.expect("an answer").status(), StatusCode::OK);
    }
    drop(dev);
    let _ = std::fs::remove_dir_all(&folder);
}

/// The commands that the banner prints, each of one line or more.
fn commands_of(banner: &[String]) -> Vec<String> {
    let listed = banner.iter().skip_while(|line| !line.contains("From a shell")).skip(1);
    let mut commands: Vec<String> = Vec::new();
    for line in listed.take_while(|line| !line.trim().is_empty()) {
        match commands.last_mut().filter(|command| command.ends_with('\\')) {
            Some(command) => *command = format!("{command}\n{line}"),
            None => commands.push(line.clone()),
        }
    }
    commands
}

/// With a password, and on all interfaces, they run all the same.
#[tokio::test(flavor = "multi_thread")]
async fn each_command_of_the_banner_runs_as_it_is_printed() {
    for (name, settings) in [
        ("banner", &["--listen", "127.0.0.1:0", "--simulator-listen", "127.0.0.1:0"][..]),
        (
            "banner-password",
            &["--listen", "0.0.0.0:0", "--simulator-listen", "0.0.0.0:0", "--console-password", "a password"],
        ),
    ] {
        let folder = data_folder(name);
        let mut command = textback();
        command.arg("dev").args(settings).arg("--data-dir").arg(&folder);
        let mut running = Running::start(&mut command, true);
        let mut banner = Vec::new();
        while banner.last().is_none_or(|line: &String| !line.contains("Ctrl-C")) {
            banner.push(running.until(""));
        }
        let commands = commands_of(&banner);
        assert!(commands.len() >= 3, "{banner:#?}");
        let has_curl = Command::new("curl").arg("--version").output().is_ok();
        for command in commands {
            if command.trim_start().starts_with("curl") && !has_curl {
                continue;
            }
            // Another shell, in another folder, without our variables.
            let mut shell = Command::new("sh");
            let path = std::env::var_os("PATH").unwrap_or_default();
            shell.arg("-c").arg(&command).current_dir(&folder).env_clear().env("PATH", path);
            let ran = run(&mut shell);
            let told = printed(&ran);
            assert!(ran.status.success() && !told.contains("about:blank"), "{command}\n{told}");
        }
        let console = banner.iter().find(|line| line.contains("Console")).expect("the console");
        let console: Url = console.split_whitespace().last().expect("its address").parse().expect("an address");
        let answer = Client::new().get(console).basic_auth("any", Some("a password")).send().await.expect("an answer");
        assert!(answer.text().await.expect("a page").contains("Your table is ready.") || !has_curl);
        // Other commands on this machine reach it by addresses of this machine.
        let told = std::fs::read_to_string(folder.join("running.json")).expect("what other commands read");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        for address in ["api", "carrier"] {
            assert!(told[address].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1:")), "{told}");
        }
        drop(running);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
