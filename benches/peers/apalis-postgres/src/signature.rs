//! Twilio's signature: HMAC-SHA1 over the address and the parameters, sorted by name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Whether the carrier signed this; compares in constant time.
pub fn holds(token: &str, url: &str, form: &[(String, String)], signature: &str) -> bool {
    let mut sorted: Vec<_> = form.iter().collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("a key of any length");
    mac.update(url.as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.decode(signature).is_ok_and(|given| mac.verify_slice(&given).is_ok())
}
