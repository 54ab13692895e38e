//! Fair shares of a worker's slots: an owner whose work is slow never takes them all; it knows neither work nor owners by more than an id.
//!
//! An owner may hold as many slots as are left free (a dynamic threshold, as buffers of network switches are shared:
//! Choudhury and Hahne, "Dynamic queue length thresholds", 1998). Alone it takes half of them, two slow ones a third
//! each, and there is always a slot for somebody who holds none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::ledger::room::Room;

/// Who holds how many slots. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct Shares(Arc<Held>);

#[derive(Default)]
struct Held {
    by_owner: Mutex<HashMap<Uuid, usize>>,
    /// Whether work was left behind because its owner holds its share.
    left_behind: AtomicBool,
    freed: Notify,
}

/// A slot that is held; free again when this is dropped.
pub struct Seat {
    owner: Uuid,
    held: Arc<Held>,
}

impl Shares {
    /// The room of a claim when so many slots are free.
    pub fn room(&self, free: usize) -> Room {
        let mut room = Room::of(free);
        room.others = i32::try_from(free.div_ceil(2)).unwrap_or(i32::MAX);
        // After taking k it holds as many as are left: held + k = free - k.
        self.0
            .by_owner()
            .iter()
            .fold(room, |room, (owner, held)| room.with(*owner, free.saturating_sub(*held).div_ceil(2)))
    }

    /// How many slots an owner holds.
    pub fn held_by(&self, owner: Uuid) -> usize {
        self.0.by_owner().get(&owner).copied().unwrap_or(0)
    }

    /// Takes a slot for an owner.
    pub fn take(&self, owner: Uuid) -> Seat {
        *self.0.by_owner().entry(owner).or_default() += 1;
        Seat { owner, held: self.0.clone() }
    }

    /// Takes one of so many slots for an owner, if one is free and its share leaves it.
    pub fn try_take(&self, owner: Uuid, slots: usize) -> Option<Seat> {
        let mut by_owner = self.0.by_owner();
        let taken: usize = by_owner.values().sum();
        let held = by_owner.entry(owner).or_default();
        let fits = *held < slots.saturating_sub(taken);
        *held += usize::from(fits);
        if *held == 0 {
            by_owner.remove(&owner);
        }
        fits.then(|| Seat { owner, held: self.0.clone() })
    }

    /// How many slots are taken.
    pub fn taken(&self) -> usize {
        self.0.by_owner().values().sum()
    }

    /// Notes that work was left behind for its owner's share: the next slot that is freed wakes `freed`.
    pub fn leave_behind(&self) {
        self.0.left_behind.store(true, Ordering::Relaxed);
    }

    /// Waits until a slot is free again after work was left behind.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl Held {
    fn by_owner(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.by_owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_owner = self.held.by_owner();
        if let Some(count) = by_owner.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                by_owner.remove(&self.owner);
            }
        }
        drop(by_owner);
        if self.held.left_behind.swap(false, Ordering::Relaxed) {
            self.held.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_owners_share_and_a_newcomer_always_finds_a_slot() {
        const SLOTS: usize = 64;
        let shares = Shares::default();
        let (mut seats, mut counts) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let owner = Uuid::now_v7();
            // It claims as often and as much as it may, and never finishes.
            loop {
                let room = shares.room(SLOTS - seats.len()).for_owner(owner);
                if room == 0 {
                    break;
                }
                seats.extend((0..room).map(|_| shares.take(owner)));
            }
            counts.push(shares.held_by(owner));
        }
        assert_eq!(counts, [32, 16, 8, 4, 2, 1]);
        assert_eq!(shares.room(SLOTS - seats.len()).for_owner(Uuid::now_v7()), 1);
        seats.clear();
        assert!(shares.0.by_owner().is_empty(), "what is free is forgotten");
    }
}
