//! What an agent is: its kind, and what it does with a contact's first message.

use super::words::words;

words! {
    /// What answers.
    pub enum AgentKind {
        /// A script in Starlark, Python's syntax.
        Script = "script",
        /// A service of the customer's, asked by a signed POST.
        Http = "http",
    }
}

words! {
    /// What a contact's first message gets.
    pub enum FirstMessage {
        /// The greeting.
        Greet = "greet",
        /// An answer.
        Process = "process",
        /// The greeting, then an answer.
        GreetThenProcess = "greet_then_process",
    }
}
