//! Headers that the API reads: each is given once, and readable.

use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::domain::suggestion::nearest;
use crate::http::headers::{once, only, refused};
use crate::http::problem::Problem;
use crate::http::request_id;

/// The header that makes a repeated request harmless.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key that a client gives a request, so that a repetition of it is recognised.
///
/// A header's value is bytes. Clients send UTF-8, or Latin-1, as the HTTP libraries of Python and
/// Node do; both are read, so that a key with an umlaut is a key.
pub(in crate::http::api) struct IdempotencyKey(pub Option<String>);

impl IdempotencyKey {
    fn read(value: &HeaderValue) -> String {
        let bytes = value.as_bytes();
        std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned)
    }
}

impl<'a> ApiExtractor<'a> for IdempotencyKey {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = false;

    type ParamType = Option<String>;
    type ParamRawType = String;

    fn register(registry: &mut Registry) {
        <String as Type>::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(String::schema_ref())
    }

    fn param_raw_type(&self) -> Option<&String> {
        self.0.as_ref()
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<Option<String>>,
    ) -> poem::Result<Self> {
        Ok(Self(request.headers().get(IDEMPOTENCY_KEY).map(Self::read)))
    }
}

/// What other products call such a key in other words than ours. PayPal has PayPal-Request-Id,
/// OData and Azure have Repeatability-Request-ID, AWS has a client token, and Amazon SQS has a
/// deduplication id.
const OTHER_NAMES: [&str; 8] = [
    "paypalrequestid",
    "repeatabilityrequestid",
    "xamzclienttoken",
    "xamznclienttoken",
    "idemkey",
    "idemtoken",
    "xidemkey",
    "xidemtoken",
];

/// Words that tell what such a key is for. Products put their own name before them, as
/// Cko-Idempotency-Key and I-Twilio-Idempotency-Token.
const PURPOSES: [&str; 6] = ["idempotency", "idempotence", "idempotent", "deduplication", "dedupe", "dedup"];

/// What stands after such a word in the name of a key. Another word, such as in
/// Idempotency-Key-Expiry, names another thing.
const ENDINGS: [&str; 8] = ["", "key", "keys", "token", "id", "uuid", "value", "header"];

/// Checks the headers of a request. `has_key` says whether the operation has an Idempotency-Key.
pub(super) fn check(headers: &HeaderMap, has_key: bool) -> Result<(), Problem> {
    only(headers, &header::CONTENT_TYPE, "Content-Type")?;
    once(headers, &IDEMPOTENCY_KEY, "Idempotency-Key")?;
    request_id::check(headers)?;
    if only(headers, &header::CONTENT_ENCODING, "Content-Encoding")?
        .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_encoding_unsupported",
            "Content-Encoding is not supported; send the body as it is",
        ));
    }
    let misspelt = headers.keys().find(|name| **name != IDEMPOTENCY_KEY && is_like_a_key(name.as_str()));
    match (misspelt, has_key) {
        (Some(name), true) => {
            Err(refused("header_unknown", format!("the header {name} is not known; did you mean Idempotency-Key?")))
        }
        (name, false) if name.is_some() || headers.contains_key(IDEMPOTENCY_KEY) => Err(refused(
            "header_unknown",
            format!(
                "the header {} has no effect on this operation; only POST /v1/messages has an Idempotency-Key",
                name.map_or("Idempotency-Key", HeaderName::as_str)
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a header is a misspelt Idempotency-Key, or has the name that other products give it.
fn is_like_a_key(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let has_purpose =
        |purpose: &&str| letters.split_once(*purpose).is_some_and(|(_, ending)| ENDINGS.contains(&ending));
    OTHER_NAMES.contains(&&*letters)
        || PURPOSES.iter().any(has_purpose)
        || nearest(name.strip_prefix("x-").unwrap_or(name), ["idempotency-key", "idempotence-key", "idempotent-key"])
            .is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&str, &[u8])| {
            (HeaderName::try_from(*name).expect("a name"), HeaderValue::from_bytes(value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_key_is_read_in_utf_8_and_latin_1() {
        for (bytes, key) in [
            (&b"order-7"[..], "order-7"),
            ("bestellung-ü-7".as_bytes(), "bestellung-ü-7"),
            (b"bestellung-\xfc-7", "bestellung-ü-7"),
            ("注文-7 🎉".as_bytes(), "注文-7 🎉"),
        ] {
            assert_eq!(IdempotencyKey::read(&HeaderValue::from_bytes(bytes).expect("a value")), key);
        }
    }

    #[test]
    fn a_header_that_is_repeated_unreadable_or_misspelt_is_refused_by_name() {
        for (given, code, named) in [
            (&[("Idempotency-Key", &b"a"[..]), ("Idempotency-Key", b"b")][..], "header_repeated", "Idempotency-Key"),
            (&[("Idempotency-Key", b"a"), ("idempotency-key", b"a")], "header_repeated", "Idempotency-Key"),
            (
                &[("Content-Type", b"application/json"), ("Content-Type", b"text/plain")],
                "header_repeated",
                "Content-Type",
            ),
            (&[("Content-Type", b"application/json\xfc")], "header_unreadable", "Content-Type"),
            (&[("Content-Encoding", b"gzip")], "content_encoding_unsupported", "Content-Encoding"),
            (&[("Idempotencykey", b"a")], "header_unknown", "idempotencykey"),
            (&[("Idempotency_Key", b"a")], "header_unknown", "idempotency_key"),
            (&[("X-Idempotency-Key", b"a")], "header_unknown", "x-idempotency-key"),
            (&[("Idempotent-Key", b"a")], "header_unknown", "idempotent-key"),
            (&[("Idempotency-Kye", b"a")], "header_unknown", "idempotency-kye"),
            (&[("X-Request-Id", b"a"), ("X-Request-Id", b"b")], "header_repeated", "X-Request-Id"),
            (&[("X-Request-Id", b"\xfc")], "header_unreadable", "X-Request-Id"),
            (&[("X-Request-Id", b"a b")], "request_id_invalid", "X-Request-Id"),
            (&[("X-RequestId", b"a")], "header_unknown", "did you mean X-Request-Id?"),
        ] {
            let refused = check(&headers(given), true).expect_err(named);
            assert_eq!(refused.code(), code, "{refused}");
            assert!(refused.detail().contains(named), "{refused}");
        }
    }

    #[test]
    fn the_names_that_other_products_give_a_key_are_refused_with_ours() {
        for name in [
            "Idempotency",
            "Idempotence",
            "Idempotent",
            "X-Idempotency",
            "Idempotency-Token",
            "Idempotency-ID",
            "Idempotency-UUID",
            "X-Idempotence-Uuid",
            "IdempotencyToken",
            "I-Twilio-Idempotency-Token",
            "Cko-Idempotency-Key",
            "Klarna-Idempotency-Key",
            "X-Payout-Idempotency",
            "PayPal-Request-Id",
            "Repeatability-Request-ID",
            "X-Amz-Client-Token",
            "Idem-Key",
            "X-Idem-Key",
            "Dedup-Key",
            "Dedupe-Id",
            "X-Dedup",
            "Deduplication-Key",
            "Message-Deduplication-Id",
            "Idempotencey-Key",
            "Impotency-Key",
            "Idempotancy_Key",
        ] {
            let given = headers(&[(name, b"a")]);
            for (has_key, told) in [(true, "did you mean Idempotency-Key?"), (false, "has no effect on this operation")]
            {
                let refused = check(&given, has_key).expect_err(name);
                assert_eq!(refused.code(), "header_unknown", "{refused}");
                assert!(
                    refused.detail().contains(&name.to_lowercase()) && refused.detail().contains(told),
                    "{refused}"
                );
            }
        }
    }

    #[test]
    fn a_key_counts_only_where_it_has_an_effect() {
        let key = headers(&[("Idempotency-Key", b"a")]);
        assert!(check(&key, true).is_ok());
        let refused = check(&key, false).expect_err("no effect");
        assert!(refused.code() == "header_unknown" && refused.detail().contains("Idempotency-Key"), "{refused}");
    }

    #[test]
    fn ordinary_headers_pass_everywhere() {
        let ordinary = headers(&[
            ("Content-Type", b"application/json"),
            ("Content-Encoding", b"identity"),
            ("Content-Length", b"2"),
            ("User-Agent", b"curl/8"),
            ("Accept", b"*/*"),
            ("X-Request-Id", b"7"),
            ("Request-Id", b"7"),
            ("X-Correlation-Id", b"7"),
            ("X-Ms-Client-Request-Id", b"7"),
            ("X-Client-Token", b"7"),
            ("X-Api-Key", b"7"),
            ("X-Forwarded-For", b"192.0.2.1"),
            ("Traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("Tracestate", b"a=b"),
            ("Identity-Key", b"7"),
            ("Independent", b"7"),
            ("Idempotency-Key-Expiry", b"7"),
            ("Idempotent-Replayed", b"true"),
        ]);
        for has_key in [true, false] {
            assert_eq!(check(&ordinary, has_key).map_err(|refused| refused.to_string()), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn every_key_is_read(bytes in prop::collection::vec(0x20u8..=0xff, 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                prop_assert_eq!(IdempotencyKey::read(&value).is_empty(), bytes.is_empty());
            }
        }
    }
}
