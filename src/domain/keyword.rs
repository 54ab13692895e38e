//! Consent keywords: a text that is one word, or one of a few phrases, and nothing else. People
//! type it with quotes, brackets, marks, emoji and invisible characters around it.

use std::borrow::Cow;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::CodePointSetData;
use icu_properties::props::{Dash, GeneralCategory, GeneralCategoryGroup};
use serde::Deserialize;

use super::characters::{category, is_invisible, is_space};

/// The words of opt-outs, as they are compared. Twilio's default words
/// (<https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>; REVOKE and OPTOUT since 29
/// April 2025,
/// <https://www.twilio.com/docs/api/errors/30004>): the carrier acts on them whatever we do, so
/// our record has to follow. The phrase "opt out" is named by 47 CFR 64.1200(a)(10), together with
/// the words stop, quit, end, revoke, cancel and unsubscribe. "stop all" is how carriers' STOPALL
/// is typed too.
const STOP: [&str; 10] =
    ["stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out"];
const START: [&str; 2] = ["start", "unstop"];
const HELP: [&str; 2] = ["help", "info"];
const YES: &str = "yes";

/// The most characters of a keyword, and the most words.
const MOST_CHARACTERS: usize = 32;
const MOST_WORDS: usize = 4;

/// The most characters between the marks around a word, invisible ones included. What has more is
/// not read.
const MOST_READ: usize = 2 * MOST_CHARACTERS;

/// How many words of its own a project may have for each purpose.
pub const MOST_OWN_WORDS: usize = 20;

/// A message that is not for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// No more messages.
    Stop,
    /// Messages again.
    Start,
    /// A question about the sender.
    Help,
    /// Messages again, from a contact who has opted out. From any other contact it is an ordinary
    /// answer.
    Yes,
}

/// Who else knows that a text is a keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// The carrier says that it took the text for this keyword. It has acted on it and answered it.
    CarrierReport,
    /// The text is exactly a word of the carrier, which acts on it and answers it unless the number
    /// is set up otherwise.
    CarrierDefault,
    /// Only textback takes it for a keyword.
    Us,
}

/// A keyword that a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeywordMatch {
    pub keyword: Keyword,
    pub known_by: KnownBy,
}

/// What a text is, by the words of carriers and regulators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    Keyword(KeywordMatch),
    /// It is short enough for a word of its project. Contains the text as words are compared.
    MayBeOwnWord(String),
    /// It is an ordinary text.
    Text,
}

impl Keyword {
    /// The keyword that a text is, by the words of carriers and regulators.
    pub fn of(body: &str) -> Option<Self> {
        match read(body) {
            Reading::Keyword(found) => Some(found.keyword),
            Reading::MayBeOwnWord(_) | Reading::Text => None,
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        if STOP.contains(&word) {
            Some(Self::Stop)
        } else if START.contains(&word) {
            Some(Self::Start)
        } else if HELP.contains(&word) {
            Some(Self::Help)
        } else {
            (word == YES).then_some(Self::Yes)
        }
    }
}

/// Reads a text. A text that is too long for a keyword costs nothing but a look at the marks around
/// it.
pub fn read(body: &str) -> Reading {
    let Some(word) = compared(body) else { return Reading::Text };
    match Keyword::of_word(&word) {
        Some(keyword) => {
            // A carrier compares the words without their case; of phrases it knows nothing.
            let is_exact = !word.contains(' ') && body.trim().eq_ignore_ascii_case(&word);
            let known_by = if is_exact { KnownBy::CarrierDefault } else { KnownBy::Us };
            Reading::Keyword(KeywordMatch { keyword, known_by })
        }
        None => Reading::MayBeOwnWord(word.into_owned()),
    }
}

/// The text as words are compared: compatible characters (NFKC) in lower case, one blank between
/// two words, and without invisible characters and the marks around it. `None`: nothing is left, or
/// it is too long for a keyword.
fn compared(text: &str) -> Option<Cow<'_, str>> {
    let core = text.trim_matches(|letter: char| letter.is_ascii() && is_mark(letter));
    if core.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return (1..=MOST_CHARACTERS).contains(&core.len()).then_some(Cow::Borrowed(core));
    }
    // One character has at most four bytes.
    let core = if core.is_ascii() { core } else { core.trim_matches(is_mark) };
    if core.len() > 4 * MOST_READ || core.chars().nth(MOST_READ).is_some() {
        return None;
    }
    let word = if core.is_ascii() { joined(core.chars()) } else { folded(core) };
    ((1..=MOST_CHARACTERS).contains(&word.chars().count()) && word.split(' ').count() <= MOST_WORDS)
        .then_some(Cow::Owned(word))
}

/// A text with characters beyond ASCII as it is compared.
fn folded(text: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let visible: String = text.chars().filter(|letter| is_space(*letter) || !is_invisible(*letter)).collect();
    // By capitals first: ß is SS, and the dotless ı is I. What is left of İ is a dot, which is a
    // mark of the i.
    let cased: String =
        nfkc.normalize(&visible).chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    let mut letters = String::with_capacity(cased.len());
    for letter in nfkc.normalize(&cased).chars() {
        // Lines through or below Latin letters.
        letters.extend((!is_decoration(&letters, letter)).then_some(letter));
    }
    // Compatible characters of a bracketed letter are marks too.
    joined(letters.trim_matches(is_mark).chars())
}

/// A word without the accents of its Latin letters.
fn without_accents(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        return Cow::Borrowed(word);
    }
    let mut letters = String::with_capacity(word.len());
    for letter in DecomposingNormalizerBorrowed::new_nfd().normalize(word).chars() {
        letters.extend((!is_decoration(&letters, letter)).then_some(letter));
    }
    Cow::Owned(letters)
}

/// Whether a character is a mark on a Latin letter or a digit. Marks of other scripts are vowels.
fn is_decoration(before: &str, letter: char) -> bool {
    before.ends_with(|last: char| last.is_ascii_alphanumeric()) && GeneralCategoryGroup::Mark.contains(category(letter))
}

/// The words in lower case, with one blank between two of them, however they are separated.
fn joined(letters: impl Iterator<Item = char>) -> String {
    let mut words = String::new();
    let mut is_apart = false;
    for letter in letters {
        if separates(letter) {
            is_apart = !words.is_empty();
        } else if !is_invisible(letter) {
            words.extend(is_apart.then_some(' '));
            words.push(letter.to_ascii_lowercase());
            is_apart = false;
        }
    }
    words
}

/// Whether a character stands between two words.
fn separates(letter: char) -> bool {
    match letter {
        ' ' | '\t'..='\r' | '-' | '_' => true,
        _ => !letter.is_ascii() && (is_space(letter) || CodePointSetData::new::<Dash>().contains(letter)),
    }
}

/// Whether a character at the beginning or the end of a text does not count: blanks, quotes,
/// brackets, punctuation, symbols and emoji. Who adds an emoji to STOP still says STOP: an opt-out
/// that is missed can't be undone by the contact, and one that was not meant can, by START. `#stop`
/// and `@stop` are other words.
fn is_mark(letter: char) -> bool {
    if letter.is_ascii() {
        return !letter.is_ascii_alphanumeric() && !matches!(letter, '#' | '@');
    }
    match category(letter) {
        GeneralCategory::EnclosingMark => true,
        // Circled letters are symbols, and full-width signs are punctuation.
        of if GeneralCategoryGroup::Punctuation.contains(of) || GeneralCategoryGroup::Symbol.contains(of) => {
            let mut bytes = [0; 4];
            let plain = ComposingNormalizerBorrowed::new_nfkc().normalize(letter.encode_utf8(&mut bytes)).into_owned();
            !plain.contains(|letter: char| letter.is_alphanumeric() || matches!(letter, '#' | '@'))
        }
        // Keyboards of some languages have letters that look like quotation marks.
        GeneralCategory::ModifierLetter => {
            matches!(letter, '\u{2b9}'..='\u{2bd}' | '\u{2c8}' | '\u{2ca}' | '\u{2cb}' | '\u{2ee}')
        }
        _ => is_invisible(letter),
    }
}

/// The words that a project has of its own, such as ARRET, as they are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct OwnWords {
    pub opt_out: Vec<String>,
    pub opt_in: Vec<String>,
    pub help: Vec<String>,
}

/// Why words can't be the words of a project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnWordFault {
    #[error(
        "{given:?} is no keyword: it needs a letter or a digit, and has at most {most} characters in {words} words",
        most = MOST_CHARACTERS,
        words = MOST_WORDS
    )]
    NotAWord { given: String },
    #[error("{given:?} is a keyword of carriers in every project; leave it out")]
    OfCarriers { given: String },
    #[error("{word:?} is given twice; each word has one meaning (case, marks and hyphens do not count)")]
    Twice { word: String },
    #[error("there are {count} words in one list; {most} are the most", most = MOST_OWN_WORDS)]
    TooMany { count: usize },
}

impl OwnWords {
    /// The words as they are compared.
    pub fn new(opt_out: &[String], opt_in: &[String], help: &[String]) -> Result<Self, OwnWordFault> {
        let words = Self { opt_out: own(opt_out)?, opt_in: own(opt_in)?, help: own(help)? };
        let mut all: Vec<&String> = [&words.opt_out, &words.opt_in, &words.help].into_iter().flatten().collect();
        all.sort_unstable();
        match all.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
            Some(word) => Err(OwnWordFault::Twice { word: (*word).clone() }),
            None => Ok(words),
        }
    }

    /// The keyword that a compared text is in this project.
    pub fn find(&self, word: &str) -> Option<KeywordMatch> {
        let lists = [(&self.opt_out, Keyword::Stop), (&self.opt_in, Keyword::Start), (&self.help, Keyword::Help)];
        let plain = without_accents(word);
        let exact = lists.iter().find(|(words, _)| words.iter().any(|own| own == word));
        // Many people text without accents, and some keyboards add them.
        let alike = || lists.iter().find(|(words, _)| words.iter().any(|own| without_accents(own) == plain));
        let (_, keyword) = exact.or_else(alike)?;
        Some(KeywordMatch { keyword: *keyword, known_by: KnownBy::Us })
    }
}

fn own(given: &[String]) -> Result<Vec<String>, OwnWordFault> {
    if given.len() > MOST_OWN_WORDS {
        return Err(OwnWordFault::TooMany { count: given.len() });
    }
    let own = |given: &String| {
        let given_shown = super::bounds::text(given, 80).into_owned();
        match read(given) {
            Reading::MayBeOwnWord(word) if word.contains(char::is_alphanumeric) => Ok(word),
            Reading::MayBeOwnWord(_) | Reading::Text => Err(OwnWordFault::NotAWord { given: given_shown }),
            Reading::Keyword(_) => Err(OwnWordFault::OfCarriers { given: given_shown }),
        }
    };
    given.iter().map(own).collect()
}

#[cfg(test)]
mod tests;
