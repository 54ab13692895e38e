//! Reads a JSON body, and refuses an object that has the same field twice. A parser keeps one of
//! the two and drops the other without telling the caller.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::domain::bounds;

/// The longest name of a field that an error shows, in bytes.
pub(super) const SHOWN_NAME_BYTES: usize = 60;

/// The JSON of a body. The error says what is wrong with it.
pub(in crate::http::api) fn read(bytes: &[u8]) -> Result<Value, String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err("the body begins with a byte order mark (U+FEFF), which JSON has not; send it without".to_owned());
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("the body is UTF-16; send JSON in UTF-8".to_owned());
    }
    let not_json = |error: serde_json::Error| format!("the body is not valid JSON: {error}");
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut repeated = None;
    let unique = Unique { path: &Path::Root, repeated: &mut repeated };
    unique.deserialize(&mut reader).and_then(|()| reader.end()).map_err(not_json)?;
    match repeated {
        Some(path) => Err(format!("{path} is given twice; give it once")),
        None => serde_json::from_slice(bytes).map_err(not_json),
    }
}

/// Where a value is in the body, as errors show it: `inactivity.warning`, `media_urls[0]`.
pub(super) enum Path<'a> {
    /// The body itself.
    Root,
    /// A field of an object.
    Field(&'a Self, &'a str),
    /// An item of an array, counted from 0.
    Item(&'a Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |name: &str| {
            (1..=SHOWN_NAME_BYTES).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        match self {
            Self::Root => f.write_str("the body"),
            Self::Field(Self::Root, name) if is_word(name) => f.write_str(name),
            Self::Field(Self::Root, name) => write!(f, "{:?}", bounds::text(name, SHOWN_NAME_BYTES)),
            Self::Field(object, name) if is_word(name) => write!(f, "{object}.{name}"),
            Self::Field(object, name) => write!(f, "{object}[{:?}]", bounds::text(name, SHOWN_NAME_BYTES)),
            Self::Item(array, index) => write!(f, "{array}[{index}]"),
        }
    }
}

/// Walks through a value, and notes the first field that an object has twice.
struct Unique<'a> {
    path: &'a Path<'a>,
    repeated: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            let path = Path::Item(self.path, index);
            let item = Unique { path: &path, repeated: &mut *self.repeated };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// An object. With serde_json's `arbitrary_precision` a number is shown as an object with one
    /// field.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = Path::Field(self.path, &name);
            if self.repeated.is_none() && seen.contains(&name) {
                *self.repeated = Some(path.to_string());
            }
            fields.next_value_seed(Unique { path: &path, repeated: &mut *self.repeated })?;
            seen.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_in_another_encoding_is_told_as_one() {
        for (body, told) in [
            (&b"\xef\xbb\xbf{}"[..], "begins with a byte order mark"),
            (b"\xff\xfe{\0}\0", "is UTF-16"),
            (b"\xfe\xff\0{\0}", "is UTF-16"),
        ] {
            let error = read(body).expect_err(told);
            assert!(error.contains(told) && error.contains("send"), "{error}");
        }
    }

    #[test]
    fn a_field_that_is_given_twice_is_named() {
        for (body, repeated) in [
            (r#"{"body": "a", "body": "b"}"#, "body is given twice"),
            (r#"{"body": "a", "body": "a"}"#, "body is given twice"),
            (r#"{"a": {"b": [1, {"c": 1, "d": 2, "c": 3}]}}"#, "a.b[1].c is given twice"),
            (r#"{"variables": {"first name": 1, "first name": 2}}"#, r#"variables["first name"] is given twice"#),
            (r#"{"\u0061": 1, "a": 2}"#, "a is given twice"),
            (r#"[{"a": 1.5, "a": 1e3}]"#, "the body[0].a is given twice"),
        ] {
            let error = read(body.as_bytes()).expect_err(body);
            assert!(error.starts_with(repeated), "{body}: {error}");
        }
        let plain = r#"{"a": 1, "A": 2.5, "b": {"a": [true, null, "x", -7, 1e400]}}"#;
        assert_eq!(read(plain.as_bytes()).map(|value| value["b"]["a"][2].clone()), Ok(json!("x")));
    }

    #[test]
    fn what_is_not_json_is_told_with_its_position() {
        for body in [&b""[..], b"{", b"{\"a\": }", b"{} {}", b"\xff", b"{\"a\": \"\\ud83d\"}"] {
            let error = read(body).expect_err("an error");
            assert!(error.starts_with("the body is not valid JSON: ") && error.contains("line 1"), "{error}");
        }
        assert!(read("[".repeat(10_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn an_object_without_a_repeated_field_is_read_as_it_is(
            fields in prop::collection::btree_map(".{0,20}", prop::collection::vec(any::<i32>(), 0..4), 0..6)
        ) {
            let value = json!(fields);
            prop_assert_eq!(read(value.to_string().as_bytes()), Ok(value));
        }

        #[test]
        fn no_body_panics(bytes: Vec<u8>) {
            let read = read(&bytes);
            prop_assert!(read.is_ok() || read.is_err_and(|error| !error.is_empty()));
        }
    }
}
