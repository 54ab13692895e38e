//! Who may use the console: whoever is on this machine, and elsewhere whoever has the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poem::error::ResponseError;
use poem::http::{StatusCode, Uri, header};
use poem::{Request, Response};
use secrecy::{ExposeSecret, SecretString};

use crate::guesses::{Guesses, WAIT_SECONDS};
use crate::problem::Problem;
use crate::secret::sha256;

/// Looks at each request before anything else does. Cheap to clone.
#[derive(Clone, Default)]
pub struct Guard {
    password: Option<SecretString>,
    guesses: Guesses,
}

impl Guard {
    /// A guard that asks for this password, if there is one.
    pub fn new(password: Option<SecretString>) -> Self {
        Self { password, guesses: Guesses::default() }
    }

    /// Whether a request may go on; else what it is answered.
    pub async fn admit(&self, request: &Request) -> Result<(), Response> {
        let Some(password) = &self.password else {
            // A page of another site that gives its name our address could else read all that is here (DNS rebinding).
            return if names_this_machine(request) { Ok(()) } else { Err(host_refused()) };
        };
        let given = password_of(request);
        // By their hashes, so that the time tells nothing about how much of a guess was right.
        if given.as_ref().is_some_and(|given| sha256(given) == sha256(password.expose_secret().as_bytes())) {
            return Ok(());
        }
        if given.is_some() && self.guesses.note(request).await {
            let told = "too many wrong passwords came from this address; the right one is taken at any time";
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_passwords", told);
            return Err(problem.retry_after(WAIT_SECONDS).as_response());
        }
        Err(Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, r#"Basic realm="textback console", charset="UTF-8""#)
            .header(header::CONNECTION, "close")
            .body("give the console's password (TEXTBACK_CONSOLE_PASSWORD), under any name\n"))
    }

    /// The same for the simulated carrier: this machine needs no password, others need the console's.
    pub async fn admit_to_simulator(&self, request: &Request) -> Result<(), Response> {
        let from_here =
            request.remote_addr().as_socket_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        if from_here && names_this_machine(request) {
            return Ok(());
        }
        match self.password {
            Some(_) => self.admit(request).await,
            None => Err(host_refused()),
        }
    }
}

fn host_refused() -> Response {
    let told = "this is for http://localhost, or an address in digits; to use it by another name, set TEXTBACK_CONSOLE_PASSWORD";
    Problem::new(StatusCode::FORBIDDEN, "host_refused", told).as_response()
}

/// Whether the request's Host is `localhost` or an address in digits: no name that somebody else could make ours.
fn names_this_machine(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).or_else(|| {
        // HTTP/2 says it in the address.
        request.original_uri().authority().map(|authority| authority.as_str())
    });
    let Some(host) = host.and_then(|host| host.parse::<Uri>().ok()?.host().map(str::to_ascii_lowercase)) else {
        return false;
    };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::IpAddr>().is_ok()
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
            "evil.example",
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

    #[tokio::test]
    async fn with_a_password_it_is_asked_for_and_guesses_are_counted() {
        let guard = Guard::new(Some(SecretString::from("open:sesame")));
        let with = |pair: &str| {
            let basic = format!("Basic {}", STANDARD.encode(pair));
            Request::builder().header(header::HOST, "evil.example").header(header::AUTHORIZATION, basic).finish()
        };
        for _ in 0..40 {
            assert_eq!(guard.admit(&of("localhost")).await.expect_err("asked").status(), StatusCode::UNAUTHORIZED);
        }
        for n in 0..40 {
            let refused = guard.admit(&with("ada:wrong")).await.expect_err("refused").status();
            let expected = if n < 20 { StatusCode::UNAUTHORIZED } else { StatusCode::TOO_MANY_REQUESTS };
            assert_eq!(refused, expected, "{n}");
        }
        assert!(
            guard.admit(&with("ada:open:sesame")).await.is_ok() && guard.admit(&with(":open:sesame")).await.is_ok()
        );
    }
}
