//! Whether this process can claim work, kind by kind: what its `/readyz` tells; it claims nothing itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wake::Work;

/// Since when no claim of a kind of work has succeeded in this process.
#[derive(Default)]
pub struct Claims(Mutex<HashMap<Work, Instant>>);

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

    fn since(&self) -> MutexGuard<'_, HashMap<Work, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
