//! Reads JSON that other programs wrote with small mistakes of encoding, which say nothing about
//! what it means.

use std::borrow::Cow;

/// The text with each `\u` escape of half a character replaced by `\ufffd`. A program that cuts a
/// text between the two halves (surrogates) of an emoji writes such an escape, and no parser here
/// takes it.
pub fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let (mut whole, mut taken, mut at) = (String::new(), 0, 0);
    // Outside of strings JSON has no backslash, and behind one a string has at least one more byte.
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        let escape = at + found;
        at = match (unit(bytes, escape), unit(bytes, escape + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => escape + 12,
            (Some(0xd800..=0xdfff), _) => {
                whole.push_str(json.get(taken..escape).unwrap_or_default());
                whole.push_str("\\ufffd");
                taken = escape + 6;
                taken
            }
            (Some(_), _) => escape + 6,
            // Another escape, such as an escaped backslash.
            (None, _) => escape + 2,
        };
    }
    if taken == 0 {
        return Cow::Borrowed(json);
    }
    whole.push_str(json.get(taken..).unwrap_or_default());
    Cow::Owned(whole)
}

/// The UTF-16 code unit of the escape `\uXXXX` that begins at a byte.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    // `from_str_radix` takes a sign too.
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_character_is_replaced_and_nothing_else() {
        for (json, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""a\uD83Db""#, r#""a\ufffdb""#),
            (r#""\ude00""#, r#""\ufffd""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\n\ude00""#, r#""\ufffd\n\ufffd""#),
            // An escaped backslash, and then a text.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#""\ud83d\\ude00""#, r#""\ufffd\\ude00""#),
            (r#""\u00e9\"\ud83d""#, r#""\u00e9\"\ufffd""#),
            (r#""\ud83""#, r#""\ud83""#),
            (r#""\u+d83""#, r#""\u+d83""#),
            (r#"{"\ud83d": 1}"#, r#"{"\ufffd": 1}"#),
            ("\\", "\\"),
            ("é\\", "é\\"),
            ("\\é", "\\é"),
            ("", ""),
        ] {
            assert_eq!(without_lone_surrogates(json), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_a_parser_takes_is_not_changed(text in ".{0,40}") {
            let json = serde_json::to_string(&text).expect("JSON");
            prop_assert_eq!(without_lone_surrogates(&json), json.as_str());
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let escaped = format!("\"{escaped}\"");
            prop_assert_eq!(without_lone_surrogates(&escaped), escaped.as_str());
        }

        #[test]
        fn any_escapes_can_be_read(units: Vec<u16>) {
            let json: String = units.iter().map(|unit| format!("\\u{unit:04X}")).collect();
            let read: String = serde_json::from_str(&without_lone_surrogates(&format!("\"{json}\""))).expect("a text");
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn no_text_panics(text in "[\\\\ud83dDEé\"]{0,30}") {
            let once = without_lone_surrogates(&text).into_owned();
            prop_assert_eq!(without_lone_surrogates(&once), once.as_str());
        }
    }
}
