//! Checks texts that are stored now and sent later, each as one message.

use crate::domain::segments;
use crate::http::problem::Problem;

/// Refuses a text that is longer than a message of the carrier. Limits on characters do not
/// suffice: an emoji has two or more of the carrier's.
pub fn fits_a_message(name: &str, text: Option<&str>) -> Result<(), Problem> {
    let length = text.map_or(0, segments::units);
    if length <= segments::MOST_UNITS {
        return Ok(());
    }
    Err(Problem::invalid(
        "text_too_long",
        format!(
            "{name} has {length} characters as the carrier counts them (an emoji counts as two or more), and a message has at most {}",
            segments::MOST_UNITS
        ),
    ))
}
