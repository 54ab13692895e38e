//! Which login goes with a call, and which tokens may sign a webhook.

use secrecy::SecretString;

use crate::domain::carrier_account::Credentials;

impl Credentials {
    /// Whether the ids have the shapes that Twilio gives them. They stand in the paths of its API.
    pub(super) fn check_ids(&self) -> Result<(), &'static str> {
        if !is_id("AC", &self.account_sid) {
            return Err("account_sid is not an id of the carrier's: AC and 32 hexadecimal digits");
        }
        match &self.api_key {
            Some((sid, _)) if !is_id("SK", sid) => {
                Err("api_key_sid is not an id of the carrier's: SK and 32 hexadecimal digits")
            }
            _ => Ok(()),
        }
    }

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

    /// The same without the token that will be promoted next. It would hide that the first one has
    /// ended.
    pub(super) fn without_next(&self) -> Self {
        Self { next_auth_token: None, ..self.clone() }
    }
}

fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
