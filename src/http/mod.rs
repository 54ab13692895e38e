//! All HTTP endpoints of textback: webhooks, the API, the console and health.

mod access_log;
pub mod api;
pub mod body;
pub mod console;
pub mod failed_attempts;
pub mod headers;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod own_calls;
pub mod problem;
mod query;
mod request_id;
pub mod router;
mod server_span;
mod single_flight;
pub mod webhooks;
