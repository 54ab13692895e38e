//! The databases of the tests: one PostgreSQL for all of them, and a database for each test that
//! needs one. A database is dropped after its test.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::statvfs::statvfs;
use sqlx::{Connection, PgConnection};
use textback::dev::postgres;

/// The folders of the servers are named by this prefix and the id of their process.
const FOLDER_PREFIX: &str = "textback-tests-";

/// A file system in memory. On ext4, creating the files of the databases takes 12 % of the
/// processor time of the tests.
const MEMORY: &str = "/dev/shm";

/// How many bytes the file system in memory must have free: ten databases of 15 MB, and 1 GB of
/// WAL.
const LEAST_MEMORY: u64 = 4 << 30;

/// The databases of tests that have ended.
static UNUSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The databases of one test. The test runs in a thread of its own, which drops them at its end.
struct OfThisTest(RefCell<Vec<String>>);

impl Drop for OfThisTest {
    fn drop(&mut self) {
        UNUSED.lock().unwrap_or_else(PoisonError::into_inner).append(self.0.get_mut());
    }
}

thread_local! {
    static OF_THIS_TEST: OfThisTest = const { OfThisTest(RefCell::new(Vec::new())) };
}

/// Creates a database with the schema, for this test.
pub async fn new_database() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    create(&name, " template textback").await
}

/// Creates a database without the schema, for this test.
pub async fn empty_database(name: &str) -> String {
    create(name, "").await
}

async fn create(name: &str, template: &str) -> String {
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let url = url_of(name);
    // PostgreSQL copies a template only while nobody is connected to it.
    let _lock = ONE_AT_A_TIME.lock().await;
    let mut server = PgConnection::connect(&url_of("postgres")).await.expect("a connection");
    let unused = std::mem::take(&mut *UNUSED.lock().unwrap_or_else(PoisonError::into_inner));
    for unused in unused {
        // A process that a test left behind may be connected.
        run(&mut server, format!("drop database if exists {unused} with (force)")).await;
    }
    run(&mut server, format!("create database {name}{template}")).await;
    OF_THIS_TEST.with(|of_this_test| of_this_test.0.borrow_mut().push(name.to_owned()));
    url
}

async fn run(server: &mut PgConnection, statement: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(server).await.expect(&statement);
}

fn url_of(database: &str) -> String {
    server_url().replace("/textback?", &format!("/{database}?"))
}

/// The PostgreSQL that all tests share. It does not sync to disk, and ends with this process.
fn server_url() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                remove_old_folders();
                let folder = parent().join(format!("{FOLDER_PREFIX}{}", std::process::id()));
                std::fs::create_dir_all(&folder).expect("a folder");
                let settings = [
                    ("fsync", "off"),
                    ("synchronous_commit", "off"),
                    ("full_page_writes", "off"),
                    ("max_connections", "400"),
                ];
                let postgres = postgres::builder().settings(settings).start(&folder).await.expect("PostgreSQL");
                textback::storage::migrate(postgres.url()).await.expect("the schema");
                sender.send(postgres.url().to_owned()).expect("the receiver waits");
                // The server ends with this process.
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("a server")
    })
}

/// Where the folder of the server is created: in memory, if there is enough of it.
fn parent() -> PathBuf {
    let free = statvfs(MEMORY).map_or(0, |found| found.blocks_available() * found.fragment_size());
    if free >= LEAST_MEMORY { PathBuf::from(MEMORY) } else { std::env::temp_dir() }
}

/// Removes the folders of earlier runs, whose servers ended with them.
fn remove_old_folders() {
    let folders = [PathBuf::from(MEMORY), std::env::temp_dir()];
    for entry in folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(FOLDER_PREFIX).and_then(|pid| pid.parse().ok()) else { continue };
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_err() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
