//! Gives each request an id. The answer carries it, and so does each log line about the request.
//!
//! An id of a client that can't be kept is replaced, because carriers and proxies send what they
//! like. Only `/v1` refuses it, by [`check`]: its client would look for a request that no line
//! names.

use std::sync::Arc;

use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::{Endpoint, Request, Response};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::http::headers::{only, refused};
use crate::http::problem::Problem;

/// The header of a request and of its answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client that is kept.
const MOST_BYTES: usize = 128;

/// Answers a request in a span with its id, and adds the id to the answer.
pub async fn identify<E: Endpoint<Output = Response>>(next: Arc<E>, mut request: Request) -> poem::Result<Response> {
    let id = kept(request.headers()).unwrap_or_else(drawn);
    let shown = id.to_str().unwrap_or_default();
    let span = tracing::info_span!(
        "http.request",
        request_id = shown,
        project_id = Empty,
        message_id = Empty,
        session_id = Empty
    );
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.call(request).instrument(span).await?;
    response.headers_mut().insert(REQUEST_ID, id);
    Ok(response)
}

/// The id of a request, within the request.
#[derive(Clone)]
struct RequestId(HeaderValue);

/// The id of a request. `None` for a call within this process.
pub fn of(request: &Request) -> Option<&str> {
    request.extensions().get::<RequestId>().and_then(|id| id.0.to_str().ok())
}

/// The id that a client or a proxy gave the request, if it is one of 1 to 128 visible ASCII
/// characters.
fn kept(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(&REQUEST_ID).iter();
    let (Some(id), None) = (given.next(), given.next()) else { return None };
    let is_formed = (1..=MOST_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    is_formed.then(|| id.clone())
}

/// The name of the header in errors.
const SHOWN: &str = "X-Request-Id";

/// Refuses an id of a client that [`identify`] does not keep, and a header that is like it.
pub fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let given = only(headers, &REQUEST_ID, SHOWN)?;
    let fault = match given {
        Some("") => Some("has no value; give one, or leave the header out".to_owned()),
        Some(id) if id.len() > MOST_BYTES => {
            Some(format!("has {} characters, and at most {MOST_BYTES} are possible", id.len()))
        }
        Some(id) if !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some("has a blank, and an id has none; write - or _ for it".to_owned())
        }
        _ => None,
    };
    if let Some(fault) = fault {
        return Err(refused("request_id_invalid", format!("the header {SHOWN} {fault}")));
    }
    match headers.keys().find(|name| is_misspelt(name.as_str())) {
        Some(name) => Err(refused("header_unknown", format!("the header {name} is not known; did you mean {SHOWN}?"))),
        None => Ok(()),
    }
}

/// Whether a name is X-Request-Id with other separators, or with one letter wrong. `Request-Id`
/// alone is what the HTTP client of .NET sends by itself, and X-Request-Ip is an address.
fn is_misspelt(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let is_one_letter_wrong = letters.starts_with("xr") && strsim::osa_distance(&letters, "xrequestid") <= 1;
    name != REQUEST_ID.as_str() && is_one_letter_wrong && letters != "xrequestip"
}

fn drawn() -> HeaderValue {
    // A UUID is visible ASCII.
    HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("-"))
}

/// Records the project that a request belongs to, for the log lines about the request that follow.
pub fn record_project(project_id: Uuid) {
    Span::current().record("project_id", tracing::field::display(project_id));
}

/// The same of the message that the request is about, and of its session.
pub fn record_message(message_id: Uuid, session_id: Option<Uuid>) {
    let span = Span::current();
    span.record("message_id", tracing::field::display(message_id));
    span.record("session_id", session_id.map(tracing::field::display));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_of(given: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for id in given {
            headers.append(REQUEST_ID, HeaderValue::from_bytes(id).expect("a value"));
        }
        kept(&headers).map(|id| id.to_str().expect("text").to_owned())
    }

    #[test]
    fn an_id_of_a_client_is_kept_if_it_is_well_formed() {
        let longest = "x".repeat(128);
        for id in ["1", "a-b_c.d:e/f", "~!\"{}", &longest] {
            assert_eq!(kept_of(&[id.as_bytes()]).as_deref(), Some(id));
        }
        let too_long = "x".repeat(129);
        for id in ["", "a b", "a\tb", "ä", &too_long] {
            assert_eq!(kept_of(&[id.as_bytes()]), None, "{id}");
        }
        assert_eq!(kept_of(&[]), None);
        assert_eq!(kept_of(&[b"one", b"two"]), None, "which of them is it?");
    }

    fn code_of(name: &str, values: &[&[u8]]) -> Option<(&'static str, String)> {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let value = |value: &&[u8]| (name.clone(), HeaderValue::from_bytes(value).expect("a value"));
        let refused = check(&values.iter().map(value).collect()).err()?;
        Some((refused.code(), refused.detail().to_owned()))
    }

    #[test]
    fn an_id_that_is_not_kept_is_refused_by_name() {
        let too_long = [b'x'; 129];
        for (values, code) in [
            (&[&b"one"[..], b"two"][..], "header_repeated"),
            (&["ä".as_bytes()], "header_unreadable"),
            (&[b"\xff"], "header_unreadable"),
            (&[b""], "request_id_invalid"),
            (&[b"a b"], "request_id_invalid"),
            (&[b"a\tb"], "request_id_invalid"),
            (&[&too_long], "request_id_invalid"),
        ] {
            let (found, detail) = code_of("X-Request-Id", values).expect(code);
            assert!(found == code && detail.contains("the header X-Request-Id"), "{found}: {detail}");
        }
        assert_eq!(code_of("X-Request-Id", &[&[b'x'; 128]]), None);
    }

    #[test]
    fn a_misspelt_header_is_refused_and_the_headers_of_others_are_not() {
        for name in ["X-RequestId", "X_Request_Id", "XRequest-Id", "X-Reqeust-Id", "X-Request-Ids", "X-Request-I"] {
            let (code, detail) = code_of(name, &[b"7"]).expect(name);
            assert!(code == "header_unknown" && detail.contains("did you mean X-Request-Id?"), "{name}: {detail}");
        }
        for name in [
            "Request-Id",
            "X-Requested-With",
            "X-Request-Ip",
            "X-Request-Start",
            "X-Request-Time",
            "X-Request-Uuid",
            "X-Correlation-Id",
            "X-Trace-Id",
            "X-Client-Request-Id",
            "X-Ms-Request-Id",
            "X-Amzn-RequestId",
            "Cf-Request-Id",
            "Fly-Request-Id",
        ] {
            assert_eq!(code_of(name, &[b"7"]), None, "{name}");
        }
    }
}
