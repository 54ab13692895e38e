//! Tests that no secret is printed or answered: each secret, in each wrong form, as a flag and as a
//! variable, through every command, and in the requests and responses of the API.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::json;

use crate::commands::{Running, printed, run, textback};
use crate::harness::{ACCOUNT_SID, TestApp, id};

/// What each wrong secret of a test contains.
const MARK: &str = "Sq7Zk9";

/// An agent that can be created, so that the commands with a file come as far as their settings.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/agents/demo.star");

/// Every command that the help names, with arguments that would do.
const COMMANDS: [&[&str]; 30] = [
    &["dev"],
    &["serve"],
    &["work"],
    &["migrate"],
    &["doctor"],
    &["healthcheck", "--url", "http://127.0.0.1:1"],
    &["openapi"],
    &["configuration"],
    &["simulate", "serve"],
    &["simulate", "send", "--from", "+14155550101", "--to", "+14155550199", "hi"],
    &["simulate", "phone", "+14155550101"],
    &["simulate", "advance-clock", "--from", "+14155550101", "--to", "+14155550199"],
    &["project", "create", "acme"],
    &["simulate", "chat", "--from", "+14155550101", "--to", "+14155550199"],
    &["agent", "check", "/dev/null"],
    &["agent", "new", "/dev/null/none"],
    &["agent", "chat", DEMO],
    &["agent", "test", DEMO],
    &["agent", "push", DEMO, "--project", "acme"],
    &["agent", "create", DEMO, "--project", "acme"],
    &["agent", "update", DEMO, "--project", "acme"],
    &["quarantine", "list", "--project", "acme"],
    &["quarantine", "replay", "--project", "acme", "--all"],
    &["reporting", "grant", "dashboard", "--project", "acme"],
    &["reporting", "revoke", "dashboard"],
    &["reporting", "rebuild"],
    &["reporting", "list"],
    &["reporting", "dashboards", "/dev/null/none"],
    &["report", "texts"],
    &["help"],
];

/// The wrong forms of a key: too short, too long, not base64, with blanks, quotes and line ends,
/// two of them, a flag.
fn wrong_keys() -> Vec<String> {
    vec![
        MARK.to_owned(),
        MARK.repeat(30),
        format!("{MARK}="),
        format!("{MARK}*not base64"),
        format!("\"{}\"", MARK.repeat(7)),
        format!(" {MARK} "),
        format!("{MARK}\n"),
        format!("{MARK}\n{MARK}"),
        format!("{MARK},{MARK}"),
        format!("-{MARK}"),
        format!("--{MARK}"),
        format!("{MARK}é\u{202e}"),
    ]
}

fn wrong_urls() -> Vec<String> {
    vec![
        format!("postgres://u:{MARK}@127.0.0.1:1/app"),
        format!("postgres://u:{MARK}@no-such-host.invalid/app"),
        format!("postgres://u:{MARK}#x@127.0.0.1:1/app"),
        format!("postgres://u:x#{MARK}@127.0.0.1:1/app"),
        format!("postgres://u:x/{MARK}@127.0.0.1:1/app"),
        format!("postgres://u:1?{MARK}@127.0.0.1:1/app"),
        format!("postgres://u:x@127.0.0.1:{MARK}/app"),
        format!("postgres://u:x@127.0.0.1:1/app?password={MARK}&pasword={MARK}&{MARK}=x"),
        format!("postgres://u:x@127.0.0.1:1/app?sslmode={MARK}&sslrootcert=/none"),
        format!("mysql://u:{MARK}@127.0.0.1:1/app"),
        format!("{MARK}://u:{MARK}@127.0.0.1:1/app"),
        format!("host=127.0.0.1 password={MARK}"),
        MARK.to_owned(),
        format!("postgres://u:{MARK}%ff@127.0.0.1:1/app\n"),
    ]
}

/// Runs a command to its end. What would serve ends because its address can't be bound: it is for
/// documentation (RFC 5737).
fn said(mut command: Command) -> String {
    for name in ["TEXTBACK_LISTEN", "TEXTBACK_WORK_LISTEN", "TEXTBACK_SIMULATOR_LISTEN"] {
        command.env(name, "192.0.2.1:1");
    }
    command.env("TEXTBACK_SIMULATOR_URL", "http://127.0.0.1:1").env("TEXTBACK_CONSOLE_URL", "http://127.0.0.1:1");
    command.env("TEXTBACK_METRICS_LISTEN", "off").env("RUST_LOG", "debug").env("TEXTBACK_DATA_DIR", "/dev/null/none");
    command.env("TEXTBACK_PUBLIC_URL", "http://127.0.0.1:9");
    printed(&run(&mut command))
}

#[test]
fn the_test_knows_every_command() {
    let help = printed(&run(textback().arg("help")));
    let (_, commands) = help.split_once("Commands:").expect("a list");
    let (commands, _) = commands.split_once("Options:").expect("its end");
    for name in commands.lines().filter_map(|line| line.split_whitespace().next()) {
        assert!(COMMANDS.iter().any(|command| command[0] == name), "{name} is not tried with wrong secrets");
    }
}

#[test]
fn no_command_prints_a_wrong_secret_key_or_password() {
    let values = wrong_keys();
    for command in COMMANDS {
        // A command ends at the first of these mistakes, so all forms go through one that reads
        // keys, one through the others.
        let all = matches!(command[0], "serve" | "dev");
        for value in values.iter().take(if all { values.len() } else { 1 }) {
            for name in [
                "TEXTBACK_SECRET_KEY",
                "TEXTBACK_CONSOLE_PASSWORD",
                "TEXTBACK_LLM_KEY",
                "TEXTBACK_SIGNING_SECRET",
                "PGPASSWORD",
                "TEXTBACK_SECRETKEY",
                "TEXTBACK_PASSWORD",
            ] {
                let mut process = textback();
                process.args(command).env(name, value);
                let told = said(process);
                assert!(!told.contains(MARK), "{name}={value:?} {command:?}: {told}");
            }
            for flag in [
                "--secret-key",
                "--console-password",
                "--auth-token",
                "--llm-key",
                "--secretkey",
                "--secret_key",
                "--database-ur",
            ] {
                for arguments in [
                    vec![flag.to_owned(), value.clone()],
                    vec![format!("{flag}={value}")],
                    vec![format!("{flag}="), value.clone()],
                ] {
                    let mut process = textback();
                    process.args(command).args(arguments);
                    let told = said(process);
                    assert!(!told.contains(MARK), "{flag} {value:?} {command:?}: {told}");
                }
            }
        }
    }
}

#[test]
fn no_command_prints_the_password_of_the_database() {
    for command in COMMANDS {
        let uses_it = matches!(
            command[0],
            "serve" | "work" | "migrate" | "doctor" | "project" | "quarantine" | "report" | "reporting"
        );
        for url in wrong_urls().into_iter().take(if uses_it { usize::MAX } else { 1 }) {
            let key = textback::secret::SecretKeys::draw().1;
            let mut process = textback();
            process.args(command).env("DATABASE_URL", &url).env("TEXTBACK_SECRET_KEY", &key);
            let mut flag = textback();
            flag.args(command).args(["--database-url", &url]).env("TEXTBACK_SECRET_KEY", &key);
            let mut misspelt = textback();
            misspelt.args(command).args([&format!("--database_url={url}"), &url]);
            for process in [process, flag, misspelt] {
                let told = said(process);
                assert!(!told.contains(MARK) && !told.contains(&key), "{url} {command:?}: {told}");
            }
        }
    }
}

/// An address may have a password, too, such as that of a console or of a proxy.
#[test]
fn no_command_prints_the_password_of_an_address() {
    let phones = ["--from", "+14155550101", "--to", "+14155550199"];
    let texts = [&["simulate", "send"][..], &phones, &["hi"]].concat();
    let advances = [&["simulate", "advance-clock"][..], &phones].concat();
    for (command, flag, name) in [
        (&["serve"][..], "--public-url", "TEXTBACK_PUBLIC_URL"),
        (&["work"], "--public-url", "TEXTBACK_PUBLIC_URL"),
        (&["doctor"], "--public-url", "TEXTBACK_PUBLIC_URL"),
        (&["dev"], "--public-url", "TEXTBACK_PUBLIC_URL"),
        (&["serve"], "--twilio-api-url", "TEXTBACK_TWILIO_API_URL"),
        (&texts, "--simulator-url", "TEXTBACK_SIMULATOR_URL"),
        (&advances, "--console-url", "TEXTBACK_CONSOLE_URL"),
    ] {
        for url in [
            format!("http://u:{MARK}@127.0.0.1:1"),
            format!("https://u:{MARK}@sms.example.com/?a=1"),
            format!("ftp://u:{MARK}@sms.example.com"),
            format!("u:{MARK}@sms.example.com"),
            format!("http://u:{MARK}@sms example.com"),
        ] {
            let settings =
                [("DATABASE_URL", "postgres://u@127.0.0.1:1/app".to_owned()), ("RUST_LOG", "debug".to_owned())];
            let key = textback::secret::SecretKeys::draw().1;
            let given = [vec![flag.to_owned(), url.clone()], vec![format!("{flag}={url}")], vec![]];
            for arguments in given {
                let mut process = textback();
                process.args(command).args(&arguments).envs(settings.clone()).env("TEXTBACK_SECRET_KEY", &key);
                process.env("TEXTBACK_LISTEN", "192.0.2.1:1").env("TEXTBACK_WORK_LISTEN", "192.0.2.1:1");
                process.env("TEXTBACK_DATA_DIR", "/dev/null/none");
                if arguments.is_empty() {
                    process.env(name, &url);
                }
                let told = printed(&run(&mut process));
                assert!(!told.contains(MARK), "{name} {command:?} {arguments:?}: {told}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_with_a_secret_makes_the_api_or_its_log_repeat_it() {
    let app = TestApp::new().await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let mut serve = app.command("serve", &app.secret_key);
    serve.env("TEXTBACK_LISTEN", address.to_string()).env("TEXTBACK_METRICS_LISTEN", "off").env("RUST_LOG", "debug");
    let mut serve = Running::start(&mut serve, false);
    let mut said = serve.all_until("server started");
    let pid = Pid::from_raw(i32::try_from(serve.id()).expect("a pid"));
    // The log is longer than a pipe holds, so it is read meanwhile.
    let rest = tokio::task::spawn_blocking(move || serve.until_end());
    let service = json!({"name": "service", "kind": "http", "url": "https://agent.example.com/"});
    let made = app.ok(Method::POST, "/v1/agents", Some(service)).await;
    let signing_secret = made["signing_secret"].as_str().expect("a secret").to_owned();
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{address}{path}");

    let mut answers = Vec::new();
    for wrong in wrong_keys() {
        for body in [
            json!({"account_sid": ACCOUNT_SID, "auth_token": wrong}),
            json!({"account_sid": ACCOUNT_SID, "auth_token": {"token": wrong}}),
            json!({"account_sid": ACCOUNT_SID, "auth_token": [wrong]}),
            json!({"account_sid": ACCOUNT_SID, "auth_token": crate::harness::AUTH_TOKEN, "next_auth_token": wrong, "api_key_secret": wrong}),
            json!({"account_sid": ACCOUNT_SID, "authToken": wrong}),
            json!({"account_sid": 7, "auth_token": wrong}),
            json!({"auth_token": format!("{wrong}\0")}),
            json!([wrong]),
        ] {
            answers
                .push(http.put(url("/v1/carrier")).bearer_auth(&app.key).json(&body).send().await.expect("an answer"));
        }
        let half = format!(r#"{{"account_sid": "{ACCOUNT_SID}", "auth_token": "{MARK}"#);
        answers.push(
            http.put(url("/v1/carrier"))
                .bearer_auth(&app.key)
                .header("content-type", "application/json")
                .body(half)
                .send()
                .await
                .expect("an answer"),
        );
        for scheme in ["Bearer ", "bearer ", "Basic ", "", "Bearer tb_"] {
            // What can't be sent as a header is no attempt.
            if let Ok(value) = HeaderValue::from_bytes(format!("{scheme}{wrong}").as_bytes()) {
                answers
                    .push(http.get(url("/v1/sessions")).header(AUTHORIZATION, value).send().await.expect("an answer"));
            }
        }
        let path = format!("/webhooks/twilio/{}/messages", wrong.trim());
        answers.push(http.post(url(&path)).form(&[("AccountSid", ACCOUNT_SID)]).send().await.expect("an answer"));
    }
    for path in ["carrier".to_owned(), "agents".to_owned(), format!("agents/{}", id(&made["id"])), "keys".to_owned()] {
        let answer = http.get(url(&format!("/v1/{path}"))).bearer_auth(&app.key).send().await.expect("an answer");
        answers.push(answer);
    }
    for answer in answers {
        let (status, path, body) =
            (answer.status(), answer.url().path().to_owned(), answer.text().await.expect("a text"));
        for secret in [MARK, crate::harness::AUTH_TOKEN, &signing_secret, &app.key, &app.secret_key] {
            assert!(!body.contains(secret), "{path} {status}: {body}");
        }
    }
    kill(pid, Signal::SIGTERM).expect("it is there");
    said.extend(rest.await.expect("read"));
    let said = said.join("\n");
    for secret in [MARK, crate::harness::AUTH_TOKEN, &signing_secret, &app.key, &app.secret_key] {
        assert!(
            !said.contains(secret),
            "{}",
            said.lines().filter(|line| line.contains(secret)).collect::<Vec<_>>().join("\n")
        );
    }
}
