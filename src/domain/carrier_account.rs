//! A carrier account with its secrets open, as a plain value between storage, doors and hands; it does nothing.

use std::fmt;

use secrecy::SecretString;
use uuid::Uuid;

/// A project's account at the carrier.
#[derive(Clone)]
pub struct Account {
    pub project_id: Uuid,
    /// Stands in the webhook addresses of the project.
    pub webhook_key: String,
    pub account_sid: String,
    /// Signs webhooks, and REST calls while there is no API key.
    pub auth_token: SecretString,
    /// The token that will be promoted next: accepted on webhooks as well.
    pub next_auth_token: Option<SecretString>,
    /// An API key (SK…) and its secret, for REST calls.
    pub api_key: Option<(String, SecretString)>,
}

impl Account {
    /// User and password of REST calls.
    pub fn login(&self) -> (&str, &SecretString) {
        match &self.api_key {
            Some((sid, secret)) => (sid, secret),
            None => (&self.account_sid, &self.auth_token),
        }
    }

    /// The login that counts once the next token was promoted; none where a key calls.
    pub fn next_login(&self) -> Option<(&str, &SecretString)> {
        let next = self.next_auth_token.as_ref().filter(|_| self.api_key.is_none());
        next.map(|token| (self.account_sid.as_str(), token))
    }

    /// The tokens that may sign a webhook.
    pub fn signing_tokens(&self) -> impl Iterator<Item = &SecretString> {
        std::iter::once(&self.auth_token).chain(&self.next_auth_token)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("account_sid", &self.account_sid).finish_non_exhaustive()
    }
}
