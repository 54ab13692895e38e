//! Whether a contact wants messages: what was said about it, and by whom.

use super::words::words;

words! {
    /// What was said.
    pub enum ConsentKind {
        /// The contact wants no messages.
        OptedOut = "opted_out",
        /// The contact wants messages again.
        OptedIn = "opted_in",
    }
}

words! {
    /// Who said it.
    pub enum ConsentSource {
        /// The contact, with a keyword.
        Keyword = "keyword",
        /// The carrier, by refusing a message.
        Carrier = "carrier",
        /// An operator.
        Operator = "operator",
    }
}
