//! Reactions that arrive as texts. A phone that reacts to an SMS sends a text such as
//! `Liked “See you at 5”`: SMS knows no reactions. Such a text is a reaction only if it quotes one
//! of our last messages to the contact, so that a person who writes `Liked “The Hobbit”` is not
//! misread.
//!
//! Forms: iPhone's tapbacks (`Liked “…”`, `Removed a like from “…”`, `Laughed at an image`) and
//! emojis (`Reacted 👍 to “…”`), Google Messages (`👍 to “…”`, `Removed 👍 from “…”`), and the same in
//! other languages: there a text that is an emoji, few other words and a quotation of our whole
//! message is one, and so are the verbs of [`VERBS`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::characters::{is_invisible, is_space};

/// The most characters of a text outside its quotation. `Removed an exclamation mark from` has 32;
/// a longer frame is a sentence of a person.
const MOST_FRAME_CHARS: usize = 48;
/// The most bytes of a text that is looked at: a message of ours has 1,600 characters of up to four
/// bytes, and a frame.
const MOST_BYTES: usize = 8 << 10;
/// The most bytes of an emoji. The longest in Unicode, two people with skin tones who kiss, has 35.
const MOST_EMOJI_BYTES: usize = 40;
/// How many characters a message of ours must have to be found behind words that the carrier put
/// before it.
const LEAST_SUFFIX_CHARS: usize = 10;

/// A text that has the form of a reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    emoji: String,
    is_removed: bool,
    about: About,
}

/// What a candidate is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    /// A message with this text. The phone may have cut it.
    Text(String),
    /// A message with a file.
    File,
}

/// A reaction to a message of ours, which came as a text. Messages of the kind `reaction` have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, poem_openapi::Object)]
pub struct Reaction {
    /// The emoji, such as `👍`. The tapbacks of an iPhone are told as ❤️, 👍, 👎, 😂, ‼️ and ❓.
    pub emoji: String,
    /// Whether the contact took the reaction back.
    pub is_removed: bool,
    /// Our message that it is about.
    pub message_id: Uuid,
}

/// A message of ours to the contact.
#[derive(Debug, Clone, Deserialize)]
pub struct SentMessage {
    pub id: Uuid,
    pub body: String,
    pub has_media: bool,
}

/// How phones write a reaction: what stands before the quotation, and the reaction. In lower case.
const VERBS: &[(&str, &str)] = &[
    ("loved", "❤️"),
    ("liked", "👍"),
    ("disliked", "👎"),
    ("laughed at", "😂"),
    ("emphasized", "‼️"),
    ("emphasised", "‼️"),
    ("questioned", "❓"),
    // Spanish
    ("le encantó", "❤️"),
    ("le gustó", "👍"),
    ("le gusta", "👍"),
    ("no le gustó", "👎"),
    ("se rió de", "😂"),
    ("enfatizó", "‼️"),
    ("preguntó por", "❓"),
    // French
    ("a adoré", "❤️"),
    ("a aimé", "👍"),
    ("n’a pas aimé", "👎"),
    ("a ri à", "😂"),
    ("a insisté sur", "‼️"),
    ("a mis en évidence", "‼️"),
    // German
    ("liebt", "❤️"),
    ("gefällt", "👍"),
    ("mag", "👍"),
    ("gefällt nicht", "👎"),
    ("mag nicht", "👎"),
    ("lacht über", "😂"),
    ("betont", "‼️"),
    // Portuguese
    ("amou", "❤️"),
    ("curtiu", "👍"),
    ("não curtiu", "👎"),
    ("riu de", "😂"),
    ("enfatizou", "‼️"),
    // Italian
    ("ha adorato", "❤️"),
    ("ha messo mi piace a", "👍"),
    ("ha riso per", "😂"),
    // Dutch
    ("vindt leuk", "👍"),
];

/// Parts of the words with which phones of other languages tell that a reaction with an emoji was
/// removed. In lower case.
const REMOVAL: &[&str] = &[
    "entfern",
    "retir",
    "supprim",
    "enlev",
    "elimin",
    "quitó",
    "borró",
    "remov",
    "rimoss",
    "verwijder",
    "usun",
    "удал",
];

/// What an iPhone calls its tapbacks where it removes one.
const NOUNS: &[(&str, &str)] = &[
    ("heart", "❤️"),
    ("like", "👍"),
    ("thumbs up", "👍"),
    ("dislike", "👎"),
    ("thumbs down", "👎"),
    ("laugh", "😂"),
    ("exclamation", "‼️"),
    ("exclamation mark", "‼️"),
    ("emphasis", "‼️"),
    ("question mark", "❓"),
    ("question", "❓"),
];

/// What stands instead of a quotation where the message had a file.
const FILES: &[&str] = &[
    "an image",
    "a photo",
    "a picture",
    "a movie",
    "a video",
    "an attachment",
    "an audio message",
    "a voice message",
    "a contact",
    "a contact card",
    "a file",
];

/// Reads a text as a reaction, if it has the form of one.
pub fn parse(text: &str) -> Option<Candidate> {
    if text.len() > MOST_BYTES {
        return None;
    }
    let text = plain(text);
    match quotation(&text) {
        Some((frame, quoted)) => {
            let (emoji, is_removed) = framed(&frame)?;
            Some(Candidate { emoji, is_removed, about: About::Text(quoted) })
        }
        None => {
            let lower = text.to_lowercase();
            let frame = FILES.iter().find_map(|file| lower.strip_suffix(file)?.strip_suffix(' '))?;
            let (emoji, is_removed) = in_english(frame)?;
            Some(Candidate { emoji, is_removed, about: About::File })
        }
    }
}

/// The reaction that a candidate is, if it is about one of our last messages, of which the newest
/// comes first.
pub fn resolve(candidate: &Candidate, sent: &[SentMessage]) -> Option<Reaction> {
    let is_meant = |sent: &&SentMessage| match &candidate.about {
        About::Text(quoted) => is_quoted(quoted, &plain(&sent.body)),
        About::File => sent.has_media,
    };
    let Candidate { emoji, is_removed, .. } = candidate;
    let message_id = sent.iter().find(is_meant)?.id;
    Some(Reaction { emoji: emoji.clone(), is_removed: *is_removed, message_id })
}

/// Whether a quotation is of a message: all of it, or its first words and an ellipsis. A carrier
/// may have put words before the message.
fn is_quoted(quoted: &str, body: &str) -> bool {
    if body.is_empty() {
        return false;
    }
    let is_all = quoted == body || (body.chars().count() >= LEAST_SUFFIX_CHARS && quoted.ends_with(body));
    let cut = quoted.strip_suffix('…').or_else(|| quoted.strip_suffix("...")).map(str::trim_end);
    is_all || cut.is_some_and(|cut| !cut.is_empty() && body.starts_with(cut))
}

/// A text without what phones and carriers change: invisible characters, the kind of quotation
/// marks, and how many spaces stand between two words.
fn plain(text: &str) -> String {
    // What joins the parts of an emoji stays: without it, the emoji is another one.
    let is_kept = |c: &char| is_space(*c) || is_part_of_emoji(*c) || !is_invisible(*c);
    let straight = |c: char| match c {
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' | '״' | '「' | '」' | '『' | '』' | '＂' => '"',
        '‘' | '’' | '‚' => '\'',
        c => c,
    };
    let text: String = text.chars().filter(is_kept).map(straight).collect();
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// The quotation of a plain text, and what stands around it.
fn quotation(text: &str) -> Option<(String, String)> {
    let (before, rest) = text.split_once('"')?;
    let (quoted, after) = rest.rsplit_once('"')?;
    let frame = format!("{} {}", before.trim(), after.trim());
    let (frame, quoted) = (frame.trim(), quoted.trim());
    (!quoted.is_empty() && frame.chars().count() <= MOST_FRAME_CHARS).then(|| (frame.to_owned(), quoted.to_owned()))
}

/// The reaction that a frame tells, and whether it is removed.
fn framed(frame: &str) -> Option<(String, bool)> {
    let lower = frame.to_lowercase();
    let lower = lower.trim_end_matches(['.', ':']);
    in_english(lower).or_else(|| in_any_language(lower))
}

/// The forms of phones that are set to English, and the verbs of other languages.
fn in_english(frame: &str) -> Option<(String, bool)> {
    let known = |table: &[(&str, &str)], name: &str| {
        table.iter().find(|(given, _)| *given == name).map(|(_, emoji)| (*emoji).to_owned())
    };
    let verb = frame.replace('\'', "’");
    if let Some(emoji) = known(VERBS, &verb) {
        return Some((emoji, false));
    }
    let reacted = frame.strip_prefix("reacted ").unwrap_or(frame);
    if let Some(emoji) = reacted.strip_suffix(" to") {
        let emoji = emoji.strip_prefix("with ").unwrap_or(emoji);
        return is_emoji(emoji).then(|| (emoji.to_owned(), false));
    }
    let removed = frame.strip_prefix("removed ")?.strip_suffix(" from")?;
    let removed = removed.strip_prefix("a ").or_else(|| removed.strip_prefix("an ")).unwrap_or(removed);
    let emoji = known(NOUNS, removed).or_else(|| is_emoji(removed).then(|| removed.to_owned()))?;
    Some((emoji, true))
}

/// One emoji and a few words without a question: `Reaccionó con 👍 a`, `hat mit 👍 auf … reagiert`.
fn in_any_language(frame: &str) -> Option<(String, bool)> {
    if frame.contains(['?', '¿', '？']) {
        return None;
    }
    let mut emojis = frame.split(' ').filter(|word| is_emoji(word));
    let (emoji, more) = (emojis.next()?, emojis.next());
    let is_removed = REMOVAL.iter().any(|word| frame.contains(word));
    more.is_none().then(|| (emoji.to_owned(), is_removed))
}

/// Whether a character belongs to an emoji and is none by itself.
const fn is_part_of_emoji(c: char) -> bool {
    matches!(c, '\u{fe0f}' | '\u{200d}' | '\u{20e3}' | '\u{e0020}'..='\u{e007f}')
}

/// Whether a text is an emoji and nothing else. It may be a sequence of several characters.
fn is_emoji(text: &str) -> bool {
    let is_pictograph = |c: char| {
        matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{2460}'..='\u{27bf}'
            | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '©' | '®' | '‼' | '⁉' | '™' | 'ℹ' | '〰' | '〽' | '㊗' | '㊙')
    };
    let is_keycap =
        text.ends_with('\u{20e3}') && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '#' | '*'));
    let rest = if is_keycap { text.get(1..).unwrap_or_default() } else { text };
    text.len() <= MOST_EMOJI_BYTES
        && (is_keycap || rest.chars().any(is_pictograph))
        && rest.chars().all(|c| is_part_of_emoji(c) || is_pictograph(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &str = "Your table is booked for 7. Reply \"YES\" to confirm, it’s yours.";

    fn sent() -> Vec<SentMessage> {
        let message =
            |id, body: &str, has_media| SentMessage { id: Uuid::from_u128(id), body: body.to_owned(), has_media };
        vec![message(3, "Anything else?", false), message(2, OURS, false), message(1, "", true)]
    }

    fn read(text: &str) -> Option<(String, bool, u128)> {
        let found = resolve(&parse(text)?, &sent())?;
        Some((found.emoji, found.is_removed, found.message_id.as_u128()))
    }

    #[test]
    fn the_forms_of_phones_are_read() {
        for (text, emoji, is_removed, id) in [
            ("Liked “Anything else?”", "👍", false, 3),
            ("Loved \"Anything else?\"", "❤️", false, 3),
            ("Disliked “Anything else?”", "👎", false, 3),
            ("Laughed at “Anything else?”", "😂", false, 3),
            ("Emphasized “Anything else?”", "‼️", false, 3),
            ("Emphasised “Anything else?”", "‼️", false, 3),
            ("Questioned “Anything else?”", "❓", false, 3),
            ("Removed a like from “Anything else?”", "👍", true, 3),
            ("Removed a heart from “Anything else?”", "❤️", true, 3),
            ("Removed an exclamation from “Anything else?”", "‼️", true, 3),
            ("Reacted 👍 to “Anything else?”", "👍", false, 3),
            ("Reacted 🏳️\u{200d}🌈 to “Anything else?”", "🏳️\u{200d}🌈", false, 3),
            ("Reacted 1️⃣ to “Anything else?”", "1️⃣", false, 3),
            ("Removed 👍 from “Anything else?”", "👍", true, 3),
            ("Removed a 👍🏽 from “Anything else?”", "👍🏽", true, 3),
            ("👍 to “ Anything else? ”", "👍", false, 3),
            ("\u{200a}😂\u{200a} to “\u{200a}Anything else?\u{200a}”", "😂", false, 3),
            ("❤️ to \u{200b}\"Anything else?\"", "❤️", false, 3),
            // Other languages.
            ("Le gustó “Anything else?”", "👍", false, 3),
            ("A aimé « Anything else? »", "👍", false, 3),
            ("N’a pas aimé « Anything else? »", "👎", false, 3),
            ("Gefällt „Anything else?“", "👍", false, 3),
            ("Reaccionó con 👍 a “Anything else?”", "👍", false, 3),
            ("Hat mit 👍 auf „Anything else?“ reagiert", "👍", false, 3),
            ("Hat 👍 von „Anything else?“ entfernt", "👍", true, 3),
            ("A retiré 👍 de « Anything else? »", "👍", true, 3),
            ("Eliminó 👍 de “Anything else?”", "👍", true, 3),
            ("Removeu ❤️ de “Anything else?”", "❤️", true, 3),
            // Phones isolate what they insert into a sentence of another direction.
            ("Reacted 👍 to “\u{2068}Anything else?\u{2069}”", "👍", false, 3),
            ("\u{202b}👍 ל״\u{2068}Anything else?\u{2069}״\u{202c}", "👍", false, 3),
            ("Liked “Anything\u{fffc} else?”", "👍", false, 3),
            // Our text has quotation marks itself, a cut, and words of the carrier before it.
            ("Liked “Your table is booked for 7. Reply \"YES\" to confirm, it's yours.”", "👍", false, 2),
            ("Liked “Your table is booked…”", "👍", false, 2),
            ("Liked “Your table is booked ...”", "👍", false, 2),
            ("Liked “Sent from your trial account - Anything else?”", "👍", false, 3),
            ("Liked an image", "👍", false, 1),
            ("Removed a heart from a photo", "❤️", true, 1),
            ("Reacted 👍 to an image", "👍", false, 1),
        ] {
            assert_eq!(read(text), Some((emoji.to_owned(), is_removed, id)), "{text}");
        }
    }

    #[test]
    fn what_people_write_is_no_reaction() {
        for text in [
            "",
            "yes",
            "Liked “The Hobbit”",
            "Liked The Hobbit",
            "I liked “Anything else?”",
            "You wrote “Anything else?”",
            "What do you mean by “Anything else?”",
            "Why 👍 to “Anything else?” ?",
            "Liked “”",
            "Liked “…”",
            "Liked “Anything”",
            "Liked “nything else?…”",
            "👍 👍 “Anything else?”",
            "👍",
            "Liked a lot",
            "I like an image",
            "“Anything else?”",
            "Reacted badly to “Anything else?”",
            "Removed something from “Anything else?”",
            "Thank you so much for this, I really wanted to say that 👍 to “Anything else?”",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_is_a_reaction_to_a_file_where_we_sent_none() {
        let candidate = parse("Liked an image").expect("a candidate");
        assert_eq!(resolve(&candidate, &sent()[..2]), None);
    }

    #[test]
    fn the_newest_of_equal_messages_is_meant() {
        let equal = |id| SentMessage { id: Uuid::from_u128(id), body: "Hi".to_owned(), has_media: false };
        let candidate = parse("Liked “Hi”").expect("a candidate");
        let found = resolve(&candidate, &[equal(9), equal(8)]);
        assert_eq!(found.map(|found| found.message_id), Some(Uuid::from_u128(9)));
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in ".{0,200}", body in ".{0,100}") {
            if let Some(candidate) = parse(&text) {
                let _ = resolve(&candidate, &[SentMessage { id: Uuid::nil(), body, has_media: true }]);
            }
        }

        #[test]
        fn a_reaction_to_any_text_of_ours_is_found(body in "[\\PC\\n]{1,100}", cut in 1_usize..40) {
            prop_assume!(!plain(&body).is_empty());
            let ours = [SentMessage { id: Uuid::from_u128(7), body: body.clone(), has_media: false }];
            for text in [format!("Loved “{body}”"), format!("👍 to “\u{200a}{body}\u{200a}”"), format!("Removed 😂 from \"{body}\"")] {
                let found = parse(&text).and_then(|candidate| resolve(&candidate, &ours));
                prop_assert_eq!(found.map(|found| found.message_id), Some(Uuid::from_u128(7)), "{}", text);
            }
            let prefix: String = body.chars().take(cut).collect();
            if !plain(&prefix).is_empty() && !plain(&prefix).ends_with(['"', '.', '…']) {
                let text = format!("Liked “{prefix}…”");
                let found = parse(&text).and_then(|candidate| resolve(&candidate, &ours));
                prop_assert!(found.is_some(), "{}", text);
            }
        }

        #[test]
        fn what_quotes_nothing_of_ours_is_no_reaction(text in ".{0,80}") {
            prop_assert_eq!(parse(&text).and_then(|candidate| resolve(&candidate, &[])), None);
        }
    }
}
