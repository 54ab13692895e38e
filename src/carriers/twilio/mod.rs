//! The carrier: the only room that knows Twilio's words; it never reads or writes our rows.
//!
//! Facts about Twilio come from its documentation; each module names the pages.

pub mod client;
pub mod error_codes;
pub mod form;
pub mod media;
pub mod numbers;
pub mod registration;
pub mod signature;
pub mod webhooks;

pub use client::{Client, Sent};
pub use error_codes::ErrorClass;
