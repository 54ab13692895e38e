//! Tests more connections, slow readers and bodies than a process may hold: other clients are still
//! served.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use poem::Route;
use reqwest::Method;
use serde_json::json;
use textback::carriers::twilio::form::Form;
use textback::carriers::twilio::signature;
use textback::http::listener::{Limits, Listening};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use twilio_simulator::Account;

use crate::commands::Running;
use crate::edge::{LATE, first, rest, tell};
use crate::harness::{ADA, AUTH_TOKEN, ECHO, TestApp};

const OTHER_ACCOUNT: &str = "AC00000000000000000000000000000002";

/// A page, a request that never ends and a long answer, under these limits.
pub async fn serve(limits: Limits) -> SocketAddr {
    let listening = Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)), "nothing").await.expect("a port").with(limits);
    let address = listening.address();
    let page = poem::endpoint::make_sync(|_| "here\n");
    let waiting = poem::endpoint::make(|_| std::future::pending::<&str>());
    let long = poem::endpoint::make_sync(|_| vec![b'a'; 64 << 20]);
    let routes = Route::new().at("/", page).at("/waiting", waiting).at("/long", long);
    tokio::spawn(listening.serve(routes, std::future::pending()));
    address
}

const ASKING: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection on which a request was answered.
async fn used(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(ASKING).await.expect("sent");
    assert!(first(&mut socket).await.starts_with("HTTP/1.1 200 "));
    socket
}

#[tokio::test]
async fn at_the_limit_busy_connections_stay_and_a_new_one_is_refused() {
    let address = serve(Limits { connections: 20, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut socket = used(address).await;
        socket.write_all(b"GET /waiting HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        open.push(socket);
    }
    let began = Instant::now();
    loop {
        // Until the last of the requests has come.
        let answer = tell(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.0;
        if answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections") {
            break;
        }
        assert!(began.elapsed() < LATE, "{answer}");
    }
    for _ in 0..300 {
        let answer = tell(address, ASKING).await.0;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections"), "{answer}");
    }
    open.clear();
    let began = Instant::now();
    while !tell(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.0.contains("here") {
        assert!(began.elapsed() < LATE, "no room is made");
    }
}

#[tokio::test]
async fn at_the_limit_an_idle_connection_is_closed_for_a_new_one() {
    let address = serve(Limits { connections: 20, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(used(address).await);
    }
    // The one that was used last is not the idlest.
    let mut oldest = open.remove(0);
    let mut newer = open.pop().expect("a connection");
    let mut newcomer = used(address).await;
    assert_eq!(rest(&mut oldest).await, "", "the idlest was closed");
    for socket in [&mut newer, &mut newcomer] {
        socket.write_all(ASKING).await.expect("sent");
        assert!(first(socket).await.starts_with("HTTP/1.1 200 "), "the others are served on");
    }
    // Neither many that say nothing nor many that begin a head lock anybody out.
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nHost"] {
        let mut silent = Vec::new();
        for _ in 0..20 {
            let mut socket = TcpStream::connect(address).await.expect("a connection");
            socket.write_all(bytes).await.expect("sent");
            silent.push(socket);
        }
        let began = Instant::now();
        while !tell(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.0.contains("here") {
            assert!(began.elapsed() < Duration::from_secs(5), "silent connections lock others out");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_read_too_slowly_ends() {
    let answer = Duration::from_millis(500);
    let address = serve(Limits { answer, bytes_a_second: 1 << 30, ..Limits::default() }).await;
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let (mut bytes, mut all) = (vec![0; 1000], 0);
    while let Ok(read @ 1..) = socket.read(&mut bytes).await {
        all += read;
        // Slowly, until nothing more is sent; then what has come already is read.
        if began.elapsed() < Duration::from_secs(2) {
            pace.tick().await;
        } else {
            bytes.resize(1 << 20, 0);
        }
        assert!(began.elapsed() < LATE, "it is still sent");
    }
    assert!(all < 64 << 20, "it was cut: {all}");
    // One that is read at once comes whole.
    let whole = tell(address, b"GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.0;
    assert!(whole.len() > 64 << 20, "{}", whole.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_has_metrics_of_their_own_no_docs_and_a_bound_on_bodies() {
    let app = TestApp::new().await;
    let mut command = app.command("serve", &app.secret_key);
    command
        .env("TEXTBACK_LISTEN", "127.0.0.1:0")
        .env("TEXTBACK_METRICS_LISTEN", "127.0.0.1:0")
        .env("TEXTBACK_BODY_MEMORY_MB", "4");
    let mut serve = Running::start(&mut command, false);
    let address = |line: String| -> SocketAddr {
        let (_, address) = line.split_once("address=").expect("an address");
        address.split_whitespace().next().and_then(|address| address.parse().ok()).expect("an address")
    };
    let api = address(serve.until("address="));
    let metrics = address(serve.until("metrics listener started"));
    let status = |at: SocketAddr, path: &'static str| {
        let asking = app.http.get(format!("http://{at}{path}")).send();
        async move { asking.await.expect("an answer").status().as_u16() }
    };
    for path in ["/metrics", "/docs/", "/docs", "/openapi.yaml"] {
        assert_eq!(status(api, path).await, 404, "{path}");
    }
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(status(metrics, path).await, 200, "{path}");
    }
    a_project_at_its_limit_leaves_memory_for_others(&app, api).await;
}

/// One project fills what it may of the 2 MiB for requests and of the 2 MiB for webhooks, and
/// another one is served all the same.
async fn a_project_at_its_limit_leaves_memory_for_others(app: &TestApp, api: SocketAddr) {
    let (other, other_key) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    app.simulator.add_account(Account::new(OTHER_ACCOUNT, AUTH_TOKEN));
    let credentials = json!({"account_sid": OTHER_ACCOUNT, "auth_token": AUTH_TOKEN});
    let (status, answer) = app.call(&other_key, Method::PUT, "/v1/carrier", Some(credentials)).await;
    assert!(status.is_success(), "{answer}");
    let agent = format!(
        "POST /v1/agents HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\nContent-Length: 900000\r\n\r\n",
        app.key
    );
    let agent = [agent.as_bytes(), &vec![b' '; 200_000]].concat();
    let text = format!(
        "POST /webhooks/twilio/{}/messages HTTP/1.1\r\nHost: a\r\nX-Twilio-Signature: a\r\nContent-Length: 64000\r\n\r\n",
        app.webhook_key
    );
    let text = [text.as_bytes(), &vec![b' '; 60_000]].concat();
    let slow = |bytes: &[u8], many: usize| {
        let bytes = bytes.to_vec();
        tokio::spawn(async move { futures::future::join_all((0..many).map(|_| tell(api, &bytes))).await })
    };
    let (agents, texts) = (slow(&agent, 12), slow(&text, 40));
    let refused = async |path: String, key: Option<&str>, bytes: usize| {
        let request = app.http.post(format!("http://{api}{path}")).header(signature::HEADER, "a");
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        let answer = request.body(vec![b' '; bytes]).send().await.expect("an answer");
        answer.text().await.expect("a text").contains("too_many_bodies")
    };
    let began = Instant::now();
    while !(refused("/v1/agents".to_owned(), Some(&app.key), 300_000).await
        && refused(format!("/webhooks/twilio/{}/messages", app.webhook_key), None, 64_000).await)
    {
        assert!(began.elapsed() < Duration::from_secs(4), "the project's share is not bounded");
    }
    // A form of the carrier's and a request of another project pass.
    let form = format!(
        "AccountSid={OTHER_ACCOUNT}&MessageSid=SM1&From=%2B14155550101&To=%2B14155550123&Body={}",
        "a".repeat(60_000)
    );
    let path = format!("/webhooks/twilio/{}/messages", other.webhook_key);
    let token = secrecy::SecretString::from(AUTH_TOKEN.to_owned());
    let signed = signature::sign(&token, &format!("http://{}{path}", app.api), &Form::read(form.as_bytes()));
    let posted = app.http.post(format!("http://{api}{path}")).header(signature::HEADER, signed);
    let posted = posted.header("Content-Type", "application/x-www-form-urlencoded").body(form).send().await;
    assert_eq!(posted.expect("an answer").status(), 200);
    let request = app.http.put(format!("http://{api}/v1/templates/a")).bearer_auth(&other_key);
    let request = request.json(&json!({"body": "a".repeat(500)})).send().await.expect("an answer");
    assert_eq!(request.status(), 200);
    let (agents, texts) = (agents.await.expect("answers"), texts.await.expect("answers"));
    for (what, answers) in [("agents", agents), ("texts", texts)] {
        let with = |status: &str| answers.iter().filter(|(answer, _)| answer.starts_with(status)).count();
        let (slow, many) = (with("HTTP/1.1 408 "), with("HTTP/1.1 503 "));
        assert!(slow > 0 && many > 0 && slow + many == answers.len(), "{what}: {slow} slow, {many} too many");
    }
}

#[tokio::test]
async fn a_webhook_whose_body_is_slow_is_told_so_and_the_database_is_not_blamed() {
    let app = TestApp::new().await;
    let head = format!(
        "POST /webhooks/twilio/{}/messages HTTP/1.1\r\nHost: a\r\nX-Twilio-Signature: a\r\nContent-Length: 1000\r\n\r\nFrom=",
        app.webhook_key
    );
    let (answer, took) = tell(app.api, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_too_slow"), "{answer}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    let ready = app.http.get(format!("http://{}/readyz", app.api)).send().await.expect("an answer");
    assert_eq!(ready.status(), 200);
}

#[tokio::test]
async fn only_an_agents_source_may_be_long() {
    let app = TestApp::new().await;
    let long = "a".repeat(100_000);
    for (method, path, body, expected) in [
        (Method::PATCH, "/v1/project", json!({"help_message": long}), 413),
        (Method::PUT, "/v1/templates/a", json!({"body": long}), 413),
        (
            Method::POST,
            "/v1/messages",
            json!({"to": ADA, "template": "a", "variables": {"a": "a".repeat(200_000)}}),
            413,
        ),
        (Method::POST, "/v1/messages", json!({"to": ADA, "template": "a", "variables": {"a": long}}), 422),
        (Method::POST, "/v1/agents", json!({"name": "a", "kind": "script", "source": format!("{ECHO}# {long}")}), 201),
    ] {
        let (status, answer) = app.call(&app.key, method, path, Some(body)).await;
        assert_eq!(status.as_u16(), expected, "{path}: {answer}");
    }
}
