//! Our phone numbers: the controller that reconciles them with their carrier, and the diagnostics
//! of their health.

pub mod attempt;
pub mod health;
pub mod reconciler;
