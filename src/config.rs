//! Declares the settings of all commands: each one is a flag and an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ArgAction::Set;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::agents::http::Network;
use crate::http::body::LEAST_MEGABYTES;
use crate::http::listener::Limits;
use crate::secret::SecretKeys;
use crate::storage::database_url::{DatabaseUrl, DatabaseUrlError};

/// The database.
#[derive(Args, Clone)]
pub struct DatabaseSettings {
    /// The URL of the PostgreSQL database (postgres://user:password@host/database)
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

impl DatabaseSettings {
    /// The URL, unless it is missing or blank. Errors when it is no address of a PostgreSQL
    /// database.
    pub fn given(&self) -> Result<Option<&str>, DatabaseUrlError> {
        let given = self.database_url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        if let Some(url) = given {
            url.parse::<DatabaseUrl>()?;
        }
        Ok(given)
    }

    /// The URL, or an error that says how to set it.
    pub fn required(&self) -> Result<&str, DatabaseSettingError> {
        Ok(self.given()?.ok_or(MissingSetting("DATABASE_URL", "postgres://user:password@host/database"))?)
    }
}

/// Why there is no database to use.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseSettingError {
    #[error(transparent)]
    Missing(#[from] MissingSetting),
    #[error(transparent)]
    Url(#[from] DatabaseUrlError),
}

/// A required setting is missing.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not set; give it as a variable or a flag, for example {0}={1}")]
pub struct MissingSetting(pub &'static str, pub &'static str);

/// The addresses of `textback serve`.
#[derive(Args, Clone)]
pub struct ServerSettings {
    /// The address that the API and the webhooks listen on
    #[arg(long, env = "TEXTBACK_LISTEN", default_value = "127.0.0.1:8080", value_parser = parse_address)]
    pub listen: SocketAddr,
    /// The URL that Twilio calls. Webhook signatures are checked over it [default: http://<listen>]
    #[arg(long, env = "TEXTBACK_PUBLIC_URL", value_parser = parse_base_url)]
    pub public_url: Option<Url>,
}

impl ServerSettings {
    /// The public base URL, without a slash at the end.
    pub fn public_base(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.listen),
        }
    }
}

/// The limits for clients of a process, and its other public endpoints.
#[derive(Args, Clone)]
pub struct EdgeSettings {
    #[command(flatten)]
    pub metrics: MetricsSettings,
    /// The most connections that may be open at a time. Beyond it, each new connection closes an
    /// idle one; if none is idle, it gets a 503
    #[arg(long, env = "TEXTBACK_MAX_CONNECTIONS", default_value_t = 4096, value_parser = whole::<1, 1_000_000>)]
    pub max_connections: u32,
    /// The most megabytes of request bodies in memory, half of them for webhooks. One project can
    /// use half of each half; requests beyond that get a 503
    #[arg(long, env = "TEXTBACK_BODY_MEMORY_MB", default_value_t = 64, value_parser = whole::<LEAST_MEGABYTES, 65_536>)]
    pub body_memory_mb: u32,
    /// Also accept HTTP/2 without TLS, for a proxy that uses it (h2c with prior knowledge)
    #[arg(long, env = "TEXTBACK_HTTP2", value_parser = parse_switch, action = Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub http2: bool,
    /// Serve /docs and /openapi.yaml without a key; textback dev always does
    #[arg(long, env = "TEXTBACK_DOCS", value_parser = parse_switch, action = Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub docs: bool,
}

impl EdgeSettings {
    /// The limits for the clients of an address.
    pub fn limits(&self) -> Limits {
        let connections = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        Limits { connections, http2: self.http2, ..Limits::default() }
    }

    /// How many bytes of request bodies the process holds at a time.
    pub fn body_memory(&self) -> usize {
        usize::try_from(self.body_memory_mb).unwrap_or(usize::MAX).saturating_mul(1 << 20)
    }
}

/// Where a process serves its metrics.
#[derive(Args, Clone, Copy)]
pub struct MetricsSettings {
    /// The address that serves /metrics, /livez and /readyz without a key, or off
    /// [default: 127.0.0.1:9464, if it is free]
    #[arg(long, env = "TEXTBACK_METRICS_LISTEN")]
    pub metrics_listen: Option<MetricsListen>,
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsListen {
    /// Nowhere.
    Off,
    /// At an address.
    At(SocketAddr),
}

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text.to_ascii_lowercase().as_str(), "off" | "none" | "false" | "no" | "0") {
            return Ok(Self::Off);
        }
        text.parse()
            .map(Self::At)
            .map_err(|_| format!("{text} is not an address; give one such as 127.0.0.1:9464, or off"))
    }
}

/// How to reach the carrier, and the key of its stored credentials.
#[derive(Args, Clone)]
pub struct CarrierSettings {
    /// The key that encrypts stored secrets: 32 bytes in base64 (create one with: openssl rand
    /// -base64 32). During a rotation: the new key, a comma, the old key
    #[arg(long, env = "TEXTBACK_SECRET_KEY", hide_env_values = true)]
    pub secret_key: Option<SecretKeys>,
    /// The base URL of Twilio's API, or of a simulated Twilio
    #[arg(long, env = "TEXTBACK_TWILIO_API_URL", default_value = "https://api.twilio.com", value_parser = parse_base_url)]
    pub twilio_api_url: Url,
    /// The base URL of Twilio's messaging services and registrations, or of a simulated Twilio
    #[arg(long, env = "TEXTBACK_TWILIO_MESSAGING_URL", default_value = "https://messaging.twilio.com", value_parser = parse_base_url)]
    pub twilio_messaging_url: Url,
}

impl CarrierSettings {
    /// The secret key, or an error that says how to create one.
    pub fn required_key(&self) -> Result<SecretKeys, MissingSetting> {
        self.secret_key.clone().ok_or(MissingSetting("TEXTBACK_SECRET_KEY", "\"$(openssl rand -base64 32)\""))
    }
}

/// The networks that http agents may be in.
#[derive(Args, Clone, Default)]
pub struct AgentSettings {
    /// Networks that http agents may be in besides public addresses, separated by commas
    /// (10.1.0.0/16,192.168.7.2). Plain http is allowed only to these networks
    #[arg(long, env = "TEXTBACK_ALLOW_HOSTS", value_delimiter = ',')]
    pub allow_hosts: Vec<Network>,
}

/// The limits and intervals of workers.
#[derive(Args, Clone)]
pub struct WorkerSettings {
    /// How many seconds a worker's claim on a job lasts before another worker may claim it. A
    /// running turn renews its lease
    #[arg(long, env = "TEXTBACK_LEASE_SECONDS", default_value_t = 30, value_parser = whole::<3, 3600>)]
    pub lease_seconds: u32,
    /// How many seconds an unknown delivery is searched for in Twilio's list of messages before it
    /// counts as not sent and is sent again
    #[arg(long, env = "TEXTBACK_UNKNOWN_SETTLE_SECONDS", default_value_t = 120, value_parser = whole::<1, 86_400>)]
    pub unknown_settle_seconds: u32,
    /// How often each number's inbound messages are listed at Twilio to find those whose webhook
    /// never came, in seconds
    #[arg(long, env = "TEXTBACK_READ_BACK_SECONDS", default_value_t = 300, value_parser = whole::<1, 86_400>)]
    pub read_back_seconds: u32,
    /// How often workers poll for jobs that no notification announced, in seconds
    #[arg(long, env = "TEXTBACK_POLL_SECONDS", default_value_t = 1.0, value_parser = parse_seconds)]
    pub poll_seconds: f64,
    /// How many turns run at a time in this process. One agent may use at most as many slots as are
    /// left free
    #[arg(long, env = "TEXTBACK_TURN_SLOTS", default_value_t = 1024, value_parser = parse_slots)]
    pub turn_slots: u16,
    /// How many deliveries this process sends at a time. One carrier account may use at most as
    /// many slots as are left free
    #[arg(long, env = "TEXTBACK_DELIVERY_SLOTS", default_value_t = 1024, value_parser = parse_slots)]
    pub delivery_slots: u16,
}

impl WorkerSettings {
    /// The time between two polls for jobs.
    pub fn poll_interval(&self) -> Duration {
        Duration::from_secs_f64(self.poll_seconds)
    }
}

/// The private database and the simulator of `textback dev`.
#[derive(Args, Clone)]
pub struct DevSettings {
    /// The folder of the database and the secret key of `textback dev`
    #[arg(long, env = "TEXTBACK_DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
    /// The folder of PostgreSQL's programs (initdb, postgres), if textback does not find it
    #[arg(long, env = "TEXTBACK_PG_BIN")]
    pub pg_bin: Option<PathBuf>,
    /// The address that the simulated Twilio listens on
    #[arg(long, env = "TEXTBACK_SIMULATOR_LISTEN", default_value = "127.0.0.1:8081", value_parser = parse_address)]
    pub simulator_listen: SocketAddr,
    /// The password of the console, for any user name. Without it, `textback dev` serves only this
    /// machine
    #[arg(long, env = "TEXTBACK_CONSOLE_PASSWORD", hide_env_values = true)]
    console_password: Option<SecretString>,
}

impl DevSettings {
    /// The password of the console. A blank password counts as none, because anybody would guess
    /// it.
    pub fn console_password(&self) -> Option<&SecretString> {
        self.console_password.as_ref().filter(|password| !password.expose_secret().trim().is_empty())
    }
}

/// A URL as logs and errors show it: what stands before its host may be a password.
pub fn shown_url(url: &str) -> String {
    match url.parse::<Url>() {
        Ok(mut parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            let is_hidden = parsed.set_username("…").is_ok() && parsed.set_password(None).is_ok();
            let hidden = parsed.as_str().trim_end_matches('/').replace("%E2%80%A6@", "…@");
            if is_hidden { hidden } else { "a URL with a password".to_owned() }
        }
        _ => url.to_owned(),
    }
}

/// Reads an address to listen on.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "give an IP address and a port, such as 127.0.0.1:8080, or 0.0.0.0:8080 to listen on all interfaces".to_owned()
    })
}

/// Reads a whole number within bounds.
pub fn whole<const LEAST: u32, const MOST: u32>(text: &str) -> Result<u32, String> {
    let number = text.parse::<u32>().ok().filter(|number| (LEAST..=MOST).contains(number));
    number.ok_or_else(|| format!("give a whole number from {LEAST} to {MOST}, without a unit"))
}

/// Reads how many slots a process has.
fn parse_slots(text: &str) -> Result<u16, String> {
    whole::<1, 4096>(text).map(|slots| u16::try_from(slots).unwrap_or(u16::MAX))
}

/// Reads a URL of http or https.
pub fn parse_http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; give a full URL such as https://sms.example.com"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(format!("its scheme is {scheme}; use http or https")),
    }
}

/// Reads a base URL: http or https, without a user, a password and a query.
pub fn parse_base_url(text: &str) -> Result<Url, String> {
    let url = parse_http_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        // It is in the log, and in the answer to a webhook whose signature is wrong.
        return Err(
            "it has a user or a password before its host, and such an address is shown to others; leave them out"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it has a query or a fragment; give only scheme, host, port and path".to_owned());
    }
    Ok(url)
}

/// Reads a switch as people write it, in any case and with blanks around it.
pub fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" | "enabled" | "enable" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" | "disabled" | "disable" => Ok(false),
        _ => Err("give true or false (1 or 0, yes or no, on or off)".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds between 0.05 and 60".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_keeps_its_path_and_loses_the_last_slash() {
        let settings = ServerSettings {
            listen: "127.0.0.1:1".parse().expect("an address"),
            public_url: Some(parse_base_url("https://sms.example.com/textback/").expect("a URL")),
        };
        assert_eq!(settings.public_base(), "https://sms.example.com/textback");
    }

    #[test]
    fn switches_are_read_as_people_write_them() {
        for on in ["1", "true", "TRUE", "True", "yes", "Y", "on", " On ", "t\n"] {
            assert_eq!(parse_switch(on), Ok(true), "{on:?}");
        }
        for off in ["0", "false", "FALSE", "no", "N", "off", "\tOFF", "f"] {
            assert_eq!(parse_switch(off), Ok(false), "{off:?}");
        }
        for neither in ["2", "-1", "maybe", "truee", "null", "ja", "да", "1 0"] {
            assert!(parse_switch(neither).expect_err(neither).contains("true or false"));
        }
    }

    #[test]
    fn an_address_or_a_number_that_can_not_be_read_is_told_with_its_form() {
        for text in ["8080", ":8080", "localhost:8080", "127.0.0.1", "http://127.0.0.1:8080", "0.0.0.0:99999", "*:80"] {
            assert!(parse_address(text).expect_err(text).contains("such as 127.0.0.1:8080"), "{text}");
        }
        assert_eq!(parse_address("[::]:80"), Ok("[::]:80".parse().expect("an address")));
        for text in ["30s", "1m", "64MB", "0", "-1", "3.5", "1e3", "10_000", "65537", "ten", ""] {
            assert_eq!(
                whole::<1, 65_536>(text),
                Err("give a whole number from 1 to 65536, without a unit".to_owned()),
                "{text}"
            );
        }
        assert_eq!((whole::<1, 65_536>("65536"), parse_slots("4096")), (Ok(65_536), Ok(4096)));
    }

    #[test]
    fn no_password_of_a_url_is_shown() {
        for (url, shown) in [
            ("https://sms.example.com", "https://sms.example.com"),
            ("https://me:Secret77@sms.example.com/textback", "https://…@sms.example.com/textback"),
            ("https://Secret77@sms.example.com", "https://…@sms.example.com"),
            ("https://:Secret77@sms.example.com:8443", "https://…@sms.example.com:8443"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }

    #[test]
    fn a_base_url_with_a_query_or_a_password_is_refused_with_a_reason() {
        assert!(parse_base_url("https://sms.example.com/?a=1").expect_err("refused").contains("query"));
        assert!(parse_base_url("sms.example.com").expect_err("refused").contains("https://"));
        for url in ["https://me:Secret77@sms.example.com", "https://me@sms.example.com", "https://:Secret77@a.example"]
        {
            let told = parse_base_url(url).expect_err("refused");
            assert!(told.contains("leave them out") && !told.contains("Secret77"), "{told}");
        }
    }
}
