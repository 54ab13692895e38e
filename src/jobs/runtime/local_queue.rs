//! Passes claims from one kind of work to the next within a process: the worker that settled a turn sends its first
//! text. Claims nothing itself.
//!
//! A slot is reserved before the rows are asked, so that no more is claimed than there are slots.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::jobs::runtime::fair_limiter::{FairLimiter, Owner, Permit};
use crate::jobs::runtime::queue::Leased;
use futures::task::AtomicWaker;

/// Where claims are handed over to a queue. Cheap to clone; all clones are the same.
pub struct LocalQueue<C>(Arc<Inner<C>>);

struct Inner<C> {
    waiting: Mutex<Waiting<C>>,
    waker: AtomicWaker,
    shares: FairLimiter,
    slots: usize,
}

struct Waiting<C> {
    claims: VecDeque<Leased<C>>,
    /// Whether the queue takes any more.
    is_open: bool,
}

impl<C> Clone for LocalQueue<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> LocalQueue<C> {
    /// A handover to a worker with this many slots.
    pub fn new(slots: usize) -> Self {
        let waiting = Mutex::new(Waiting { claims: VecDeque::new(), is_open: true });
        Self(Arc::new(Inner { waiting, waker: AtomicWaker::new(), shares: FairLimiter::default(), slots }))
    }

    /// Who holds the slots, those that are reserved here too.
    pub fn shares(&self) -> &FairLimiter {
        &self.0.shares
    }

    /// A slot for an owner, if one is free and the owner's share leaves it to it.
    pub fn reserve(&self, owner: Owner) -> Option<Permit> {
        if !self.lock().is_open {
            return None;
        }
        self.0.shares.try_take(owner, self.0.slots)
    }

    /// Hands a claim over with the slot that was reserved for it. `Err`: the worker stops and takes no more.
    pub fn hand_over(&self, claim: C, seat: Permit) -> Result<(), C> {
        let mut waiting = self.lock();
        if !waiting.is_open {
            return Err(claim);
        }
        waiting.claims.push_back(Leased::of(claim, seat));
        drop(waiting);
        self.0.waker.wake();
        Ok(())
    }

    /// The next claim that was handed over; wakes the task of `cx` when one comes later.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Leased<C>> {
        // Before the look: one that comes between both is not missed.
        self.0.waker.register(cx.waker());
        self.lock().claims.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes claims again: for a worker that is started anew.
    pub fn open(&self) {
        self.lock().is_open = true;
    }

    /// Takes no more, and gives back what was not begun.
    pub fn close(&self) -> VecDeque<Leased<C>> {
        let mut waiting = self.lock();
        waiting.is_open = false;
        std::mem::take(&mut waiting.claims)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<C>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn slots_are_reserved_within_the_owners_share_and_none_after_the_end() {
        let handover = LocalQueue::new(8);
        let owner = Owner::alone(Uuid::now_v7());
        let seats: Vec<Permit> = std::iter::from_fn(|| handover.reserve(owner)).collect();
        assert_eq!(seats.len(), 4, "half of the slots stay free for others");
        assert!(handover.reserve(Owner::alone(Uuid::now_v7())).is_some());

        let mut seats = seats.into_iter();
        let seat = seats.next().expect("a seat");
        assert!(handover.hand_over("first", seat).is_ok());
        let cx = &mut Context::from_waker(futures::task::noop_waker_ref());
        let Poll::Ready(seated) = handover.poll_next(cx) else { panic!("it was handed over") };
        assert_eq!(seated.claim, "first");
        assert!(handover.poll_next(cx).is_pending());

        let (second, third) = (seats.next().expect("a seat"), seats.next().expect("a seat"));
        assert!(handover.hand_over("second", second).is_ok());
        assert_eq!(handover.close().len(), 1, "what was not begun comes back");
        assert_eq!(handover.hand_over("third", third), Err("third"));
        assert!(handover.reserve(Owner::alone(Uuid::now_v7())).is_none());
    }
}
