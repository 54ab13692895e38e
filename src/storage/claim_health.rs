//! Whether this process can claim each kind of work, for its `/readyz`. Claims nothing itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::storage::notifier::JobKind;

/// How long an unreadable row is remembered: longer than a lease.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// Since when all claims of a kind of work have failed in this process, and which claimed rows it can't read.
#[derive(Default)]
pub struct Claims {
    failing: Mutex<HashMap<JobKind, Instant>>,
    read: Mutex<HashMap<JobKind, Instant>>,
    /// When each unreadable row was first seen.
    unread: Mutex<HashMap<Uuid, Instant>>,
}

impl Claims {
    /// Records that a claim failed at a moment.
    pub fn failed_at(&self, work: JobKind, moment: Instant) {
        self.since().entry(work).or_insert(moment);
    }

    /// Records that a claim succeeded, whether it found work or not.
    pub fn succeeded(&self, work: JobKind) {
        self.since().remove(&work);
    }

    /// The names of the kinds of work whose claims have all failed for longer than `bound`.
    pub fn failing_for(&self, bound: Duration) -> Vec<&'static str> {
        let mut kinds: Vec<&str> =
            self.since().iter().filter(|(_, since)| since.elapsed() > bound).map(|(work, _)| work.as_str()).collect();
        kinds.sort_unstable();
        kinds
    }

    /// Records that a row of a kind of work was claimed and read.
    pub(super) fn read_at(&self, work: JobKind, moment: Instant) {
        locked(&self.read).insert(work, moment);
    }

    /// Records that a claimed row can't be read. Returns whether the row is to blame: other rows of its kind were read
    /// since it was first seen.
    pub(super) fn is_unread(&self, row: Uuid, work: JobKind, moment: Instant) -> bool {
        let mut unread = locked(&self.unread);
        unread.retain(|_, met| moment.saturating_duration_since(*met) < REMEMBERED);
        let met = *unread.entry(row).or_insert(moment);
        locked(&self.read).get(&work).is_some_and(|read| *read > met)
    }

    fn since(&self) -> MutexGuard<'_, HashMap<JobKind, Instant>> {
        locked(&self.failing)
    }
}

fn locked<K, V>(map: &Mutex<HashMap<K, V>>) -> MutexGuard<'_, HashMap<K, V>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_work_fails_from_its_first_failure_to_its_next_success() {
        let claims = Claims::default();
        claims.failed_at(JobKind::Turn, Instant::now());
        claims.failed_at(JobKind::Delivery, Instant::now());
        assert!(claims.failing_for(Duration::from_secs(60)).is_empty());
        assert_eq!(claims.failing_for(Duration::ZERO), ["delivery", "turn"]);
        claims.succeeded(JobKind::Turn);
        assert_eq!(claims.failing_for(Duration::ZERO), ["delivery"]);
    }

    #[test]
    fn a_row_that_cant_be_read_is_to_blame_when_others_were_read_since() {
        let (claims, row, now) = (Claims::default(), Uuid::now_v7(), Instant::now());
        let second = Duration::from_secs(1);
        claims.read_at(JobKind::Turn, now);
        assert!(!claims.is_unread(row, JobKind::Turn, now), "what was read before says nothing of now");
        claims.read_at(JobKind::Delivery, now + second);
        assert!(!claims.is_unread(row, JobKind::Turn, now + second), "another kind of work says nothing of this one");
        claims.read_at(JobKind::Turn, now + second);
        assert!(claims.is_unread(row, JobKind::Turn, now + second * 2));
        assert!(!claims.is_unread(row, JobKind::Turn, now + REMEMBERED * 2), "it was long ago");
    }
}
