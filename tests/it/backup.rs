//! Tests that a used database can be dumped, restored and replicated without a difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::harness::{ADA, NUMBER};
use crate::process_harness::ProcessHarness;
use crate::rights::documented;

/// One of PostgreSQL's programs.
fn program(name: &str) -> Command {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found: Option<PathBuf> = folders.map(|it| it.path().join("bin").join(name)).find(|path| path.exists());
    Command::new(found.unwrap_or_else(|| PathBuf::from(name)))
}

fn run(command: &mut Command) {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection")
}

async fn sql(url: &str, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connect(url).await).await.expect(statement);
}

/// How many rows each table has, and a hash of them all.
async fn tables(url: &str) -> BTreeMap<String, (i64, String)> {
    let mut connection = connect(url).await;
    let names: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = 'textback' and relkind = 'r'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    let mut found = BTreeMap::new();
    for name in names {
        let read = format!(
            "select count(*), coalesce(md5(string_agg(line, '|' order by line)), '') from (select t::text as line from textback.{name} t) lines"
        );
        let row = sqlx::query(AssertSqlSafe(read)).fetch_one(&mut connection).await.expect("rows");
        found.insert(name, (row.get(0), row.get(1)));
    }
    found
}

/// Where each sequence is.
async fn sequences(url: &str) -> Vec<(String, Option<i64>)> {
    sqlx::query_as("select sequencename::text, last_value from pg_sequences where schemaname = 'textback' order by 1")
        .fetch_all(&mut connect(url).await)
        .await
        .expect("sequences")
}

/// Texts of all kinds, consents, secrets, texts for later, media, what fits nowhere.
async fn use_it(harness: &ProcessHarness) {
    let long = "Ein längerer Text mit Umlauten, der über siebzig Zeichen hat: ääääääääääööööööööööüüüüüüüüüü";
    let texts = [
        "hi",
        long,
        "🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉",
        "привет, это длинное сообщение, в котором больше семидесяти байтов",
    ];
    for (count, text) in texts.into_iter().enumerate() {
        harness.simulator.say(ADA, NUMBER, text).await;
        let answers = harness.simulator.until_received(ADA, NUMBER, count + 1).await;
        assert_eq!(answers.last().map(String::as_str), Some(text));
    }
    let service = json!({"name": "service", "kind": "http", "url": "https://agent.example.com/"});
    harness.call(Method::POST, "agents", service).await;
    harness.call(Method::PUT, "templates/greeting", json!({"body": "grüße"})).await;
    harness.call(Method::PATCH, "countries/DE", json!({"note": "ours"})).await;
    harness.simulator.say("+14155550105", NUMBER, "STOP").await;
    let later = (chrono::Utc::now() + chrono::Duration::days(2)).to_rfc3339();
    let send = json!({"to": "+14155550104", "body": long, "from": NUMBER, "send_at": later, "media_urls": ["https://example.com/a.png"]});
    harness.call(Method::POST, "messages", send).await;
    let send = json!({"to": "+14155550106", "body": long, "from": NUMBER, "media_urls": ["https://example.com/a.png"]});
    harness.call(Method::POST, "messages", send).await;
    harness.simulator.until_received("+14155550106", NUMBER, 1).await;
    harness
        .sql("insert into quarantine (id, project_id, kind, reason, form) select gen_random_uuid(), id, 'inbound', 'no_such_number', '\\x00ff' from project;
              insert into idempotency_key (project_id, key, request_hash, message_id)
              select project_id, 'k', sha256('k'), id from message limit 1;
              insert into inbound_rate_window select id, now(), 3 from project")
        .await;
}

/// Nothing of it changes any more: what is due is done and reported.
async fn until_quiet(harness: &ProcessHarness) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        harness.simulator.idle().await;
        let live: i64 = sqlx::query_scalar("select (select count(*) from textback.turn) + (select count(*) from textback.delivery where due_at is not null)")
            .fetch_one(&mut connect(&harness.url).await)
            .await
            .expect("a count");
        if live == 0 {
            return;
        }
        assert!(Instant::now() < until, "{live} are never done");
        let _ = tokio::time::timeout(Duration::from_secs(1), harness.simulator.until_change()).await;
    }
}

fn dump(harness: &ProcessHarness, file: &Path, more: &[&str]) {
    run(program("pg_dump").arg("-d").arg(&harness.url).arg("-f").arg(file).args(more));
}

/// The restored database answers a text. The backfill may find texts there that were handled by
/// another database since the backup, and answer them before this text or together with it.
async fn goes_on(harness: &mut ProcessHarness, url: &str, text: &str) {
    let mut count = harness.simulator.received(ADA, NUMBER).len();
    harness.serve = Some(harness.start_serve(&[("DATABASE_URL", url), ("TEXTBACK_WITH_WORKERS", "true")]));
    harness.simulator.say(ADA, NUMBER, text).await;
    loop {
        count += 1;
        let answers = harness.simulator.until_received(ADA, NUMBER, count).await;
        if answers[count - 1].split('|').any(|answered| answered == text) {
            break;
        }
    }
    let doctor = harness.doctor_with(&[("DATABASE_URL", url)]);
    assert!(doctor.contains("all is well"), "{doctor}");
    harness.serve = None;
}

fn print(what: &str, found: &BTreeMap<String, (i64, String)>, original: &BTreeMap<String, (i64, String)>) {
    let alike = found.iter().filter(|(name, rows)| original.get(*name) == Some(rows)).count();
    let rows: i64 = found.values().map(|(rows, _)| rows).sum();
    println!("{what:<8} {alike} of {} tables alike, {rows} rows, {} messages", original.len(), found["message"].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_database_is_restored_and_streamed_whole() {
    let mut harness = ProcessHarness::start_with("backup", &[("wal_level", "logical")]).await;
    harness.open(1, ProcessHarness::echo()).await;
    use_it(&harness).await;
    until_quiet(&harness).await;
    harness.serve = None;
    harness.work.clear();
    let (original, drawn) = (tables(&harness.url).await, sequences(&harness.url).await);
    assert!(
        [
            "message",
            "attachment",
            "consent",
            "scheduled_message",
            "quarantine",
            "carrier_account",
            "inactivity",
            "country_policy",
            "idempotency_key"
        ]
        .iter()
        .all(|name| original[*name].0 > 0),
        "{original:?}"
    );
    print("source", &original, &original);

    let folder = std::env::temp_dir().join(format!("textback-backup-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (custom, plain, schema) = (folder.join("custom"), folder.join("plain.sql"), folder.join("schema.sql"));
    dump(&harness, &custom, &["-Fc"]);
    dump(&harness, &plain, &["-Fp"]);
    dump(&harness, &schema, &["-Fp", "--schema-only"]);
    for name in ["custom", "plain", "replica"] {
        sql(&harness.url, &format!("create database {name}")).await;
    }
    run(program("pg_restore").arg("--exit-on-error").arg("-d").arg(harness.url_of("custom")).arg(&custom));
    let psql = |name: &str, file: &Path| {
        run(program("psql").args(["-q", "-v", "ON_ERROR_STOP=1", "-d"]).arg(harness.url_of(name)).arg("-f").arg(file));
    };
    psql("plain", &plain);
    psql("replica", &schema);
    for name in ["custom", "plain"] {
        let restored = tables(&harness.url_of(name)).await;
        print(name, &restored, &original);
        assert_eq!(restored, original, "{name}");
        assert_eq!(sequences(&harness.url_of(name)).await, drawn, "{name}");
    }

    // The replica copies what is there, then follows while people text. A subscriber of the same
    // server takes a slot that is there.
    sql(&harness.url, "create publication backup for all tables").await;
    sql(&harness.url, "select pg_create_logical_replication_slot('backup', 'pgoutput')").await;
    let from = format!(
        "host={} dbname=textback user=textback",
        crate::process_harness::socket_of(&harness.url).parent().expect("a folder").display()
    );
    let replica = harness.url_of("replica");
    sql(&replica, &format!("create subscription backup connection '{from}' publication backup with (create_slot = false, slot_name = 'backup')")).await;
    let url = harness.url.clone();
    goes_on(&mut harness, &url, "während der Kopie, die auch diesen langen Text von über siebzig Zeichen bekommt")
        .await;
    let until = Instant::now() + Duration::from_secs(60);
    while tables(&replica).await != tables(&harness.url).await {
        assert!(
            Instant::now() < until,
            "the replica never has all: {:?}\n{:?}",
            tables(&replica).await,
            tables(&harness.url).await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    print("replica", &tables(&replica).await, &tables(&harness.url).await);
    sql(&replica, "alter subscription backup disable; alter subscription backup set (slot_name = none)").await;
    sql(&replica, "drop subscription backup").await;

    // A replica that is promoted without its sequences would treat new messages as handled. Doctor
    // reports it, and the documented statements repair it.
    let behind = harness.doctor_with(&[("DATABASE_URL", &replica)]);
    assert!(
        behind.contains("invariant_12_what_is_drawn_next_is_new") && behind.contains("set the sequences"),
        "{behind}"
    );
    sql(&replica, documented("promotion")).await;
    goes_on(&mut harness, &replica, "on the replica").await;
    for name in ["custom", "plain"] {
        let url = harness.url_of(name);
        goes_on(&mut harness, &url, &format!("on what was restored from {name}")).await;
    }
    // A backup that was restored in part is told of.
    sql(&harness.url_of("plain"), "set session_replication_role = replica; delete from textback.message").await;
    let part = harness.doctor_with(&[("DATABASE_URL", &harness.url_of("plain"))]);
    assert!(
        part.contains("invariant_11_every_row_has_what_it_belongs_to") && part.contains("restore all of it"),
        "{part}"
    );
    let _ = std::fs::remove_dir_all(&folder);
}

/// Where a failover has not ended, or somebody gave the wrong address.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_named_by_every_command() {
    let mut harness = ProcessHarness::start("standby").await;
    harness.open(1, ProcessHarness::echo()).await;
    harness.become_a_standby().await;
    let migrated = harness.command("migrate", &[]).output().expect("it runs");
    let told = crate::commands::printed(&migrated);
    assert!(!migrated.status.success() && told.contains("DATABASE_URL leads to a standby"), "{told}");
    let doctor = harness.doctor();
    assert!(
        doctor.contains("the database only reads, because it is a standby") && !doctor.contains("pooler"),
        "{doctor}"
    );
    assert_eq!(harness.unreadiness().await, (503, "database_read_only".to_owned()));
}
