//! Controls access to the console: only clients on this machine, or clients with the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::error::ResponseError;
use poem::http::{StatusCode, Uri, header};
use poem::{Request, Response};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::http::failed_attempts::{FailedAttempts, WAIT_SECONDS};
use crate::http::problem::Problem;
use crate::secret::sha256;

/// Checks each request before any route sees it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Guard {
    password: Option<SecretString>,
    guesses: FailedAttempts,
}

impl Guard {
    /// A guard that requires this password, if there is one.
    pub fn new(password: Option<SecretString>) -> Self {
        Self { password, guesses: FailedAttempts::default() }
    }

    /// Whether a request may proceed; otherwise the response that refuses it.
    pub async fn admit(&self, request: &Request) -> Result<(), Response> {
        let Some(password) = &self.password else {
            // Otherwise a page of another site could point its own name at our address and read the
            // console (DNS rebinding).
            return if is_from_this_machine(request) { Ok(()) } else { Err(host_refused()) };
        };
        // This comes before the comparison. Otherwise the right guess would be let in after any
        // number of wrong ones.
        if self.guesses.are_too_many(request).await {
            return Err(too_many_wrong_passwords());
        }
        let given = password_of(request);
        // Comparing hashes keeps the response time from showing how much of a guess was right.
        if given.as_ref().is_some_and(|given| sha256(given) == sha256(password.expose_secret().as_bytes())) {
            return Ok(());
        }
        if given.is_some() && self.guesses.note(request).await {
            return Err(too_many_wrong_passwords());
        }
        Err(Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, r#"Basic realm="textback console", charset="UTF-8""#)
            .header(header::CONNECTION, "close")
            .body("give the console's password (TEXTBACK_CONSOLE_PASSWORD), under any name\n"))
    }

    /// The same for the simulated carrier. A client on this machine needs no password, other
    /// clients need the console's.
    pub async fn admit_to_simulator(&self, request: &Request) -> Result<(), Response> {
        let from_here =
            request.remote_addr().as_socket_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        if from_here && is_from_this_machine(request) {
            return Ok(());
        }
        match self.password {
            Some(_) => self.admit(request).await,
            None => Err(host_refused()),
        }
    }
}

/// The header by which a program says that it is no page of another site: such a page can't set it.
const OF_PROGRAMS: &str = "X-Textback-Console";

/// Who sent a form of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The script of the console's page, or a command.
    Program,
    /// A form of the console's page, by a browser without its script.
    Page,
}

/// Who sent a form. `None`: a page of another site may have sent it, with the browser and the
/// access of a person who may use the console.
pub fn sender(request: &Request) -> Option<Sender> {
    if request.headers().contains_key(OF_PROGRAMS) {
        return Some(Sender::Program);
    }
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_ours = match text("Sec-Fetch-Site") {
        Some(site) => site == "same-origin",
        // Browsers say it only to https and to this machine. Then the page's origin must be our own
        // address.
        None => text("Origin")
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, from)| text("Host").is_some_and(|host| host.eq_ignore_ascii_case(from))),
    };
    is_ours.then_some(Sender::Page)
}

fn host_refused() -> Response {
    let told = "without a password, this is only for http://localhost or an IP address, without a proxy; to use another host name or a proxy, set TEXTBACK_CONSOLE_PASSWORD";
    Problem::new(StatusCode::FORBIDDEN, "host_refused", told).before_the_body().as_response()
}

fn too_many_wrong_passwords() -> Response {
    let told = "too many wrong passwords came from this address; try again in a minute";
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_passwords", told);
    problem.retry_after(WAIT_SECONDS).before_the_body().as_response()
}

/// Whether the request comes from this machine: its Host is of this machine and no proxy forwarded
/// it. A proxy on this machine has a local address, and often a local Host, for requests from
/// anywhere.
fn is_from_this_machine(request: &Request) -> bool {
    let of_proxies = |name: &str| name.starts_with("x-forwarded-") || OF_PROXIES.contains(&name);
    names_this_machine(request) && !request.headers().keys().any(|name| of_proxies(name.as_str()))
}

/// Headers that proxies add, besides `X-Forwarded-…`.
const OF_PROXIES: [&str; 4] = ["forwarded", "x-real-ip", "via", "x-original-host"];

/// Whether a URL's host is of this machine only.
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether the request's Host is `localhost` or an IP address. Another person could point a host
/// name at our address.
fn names_this_machine(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).or_else(|| {
        // HTTP/2 sends the host in the URI.
        request.original_uri().authority().map(|authority| authority.as_str())
    });
    let Some(host) = host.and_then(|host| host.parse::<Uri>().ok()?.host().map(str::to_ascii_lowercase)) else {
        return false;
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    is_localhost(name) || name.parse::<std::net::IpAddr>().is_ok()
}

/// The password of a request with Basic authentication (RFC 7617).
fn password_of(request: &Request) -> Option<Vec<u8>> {
    let given = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = given.split_once(' ')?;
    let pair = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    pair.get(colon + 1..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str) -> Request {
        Request::builder().header(header::HOST, host).finish()
    }

    #[tokio::test]
    async fn without_a_password_only_names_of_this_machine_are_served() {
        let guard = Guard::default();
        for host in ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "192.168.0.7:80"] {
            assert!(guard.admit(&of(host)).await.is_ok(), "{host}");
        }
        for host in [
            "attacker.example",
            "localhost.evil.example:8080",
            "127.0.0.1.evil.example",
            "",
            "a b",
            "localhost@evil.example",
        ] {
            assert_eq!(guard.admit(&of(host)).await.expect_err("refused").status(), StatusCode::FORBIDDEN, "{host}");
        }
        assert!(guard.admit(&Request::default()).await.is_err(), "no Host");
    }

    #[test]
    fn a_form_comes_from_our_page_or_from_a_program() {
        let own = "192.168.0.7:8080";
        for (headers, expected) in [
            (vec![], None),
            (vec![("X-Textback-Console", "1")], Some(Sender::Program)),
            (vec![("Sec-Fetch-Site", "same-origin")], Some(Sender::Page)),
            (vec![("Sec-Fetch-Site", "cross-site"), ("Origin", "http://192.168.0.7:8080")], None),
            (vec![("Sec-Fetch-Site", "same-site")], None),
            (vec![("Sec-Fetch-Site", "none")], None),
            (vec![("Origin", "http://192.168.0.7:8080")], Some(Sender::Page)),
            (vec![("Origin", "http://192.168.0.7:8081")], None),
            (vec![("Origin", "http://attacker.example")], None),
            (vec![("Origin", "null")], None),
        ] {
            let mut request = Request::builder().header(header::HOST, own);
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            assert_eq!(sender(&request.finish()), expected, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_request_through_a_proxy_needs_a_password() {
        for name in ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Via"] {
            let request = || Request::builder().header(header::HOST, "127.0.0.1:8080").header(name, "a").finish();
            let without = Guard::default();
            assert_eq!(without.admit(&request()).await.expect_err(name).status(), StatusCode::FORBIDDEN);
            assert!(without.admit_to_simulator(&request()).await.is_err(), "{name}");
            let with = Guard::new(Some(SecretString::from("sesame")));
            assert_eq!(with.admit(&request()).await.expect_err(name).status(), StatusCode::UNAUTHORIZED);
            assert_eq!(with.admit_to_simulator(&request()).await.expect_err(name).status(), StatusCode::UNAUTHORIZED);
        }
    }

    #[test]
    fn a_public_url_is_local_by_its_host() {
        let local = |text: &str| is_local(&Url::parse(text).expect("a URL"));
        for text in ["http://localhost:8080", "http://a.localhost", "http://127.0.0.2:1", "http://[::1]:8080"] {
            assert!(local(text), "{text}");
        }
        for text in ["https://sms.example.com", "http://10.0.0.1", "http://localhost.example", "http://0.0.0.0"] {
            assert!(!local(text), "{text}");
        }
    }

    #[tokio::test]
    async fn a_password_is_required_and_guesses_are_counted() {
        let guard = Guard::new(Some(SecretString::from("open:sesame")));
        let with = |pair: &str| {
            let basic = format!("Basic {}", STANDARD.encode(pair));
            Request::builder().header(header::HOST, "attacker.example").header(header::AUTHORIZATION, basic).finish()
        };
        for _ in 0..40 {
            assert_eq!(guard.admit(&of("localhost")).await.expect_err("asked").status(), StatusCode::UNAUTHORIZED);
        }
        for pair in ["ada:open:sesame", ":open:sesame"] {
            assert!(guard.admit(&with(pair)).await.is_ok(), "{pair}");
        }
        for n in 0..40 {
            let refused = guard.admit(&with("ada:wrong")).await.expect_err("refused").status();
            let expected = if n < 20 { StatusCode::UNAUTHORIZED } else { StatusCode::TOO_MANY_REQUESTS };
            assert_eq!(refused, expected, "{n}");
        }
        for request in [with("ada:open:sesame"), of("localhost")] {
            let refused = guard.admit(&request).await.expect_err("refused until the minute is over").status();
            assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
        }
    }
}
