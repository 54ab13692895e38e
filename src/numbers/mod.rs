//! Our phone numbers: the controller that reconciles them with the carrier, and what their health is.

pub mod health;
pub mod reconciler;
