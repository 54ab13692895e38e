//! Reads request bodies into memory, with limits on the size and time of each body and on the size
//! of all bodies together.
//!
//! Webhooks and all other requests have separate budgets, so neither can use up the other's. A
//! project may hold as many bytes of a budget as are left free (a dynamic threshold, as in
//! `jobs::runtime::fair_limiter`). So one project holds at most half of the budget, and a project
//! that holds nothing can always read a body.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use poem::http::{StatusCode, header};
use poem::{Body, Endpoint, EndpointExt, Request, Response};
use uuid::Uuid;

use crate::http::problem::Problem;
use crate::telemetry::metrics;

/// How long a client may take to send a body. Ordinary clients send a megabyte faster.
pub const READ_WITHIN: Duration = Duration::from_secs(10);
/// The smallest limit for all bodies of a process. An agent of 1 MiB must fit into half of the
/// budget of requests, which is half of the limit.
pub const LEAST_MEGABYTES: u32 = 4;

/// The budget of webhook bodies.
static WEBHOOKS: LazyLock<Budget> = LazyLock::new(|| Budget::of(32 << 20));
/// The budget of all other bodies.
static REQUESTS: LazyLock<Budget> = LazyLock::new(|| Budget::of(32 << 20));

/// Sets how many bytes of request bodies this process holds at a time: half for webhooks, half for
/// all other requests.
pub fn limit_memory(bytes: usize) {
    for budget in [&WEBHOOKS, &REQUESTS] {
        budget.lock().most = bytes / 2;
    }
}

/// The budget of webhook bodies.
pub fn of_webhooks() -> Budget {
    WEBHOOKS.clone()
}

/// The budget of all other bodies.
pub fn of_requests() -> Budget {
    REQUESTS.clone()
}

/// Counts the bytes that each owner holds. Clones share one count and are cheap.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Mutex<HeldBytes>>);

#[derive(Debug)]
struct HeldBytes {
    most: usize,
    all: usize,
    by_owner: HashMap<Uuid, usize>,
}

impl Budget {
    /// A budget of `most` bytes.
    pub fn of(most: usize) -> Self {
        Self(Arc::new(Mutex::new(HeldBytes { most, all: 0, by_owner: HashMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, HeldBytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `bytes` for an owner, unless the owner would then hold more than is left free.
    fn reserve(&self, owner: Uuid, bytes: usize) -> bool {
        let mut held = self.lock();
        let owned = held.by_owner.get(&owner).copied().unwrap_or(0).saturating_add(bytes);
        let fits = owned <= held.most.saturating_sub(held.all.saturating_add(bytes));
        if fits {
            held.all += bytes;
            held.by_owner.insert(owner, owned);
        }
        fits
    }

    fn release(&self, owner: Uuid, bytes: usize) {
        let mut held = self.lock();
        held.all = held.all.saturating_sub(bytes);
        if let Some(owned) = held.by_owner.get_mut(&owner) {
            *owned = owned.saturating_sub(bytes);
            if *owned == 0 {
                held.by_owner.remove(&owner);
            }
        }
    }
}

/// A body. Its bytes count against the budget until this is dropped.
#[derive(Debug)]
pub struct HeldBody {
    bytes: Vec<u8>,
    counted: usize,
    owner: Uuid,
    budget: Budget,
}

impl HeldBody {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the bytes. They still count against the budget until this is dropped.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn extend(&mut self, part: &[u8]) -> bool {
        let fits = self.budget.reserve(self.owner, part.len());
        if fits {
            self.counted += part.len();
            self.bytes.extend_from_slice(part);
        }
        fits
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        self.budget.release(self.owner, self.counted);
    }
}

/// Whether a request announces a body.
pub fn is_announced(request: &Request) -> bool {
    let length = request.headers().get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// How many bytes the body of a request has, by its Content-Length.
pub fn declared(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How a body is read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// How many bytes the client declared, if it did ([`declared`]).
    pub declared: Option<u64>,
    /// The most bytes that the body may have.
    pub most: usize,
    /// How long the client may take to send it.
    pub within: Duration,
    /// The project that the bytes count for; nil if there is none.
    pub owner: Uuid,
    /// The budget that the bytes count against.
    pub budget: Budget,
}

/// Reads a body.
pub async fn read(body: Body, reading: Reading) -> Result<HeldBody, Problem> {
    let within = reading.within;
    // A body that is declared too large is refused before the client sends it.
    if reading.declared.is_some_and(|bytes| bytes > u64::try_from(reading.most).unwrap_or(u64::MAX)) {
        return Err(too_large(reading.most).before_the_body());
    }
    let read = match tokio::time::timeout(within, read_parts(body, reading)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            format!("the body did not arrive within {:.0} s", within.as_secs_f64()),
        )),
    };
    read.map_err(Problem::before_the_body)
}

fn too_large(most: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("the body is over {most} bytes"))
}

/// The limit of routes without a limit of their own: the forms of the console, and requests to the
/// simulated carrier.
const SHORT: usize = 256 * 1024;

/// Reads the bodies of routes without a limit of their own, with limits on their size and time.
pub fn bounded<E: Endpoint<Output = Response> + 'static>(routes: E) -> impl Endpoint<Output = Response> + 'static {
    routes.around(|next, mut request| async move {
        let (declared, budget) = (declared(&request), of_requests());
        let reading = Reading { declared, most: SHORT, within: READ_WITHIN, owner: Uuid::nil(), budget };
        let mut held = read(request.take_body(), reading).await?;
        request.set_body(held.take());
        let answer = next.call(request).await;
        drop(held);
        answer
    })
}

async fn read_parts(body: Body, reading: Reading) -> Result<HeldBody, Problem> {
    let Reading { most, owner, budget, .. } = reading;
    let mut parts = Box::pin(body.into_bytes_stream());
    let mut held = HeldBody { bytes: Vec::new(), counted: 0, owner, budget };
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", format!("the body ended early: {error}"))
        })?;
        if held.bytes.len() + part.len() > most {
            return Err(too_large(most));
        }
        if !held.extend(&part) {
            metrics::BODIES_REFUSED.count(&[]);
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_bodies",
                "the memory for request bodies is used up, in this process or for this project (TEXTBACK_BODY_MEMORY_MB); try again",
            )
            .retry_after(1));
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_of(budget: &Budget, owner: Uuid, bytes: usize) -> Result<HeldBody, Problem> {
        let reading = Reading { declared: None, most: 1000, within: READ_WITHIN, owner, budget: budget.clone() };
        read(Body::from_vec(vec![0; bytes]), reading).await
    }

    #[tokio::test]
    async fn a_body_counts_while_it_is_held() {
        let (budget, owner) = (Budget::of(1 << 20), Uuid::now_v7());
        let held = read_of(&budget, owner, 1000).await.expect("read");
        assert_eq!(budget.lock().all, 1000);
        drop(held);
        let refused = read_of(&budget, owner, 1001).await.expect_err("refused");
        assert_eq!(refused.code(), "body_too_large");
        assert!(budget.lock().all == 0 && budget.lock().by_owner.is_empty());
    }

    #[tokio::test]
    async fn a_project_at_its_limit_leaves_memory_for_others() {
        let (budget, greedy) = (Budget::of(64_000), Uuid::now_v7());
        let mut held = Vec::new();
        while let Ok(body) = read_of(&budget, greedy, 1000).await {
            held.push(body);
        }
        assert_eq!(held.len(), 32, "half of the budget");
        let refused = read_of(&budget, greedy, 1000).await.expect_err("refused");
        assert_eq!(refused.code(), "too_many_bodies");
        for other in [Uuid::now_v7(), Uuid::now_v7(), Uuid::nil()] {
            held.push(read_of(&budget, other, 1000).await.expect("another project's body is read"));
        }
    }
}
