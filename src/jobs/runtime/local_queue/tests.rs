//! Tests of the local queue with a job that needs no database.

use std::sync::Mutex;

use uuid::Uuid;

use super::*;
use crate::domain::job::JobKind;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;

/// A job that keeps what it is given back.
struct Kept {
    storage: Storage,
    circuits: Vec<(Uuid, CircuitState)>,
    given_back: Mutex<Vec<&'static str>>,
}

impl Job for Kept {
    type Claim = &'static str;
    const KIND: JobKind = JobKind::Turn;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn concurrency(&self) -> usize {
        8
    }

    fn owner(_: &Self::Claim) -> Owner {
        Owner::alone(Uuid::nil())
    }

    fn circuits(&self) -> Vec<(Uuid, CircuitState)> {
        self.circuits.clone()
    }

    async fn claim(&self, _: ClaimLimits) -> Result<Vec<Self::Claim>, sqlx::Error> {
        Ok(Vec::new())
    }

    async fn give_back(&self, claims: Vec<Self::Claim>) -> Result<(), sqlx::Error> {
        self.given_back.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
        Ok(())
    }

    async fn run(&self, _: Self::Claim) {}
}

fn queue(circuits: Vec<(Uuid, CircuitState)>) -> LocalQueue<Kept> {
    let storage = Storage::open("postgres://nobody@127.0.0.1:9/none", 1, Arc::default()).expect("a storage");
    LocalQueue::new(Kept { storage, circuits, given_back: Mutex::default() }, CancellationToken::new())
}

#[tokio::test]
async fn slots_are_reserved_within_the_owners_share_while_the_worker_runs() {
    let (owner, broken) = (Owner::alone(Uuid::now_v7()), Uuid::now_v7());
    let queue = queue(vec![(broken, CircuitState::HalfOpen)]);
    assert!(queue.reserve(owner).is_none(), "its worker does not run yet");
    queue.open();
    assert!(queue.reserve(Owner::alone(broken)).is_none(), "its circuit is not closed");
    let mut permits: Vec<Permit> = std::iter::from_fn(|| queue.reserve(owner)).collect();
    assert_eq!(permits.len(), 4, "half of the slots stay free for others");
    assert!(queue.reserve(Owner::alone(Uuid::now_v7())).is_some());

    queue.push("first", permits.pop().expect("a permit")).await;
    let cx = &mut Context::from_waker(futures::task::noop_waker_ref());
    let Poll::Ready(leased) = queue.poll_next(cx) else { panic!("it was pushed") };
    assert_eq!(leased.into_parts().0, "first");
    assert!(queue.poll_next(cx).is_pending());
    queue.0.stopping.cancel();
    assert!(queue.reserve(owner).is_none(), "the process stops");
}

#[tokio::test]
async fn what_is_pushed_after_the_worker_stopped_is_given_back() {
    let queue = queue(Vec::new());
    queue.open();
    let owner = Owner::alone(Uuid::now_v7());
    let mut permits = [queue.reserve(owner), queue.reserve(owner)].into_iter().flatten();
    queue.push("first", permits.next().expect("a permit")).await;
    assert_eq!(queue.close(), ["first"], "its worker gives it back");
    queue.push("second", permits.next().expect("a permit")).await;
    assert_eq!(*queue.job().given_back.lock().expect("no panic holds it"), ["second"]);
    assert_eq!(queue.limiter().in_use(), 0);
}
