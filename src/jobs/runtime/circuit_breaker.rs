//! A circuit breaker per carrier account, and per server of language models: the circuit of what
//! keeps failing is opened for a while, and closed after one call that succeeds.
//!
//! It uses the process's monotonic clock, because it only delays jobs.
//!
//! docs/decisions/020-circuit-breaker.md has the reasons.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::metrics;
use uuid::Uuid;

/// After how many failures in a row a circuit is opened.
const FAILURES: u32 = 5;
/// How long a circuit is open at first. Each trial that fails doubles the time.
const FIRST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(60);

/// How long one caller of a half-open circuit may try before another one may. A call to a carrier
/// or a model takes less.
const TRIAL: Duration = Duration::from_secs(120);
/// The pause of those who wait for the caller that tries.
const TRIAL_PAUSE: Duration = Duration::from_secs(1);

/// What has a circuit: a carrier account, by its project, or what an agent calls.
pub trait CircuitKey: Eq + Hash + Clone + Send + 'static {
    /// Its word in metrics.
    const KIND: &'static str;

    /// Logs that its circuit was opened after this many failures, for this many seconds.
    fn log_opening(&self, failures: u32, seconds: f64);

    /// Logs that it worked again.
    fn log_closing(&self);
}

impl CircuitKey for Uuid {
    const KIND: &'static str = "carrier_account";

    fn log_opening(&self, failures: u32, seconds: f64) {
        tracing::error!(project_id = %self, failures, seconds, "the carrier account failed repeatedly; its messages were put off");
    }

    fn log_closing(&self) {
        tracing::info!(project_id = %self, "the carrier account worked again");
    }
}

/// The circuit breakers of a process. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct CircuitBreakers<K = Uuid>(Arc<Mutex<HashMap<K, CircuitBreaker>>>);

impl<K> Default for CircuitBreakers<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

#[derive(Default)]
struct CircuitBreaker {
    failures: u32,
    /// How often the circuit was opened.
    openings: u32,
    open_until: Option<Instant>,
    /// Until when nobody else tries a half-open circuit.
    tried_until: Option<Instant>,
}

/// The state of a circuit that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// No calls.
    Open,
    /// One call, which tells whether the account works again.
    HalfOpen,
}

impl<K: CircuitKey> CircuitBreakers<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, CircuitBreaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may be made now; else after how long to ask again. Of those who ask while a
    /// circuit is half open, one may try.
    pub fn permit(&self, key: &K) -> Result<(), Duration> {
        let now = Instant::now();
        let mut breakers = self.lock();
        let Some(breaker) = breakers.get_mut(key) else { return Ok(()) };
        let Some(open_until) = breaker.open_until else { return Ok(()) };
        if now < open_until {
            return Err(open_until - now);
        }
        if breaker.tried_until.is_some_and(|until| now < until) {
            return Err(TRIAL_PAUSE);
        }
        breaker.tried_until = Some(now + TRIAL);
        Ok(())
    }

    /// Gives back a permission that was not used.
    pub fn withdraw(&self, key: &K) {
        if let Some(breaker) = self.lock().get_mut(key) {
            breaker.tried_until = None;
        }
    }

    /// Records that it answered, whatever the answer.
    pub fn record_success(&self, key: K) {
        if let Some(breaker) = self.lock().remove(&key)
            && breaker.open_until.is_some()
        {
            key.log_closing();
        }
    }

    /// Records that it could not be used: it was not reached, not in time, throttled or refused as
    /// a whole. `retry_after_seconds` is what it asked for.
    pub fn record_failure(&self, key: K, retry_after_seconds: Option<f64>) {
        let now = Instant::now();
        let mut breakers = self.lock();
        let breaker = breakers.entry(key.clone()).or_default();
        // Calls that began before the circuit was opened say nothing new.
        if breaker.open_until.is_some_and(|until| now < until) {
            return;
        }
        breaker.failures += 1;
        breaker.tried_until = None;
        if breaker.failures < FAILURES {
            return;
        }
        let doubled = FIRST_OPEN.saturating_mul(2_u32.saturating_pow(breaker.openings)).min(LONGEST_OPEN);
        let retry_after = Duration::try_from_secs_f64(retry_after_seconds.unwrap_or(0.0)).unwrap_or_default();
        let open_for = doubled.max(retry_after.min(LONGEST_OPEN));
        breaker.openings += 1;
        breaker.open_until = Some(now + open_for);
        metrics::CIRCUIT_OPENINGS.count(&[K::KIND]);
        key.log_opening(breaker.failures, open_for.as_secs_f64());
    }

    /// Those whose circuit is not closed.
    pub fn not_closed(&self) -> Vec<(K, CircuitState)> {
        let now = Instant::now();
        let state = |until| if now < until { CircuitState::Open } else { CircuitState::HalfOpen };
        let breakers = self.lock();
        breakers.iter().filter_map(|(key, breaker)| Some((key.clone(), state(breaker.open_until?)))).collect()
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
    fn of_those_who_ask_at_a_half_open_circuit_one_may_try() {
        let (breakers, project) = (CircuitBreakers::default(), Uuid::now_v7());
        assert_eq!(breakers.permit(&project), Ok(()));
        for _ in 0..FAILURES {
            assert_eq!(breakers.permit(&project), Ok(()), "it is closed");
            breakers.record_failure(project, Some(40.0));
        }
        let wait = breakers.permit(&project).expect_err("it is open");
        assert!(wait > Duration::from_secs(30) && wait <= Duration::from_secs(40), "{wait:?}");
        let is_over = |breakers: &CircuitBreakers| {
            breakers.lock().values_mut().for_each(|breaker| breaker.open_until = Some(Instant::now()));
        };
        is_over(&breakers);
        assert_eq!(breakers.permit(&project), Ok(()));
        assert_eq!(breakers.permit(&project), Err(TRIAL_PAUSE), "somebody tries");
        breakers.record_failure(project, None);
        assert!(breakers.permit(&project).is_err_and(|wait| wait <= LONGEST_OPEN));
        is_over(&breakers);
        assert_eq!(breakers.permit(&project), Ok(()), "the next one tries");
        breakers.withdraw(&project);
        assert_eq!(breakers.permit(&project), Ok(()), "and did not need it");
        breakers.lock().values_mut().for_each(|breaker| breaker.tried_until = Some(Instant::now()));
        assert_eq!(breakers.permit(&project), Ok(()), "who tried has not come back");
        breakers.record_success(project);
        assert_eq!([breakers.permit(&project), breakers.permit(&project)], [Ok(()), Ok(())]);
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
