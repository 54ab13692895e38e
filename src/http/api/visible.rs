//! Refuses texts and names that people could not read.

use crate::domain::characters::is_blank;
use crate::domain::name;
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

/// Checks that a field's text can be a name. `instead`: what its author can do if nothing of it is
/// visible.
pub(super) fn named(field: &str, text: &str, instead: &str) -> Result<(), Problem> {
    visible(field, Some(text), instead)?;
    match name::fault(text) {
        Some(fault) => Err(Problem::invalid("name_not_usable", format!("{field} {fault}"))),
        None => Ok(()),
    }
}
