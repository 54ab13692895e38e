//! A breaker per carrier account: one that keeps failing rests, and is tried with a single call before all go on; it decides no delivery's fate.
//!
//! It lives in the process and by the process's monotonic clock, since all it can do is to put work off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// After how many failures in a row an account rests.
const FAILURES: u32 = 5;
/// The first rest, twice as long after each trial that fails.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The breakers of a process, by project. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct CircuitBreakers(Arc<Mutex<HashMap<Uuid, CircuitBreaker>>>);

#[derive(Default)]
struct CircuitBreaker {
    failures: u32,
    rests: u32,
    resting_until: Option<Instant>,
}

/// What an account that failed may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Nothing.
    Shut,
    /// One call, to see whether it is well again.
    Trial,
}

impl CircuitBreakers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, CircuitBreaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account answered, whatever it said of the text.
    pub fn answered(&self, project_id: Uuid) {
        if let Some(breaker) = self.lock().remove(&project_id)
            && breaker.resting_until.is_some()
        {
            tracing::info!(%project_id, "the carrier account works again");
        }
    }

    /// The account could not be used: not reached, not in time, throttled, refused as a whole. `carrier_says` is
    /// how long it asks to be left alone, in seconds.
    pub fn failed(&self, project_id: Uuid, carrier_says: Option<f64>) {
        let now = Instant::now();
        let mut breakers = self.lock();
        let breaker = breakers.entry(project_id).or_default();
        // Calls that were under way when it shut tell nothing new.
        if breaker.resting_until.is_some_and(|until| now < until) {
            return;
        }
        breaker.failures += 1;
        if breaker.failures < FAILURES {
            return;
        }
        let rest = FIRST_REST.saturating_mul(2_u32.saturating_pow(breaker.rests)).min(LONGEST_REST);
        let asked = Duration::try_from_secs_f64(carrier_says.unwrap_or(0.0)).unwrap_or_default();
        let rest = rest.max(asked.min(LONGEST_REST));
        breaker.rests += 1;
        breaker.resting_until = Some(now + rest);
        metrics::counter!("textback_carrier_account_rests_total").increment(1);
        tracing::error!(
            %project_id,
            failures = breaker.failures,
            rest_seconds = rest.as_secs_f64(),
            "the carrier account keeps failing; it rests, and its texts wait"
        );
    }

    /// The accounts that are not simply open.
    pub fn gates(&self) -> Vec<(Uuid, CircuitState)> {
        let now = Instant::now();
        let gate = |breaker: &CircuitBreaker| {
            breaker.resting_until.map(|until| if now < until { CircuitState::Shut } else { CircuitState::Trial })
        };
        self.lock().iter().filter_map(|(project_id, breaker)| Some((*project_id, gate(breaker)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_keeps_failing_rests_and_is_tried_once() {
        let (breakers, project) = (CircuitBreakers::default(), Uuid::now_v7());
        for _ in 0..FAILURES - 1 {
            breakers.failed(project, None);
        }
        assert_eq!(breakers.gates(), []);
        // Those that were under way fail too, and prolong nothing.
        for _ in 0..60 {
            breakers.failed(project, None);
        }
        assert_eq!(breakers.gates(), [(project, CircuitState::Shut)]);
        let rest_is_over = |breakers: &CircuitBreakers| {
            for breaker in breakers.lock().values_mut() {
                breaker.resting_until = Some(Instant::now());
            }
        };
        rest_is_over(&breakers);
        assert_eq!(breakers.gates(), [(project, CircuitState::Trial)]);
        breakers.failed(project, None);
        assert_eq!(breakers.gates(), [(project, CircuitState::Shut)]);
        rest_is_over(&breakers);
        breakers.answered(project);
        assert_eq!(breakers.gates(), []);
    }

    #[test]
    fn an_answer_between_failures_keeps_it_open() {
        let (breakers, project) = (CircuitBreakers::default(), Uuid::now_v7());
        for _ in 0..10 {
            for _ in 0..FAILURES - 1 {
                breakers.failed(project, Some(30.0));
            }
            breakers.answered(project);
        }
        assert_eq!(breakers.gates(), []);
    }
}
