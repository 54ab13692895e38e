//! Remembers which kinds of jobs this process can't claim, for its `/readyz`, and which rows it
//! can't read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::domain::job::JobKind;

/// How long an unreadable row is remembered. It is longer than a lease.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// Since when all claims of a kind of job have failed in this process, and which claimed rows it
/// can't read.
#[derive(Default)]
pub struct ClaimHealth {
    failing_since: Mutex<HashMap<JobKind, Instant>>,
    last_read: Mutex<HashMap<JobKind, Instant>>,
    /// When each unreadable row was first claimed.
    unreadable_since: Mutex<HashMap<Uuid, Instant>>,
}

impl ClaimHealth {
    /// Records that a claim failed at a moment.
    pub fn failed_at(&self, kind: JobKind, moment: Instant) {
        locked(&self.failing_since).entry(kind).or_insert(moment);
    }

    /// Records that a claim succeeded, whether it found jobs or not.
    pub fn succeeded(&self, kind: JobKind) {
        locked(&self.failing_since).remove(&kind);
    }

    /// The kinds of jobs whose claims have all failed for longer than `bound`, in alphabetical
    /// order.
    pub fn failing_for(&self, bound: Duration) -> Vec<JobKind> {
        let failing = locked(&self.failing_since);
        let mut kinds: Vec<JobKind> =
            failing.iter().filter(|(_, since)| since.elapsed() > bound).map(|(kind, _)| *kind).collect();
        kinds.sort_unstable_by_key(|kind| kind.as_str());
        kinds
    }

    /// Records that a row of a kind of job was claimed and read.
    pub(super) fn read_at(&self, kind: JobKind, moment: Instant) {
        locked(&self.last_read).insert(kind, moment);
    }

    /// Records that a claimed row can't be read. Returns whether the row is to blame: other rows of
    /// its kind were read since it was first claimed.
    pub(super) fn is_unreadable(&self, row: Uuid, kind: JobKind, moment: Instant) -> bool {
        let mut unreadable = locked(&self.unreadable_since);
        unreadable.retain(|_, since| moment.saturating_duration_since(*since) < REMEMBERED);
        let since = *unreadable.entry(row).or_insert(moment);
        locked(&self.last_read).get(&kind).is_some_and(|read| *read > since)
    }
}

fn locked<K, V>(map: &Mutex<HashMap<K, V>>) -> MutexGuard<'_, HashMap<K, V>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_fails_from_its_first_failure_to_its_next_success() {
        let health = ClaimHealth::default();
        health.failed_at(JobKind::Turn, Instant::now());
        health.failed_at(JobKind::Delivery, Instant::now());
        assert!(health.failing_for(Duration::from_secs(60)).is_empty());
        assert_eq!(health.failing_for(Duration::ZERO), [JobKind::Delivery, JobKind::Turn]);
        health.succeeded(JobKind::Turn);
        assert_eq!(health.failing_for(Duration::ZERO), [JobKind::Delivery]);
    }

    #[test]
    fn an_unreadable_row_is_to_blame_when_others_were_read_since() {
        let (health, row, now) = (ClaimHealth::default(), Uuid::now_v7(), Instant::now());
        let second = Duration::from_secs(1);
        health.read_at(JobKind::Turn, now);
        assert!(!health.is_unreadable(row, JobKind::Turn, now), "a row that was read before proves nothing");
        health.read_at(JobKind::Delivery, now + second);
        assert!(!health.is_unreadable(row, JobKind::Turn, now + second), "nor does a row of another kind");
        health.read_at(JobKind::Turn, now + second);
        assert!(health.is_unreadable(row, JobKind::Turn, now + second * 2));
        assert!(!health.is_unreadable(row, JobKind::Turn, now + REMEMBERED * 2), "it was long ago");
    }
}
