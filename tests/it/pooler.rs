//! Tests textback behind PgBouncer: session mode works, and other modes are refused with an
//! explanation.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};
use sqlx::Connection;
use textback::storage::connection_settings::{self, Unsuitable};
use textback::storage::database;
use textback::storage::{Storage, health};

use crate::commands::printed;
use crate::harness::{ADA, NUMBER, new_database};
use crate::process_harness::{ProcessHarness, socket_of};

const WORDS: &str = "a pooler in transaction or statement mode";

/// A PgBouncer in front of a harness's PostgreSQL.
struct Bouncer {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Bouncer {
    async fn start(harness: &ProcessHarness, mode: &str, more: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let folder = std::env::temp_dir().join(format!("textback-bouncer-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let socket = socket_of(&harness.url);
        let socket = socket.parent().expect("a folder").display();
        let settings = format!(
            "[databases]\n* = host={socket} port=5432 user=textback\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 40\nmax_client_conn = 200\n{more}\n"
        );
        let file = folder.join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("written");
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists());
        let mut command = Command::new(program.expect("scripts/ensure-pgbouncer.sh installs it"));
        command.arg(&file).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It refuses to be run by root; the server's own user reaches its socket.
        if geteuid().is_root() {
            let user = User::from_name("postgres").expect("users").expect("PostgreSQL's user");
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let bouncer = Self { child: command.spawn().expect("it starts"), folder, port };
        let until = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "PgBouncer does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bouncer
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://textback@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Tables of ours in a database, by schema.
async fn tables(harness: &ProcessHarness, database: &str) -> Vec<(String, i64)> {
    let mut connection = sqlx::PgConnection::connect(&harness.url_of(database)).await.expect("a connection");
    sqlx::query_as(
        "select nspname::text, count(*) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
          where relkind = 'r' and nspname in ('public', 'textback') group by nspname",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_keeps_sessions_or_is_refused_with_an_explanation() {
    let mut harness = ProcessHarness::start("pooler").await;
    harness.open(0, ProcessHarness::echo()).await;
    harness.serve = None;
    let (mut answered, mut matrix) = (0, Vec::new());
    for (mode, works) in [("session", true), ("transaction", false), ("statement", false)] {
        let ignoring = "ignore_startup_parameters = extra_float_digits, options, search_path, statement_timeout";
        for (name, more) in [
            ("nothing ignored", ""),
            ("startup parameters ignored", ignoring),
            ("nothing reset", "server_reset_query ="),
            ("one after the other", "server_round_robin = 1"),
        ] {
            let bouncer = Bouncer::start(&harness, mode, more).await;
            let fresh = format!("fresh_{}", matrix.len());
            let mut connection = sqlx::PgConnection::connect(&harness.url).await.expect("a connection");
            let create = sqlx::AssertSqlSafe(format!("create database {fresh}"));
            sqlx::raw_sql(create).execute(&mut connection).await.expect("a database");

            let url = bouncer.url(&fresh);
            let migrated = harness.command("migrate", &[("DATABASE_URL", &url)]).output().expect("it runs");
            assert_eq!(migrated.status.success(), works, "{mode}, {name}: {}", printed(&migrated));
            let made = tables(&harness, &fresh).await;
            match works {
                true => assert!(made.len() == 1 && made[0].0 == "textback", "{mode}, {name}: {made:?}"),
                false => {
                    assert!(made.is_empty() && printed(&migrated).contains(WORDS), "{made:?}: {}", printed(&migrated))
                }
            }

            let url = bouncer.url("textback");
            let doctor = harness.doctor_with(&[("DATABASE_URL", &url)]);
            let serving = [("DATABASE_URL", url.as_str()), ("TEXTBACK_WITH_WORKERS", "true")];
            if works {
                assert!(
                    doctor.contains("is the schema of this binary") && doctor.contains("reach another connection"),
                    "{doctor}"
                );
                harness.serve = Some(harness.start_serve(&serving));
                answered += 1;
                harness.simulator.say(ADA, NUMBER, &format!("text {answered}")).await;
                let answers = harness.simulator.until_received(ADA, NUMBER, answered).await;
                assert_eq!(answers.last(), Some(&format!("text {answered}")), "{mode}, {name}");
                harness.serve = None;
            } else {
                assert!(doctor.contains(WORDS) && doctor.contains("pool_mode = session"), "{doctor}");
                let mut processes = vec![harness.command("serve", &serving), harness.command("work", &serving)];
                for process in &mut processes {
                    let output = process.output().expect("it runs");
                    let told = printed(&output);
                    assert!(output.status.code() == Some(1) && told.contains(WORDS), "{mode}, {name}: {told}");
                }
            }
            let verdict = if works { "works, a text is answered" } else { "refused in words" };
            matrix.push(format!("{mode:<12} {name:<27} migrate, doctor, serve: {verdict}"));
        }
    }
    println!("{}", matrix.join("\n"));
}

/// A process that started while its database was away meets the pooler later.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_over_a_shared_server_connection_gives_none() {
    let harness = ProcessHarness::start("pooled-pool").await;
    let bouncer =
        Bouncer::start(&harness, "transaction", "ignore_startup_parameters = extra_float_digits, options").await;
    let pool = database::pool(&bouncer.url("textback"), 4).expect("a pool");
    // On a busy machine a check may take longer than a caller waits. Then nothing is known yet, and
    // the caller asks again.
    let until = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        let first = pool.acquire().await;
        let second = pool.acquire().await;
        assert!(first.is_err() || second.is_err(), "both would set and lose what the other one has");
        drop((first, second));
        match pool.acquire().await {
            Err(refused) => break refused,
            Ok(_) => assert!(Instant::now() < until, "what was made before it is known can't be trusted either"),
        }
    };
    let reason = database::reason(&pool, refused).await;
    assert!(matches!(Unsuitable::of(&reason), Some(Unsuitable::Pooled)), "{reason}");

    let storage = Storage::open(&bouncer.url("textback"), 4, Arc::default()).expect("a ledger");
    let not_ready = health::check(&storage, None).await.expect_err("readyz says so");
    assert!(matches!(not_ready, health::NotReady::Unsuitable(Unsuitable::Pooled)), "{not_ready}");
}

#[tokio::test]
async fn what_is_set_on_a_connection_is_stronger_than_defaults_of_roles_and_databases() {
    let url = new_database().await;
    let pool = database::pool(&url, 2).expect("a pool");
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&pool).await.expect("a name");
    for setting in [
        "search_path = public",
        "statement_timeout = 0",
        "default_transaction_isolation = serializable",
        "synchronous_commit = off",
        "plan_cache_mode = force_custom_plan",
        "standard_conforming_strings = off",
        "timezone = 'Asia/Kolkata'",
    ] {
        let alter = format!("alter database {name} set {setting}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(&pool).await.expect("a default");
    }
    let later = database::pool(&url, 1).expect("a pool");
    for (setting, needed) in connection_settings::SETTINGS {
        let found: String =
            sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&later).await.expect("a setting");
        assert_eq!(found, needed, "{setting}");
    }
    // What can't be set by everybody is told.
    let alter = format!("alter database {name} set session_replication_role = replica");
    sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(&pool).await.expect("a default");
    let refused = database::open_to_migrate(&url).await.expect_err("triggers would not run");
    assert!(refused.to_string().contains("session_replication_role = 'replica'"), "{refused}");
}
