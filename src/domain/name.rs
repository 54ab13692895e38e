//! What a name may hold: the one rule for the names of projects and agents.
//!
//! A name is shown on one line of the console, of a shell and of a log. A line end, or a character
//! that turns the direction of writing, would make the rest of that line look like something else.

use icu_properties::CodePointSetData;
use icu_properties::props::{BidiControl, GeneralCategory};

use super::characters::{category, is_blank};

/// Why a text can't be a name: the rest of a sentence that begins with what it names.
pub fn fault(name: &str) -> Option<String> {
    if is_blank(name) {
        return Some("has nothing visible".to_owned());
    }
    let wrong = name.chars().find_map(|character| Some((character, unfit(character)?)));
    wrong.map(|(character, what)| {
        format!("holds {what} (U+{:04X}); a name is one line of visible text", u32::from(character))
    })
}

/// What a character is that no name may hold.
fn unfit(character: char) -> Option<&'static str> {
    match category(character) {
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => Some("a line end"),
        GeneralCategory::Control if matches!(character, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}') => {
            Some("a line end")
        }
        GeneralCategory::Control => Some("a control character"),
        _ if CodePointSetData::new::<BidiControl>().contains(character) => {
            Some("a character that changes the direction of writing")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_of_visible_text() {
        for (name, what) in [
            ("", "nothing visible"),
            ("  ", "nothing visible"),
            ("\u{200b}", "nothing visible"),
            ("a\nb", "a line end (U+000A)"),
            ("a\n", "a line end (U+000A)"),
            ("a\rb", "a line end (U+000D)"),
            ("a\u{b}b", "a line end (U+000B)"),
            ("a\u{85}b", "a line end (U+0085)"),
            ("a\u{2028}b", "a line end (U+2028)"),
            ("a\u{2029}b", "a line end (U+2029)"),
            ("a\tb", "a control character (U+0009)"),
            ("a\0b", "a control character (U+0000)"),
            ("\u{1b}[31ma", "a control character (U+001B)"),
            ("a\u{9b}b", "a control character (U+009B)"),
            ("a\u{61c}b", "the direction of writing (U+061C)"),
            ("a\u{200e}b", "the direction of writing (U+200E)"),
            ("a\u{202e}b", "the direction of writing (U+202E)"),
            ("a\u{202a}b", "the direction of writing (U+202A)"),
            ("a\u{2066}b\u{2069}", "the direction of writing (U+2066)"),
        ] {
            let fault = fault(name).unwrap_or_else(|| panic!("{name:?} is a name"));
            assert!(fault.contains(what), "{name:?}: {fault}");
        }
    }

    #[test]
    fn names_of_all_languages_are_names() {
        for name in [
            "a",
            "Order status, v2 (test)",
            "Ünïcödé",
            "注文の確認",
            "خدمة العملاء",
            "שירות לקוחות",
            "می\u{200c}خواهم",
            "👨\u{200d}👩\u{200d}👧 family",
            "❤\u{fe0f}",
            "a\u{a0}b",
            "e\u{301}",
        ] {
            assert_eq!(fault(name), None, "{name:?}");
        }
    }
}
