//! Limits input from outside: JSON numbers, depth and size, and the length of texts that are stored
//! or logged.
//!
//! serde_json keeps all digits of a number (starlark enables `arbitrary_precision`). PostgreSQL's
//! jsonb stores `1e99999` in twelve bytes and prints it with 100,000 digits. So numbers become i64,
//! u64 or finite f64, and sizes are measured as PostgreSQL prints the value.
//!
//! docs/decisions/022-bounds-of-values.md has the reasons.

use std::borrow::Cow;
use std::fmt::{self, Write};

use serde_json::{Map, Number, Value};

/// Most bytes of a session's state as PostgreSQL prints it. The domain `session_state` has the same
/// limit.
pub const STATE_BYTES: usize = 256 << 10;
/// Most bytes of a template's variables. The rendered text has at most 1,600 characters.
pub const VARIABLES_BYTES: usize = 64 << 10;
/// Most bytes of an error text, wherever it is made or stored.
pub const ERROR_BYTES: usize = 1 << 10;
/// Most bytes of one log line.
pub const LOG_LINE_BYTES: usize = 2 << 10;
/// Most bytes that the agent may log in one turn.
pub const TURN_LOG_BYTES: usize = 16 << 10;
/// Most characters of the address of a file that comes or goes with a message. The table
/// `attachment` has the same limit.
pub const MEDIA_URL_CHARS: usize = 4000;
/// How deep values may be nested. PostgreSQL and serde_json accept more, but no state needs it.
pub const DEPTH: usize = 64;

/// How many bytes of a key or a number an error shows.
const SHOWN_BYTES: usize = 40;

/// Marks the end of a text that was cut.
const CUT: &str = "… (cut)";

/// The text with at most `most` bytes, cut between two characters. A cut text is marked.
pub fn text(given: &str, most: usize) -> Cow<'_, str> {
    if given.len() <= most {
        return Cow::Borrowed(given);
    }
    let end = given.floor_char_boundary(most.saturating_sub(CUT.len()));
    Cow::Owned(format!("{}{CUT}", given.get(..end).unwrap_or_default()))
}

/// An error text ready for storage: at most 1 kB, and without NUL, which PostgreSQL can't store.
pub fn error(given: &str) -> String {
    text(given, ERROR_BYTES).replace('\0', "\u{fffd}")
}

/// Prepares a carrier's JSON for storage: removes NUL and cuts each text to `most_bytes`.
pub fn told(value: &mut Value, most_bytes: usize) {
    match value {
        Value::String(given) => {
            if given.contains('\0') {
                *given = given.replace('\0', "\u{fffd}");
            }
            if given.len() > most_bytes {
                *given = text(given, most_bytes).into_owned();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| told(item, most_bytes)),
        Value::Object(fields) => {
            if fields.keys().any(|key| key.contains('\0')) {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(key, value)| (key.replace('\0', "\u{fffd}"), value))
                    .collect();
            }
            fields.values_mut().for_each(|item| told(item, most_bytes));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The number as it is stored: an i64, a u64 or a finite f64. The error says what is wrong with it.
pub fn number(given: &Number) -> Result<Number, String> {
    if let Some(whole) = given.as_i64() {
        return Ok(whole.into());
    }
    if let Some(whole) = given.as_u64() {
        return Ok(whole.into());
    }
    let digits = given.to_string();
    let shown = text(&digits, SHOWN_BYTES);
    if !digits.contains(['.', 'e', 'E']) {
        return Err(format!("the integer {shown} does not fit 64 bits; give it as a text"));
    }
    let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
    match given.as_f64() {
        Some(near) if near != 0.0 || !mantissa.contains(|digit: char| matches!(digit, '1'..='9')) => {
            // PostgreSQL has no negative zero.
            let near = if near == 0.0 { 0.0 } else { near };
            Number::from_f64(near).ok_or_else(|| format!("the number {shown} is not finite"))
        }
        _ => Err(format!(
            "the number {shown} is beyond what a floating-point number of 64 bits can hold; give it as a text"
        )),
    }
}

/// Prepares an object for storage: each number gets its canonical form. The error names the fault
/// and its path: a number, a NUL, a depth over [`DEPTH`], or a size over `most_bytes` as PostgreSQL
/// prints it.
pub fn object(fields: &mut Map<String, Value>, most_bytes: usize) -> Result<(), String> {
    for (key, value) in fields.iter_mut() {
        refuse_nul(key, "a key").and_then(|()| walk(value, 0)).map_err(|fault| fault.within_key(key))?;
    }
    let bytes = printed_bytes_of(fields);
    if bytes > most_bytes {
        return Err(format!(
            "it is {bytes} bytes of JSON as the database prints it, and {most_bytes} is the most; keep less in it"
        ));
    }
    Ok(())
}

/// What is wrong with a value, and the path to it.
struct Fault {
    path: String,
    what: String,
}

impl Fault {
    fn within_key(self, key: &str) -> String {
        let Self { path, what } = self;
        format!("at {}{path}: {what}", text(key, SHOWN_BYTES))
    }
}

impl From<String> for Fault {
    fn from(what: String) -> Self {
        Self { path: String::new(), what }
    }
}

fn walk(value: &mut Value, depth: usize) -> Result<(), Fault> {
    if depth > DEPTH {
        return Err(format!("values are nested over {DEPTH} deep").into());
    }
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(given) => *given = number(given)?,
        Value::String(given) => refuse_nul(given, "a text")?,
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                walk(item, depth + 1)
                    .map_err(|fault| Fault { path: format!("[{n}]{}", fault.path), what: fault.what })?;
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields.iter_mut() {
                refuse_nul(key, "a key").and_then(|()| walk(item, depth + 1)).map_err(|fault| Fault {
                    path: format!(".{}{}", text(key, SHOWN_BYTES), fault.path),
                    what: fault.what,
                })?;
            }
        }
    }
    Ok(())
}

fn refuse_nul(given: &str, what: &str) -> Result<(), Fault> {
    if given.contains('\0') {
        Err(format!("{what} holds the character NUL, which can't be stored").into())
    } else {
        Ok(())
    }
}

/// How many bytes PostgreSQL's jsonb prints for an object whose numbers are canonical.
pub fn printed_bytes_of(fields: &Map<String, Value>) -> usize {
    let pairs: usize = fields.iter().map(|(key, value)| printed_text(key) + 2 + printed_bytes(value)).sum();
    2 + pairs + 2 * fields.len().saturating_sub(1)
}

fn printed_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => printed_number(number),
        Value::String(text) => printed_text(text),
        Value::Array(items) => 2 + items.iter().map(printed_bytes).sum::<usize>() + 2 * items.len().saturating_sub(1),
        Value::Object(fields) => printed_bytes_of(fields),
    }
}

/// PostgreSQL prints no exponents: `1e308` has 309 digits.
fn printed_number(number: &Number) -> usize {
    let printed = number.to_string();
    match number.as_f64() {
        Some(float) if printed.contains('e') => count(format_args!("{float}")),
        _ => printed.len(),
    }
}

/// The length with quotes and escapes. serde_json and PostgreSQL escape the same way.
fn printed_text(given: &str) -> usize {
    2 + given.bytes().map(escaped).sum::<usize>()
}

/// How many bytes JSON has for a byte of a text.
const fn escaped(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// The longest beginning of a text that JSON has in `most` bytes, without the quotes.
pub fn printed_prefix(given: &str, most: usize) -> &str {
    let mut printed = 0;
    let end = given.bytes().position(|byte| {
        printed += escaped(byte);
        printed > most
    });
    end.and_then(|end| given.get(..given.floor_char_boundary(end))).unwrap_or(given)
}

fn count(what: fmt::Arguments<'_>) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0 += part.len();
            Ok(())
        }
    }
    let mut counter = Counter(0);
    let _ = counter.write_fmt(what);
    counter.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parsed(digits: &str) -> Number {
        serde_json::from_str(digits).expect("a JSON number")
    }

    #[test]
    fn numbers_are_kept_as_64_bits_or_refused() {
        for (given, kept) in [
            ("0", Some("0")),
            ("-0", Some("0")),
            ("7", Some("7")),
            ("-9223372036854775808", Some("-9223372036854775808")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("18446744073709551616", None),
            ("-9223372036854775809", None),
            ("1.5", Some("1.5")),
            ("1e2", Some("100.0")),
            ("1e308", Some("1e+308")),
            ("1e309", None),
            ("-1e309", None),
            ("1e99999", None),
            ("1e-99999", None),
            ("0e99999", Some("0.0")),
            ("-0.0", Some("0.0")),
            ("0.000e-5", Some("0.0")),
            ("5e-324", Some("5e-324")),
            ("1e999999999999999999999", None),
        ] {
            assert_eq!(number(&parsed(given)).ok().map(|number| number.to_string()).as_deref(), kept, "{given}");
        }
        assert_eq!(number(&parsed(&format!("1.{}", "0".repeat(10_000)))).expect("a number").to_string(), "1.0");
        let told = number(&parsed(&"9".repeat(400))).expect_err("too long");
        assert!(told.len() < 200 && told.contains("64 bits"), "{told}");
    }

    #[test]
    fn the_error_about_an_object_names_the_path() {
        let mut deep = json!(1);
        for _ in 0..=DEPTH {
            deep = json!([deep]);
        }
        let huge: Value = serde_json::from_str(r#"[1, {"b": 1e99999}]"#).expect("JSON");
        for (given, why) in [
            (json!({"a": huge}), "at a[1].b: the number 1e+99999"),
            (json!({"a": ["x\0"]}), "at a[0]: a text holds the character NUL"),
            (json!({"a": {"\0": 1}}), "a key holds the character NUL"),
            (json!({"a": deep}), "64 deep"),
            (json!({"a": "x".repeat(STATE_BYTES)}), "262144 is the most"),
            // 5 bytes each in an answer, 309 each in the database.
            (json!({"a": vec![1e308; 1000]}), "262144 is the most"),
        ] {
            let mut fields = given.as_object().expect("an object").clone();
            let told = object(&mut fields, STATE_BYTES).expect_err(why);
            assert!(told.contains(why), "{told}");
            assert!(told.len() < 4_000, "{}", told.len());
        }
    }

    #[test]
    fn texts_are_cut_between_characters_and_say_so() {
        assert_eq!(text("short", 5), "short");
        assert_eq!(text(&"é".repeat(20), 20), format!("{}{CUT}", "é".repeat(5)));
        assert_eq!(error(&"x".repeat(50_000)).len(), ERROR_BYTES);
        assert_eq!(error("a\0b"), "a\u{fffd}b");
    }

    #[test]
    fn a_carriers_json_is_stored_without_nul_and_cut() {
        let mut given = json!({"a\0": ["x\0y", {"b": "\0"}], "long": "é".repeat(20), "n": 7, "none": null});
        told(&mut given, 20);
        let cut = format!("{}{CUT}", "é".repeat(5));
        assert_eq!(given, json!({"a\u{fffd}": ["x\u{fffd}y", {"b": "\u{fffd}"}], "long": cut, "n": 7, "none": null}));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let digits = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,30})?([eE][-+]?[0-9]{1,4})?";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            digits.prop_map(|digits| serde_json::from_str(&digits).expect("a number")),
            any::<f64>().prop_map(Value::from),
            ".{0,10}".prop_map(Value::String),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
                prop::collection::hash_map(".{0,5}", inner, 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn numbers_of(value: &Value, found: &mut Vec<Number>) {
        match value {
            Value::Number(number) => found.push(number.clone()),
            Value::Array(items) => items.iter().for_each(|item| numbers_of(item, found)),
            Value::Object(fields) => fields.values().for_each(|item| numbers_of(item, found)),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn a_prepared_object_has_canonical_numbers_and_is_stable(given in any_json()) {
            let mut kept = Map::from_iter([("a".to_owned(), given)]);
            if object(&mut kept, STATE_BYTES).is_ok() {
                let mut numbers = Vec::new();
                kept.values().for_each(|value| numbers_of(value, &mut numbers));
                for number in numbers {
                    prop_assert!(number.to_string().len() <= 25, "{number}");
                    prop_assert!(number.is_i64() || number.is_u64() || number.as_f64().is_some_and(f64::is_finite));
                }
                let mut again = kept.clone();
                prop_assert_eq!(object(&mut again, STATE_BYTES), Ok(()));
                prop_assert_eq!(again, kept);
            }
        }

        #[test]
        fn a_cut_text_is_as_long_as_its_json_may_be(given in "(\\PC|[\"\\\\\n\u{1}]){0,60}", most in 0_usize..100) {
            let kept = printed_prefix(&given, most);
            prop_assert!(given.starts_with(kept) && printed_text(kept) - 2 <= most);
            let next = given.get(kept.len()..).and_then(|rest| rest.chars().next());
            let is_longest = next.is_none_or(|next| printed_text(&format!("{kept}{next}")) - 2 > most);
            prop_assert!(is_longest, "{kept:?} of {given:?}");
        }

        #[test]
        fn a_text_is_never_longer_than_the_limit(given in ".{0,200}", most in 10_usize..100) {
            prop_assert!(text(&given, most).len() <= most);
        }
    }
}
