//! Runs jobs: claims, leases, permits, circuit breakers. Only this module uses apalis.

pub mod circuit_breaker;
pub mod eager_dispatch;
pub mod fair_limiter;
pub mod local_queue;
pub mod narrowing;
pub mod queue;
mod search;
