//! A private PostgreSQL as a child process, on a socket that only we can reach; it ends with us, however we end.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

use super::folder;

/// A crash recovery may take its time; a fresh start takes 0.1 s.
const READY_WITHIN: Duration = Duration::from_secs(60);
const ROLE: &str = "textback";
const DATABASE: &str = "textback";
/// A socket's path has 107 bytes at the most, and the socket's own name takes 21 of them.
const LONGEST_SOCKET_FOLDER: usize = 85;

/// A running PostgreSQL of ours.
pub struct Postgres {
    pid: Pid,
    url: String,
    keeper: Option<JoinHandle<()>>,
    ended: watch::Receiver<Option<String>>,
}

/// Why there is no PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "PostgreSQL is not installed (initdb and postgres were not found in {looked}); install it: apt-get install postgresql (Debian, \
         Ubuntu), dnf install postgresql-server (Fedora), brew install postgresql (macOS); or say where it is with TEXTBACK_PG_BIN, or \
         use a server of your own with DATABASE_URL"
    )]
    NotInstalled { looked: String },
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    #[error("{program} failed: {output}")]
    Failed { program: String, output: String },
    #[error(
        "the data in {data} was made by PostgreSQL {found}, the programs in {bin} are {ours}; install PostgreSQL {found}, or delete the data folder to begin anew"
    )]
    OtherVersion { data: PathBuf, found: String, bin: PathBuf, ours: String },
    #[error("PostgreSQL ended at its start; its log is {log}: {tail}")]
    Ended { log: PathBuf, tail: String },
    #[error("PostgreSQL runs but does not let us in: {0}")]
    Refused(sqlx::Error),
}

impl Postgres {
    /// Starts PostgreSQL on the data below `folder`, which it makes at the first start. What an
    /// earlier process of ours left running on it is stopped. `settings` are added to the server's.
    pub async fn start(folder: &Path, pg_bin: Option<&Path>, settings: &[(&str, &str)]) -> Result<Self, PostgresError> {
        let bin = find_programs(pg_bin)?;
        let owner = server_user();
        let home = home(folder, owner);
        folder::make_private(&home, owner).map_err(|error| io("make the folder of PostgreSQL", error))?;
        let place = Place { data: home.join("data"), log: home.join("log"), socket: socket_folder(&home), bin, owner };
        folder::make_private(&place.socket, owner).map_err(|error| io("make the folder of the socket", error))?;

        place.init()?;
        place.check_version()?;
        place.stop_leftover();
        let (pid, keeper, ended) = place.spawn(settings)?;
        let postgres = Self { pid, url: place.url(DATABASE), keeper: Some(keeper), ended };
        place.wait_until_ready(&postgres.ended).await?;
        Ok(postgres)
    }

    /// How to connect to it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits until it has ended, and tells how.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let told = ended.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        told.unwrap_or_else(|| "it is gone".to_owned())
    }

    /// Stops it, and waits until its files are settled.
    pub fn stop(mut self) {
        // SIGINT is PostgreSQL's fast stop: sessions are cut, data is settled.
        self.end_by(Signal::SIGINT);
    }

    /// Ends it as a crash would: nothing is settled, and the next start recovers.
    pub fn crash(mut self) {
        self.end_by(Signal::SIGQUIT);
    }

    fn end_by(&mut self, signal: Signal) {
        if let Some(keeper) = self.keeper.take() {
            let _ = kill(self.pid, signal);
            let _ = keeper.join();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end_by(Signal::SIGINT);
    }
}

/// The server's pid, the thread that keeps it, and the word of its end.
type Spawned = (Pid, JoinHandle<()>, watch::Receiver<Option<String>>);

/// Where everything is.
struct Place {
    data: PathBuf,
    log: PathBuf,
    socket: PathBuf,
    bin: PathBuf,
    /// Who runs the server, when we are root: PostgreSQL refuses to be run by root.
    owner: Option<(u32, u32)>,
}

impl Place {
    fn url(&self, database: &str) -> String {
        let host: String = url::form_urlencoded::byte_serialize(self.socket.as_os_str().as_encoded_bytes()).collect();
        format!("postgres://{ROLE}@localhost/{database}?host={host}")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        // Our own folder may be closed to the server's user.
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes the data once: beside its place, then moved there, so that a half-made one is never used.
    fn init(&self) -> Result<(), PostgresError> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let half = self.data.with_extension("new");
        if half.exists() {
            fs::remove_dir_all(&half).map_err(|error| io("remove a half-made database", error))?;
        }
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(&half).args([
            "-U",
            ROLE,
            "--auth-local=trust",
            "--auth-host=reject",
            "--no-sync",
            "-E",
            "UTF8",
            "--no-locale",
        ]);
        run("initdb", &mut initdb)?;
        fs::rename(&half, &self.data).map_err(|error| io("move the new database into its place", error))
    }

    fn check_version(&self) -> Result<(), PostgresError> {
        let found = fs::read_to_string(self.data.join("PG_VERSION")).map_err(|error| io("read PG_VERSION", error))?;
        let told = run("postgres --version", self.program("postgres").arg("--version"))?;
        let ours = told.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
        let ours = ours.and_then(|word| word.split('.').next()).unwrap_or_default();
        if found.trim() == ours {
            return Ok(());
        }
        Err(PostgresError::OtherVersion {
            data: self.data.clone(),
            found: found.trim().to_owned(),
            bin: self.bin.clone(),
            ours: ours.to_owned(),
        })
    }

    /// We hold the folder's lock, so a server that runs on this data was left behind.
    fn stop_leftover(&self) {
        if !self.data.join("postmaster.pid").exists() {
            return;
        }
        let mut stop = self.program("pg_ctl");
        stop.arg("-D").arg(&self.data).args(["-m", "fast", "-w", "-t", "20", "stop"]);
        match run("pg_ctl stop", &mut stop) {
            Ok(_) => tracing::info!("stopped a PostgreSQL that an earlier process left running"),
            // A stale file of a server that is gone: the new one sees that itself.
            Err(error) => tracing::debug!(%error, "no PostgreSQL was left running"),
        }
    }

    /// Spawns from a thread that lives as long as the server: Linux ties the "parent died" signal
    /// to the thread that spawned.
    fn spawn(&self, settings: &[(&str, &str)]) -> Result<Spawned, PostgresError> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|error| io("open the log of PostgreSQL", error))?;
        let log_again = log.try_clone().map_err(|error| io("open the log of PostgreSQL", error))?;
        let mut server = self.program("postgres");
        server.arg("-D").arg(&self.data).args(["-c", "listen_addresses=", "-c"]);
        server.arg(format!("unix_socket_directories={}", self.socket.display()));
        for (name, value) in settings {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        server.stdout(log).stderr(log_again);
        #[expect(
            unsafe_code,
            reason = "there is no other way to be told of a parent's death; both calls are async-signal-safe"
        )]
        // SAFETY: between fork and exec only system calls run that neither allocate nor lock.
        unsafe {
            server.pre_exec(|| {
                // Its own session: Ctrl-C reaches us alone, and we stop it in order.
                nix::unistd::setsid()?;
                #[cfg(target_os = "linux")]
                nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
                Ok(())
            });
        }
        let (started, start) = mpsc::channel();
        let (tell, ended) = watch::channel(None);
        let keeper = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || match server.spawn() {
                Ok(mut child) => {
                    let _ = started.send(Ok(child.id()));
                    let how =
                        child.wait().map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
                    let _ = tell.send(Some(how));
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })
            .map_err(|error| io("start a thread", error))?;
        let pid = start.recv().unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")));
        let pid = pid.map_err(|error| io("start PostgreSQL", error))?;
        Ok((Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)), keeper, ended))
    }

    async fn wait_until_ready(&self, ended: &watch::Receiver<Option<String>>) -> Result<(), PostgresError> {
        let until = Instant::now() + READY_WITHIN;
        let mut connection = loop {
            match PgConnection::connect(&self.url("postgres")).await {
                Ok(connection) => break connection,
                Err(_) if ended.borrow().is_some() => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    let tail: Vec<&str> = log.lines().rev().take(3).collect();
                    return Err(PostgresError::Ended {
                        log: self.log.clone(),
                        tail: tail.into_iter().rev().collect::<Vec<_>>().join(" | "),
                    });
                }
                Err(error) if Instant::now() > until => return Err(PostgresError::Refused(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        // At a second start the database exists, and a standby can't create one.
        let made = sqlx::raw_sql("select from pg_database where datname = 'textback'").fetch_optional(&mut connection);
        if made.await.map_err(PostgresError::Refused)?.is_none() {
            sqlx::raw_sql("create database textback").execute(&mut connection).await.map_err(PostgresError::Refused)?;
        }
        Ok(())
    }
}

/// The folder of PostgreSQL: in the data folder, unless we are root and the server's user could
/// not get there (a clone below /root).
fn home(folder: &Path, owner: Option<(u32, u32)>) -> PathBuf {
    let inside = folder.join("postgres");
    if owner.is_none() || folder::enterable_by_others(&inside) {
        return inside;
    }
    let name = hex::encode(&crate::secret::sha256(folder.as_os_str().as_encoded_bytes())[..6]);
    let outside = Path::new("/var/lib/textback-dev").join(name);
    tracing::warn!(folder = %folder.display(), outside = %outside.display(), "PostgreSQL can't run as root, and its own user can't enter the data folder; its data goes elsewhere");
    // Only this level is open to others; the folder below is not.
    if fs::create_dir_all("/var/lib/textback-dev").is_ok() {
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions("/var/lib/textback-dev", fs::Permissions::from_mode(0o755));
    }
    outside
}

fn socket_folder(home: &Path) -> PathBuf {
    let inside = home.join("socket");
    if inside.as_os_str().len() <= LONGEST_SOCKET_FOLDER {
        return inside;
    }
    let name = hex::encode(&crate::secret::sha256(home.as_os_str().as_encoded_bytes())[..6]);
    std::env::temp_dir().join(format!("textback-{name}"))
}

/// Root can't run PostgreSQL: then it is the user postgres, else nobody.
fn server_user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let user = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
    Some(user.map_or((65534, 65534), |user| (user.uid.as_raw(), user.gid.as_raw())))
}

/// The folder with initdb and postgres: the one that was named, else where distributions put it,
/// the newest version first, else on the path, else in the project's own `.pg`.
fn find_programs(named: Option<&Path>) -> Result<PathBuf, PostgresError> {
    let candidates: Vec<PathBuf> = match named {
        Some(named) => vec![named.to_owned()],
        None => {
            let mut versions: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"]
                .iter()
                .filter_map(|root| fs::read_dir(root).ok())
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
                .collect();
            versions.sort_by_key(|path| std::cmp::Reverse(version_in(path)));
            let on_path = std::env::var_os("PATH").unwrap_or_default();
            let rest = std::env::split_paths(&on_path).chain(["/usr/pgsql/bin", ".pg/bin"].map(PathBuf::from));
            versions.into_iter().chain(rest).collect()
        }
    };
    let whole = |folder: &&PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    let found = candidates.iter().find(whole).and_then(|folder| folder.canonicalize().ok());
    found.ok_or_else(|| PostgresError::NotInstalled {
        looked: candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

fn version_in(path: &Path) -> u32 {
    let digits: String = path.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn run(program: &str, command: &mut Command) -> Result<String, PostgresError> {
    let output = command.output().map_err(|error| io(&format!("run {program}"), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stderr, output.stdout].concat();
    Err(PostgresError::Failed { program: program.to_owned(), output: String::from_utf8_lossy(&said).trim().to_owned() })
}

fn io(what: &str, error: std::io::Error) -> PostgresError {
    PostgresError::Io { what: what.to_owned(), error }
}
