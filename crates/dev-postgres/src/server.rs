//! The server's files and its process: creates the data, starts the server, waits until it answers.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

use crate::Error;
use crate::folder::{self, Owner};

/// A recovery after a crash may take its time; an ordinary start takes 0.1 s.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_INTERVAL: Duration = Duration::from_millis(10);

/// The server's process, the thread that waits for its end, and how it ended.
pub type Spawned = (Pid, JoinHandle<()>, watch::Receiver<Option<String>>);

/// Where the files of a server are, and who runs it.
pub struct Server {
    data: PathBuf,
    log: PathBuf,
    socket: PathBuf,
    bin: PathBuf,
    owner: Option<Owner>,
}

impl Server {
    /// Makes the server's private folders.
    pub fn prepare(folder: &Path, bin: PathBuf) -> Result<Self, Error> {
        let owner = folder::server_user();
        let home = folder::home(folder, owner);
        folder::make_private(&home, owner).map_err(|error| Error::io("make the folder of PostgreSQL", error))?;
        let server = Self { data: home.join("data"), log: home.join("log"), socket: folder::socket(&home), bin, owner };
        folder::make_private(&server.socket, owner)
            .map_err(|error| Error::io("make the folder of the socket", error))?;
        Ok(server)
    }

    /// The URL of a database over the socket.
    pub fn url(&self, role: &str, database: &str) -> String {
        let host: String = url::form_urlencoded::byte_serialize(self.socket.as_os_str().as_encoded_bytes()).collect();
        format!("postgres://{role}@localhost/{database}?host={host}")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        // The server's user may not be allowed to enter the current folder.
        command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Creates the data at the first start: in a folder beside its own, which is then renamed, so
    /// that incomplete data is never used.
    pub fn init(&self, role: &str) -> Result<(), Error> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let incomplete = self.data.with_extension("new");
        if incomplete.exists() {
            fs::remove_dir_all(&incomplete).map_err(|error| Error::io("remove an incomplete database", error))?;
        }
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(&incomplete).args([
            "-U",
            role,
            "--auth-local=trust",
            "--auth-host=reject",
            "--no-sync",
            "-E",
            "UTF8",
            "--no-locale",
        ]);
        run("initdb", &mut initdb)?;
        fs::rename(&incomplete, &self.data).map_err(|error| Error::io("move the new database to its folder", error))
    }

    /// Refuses data that another major version made.
    pub fn check_version(&self) -> Result<(), Error> {
        let data_version =
            fs::read_to_string(self.data.join("PG_VERSION")).map_err(|error| Error::io("read PG_VERSION", error))?;
        let printed = run("postgres --version", self.program("postgres").arg("--version"))?;
        let program_version = major_version(&printed);
        if data_version.trim() == program_version {
            return Ok(());
        }
        Err(Error::OtherVersion {
            data: self.data.clone(),
            data_version: data_version.trim().to_owned(),
            bin: self.bin.clone(),
            program_version: program_version.to_owned(),
        })
    }

    /// Stops a server that an earlier process left running on this data.
    pub fn stop_leftover(&self) {
        if !self.data.join("postmaster.pid").exists() {
            return;
        }
        let mut stop = self.program("pg_ctl");
        stop.arg("-D").arg(&self.data).args(["-m", "fast", "-w", "-t", "20", "stop"]);
        match run("pg_ctl stop", &mut stop) {
            Ok(_) => tracing::info!("stopped a PostgreSQL that an earlier process left running"),
            // The file is of a server that has ended. The new server finds that out itself.
            Err(error) => tracing::debug!(%error, "no PostgreSQL was left running"),
        }
    }

    /// Starts the server from a thread that lives as long as the server does: Linux ties the signal
    /// of a parent's death to the thread that started the child.
    pub fn spawn(&self, settings: &[(String, String)]) -> Result<Spawned, Error> {
        let mut server = self.command(settings)?;
        let (send_pid, pid) = mpsc::channel();
        let (send_end, ended) = watch::channel(None);
        let waiter = std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || match server.spawn() {
                Ok(mut child) => {
                    let _ = send_pid.send(Ok(child.id()));
                    let status =
                        child.wait().map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
                    let _ = send_end.send(Some(status));
                }
                Err(error) => {
                    let _ = send_pid.send(Err(error));
                }
            })
            .map_err(|error| Error::io("start a thread", error))?;
        let pid = pid.recv().unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")));
        let pid = pid.map_err(|error| Error::io("start PostgreSQL", error))?;
        Ok((Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)), waiter, ended))
    }

    /// The command that starts the server.
    fn command(&self, settings: &[(String, String)]) -> Result<Command, Error> {
        let open = |error| Error::io("open the log of PostgreSQL", error);
        let log = File::options().create(true).append(true).open(&self.log).map_err(open)?;
        let errors = log.try_clone().map_err(open)?;
        let mut server = self.program("postgres");
        server.arg("-D").arg(&self.data).args(["-c", "listen_addresses=", "-c"]);
        server.arg(format!("unix_socket_directories={}", self.socket.display()));
        for (name, value) in settings {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        server.stdout(log).stderr(errors);
        #[expect(
            unsafe_code,
            reason = "there is no other way to be told of a parent's death; both calls are async-signal-safe"
        )]
        // SAFETY: between fork and exec only system calls run that neither allocate nor lock.
        unsafe {
            server.pre_exec(|| {
                // A session of its own: Ctrl-C does not reach the server, so its parent can stop it
                // in order.
                nix::unistd::setsid()?;
                #[cfg(target_os = "linux")]
                nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
                Ok(())
            });
        }
        Ok(server)
    }

    /// Waits until the server answers, and creates the database if it is missing.
    pub async fn wait_until_ready(&self, name: &str, ended: &watch::Receiver<Option<String>>) -> Result<(), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut connection = loop {
            match PgConnection::connect(&self.url(name, "postgres")).await {
                Ok(connection) => break connection,
                Err(_) if ended.borrow().is_some() => return Err(self.ended_at_start()),
                Err(error) if Instant::now() > deadline => return Err(Error::Refused(error)),
                Err(_) => tokio::time::sleep(CONNECT_INTERVAL).await,
            }
        };
        // A standby can't create a database, so the database is looked for first.
        let found =
            sqlx::query("select from pg_database where datname = $1").bind(name).fetch_optional(&mut connection);
        if found.await.map_err(Error::Refused)?.is_none() {
            let quoted = name.replace('"', "\"\"");
            let create = sqlx::AssertSqlSafe(format!("create database \"{quoted}\""));
            sqlx::raw_sql(create).execute(&mut connection).await.map_err(Error::Refused)?;
        }
        Ok(())
    }

    fn ended_at_start(&self) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ");
        Error::Ended { log: self.log.clone(), tail }
    }
}

/// The major version in what `postgres --version` prints, such as `postgres (PostgreSQL) 15.14`.
fn major_version(printed: &str) -> &str {
    let version = printed.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    version.and_then(|version| version.split(|letter: char| !letter.is_ascii_digit()).next()).unwrap_or_default()
}

fn run(program: &str, command: &mut Command) -> Result<String, Error> {
    let output = command.output().map_err(|error| Error::io(&format!("run {program}"), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = [output.stderr, output.stdout].concat();
    Err(Error::Failed { program: program.to_owned(), output: String::from_utf8_lossy(&printed).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        for (printed, version) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", "15"),
            ("postgres (PostgreSQL) 18beta1", "18"),
            ("postgres", ""),
        ] {
            assert_eq!(major_version(printed), version, "{printed}");
        }
    }
}
