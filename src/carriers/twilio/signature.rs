//! X-Twilio-Signature: made and checked over a URL and exactly the parameters of a request.
//!
//! The scheme: <https://www.twilio.com/docs/usage/security#validating-requests>.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};

use super::form::Form;

/// The header that carries the signature.
pub const HEADER: &str = "X-Twilio-Signature";

/// The same as the name of a header.
pub(super) const fn header_name() -> HeaderName {
    HeaderName::from_static("x-twilio-signature")
}

/// A request with this header is signed with a key of the customer's own making, by an algorithm
/// the header names (<https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys>). We have no
/// such key, so we refuse rather than guess.
pub const SETTINGS_HEADER: &str = "X-Twilio-Webhooks-Signature-Settings";

/// The signature of a form posted to a URL.
pub fn sign(token: &SecretString, url: &str, form: &Form) -> String {
    STANDARD.encode(hmac::sign(&key(token), &signed_bytes(url, form)).as_ref())
}

/// Whether one of the tokens made this signature. In constant time for each candidate.
///
/// Twilio's own libraries accept the URL with its port and without, and so do we: which of them
/// is signed depends on the product that sends.
pub fn verify<'a>(tokens: impl IntoIterator<Item = &'a SecretString>, url: &str, form: &Form, signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    let candidates: Vec<Vec<u8>> = spellings(url).iter().map(|url| signed_bytes(url, form)).collect();
    let mut right = false;
    for token in tokens {
        let key = key(token);
        for candidate in &candidates {
            // No early end: all candidates are tried whichever one is right.
            right |= hmac::verify(&key, candidate, &signature).is_ok();
        }
    }
    right
}

fn key(token: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.expose_secret().as_bytes())
}

/// The URL, then each name and value, sorted by name; a repeated name has its distinct values in
/// order.
fn signed_bytes(url: &str, form: &Form) -> Vec<u8> {
    let mut pairs: Vec<(&[u8], &[u8])> = form.pairs().collect();
    pairs.sort();
    pairs.dedup();
    let mut bytes = url.as_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value);
    }
    bytes
}

/// The URL as it is, and with its port left out or its scheme's port put in.
fn spellings(url: &str) -> Vec<String> {
    let mut spellings = vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else { return spellings };
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let port_at = host.rfind(':').filter(|at| host[at + 1..].bytes().all(|byte| byte.is_ascii_digit()));
    spellings.push(match port_at {
        Some(at) => format!("{scheme}://{}{path}", &host[..at]),
        None => format!("{scheme}://{host}:{}{path}", if scheme == "http" { 80 } else { 443 }),
    });
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    /// The two examples that Twilio publishes, in its libraries' tests and on its security page.
    #[test]
    fn the_published_examples_verify() {
        let canonical = Form::of([
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
            ("Caller", "+14158675309"),
        ]);
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(sign(&token("12345"), url, &canonical), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
        let page = Form::of([
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675310"),
            ("Caller", "+14158675310"),
            ("CallSid", "CA1234567890ABCDE"),
        ]);
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        assert!(verify([&token("12345")], url, &page, "L/OH5YylLD5NRKLltdqwSvS0BnU="));
    }

    #[test]
    fn a_port_may_be_signed_or_not() {
        let form = Form::of([("Body", "hi")]);
        for (ours, signed) in [
            ("https://a.example/x?y=1", "https://a.example:443/x?y=1"),
            ("http://a.example/x", "http://a.example:80/x"),
            ("https://a.example:8443/x", "https://a.example/x"),
            ("https://a.example:8443/x", "https://a.example:8443/x"),
            ("http://[::1]:8080/x", "http://[::1]/x"),
        ] {
            let signature = sign(&token("t"), signed, &form);
            assert!(verify([&token("t")], ours, &form, &signature), "{ours} against {signed}");
        }
        let signature = sign(&token("t"), "https://a.example:9/x", &form);
        assert!(!verify([&token("t")], "https://a.example/x", &form, &signature));
    }

    #[test]
    fn both_tokens_count_during_rotation_and_no_other() {
        let (old, new, other) = (token("old"), token("new"), token("other"));
        let form = Form::of([("Body", "hi")]);
        let url = "https://a.example/x";
        for signer in [&old, &new] {
            assert!(verify([&old, &new], url, &form, &sign(signer, url, &form)));
        }
        assert!(!verify([&old, &new], url, &form, &sign(&other, url, &form)));
        assert!(!verify([&old], url, &form, ""));
        assert!(!verify([&old], url, &form, "not base64 at all"));
    }

    proptest! {
        /// Repeated, empty and unknown parameters all count, in any order.
        #[test]
        fn a_signature_covers_every_parameter(
            pairs in proptest::collection::vec(("[A-Za-z0-9]{0,4}", "\\PC{0,6}"), 0..8),
            extra in "[A-Za-z]{1,4}",
        ) {
            let url = "https://a.example/x";
            let mut turned = pairs.clone();
            turned.reverse();
            let signature = sign(&token("t"), url, &Form::of(pairs.clone()));
            prop_assert!(verify([&token("t")], url, &Form::of(turned), &signature));

            let mut more = pairs;
            more.push((format!("{extra}-new"), "x".to_owned()));
            prop_assert!(!verify([&token("t")], url, &Form::of(more), &signature));
        }
    }
}
