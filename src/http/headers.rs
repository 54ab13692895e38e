//! Reads headers without dropping any of them: one that is given twice or can't be read is refused
//! by its name.

use poem::http::{HeaderMap, HeaderName, StatusCode};

use crate::http::problem::Problem;

/// The value of a header, as text. None if the request does not have it. `shown` is its name in
/// errors.
pub fn only<'h>(headers: &'h HeaderMap, name: &HeaderName, shown: &str) -> Result<Option<&'h str>, Problem> {
    once(headers, name, shown)?;
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| {
        refused(
            "header_unreadable",
            format!("the header {shown} has characters that are not visible ASCII; remove them"),
        )
    })
}

/// Refuses a header that is given more than once.
pub fn once(headers: &HeaderMap, name: &HeaderName, shown: &str) -> Result<(), Problem> {
    match headers.get_all(name).iter().nth(1) {
        Some(_) => Err(refused("header_repeated", format!("the header {shown} is given more than once; give it once"))),
        None => Ok(()),
    }
}

/// A header that is refused.
pub fn refused(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}
