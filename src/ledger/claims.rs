//! Whether this process can claim work, kind by kind: what its `/readyz` tells; it claims nothing itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::wake::Work;

/// For how long a row is remembered that this process can't read: longer than a lease.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// Since when no claim of a kind of work has succeeded in this process, and which claimed rows it can't read.
#[derive(Default)]
pub struct Claims {
    failing: Mutex<HashMap<Work, Instant>>,
    read: Mutex<HashMap<Work, Instant>>,
    /// When each was met first.
    unread: Mutex<HashMap<Uuid, Instant>>,
}

impl Claims {
    /// Notes that a claim failed at a moment.
    pub fn failed_at(&self, work: Work, moment: Instant) {
        self.since().entry(work).or_insert(moment);
    }

    /// Notes that a claim succeeded, whether it found work or not.
    pub fn succeeded(&self, work: Work) {
        self.since().remove(&work);
    }

    /// The kinds of work of which every claim has failed for longer than `bound`, by name.
    pub fn failing_for(&self, bound: Duration) -> Vec<&'static str> {
        let mut kinds: Vec<&str> =
            self.since().iter().filter(|(_, since)| since.elapsed() > bound).map(|(work, _)| work.word()).collect();
        kinds.sort_unstable();
        kinds
    }

    /// Notes that a row of a kind of work was claimed and read.
    pub(super) fn read_at(&self, work: Work, moment: Instant) {
        locked(&self.read).insert(work, moment);
    }

    /// Notes that a claimed row can't be read. Answers whether that is its own fault: others of its kind were read since it was met first.
    pub(super) fn is_unread(&self, row: Uuid, work: Work, moment: Instant) -> bool {
        let mut unread = locked(&self.unread);
        unread.retain(|_, met| moment.saturating_duration_since(*met) < REMEMBERED);
        let met = *unread.entry(row).or_insert(moment);
        locked(&self.read).get(&work).is_some_and(|read| *read > met)
    }

    fn since(&self) -> MutexGuard<'_, HashMap<Work, Instant>> {
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
        claims.failed_at(Work::Turn, Instant::now());
        claims.failed_at(Work::Delivery, Instant::now());
        assert!(claims.failing_for(Duration::from_secs(60)).is_empty());
        assert_eq!(claims.failing_for(Duration::ZERO), ["delivery", "turn"]);
        claims.succeeded(Work::Turn);
        assert_eq!(claims.failing_for(Duration::ZERO), ["delivery"]);
    }

    #[test]
    fn a_row_that_cant_be_read_is_to_blame_when_others_were_read_since() {
        let (claims, row, now) = (Claims::default(), Uuid::now_v7(), Instant::now());
        let second = Duration::from_secs(1);
        claims.read_at(Work::Turn, now);
        assert!(!claims.is_unread(row, Work::Turn, now), "what was read before says nothing of now");
        claims.read_at(Work::Delivery, now + second);
        assert!(!claims.is_unread(row, Work::Turn, now + second), "another kind of work says nothing of this one");
        claims.read_at(Work::Turn, now + second);
        assert!(claims.is_unread(row, Work::Turn, now + second * 2));
        assert!(!claims.is_unread(row, Work::Turn, now + REMEMBERED * 2), "it was long ago");
    }
}
