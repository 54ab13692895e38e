//! What people see of a text: which characters are invisible, and which belong together as one.
//!
//! The properties are those of the Unicode Character Database, by icu_properties. What belongs
//! together is a grapheme cluster (<https://www.unicode.org/reports/tr29/>): a family of emoji, a
//! flag, a letter with its accents.

use icu_properties::props::{
    DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint, PrependedConcatenationMark, WhiteSpace,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

/// Characters that print nothing, although by their properties they are symbols, letters or marks.
const PRINTS_NOTHING: [char; 6] = [
    // A cell of Braille without dots.
    '\u{2800}',
    // Stands for an object that a text can't hold. Phones leave it in texts that were dictated.
    '\u{fffc}',
    // Blanks between hieroglyphs.
    '\u{13441}',
    '\u{13442}',
    // Fills a cell of Khitan script.
    '\u{16fe4}',
    // A note without a head.
    '\u{1d159}',
];

/// The general category of a character.
pub fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

/// Whether a character is white space.
pub fn is_space(character: char) -> bool {
    CodePointSetData::new::<WhiteSpace>().contains(character)
}

/// Whether a character prints nothing: white space, control characters, and all that only changes
/// how others are shown, such as joiners, variation selectors, fillers and tags.
pub fn is_invisible(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_graphic();
    }
    is_space(character)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(character)
        || PRINTS_NOTHING.contains(&character)
        || match category(character) {
            GeneralCategory::Control => true,
            // The signs before Arabic and Kaithi numbers are format characters that print
            // something.
            GeneralCategory::Format => !CodePointSetData::new::<PrependedConcatenationMark>().contains(character),
            _ => false,
        }
}

/// Whether nothing of a text is visible. The one rule for all texts and names that must not be
/// blank.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// The end of the last whole cluster of a text that ends at `at` or before. 0 if the first cluster
/// ends after `at`.
pub fn cluster_end(text: &str, at: usize) -> usize {
    let mut cursor = GraphemeCursor::new(at, text.len(), true);
    match cursor.is_boundary(text, 0) {
        Ok(false) => cursor.prev_boundary(text, 0).ok().flatten().unwrap_or(0),
        // The cursor fails only where it lacks a part of the text, and it has all of it.
        Ok(true) | Err(_) => at,
    }
}

/// A text without white space at its beginning. A space that carries an accent stays.
pub fn trimmed_start(text: &str) -> &str {
    let begin = text.grapheme_indices(true).find(|(_, cluster)| !is_blank_space(cluster));
    begin.map_or("", |(at, _)| text.get(at..).unwrap_or_default())
}

/// A text without white space at its end.
pub fn trimmed_end(text: &str) -> &str {
    let last = text.grapheme_indices(true).rev().find(|(_, cluster)| !is_blank_space(cluster));
    last.map_or("", |(at, cluster)| text.get(..at + cluster.len()).unwrap_or_default())
}

/// Where the last white space of a text begins that stands between clusters.
pub fn last_space(text: &str) -> Option<usize> {
    text.grapheme_indices(true).rev().find(|(_, cluster)| is_blank_space(cluster)).map(|(at, _)| at)
}

/// Whether a text begins with white space that stands between clusters.
pub fn begins_with_space(text: &str) -> bool {
    text.graphemes(true).next().is_some_and(is_blank_space)
}

/// Where the clusters of a text begin.
pub fn cluster_starts(text: &str) -> impl Iterator<Item = usize> {
    text.grapheme_indices(true).map(|(at, _)| at)
}

fn is_blank_space(cluster: &str) -> bool {
    cluster.chars().all(is_space)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_prints_nothing_is_blank() {
        for text in [
            "",
            " ",
            "\t\r\n",
            "\u{a0}",
            "\u{ad}",
            "\u{34f}",
            "\u{61c}",
            "\u{115f}",
            "\u{1160}",
            "\u{1680}",
            "\u{17b4}",
            "\u{180b}",
            "\u{180e}",
            "\u{2000}",
            "\u{200b}",
            "\u{200c}",
            "\u{200d}",
            "\u{200e}",
            "\u{2028}",
            "\u{2029}",
            "\u{202e}",
            "\u{202f}",
            "\u{205f}",
            "\u{2060}",
            "\u{2062}",
            "\u{2066}",
            "\u{206f}",
            "\u{2800}",
            "\u{3000}",
            "\u{3164}",
            "\u{fe00}",
            "\u{fe0f}",
            "\u{feff}",
            "\u{ffa0}",
            "\u{fff9}",
            "\u{fffc}",
            "\u{ffff}",
            "\u{0}",
            "\u{7}",
            "\u{1b}",
            "\u{7f}",
            "\u{85}",
            "\u{9f}",
            "\u{1bca0}",
            "\u{1d159}",
            "\u{1d173}",
            "\u{e0001}",
            "\u{e007f}",
            "\u{e0100}",
            "\u{e0fff}",
            "\u{13441}",
            "\u{16fe4}",
            "\u{feff} \u{200b}\u{2800}\n\u{fe0f}",
        ] {
            assert!(is_blank(text), "{text:?}");
        }
    }

    #[test]
    fn what_prints_something_is_not_blank() {
        for text in [
            ".",
            "a",
            "0",
            "é",
            "\u{301}",
            "ß",
            "я",
            "字",
            "가",
            "ᄀ",
            "क",
            "👍",
            "👍🏽",
            "❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "🇩🇪",
            "👨\u{200d}👩\u{200d}👧",
            "🏴\u{e0067}\u{e0062}\u{e007f}",
            "\u{600}",
            "\u{6dd}",
            "\u{110bd}",
            "⠁",
            "\u{fffd}",
            "\u{e000}",
            "€",
            "\u{200b}a\u{200b}",
            "\u{2800}!",
        ] {
            assert!(!is_blank(text), "{text:?}");
        }
    }

    /// A character that is visible by a list that is not the product's: letters and digits but the
    /// fillers, and emoji.
    fn visible() -> impl Strategy<Value = char> {
        let fillers =
            ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}', '\u{17b4}', '\u{17b5}', '\u{13441}', '\u{13442}'];
        prop_oneof![
            any::<char>().prop_filter("a letter or a digit", move |c| c.is_alphanumeric() && !fillers.contains(c)),
            (0x1f300_u32..0x1f650).prop_filter_map("an emoji", char::from_u32),
            proptest::char::range('!', '~'),
        ]
    }

    fn invisible() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                proptest::char::range('\u{200b}', '\u{200f}'),
                proptest::char::range('\u{fe00}', '\u{fe0f}'),
                proptest::char::range('\u{e0000}', '\u{e0fff}'),
                proptest::char::range('\u{0}', '\u{20}'),
                Just('\u{2800}'),
                Just('\u{3164}'),
                Just('\u{ad}'),
            ],
            0..8,
        )
        .prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_text_with_one_visible_character_is_never_blank(before in invisible(), character in visible(), after in invisible()) {
            prop_assert!(is_blank(&before) && is_blank(&after));
            let text = format!("{before}{character}{after}");
            prop_assert!(!is_blank(&text));
        }

        #[test]
        fn what_rust_calls_white_space_or_control_is_blank(character: char) {
            if character.is_whitespace() || character.is_control() {
                prop_assert!(is_invisible(character));
            }
            prop_assert_eq!(character.is_whitespace(), is_space(character));
        }

        #[test]
        fn trimming_takes_white_space_and_nothing_else(text in "[ \n\u{301}a\u{200d}👍🏽]{0,12}") {
            let (start, end) = (trimmed_start(&text), trimmed_end(&text));
            prop_assert!(text.ends_with(start) && text.starts_with(end));
            prop_assert!(text[..text.len() - start.len()].chars().all(is_space));
            prop_assert!(text[end.len()..].chars().all(is_space));
            prop_assert!(!begins_with_space(start));
        }

        #[test]
        fn a_cluster_ends_where_the_segmentation_says(text in "[a\u{301}\u{200d}👍🏽🇩🇪\r\n\u{1100}\u{1161}क\u{94d}ष]{0,12}", at in 0_usize..40) {
            let at = text.floor_char_boundary(at.min(text.len()));
            let expected = cluster_starts(&text).chain([text.len()]).filter(|end| *end <= at).max().unwrap_or(0);
            prop_assert_eq!(cluster_end(&text, at), expected);
        }
    }
}
