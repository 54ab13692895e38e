//! Whether a contact wants messages: what was said about it, and by whom.

use chrono::{DateTime, Utc};

use super::words::words;

words! {
    /// What a contact wants.
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
        /// The contact, with a keyword such as STOP.
        Keyword = "keyword",
        /// The carrier, by refusing a message because the contact opted out.
        Carrier = "carrier",
        /// An operator.
        Operator = "operator",
    }
}

/// Twilio's default words (<https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>; REVOKE and OPTOUT since
/// 29 April 2025, <https://www.twilio.com/docs/api/errors/30004>). The carrier acts on them whatever we do, so our
/// record has to follow.
const STOP: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START: [&str; 2] = ["START", "UNSTOP"];
const HELP: [&str; 2] = ["HELP", "INFO"];

/// A message that is not for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// No more messages.
    Stop,
    /// Messages again.
    Start,
    /// A question about the sender.
    Help,
    /// Messages again, from a contact who has opted out. From any other contact it is an ordinary answer.
    Yes,
}

impl Keyword {
    /// The word of this keyword in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Help => "help",
            Self::Yes => "yes",
        }
    }

    /// The keyword that a text is: exactly one word, its case and the blanks around it ignored, and one trailing mark.
    pub fn of(body: &str) -> Option<Self> {
        let word = body.trim();
        let word = word.strip_suffix(['.', '!', '?', ',', ';']).unwrap_or(word).trim_end();
        // No keyword is longer; nothing else need be put into capitals.
        if word.len() > 11 {
            return None;
        }
        let word = word.to_ascii_uppercase();
        let word = word.as_str();
        if STOP.contains(&word) {
            Some(Self::Stop)
        } else if START.contains(&word) {
            Some(Self::Start)
        } else if HELP.contains(&word) {
            Some(Self::Help)
        } else {
            (word == "YES").then_some(Self::Yes)
        }
    }
}

/// The newest record of what a contact wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastConsent {
    pub kind: ConsentKind,
    pub at: DateTime<Utc>,
}

/// Whether a statement of a contact that becomes known late is outdated, because a later one is recorded.
pub fn is_outdated(said_at: DateTime<Utc>, last_at: DateTime<Utc>) -> bool {
    last_at > said_at
}

/// Whether an opt-out is recorded that a carrier tells of by refusing a message. It is not if it is known, or if the contact
/// opted in after the carrier was called for that message.
pub fn records_refusal(called_at: Option<DateTime<Utc>>, last: Option<LastConsent>) -> bool {
    match last {
        None => true,
        Some(LastConsent { kind: ConsentKind::OptedOut, .. }) => false,
        Some(LastConsent { kind: ConsentKind::OptedIn, at }) => {
            !called_at.is_some_and(|called_at| is_outdated(called_at, at))
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_word_in_any_case_with_blanks_around_it_and_one_mark_behind_it_is_a_keyword() {
        for (body, keyword) in [
            ("STOP", Keyword::Stop),
            ("  stop\n", Keyword::Stop),
            ("Unsubscribe!", Keyword::Stop),
            ("quit ;", Keyword::Stop),
            ("optout", Keyword::Stop),
            ("start", Keyword::Start),
            ("UnStop.", Keyword::Start),
            ("yes", Keyword::Yes),
            ("Info?", Keyword::Help),
        ] {
            assert_eq!(Keyword::of(body), Some(keyword), "{body:?}");
        }
    }

    #[test]
    fn a_refusal_is_recorded_unless_the_opt_out_is_known_or_the_contact_opted_in_since() {
        use ConsentKind::{OptedIn, OptedOut};
        let called = DateTime::UNIX_EPOCH;
        let (before, after) = (called - TimeDelta::seconds(1), called + TimeDelta::seconds(1));
        for (called_at, last, expected) in [
            (Some(called), None, true),
            (Some(called), Some((OptedIn, before)), true),
            (Some(called), Some((OptedIn, called)), true),
            (Some(called), Some((OptedIn, after)), false),
            (Some(called), Some((OptedOut, before)), false),
            (Some(called), Some((OptedOut, after)), false),
            (None, Some((OptedIn, after)), true),
        ] {
            let last = last.map(|(kind, at)| LastConsent { kind, at });
            assert_eq!(records_refusal(called_at, last), expected, "{called_at:?} {last:?}");
        }
    }

    #[test]
    fn a_sentence_is_no_keyword_however_it_begins() {
        for body in [
            "",
            " ",
            "!",
            "stop please",
            "please stop",
            "stop!!",
            "stop.!",
            "st op",
            "ЅTOP",
            "stopp",
            "yes sir",
            "non-stop",
            "#stop",
        ] {
            assert_eq!(Keyword::of(body), None, "{body:?}");
        }
    }

    /// The rule once more, written as a set of all texts that match, and not as steps.
    fn by_enumeration(body: &str) -> bool {
        let all = STOP.iter().chain(&START).chain(&HELP).chain(&["YES"]);
        let bare = body.trim().to_ascii_uppercase();
        all.flat_map(|word| {
            let marks = ["", ".", "!", "?", ",", ";"];
            marks.map(|mark| (word.to_string(), mark))
        })
        .any(|(word, mark)| {
            bare == format!("{word}{mark}")
                || (!mark.is_empty()
                    && bare
                        .strip_suffix(mark)
                        .is_some_and(|rest| rest.starts_with(&word) && rest[word.len()..].trim().is_empty()))
        })
    }

    proptest! {
        #[test]
        fn the_rule_is_the_rule_whatever_is_texted(
            body in "[ \t]{0,2}(stop|STOPALL|unsubscribe|Cancel|end|quit|revoke|optout|start|unstop|help|info|yes|no|maybe|STOP please)[ ]{0,2}[.!?,;x]{0,2}[ \n]{0,2}"
        ) {
            prop_assert_eq!(Keyword::of(&body).is_some(), by_enumeration(&body));
        }

        #[test]
        fn nothing_that_is_texted_takes_us_down(body: String) {
            let _ = Keyword::of(&body);
        }
    }
}
