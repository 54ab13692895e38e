//! What is known of texting in a country.

use super::words::words;

words! {
    /// How well the sources support what is known of a country.
    pub enum Confidence {
        /// They support it well.
        High = "high",
        /// They support it in part.
        Medium = "medium",
        /// They hardly support it.
        Low = "low",
    }
}
