//! A circuit breaker per carrier account: the circuit of an account that keeps failing is opened
//! for a while, and closed after one call that succeeds.
//!
//! It uses the process's monotonic clock, because it only delays jobs.
//!
//! docs/decisions/020-circuit-breaker.md has the reasons.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::metrics;
use uuid::Uuid;

/// After how many failures in a row a circuit is opened.
const FAILURES: u32 = 5;
/// How long a circuit is open at first. Each trial that fails doubles the time.
const FIRST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(60);

/// The circuit breakers of a process, by project. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct CircuitBreakers(Arc<Mutex<HashMap<Uuid, CircuitBreaker>>>);

#[derive(Default)]
struct CircuitBreaker {
    failures: u32,
    /// How often the circuit was opened.
    openings: u32,
    open_until: Option<Instant>,
}

/// The state of a circuit that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// No calls.
    Open,
    /// One call, which tells whether the account works again.
    HalfOpen,
}

impl CircuitBreakers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, CircuitBreaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that an account answered, whatever the answer.
    pub fn record_success(&self, project_id: Uuid) {
        if let Some(breaker) = self.lock().remove(&project_id)
            && breaker.open_until.is_some()
        {
            tracing::info!(%project_id, "the carrier account worked again");
        }
    }

    /// Records that an account could not be used: it was not reached, not in time, throttled or
    /// refused as a whole. `retry_after_seconds` is what the carrier asked for.
    pub fn record_failure(&self, project_id: Uuid, retry_after_seconds: Option<f64>) {
        let now = Instant::now();
        let mut breakers = self.lock();
        let breaker = breakers.entry(project_id).or_default();
        // Calls that began before the circuit was opened say nothing new.
        if breaker.open_until.is_some_and(|until| now < until) {
            return;
        }
        breaker.failures += 1;
        if breaker.failures < FAILURES {
            return;
        }
        let doubled = FIRST_OPEN.saturating_mul(2_u32.saturating_pow(breaker.openings)).min(LONGEST_OPEN);
        let retry_after = Duration::try_from_secs_f64(retry_after_seconds.unwrap_or(0.0)).unwrap_or_default();
        let open_for = doubled.max(retry_after.min(LONGEST_OPEN));
        breaker.openings += 1;
        breaker.open_until = Some(now + open_for);
        metrics::CIRCUIT_OPENINGS.count(&[]);
        tracing::error!(
            %project_id,
            failures = breaker.failures,
            seconds = open_for.as_secs_f64(),
            "the carrier account failed repeatedly; its messages were put off"
        );
    }

    /// The accounts whose circuit is not closed.
    pub fn not_closed(&self) -> Vec<(Uuid, CircuitState)> {
        let now = Instant::now();
        let state = |until| if now < until { CircuitState::Open } else { CircuitState::HalfOpen };
        let breakers = self.lock();
        breakers.iter().filter_map(|(project_id, breaker)| Some((*project_id, state(breaker.open_until?)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circuit_of_an_account_that_keeps_failing_is_opened_and_tried_with_one_call() {
        let (breakers, project) = (CircuitBreakers::default(), Uuid::now_v7());
        for _ in 0..FAILURES - 1 {
            breakers.record_failure(project, None);
        }
        assert_eq!(breakers.not_closed(), []);
        // Calls that were running fail too, and change nothing.
        for _ in 0..60 {
            breakers.record_failure(project, None);
        }
        assert_eq!(breakers.not_closed(), [(project, CircuitState::Open)]);
        let time_is_over = |breakers: &CircuitBreakers| {
            for breaker in breakers.lock().values_mut() {
                breaker.open_until = Some(Instant::now());
            }
        };
        time_is_over(&breakers);
        assert_eq!(breakers.not_closed(), [(project, CircuitState::HalfOpen)]);
        breakers.record_failure(project, None);
        assert_eq!(breakers.not_closed(), [(project, CircuitState::Open)]);
        time_is_over(&breakers);
        breakers.record_success(project);
        assert_eq!(breakers.not_closed(), []);
    }

    #[test]
    fn an_answer_between_failures_keeps_it_closed() {
        let (breakers, project) = (CircuitBreakers::default(), Uuid::now_v7());
        for _ in 0..10 {
            for _ in 0..FAILURES - 1 {
                breakers.record_failure(project, Some(30.0));
            }
            breakers.record_success(project);
        }
        assert_eq!(breakers.not_closed(), []);
    }
}
