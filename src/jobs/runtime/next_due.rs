//! Remembers when the next job of a kind is due, as the last claim learned it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::repeating::Repeating;

/// Failures to read the next due time, logged once per cause.
static NOT_READ: Repeating = Repeating::new();

/// The time until the next job is due, in milliseconds.
pub(crate) struct NextDue(AtomicU64);

impl Default for NextDue {
    /// Nothing is known to be due.
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl NextDue {
    /// Records what a claim read after its commit. A failed read only logs, because the claim must
    /// return what it committed; the worker polls again.
    pub(crate) fn record(&self, seconds: Result<Option<f64>, sqlx::Error>) {
        match seconds {
            Ok(seconds) => self.set(seconds),
            Err(error) => {
                if let Some(times) = NOT_READ.observe("", &error.to_string()) {
                    tracing::warn!(%error, times, "the time of the next job could not be read");
                }
            }
        }
    }

    /// Records in how many seconds a job is due: less than zero if it is due already, `None` if
    /// there is no job.
    pub(crate) fn set(&self, seconds: Option<f64>) {
        let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let milliseconds = wait.and_then(|wait| u64::try_from(wait.as_millis()).ok()).unwrap_or(u64::MAX);
        self.0.store(milliseconds, Ordering::Relaxed);
    }

    /// The time until the next job is due.
    pub(crate) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}
