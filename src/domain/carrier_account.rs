//! A project's account at a carrier, with its secrets open.

use std::fmt;

use secrecy::SecretString;
use uuid::Uuid;

use super::words::words;

words! {
    /// The firms that can carry a project's messages. The word stands in the addresses of webhooks.
    pub enum CarrierKind {
        /// Twilio.
        Twilio = "twilio",
    }
}

/// A project's account at its carrier.
#[derive(Clone)]
pub struct CarrierAccount {
    pub project_id: Uuid,
    /// Stands in the webhook addresses of the project.
    pub webhook_key: String,
    pub carrier: CarrierKind,
    pub credentials: Credentials,
}

/// What carriers ask of their customers.
#[derive(Clone)]
pub struct Credentials {
    /// The carrier's id of the account.
    pub account_sid: String,
    /// Signs webhooks, and logs in to the REST API while there is no API key.
    pub auth_token: SecretString,
    /// The token that will be promoted next. Webhooks may be signed with it too.
    pub next_auth_token: Option<SecretString>,
    /// The id and the secret of an API key, for the REST API.
    pub api_key: Option<(String, SecretString)>,
}

impl CarrierAccount {
    /// The carrier's id of the account.
    pub fn id(&self) -> &str {
        &self.credentials.account_sid
    }
}

impl fmt::Debug for CarrierAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarrierAccount").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("account_sid", &self.account_sid).finish_non_exhaustive()
    }
}
