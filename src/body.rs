//! Request bodies: read whole, each bounded in bytes and in time, and all of them together in bytes; it knows no format.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use poem::Body;
use poem::http::StatusCode;

use crate::problem::Problem;

/// The carrier gives up after 15 seconds, and nobody who means it takes longer for a megabyte.
pub const READ_WITHIN: Duration = Duration::from_secs(10);

/// How many bytes of bodies this process holds, and may hold.
static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST_HELD: AtomicUsize = AtomicUsize::new(64 << 20);

/// Sets how many bytes of request bodies this process holds at a time.
pub fn hold_at_most(bytes: usize) {
    MOST_HELD.store(bytes, Ordering::Relaxed);
}

/// A body, whose bytes count until this is dropped.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    counted: usize,
}

impl Held {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, which count on until this is dropped.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn extend(&mut self, part: &[u8]) -> bool {
        let before = HELD.fetch_add(part.len(), Ordering::Relaxed);
        if before + part.len() > MOST_HELD.load(Ordering::Relaxed) {
            HELD.fetch_sub(part.len(), Ordering::Relaxed);
            return false;
        }
        self.counted += part.len();
        self.bytes.extend_from_slice(part);
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// Reads a body of `most` bytes at most.
pub async fn read(body: Body, most: usize) -> Result<Held, Problem> {
    match tokio::time::timeout(READ_WITHIN, read_parts(body, most)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            format!("the body did not come within {} s", READ_WITHIN.as_secs()),
        )),
    }
}

async fn read_parts(body: Body, most: usize) -> Result<Held, Problem> {
    let mut parts = Box::pin(body.into_bytes_stream());
    let mut held = Held::default();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", format!("the body broke off: {error}"))
        })?;
        if held.bytes.len() + part.len() > most {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body is over {most} bytes"),
            ));
        }
        if !held.extend(&part) {
            metrics::counter!("textback_bodies_refused_total").increment(1);
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_bodies",
                "this process holds as many bytes of requests as it may (TEXTBACK_BODY_MEMORY_MB); try again",
            )
            .retry_after(1));
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_counts_while_it_is_held() {
        let held = read(Body::from_vec(vec![0; 1000]), 1000).await.expect("read");
        assert!(HELD.load(Ordering::Relaxed) >= 1000);
        drop(held);
        let refused = read(Body::from_vec(vec![0; 1001]), 1000).await.expect_err("refused");
        assert_eq!(refused.code(), "body_too_large");
        assert_eq!(HELD.load(Ordering::Relaxed), 0);
    }
}
