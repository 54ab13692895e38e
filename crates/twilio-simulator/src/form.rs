//! Decodes forms and query strings, which have the same syntax.

use url::form_urlencoded;

/// The pairs of a form or a query, in their order. Bytes that are not UTF-8 become U+FFFD.
#[derive(Debug, Clone, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Decodes the body of a form, a query or the fragment of a webhook's URL.
    pub fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name, unless it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of a name as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name).and_then(|value| value.parse().ok())
    }

    /// The form without some names, encoded.
    pub fn encode_without(&self, names: &[&str]) -> String {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        encode(kept.map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// Encodes pairs as a form.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_repeat_and_values_may_be_empty() {
        let form = Form::parse(b"a=&b=1&b=2&c=%C3%A4+x&d");
        assert_eq!(
            (form.get("a"), form.non_empty("a"), form.get("d"), form.get("e")),
            (Some(""), None, Some(""), None)
        );
        assert_eq!(form.all("b").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((form.number::<u8>("b"), form.number::<u8>("c")), (Some(1), None));
        assert_eq!(form.encode_without(&["a", "d"]), "b=1&b=2&c=%C3%A4+x");
    }
}
