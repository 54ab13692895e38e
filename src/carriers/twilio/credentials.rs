//! Which login goes with a call, and which tokens may sign a webhook.

use secrecy::SecretString;

use crate::domain::carrier_account::{CarrierAccount, Credentials, TwilioCredentials};

/// The credentials of an account that is at Twilio.
pub(super) const fn of(account: &CarrierAccount) -> &TwilioCredentials {
    match &account.credentials {
        Credentials::Twilio(credentials) => credentials,
    }
}

impl TwilioCredentials {
    /// User and password of REST calls.
    pub(super) fn login(&self) -> (&str, &SecretString) {
        match &self.api_key {
            Some((sid, secret)) => (sid, secret),
            None => (&self.account_sid, &self.auth_token),
        }
    }

    /// The login that counts once the next token was promoted. None where an API key logs in.
    pub(super) fn next_login(&self) -> Option<(&str, &SecretString)> {
        let next = self.next_auth_token.as_ref().filter(|_| self.api_key.is_none());
        next.map(|token| (self.account_sid.as_str(), token))
    }

    /// The tokens that may sign a webhook.
    pub(super) fn signing_tokens(&self) -> impl Iterator<Item = &SecretString> {
        std::iter::once(&self.auth_token).chain(&self.next_auth_token)
    }

    /// The same without the token that will be promoted next. It would hide that the first one has ended.
    pub(super) fn without_next(&self) -> Self {
        Self { next_auth_token: None, ..self.clone() }
    }
}
