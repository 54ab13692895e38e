//! Reads `DATABASE_URL`, and says what is wrong with one that can't be used. No error contains a
//! part of the URL that may belong to the password.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use url::Url;

/// Why a text is no address of a PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    #[error("DATABASE_URL is not a URL; give postgres://user:password@host/database")]
    NotAUrl,
    #[error(
        "DATABASE_URL is the address of another kind of database ({0}://), and textback needs PostgreSQL: give postgres://user:password@host/database"
    )]
    OtherDatabase(&'static str),
    #[error(
        "DATABASE_URL does not begin with postgres:// or postgresql://; give postgres://user:password@host/database, without quotes"
    )]
    Scheme,
    #[error(
        "DATABASE_URL has the character {letter} where it ends the host or the database; if it is part of the user or the password, write {code} for it"
    )]
    Unencoded { letter: char, code: &'static str },
    #[error("DATABASE_URL names several hosts; give the one address that leads to the server that writes")]
    SeveralHosts,
    #[error(
        "the port in DATABASE_URL is not a number from 1 to 65535; if the password has one of the characters : / ? # @ %, write %3A %2F %3F %23 %40 %25 for it"
    )]
    Port,
    #[error(
        "the host in DATABASE_URL is not valid; if the password has one of the characters : / ? # @ %, write %3A %2F %3F %23 %40 %25 for it"
    )]
    Host,
    #[error("the parameter {name} of DATABASE_URL is not known; did you mean {meant}?")]
    Misspelt { name: String, meant: &'static str },
    #[error("the parameter {0} of DATABASE_URL is given twice; give it once")]
    Repeated(&'static str),
    #[error("the parameter {name} of DATABASE_URL is not valid; give {expected}")]
    Parameter { name: &'static str, expected: &'static str },
    #[error(
        "DATABASE_URL can't be read; are all characters of its user, its password and its database either letters, digits or percent-encoded?"
    )]
    Unreadable,
}

/// Schemes of other databases that people have in such a variable. Other schemes are not shown,
/// because they may be a part of a password.
const OTHER_DATABASES: [&str; 14] = [
    "mysql",
    "mysqlx",
    "mariadb",
    "sqlite",
    "sqlite3",
    "mongodb",
    "mongodb+srv",
    "redis",
    "rediss",
    "mssql",
    "sqlserver",
    "oracle",
    "http",
    "https",
];

/// The parameters that sqlx reads. The others have no effect.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// An address of a database, and the names of its parameters that have no effect.
#[derive(Debug)]
pub struct DatabaseUrl {
    pub options: PgConnectOptions,
    pub ignored: Vec<String>,
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let text = text.trim();
        check_form(text)?;
        let mut url = Url::parse(text).map_err(|error| match error {
            url::ParseError::InvalidPort => DatabaseUrlError::Port,
            url::ParseError::EmptyHost
            | url::ParseError::IdnaError
            | url::ParseError::InvalidIpv4Address
            | url::ParseError::InvalidIpv6Address
            | url::ParseError::InvalidDomainCharacter => DatabaseUrlError::Host,
            _ => DatabaseUrlError::Unreadable,
        })?;
        if url.port() == Some(0) {
            return Err(DatabaseUrlError::Port);
        }
        let ignored = keep_known_parameters(&mut url)?;
        let mut options = PgConnectOptions::from_str(url.as_str()).map_err(|_| DatabaseUrlError::Unreadable)?;
        // sqlx keeps the brackets of a literal, and then looks it up as a name.
        if let Some(literal) = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let address = literal.parse::<std::net::Ipv6Addr>().map_err(|_| DatabaseUrlError::Host)?;
            options = options.host(&address.to_string());
        }
        Ok(Self { options, ignored })
    }
}

/// Finds the mistakes that the standard of URLs reads as something else: a password with `#` is a
/// host and a fragment.
fn check_form(text: &str) -> Result<(), DatabaseUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(DatabaseUrlError::NotAUrl)?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "postgres" | "postgresql") {
        let other = OTHER_DATABASES.into_iter().find(|other| *other == scheme);
        return Err(other.map_or(DatabaseUrlError::Scheme, DatabaseUrlError::OtherDatabase));
    }
    let authority = rest.get(..rest.find(['/', '?', '#']).unwrap_or(rest.len())).unwrap_or_default();
    let after = rest.get(authority.len()..).unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(letter) = unencoded(host, after) {
        let code = match letter {
            '/' => "%2F",
            '?' => "%3F",
            _ => "%23",
        };
        return Err(DatabaseUrlError::Unencoded { letter, code });
    }
    if host.contains(',') {
        return Err(DatabaseUrlError::SeveralHosts);
    }
    Ok(())
}

/// The character that ends the authority of a URL although it was meant as a part of the user or
/// the password: an `@` follows it outside a parameter, or the text before it is no port. A
/// database's address has no fragment.
fn unencoded(host: &str, after: &str) -> Option<char> {
    let ends_with = after.chars().next()?;
    if after.contains('#') {
        // The first of the three that is wrong: before a later `#`, the others may be right.
        return Some(if ends_with != '#' && after.split('#').next().is_some_and(|before| before.contains('@')) {
            ends_with
        } else {
            '#'
        });
    }
    let (path, query) = after.split_once('?').unwrap_or((after, ""));
    if path.contains('@') {
        return Some('/');
    }
    let (before_at, has_at) = query.split_once('@').map_or(("", false), |(before, _)| (before, true));
    if has_at && !before_at.contains('=') {
        return Some('?');
    }
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    let is_bad_port = !host.ends_with(']') && host.rsplit_once(':').is_some_and(|(_, port)| !is_port(port));
    (has_at && is_bad_port).then_some(ends_with)
}

/// Removes the parameters that have no effect, and returns their names. sqlx would log them with
/// their values.
fn keep_known_parameters(url: &mut Url) -> Result<Vec<String>, DatabaseUrlError> {
    let mut ignored = Vec::new();
    let mut kept = Vec::new();
    for (name, value) in url.query_pairs() {
        if !PARAMETERS.contains(&&*name) && !name.starts_with("options[") {
            // A name of another form may be a part of a password.
            let is_name = name.len() <= 40 && name.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_');
            // A misspelt sslmode would turn the checks of TLS off in silence. Only one letter may
            // be wrong, because libpq has parameters like sslcrl that sqlx does not read.
            let meant = PARAMETERS.into_iter().find(|known| strsim::osa_distance(&name, known) == 1);
            if is_name && let Some(meant) = meant {
                return Err(DatabaseUrlError::Misspelt { name: name.into_owned(), meant });
            }
            ignored.push(if is_name { name.into_owned() } else { "(a name that is not shown)".to_owned() });
            continue;
        }
        if let Some(known) = PARAMETERS.into_iter().find(|known| *known == name)
            && kept.iter().any(|(other, _): &(String, String)| *other == name)
        {
            return Err(DatabaseUrlError::Repeated(known));
        }
        check_parameter(&name, &value)?;
        kept.push((name.into_owned(), value.into_owned()));
    }
    match kept.is_empty() {
        true => url.set_query(None),
        false => drop(url.query_pairs_mut().clear().extend_pairs(kept)),
    }
    Ok(ignored)
}

fn check_parameter(name: &str, value: &str) -> Result<(), DatabaseUrlError> {
    let refused = |name, expected| Err(DatabaseUrlError::Parameter { name, expected });
    if matches!(name, "host" | "hostaddr") && value.contains(',') {
        return Err(DatabaseUrlError::SeveralHosts);
    }
    match name {
        "sslmode" | "ssl-mode" if sqlx::postgres::PgSslMode::from_str(value).is_err() => {
            refused("sslmode", "disable, allow, prefer, require, verify-ca or verify-full")
        }
        "port" if !value.parse::<u16>().is_ok_and(|port| port > 0) => refused("port", "a number from 1 to 65535"),
        "host" if value.trim().is_empty() => refused("host", "the name of a host, or the folder of a socket"),
        "hostaddr" if value.parse::<std::net::IpAddr>().is_err() => refused("hostaddr", "an IP address"),
        "statement-cache-capacity" if value.parse::<usize>().is_err() => {
            refused("statement-cache-capacity", "a whole number")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<DatabaseUrl>().expect_err(text).to_string()
    }

    #[test]
    fn a_url_that_can_be_used_is_read() {
        for (text, host, database) in [
            ("postgres://u:p@db.example.com/app", "db.example.com", Some("app")),
            ("  postgresql://u:p@db:5433/app?sslmode=require\n", "db", Some("app")),
            ("POSTGRES://u:p@db/app", "db", Some("app")),
            // The last @ ends the password, so one in it needs no code.
            ("postgres://u:p@ss@db/app", "db", Some("app")),
            ("postgres://u:p%23%2F%3F@db/app", "db", Some("app")),
            ("postgres://u:100%@db/app", "db", Some("app")),
            ("postgres://db/app?user=me@tenant&password=x", "db", Some("app")),
            ("postgres://u:p@[::1]:5432/app", "::1", Some("app")),
            ("postgres://u:p@[2001:db8:0:0::7]/app", "2001:db8::7", Some("app")),
            ("postgres://u:p@db/app?host=[::1]", "::1", Some("app")),
            ("postgres://u:p@db/app?host=::1", "::1", Some("app")),
            ("postgres://u:p@db/app?hostaddr=::1", "::1", Some("app")),
            ("postgres://u@localhost/app?host=/var/run/postgresql", "localhost", Some("app")),
        ] {
            let read = text.parse::<DatabaseUrl>().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((read.options.get_host(), read.options.get_database()), (host, database), "{text}");
            assert!(read.ignored.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_folder_of_a_socket_is_read_however_it_is_written() {
        for text in [
            "postgres://u@localhost/app?host=/var/run/postgresql",
            "postgres://u@localhost/app?host=%2Fvar%2Frun%2Fpostgresql",
            "postgres://u@%2Fvar%2Frun%2Fpostgresql/app",
            "postgres://%2Fvar%2Frun%2Fpostgresql/app",
            "postgres:///app?host=/var/run/postgresql",
        ] {
            let read = text.parse::<DatabaseUrl>().unwrap_or_else(|error| panic!("{text}: {error}"));
            let folder = read.options.get_socket().map(|folder| folder.display().to_string());
            assert_eq!(folder.as_deref(), Some("/var/run/postgresql"), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_told_with_its_repair() {
        for (text, told) in [
            ("mysql://u:p@db/app", "another kind of database (mysql://)"),
            ("https://db/app", "another kind of database (https://)"),
            ("jdbc:postgresql://db/app", "does not begin with postgres://"),
            ("postgres", "is not a URL"),
            ("host=db dbname=app", "is not a URL"),
            ("postgres:/u:p@db/app", "is not a URL"),
            ("postgres://u:p#ss@db/app", "write %23"),
            ("postgres://u:12#34@db/app", "write %23"),
            ("postgres://u:p@ss#1@db/app", "write %23"),
            ("postgres://u:p@db/app#x", "write %23"),
            ("postgres://u:p/ss@db/app", "write %2F"),
            ("postgres://u:12/34@db/app", "write %2F"),
            ("postgres://u:p@ss/1@db/app", "write %2F"),
            ("postgres://u:p/s#s@db/app", "write %23"),
            ("postgres://u:p?ss@db/app", "write %3F"),
            ("postgres://u:p?a=b@db/app", "write %3F"),
            ("postgres://u:p@one:5432,two:5432/app", "several hosts"),
            ("postgres://u:p@db/app?host=one,two", "several hosts"),
            ("postgres://u:p@db/app?hostaddr=192.0.2.1,192.0.2.2", "several hosts"),
            ("postgres://u:p@db/app?host=", "the folder of a socket"),
            ("postgres://u:p@db/app?host=[one]", "the host"),
            ("postgres://u:p@db:port/app", "the port"),
            ("postgres://u:p@db:70000/app", "the port"),
            ("postgres://u:p@db:0/app", "the port"),
            ("postgres://u:p@[::1/app", "the host"),
            ("postgres://u:p@db/app?sslmode=on", "disable, allow, prefer"),
            ("postgres://u:p@db/app?sslmod=verify-full", "did you mean sslmode?"),
            ("postgres://u:p@db/app?ssl_mode=require", "did you mean sslmode?"),
            ("postgres://u:p@db/app?sslmode=require&sslmode=disable", "sslmode of DATABASE_URL is given twice"),
            ("postgres://u:p@db/app?port=x", "a number from 1 to 65535"),
            ("postgres://u:%ff@db/app", "can't be read"),
        ] {
            let found = refusal(text);
            assert!(found.contains(told) && found.contains("DATABASE_URL"), "{text}: {found}");
        }
    }

    #[test]
    fn parameters_without_effect_are_named_without_their_values() {
        let read: DatabaseUrl =
            "postgres://u:p@db/app?channel_binding=require&sslmode=require&pgbouncer=true&sslcrl=a&Secret!=x"
                .parse()
                .expect("a URL");
        assert_eq!(read.ignored, ["channel_binding", "pgbouncer", "sslcrl", "(a name that is not shown)"]);
        assert!(matches!(read.options.get_ssl_mode(), sqlx::postgres::PgSslMode::Require));
    }

    proptest! {
        #[test]
        fn an_encoded_password_is_read_and_no_error_shows_a_plain_one(
            password in "[ -~]{1,6}[#/?@:%&= ]{0,3}SECRET[ -~]{0,8}", port in 1u16..,
        ) {
            let encoded: String = url::form_urlencoded::byte_serialize(password.as_bytes()).collect::<String>().replace('+', "%20");
            let read = format!("postgres://u:{encoded}@db:{port}/app").parse::<DatabaseUrl>();
            let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!((read.options.get_host(), read.options.get_port()), ("db", port));
            for text in [format!("postgres://u:{password}@db/app"), password.clone(), format!("mysql://{password}")] {
                match text.parse::<DatabaseUrl>() {
                    Err(error) => prop_assert!(!error.to_string().contains("SECRET"), "{}", error),
                    Ok(read) => prop_assert!(!read.ignored.join(" ").contains("SECRET")),
                }
            }
        }
    }
}
