//! The product's values and rules, as pure functions over plain facts: no database, no HTTP, no carrier.

pub mod agent;
pub mod bounds;
pub mod carrier_account;
pub mod consent;
pub mod delivery;
pub mod job;
pub mod message;
pub mod number;
pub mod phone_number;
pub mod segments;
pub mod session;
pub mod words;
