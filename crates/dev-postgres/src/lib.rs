//! Runs a private PostgreSQL as a child process, on a Unix socket that only its owner can reach.
//!
//! The server ends with the process that started it, however that process ends (on Linux; elsewhere
//! only in good order). It never listens on TCP.

mod folder;
mod programs;
mod server;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

use server::Server;

/// What to start, and how. Made by [`Postgres::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    name: String,
    programs: Option<PathBuf>,
    fallback: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// Uses the PostgreSQL programs of this folder, and looks nowhere else.
    #[must_use]
    pub fn programs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.programs = Some(folder.into());
        self
    }

    /// Uses the programs of this folder if none are installed.
    #[must_use]
    pub fn fallback_programs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.fallback = Some(folder.into());
        self
    }

    /// Adds a setting of `postgresql.conf`, for this run only.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Adds several settings.
    #[must_use]
    pub fn settings<N: Into<String>, V: Into<String>>(self, settings: impl IntoIterator<Item = (N, V)>) -> Self {
        settings.into_iter().fold(self, |builder, (name, value)| builder.setting(name, value))
    }

    /// Starts the server on the data below `folder`, and waits until the database can be used. The
    /// first start creates the data. A server that an earlier process left running on this data is
    /// stopped first, so at most one process may use a folder at a time: the caller sees to that,
    /// for example with a lock file.
    pub async fn start(&self, folder: impl AsRef<Path>) -> Result<Postgres, Error> {
        let bin = programs::find(self.programs.as_deref(), self.fallback.as_deref())?;
        let server = Server::prepare(folder.as_ref(), bin)?;
        server.init(&self.name)?;
        server.check_version()?;
        server.stop_leftover();
        let (pid, waiter, ended) = server.spawn(&self.settings)?;
        let postgres = Postgres { pid, url: server.url(&self.name, &self.name), waiter: Some(waiter), ended };
        server.wait_until_ready(&self.name, &postgres.ended).await?;
        Ok(postgres)
    }
}

/// A PostgreSQL server that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    pid: Pid,
    url: String,
    waiter: Option<JoinHandle<()>>,
    ended: watch::Receiver<Option<String>>,
}

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its programs were found nowhere.
    #[error(
        "PostgreSQL is not installed (initdb and postgres were not found in {searched}); install it: apt-get install postgresql (Debian, \
         Ubuntu), dnf install postgresql-server (Fedora), brew install postgresql (macOS)"
    )]
    NotInstalled {
        /// The folders that were searched, with commas between them.
        searched: String,
    },
    /// A file or a process could not be used.
    #[error("can't {action}: {error}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system answered.
        error: std::io::Error,
    },
    /// One of PostgreSQL's programs failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// What it printed.
        output: String,
    },
    /// The data belongs to another version of PostgreSQL.
    #[error(
        "the data in {data} was made by PostgreSQL {data_version}, the programs in {bin} are {program_version}; install PostgreSQL {data_version}, or delete the data folder to begin again"
    )]
    OtherVersion {
        /// Where the data is.
        data: PathBuf,
        /// The version that made the data.
        data_version: String,
        /// Where the programs are.
        bin: PathBuf,
        /// The version of the programs.
        program_version: String,
    },
    /// The server ended while it started.
    #[error("PostgreSQL ended at its start; its log is {log}: {tail}")]
    Ended {
        /// Its log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The server runs, but connecting to it or creating the database failed.
    #[error("PostgreSQL runs, but it refuses connections or the new database: {0}")]
    Refused(sqlx::Error),
}

impl Error {
    fn io(action: &str, error: std::io::Error) -> Self {
        Self::Io { action: action.to_owned(), error }
    }
}

impl Postgres {
    /// A server with one role and one database, both called `name`. A name has lower-case letters,
    /// digits and underscores.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder { name: name.into(), programs: None, fallback: None, settings: Vec::new() }
    }

    /// The URL of the database. It names a socket, so only processes on this machine can use it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The id of the server's main process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits until the server has ended, and returns its exit status as text.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let status = ended.wait_for(Option::is_some).await.ok().and_then(|status| status.clone());
        status.unwrap_or_else(|| "its exit status is not known".to_owned())
    }

    /// Stops the server and waits until its data is written. Blocks for that time.
    pub fn stop(mut self) {
        // SIGINT is PostgreSQL's fast stop: sessions are cut, data is written.
        self.end_by(Signal::SIGINT);
    }

    /// Ends the server as a crash would: nothing more is written, and the next start recovers.
    pub fn crash(mut self) {
        self.end_by(Signal::SIGQUIT);
    }

    fn end_by(&mut self, signal: Signal) {
        if let Some(waiter) = self.waiter.take() {
            let _ = kill(self.pid, signal);
            let _ = waiter.join();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end_by(Signal::SIGINT);
    }
}
