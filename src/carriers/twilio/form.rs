//! A form body as it came: every pair, in order, as bytes.
//!
//! Bytes and not text, because the signature covers what was sent, whatever encoding it is in.

use percent_encoding::percent_decode;

/// The pairs of an `application/x-www-form-urlencoded` body or query. All bytes are in one buffer,
/// because each webhook is read twice and has about twenty pairs.
#[derive(Debug, Clone, Default)]
pub struct Form {
    bytes: Vec<u8>,
    /// Where the name and the value of each pair end. A name begins where the value before it ends.
    ends: Vec<(usize, usize)>,
}

impl Form {
    /// Reads a form. Anything is a form: a key without `=` has an empty value, a `%` that begins
    /// no escape stands for itself.
    pub fn read(body: &[u8]) -> Self {
        let mut form = Self { bytes: Vec::with_capacity(body.len()), ends: Vec::with_capacity(24) };
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let mut half = || decode(halves.next().unwrap_or_default(), &mut form.bytes);
            form.ends.push((half(), half()));
        }
        form
    }

    /// Makes a form of pairs, for a request that we send.
    pub fn of<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut form = Self::default();
        for (name, value) in pairs {
            form.bytes.extend_from_slice(name.as_ref().as_bytes());
            let name_end = form.bytes.len();
            form.bytes.extend_from_slice(value.as_ref().as_bytes());
            form.ends.push((name_end, form.bytes.len()));
        }
        form
    }

    /// The form as the body of a request.
    pub fn encode(&self) -> String {
        let part = |bytes: &[u8]| url::form_urlencoded::byte_serialize(bytes).collect::<String>();
        let pairs: Vec<String> = self.pairs().map(|(name, value)| format!("{}={}", part(name), part(value))).collect();
        pairs.join("&")
    }

    /// The pairs, in the order they came.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(_, value_end)| *value_end));
        begins
            .zip(&self.ends)
            .map(|(begin, (name_end, value_end))| (self.slice(begin, *name_end), self.slice(*name_end, *value_end)))
    }

    fn slice(&self, begin: usize, end: usize) -> &[u8] {
        self.bytes.get(begin..end).unwrap_or_default()
    }

    /// The first value of a name as text that a database can hold: what is not UTF-8 and what is
    /// NUL becomes U+FFFD. `None` when the name is missing.
    pub fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.pairs().find(|(given, _)| *given == name.as_bytes())?;
        Some(String::from_utf8_lossy(value).replace('\0', "\u{fffd}"))
    }

    /// The first value of a name, if it is there and not empty.
    pub fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|value| !value.is_empty())
    }
}

/// Appends a decoded half of a pair to `bytes`, and returns where it ends.
fn decode(half: &[u8], bytes: &mut Vec<u8>) -> usize {
    for (position, part) in half.split(|byte| *byte == b'+').enumerate() {
        if position > 0 {
            bytes.push(b' ');
        }
        bytes.extend(percent_decode(part));
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_without_a_value_and_a_repeated_key_are_kept() {
        let form = Form::read(b"a&b=1&b=2&=x&&c=%zz+%41");
        let pairs: Vec<(&[u8], &[u8])> = form.pairs().collect();
        assert_eq!(pairs, [(&b"a"[..], &b""[..]), (b"b", b"1"), (b"b", b"2"), (b"", b"x"), (b"c", b"%zz A")]);
    }

    #[test]
    fn what_a_database_cannot_hold_is_replaced() {
        let form = Form::read(b"Body=a%00b%ff");
        assert_eq!(form.text("Body").as_deref(), Some("a\u{fffd}b\u{fffd}"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_form(body: Vec<u8>) {
            let form = Form::read(&body);
            for (name, _) in form.pairs() {
                if let Ok(name) = std::str::from_utf8(name) {
                    prop_assert!(!form.text(name).unwrap_or_default().contains('\0'));
                }
            }
        }

        #[test]
        fn what_is_encoded_comes_back(name: String, value: String) {
            let body = url::form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            let form = Form::read(body.as_bytes());
            prop_assert_eq!(form.encode(), body);
            prop_assert_eq!(form.pairs().collect::<Vec<_>>(), [(name.as_bytes(), value.as_bytes())]);
        }
    }
}
