//! Counts the SMS segments of a text, and shortens or splits a text that is too long.
//!
//! GSM-7 and its extension are those of 3GPP TS 23.038, 6.2.1.

use super::words::words;

/// The longest text that the carrier takes (<https://www.twilio.com/docs/api/errors/21617>), in UTF-16 code units: its
/// page says that emoji may count as more than one character.
pub const MOST_UNITS: usize = 1600;

/// The length of a text as the carrier counts it.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Whether a text has only blanks and characters without width.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|letter| {
        letter.is_whitespace() || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    })
}

words! {
    /// The encoding of an SMS.
    pub enum Encoding {
        /// GSM-7. A character has 7 bits, or 14 if it is of the extension. A segment has 160 characters.
        Gsm7 = "gsm7",
        /// UCS-2. A character has 16 bits, or 32 if it is beyond the basic plane. A segment has 70 characters.
        Ucs2 = "ucs2",
    }
}

/// How many septets a character takes in GSM-7; `None` if GSM-7 lacks it.
const fn septets(character: char) -> Option<usize> {
    match character {
        '\u{c}' | '^' | '{' | '}' | '\\' | '[' | ']' | '~' | '|' | '€' => Some(2),
        '\n' | '\r' | ' '..='Z' if character != '`' => Some(1),
        'a'..='z' | '_' => Some(1),
        '£' | '¥' | 'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' | 'Δ' | 'Φ' | 'Γ' | 'Λ' | 'Ω' | 'Π'
        | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' | 'Æ' | 'æ' | 'ß' | 'É' | '¤' | '¡' | 'Ä' | 'Ö' | 'Ñ' | 'Ü' | '§' | '¿' | 'ä' | 'ö'
        | 'ñ' | 'ü' | 'à' => Some(1),
        _ => None,
    }
}

/// The encoding that a text needs.
pub fn encoding(text: &str) -> Encoding {
    if text.chars().all(|character| septets(character).is_some()) { Encoding::Gsm7 } else { Encoding::Ucs2 }
}

/// How many segments a text costs: one of 160 septets or 70 code units, else as many of 153 or 67 as it takes. A
/// character is never split between two.
pub fn segments(text: &str) -> usize {
    let (one, many, sizes): (usize, usize, Vec<usize>) = match encoding(text) {
        Encoding::Gsm7 => (160, 153, text.chars().map(|character| septets(character).unwrap_or(1)).collect()),
        Encoding::Ucs2 => (70, 67, text.chars().map(char::len_utf16).collect()),
    };
    if sizes.iter().sum::<usize>() <= one {
        return 1;
    }
    let (count, _) =
        sizes.into_iter().fold(
            (1, 0),
            |(count, filled), size| {
                if filled + size > many { (count + 1, size) } else { (count, filled + size) }
            },
        );
    count
}

/// What a text costs on a channel that has segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Segmentation {
    pub encoding: Encoding,
    pub segments: i32,
}

impl Segmentation {
    /// The encoding and the segments of a text.
    pub fn of(text: &str) -> Self {
        let encoding = encoding(text);
        // No text so short takes more: a character of two septets has one byte at least, one of two code units has four.
        let segments = if text.len() <= 70 { 1 } else { segments(text) };
        Self { encoding, segments: i32::try_from(segments).unwrap_or(i32::MAX) }
    }
}

/// The plain characters for a typographic character.
const fn plain_character(character: char) -> Option<&'static str> {
    Some(match character {
        '‘' | '’' | '‚' | '‛' | '′' | '´' | '`' | 'ʼ' => "'",
        '“' | '”' | '„' | '‟' | '″' | '«' | '»' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => "-",
        '…' => "...",
        '•' | '·' => "*",
        '‹' => "<",
        '›' => ">",
        '⁄' => "/",
        '\t' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => "",
        _ => return None,
    })
}

/// Replaces typographic characters by plain ones if that makes the text GSM-7. Otherwise the text stays as it is, because
/// the replacement would save nothing.
pub fn plain(text: String) -> String {
    if encoding(&text) == Encoding::Gsm7 {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match (septets(character), plain_character(character)) {
            (None, Some(instead)) => plain.push_str(instead),
            _ => plain.push(character),
        }
    }
    if encoding(&plain) == Encoding::Gsm7 { plain } else { text }
}

/// Cuts a text into at most `most` parts that the carrier accepts, between words where possible. Returns the parts and
/// the rest. Does not scan the rest, so a text of megabytes costs no more than its parts.
pub fn parts(text: &str, most: usize) -> (Vec<String>, &str) {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let end = end_of(rest, MOST_UNITS);
        if parts.len() >= most || end == rest.len() {
            break;
        }
        let (part, after) = rest.split_at(end);
        // A word that ends exactly here needs no earlier cut.
        let at = match after.chars().next() {
            Some(next) if next.is_whitespace() => end,
            _ => part.char_indices().rev().find(|(_, letter)| letter.is_whitespace()).map_or(end, |(at, _)| at),
        };
        let (part, after) = rest.split_at(if rest[..at].trim().is_empty() { end } else { at });
        parts.extend(filled(part.trim_end()));
        rest = after.trim_start();
    }
    if parts.len() < most {
        parts.extend(filled(rest));
        rest = "";
    }
    (parts, rest.trim_end())
}

fn filled(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}

/// The end of the longest prefix that has at most `most` UTF-16 code units.
fn end_of(text: &str, most: usize) -> usize {
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if units > most {
            return at;
        }
    }
    text.len()
}

/// Cuts a text after a word and appends three dots, so that it costs at most `most_segments`. A text that fits stays as
/// it is.
pub fn cut(text: String, most_segments: usize) -> String {
    // A segment has at most 160 characters, so characters beyond `most_segments` times 160 need no counting.
    let within = text.char_indices().nth(most_segments * 160 + 1).map_or(text.len(), |(at, _)| at);
    if within == text.len() && segments(&text) <= most_segments {
        return text;
    }
    let text = &text[..within];
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    // More characters never cost fewer segments.
    let fitting = ends.partition_point(|end| segments(&format!("{}...", &text[..*end])) <= most_segments);
    let end = ends.get(fitting.saturating_sub(1)).copied().unwrap_or(0);
    let prefix = &text[..end];
    let word_ends = prefix.char_indices().rev().find(|(_, letter)| letter.is_whitespace()).map(|(at, _)| at);
    let prefix = word_ends.map(|at| text[..at].trim_end()).filter(|kept| !kept.is_empty()).unwrap_or(prefix);
    format!("{prefix}...")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limits_are_those_of_the_carriers_page() {
        for (text, count) in [
            (String::new(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            // 153 is odd: the last septet of a segment stays empty.
            ("€".repeat(153), 3),
            ("я".repeat(70), 1),
            ("я".repeat(71), 2),
            ("я".repeat(134), 2),
            ("🎉".repeat(35), 1),
            ("🎉".repeat(36), 2),
            // 67 is odd too.
            ("🎉".repeat(67), 3),
        ] {
            assert_eq!(segments(&text), count, "{} of {:?}", text.chars().count(), text.chars().next());
        }
        assert_eq!(encoding("Crème brûlée"), Encoding::Ucs2, "û is not in it");
        assert_eq!(encoding("é à ñ ß Ω €"), Encoding::Gsm7);
        assert_eq!(encoding("`"), Encoding::Ucs2);
    }

    #[test]
    fn typographic_characters_are_replaced_where_they_alone_cost() {
        assert_eq!(plain("“It’s – well… fine”".to_owned()), "\"It's - well... fine\"");
        assert_eq!(plain("It’s 🎉".to_owned()), "It’s 🎉", "it stays UCS-2 either way");
        assert_eq!(plain("plain".to_owned()), "plain");
    }

    #[test]
    fn a_text_that_costs_too_much_is_cut_behind_a_word() {
        let text = "word ".repeat(100);
        let short = cut(text, 2);
        assert!(short.ends_with("word..."), "{short}");
        assert!(segments(&short) <= 2 && short.len() > 290, "{}", short.len());
        assert_eq!(cut("short".to_owned(), 1), "short");
        assert_eq!(cut("x".repeat(500), 1), format!("{}...", "x".repeat(157)));
    }

    /// A reply of 2 MB was cut into its 1,251 parts, and each cut counted the whole rest.
    #[test]
    fn a_text_of_megabytes_costs_what_is_sent_of_it() {
        let text = "a word and ".repeat(20_000_000 / 11);
        let began = std::time::Instant::now();
        let (parts, rest) = parts(&text, 10);
        let short = cut(text.clone(), 100);
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(parts.len(), 10);
        assert!(rest.len() > 19_900_000 && segments(&short) <= 100);
    }

    /// The count once more, from the bits of the standard: a header of 6 bytes leaves 134 of the 140 bytes of a segment.
    fn by_bits(text: &str) -> usize {
        const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
        const EXTENSION: &str = "\u{c}^{}\\[~]|€";
        let gsm = text.chars().all(|c| BASIC.contains(c) || EXTENSION.contains(c));
        let bits: Vec<usize> = text
            .chars()
            .map(|c| match gsm {
                true => 7 * if BASIC.contains(c) { 1 } else { 2 },
                false => 8 * c.to_string().encode_utf16().flat_map(u16::to_be_bytes).count(),
            })
            .collect();
        if bits.iter().sum::<usize>() <= 140 * 8 {
            return 1;
        }
        let mut free = vec![134 * 8];
        for needed in bits {
            match free.last_mut() {
                Some(left) if *left >= needed => *left -= needed,
                _ => free.push(134 * 8 - needed),
            }
        }
        free.len()
    }

    fn texts() -> impl Strategy<Value = String> {
        let letters = prop_oneof![
            6 => Just("plain".to_owned()),
            2 => Just(" ".to_owned()),
            2 => Just("€".to_owned()),
            1 => Just("[{^~}]".to_owned()),
            1 => Just("ñü".to_owned()),
            1 => Just("\n".to_owned()),
        ];
        let wild = prop_oneof![
            Just("я".to_owned()),
            Just("🎉".to_owned()),
            Just("’".to_owned()),
            any::<char>().prop_map(String::from)
        ];
        prop_oneof![
            proptest::collection::vec(letters.clone(), 0..120).prop_map(|parts| parts.concat()),
            proptest::collection::vec(prop_oneof![3 => letters, 1 => wild], 0..400).prop_map(|parts| parts.concat()),
        ]
    }

    proptest! {
        #[test]
        fn the_count_is_that_of_the_standards_bits(text in texts()) {
            prop_assert_eq!(segments(&text), by_bits(&text));
            let whole = Segmentation { encoding: encoding(&text), segments: i32::try_from(by_bits(&text)).expect("few") };
            prop_assert_eq!(Segmentation::of(&text), whole);
        }

        #[test]
        fn parts_fit_and_hold_every_word(text in proptest::collection::vec(texts(), 0..12).prop_map(|texts| texts.join(" "))) {
            let (parts, rest) = parts(&text, usize::MAX);
            prop_assert_eq!(rest, "");
            for part in &parts {
                prop_assert!(part.encode_utf16().count() <= MOST_UNITS && !part.trim().is_empty());
            }
            let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&parts.concat()), letters(&text));
            if text.split_whitespace().all(|word| word.encode_utf16().count() <= MOST_UNITS) {
                let words: Vec<&str> = parts.iter().flat_map(|part| part.split_whitespace()).collect();
                prop_assert_eq!(words, text.split_whitespace().collect::<Vec<_>>(), "no word is cut that fits");
            }
        }

        #[test]
        fn so_many_parts_are_the_first_of_all(text in proptest::collection::vec(texts(), 0..12).prop_map(|texts| texts.join(" ")), most in 0_usize..4) {
            let (all, _) = parts(&text, usize::MAX);
            let (some, rest) = parts(&text, most);
            prop_assert_eq!(&some[..], &all[..most.min(all.len())]);
            prop_assert_eq!(rest.trim().is_empty(), all.len() <= most);
        }

        #[test]
        fn a_cut_text_costs_what_it_may(text in texts(), most in 1_usize..5) {
            let cut = cut(text.clone(), most);
            prop_assert!(segments(&cut) <= most);
            prop_assert!(cut == text || text.starts_with(cut.trim_end_matches("...").trim_end_matches('.')));
        }
    }
}
