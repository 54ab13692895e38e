//! Tests what is told of a database that can't be used as it is: by the log of a process, by
//! `/readyz`, by the API and by doctor.

use std::net::SocketAddr;
use std::process::Command;

use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use textback::secret::SecretKeys;
use textback::storage::{agent, key_rotation};

use crate::commands::{Running, printed, run, textback};
use crate::harness::{ACCOUNT_SID, AUTH_TOKEN, TestApp, empty_database, id};
use crate::process_harness::ProcessHarness;
use crate::rights::documented;

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port")
}

/// A command that serves at an address, without metrics.
fn served_at(mut command: Command, address: SocketAddr) -> Command {
    command.env("TEXTBACK_LISTEN", address.to_string()).env("TEXTBACK_METRICS_LISTEN", "off");
    command
}

/// The status of an address and its JSON, or its text.
async fn got(address: SocketAddr, path: &str, key: &str) -> (u16, Value) {
    let request = reqwest::Client::new().get(format!("http://{address}{path}")).bearer_auth(key);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a text");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Waits until `/readyz` has a status, and returns what it says.
async fn until_readyz(address: SocketAddr, status: u16) -> Value {
    for _ in 0..600 {
        let (found, body) = got(address, "/readyz", "").await;
        if found == status {
            return body;
        }
        tokio::task::yield_now().await;
    }
    panic!("/readyz never answers {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_decrypt_the_data_is_refused_at_start_and_told() {
    let app = TestApp::new().await;
    let service = json!({"name": "service", "kind": "http", "url": "https://agent.example.com/"});
    let agent_id = id(&app.ok(Method::POST, "/v1/agents", Some(service)).await["id"]);
    let (other, other_text) = SecretKeys::draw();

    for command in ["serve", "work", "dev"] {
        let mut process = served_at(app.command(command, &other_text), free_address());
        process.env("TEXTBACK_SIMULATOR_LISTEN", "127.0.0.1:0");
        process.env("TEXTBACK_DATA_DIR", std::env::temp_dir().join(format!("textback-key-{}", std::process::id())));
        let refused = run(&mut process);
        let told = printed(&refused);
        assert_eq!(refused.status.code(), Some(1), "{command}: {told}");
        for part in
            ["2 stored secrets", &agent_id.to_string(), "carrier account of project", "A lost secret key", other.id()]
        {
            assert!(told.contains(part), "{command}, {part}: {told}");
        }
        assert!(!told.contains(&other_text), "{told}");
    }
    let doctor = printed(&run(&mut app.command("doctor", &other_text)));
    assert!(doctor.contains("BAD   secret key") && doctor.contains(&agent_id.to_string()), "{doctor}");

    // With both keys, as during a rotation, all is well, in both orders.
    for both in [format!("{},{other_text}", app.secret_key), format!("{} , {other_text}", app.secret_key)] {
        let address = free_address();
        let mut serve = Running::start(&mut served_at(app.command("serve", &both), address), false);
        serve.until("server started");
        until_readyz(address, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_process_replaced_makes_a_process_not_ready_until_it_has_it() {
    let app = TestApp::new().await;
    let (_, new_text) = SecretKeys::draw();
    let address = free_address();
    let mut serve = Running::start(&mut served_at(app.command("serve", &app.secret_key), address), false);
    serve.until("server started");
    until_readyz(address, 200).await;

    let rotated: SecretKeys = format!("{new_text},{}", app.secret_key).parse().expect("keys");
    key_rotation::re_encrypt(&app.storage, &rotated).await.expect("re-encrypted");
    let problem = until_readyz(address, 503).await;
    assert_eq!(problem["code"], "secret_key_wrong");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("1 stored secrets")), "{problem}");

    let back: SecretKeys = format!("{},{new_text}", app.secret_key).parse().expect("keys");
    key_rotation::re_encrypt(&app.storage, &back).await.expect("re-encrypted");
    until_readyz(address, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_whose_key_is_missing_is_named_and_the_documented_statement_removes_what_is_lost() {
    let app = TestApp::new().await;
    let service = json!({"name": "service", "kind": "http", "url": "https://agent.example.com/"});
    let agent_id = id(&app.ok(Method::POST, "/v1/agents", Some(service)).await["id"]);
    app.sql("update agent set signing_key_id = 'deadbeef'").await;
    let refused = printed(&run(&mut served_at(app.command("serve", &app.secret_key), free_address())));
    assert!(refused.contains("1 stored secrets") && refused.contains("deadbeef"), "{refused}");
    assert!(refused.contains(&format!("the agent {agent_id}")), "{refused}");

    let statement = documented("lost-key").replace("KEY", "deadbeef");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(app.storage.pool()).await.expect("as documented");
    let address = free_address();
    let mut serve = Running::start(&mut served_at(app.command("serve", &app.secret_key), address), false);
    serve.until("server started");
    until_readyz(address, 200).await;
    let version = json!({"kind": "http", "url": "https://agent.example.com/next"});
    let made = app.ok(Method::POST, &format!("/v1/agents/{agent_id}/versions"), Some(version)).await;
    let secrets = agent::signing_secrets(&app.storage, &app.secret_key.parse().expect("a key"), agent_id).await;
    let secrets = secrets.expect("they decrypt");
    let secrets: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, [made["signing_secret"].as_str().expect("a secret")]);

    app.sql("update carrier_account set key_id = 'deadbeef'").await;
    let statement = documented("lost-key").replace("KEY", "deadbeef");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(app.storage.pool()).await.expect("as documented");
    let account = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN});
    app.ok(Method::PUT, "/v1/carrier", Some(account)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_is_told_of_once_and_by_readyz_and_doctor() {
    let mut harness = ProcessHarness::start("reads").await;
    harness
        .sql("create role reader login; grant usage on schema textback to reader; grant select on all tables in schema textback to reader")
        .await;
    let url = harness.url.replace("textback@", "reader@");
    harness.variables.push(("DATABASE_URL", url));
    harness.variables.push(("RUST_LOG", "info".to_owned()));
    let metrics = free_address();
    let more = [("TEXTBACK_WITH_WORKERS", "1"), ("TEXTBACK_METRICS_LISTEN", &metrics.to_string())];
    let mut serve = Running::start(&mut harness.command("serve", &more), false);
    let mut said = serve.all_until("server started");
    assert!(
        said.iter().any(|line| line.contains("grant delete, insert, update on table textback.agent to reader")),
        "{said:?}"
    );

    // Its workers try again and again. That is said once for each kind of job.
    let failures = async || {
        let page =
            reqwest::get(format!("http://{metrics}/metrics")).await.expect("an answer").text().await.expect("a page");
        let counts = page.lines().filter(|line| line.starts_with("textback_claim_failures_total"));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    while failures().await < 30.0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        assert_eq!(harness.readiness().await, (503, "database_rights_missing".to_owned()));
    }
    let problem = until_readyz(harness.api, 503).await;
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains("grant delete, insert, update on table")),
        "{problem}"
    );
    let doctor = harness.doctor();
    assert!(
        doctor.contains("BAD   rights") && doctor.contains("grant delete, insert, update on table textback."),
        "{doctor}"
    );
    said.extend(serve.rest());
    for (sentence, most) in [
        ("no job could be claimed", 7),
        ("the process was found not ready", 1),
        ("the process started without being ready", 1),
    ] {
        let times = said.iter().filter(|line| line.contains(sentence)).count();
        assert!((1..=most).contains(&times), "{sentence}: {times} times in {said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_schema_is_told_which_right_it_lacks() {
    let mut harness = ProcessHarness::start("no-usage").await;
    harness.sql("create role stranger login").await;
    harness.variables.push(("DATABASE_URL", harness.url.replace("textback@", "stranger@")));
    let grant = "grant usage on schema textback to stranger";
    let mut serve = Running::start(&mut harness.command("serve", &[]), false);
    let warned = serve.until("the process started without being ready");
    assert!(warned.contains(grant) && !warned.contains("run: textback migrate;"), "{warned}");
    serve.until("server started");
    let problem = until_readyz(harness.api, 503).await;
    assert!(problem["code"] == "database_rights_missing" && problem.to_string().contains(grant), "{problem}");
    let (status, refused) = got(harness.api, "/v1/sessions", "tb_0123456789012345678901234567890123456789012").await;
    assert_eq!(status, 503, "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("may not use it")), "{refused}");
    for mut command in [harness.command("doctor", &[]), {
        let mut create = harness.command("project", &[]);
        create.args(["create", "x"]);
        create
    }] {
        let told = printed(&run(&mut command));
        assert!(told.contains(grant), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_never_migrated_is_told_of_and_waited_for() {
    let url = empty_database("never_migrated").await;
    let address = free_address();
    let mut command = textback();
    command.arg("serve").env("DATABASE_URL", &url).env("TEXTBACK_SECRET_KEY", SecretKeys::draw().1);
    let mut serve = Running::start(&mut served_at(command, address), false);
    let warned = serve.until("the process started without being ready");
    assert!(warned.contains("run: textback migrate"), "{warned}");
    serve.until("server started");
    let problem = until_readyz(address, 503).await;
    assert_eq!(problem["code"], "schema_outdated", "{problem}");
    // Reads, writes and webhooks alike.
    let key = "tb_0123456789012345678901234567890123456789012";
    let webhook = format!("/webhooks/twilio/{}/messages", "k".repeat(43));
    for path in ["/v1/sessions", "/v1/project"] {
        let (status, problem) = got(address, path, key).await;
        assert_eq!((status, &problem["code"]), (503, &json!("schema_outdated")), "{path}: {problem}");
    }
    let answer = reqwest::Client::new().post(format!("http://{address}{webhook}")).send().await.expect("an answer");
    assert!(matches!(answer.status().as_u16(), 404 | 503), "{}", answer.status());
    assert!(run(textback().arg("migrate").env("DATABASE_URL", &url)).status.success());
    until_readyz(address, 200).await;
    assert_eq!(got(address, "/v1/sessions", key).await.0, 401, "it works without a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_and_a_changed_migration_are_told_of() {
    let app = TestApp::new().await;
    let address = free_address();
    let start = || Running::start(&mut served_at(app.command("serve", &app.secret_key), address), false);
    app.sql(
        "insert into _sqlx_migrations select 9999, 'later', now(), true, checksum, 0 from _sqlx_migrations limit 1",
    )
    .await;
    let mut serve = start();
    let said = serve.all_until("server started");
    assert!(said.iter().any(|line| line.contains("schema version 9999, which is newer")), "{said:?}");
    // The processes of the version before go on while a new one is rolled out.
    let ready = until_readyz(address, 200).await;
    assert!(ready.as_str().is_some_and(|text| text.starts_with("ok") && text.contains("9999")), "{ready}");
    let doctor = printed(&run(&mut app.command("doctor", &app.secret_key)));
    assert!(doctor.contains("schema version 9999, which is newer"), "{doctor}");
    let migrate = run(&mut app.command("migrate", &app.secret_key));
    assert!(!migrate.status.success() && printed(&migrate).contains("schema version 9999"), "{}", printed(&migrate));
    drop(serve);

    app.sql("delete from _sqlx_migrations where version = 9999").await;
    app.sql("update _sqlx_migrations set checksum = '\\x00' where version = 2").await;
    let mut serve = start();
    let warned = serve.until("the process started without being ready");
    assert!(warned.contains("another text of migration 2"), "{warned}");
    serve.until("server started");
    assert_eq!(until_readyz(address, 503).await["code"], "schema_changed");
    for command in ["doctor", "migrate"] {
        let told = run(&mut app.command(command, &app.secret_key));
        assert!(!told.status.success() && printed(&told).contains("another text of migration 2"), "{}", printed(&told));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_refused() {
    let harness = ProcessHarness::start("old-server").await;
    harness.to_database.pretend_version("14.19 (Debian 14.19-1)");
    for command in ["serve", "work", "migrate", "doctor"] {
        let refused = run(&mut harness.command(command, &[]));
        let told = printed(&refused);
        assert_eq!(refused.status.code(), Some(1), "{command}: {told}");
        assert!(told.contains("the server is PostgreSQL 14, but textback needs 15 or newer"), "{command}: {told}");
    }
    // A server may be replaced while a process runs.
    harness.to_database.pretend_version("17.2");
    let _serve = harness.start_serve(&[]);
    harness.until_ready().await;
    harness.to_database.pretend_version("9.6.24");
    harness.cut_connections().await;
    assert_eq!(harness.unreadiness().await, (503, "database_unsuitable".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_only_reads_is_told_with_its_reason() {
    let mut harness = ProcessHarness::start("only-reads").await;
    harness.variables.push(("RUST_LOG", "info".to_owned()));
    harness.sql("alter role current_user set default_transaction_read_only = on").await;
    let warned =
        Running::start(&mut harness.command("serve", &[]), false).until("the process started without being ready");
    assert!(warned.contains("reset default_transaction_read_only"), "{warned}");
    let mut create = harness.command("project", &[]);
    let told = printed(&run(create.args(["create", "x"])));
    assert!(told.contains("reset default_transaction_read_only"), "{told}");
    harness
        .sql("begin; set transaction read write; alter role current_user reset default_transaction_read_only; commit")
        .await;
    harness.become_a_standby().await;
    let warned =
        Running::start(&mut harness.command("serve", &[]), false).until("the process started without being ready");
    assert!(warned.contains("because it is a standby"), "{warned}");
    let told = printed(&run(&mut harness.command("doctor", &[])));
    assert!(told.contains("because it is a standby"), "{told}");
}
