//! The answers to consent keywords: which of them we send, and what they say.
//!
//! A carrier that acts on keywords answers them itself, and we add the project's answer to HELP.
//! Where the carrier leaves them to us, as Twilio does at short codes, each keyword is answered, as
//! carriers ask
//! (<https://www.twilio.com/help/faq/short-codes/what-does-a-compliant-help-and-stop-message-look-like>).
//!
//! docs/decisions/024-consent.md has the reasons.

use std::borrow::Cow;

use super::message::MessageKind;

/// The most answers to keywords that a contact gets in a minute.
const MOST_IN_A_MINUTE: usize = 5;

/// The answers of a project without texts of its own.
const OPT_OUT: &str =
    "You have opted out and will get no more messages from this number. Reply START to get them again.";
const OPT_IN: &str = "You will get messages from this number again. Reply HELP for help, STOP to opt out.";
const HELP: &str =
    "Reply STOP to get no more messages from this number, START to get them again. Msg&data rates may apply.";

/// An answer to a consent keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeywordAnswer {
    /// The confirmation of an opt-out.
    OptOut,
    /// The confirmation of an opt-in.
    OptIn,
    /// The answer to HELP.
    Help,
}

impl KeywordAnswer {
    /// The kind of its message.
    pub const fn kind(self) -> MessageKind {
        match self {
            Self::OptOut => MessageKind::OptOut,
            Self::OptIn => MessageKind::OptIn,
            Self::Help => MessageKind::Help,
        }
    }

    /// What it says: the project's text, else ours.
    pub fn text(self, of_project: Option<&str>) -> Cow<'_, str> {
        match (of_project, self) {
            (Some(text), _) => Cow::Borrowed(text),
            (None, Self::OptOut) => Cow::Borrowed(OPT_OUT),
            (None, Self::OptIn) => Cow::Borrowed(OPT_IN),
            (None, Self::Help) => Cow::Borrowed(HELP),
        }
    }

    /// Whether it leaves although its contact has opted out: the confirmation of the opt-out, and
    /// the answer to HELP, which everybody gets who asks. `answers_all`: see [`AnswerFacts`];
    /// elsewhere the carrier would refuse them.
    pub const fn is_sent_despite_opt_out(self, answers_all: bool) -> bool {
        match self {
            Self::OptOut | Self::Help => answers_all,
            Self::OptIn => false,
        }
    }
}

/// What decides about the answer to a keyword.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    /// Whether the carrier leaves the keywords of this number to us.
    pub answers_all: bool,
    /// Whether the project has an answer to HELP.
    pub has_help_message: bool,
    /// The answers that the contact got from this number in the last minute.
    pub in_last_minute: Vec<MessageKind>,
}

impl AnswerFacts {
    /// Whether there is an answer of ours to HELP.
    pub const fn has_help_answer(&self) -> bool {
        self.answers_all || self.has_help_message
    }

    /// Whether HELP gets an answer of ours.
    pub fn answers_help(&self) -> bool {
        self.has_help_answer() && self.may_send(KeywordAnswer::Help, false)
    }

    /// Whether an opt-out or an opt-in is confirmed. `changes`: the contact wanted something else
    /// before.
    pub fn confirms(&self, answer: KeywordAnswer, changes: bool) -> bool {
        self.answers_all && self.may_send(answer, changes)
    }

    /// Two machines that answer each other stop here: the same answer comes once in a minute,
    /// unless the contact's mind has changed since.
    fn may_send(&self, answer: KeywordAnswer, changes: bool) -> bool {
        self.in_last_minute.len() < MOST_IN_A_MINUTE && (changes || !self.in_last_minute.contains(&answer.kind()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::segments::{Encoding, Segmentation};

    #[test]
    fn a_keyword_is_answered_once_where_the_carrier_leaves_it_to_us() {
        use MessageKind::{Help, OptIn, OptOut};
        let five = [Help, OptOut, OptIn, OptOut, OptIn];
        for (answers_all, in_last_minute, changes, out, help) in [
            (true, &[][..], true, true, true),
            // It had opted out before: it hears that once more.
            (true, &[], false, true, true),
            (true, &[OptOut], false, false, true),
            (true, &[OptOut, OptIn], true, true, true),
            (true, &[Help], true, true, false),
            (true, &five[..4], true, true, false),
            (true, &five, true, false, false),
            (false, &[], true, false, false),
        ] {
            let facts = AnswerFacts { answers_all, has_help_message: false, in_last_minute: in_last_minute.to_vec() };
            assert_eq!(
                (facts.confirms(KeywordAnswer::OptOut, changes), facts.answers_help()),
                (out, help),
                "{facts:?}"
            );
        }
    }

    #[test]
    fn help_is_answered_where_the_project_has_an_answer() {
        for (in_last_minute, expected) in [(vec![], true), (vec![MessageKind::Help], false)] {
            let facts = AnswerFacts { answers_all: false, has_help_message: true, in_last_minute };
            assert_eq!(facts.answers_help(), expected, "{facts:?}");
            assert!(!facts.confirms(KeywordAnswer::OptOut, true), "the carrier confirms it");
        }
    }

    #[test]
    fn the_confirmation_of_an_opt_out_and_help_reach_who_has_opted_out() {
        for (answer, answers_all, expected) in [
            (KeywordAnswer::OptOut, true, true),
            (KeywordAnswer::Help, true, true),
            (KeywordAnswer::OptIn, true, false),
            (KeywordAnswer::OptOut, false, false),
            (KeywordAnswer::Help, false, false),
        ] {
            assert_eq!(answer.is_sent_despite_opt_out(answers_all), expected, "{answer:?} {answers_all}");
        }
    }

    #[test]
    fn our_own_words_are_one_segment_and_those_of_the_project_come_first() {
        for answer in [KeywordAnswer::OptOut, KeywordAnswer::OptIn, KeywordAnswer::Help] {
            let ours = answer.text(None);
            let one = Segmentation { encoding: Encoding::Gsm7, segments: 1 };
            assert_eq!(Segmentation::of(&ours), one, "{ours}");
            assert_eq!(answer.text(Some("Acme")), "Acme");
        }
    }
}
