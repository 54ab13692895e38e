//! Says why no connection to the database could be made, and what to do about it. Nothing here
//! contains a password.

use std::io::ErrorKind;

use sqlx::postgres::PgConnectOptions;

use super::database_url::DatabaseUrlError;

/// Why no connection could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database of DATABASE_URL ({address}) can't be used: {public}{said}; {repair}", said = self.said())]
pub struct Unreachable {
    /// Where it was looked for, as `host:port`.
    pub address: String,
    /// The cause, without names of hosts and roles.
    pub public: &'static str,
    /// What the system or the server said of it.
    pub detail: Option<String>,
    /// What the operator can do.
    pub repair: &'static str,
}

const CHECK_PASSWORD: &str = "are the user and the password of DATABASE_URL (or PGPASSWORD) right? in the URL, write %3A %2F %3F %23 %40 %25 for the characters : / ? # @ %";
const TLS: &str = "set sslmode in DATABASE_URL: disable without TLS, require with TLS, verify-full with sslrootcert=FILE for a certificate of your own authority";
const RUNNING: &str = "is PostgreSQL running there, and are the host and the port in DATABASE_URL right?";
/// The sizes of the pools are in `cli/serve.rs`.
const CONNECTIONS: &str = "raise max_connections of PostgreSQL, or stop what else uses it: serve needs 8 connections, work 12, serve --with-workers 20, and each command 3 for a moment";

impl Unreachable {
    /// What was found, without the repair.
    pub fn found(&self) -> String {
        format!("{} at {}{}", self.public, self.address, self.said())
    }

    fn said(&self) -> String {
        self.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"))
    }
}

/// The cause of an error, if it is one of the connection and not of a statement.
pub fn explain(options: &PgConnectOptions, error: &sqlx::Error) -> Option<Unreachable> {
    let (public, repair, detail) = match error {
        sqlx::Error::Io(error) => {
            let (public, repair) = of_network(error);
            (public, repair, Some(error.to_string()))
        }
        sqlx::Error::Database(told) => {
            let (public, repair) = of_server(&told.code().unwrap_or_default(), told.message())?;
            // The server's message names the role and the database.
            (public, repair, Some(told.message().to_owned()))
        }
        sqlx::Error::Tls(error) => ("TLS failed", TLS, Some(error.to_string())),
        sqlx::Error::Protocol(_) => ("what listens there does not speak as PostgreSQL does", RUNNING, None),
        sqlx::Error::PoolTimedOut => {
            ("no connection came free in time", "is the database overloaded, or does a statement not end?", None)
        }
        _ => return None,
    };
    Some(Unreachable { address: address(options), public, detail, repair })
}

/// The text of an error about the database for an operator: its cause where it is one of the
/// connection.
pub fn text(options: &PgConnectOptions, error: &sqlx::Error) -> String {
    explain(options, error).map_or_else(|| plain(error), |unreachable| unreachable.to_string())
}

/// The text of an error, without sqlx's words around an error of ours.
pub fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(reason) => reason.to_string(),
        error => error.to_string(),
    }
}

impl From<DatabaseUrlError> for sqlx::Error {
    fn from(error: DatabaseUrlError) -> Self {
        Self::Configuration(Box::new(error))
    }
}

fn address(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(folder) => folder.join(format!(".s.PGSQL.{}", options.get_port())).display().to_string(),
        None if options.get_host().contains(':') => format!("[{}]:{}", options.get_host(), options.get_port()),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

fn of_network(error: &std::io::Error) -> (&'static str, &'static str) {
    let text = error.to_string();
    let is_lookup = ["lookup", "resolve", "not known", "No address"].iter().any(|word| text.contains(word));
    match error.kind() {
        ErrorKind::ConnectionRefused => ("nothing listens there", RUNNING),
        ErrorKind::TimedOut | ErrorKind::NotConnected => (
            "it does not answer",
            "is the host in DATABASE_URL right, and does a firewall let this machine reach its port?",
        ),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            ("its network can't be reached", "is the host in DATABASE_URL right?")
        }
        ErrorKind::NotFound => ("there is no such socket", RUNNING),
        ErrorKind::PermissionDenied => {
            ("this user may not open its socket", "give the user of this process access to the folder of the socket")
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => {
            ("the connection was closed", "is it PostgreSQL that listens there? its log may say why")
        }
        _ if is_lookup => (
            "the name of its host is not known",
            "is the host in DATABASE_URL spelt right, and can this machine look it up?",
        ),
        _ => ("the connection failed", RUNNING),
    }
}

/// The refusals of the server by their code.
///
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn of_server(code: &str, message: &str) -> Option<(&'static str, &'static str)> {
    Some(match code {
        "28P01" => ("it refuses the password", CHECK_PASSWORD),
        "28000" if message.contains("no encryption") || message.contains("SSL off") => (
            "it accepts no connection without TLS from here",
            "add ?sslmode=require to DATABASE_URL, or allow it in pg_hba.conf",
        ),
        "28000" if message.contains("pg_hba.conf") => {
            ("it accepts no such connection from here", "allow this role, database and address in pg_hba.conf")
        }
        _ if code.starts_with("28") => ("it refuses the role", CHECK_PASSWORD),
        "3D000" => (
            "there is no such database",
            "create it (createdb), or correct the part of DATABASE_URL after the last slash; without that part it is the name of the role",
        ),
        "42501" if message.contains("for database") => {
            ("the role may not connect", "as the owner of the database: grant connect on database … to its role")
        }
        "53300" => ("it has no connection left", CONNECTIONS),
        "57P03" => ("it is starting or stopping", "wait, or see its log"),
        "55000" if message.contains("not currently accepting connections") => {
            ("it accepts no connections", "see its log, and pg_database.datallowconn")
        }
        _ if code.starts_with("08") => ("the connection failed", RUNNING),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_network_is_told_with_its_repair() {
        let options: PgConnectOptions = "postgres://user:Secret@db.example.com:5433/app".parse().expect("a URL");
        for (error, why) in [
            (std::io::Error::from(ErrorKind::ConnectionRefused), "nothing listens there"),
            (std::io::Error::from(ErrorKind::TimedOut), "it does not answer"),
            (std::io::Error::from(ErrorKind::HostUnreachable), "its network can't be reached"),
            (std::io::Error::from(ErrorKind::UnexpectedEof), "the connection was closed"),
            (std::io::Error::other("failed to lookup address information: Name or service not known"), "is not known"),
        ] {
            let found = text(&options, &sqlx::Error::Io(error));
            assert!(found.contains(why) && found.contains("DATABASE_URL (db.example.com:5433)"), "{found}");
            assert!(!found.contains("Secret"), "{found}");
        }
        let tls = text(&options, &sqlx::Error::Tls("server does not support TLS".into()));
        assert!(tls.contains("server does not support TLS") && tls.contains("sslmode"), "{tls}");
    }

    #[test]
    fn each_refusal_of_the_server_is_told_with_its_repair() {
        for (code, message, why, repair) in [
            ("28P01", "password authentication failed", "refuses the password", "%2F"),
            ("28000", "no pg_hba.conf entry for host \"::1\", no encryption", "without TLS", "sslmode=require"),
            ("28000", "no pg_hba.conf entry for host \"::1\", SSL encryption", "from here", "pg_hba.conf"),
            ("28000", "role \"x\" is not permitted to log in", "refuses the role", "right?"),
            ("3D000", "database \"x\" does not exist", "no such database", "createdb"),
            ("53300", "sorry, too many clients already", "no connection left", "max_connections"),
            ("57P03", "the database system is starting up", "starting or stopping", "wait"),
        ] {
            let (found, told) = of_server(code, message).expect(code);
            assert!(found.contains(why) && told.contains(repair), "{found}; {told}");
        }
        assert_eq!(of_server("42P01", "relation does not exist"), None, "an error of a statement");
    }
}
