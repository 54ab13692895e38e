//! Computes the X-Twilio-Signature of a form that is posted to a URL.
//!
//! The scheme: <https://www.twilio.com/docs/usage/security#validating-requests>.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The header that carries the signature.
pub const HEADER: &str = "X-Twilio-Signature";

/// The HMAC-SHA1 of the URL and of all parameters, sorted by name, under the account's auth token.
/// The different values of a repeated name follow each other in order.
pub fn signature(auth_token: &str, url: &str, form: &[(String, String)]) -> String {
    let mut parameters: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in form {
        parameters.entry(name).or_default().insert(value);
    }
    let mut signed = url.to_owned();
    for (name, values) in parameters {
        for value in values {
            signed.push_str(name);
            signed.push_str(value);
        }
    }
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    STANDARD.encode(sign(&key, signed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two examples that Twilio publishes, in the tests of its libraries and on its security
    /// page.
    #[test]
    fn the_published_examples_have_their_signatures() {
        for (url, from, expected) in [
            ("https://mycompany.com/myapp.php?foo=1&bar=2", "+14158675309", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            ("https://example.com/myapp.php?foo=1&bar=2", "+14158675310", "L/OH5YylLD5NRKLltdqwSvS0BnU="),
        ] {
            let form = [
                ("To", "+18005551212"),
                ("CallSid", "CA1234567890ABCDE"),
                ("From", from),
                ("Digits", "1234"),
                ("Caller", from),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(signature("12345", url, &form), expected);
        }
    }

    #[test]
    fn the_order_of_parameters_does_not_count() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (one, other) = ([pair("b", "1"), pair("a", "2")], [pair("a", "2"), pair("b", "1")]);
        assert_eq!(signature("t", "http://a.example/", &one), signature("t", "http://a.example/", &other));
        assert_ne!(signature("t", "http://a.example/", &one), signature("t", "http://a.example/", &one[..1]));
    }
}
