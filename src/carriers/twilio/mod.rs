//! Twilio behind the trait: its REST API, its webhooks, its signature, its codes and its documents.
//!
//! Facts about Twilio come from its documentation. Each module names the pages.

mod carrier;
pub mod client;
mod credentials;
pub mod error_codes;
pub mod form;
pub mod media;
pub mod messages;
pub mod numbers;
pub mod registration;
pub mod send;
pub mod services;
pub mod signature;
pub mod webhooks;

pub use client::Client;

use services::ServiceCache;
use url::Url;

/// Twilio, as a carrier.
pub struct Twilio {
    client: Client,
    services: ServiceCache,
}

impl Twilio {
    /// Twilio at the base URLs of its API. Messages and numbers have one host, messaging services
    /// and registrations another.
    pub fn new(api_url: Url, messaging_url: Url) -> Result<Self, reqwest::Error> {
        Ok(Self { client: Client::new(api_url, messaging_url)?, services: ServiceCache::default() })
    }
}
