//! What a name may hold: the one rule for the names of projects and agents.
//!
//! A name is shown on one line of the console, of a shell and of a log. A line end, or a character
//! that turns the direction of writing, would make the rest of that line look like something else.
//! People type a name into `--project` and compare it with others, so that nothing invisible may
//! tell two names apart.

use icu_properties::CodePointSetData;
use icu_properties::props::{BidiControl, GeneralCategory};

use super::characters::{category, is_blank, is_invisible, is_space};

/// Why a text can't be a name: the rest of a sentence that begins with what it names.
pub fn fault(name: &str) -> Option<String> {
    if is_blank(name) {
        return Some("has nothing visible".to_owned());
    }
    let mut before = None;
    for character in name.chars() {
        if let Some(what) = unfit(character).or_else(|| hidden(before, character)) {
            let code = u32::from(character);
            return Some(format!("holds {what} (U+{code:04X}); a name is one line of visible text"));
        }
        before = Some(character);
    }
    match (name.starts_with(is_space), name.ends_with(is_space)) {
        (true, _) => Some("begins with a blank; remove it".to_owned()),
        (_, true) => Some("ends with a blank; remove it".to_owned()),
        _ => None,
    }
}

/// What a character is that prints nothing and changes nothing of what is shown. Joiners belong
/// into words of other scripts than ours and into emoji, as variation selectors and the tags of
/// flags do.
fn hidden(before: Option<char>, character: char) -> Option<&'static str> {
    let belongs = match character {
        '\u{200c}' | '\u{200d}' | '\u{e0020}'..='\u{e007f}' => before.is_some_and(|before| !before.is_ascii()),
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180f}' | '\u{34f}' => before.is_some(),
        // Blanks inside a text of Braille.
        '\u{2800}' => true,
        _ => is_space(character) || !is_invisible(character),
    };
    (!belongs).then_some("an invisible character")
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
            ("Ac\u{200b}me", "an invisible character (U+200B)"),
            ("Acme\u{3164}", "an invisible character (U+3164)"),
            ("\u{feff}Acme", "an invisible character (U+FEFF)"),
            ("Ac\u{ad}me", "an invisible character (U+00AD)"),
            ("Ac\u{2060}me", "an invisible character (U+2060)"),
            ("Ac\u{200d}me", "an invisible character (U+200D)"),
            ("\u{fe0f}Acme", "an invisible character (U+FE0F)"),
            ("Acme\u{e0041}", "an invisible character (U+E0041)"),
            (" Acme", "begins with a blank"),
            ("Acme ", "ends with a blank"),
            ("Acme\u{a0}", "ends with a blank"),
            ("\u{3000}Acme", "begins with a blank"),
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
            "1\u{fe0f}\u{20e3} first",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} England",
            "क्\u{200d}ष",
            "株式会社\u{3000}山田",
            "葛\u{e0100}城市",
        ] {
            assert_eq!(fault(name), None, "{name:?}");
        }
    }
}
