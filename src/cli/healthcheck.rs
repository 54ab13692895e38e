//! `textback healthcheck`: asks a process on this machine whether it runs or is ready, for Docker
//! and other supervisors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use url::Url;

use super::{Done, METRICS_LISTEN, print};
use crate::config::{MetricsListen, parse_address, parse_base_url};
use crate::domain::bounds;
use crate::telemetry::one_line;

/// Where `textback serve` listens if nothing else is given.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The options of `textback healthcheck`.
#[derive(Args)]
pub struct Options {
    /// Ask only whether the process runs (/livez), and not whether it is ready to serve (/readyz)
    #[arg(long)]
    live: bool,
    /// The base URL of the process to ask, such as http://127.0.0.1:8080
    /// [default: the addresses below that are given, until one answers]
    #[arg(long, value_parser = parse_base_url)]
    url: Option<Url>,
    /// The address where textback work serves its health
    #[arg(long, env = "TEXTBACK_WORK_LISTEN", value_parser = parse_address)]
    health_listen: Option<SocketAddr>,
    /// The address that the API and the webhooks listen on
    /// [default: 127.0.0.1:8080 if no address is given]
    #[arg(long, env = "TEXTBACK_LISTEN", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// The address that serves /metrics, or off [default: 127.0.0.1:9464 if no address is given]
    #[arg(long, env = "TEXTBACK_METRICS_LISTEN")]
    metrics_listen: Option<MetricsListen>,
    /// How many seconds the process may take to answer. A check of the database takes up to 13
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=120))]
    timeout_seconds: u64,
}

impl Options {
    /// The base URLs to ask, in this order. An address that is given keeps the defaults from being
    /// asked: there another process may answer, such as the server beside a worker.
    fn bases(&self) -> Vec<String> {
        if let Some(url) = &self.url {
            return vec![url.as_str().trim_end_matches('/').to_owned()];
        }
        let (given, default) = match self.metrics_listen {
            Some(MetricsListen::Off) => (None, None),
            Some(MetricsListen::At(address)) => (Some(address), None),
            None => (None, Some(METRICS_LISTEN)),
        };
        let mut all: Vec<SocketAddr> = [self.health_listen, self.listen, given].into_iter().flatten().collect();
        if all.is_empty() {
            all.push(LISTEN);
            all.extend(default);
        }
        all.into_iter().map(|address| format!("http://{}", reachable(address))).collect()
    }
}

/// Runs `textback healthcheck`; exits with 1 and says why when the process does not answer or is
/// not ready.
pub async fn run(options: Options) -> Done {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(options.timeout_seconds))
        .build()?;
    let path = if options.live { "livez" } else { "readyz" };
    let mut silent = Vec::new();
    for base in options.bases() {
        let url = format!("{base}/{path}");
        let answer = match client.get(&url).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => {
                return Err(format!("{url} did not answer within {} s", options.timeout_seconds).into());
            }
            Err(error) if error.is_connect() => {
                silent.push(url);
                continue;
            }
            Err(_) => return Err(format!("what listens at {url} does not speak HTTP; is it textback?").into()),
        };
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        if status.is_success() {
            print(&one_line(bounds::text(body.trim(), 500).as_ref()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("it may be no process of textback");
        return Err(format!("{url} answers {status}: {}", one_line(bounds::text(detail, 1000).as_ref())).into());
    }
    let tried = silent.join(", ");
    Err(format!(
        "no process of textback listens at {tried}; give this command the TEXTBACK_LISTEN, TEXTBACK_METRICS_LISTEN or TEXTBACK_WORK_LISTEN of the process"
    )
    .into())
}

/// The address at which this machine reaches a process that listens on `address`: on all addresses
/// means on loopback too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_are_given_are_called() {
        let called = |health: Option<&str>, listen: Option<&str>, metrics: Option<MetricsListen>| {
            let address = |text: &str| text.parse().expect("an address");
            let options = Options {
                live: false,
                url: None,
                health_listen: health.map(address),
                listen: listen.map(address),
                metrics_listen: metrics,
                timeout_seconds: 1,
            };
            options.bases().join(" ").replace("http://127.0.0.1:", "")
        };
        let at = || Some(MetricsListen::At(SocketAddr::from(([127, 0, 0, 1], 9465))));
        assert_eq!(called(None, None, None), "8080 9464");
        assert_eq!(called(None, None, Some(MetricsListen::Off)), "8080");
        assert_eq!(called(None, None, at()), "9465");
        assert_eq!(called(Some("127.0.0.1:7000"), None, None), "7000");
        assert_eq!(called(None, Some("127.0.0.1:8081"), None), "8081");
        assert_eq!(called(Some("127.0.0.1:7000"), Some("0.0.0.0:8081"), at()), "7000 8081 9465");
    }

    #[test]
    fn all_addresses_are_reached_on_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("127.0.0.1:9464", "127.0.0.1:9464"),
        ] {
            let address: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), reached);
        }
    }
}
