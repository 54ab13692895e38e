//! The last error of an agent, as its operators see it.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::bounds;
use super::words::words;

mod raised;

pub use raised::of_run;

words! {
    /// Why a turn of an agent failed.
    pub enum AgentErrorCode {
        /// The script can't be read or run at all.
        Unusable = "unusable",
        /// The agent ran and failed, or its service gave no answer that we understand.
        Failed = "failed",
        /// The run took too much time, steps or memory.
        OverLimit = "over_limit",
        /// The session or the project has used what its language models may use.
        OverBudget = "over_budget",
        /// The answer can't be stored.
        AnswerRefused = "answer_refused",
        /// The processes that ran it ended several times.
        WorkerLost = "worker_lost",
    }
}

/// The last error of an agent. It stays after the agent has succeeded again: the time tells how old
/// it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, poem_openapi::Object)]
pub struct LastError {
    pub at: DateTime<Utc>,
    pub code: AgentErrorCode,
    /// What went wrong, up to 500 bytes. Values in the error of a script, what stands in quotation
    /// marks, and long numbers are left out (`…`), because they may be of a contact.
    pub message: String,
    /// The session whose turn failed.
    pub session_id: Uuid,
    /// The version that ran.
    pub version: i32,
}

/// The most bytes of the words of a last error.
const MOST_BYTES: usize = 500;

/// How many digits in a row may be a phone number. The shortest of E.164 in use have seven.
const LEAST_DIGITS: usize = 7;

/// Names that stay, although they stand in quotation marks: the keys of an answer, which are no
/// contact's.
const KEYS_OF_AN_ANSWER: [&str; 4] = ["\"utterance\"", "\"messages\"", "\"state\"", "\"hangup\""];

/// The words of an error that operators are shown: bounded, and without what may be of a contact.
pub fn shown(error: &str) -> String {
    let shown = raised::shown(error).unwrap_or_else(|| without_quotations(error));
    bounds::text(&shown.replace('\0', "\u{fffd}"), MOST_BYTES).into_owned()
}

/// A text without what stands in quotation marks, what stands in backticks and is no name, and
/// long numbers.
fn without_quotations(error: &str) -> String {
    let mut shown = String::new();
    let mut rest = error;
    while let Some(first) = rest.chars().next() {
        let (end, is_shown) = match first {
            '"' => match KEYS_OF_AN_ANSWER.iter().find(|key| rest.starts_with(**key)) {
                Some(key) => (key.len(), true),
                None => (quoted(rest, '"'), false),
            },
            '“' => (quoted(rest, '”'), false),
            '`' => {
                let end = quoted(rest, '`');
                (end, rest.get(..end).is_some_and(is_name))
            }
            '+' | '0'..='9' => {
                let (end, digits) = number(rest);
                (end, digits < LEAST_DIGITS)
            }
            other => (other.len_utf8(), true),
        };
        let (part, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        shown.push_str(if is_shown { part } else { "…" });
        rest = after;
    }
    shown
}

/// Whether a text in backticks is a name of a script, a type or an operator.
fn is_name(quoted: &str) -> bool {
    let name = quoted.trim_matches('`');
    let is_word = name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '.'));
    is_word || (name.len() <= 3 && name.chars().all(|c| c.is_ascii_punctuation()))
}

/// Where a quotation ends that a text begins with. One that was cut ends with its line.
fn quoted(text: &str, closing: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == '\n' {
            return at;
        }
        if c == closing && !is_escaped {
            return at + c.len_utf8();
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

/// Where a number ends that a text begins with, and how many digits of a phone number it has: an IP
/// address has none. Up to two characters may part its groups.
fn number(text: &str) -> (usize, usize) {
    if let Some(end) = ip_address(text) {
        return (end, 0);
    }
    let (mut end, mut digits, mut between) = (1, 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '0'..='9' => {
                digits += 1;
                between = 0;
                end = at + 1;
            }
            '+' if at == 0 => {}
            ' ' | '(' | ')' | '-' | '.' | '/' | '\u{a0}' | '\u{2011}' | '\u{2013}' if between < 2 => between += 1,
            _ => break,
        }
    }
    (end, digits)
}

/// Where an IPv4 address ends that a text begins with.
fn ip_address(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let address = text.get(..end)?.trim_end_matches('.');
    address.parse::<std::net::Ipv4Addr>().is_ok().then_some(address.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_is_shown_without_what_may_be_of_a_contact() {
        for (error, expected) in [
            ("Variable `foo` not found at line 12", "Variable `foo` not found at line 12"),
            ("the service answered 500", "the service answered 500"),
            (r#"int: "my card is 4111" is no number"#, "int: … is no number"),
            (r#"a "quote \" in it" and "more""#, "a … and …"),
            (r#"cut in a "quotation"#, "cut in a …"),
            ("connection refused: 127.0.0.1:8080, error 30034", "connection refused: 127.0.0.1:8080, error 30034"),
            ("a text to +14155550101 needs a number", "a text to … needs a number"),
            ("called (415) 555-0101", "called (…"),
            ("called 415.555.0101.", "called …."),
            ("called +33 6.12.34.56.78", "called …"),
            ("called 030/901820 and 030\u{a0}901820", "called … and …"),
            ("can't be reached: 203.0.113.250:8080", "can't be reached: 203.0.113.250:8080"),
            ("can't be reached at 203.0.113.250.", "can't be reached at 203.0.113.250."),
            (r#"an answer without "utterance", but with `text`"#, r#"an answer without "utterance", but with `text`"#),
            (r#"it is "utterances" and "hangup""#, r#"it is … and "hangup""#),
            ("a\0b", "a\u{fffd}b"),
            ("said “my name is Ada”", "said …"),
            ("said `my name is Ada` to `reply`", "said … to `reply`"),
            (
                "reply: line 3, column 7: Cannot parse `my name is Ada` as an integer in base 10",
                "reply: line 3, column 7: Cannot parse `…` as an integer in base 10",
            ),
            ("reply: line 3, column 7: fail: bad input: Ada", "reply: line 3, column 7: fail: …"),
        ] {
            assert_eq!(shown(error), expected);
        }
        for letter in ["x", "\0", "é"] {
            assert!(shown(&letter.repeat(5000)).len() <= MOST_BYTES);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_bounded_and_has_no_long_number(error in "\\PC{0,700}", number in "[0-9]{7,15}") {
            let shown = shown(&format!("{error} +{number}"));
            prop_assert!(shown.len() <= MOST_BYTES && !shown.contains(&number), "{}", shown);
        }
    }
}
