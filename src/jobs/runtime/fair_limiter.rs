//! Fair shares of a worker's slots: slow jobs of one owner or one project never take all of them.
//! Knows only the ids of owners and projects.
//!
//! An owner may hold as many slots as are left free (a dynamic threshold, as for the buffers of
//! network switches: Choudhury and Hahne, "Dynamic queue length thresholds", 1998). A single owner
//! takes half of the slots, two slow ones a third each, and an owner that holds none always finds
//! one. All owners of one project may hold three times as many slots as are left free: ten agents
//! of one project leave a quarter to other projects.
//!
//! docs/decisions/019-fair-limiter.md has the reasons.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::storage::claim_limits::{ClaimLimits, Quotas};

/// How many times as many slots as are free an owner may hold, and all owners of a project
/// together.
const OF_AN_OWNER: usize = 1;
const OF_A_PROJECT: usize = 3;

/// The owner of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The agent of a turn. For most other kinds of jobs, the project.
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

/// Who holds how many of a worker's slots. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct FairLimiter(Arc<Shared>);

struct Shared {
    slots: usize,
    counts: Mutex<Counts>,
    /// Whether a claim left due jobs because their owner holds its share.
    is_starved: AtomicBool,
    freed: Notify,
}

#[derive(Default)]
struct Counts {
    by_owner: HashMap<Uuid, usize>,
    by_project: HashMap<Uuid, usize>,
}

/// A slot that is held until this is dropped.
pub struct Permit {
    owner: Owner,
    shared: Arc<Shared>,
}

/// How many of the `free` slots an owner may still take that holds `held` and may hold `times` as
/// many as are left free: the greatest k with held + k = times × (free - k), rounded up.
const fn more(times: usize, free: usize, held: usize) -> usize {
    (times * free).saturating_sub(held).div_ceil(times + 1)
}

impl FairLimiter {
    /// A limiter for a worker with this many slots.
    pub fn new(slots: usize) -> Self {
        Self(Arc::new(Shared {
            slots,
            counts: Mutex::default(),
            is_starved: AtomicBool::new(false),
            freed: Notify::new(),
        }))
    }

    /// The limits of a claim when this many slots are free.
    pub fn limits(&self, free: usize) -> ClaimLimits {
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

    /// Takes a slot for an owner whose job was claimed within the limits.
    pub fn acquire(&self, owner: Owner) -> Permit {
        self.0.counts().add(owner);
        Permit { owner, shared: self.0.clone() }
    }

    /// Takes a slot for an owner, if one is free and the shares of the owner and its project allow
    /// it.
    pub fn try_acquire(&self, owner: Owner) -> Option<Permit> {
        let mut counts = self.0.counts();
        let free = self.0.slots.saturating_sub(counts.in_use());
        let of_owner = counts.by_owner.get(&owner.id).copied().unwrap_or(0);
        let of_project = owner.project_id.and_then(|id| counts.by_project.get(&id)).copied().unwrap_or(0);
        if of_owner >= OF_AN_OWNER * free || of_project >= OF_A_PROJECT * free {
            return None;
        }
        counts.add(owner);
        Some(Permit { owner, shared: self.0.clone() })
    }

    /// How many slots are held.
    pub fn in_use(&self) -> usize {
        self.0.counts().in_use()
    }

    /// How many slots are not held.
    pub fn free(&self) -> usize {
        self.0.slots.saturating_sub(self.in_use())
    }

    /// Records that jobs were left because their owner holds its share. The next slot that is freed
    /// ends [`Self::freed`].
    pub fn mark_starved(&self) {
        self.0.is_starved.store(true, Ordering::Relaxed);
    }

    /// Waits until a slot is freed after jobs were left.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl Counts {
    fn in_use(&self) -> usize {
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

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.counts().remove(self.owner);
        if self.shared.is_starved.swap(false, Ordering::Relaxed) {
            self.shared.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 64;

    /// Owners that claim as often and as much as they may, and never finish. Returns how many slots
    /// each owner got, and how many are left.
    fn greedy(owners: &[Owner]) -> (Vec<usize>, usize, FairLimiter, Vec<Permit>) {
        let limiter = FairLimiter::new(SLOTS);
        let (mut permits, mut counts) = (Vec::new(), Vec::new());
        for owner in owners {
            loop {
                let limits = limiter.limits(SLOTS - permits.len());
                let of_project = owner.project_id.map_or(usize::MAX, |id| limits.projects.get(id));
                let limits = limits.owners.get(owner.id).min(of_project).min(SLOTS - permits.len());
                if limits == 0 {
                    break;
                }
                permits.extend((0..limits).map(|_| limiter.acquire(*owner)));
            }
            counts.push(limiter.held_by(owner.id));
        }
        (counts, SLOTS - permits.len(), limiter, permits)
    }

    #[test]
    fn slow_owners_share_and_a_newcomer_always_finds_a_slot() {
        let owners: Vec<Owner> = (0..6).map(|_| Owner::alone(Uuid::now_v7())).collect();
        let (counts, free, limiter, permits) = greedy(&owners);
        assert_eq!(counts, [32, 16, 8, 4, 2, 1]);
        assert_eq!(limiter.limits(free).owners.get(Uuid::now_v7()), 1);
        drop(permits);
        assert!(limiter.0.counts().by_owner.is_empty(), "what is free is forgotten");
    }

    #[test]
    fn the_owners_of_one_project_leave_a_quarter_to_the_other_projects() {
        let project_id = Uuid::now_v7();
        let owners: Vec<Owner> = (0..20).map(|_| Owner::of_project(Uuid::now_v7(), project_id)).collect();
        let (counts, free, limiter, permits) = greedy(&owners);
        assert_eq!(counts.iter().sum::<usize>(), 48);
        assert_eq!(free, 16);
        assert!(limiter.try_acquire(Owner::of_project(Uuid::now_v7(), project_id)).is_none());
        assert!(limiter.try_acquire(Owner::of_project(Uuid::now_v7(), Uuid::now_v7())).is_some());
        assert_eq!(limiter.limits(free).owners.get(Uuid::now_v7()), 8, "an agent of another project");
        drop(permits);
        assert!(limiter.0.counts().by_project.is_empty(), "what is free is forgotten");
    }
}
