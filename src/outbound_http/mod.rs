//! What every call to a customer's server needs: allowed networks, name resolution and signed requests.

pub mod networks;
pub mod resolver;
pub mod standard_webhooks;
