//! Seals what must stay secret, hashes what need not be read back, and draws what nobody may guess; it never logs any of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// The key of `TEXTBACK_SECRET_KEY`: 32 bytes that seal carrier secrets at rest.
#[derive(Clone)]
pub struct SecretKey {
    key: Arc<LessSafeKey>,
    id: String,
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the secret key is not 32 bytes in base64; make one with: openssl rand -base64 32")]
    BadKey,
    #[error(
        "a stored secret was sealed with key {sealed_with}, but TEXTBACK_SECRET_KEY is key {ours}; set the key it was sealed with, or give the secret anew (PUT /v1/carrier)"
    )]
    OtherKey { sealed_with: String, ours: String },
    #[error("a stored secret can't be opened; it was changed in the database: give it anew (PUT /v1/carrier)")]
    Broken,
}

impl SecretKey {
    /// Draws a new key and gives it with its text form (base64).
    pub fn draw() -> (Self, String) {
        let bytes = random_bytes::<32>();
        let text = STANDARD.encode(bytes);
        let key = Self::from_bytes(&bytes).unwrap_or_else(|_| unreachable!("32 bytes make a key"));
        (key, text)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SecretError::BadKey)?;
        // Names the key without telling it, so that a wrong key is told from a broken secret.
        let id = hex::encode(&sha256(&[b"textback key id", bytes].concat())[..4]);
        Ok(Self { key: Arc::new(LessSafeKey::new(key)), id })
    }

    /// The key's name: it stands beside what was sealed with it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals a secret: a random 12-byte nonce, then ciphertext and tag.
    pub fn seal(&self, secret: &SecretString) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut sealed = secret.expose_secret().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .unwrap_or_else(|_| unreachable!("AES-GCM seals anything shorter than 64 GiB"));
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what `seal` made with the key of this id.
    pub fn open(&self, key_id: &str, sealed: &[u8]) -> Result<SecretString, SecretError> {
        if key_id != self.id {
            return Err(SecretError::OtherKey { sealed_with: key_id.to_owned(), ours: self.id.clone() });
        }
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(SecretError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SecretError::Broken)?;
        let mut buffer = ciphertext.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::empty(), &mut buffer).map_err(|_| SecretError::Broken)?;
        let text = std::str::from_utf8(opened).map_err(|_| SecretError::Broken)?;
        Ok(SecretString::from(text.to_owned()))
    }
}

impl FromStr for SecretKey {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SecretError::BadKey)?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id)
    }
}

/// SHA-256 of the bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// A text of 256 random bits that is safe in a URL, behind a prefix that says what it is for.
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

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        let (key, text) = SecretKey::draw();
        let (other, _) = SecretKey::draw();
        let sealed = key.seal(&SecretString::from("token"));

        let again: SecretKey = text.parse().expect("its own text form");
        assert_eq!(again.open(key.id(), &sealed).expect("opens").expose_secret(), "token");
        assert!(matches!(other.open(key.id(), &sealed), Err(SecretError::OtherKey { .. })));
        assert!(!sealed.windows(5).any(|part| part == b"token"));
    }

    #[test]
    fn a_changed_secret_does_not_open() {
        let (key, _) = SecretKey::draw();
        let mut sealed = key.seal(&SecretString::from("token"));
        if let Some(last) = sealed.last_mut() {
            *last ^= 1;
        }
        assert!(matches!(key.open(key.id(), &sealed), Err(SecretError::Broken)));
        assert!(matches!(key.open(key.id(), b"short"), Err(SecretError::Broken)));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert!(matches!("c2hvcnQ=".parse::<SecretKey>(), Err(SecretError::BadKey)));
        assert!(matches!("not base64!".parse::<SecretKey>(), Err(SecretError::BadKey)));
    }
}
