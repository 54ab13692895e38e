//! Accounts with their keys, and the ids of everything that belongs to them.

use std::collections::HashMap;

/// An account and its keys.
#[derive(Debug, Clone)]
pub struct Account {
    /// The account's id (`AC…`).
    pub sid: String,
    /// The primary auth token. It signs webhooks.
    pub auth_token: String,
    /// The secondary auth token, which the API accepts too.
    pub secondary_auth_token: Option<String>,
    /// The secrets of the API keys, by the key's id (`SK…`).
    pub api_keys: HashMap<String, String>,
}

impl Account {
    /// An account with one auth token and no API keys.
    pub fn new(sid: &str, auth_token: &str) -> Self {
        Self {
            sid: sid.to_owned(),
            auth_token: auth_token.to_owned(),
            secondary_auth_token: None,
            api_keys: HashMap::new(),
        }
    }

    /// Whether a user name and a password are of this account: its id with a token, or an API key
    /// with its secret.
    pub fn accepts(&self, user: &str, password: &str) -> bool {
        let is_token = password == self.auth_token || self.secondary_auth_token.as_deref() == Some(password);
        (user == self.sid && is_token) || self.api_keys.get(user).is_some_and(|secret| secret == password)
    }
}

/// A new random id: two letters and 32 hexadecimal digits.
pub fn new_sid(prefix: &str) -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap_or_else(|_| unreachable!("the system's random generator answers"));
    format!("{prefix}{}", hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tokens_and_api_keys_are_accepted() {
        let mut account = Account::new("AC1", "token");
        account.secondary_auth_token = Some("second".to_owned());
        account.api_keys.insert("SK1".to_owned(), "secret".to_owned());
        for (user, password, accepted) in [
            ("AC1", "token", true),
            ("AC1", "second", true),
            ("SK1", "secret", true),
            ("AC1", "secret", false),
            ("SK1", "token", false),
            ("AC2", "token", false),
        ] {
            assert_eq!(account.accepts(user, password), accepted, "{user} {password}");
        }
    }
}
