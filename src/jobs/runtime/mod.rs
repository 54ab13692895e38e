//! Runs jobs: claims, leases, permits, circuit breakers. Only this module uses apalis.
//!
//! docs/decisions/035-apalis.md has the reasons.

pub mod circuit_breaker;
pub mod fair_limiter;
pub mod job;
pub mod local_queue;
mod narrowing;
pub(crate) mod next_due;
mod queue;
mod search;

pub use queue::RuntimeError;
pub(crate) use queue::{GRACE, Runtime};
