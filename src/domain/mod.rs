//! The product's values and rules, as pure functions over plain facts: no database, no HTTP, no carrier.

pub mod agent;
pub mod bounds;
pub mod carrier_account;
pub mod channel;
pub mod consent;
pub mod country;
pub mod delivery;
pub mod delivery_settlement;
pub mod inactivity;
pub mod ingest;
pub mod job;
pub mod message;
pub mod message_plan;
pub mod number;
pub mod outbound_limit;
pub mod phone_number;
pub mod quarantine;
pub mod quiet_hours;
pub mod rate_limit;
pub mod retry;
pub mod segments;
pub mod sending;
pub mod session;
pub mod turn_settlement;
pub mod unknown_delivery;
pub mod words;
