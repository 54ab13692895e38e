//! Signs outbound requests by the Standard Webhooks convention, and creates signing secrets.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::secret::random_bytes;

/// The header with the id of the turn, which is the same for all attempts.
pub const ID: &str = "webhook-id";
/// The header with the time of this attempt, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures, one for each secret, separated by spaces.
pub const SIGNATURE: &str = "webhook-signature";

const PREFIX: &str = "whsec_";

/// Creates a secret: `whsec_` and 32 random bytes in base64.
pub fn draw_secret() -> SecretString {
    SecretString::from(format!("{PREFIX}{}", STANDARD.encode(random_bytes::<32>())))
}

/// The value of the signature header: HMAC-SHA256 over `id.timestamp.body`.
pub fn sign(secrets: &[SecretString], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let signatures: Vec<String> = secrets
        .iter()
        .filter_map(|secret| STANDARD.decode(secret.expose_secret().trim_start_matches(PREFIX)).ok())
        .map(|key| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed))
        .map(|tag| format!("v1,{}", STANDARD.encode(tag.as_ref())))
        .collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the reference libraries' own tests (standard-webhooks, `libraries/`).
    #[test]
    fn a_known_request_has_its_known_signature() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signature = sign(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs() {
        let secrets = [draw_secret(), draw_secret()];
        let signature = sign(&secrets, "a", 1, b"{}");
        let parts: Vec<&str> = signature.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert_ne!(parts[0], parts[1]);
        assert_eq!(parts[1], sign(&secrets[1..], "a", 1, b"{}"));
    }
}
