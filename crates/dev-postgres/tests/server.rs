//! A server from its start to its end: it keeps its data, recovers from a crash, and listens on its
//! socket only.

#![allow(clippy::expect_used, reason = "a test that stumbles has failed")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dev_postgres::{Builder, Error, Postgres};
use sqlx::{Connection, PgConnection, Row};

/// A folder that the server's user can enter, and that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dev-postgres-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn builder() -> Builder {
    Postgres::builder("shop").fallback_programs(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.pg/bin"))
}

async fn answer(postgres: &Postgres, query: &'static str) -> String {
    let mut connection = PgConnection::connect(postgres.url()).await.expect("a connection");
    sqlx::query(query).fetch_one(&mut connection).await.expect("a row").get(0)
}

async fn run(postgres: &Postgres, statement: &'static str) {
    let mut connection = PgConnection::connect(postgres.url()).await.expect("a connection");
    sqlx::raw_sql(statement).execute(&mut connection).await.expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_its_data_through_a_stop_and_a_crash() {
    let folder = Folder::new("keeps");
    let postgres = builder().setting("max_connections", "7").start(&folder.0).await.expect("a server");
    assert!(postgres.url().starts_with("postgres://shop@localhost/shop?host="), "{}", postgres.url());
    assert_eq!(answer(&postgres, "select current_user || ' ' || current_database()").await, "shop shop");
    assert_eq!(answer(&postgres, "show max_connections").await, "7");
    run(&postgres, "create table kept (word text); insert into kept values ('first')").await;
    postgres.stop();

    let postgres = builder().start(&folder.0).await.expect("a second start");
    assert_eq!(answer(&postgres, "select word from kept").await, "first");
    run(&postgres, "update kept set word = 'second'").await;
    postgres.crash();

    let postgres = builder().start(&folder.0).await.expect("a recovery");
    assert_eq!(answer(&postgres, "select word from kept").await, "second");
    assert_ne!(postgres.pid(), i32::try_from(std::process::id()).expect("a pid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_reaches_the_socket_and_there_is_no_port() {
    let folder = Folder::new("private");
    let postgres = builder().start(&folder.0).await.expect("a server");
    assert_eq!(answer(&postgres, "show listen_addresses").await, "");
    let socket = answer(&postgres, "show unix_socket_directories").await;
    let mode = std::fs::metadata(Path::new(&socket)).expect("the folder of the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_server_is_told() {
    let folder = Folder::new("end");
    let postgres = builder().start(&folder.0).await.expect("a server");
    let connection = PgConnection::connect(postgres.url()).await.expect("a connection");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(postgres.pid()), nix::sys::signal::Signal::SIGINT)
        .expect("it is there");
    assert_eq!(postgres.ended().await, "exit status: 0");
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_says_what_to_do() {
    let folder = Folder::new("fails");
    let missing =
        Postgres::builder("shop").programs("/nonexistent/bin").start(&folder.0).await.expect_err("no programs");
    assert!(missing.to_string().contains("apt-get install postgresql"), "{missing}");

    let wrong = builder().setting("max_connections", "many").start(&folder.0).await.expect_err("a wrong setting");
    assert!(matches!(&wrong, Error::Ended { tail, .. } if tail.contains("max_connections")), "{wrong}");
}
