//! Fair shares of a worker's slots: slow work of one owner or one project never takes all of them. Knows only the ids
//! of owners and projects.
//!
//! An owner may hold as many slots as are left free (a dynamic threshold, as for the buffers of network switches:
//! Choudhury and Hahne, "Dynamic queue length thresholds", 1998). A single owner takes half of the slots, two slow ones
//! a third each, and an owner that holds none always finds one. All owners of one project may hold three times as many
//! slots as are left free: ten agents of one project leave a quarter to other projects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::storage::claim_limits::{ClaimLimits, Quotas};

/// How many times as many slots as are free an owner may hold, and all owners of a project together.
const OF_AN_OWNER: usize = 1;
const OF_A_PROJECT: usize = 3;

/// The owner of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The agent of a turn. For most other kinds of work, the project.
    pub id: Uuid,
    /// The owner's project, if a project has many owners.
    pub project_id: Option<Uuid>,
}

impl Owner {
    /// An owner whose project has no other owners.
    pub const fn alone(id: Uuid) -> Self {
        Self { id, project_id: None }
    }

    /// One of several owners of a project.
    pub const fn of_project(id: Uuid, project_id: Uuid) -> Self {
        Self { id, project_id: Some(project_id) }
    }
}

/// Who holds how many slots. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct FairLimiter(Arc<Held>);

#[derive(Default)]
struct Held {
    counts: Mutex<Counts>,
    /// Whether work was left behind because its owner holds its share.
    left_behind: AtomicBool,
    freed: Notify,
}

#[derive(Default)]
struct Counts {
    by_owner: HashMap<Uuid, usize>,
    by_project: HashMap<Uuid, usize>,
}

/// A slot that is held; free again when this is dropped.
pub struct Permit {
    owner: Owner,
    held: Arc<Held>,
}

/// How many of the `free` slots an owner may still take that holds `held` and may hold `times` as many as are left
/// free: the greatest k with held + k = times × (free - k), rounded up.
const fn more(times: usize, free: usize, held: usize) -> usize {
    (times * free).saturating_sub(held).div_ceil(times + 1)
}

impl FairLimiter {
    /// The room of a claim when so many slots are free.
    pub fn room(&self, free: usize) -> ClaimLimits {
        let counts = self.0.counts();
        let quotas = |times, held: &HashMap<Uuid, usize>| {
            let mut quotas = Quotas::of(more(times, free, 0));
            held.iter().for_each(|(id, held)| quotas.set(*id, more(times, free, *held)));
            quotas
        };
        ClaimLimits {
            owners: quotas(OF_AN_OWNER, &counts.by_owner),
            projects: quotas(OF_A_PROJECT, &counts.by_project),
            ..ClaimLimits::of(free)
        }
    }

    /// How many slots an owner holds.
    pub fn held_by(&self, owner: Uuid) -> usize {
        self.0.counts().by_owner.get(&owner).copied().unwrap_or(0)
    }

    /// Takes a slot for an owner.
    pub fn take(&self, owner: Owner) -> Permit {
        self.0.counts().add(owner);
        Permit { owner, held: self.0.clone() }
    }

    /// Takes one of `slots` slots for an owner, if one is free and the shares of the owner and its project allow it.
    pub fn try_take(&self, owner: Owner, slots: usize) -> Option<Permit> {
        let mut counts = self.0.counts();
        let free = slots.saturating_sub(counts.taken());
        let of_owner = counts.by_owner.get(&owner.id).copied().unwrap_or(0);
        let of_project = owner.project_id.and_then(|id| counts.by_project.get(&id)).copied().unwrap_or(0);
        if of_owner >= OF_AN_OWNER * free || of_project >= OF_A_PROJECT * free {
            return None;
        }
        counts.add(owner);
        Some(Permit { owner, held: self.0.clone() })
    }

    /// How many slots are taken.
    pub fn taken(&self) -> usize {
        self.0.counts().taken()
    }

    /// Notes that work was left behind for its owner's share: the next slot that is freed wakes `freed`.
    pub fn mark_starved(&self) {
        self.0.left_behind.store(true, Ordering::Relaxed);
    }

    /// Waits until a slot is free again after work was left behind.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl Counts {
    fn taken(&self) -> usize {
        self.by_owner.values().sum()
    }

    fn add(&mut self, owner: Owner) {
        *self.by_owner.entry(owner.id).or_default() += 1;
        if let Some(id) = owner.project_id {
            *self.by_project.entry(id).or_default() += 1;
        }
    }

    fn remove(&mut self, owner: Owner) {
        take_one(&mut self.by_owner, owner.id);
        if let Some(id) = owner.project_id {
            take_one(&mut self.by_project, id);
        }
    }
}

fn take_one(counts: &mut HashMap<Uuid, usize>, id: Uuid) {
    if let Some(count) = counts.get_mut(&id) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&id);
        }
    }
}

impl Held {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.held.counts().remove(self.owner);
        if self.held.left_behind.swap(false, Ordering::Relaxed) {
            self.held.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 64;

    /// Owners that claim as often and as much as they may, and never finish. Returns how many slots each owner got, and
    /// how many are left.
    fn greedy(owners: &[Owner]) -> (Vec<usize>, usize, FairLimiter, Vec<Permit>) {
        let shares = FairLimiter::default();
        let (mut seats, mut counts) = (Vec::new(), Vec::new());
        for owner in owners {
            loop {
                let room = shares.room(SLOTS - seats.len());
                let of_project = owner.project_id.map_or(usize::MAX, |id| room.projects.get(id));
                let room = room.owners.get(owner.id).min(of_project).min(SLOTS - seats.len());
                if room == 0 {
                    break;
                }
                seats.extend((0..room).map(|_| shares.take(*owner)));
            }
            counts.push(shares.held_by(owner.id));
        }
        (counts, SLOTS - seats.len(), shares, seats)
    }

    #[test]
    fn slow_owners_share_and_a_newcomer_always_finds_a_slot() {
        let owners: Vec<Owner> = (0..6).map(|_| Owner::alone(Uuid::now_v7())).collect();
        let (counts, free, shares, seats) = greedy(&owners);
        assert_eq!(counts, [32, 16, 8, 4, 2, 1]);
        assert_eq!(shares.room(free).owners.get(Uuid::now_v7()), 1);
        drop(seats);
        assert!(shares.0.counts().by_owner.is_empty(), "what is free is forgotten");
    }

    #[test]
    fn the_owners_of_one_project_leave_a_quarter_to_the_other_projects() {
        let project_id = Uuid::now_v7();
        let owners: Vec<Owner> = (0..20).map(|_| Owner::of_project(Uuid::now_v7(), project_id)).collect();
        let (counts, free, shares, seats) = greedy(&owners);
        assert_eq!(counts.iter().sum::<usize>(), 48);
        assert_eq!(free, 16);
        assert!(shares.try_take(Owner::of_project(Uuid::now_v7(), project_id), SLOTS).is_none());
        assert!(shares.try_take(Owner::of_project(Uuid::now_v7(), Uuid::now_v7()), SLOTS).is_some());
        assert_eq!(shares.room(free).owners.get(Uuid::now_v7()), 8, "an agent of another project");
        drop(seats);
        assert!(shares.0.counts().by_project.is_empty(), "what is free is forgotten");
    }
}
