//! Reads a query string without dropping anything of it: each parameter is a known one, given once,
//! and readable.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use poem::Request;
use poem::http::StatusCode;

use crate::domain::bounds;
use crate::domain::suggestion::or_known;
use crate::http::problem::Problem;

/// The most bytes of a name or a value that an error shows.
const SHOWN_BYTES: usize = 60;

/// What has the parameters, for errors.
#[derive(Debug, Clone, Copy)]
pub enum ReadBy {
    Operation,
    Page,
}

/// Gives each parameter of a query string to `take`: its name, its value, and whether the value was
/// written with a `+`.
pub fn read<'k>(
    query: &str,
    known: &[&'k str],
    by: ReadBy,
    mut take: impl FnMut(&'k str, &str, bool) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut given: Vec<&str> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name)
            .map_err(|what| refused("parameter_unreadable", format!("the query parameter {}: {what}", shown(name))))?;
        let Some(name) = known.iter().copied().find(|known| *known == name) else {
            let told = match (known, by) {
                ([], ReadBy::Operation) => "this operation has none".to_owned(),
                ([], ReadBy::Page) => "this page has none".to_owned(),
                _ => or_known(&name, known),
            };
            return Err(refused(
                "parameter_unknown",
                format!("{} is not a query parameter here; {told}", shown(&name)),
            ));
        };
        if given.contains(&name) {
            return Err(refused(
                "parameter_repeated",
                format!("the query parameter {name} is given more than once; give it once"),
            ));
        }
        given.push(name);
        let has_plus = value.contains('+');
        let value = decoded(value)
            .map_err(|what| refused("parameter_unreadable", format!("the query parameter {name}: {what}")))?;
        take(name, &value, has_plus)?;
    }
    Ok(())
}

/// Refuses the query parameters of a page that has none.
pub fn none(request: &Request) -> Result<(), Problem> {
    read(request.uri().query().unwrap_or_default(), &[], ReadBy::Page, |_, _, _| Ok(()))
}

/// Decodes percent-encoding and `+`. The usual decoders keep a wrong `%` as it is, and replace what
/// is not UTF-8.
fn decoded(text: &str) -> Result<Cow<'_, str>, String> {
    let bytes = text.as_bytes();
    let is_escape =
        |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && !is_escape(at)) {
        return Err("a % must be followed by two hexadecimal digits; write % itself as %25".to_owned());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(|decoded| Cow::Owned(decoded.into_owned())).map_err(|_| "its percent-encoding is not UTF-8".to_owned())
}

fn shown(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.is_empty() && text.len() <= SHOWN_BYTES;
    if is_plain { text.to_owned() } else { format!("{:?}", bounds::text(text, SHOWN_BYTES)) }
}

fn refused(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code and the detail of a refusal.
    fn told(query: &str, known: &[&str]) -> Option<(&'static str, String)> {
        let refused = read(query, known, ReadBy::Page, |_, _, _| Ok(())).err()?;
        Some((refused.code(), refused.detail().to_owned()))
    }

    #[test]
    fn a_parameter_of_a_page_is_known_given_once_and_readable() {
        let known = ["phone", "number", "session"];
        for (query, code, named) in [
            (
                "fone=1",
                "parameter_unknown",
                "fone is not a query parameter here; the known ones are phone, number, session",
            ),
            ("phones=1", "parameter_unknown", "did you mean phone?"),
            ("Phone=1", "parameter_unknown", "did you mean phone?"),
            ("x=1", "parameter_unknown", "the known ones are phone, number, session"),
            ("phone=1&phone=1", "parameter_repeated", "phone is given more than once"),
            ("phone=%ff", "parameter_unreadable", "phone: its percent-encoding is not UTF-8"),
            ("phone=100%", "parameter_unreadable", "write % itself as %25"),
            ("%ff=1", "parameter_unreadable", "its percent-encoding"),
        ] {
            let (found, detail) = told(query, &known).expect(query);
            assert!(found == code && detail.contains(named), "{query}: {found}: {detail}");
        }
        let (code, detail) = told("verbose", &[]).expect("refused");
        assert!(code == "parameter_unknown" && detail.contains("this page has none"), "{code}: {detail}");
        for query in ["", "&", "phone=%2B14155550101&number=", "session=x&phone"] {
            assert_eq!(told(query, &known), None, "{query}");
        }
    }

    #[test]
    fn a_value_is_given_as_it_was_meant() {
        let mut found = Vec::new();
        let take = |name: &str, value: &str, has_plus| {
            found.push(format!("{name}={value} {has_plus}"));
            Ok(())
        };
        assert!(read("a=%2B1&b=x+y", &["a", "b"], ReadBy::Page, take).is_ok());
        assert_eq!(found, ["a=+1 false", "b=x y true"]);
    }
}
