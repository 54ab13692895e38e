//! Gives each request an id. The answer carries it, and so does each log line about the request.

use std::sync::Arc;

use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::{Endpoint, Request, Response};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

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
}
