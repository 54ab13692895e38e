//! Encrypts stored secrets, hashes API keys, and creates random tokens. No function of this module
//! logs a secret.
//!
//! docs/decisions/028-secrets.md has the reasons.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

/// The keys of `TEXTBACK_SECRET_KEY`, each 32 bytes. The first one encrypts secrets, and all of
/// them decrypt.
#[derive(Clone)]
pub struct SecretKeys {
    keys: Arc<[SecretKey]>,
}

struct SecretKey {
    key: LessSafeKey,
    /// Identifies the key without revealing it, so that a wrong key can be told from a damaged
    /// secret.
    id: String,
}

impl SecretKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SecretError::BadKey)?;
        let id = hex::encode(&sha256(&[b"textback key id", bytes].concat())[..4]);
        Ok(Self { key: LessSafeKey::new(key), id })
    }
}

/// Where an encrypted secret is stored. It is authenticated with the secret (as AES-GCM's
/// additional data), so the secret decrypts only there. An attacker who can write rows but has no
/// key can't move a secret to another tenant or to another column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretContext {
    pub table: &'static str,
    pub column: &'static str,
    pub project_id: Uuid,
    /// The row: an agent's id, or the project's id where a project has one row.
    pub row_id: Uuid,
}

impl SecretContext {
    /// A column of a project's carrier account.
    pub const fn of_carrier_account(project_id: Uuid, column: &'static str) -> Self {
        Self { table: "carrier_account", column, project_id, row_id: project_id }
    }

    /// The signing secrets of an agent. A change moves the old secret unchanged to
    /// `previous_signing_secret`, so both columns share one context.
    pub const fn of_agent(project_id: Uuid, agent_id: Uuid) -> Self {
        Self { table: "agent", column: "signing_secret", project_id, row_id: agent_id }
    }

    /// The key of an agent at its model's provider.
    pub const fn of_model_key(project_id: Uuid, agent_id: Uuid) -> Self {
        Self { table: "model_key", column: "encrypted", project_id, row_id: agent_id }
    }

    /// Names contain no NUL and ids have a fixed length, so different contexts have different
    /// bytes.
    fn bytes(&self) -> Vec<u8> {
        let names = format!("textback secret\0{}\0{}\0", self.table, self.column);
        [names.as_bytes(), self.project_id.as_bytes(), self.row_id.as_bytes()].concat()
    }
}

/// Why a secret could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "a secret key is not 32 bytes in base64; create one with: openssl rand -base64 32 (during a rotation give several, separated by commas; the first one encrypts)"
    )]
    BadKey,
    #[error(
        "a stored secret was encrypted with key {encrypted_with}, but TEXTBACK_SECRET_KEY is key {ours}; add the missing key after a comma, or give the secret again (PUT /v1/carrier)"
    )]
    OtherKey { encrypted_with: String, ours: String },
    #[error(
        "a stored secret can't be decrypted; it was changed in the database, or copied there from another row or column: give it again (PUT /v1/carrier, POST /v1/agents/{{id}}/signing-secret)"
    )]
    Broken,
}

impl SecretKeys {
    /// Creates a random key and returns it with its text form (base64).
    pub fn draw() -> (Self, String) {
        let bytes = random_bytes::<32>();
        let text = STANDARD.encode(bytes);
        let key = SecretKey::from_bytes(&bytes).unwrap_or_else(|_| unreachable!("32 bytes make a key"));
        (Self { keys: Arc::new([key]) }, text)
    }

    /// The key that encrypts.
    fn first(&self) -> &SecretKey {
        self.keys.first().unwrap_or_else(|| unreachable!("there is at least one key"))
    }

    /// How many keys there are besides the one that encrypts.
    pub fn others(&self) -> usize {
        self.keys.len() - 1
    }

    /// Whether one of the keys has this id.
    pub fn decrypts(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id == key_id)
    }

    /// The id of the key that encrypts. It is stored beside each secret.
    pub fn id(&self) -> &str {
        &self.first().id
    }

    /// The ids of all keys.
    pub fn ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.clone()).collect()
    }

    /// Encrypts a secret for its context: a random 12-byte nonce, then ciphertext and tag.
    pub fn encrypt(&self, context: &SecretContext, secret: &SecretString) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut encrypted = secret.expose_secret().as_bytes().to_vec();
        self.first()
            .key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.bytes()), &mut encrypted)
            .unwrap_or_else(|_| unreachable!("AES-GCM encrypts anything shorter than 64 GiB"));
        [nonce.as_slice(), &encrypted].concat()
    }

    /// Decrypts a secret that `encrypt` made with the key of this id for this context.
    pub fn decrypt(
        &self,
        context: &SecretContext,
        key_id: &str,
        encrypted: &[u8],
    ) -> Result<SecretString, SecretError> {
        let Some(key) = self.keys.iter().find(|key| key.id == key_id) else {
            return Err(SecretError::OtherKey { encrypted_with: key_id.to_owned(), ours: self.ids().join(", ") });
        };
        let (nonce, ciphertext) = encrypted.split_at_checked(NONCE_LEN).ok_or(SecretError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SecretError::Broken)?;
        let mut buffer = ciphertext.to_vec();
        let aad = Aad::from(context.bytes());
        let decrypted = key.key.open_in_place(nonce, aad, &mut buffer).map_err(|_| SecretError::Broken)?;
        let text = std::str::from_utf8(decrypted).map_err(|_| SecretError::Broken)?;
        Ok(SecretString::from(text.to_owned()))
    }
}

impl FromStr for SecretKeys {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let key = |part: &str| {
            let bytes = STANDARD.decode(part.trim()).map_err(|_| SecretError::BadKey)?;
            SecretKey::from_bytes(&bytes)
        };
        Ok(Self { keys: text.split(',').map(key).collect::<Result<_, _>>()? })
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeys({})", self.ids().join(", "))
    }
}

/// SHA-256 of the bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// A token of 256 random bits that is safe in a URL, after a prefix that names its purpose.
pub fn draw_token(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
}

/// Random bytes from the operating system's generator.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap_or_else(|_| unreachable!("the system's random generator answers"));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: SecretContext = SecretContext::of_carrier_account(Uuid::from_u128(1), "auth_token");

    #[test]
    fn a_secret_decrypts_with_the_same_key_only() {
        let (key, text) = SecretKeys::draw();
        let (other, _) = SecretKeys::draw();
        let encrypted = key.encrypt(&HERE, &SecretString::from("token"));

        let again: SecretKeys = text.parse().expect("its own text form");
        assert_eq!(again.decrypt(&HERE, key.id(), &encrypted).expect("decrypted").expose_secret(), "token");
        assert!(matches!(other.decrypt(&HERE, key.id(), &encrypted), Err(SecretError::OtherKey { .. })));
        assert!(!encrypted.windows(5).any(|part| part == b"token"));
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let ((old, old_text), (new, new_text)) = (SecretKeys::draw(), SecretKeys::draw());
        let secret = SecretString::from("token");
        let both: SecretKeys = format!("{new_text}, {old_text}").parse().expect("two keys");
        assert_eq!((both.id(), both.others(), both.decrypts(old.id())), (new.id(), 1, true));
        assert_eq!(
            both.decrypt(&HERE, old.id(), &old.encrypt(&HERE, &secret)).expect("decrypted").expose_secret(),
            "token"
        );
        assert_eq!(
            new.decrypt(&HERE, new.id(), &both.encrypt(&HERE, &secret)).expect("decrypted").expose_secret(),
            "token"
        );
        assert!(matches!(
            old.decrypt(&HERE, both.id(), &both.encrypt(&HERE, &secret)),
            Err(SecretError::OtherKey { .. })
        ));
    }

    #[test]
    fn a_changed_secret_does_not_decrypt() {
        let (key, _) = SecretKeys::draw();
        let mut encrypted = key.encrypt(&HERE, &SecretString::from("token"));
        if let Some(last) = encrypted.last_mut() {
            *last ^= 1;
        }
        assert!(matches!(key.decrypt(&HERE, key.id(), &encrypted), Err(SecretError::Broken)));
        assert!(matches!(key.decrypt(&HERE, key.id(), b"short"), Err(SecretError::Broken)));
    }

    #[test]
    fn a_secret_decrypts_in_its_own_context_only() {
        let (key, _) = SecretKeys::draw();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let contexts = [
            HERE,
            SecretContext::of_carrier_account(one, "next_auth_token"),
            SecretContext::of_carrier_account(one, "api_key_secret"),
            SecretContext::of_carrier_account(two, "auth_token"),
            SecretContext::of_agent(one, one),
            SecretContext::of_agent(one, two),
            SecretContext::of_agent(two, two),
            SecretContext::of_model_key(two, two),
        ];
        for encrypted_for in &contexts {
            let encrypted = key.encrypt(encrypted_for, &SecretString::from("token"));
            for context in &contexts {
                let decrypted = key.decrypt(context, key.id(), &encrypted);
                assert_eq!(decrypted.is_ok(), context == encrypted_for, "{encrypted_for:?} at {context:?}");
                assert!(decrypted.is_ok() || matches!(decrypted, Err(SecretError::Broken)));
            }
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert!(matches!("c2hvcnQ=".parse::<SecretKeys>(), Err(SecretError::BadKey)));
        assert!(matches!("not base64!".parse::<SecretKeys>(), Err(SecretError::BadKey)));
    }
}
