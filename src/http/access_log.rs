//! Logs each request when it is answered: those below `/v1` with the level info, all others with
//! debug, because a webhook has lines of its own. `RUST_LOG=info,textback::http::access_log=off`
//! leaves these lines out.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use percent_encoding::percent_decode_str;
use poem::{Endpoint, Request, Response};
use poem_openapi::OperationId;

use crate::domain::bounds;
use crate::telemetry::masked;

/// The longest path that is logged, in bytes.
const MOST_PATH_BYTES: usize = 200;

/// Logs a request and what it was answered.
pub async fn log<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    let is_of_the_api = request.uri().path().starts_with("/v1/");
    log_as(next, request, is_of_the_api).await
}

/// Logs a request to the simulated carrier with debug, whatever its path: Twilio's API has paths
/// below `/v1` too.
pub async fn log_of_carrier<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    log_as(next, request, false).await
}

async fn log_as<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
    is_of_the_api: bool,
) -> poem::Result<Response> {
    let began = Instant::now();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let response = next.call(request).await?;
    let method = method.as_str();
    let path = shown(uri.path());
    let status = response.status().as_u16();
    let operation = response.data::<OperationId>().map(|id| id.0);
    let duration_seconds = began.elapsed().as_secs_f64();
    if is_of_the_api {
        tracing::info!(method, path, operation, status, duration_seconds, "a request was answered");
    } else {
        tracing::debug!(method, path, operation, status, duration_seconds, "a request was answered");
    }
    Ok(response)
}

/// A path as the log may show it: without the key of a webhook, and without whole numbers. The
/// query is never shown.
fn shown(path: &str) -> String {
    let of_webhook = path.starts_with("/webhooks/");
    let segments = path.split('/').enumerate().map(|(position, segment)| {
        if of_webhook && position == 3 {
            return Cow::Borrowed("{key}");
        }
        let decoded = percent_decode_str(segment).decode_utf8_lossy();
        let digits = decoded.chars().filter(char::is_ascii_digit).count();
        // Ids have letters and more digits.
        let is_number = (7..=15).contains(&digits) && !decoded.chars().any(|letter| letter.is_ascii_alphabetic());
        if is_number { Cow::Owned(masked(&decoded)) } else { Cow::Borrowed(segment) }
    });
    bounds::text(&segments.collect::<Vec<_>>().join("/"), MOST_PATH_BYTES).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_path_has_no_key_and_no_whole_number() {
        for (path, expected) in [
            ("/v1/messages", "/v1/messages"),
            ("/v1/messages/0198c0de-0000-7000-8000-000000000001", "/v1/messages/0198c0de-0000-7000-8000-000000000001"),
            ("/v1/messages/0198c0de-0000-7000-8000-00000000000", "/v1/messages/0198c0de-0000-7000-8000-00000000000"),
            ("/webhooks/twilio/secret/messages", "/webhooks/twilio/{key}/messages"),
            ("/webhooks/twilio/secret", "/webhooks/twilio/{key}"),
            ("/v1/consents/+14155550101", "/v1/consents/…0101"),
            ("/v1/consents/%2B14155550101/x", "/v1/consents/…0101/x"),
            ("/v1/consents/4155550101", "/v1/consents/…0101"),
            ("/v1/agents/0198/versions/12", "/v1/agents/0198/versions/12"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
        assert!(shown(&"/x".repeat(10_000)).len() <= MOST_PATH_BYTES);
    }
}
