//! Everything that calls to a customer's server share: allowed networks, name resolution and
//! signatures.

pub mod networks;
pub mod resolver;
pub mod standard_webhooks;
