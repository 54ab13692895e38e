//! Refuses texts and names in which nothing is visible.

use crate::domain::characters::is_blank;
use crate::http::problem::Problem;

/// Checks that something of a field's text is visible. `instead`: what its author can do.
pub(super) fn visible(field: &str, text: Option<&str>, instead: &str) -> Result<(), Problem> {
    match text {
        Some(text) if is_blank(text) => {
            Err(Problem::invalid("text_is_blank", format!("nothing in {field} is visible; {instead}")))
        }
        Some(_) | None => Ok(()),
    }
}
