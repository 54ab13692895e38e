//! Request bodies: read whole, each bounded in bytes and in time, and all of them together in bytes; it knows no format.
//!
//! Webhooks and everything else have a budget each, so that neither can use up the other's. Within a budget a project may hold as many
//! bytes as are left free (a dynamic threshold, as in `worker::shares`): one project holds half of it at most, and there is always
//! something left for a project that holds nothing.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use poem::http::{StatusCode, header};
use poem::{Body, Endpoint, EndpointExt, Request, Response};
use uuid::Uuid;

use crate::problem::Problem;

/// How long a client has for a body: nobody who means it takes longer for a megabyte.
pub const READ_WITHIN: Duration = Duration::from_secs(10);
/// The least that all bodies of a process may have: one agent of 1 MiB must fit half of the half that is not for webhooks.
pub const LEAST_MEGABYTES: u32 = 4;

/// The bodies of webhooks.
static WEBHOOKS: LazyLock<Budget> = LazyLock::new(|| Budget::of(32 << 20));
/// All other bodies.
static REQUESTS: LazyLock<Budget> = LazyLock::new(|| Budget::of(32 << 20));

/// Sets how many bytes of request bodies this process holds at a time: half of them for webhooks, half for everything else.
pub fn hold_at_most(bytes: usize) {
    for budget in [&WEBHOOKS, &REQUESTS] {
        budget.held().most = bytes / 2;
    }
}

/// The budget of webhooks' bodies.
pub fn of_webhooks() -> Budget {
    WEBHOOKS.clone()
}

/// The budget of all other bodies.
pub fn of_requests() -> Budget {
    REQUESTS.clone()
}

/// How many bytes may be held, and by whom they are. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Mutex<HeldBytes>>);

#[derive(Debug)]
struct HeldBytes {
    most: usize,
    all: usize,
    by_owner: HashMap<Uuid, usize>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn of(most: usize) -> Self {
        Self(Arc::new(Mutex::new(HeldBytes { most, all: 0, by_owner: HashMap::new() })))
    }

    fn held(&self) -> MutexGuard<'_, HeldBytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes so many bytes for an owner, unless it would then hold more than is left free.
    fn take(&self, owner: Uuid, bytes: usize) -> bool {
        let mut held = self.held();
        let owned = held.by_owner.get(&owner).copied().unwrap_or(0).saturating_add(bytes);
        let fits = owned <= held.most.saturating_sub(held.all.saturating_add(bytes));
        if fits {
            held.all += bytes;
            held.by_owner.insert(owner, owned);
        }
        fits
    }

    fn give_back(&self, owner: Uuid, bytes: usize) {
        let mut held = self.held();
        held.all = held.all.saturating_sub(bytes);
        if let Some(owned) = held.by_owner.get_mut(&owner) {
            *owned = owned.saturating_sub(bytes);
            if *owned == 0 {
                held.by_owner.remove(&owner);
            }
        }
    }
}

/// A body, whose bytes count until this is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: Vec<u8>,
    counted: usize,
    owner: Uuid,
    budget: Budget,
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
        let fits = self.budget.take(self.owner, part.len());
        if fits {
            self.counted += part.len();
            self.bytes.extend_from_slice(part);
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.owner, self.counted);
    }
}

/// Whether a request says that it has a body.
pub fn is_announced(request: &Request) -> bool {
    let length = request.headers().get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// How a body is read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The most bytes that it may have.
    pub most: usize,
    /// How long it may take.
    pub within: Duration,
    /// The project whose bytes they are; nil for those of nobody.
    pub owner: Uuid,
    /// What they count against.
    pub budget: Budget,
}

/// Reads a body.
pub async fn read(body: Body, reading: Reading) -> Result<Held, Problem> {
    let within = reading.within;
    let read = match tokio::time::timeout(within, read_parts(body, reading)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            format!("the body did not come within {:.0} s", within.as_secs_f64()),
        )),
    };
    read.map_err(Problem::before_the_body)
}

/// The longest body of what has no bounds of its own: a form of the console, or a request to the simulated carrier.
const SHORT: usize = 256 * 1024;

/// Reads the bodies of what has no bounds of its own, so that each is bounded in bytes and in time.
pub fn bounded<E: Endpoint<Output = Response> + 'static>(routes: E) -> impl Endpoint<Output = Response> + 'static {
    routes.around(|next, mut request| async move {
        let reading = Reading { most: SHORT, within: READ_WITHIN, owner: Uuid::nil(), budget: of_requests() };
        let mut held = read(request.take_body(), reading).await?;
        request.set_body(held.take());
        let answer = next.call(request).await;
        drop(held);
        answer
    })
}

async fn read_parts(body: Body, reading: Reading) -> Result<Held, Problem> {
    let Reading { most, owner, budget, .. } = reading;
    let mut parts = Box::pin(body.into_bytes_stream());
    let mut held = Held { bytes: Vec::new(), counted: 0, owner, budget };
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
                "this process holds as many bytes of requests as it may (TEXTBACK_BODY_MEMORY_MB), or this project its share of them; try again",
            )
            .retry_after(1));
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_of(budget: &Budget, owner: Uuid, bytes: usize) -> Result<Held, Problem> {
        let reading = Reading { most: 1000, within: READ_WITHIN, owner, budget: budget.clone() };
        read(Body::from_vec(vec![0; bytes]), reading).await
    }

    #[tokio::test]
    async fn a_body_counts_while_it_is_held() {
        let (budget, owner) = (Budget::of(1 << 20), Uuid::now_v7());
        let held = read_of(&budget, owner, 1000).await.expect("read");
        assert_eq!(budget.held().all, 1000);
        drop(held);
        let refused = read_of(&budget, owner, 1001).await.expect_err("refused");
        assert_eq!(refused.code(), "body_too_large");
        assert!(budget.held().all == 0 && budget.held().by_owner.is_empty());
    }

    #[tokio::test]
    async fn a_project_that_holds_all_it_may_leaves_room_for_others() {
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
