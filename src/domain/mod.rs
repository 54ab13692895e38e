//! The product's values and rules, as pure functions over plain facts: no database, no HTTP, no carrier.

pub mod bounds;
pub mod carrier_account;
pub mod phone_number;
pub mod segments;
