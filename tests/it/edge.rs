//! Tests the limits on clients without a key, over raw sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use textback::http::listener::{HEAD_TIMEOUT, Limits, Listening};
use textback::http::{body, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::commands::{printed, textback};
use crate::harness::{ADA, ECHO, TestApp};
use crate::overload::serve;

/// Longer than any time limit of textback, and shorter than the timeout of a carrier.
pub const LATE: Duration = Duration::from_secs(14);

/// What a connection answers to these bytes until it is closed, and how long that took.
pub async fn tell(address: SocketAddr, bytes: &[u8]) -> (String, Duration) {
    let began = Instant::now();
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(bytes).await.expect("sent");
    (rest(&mut socket).await, began.elapsed())
}

/// What comes until the connection is closed.
pub async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LATE, socket.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is still open: {}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The first bytes that come.
pub async fn first(socket: &mut TcpStream) -> String {
    let mut bytes = vec![0; 1024];
    let read = tokio::time::timeout(LATE, socket.read(&mut bytes)).await.expect("in time").expect("an answer");
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn without_a_key_no_byte_of_a_body_is_read() {
    let app = TestApp::new().await;
    let head = "POST /v1/agents HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    for (more, challenge) in [
        ("Content-Length: 1000000\r\n\r\n".to_owned(), "Bearer realm=\"textback\"\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n10\r\n".to_owned(), "Bearer realm=\"textback\"\r\n"),
        ("Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n".to_owned(), "Bearer realm=\"textback\"\r\n"),
        (
            "Authorization: Bearer tb_wrong\r\nContent-Length: 1000000\r\n\r\n".to_owned(),
            "Bearer realm=\"textback\", error=\"invalid_token\"\r\n",
        ),
    ] {
        let (answer, took) = tell(app.api, format!("{head}{more}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{more}: {answer}");
        assert!(answer.contains(&format!("www-authenticate: {challenge}")), "{answer}");
        assert!(answer.contains("connection: close\r\n") && took < Duration::from_secs(4), "{took:?} {answer}");
    }
    // A client that sends all of it before it reads still learns why.
    let mut socket = TcpStream::connect(app.api).await.expect("a connection");
    socket.write_all(format!("{head}Content-Length: 200000\r\n\r\n").as_bytes()).await.expect("sent");
    socket.write_all(&vec![b' '; 200_000]).await.expect("sent");
    assert!(rest(&mut socket).await.starts_with("HTTP/1.1 401 "));
    // An unknown path tells a stranger nothing else.
    let nothing = b"GET /v1/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(tell(app.api, nothing).await.0.starts_with("HTTP/1.1 401 "));
    // Where no body is left unread, the connection serves on.
    let mut socket = TcpStream::connect(app.api).await.expect("a connection");
    for _ in 0..2 {
        socket.write_all(b"GET /v1/project HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        let answer = first(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn with_a_key_a_body_is_asked_for_and_read_whole() {
    let app = TestApp::new().await;
    let body = r#"{"name": "a"}"#;
    let head = format!(
        "PUT /v1/templates/a HTTP/1.1\r\nHost: a\r\nAuthorization: bearer {}\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        app.key,
        body.len()
    );
    let mut socket = TcpStream::connect(app.api).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("sent");
    assert!(first(&mut socket).await.starts_with("HTTP/1.1 100 "));
    socket.write_all(body.as_bytes()).await.expect("sent");
    assert!(rest(&mut socket).await.starts_with("HTTP/1.1 400 "), "it was read, and has no body");
}

#[tokio::test]
async fn a_body_that_is_declared_too_long_is_refused_at_once() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let with_key = format!("Content-Type: application/json\r\nAuthorization: Bearer {}\r\n", app.key);
    let webhook = format!("/webhooks/twilio/{}/messages", app.webhook_key);
    let signed = "Content-Type: application/x-www-form-urlencoded\r\nX-Twilio-Signature: a\r\n".to_owned();
    for (path, headers) in [("/v1/agents", &with_key), ("/v1/messages", &with_key), (webhook.as_str(), &signed)] {
        for length in ["1048577", "9007199254740993"] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n");
            let (answer, took) = tell(app.api, head.as_bytes()).await;
            let is_refused = answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large");
            assert!(is_refused, "{path}, {length}: {answer}");
            assert!(took < Duration::from_secs(4), "{path}: {took:?}");
        }
    }
}

#[tokio::test]
async fn a_webhook_of_nobody_is_refused_before_its_body() {
    let app = TestApp::new().await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 60000\r\n\r\n";
    for (key, status) in [("unknown", "404"), (app.webhook_key.as_str(), "403"), ("a%00b", "404"), ("%ff", "404")] {
        let head = format!("POST /webhooks/twilio/{key}/messages HTTP/1.1\r\nHost: a\r\n{form}");
        let (answer, took) = tell(app.api, head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{key}: {answer}");
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_half_or_too_slowly_is_disconnected() {
    let app = TestApp::new().await;
    let with_key = format!(
        "POST /v1/agents HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\n",
        app.key
    );
    let dripping = async {
        let mut socket = TcpStream::connect(app.api).await.expect("a connection");
        let began = Instant::now();
        let mut pace = tokio::time::interval(Duration::from_millis(500));
        for byte in b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Dripping: abcdefghijklmnopqrstuvwxyz\r\n" {
            pace.tick().await;
            if socket.write_all(&[*byte]).await.is_err() {
                break;
            }
            assert!(began.elapsed() < LATE, "a head that drips is still taken");
        }
        (String::new(), began.elapsed())
    };
    // A second head that never ends, on a connection that served a request.
    let second = async {
        let began = Instant::now();
        let mut socket = TcpStream::connect(app.api).await.expect("a connection");
        socket.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        assert!(first(&mut socket).await.starts_with("HTTP/1.1 200 "));
        socket.write_all(b"GET /livez HTTP/1.1\r\nHost").await.expect("sent");
        (rest(&mut socket).await, began.elapsed())
    };
    let length = format!("{with_key}Content-Length: 1000\r\n\r\n{{");
    let chunks = format!("{with_key}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n");
    let (nothing, half, dripping, second, length, chunks) = tokio::join!(
        tell(app.api, b""),
        tell(app.api, b"GET /livez HTTP/1.1\r\nHost: a\r\n"),
        dripping,
        second,
        tell(app.api, length.as_bytes()),
        tell(app.api, chunks.as_bytes()),
    );
    for (what, (answer, took)) in [("nothing", nothing), ("half", half), ("dripping", dripping), ("second", second)] {
        assert_eq!(answer, "", "{what}");
        assert!(took > HEAD_TIMEOUT - Duration::from_secs(2) && took < LATE, "{what}: {took:?}");
    }
    for (what, (answer, took)) in [("a length", length), ("chunks", chunks)] {
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_too_slow"), "{what}: {answer}");
        assert!(took < LATE, "{what}: {took:?}");
    }
}

#[tokio::test]
async fn huge_heads_and_http2_are_refused() {
    let app = TestApp::new().await;
    let huge = format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Huge: {}", "a".repeat(40_000));
    let many = format!("GET /livez HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-Many: a\r\n".repeat(500));
    for head in [huge, many] {
        let answer = tell(app.api, head.as_bytes()).await.0;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut socket = TcpStream::connect(app.api).await.expect("a connection");
    socket.write_all(preface).await.expect("sent");
    let answer = rest(&mut socket).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "no frame of HTTP/2: {answer:?}");
    let upgrade = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    assert!(tell(app.api, upgrade).await.0.starts_with("HTTP/1.1 200 "), "an upgrade is not taken");

    // Where it is asked for, it is spoken: a frame of settings comes.
    let address = serve(Limits { http2: true, ..Limits::default() }).await;
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(preface).await.expect("sent");
    assert_eq!(first(&mut socket).await.as_bytes().get(3), Some(&4));
}

#[tokio::test]
async fn wrong_keys_are_told_to_wait_and_right_ones_pass() {
    let app = TestApp::new().await;
    let statuses = async |keys: Vec<String>| {
        let mut statuses = Vec::new();
        for key in keys {
            let request = app.http.get(format!("http://{}/v1/project", app.api)).bearer_auth(key);
            let answer = request.send().await.expect("an answer");
            if answer.status() == 429 {
                assert_eq!(answer.headers()["retry-after"], "60");
            }
            statuses.push(answer.status().as_u16());
        }
        statuses
    };
    let wrong = |n: usize| format!("tb_{n:043}");
    let guessed = statuses((0..25).map(wrong).collect()).await;
    assert_eq!((guessed[0], guessed[19], guessed[20], guessed[24]), (401, 401, 429, 429));
    app.ok(Method::GET, "/v1/project", None).await;
    // Behind a proxy everybody has the address of somebody who guesses.
    let (_, unused) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    assert_eq!(statuses(vec![unused]).await, [200]);
    // Who knew a key that is revoked knows nothing.
    app.sql("update api_key set revoked_at = now()").await;
    assert_eq!(statuses(vec![app.key.clone()]).await, [429]);
}

#[tokio::test]
async fn every_answer_tells_browsers_what_not_to_do_with_it() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let webhook = format!("/webhooks/twilio/{}/messages", app.webhook_key);
    for (path, key, caching) in [
        ("/livez", false, "no-store"),
        ("/nothing", false, "no-store"),
        ("/v1/project", true, "no-store"),
        ("/v1/project", false, "no-store"),
        ("/docs/", false, "no-store"),
        (webhook.as_str(), false, "no-store"),
    ] {
        let request = app.http.get(format!("http://{}{path}", app.api));
        let request = if key { request.bearer_auth(&app.key) } else { request };
        let answer = request.send().await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("cache-control"), caching, "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
    }
    let stored = app
        .post(
            "messages",
            &format!(
                "AccountSid={}&MessageSid=SM1&From=%2B14155550101&To=%2B14155550199&Body=hi",
                crate::harness::ACCOUNT_SID
            ),
            crate::harness::AUTH_TOKEN,
        )
        .await;
    assert_eq!(
        (stored.status().as_u16(), &stored.headers()["x-content-type-options"]),
        (200, &"nosniff".parse().expect("a value"))
    );
}

#[tokio::test]
async fn names_that_no_database_holds_are_unknown_and_never_a_failure() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    let long = "a".repeat(900);
    let longer = "a".repeat(20_000);
    let odd = [
        "%00",
        "a%00b",
        "%ff",
        "%ed%a0%80",
        "%f4%90%80%80",
        "..%2f..",
        "'%20or%201=1--",
        "%f0%9f%98%80",
        &long,
        &longer,
    ];
    let cursors = ["AA", "AGEA", "_w", "JTAw", "-9999999999999999999999"];
    for value in odd {
        for (method, path) in [
            (Method::GET, format!("/v1/templates/{value}")),
            (Method::DELETE, format!("/v1/templates/{value}")),
            (Method::GET, format!("/v1/countries/{value}")),
            (Method::GET, format!("/v1/agents/{value}")),
            (Method::GET, format!("/v1/agents/{value}/versions")),
            (Method::GET, format!("/v1/numbers/{value}/health")),
            (Method::GET, format!("/v1/sessions/{value}/messages")),
            (Method::GET, format!("/v1/messages/{value}")),
            (Method::DELETE, format!("/v1/messages/{value}")),
            (Method::GET, format!("/v1/media/{value}")),
            (Method::GET, format!("/v1/available-numbers?country={value}")),
            (Method::GET, format!("/v1/available-numbers?country=US&contains={value}")),
            (Method::GET, format!("/v1/sessions?status={value}")),
            (Method::GET, format!("/v1/sessions?limit={value}")),
            (Method::GET, format!("/v1/sessions?cursor={value}")),
            (Method::GET, format!("/v1/templates?cursor={value}")),
            (Method::GET, format!("/v1/countries?cursor={value}")),
            (Method::GET, format!("/v1/consents?cursor={value}")),
        ] {
            let (status, answer) = app.call(&app.key, method.clone(), &path, None).await;
            let known_place = path.contains("cursor=a") && status == 200;
            assert!(
                status.is_client_error() || known_place,
                "{method} {}: {status} {answer}",
                &path[..path.len().min(60)]
            );
        }
        for path in [
            format!("/v1/sessions?number={value}"),
            format!("/v1/sessions?contact={value}"),
            format!("/v1/consents?contact={value}"),
        ] {
            let (status, answer) = app.call(&app.key, Method::GET, &path, None).await;
            let none = status == 200 && answer["items"] == json!([]);
            assert!(none || status.is_client_error(), "{}: {status} {answer}", &path[..path.len().min(60)]);
        }
    }
    for cursor in cursors {
        for list in ["agents", "numbers", "sessions", "consents", "templates", "countries", "scheduled-messages"] {
            let (status, _) = app.call(&app.key, Method::GET, &format!("/v1/{list}?cursor={cursor}"), None).await;
            assert!(!status.is_server_error(), "{list} {cursor}: {status}");
        }
    }
}

#[tokio::test]
async fn times_that_no_database_holds_are_refused() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    for (at, expected) in [
        ("-5000-01-01T00:00:00Z", 400),
        ("-0001-01-01T00:00:00Z", 400),
        ("0000-01-01T00:00:00Z", 400),
        ("1066-10-14T00:00:00Z", 400),
        ("+9999999-01-01T00:00:00Z", 400),
        ("+262142-12-31T00:00:00Z", 400),
        ("+10000-01-01T00:00:00Z", 400),
        ("9999-12-31T23:59:59Z", 422),
        ("2026-13-01T00:00:00Z", 400),
        ("2026-02-30T00:00:00Z", 400),
        ("2016-12-31T23:59:61Z", 400),
        ("soon", 400),
        ("", 400),
        // A leap second is the second after it, and has passed.
        ("2016-12-31T23:59:60Z", 202),
        ("1970-01-01T00:00:00.000000001Z", 202),
    ] {
        let text = json!({"to": ADA, "body": "hi", "send_at": at});
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/messages", Some(text)).await;
        assert_eq!(status.as_u16(), expected, "{at}: {answer}");
    }
}

#[tokio::test]
async fn scrapers_do_not_wait_for_the_database() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let scrape = || async {
        let answer = app.http.get(format!("http://{}/metrics", app.metrics)).send().await.expect("an answer");
        answer.text().await.expect("a text")
    };
    let mut holder = app.storage.pool().begin().await.expect("a transaction");
    sqlx::raw_sql("lock table turn, delivery in access exclusive mode").execute(&mut *holder).await.expect("locked");
    let began = Instant::now();
    futures::future::join_all((0..64).map(|_| scrape())).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    holder.rollback().await.expect("let go");
    let elsewhere = app.http.get(format!("http://{}/metrics", app.api)).send().await.expect("an answer");
    assert_eq!(elsewhere.status(), 404, "not where the carrier comes");
}

#[tokio::test]
async fn the_simulated_carrier_has_the_same_edge() {
    let simulator = twilio_simulator::Simulator::new(Default::default()).expect("a simulator");
    let listening = Listening::at(SocketAddr::from(([127, 0, 0, 1], 0)), "nothing").await.expect("a port");
    let address = listening.address();
    let routes = router::edge(body::bounded(simulator.routes()));
    tokio::spawn(listening.serve(routes, std::future::pending()));
    let head =
        "POST /simulator/texts HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 300000\r\n\r\n";
    let long = tell(address, &[head.as_bytes(), &vec![b' '; 300_000]].concat()).await.0;
    assert!(long.starts_with("HTTP/1.1 413 ") && long.contains("x-content-type-options: nosniff"), "{long}");
    let slow = tell(address, head.replace("300000", "200000").as_bytes()).await.0;
    assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
}

#[test]
fn dev_requires_a_password_for_remote_clients() {
    for (setting, other) in
        [("TEXTBACK_LISTEN", "TEXTBACK_SIMULATOR_LISTEN"), ("TEXTBACK_SIMULATOR_LISTEN", "TEXTBACK_LISTEN")]
    {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let mut dev = textback();
            dev.args(["dev", "--data-dir", "/dev/null/textback"]).env(setting, address).env(other, "127.0.0.1:0");
            // A blank password is none.
            for blank in [None, Some(""), Some("  "), Some("\t")] {
                dev.env_remove("TEXTBACK_CONSOLE_PASSWORD")
                    .envs(blank.map(|blank| ("TEXTBACK_CONSOLE_PASSWORD", blank)));
                let refused = dev.output().expect("it runs");
                assert!(!refused.status.success());
                let told = printed(&refused);
                assert!(told.contains(setting) && told.contains("TEXTBACK_CONSOLE_PASSWORD"), "{blank:?}: {told}");
            }
            let with = dev.env("TEXTBACK_CONSOLE_PASSWORD", "sesame").output().expect("it runs");
            assert!(
                !printed(&with).contains("TEXTBACK_CONSOLE_PASSWORD"),
                "it goes on to its folder: {}",
                printed(&with)
            );
        }
    }
    for blank in ["", " "] {
        let mut dev = textback();
        dev.args(["dev", "--data-dir", "/dev/null/textback", "--listen", "0.0.0.0:0", "--console-password", blank]);
        let told = printed(&dev.output().expect("it runs"));
        assert!(told.contains("TEXTBACK_LISTEN is 0.0.0.0:0"), "{told}");
    }
    let mut dev = textback();
    dev.args(["dev", "--data-dir", "/dev/null/textback"]).env("TEXTBACK_PUBLIC_URL", "https://sms.example.com");
    let refused = dev.env("TEXTBACK_LISTEN", "127.0.0.1:0").env("TEXTBACK_SIMULATOR_LISTEN", "127.0.0.1:0").output();
    let refused = printed(&refused.expect("it runs"));
    assert!(refused.contains("TEXTBACK_PUBLIC_URL") && refused.contains("TEXTBACK_CONSOLE_PASSWORD"), "{refused}");
}

/// Compose files pass a variable that is not set as an empty one.
#[test]
fn an_empty_variable_counts_as_not_set() {
    let run = |command: &str, variables: &[(&str, &str)]| {
        let ran = textback().arg(command).envs(variables.iter().copied()).output().expect("it runs");
        (ran.status.success(), printed(&ran))
    };
    for blank in ["", " "] {
        for command in ["migrate", "doctor", "serve"] {
            let (done, told) = run(command, &[("DATABASE_URL", blank), ("TEXTBACK_PUBLIC_URL", "http://127.0.0.1:9")]);
            assert!(!done && told.contains("DATABASE_URL is not set"), "{command} {blank:?}: {told}");
        }
        // Those are read before the database is asked for.
        let all = [
            ("TEXTBACK_PUBLIC_URL", blank),
            ("TEXTBACK_ALLOW_HOSTS", blank),
            ("TEXTBACK_LISTEN", blank),
            ("TEXTBACK_METRICS_LISTEN", blank),
            ("TEXTBACK_SECRET_KEY", blank),
            ("TEXTBACK_TURN_SLOTS", blank),
            ("TEXTBACK_WITH_WORKERS", blank),
            ("TEXTBACK_LOG", blank),
        ];
        let (done, told) = run("serve", &all);
        assert!(!done && told.contains("DATABASE_URL is not set"), "{blank:?}: {told}");
        let (done, told) = run("migrate", &[("TEXTBACK_GRANT_TO", blank)]);
        assert!(!done && told.contains("DATABASE_URL is not set"), "{blank:?}: {told}");
    }
    // There is no default for workers: they listen nowhere.
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let (done, told) = run("work", &[("DATABASE_URL", "postgres://127.0.0.1:9/a"), ("TEXTBACK_SECRET_KEY", key)]);
    assert!(!done && told.contains("TEXTBACK_PUBLIC_URL is not set"), "{told}");
    let ran = textback().args(["migrate", "--grant-to", ""]).output().expect("it runs");
    assert!(!ran.status.success() && printed(&ran).contains("--grant-to"), "{}", printed(&ran));
    let ran = textback().args(["migrate", "--database-url", ""]).output().expect("it runs");
    assert!(!ran.status.success() && printed(&ran).contains("DATABASE_URL is not set"), "{}", printed(&ran));
}
