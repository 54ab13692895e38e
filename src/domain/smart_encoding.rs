//! Smart encoding: replaces characters that alone make a text UCS-2, which has 70 characters a
//! segment, where GSM-7 has 160.
//!
//! What is replaced: Twilio's own list
//! (<https://www.twilio.com/docs/messaging/services/smart-encoding-char-list>), and by the
//! properties of Unicode all spaces, dashes and invisible characters, and what is compatible with
//! characters of GSM-7 (NFKC), such as ½ and full-width letters. Letters with accents that GSM-7
//! lacks are never changed.

use std::borrow::Cow;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::CodePointSetData;
use icu_properties::props::{Dash, GeneralCategory};

use super::characters::{self, is_blank};
use super::segments::{Encoding, MOST_UNITS, encoding, segments, septets, units};

/// Replaces characters if that makes a text GSM-7. Otherwise the text stays as it is, because
/// nothing would be saved: so an emoji keeps its joiners, and a script that needs them too.
pub fn plain(text: Cow<'_, str>) -> Cow<'_, str> {
    if encoding(&text) == Encoding::Gsm7 {
        return text;
    }
    match replaced(&text) {
        // A replacement may be longer than what it replaces.
        Some(plain)
            if segments(&plain) <= segments(&text)
                && (units(&plain) <= MOST_UNITS || units(&text) > MOST_UNITS)
                && !is_blank(&plain) =>
        {
            Cow::Owned(plain)
        }
        Some(_) | None => text,
    }
}

/// A text as it would be if all was replaced that can be, in small letters without accents. A
/// carrier may replace some characters of a text; then both have the same core.
pub fn core(text: &str) -> String {
    let text = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match septets(character).map_or_else(|| replacement(character), |_| None) {
            Some(known) => plain.push_str(&known),
            None => plain.push(character),
        }
    }
    let letters = DecomposingNormalizerBorrowed::new_nfd().normalize(&plain);
    let is_accent = |letter: &char| characters::category(*letter) == GeneralCategory::NonspacingMark;
    letters.chars().filter(|letter| !is_accent(letter)).flat_map(char::to_lowercase).collect()
}

/// The text in GSM-7. `None`: a character has no replacement.
fn replaced(text: &str) -> Option<String> {
    // A letter and its accent may be one letter that GSM-7 has.
    let text = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    let mut plain = String::with_capacity(text.len());
    let mut after_number = false;
    for character in text.chars() {
        let is_number = characters::category(character) == GeneralCategory::OtherNumber;
        if septets(character).is_some() {
            plain.extend((after_number && character.is_ascii_digit()).then_some(' '));
            plain.push(character);
        } else {
            let after_digit = plain.ends_with(|last: char| last.is_ascii_digit());
            if after_digit && is_raised_or_lowered(character) {
                // 10² must not become 102.
                return None;
            }
            // 1½ is 1 1/2.
            plain.extend((after_digit && is_number).then_some(' '));
            plain.push_str(&replacement(character)?);
        }
        after_number = is_number;
    }
    Some(plain)
}

/// Whether a character is a digit, a letter or a sign of a power or an index.
const fn is_raised_or_lowered(character: char) -> bool {
    matches!(character, '²' | '³' | '¹' | '\u{2070}'..='\u{207f}' | '\u{2080}'..='\u{208e}')
}

/// What stands for a character that GSM-7 lacks.
fn replacement(character: char) -> Option<Cow<'static, str>> {
    if let Some(known) = by_table(character).or_else(|| by_property(character)) {
        return Some(Cow::Borrowed(known));
    }
    if let Some(number) = circled_number(character) {
        return Some(Cow::Owned(number));
    }
    let compatible = ComposingNormalizerBorrowed::new_nfkc().normalize(character.encode_utf8(&mut [0; 4])).into_owned();
    let mut plain = String::with_capacity(compatible.len());
    for part in compatible.chars() {
        match septets(part) {
            Some(_) => plain.push(part),
            None => plain.push_str(by_table(part).or_else(|| by_property(part))?),
        }
    }
    Some(Cow::Owned(plain))
}

fn by_property(character: char) -> Option<&'static str> {
    if matches!(character, '\u{b}' | '\u{85}' | '\u{2028}' | '\u{2029}') {
        Some("\n")
    } else if characters::is_space(character) {
        Some(" ")
    } else if characters::is_invisible(character) {
        Some("")
    } else if CodePointSetData::new::<Dash>().contains(character) {
        Some("-")
    } else {
        None
    }
}

/// The number in a circle, where NFKC does not tell it because the circle is black or double, or
/// its letters have no serifs.
fn circled_number(character: char) -> Option<String> {
    let number = |first: char, value: u32| u32::from(character) - u32::from(first) + value;
    Some(match character {
        '❶'..='❿' => number('❶', 1),
        '➀'..='➉' => number('➀', 1),
        '➊'..='➓' => number('➊', 1),
        '⓫'..='⓴' => number('⓫', 11),
        '⓵'..='⓾' => number('⓵', 1),
        '⓿' => 0,
        _ => return None,
    })
    .map(|number| number.to_string())
}

/// What neither a property nor NFKC tells, and what reads better than they tell.
const fn by_table(character: char) -> Option<&'static str> {
    match quote(character) {
        Some(known) => Some(known),
        None => match punctuation(character) {
            Some(known) => Some(known),
            None => match sign(character) {
                Some(known) => Some(known),
                None => small_capital(character),
            },
        },
    }
}

const fn quote(character: char) -> Option<&'static str> {
    Some(match character {
        '«' | '»' | '“' | '”' | '„' | '‟' | '″' | '‶' | 'ʺ' | 'ˮ' | '˝' | '❝' | '❞' | '❠' | '〝' | '〞' | '〟'
        | '〃' | '「' | '」' | '『' | '』' | '｢' | '｣' | '⹂' | '\u{5f4}' => "\"",
        '‘' | '’' | '‚' | '‛' | '′' | '‵' | '´' | '`' | 'ʹ' | 'ʻ' | 'ʼ' | 'ʽ' | 'ˈ' | 'ˊ' | 'ˋ' | '❛' | '❜' | '❟'
        | 'ꞌ' | '\u{313}' | '\u{314}' | '\u{5f3}' => "'",
        '‹' | '〈' | '❮' | '❬' | '˂' | '⟨' => "<",
        '›' | '〉' | '❯' | '❭' | '˃' | '⟩' => ">",
        '《' | '⟪' => "<<",
        '》' | '⟫' => ">>",
        _ => return None,
    })
}

const fn punctuation(character: char) -> Option<&'static str> {
    Some(match character {
        '¯' | '‾' | 'ˉ' | '•' | '⁃' | '‣' | '◦' | '∙' | '⋅' | '·' | '‧' | '・' | '●' | '○' | '▪' | '▫' | '■' | '□'
        | '◆' | '◇' | '►' | '▸' | '⎼' | '⎽' | '─' | '━' => "-",
        '…' | '⋯' => "...",
        '‽' => "?!",
        '‖' | '∥' => "||",
        '、' | '\u{326}' => ",",
        '。' => ".",
        '؛' | '⁏' => ";",
        'ː' | '˸' | '⦂' | '꞉' | '∶' => ":",
        'ǃ' => "!",
        '❨' | '❪' | '⟮' | '⦅' => "(",
        '❩' | '❫' | '⟯' | '⦆' => ")",
        '❲' | '【' | '〔' | '〖' | '⟦' => "[",
        '❳' | '】' | '〕' | '〗' | '⟧' => "]",
        '❴' => "{",
        '❵' => "}",
        '⧸' | '⁄' | '∕' | '÷' | '\u{337}' | '\u{338}' => "/",
        '⧹' | '⧵' | '∖' | '\u{20e5}' => "\\",
        'ˍ' | '‗' | '\u{332}' => "_",
        '¦' | '∣' | '⎸' | '⎹' | '⏐' | '⎜' | '⎟' | '│' | '┃' | 'ǀ' | '❘' | '\u{20d2}' | '\u{20d3}' => {
            "|"
        }
        _ => return None,
    })
}

const fn sign(character: char) -> Option<&'static str> {
    Some(match character {
        '⁎' | '∗' | '⊛' | '✢' | '✣' | '✤' | '✥' | '✱' | '✲' | '✳' | '✺' | '✻' | '✼' | '✽' | '❃' | '❉' | '❊' | '❋'
        | '⧆' | '٭' => "*",
        '˖' => "+",
        '꞊' | '\u{347}' => "=",
        '×' | '✕' => "x",
        '±' => "+/-",
        '≤' | '⇐' => "<=",
        '≥' => ">=",
        '⇒' => "=>",
        '≠' => "!=",
        '←' => "<-",
        '→' | '➔' | '➜' | '➝' | '➞' => "->",
        '↔' => "<->",
        '∼' | '≈' | '˜' | '˷' | '⁓' | '〜' | '〰' | '\u{303}' | '\u{330}' | '\u{334}' => "~",
        'ˆ' | '˄' | 'ꞈ' | '\u{302}' | '\u{32d}' => "^",
        '∆' => "Δ",
        '©' => "(C)",
        '®' => "(R)",
        // A blank cell of Braille, and fillers of Hangul that are as wide as a letter.
        '\u{2800}' | '\u{3164}' | '\u{ffa0}' => " ",
        _ => return None,
    })
}

const fn small_capital(character: char) -> Option<&'static str> {
    Some(match character {
        'ᴀ' => "A",
        'ʙ' => "B",
        'ᴄ' => "C",
        'ᴅ' => "D",
        'ᴇ' => "E",
        'ꜰ' => "F",
        'ɢ' => "G",
        'ʜ' => "H",
        'ɪ' => "I",
        'ᴊ' => "J",
        'ᴋ' => "K",
        'ʟ' => "L",
        'ᴍ' => "M",
        'ɴ' => "N",
        'ᴏ' => "O",
        'ᴘ' => "P",
        'ʀ' => "R",
        'ꜱ' => "S",
        'ᴛ' => "T",
        'ᴜ' => "U",
        'ᴠ' => "V",
        'ᴡ' => "W",
        'ʏ' => "Y",
        'ᴢ' => "Z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> String {
        plain(Cow::Borrowed(text)).into_owned()
    }

    #[test]
    fn characters_are_replaced_where_they_alone_cost() {
        for (text, expected) in [
            ("“It’s – well… fine”", "\"It's - well... fine\""),
            ("plain", "plain"),
            ("a\u{200c}b\u{200b}c\u{feff}d\u{ad}e\u{2060}f\u{fe0f}g\u{200e}h", "abcdefgh"),
            ("one\u{2028}two\u{2029}three\u{85}four", "one\ntwo\nthree\nfour"),
            ("a\u{a0}b\u{202f}c\u{2009}d\u{3000}e\tf\u{1680}g\u{2800}h", "a b c d e f g h"),
            ("½ cup, 1½ cups, ⅔, 2¾", "1/2 cup, 1 1/2 cups, 2/3, 2 3/4"),
            ("Ｆｕｌｌ－ｗｉｄｔｈ　１２３！", "Full-width 123!"),
            ("𝐁𝐨𝐥𝐝 𝘪𝘵𝘢𝘭𝘪𝘤 ⓒⓘⓡⓒⓛⓔⓓ", "Bold italic circled"),
            ("ﬁrst ﬂoor ᴀʙᴄ ™ № Ⅳ", "first floor ABC TM No IV"),
            ("CO₂ and m²", "CO2 and m2"),
            ("‐‑‒–—―−－﹣", "---------"),
            ("• one\n‣ two\n◦ three · four", "- one\n- two\n- three - four"),
            ("‚‘’‛′´`ʼ „“”‟″«»", "'''''''' \"\"\"\"\"\"\""),
            ("a ≤ b ≥ c ≠ d → e × f ÷ g ± h", "a <= b >= c != d -> e x f / g +/- h"),
            ("cafe\u{301} nin\u{303}o A\u{30a}", "café niño Å"),
            ("5\u{212a} 5Ω\u{2126}", "5K 5ΩΩ"),
            ("‼ ⁉ ․‥…", "!! !? ......"),
            ("《a》 【b】 ❴c❵ 〈d〉", "<<a>> [b] {c} <d>"),
            ("①② ❶❷ ➀➁ ➊ ❿ ⓫ ⓴ ⓿", "1 2 1 2 1 2 1 10 11 20 0"),
            ("¯ ‾ ˉ ‖ ∥ ‽ ∆", "- - - || || ?! Δ"),
        ] {
            assert_eq!(of(text), expected, "{text:?}");
            assert_eq!(encoding(expected), Encoding::Gsm7);
        }
    }

    #[test]
    fn a_text_that_stays_ucs_2_or_gains_nothing_is_not_changed() {
        for text in [
            "It’s 🎉",
            "“family” 👨\u{200d}👩\u{200d}👧",
            "1\u{fe0f}\u{20e3} first…",
            "می\u{200c}خواهم…",
            "क\u{94d}\u{200d}ष – x",
            "a\u{301}…",
            "ça va…",
            "10² – 5",
            "10⁻³",
            "2ⁿ – 1",
            "20° – 25°",
            "“Привет”",
            "\u{200b}",
        ] {
            assert_eq!(of(text), text, "{text:?}");
        }
        let dots = "…".repeat(70);
        assert_eq!(of(&dots), dots, "one segment of UCS-2 is less than two of GSM-7");
        let longest = format!("{}…", "x".repeat(1599));
        assert_eq!(of(&longest), longest, "the carrier takes at most 1600 characters");
    }

    /// The list at <https://www.twilio.com/docs/messaging/services/smart-encoding-char-list>, by
    /// code points.
    #[test]
    fn every_character_of_the_carriers_own_list_is_replaced() {
        let quotes = "\u{ab}\u{bb}\u{201c}\u{201d}\u{2ba}\u{2ee}\u{201f}\u{275d}\u{275e}\u{301d}\u{301e}\u{ff02}\u{2018}\
            \u{2019}\u{2bb}\u{2c8}\u{2bc}\u{2bd}\u{2b9}\u{201b}\u{ff07}\u{b4}\u{2ca}\u{60}\u{2cb}\u{275b}\u{275c}\u{313}\u{314}";
        let marks = "\u{fe10}\u{fe11}\u{f7}\u{bc}\u{bd}\u{be}\u{29f8}\u{337}\u{338}\u{2044}\u{2215}\u{ff0f}\u{29f9}\u{29f5}\
            \u{20e5}\u{fe68}\u{ff3c}\u{332}\u{ff3f}\u{20d2}\u{20d3}\u{2223}\u{ff5c}\u{23b8}\u{23b9}\u{23d0}\u{239c}\u{239f}\
            \u{23bc}\u{23bd}\u{2015}\u{fe63}\u{ff0d}\u{2010}\u{2022}\u{2043}\u{2012}\u{2013}\u{2014}\u{2011}\u{fe6b}\u{ff20}\
            \u{fe69}\u{ff04}\u{1c3}\u{fe15}\u{fe57}\u{ff01}\u{fe5f}\u{ff03}\u{fe6a}\u{ff05}\u{fe60}\u{ff06}\u{201a}\u{326}\
            \u{fe50}\u{3001}\u{fe51}\u{ff0c}\u{ff64}\u{2768}\u{276a}\u{fe59}\u{ff08}\u{27ee}\u{2985}\u{2769}\u{276b}\u{fe5a}\
            \u{ff09}\u{27ef}\u{2986}\u{204e}\u{2217}\u{229b}\u{2722}\u{2723}\u{2724}\u{2725}\u{2731}\u{2732}\u{2733}\u{273a}\
            \u{273b}\u{273c}\u{273d}\u{2743}\u{2749}\u{274a}\u{274b}\u{29c6}\u{fe61}\u{ff0a}\u{2d6}\u{fe62}\u{ff0b}\u{3002}\
            \u{fe52}\u{ff0e}\u{ff61}\u{2d0}\u{2f8}\u{2982}\u{a789}\u{fe13}\u{ff1a}\u{204f}\u{fe14}\u{fe54}\u{ff1b}\u{fe64}\
            \u{ff1c}\u{347}\u{a78a}\u{fe66}\u{ff1d}\u{fe65}\u{ff1e}\u{fe16}\u{fe56}\u{ff1f}\u{2c6}\u{302}\u{ff3e}\u{a788}\
            \u{2774}\u{fe5b}\u{ff5b}\u{2775}\u{fe5c}\u{ff5d}\u{ff3b}\u{ff3d}\u{2dc}\u{2f7}\u{303}\u{330}\u{334}\u{223c}\
            \u{ff5e}\u{203c}\u{2026}\u{2032}\u{2033}";
        let spaces = "\u{a0}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{202f}\
            \u{205f}\u{3000}\u{200b}\u{2060}\u{feff}\u{2028}\u{2029}";
        let full_width: String = ('\u{ff01}'..='\u{ff5e}').collect();
        let left: Vec<char> =
            [quotes, marks, spaces, &full_width].concat().chars().filter(|c| replacement(*c).is_none()).collect();
        assert_eq!(left, Vec::<char>::new());
    }

    proptest! {
        #[test]
        fn a_text_is_changed_only_into_gsm_7_that_costs_no_more(
            text in prop_oneof!["[a-z ’–…½ⅧéＡ\u{200b}\u{301}🎉я]{0,200}", "[a-z ’–…\u{200d}]{0,2000}", ".{0,100}"]
        ) {
            let plain = of(&text);
            if plain != text {
                prop_assert_eq!(encoding(&plain), Encoding::Gsm7);
                prop_assert_eq!(encoding(&text), Encoding::Ucs2);
                prop_assert!(segments(&plain) <= segments(&text));
                prop_assert!(!is_blank(&plain));
            }
            prop_assert_eq!(of(&plain), plain, "a second time changes nothing");
        }

        #[test]
        fn no_replacement_has_a_character_that_gsm_7_lacks(character: char) {
            if let Some(plain) = replacement(character) {
                prop_assert_eq!(encoding(&plain), Encoding::Gsm7, "{:?}", character);
            }
        }
    }

    #[test]
    fn what_a_carrier_replaces_does_not_change_the_core_of_a_text() {
        for (ours, theirs) in [
            ("“It’s ½ past…”", "\"It's 1/2 past...\""),
            ("1½ hours", "1 1/2 hours"),
            ("1½ hours", "11/2 hours"),
            ("ＡＢＣ１２", "ABC12"),
            ("ﬁne\u{a0}–\u{200b}ok", "fine -ok"),
            ("Cafe\u{301}", "Café"),
            ("№ 7", "No 7"),
            ("«Привет»", "\"Привет\""),
            ("🎉 «ok»", "🎉 \"ok\""),
        ] {
            let letters = |text: &str| core(text).chars().filter(|letter| letter.is_alphanumeric()).collect::<String>();
            assert_eq!(letters(ours), letters(theirs), "{ours} {theirs}");
        }
        assert_ne!(core("1"), core("2"));
    }
}
