//! Headers that the API reads: each is given once, and readable.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::domain::suggestion::nearest;
use crate::http::headers::{once, only, refused};
use crate::http::problem::Problem;

/// The header that makes a repeated request harmless.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key that a client gives a request, so that a repetition of it is recognised.
///
/// A header's value is bytes. Clients send UTF-8, or Latin-1, as the HTTP libraries of Python and Node do; both are read,
/// so that a key with an umlaut is a key.
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

/// Checks the headers of a request. `has_key` says whether the operation has an Idempotency-Key.
pub(super) fn check(headers: &HeaderMap, method: &Method, has_key: bool) -> Result<(), Problem> {
    only(headers, &header::CONTENT_TYPE, "Content-Type")?;
    once(headers, &IDEMPOTENCY_KEY, "Idempotency-Key")?;
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
        // Other methods may be repeated without harm.
        (name, false) if *method == Method::POST && (name.is_some() || headers.contains_key(IDEMPOTENCY_KEY)) => {
            Err(refused(
                "header_unknown",
                format!(
                    "the header {} has no effect on this operation; only POST /v1/messages has an Idempotency-Key",
                    name.map_or("Idempotency-Key", HeaderName::as_str)
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Whether a header is a misspelt Idempotency-Key, or has the name that other products give it.
fn is_like_a_key(name: &str) -> bool {
    nearest(name.strip_prefix("x-").unwrap_or(name), ["idempotency-key", "idempotence-key", "idempotent-key"]).is_some()
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
        ] {
            let refused = check(&headers(given), &Method::POST, true).expect_err(named);
            assert_eq!(refused.code(), code, "{refused}");
            assert!(refused.detail().contains(named), "{refused}");
        }
    }

    #[test]
    fn a_key_counts_only_where_it_has_an_effect() {
        let key = headers(&[("Idempotency-Key", b"a")]);
        assert!(check(&key, &Method::POST, true).is_ok());
        assert_eq!(check(&key, &Method::POST, false).expect_err("no effect").code(), "header_unknown");
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(check(&key, &method, false).is_ok(), "{method} may be repeated without harm");
        }
        let ordinary = headers(&[
            ("Content-Type", b"application/json"),
            ("Content-Encoding", b"identity"),
            ("User-Agent", b"curl/8"),
            ("X-Request-Id", b"7"),
            ("X-Api-Key", b"7"),
            ("Idempotency-Key-Expiry", b"7"),
        ]);
        assert!(check(&ordinary, &Method::POST, true).is_ok());
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
