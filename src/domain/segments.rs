//! Counts the SMS segments of a text, and shortens or splits a text that is too long. A cut is
//! never inside a grapheme cluster or a link, unless that alone is too long.
//!
//! GSM-7 and its extension are those of 3GPP TS 23.038, 6.2.1.

use super::characters::{self, is_blank};
use super::reply_filter;
use super::words::words;

/// The longest text that the carrier takes (<https://www.twilio.com/docs/api/errors/21617>), in
/// UTF-16 code units: its page says that emoji may count as more than one character.
pub const MOST_UNITS: usize = 1600;

/// How far behind a cut the end of a link is looked for.
const MOST_BYTES_OF_LINK: usize = 2048;

/// The length of a text as the carrier counts it.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

words! {
    /// The encoding of an SMS.
    pub enum Encoding {
        /// GSM-7. A character has 7 bits, or 14 if it is of the extension. A segment has 160
        /// characters.
        Gsm7 = "gsm7",
        /// UCS-2. A character has 16 bits, or 32 if it is beyond the basic plane. A segment has 70
        /// characters.
        Ucs2 = "ucs2",
    }
}

/// How many septets a character takes in GSM-7; `None` if GSM-7 lacks it.
pub(super) const fn septets(character: char) -> Option<usize> {
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

/// How many segments a text costs: one of 160 septets or 70 code units, else as many of 153 or 67
/// as it takes. A character is never split between two.
pub fn segments(text: &str) -> usize {
    match encoding(text) {
        Encoding::Gsm7 => count(160, 153, text.chars().map(|character| septets(character).unwrap_or(1))),
        Encoding::Ucs2 => count(70, 67, text.chars().map(char::len_utf16)),
    }
}

/// How many segments characters of these sizes fill: one of the size `one`, else as many of the
/// size `many` as it takes.
fn count(one: usize, many: usize, sizes: impl Iterator<Item = usize> + Clone) -> usize {
    if sizes.clone().sum::<usize>() <= one {
        return 1;
    }
    let (count, _) = sizes.fold(
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
        // No text so short takes more: a character of two septets has one byte at least, one of two
        // code units has four.
        let segments = if text.len() <= 70 { 1 } else { segments(text) };
        Self { encoding, segments: i32::try_from(segments).unwrap_or(i32::MAX) }
    }
}

/// Cuts a text into at most `most` parts that the carrier accepts, between words where possible.
/// Returns the parts and the rest. Does not scan the rest, so a text of megabytes costs no more
/// than its parts. What is blank is left out.
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
        let at = match characters::begins_with_space(after) {
            true => end,
            false => characters::last_space(part)
                .filter(|at| !is_blank(&part[..*at]))
                .unwrap_or_else(|| before_link(rest, end)),
        };
        let (part, after) = rest.split_at(at);
        parts.extend(filled(characters::trimmed_end(part)));
        rest = characters::trimmed_start(after);
    }
    if parts.len() < most {
        parts.extend(filled(rest));
        rest = "";
    }
    (parts, if is_blank(rest) { "" } else { characters::trimmed_end(rest) })
}

/// Where to cut a text without white space, so that no link is cut: at `end`, or before the link
/// that goes on there, if something visible stands before it.
fn before_link(text: &str, end: usize) -> usize {
    let within = &text[..text.floor_char_boundary(end + MOST_BYTES_OF_LINK)];
    reply_filter::link_around(within, end).filter(|start| !is_blank(&text[..*start])).unwrap_or(end)
}

fn filled(text: &str) -> Option<String> {
    (!is_blank(text)).then(|| text.to_owned())
}

/// The end of the longest prefix of whole clusters that has at most `most` UTF-16 code units. A
/// first cluster that is longer, such as a letter with a thousand accents, ends between two
/// characters.
fn end_of(text: &str, most: usize) -> usize {
    // No character has more units than bytes.
    if text.len() <= most {
        return text.len();
    }
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if units > most {
            return match characters::cluster_end(text, at) {
                0 => at,
                end => end,
            };
        }
    }
    text.len()
}

/// Cuts a text after a word and appends three dots, so that it costs at most `most_segments`. A
/// text that fits stays as it is. Returns how many characters were cut.
pub fn cut(text: String, most_segments: usize) -> (String, usize) {
    // A segment has at most 160 characters, so characters beyond `most_segments` times 160 need no
    // counting.
    let within = text.char_indices().nth(most_segments * 160 + 1).map_or(text.len(), |(at, _)| at);
    if within == text.len() && segments(&text) <= most_segments {
        return (text, 0);
    }
    let head = &text[..within];
    // More characters never cost fewer segments.
    let last_that_fits = |ends: Vec<usize>| {
        let fitting = ends.partition_point(|end| segments(&format!("{}...", &text[..*end])) <= most_segments);
        ends.get(fitting.saturating_sub(1)).copied().unwrap_or(0)
    };
    let end = match last_that_fits(characters::cluster_starts(head).collect()) {
        // The first cluster alone is too long.
        0 => last_that_fits(head.char_indices().map(|(at, _)| at).collect()),
        end => end,
    };
    let prefix = &text[..end];
    let words = characters::last_space(prefix).map(|at| characters::trimmed_end(&text[..at]));
    let kept = words.filter(|words| !is_blank(words)).unwrap_or_else(|| &text[..before_link(&text, prefix.len())]);
    (format!("{kept}..."), text[kept.len()..].chars().count())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_segmentation::UnicodeSegmentation;

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
    fn a_text_that_costs_too_much_is_cut_behind_a_word() {
        let text = "word ".repeat(100);
        let (short, missing) = cut(text.clone(), 2);
        assert!(short.ends_with("word..."), "{short}");
        assert_eq!(short.len() - 3 + missing, text.len());
        assert!(segments(&short) <= 2 && short.len() > 290, "{}", short.len());
        assert_eq!(cut("short".to_owned(), 1), ("short".to_owned(), 0));
        assert_eq!(cut("x".repeat(500), 1), (format!("{}...", "x".repeat(157)), 343));
    }

    #[test]
    fn no_cut_is_inside_a_link() {
        let link = "https://acme.com/menu";
        for before in 130..160 {
            let text = format!("{}{link}", "字".repeat(before));
            let (short, _) = cut(text.clone(), 2);
            assert!(short.ends_with(link) || short.ends_with("字..."), "{short}");
            let text = format!("{}{text}", "字".repeat(1450));
            let (parts, rest) = parts(&text, 2);
            assert!(parts.concat() == text && rest.is_empty());
            assert!(parts.iter().any(|part| part.contains(link)), "{parts:?}");
        }
        let alone = format!("https://acme.com/{}", "x".repeat(2000));
        assert_eq!(parts(&alone, 2).0.concat(), alone, "it is longer than a message");
    }

    /// A reply of 2 MB was cut into its 1,251 parts, and each cut counted the whole rest.
    #[test]
    fn a_text_of_megabytes_costs_what_is_sent_of_it() {
        let text = "a word and ".repeat(20_000_000 / 11);
        let began = std::time::Instant::now();
        let (parts, rest) = parts(&text, 10);
        let (short, _) = cut(text.clone(), 100);
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(parts.len(), 10);
        assert!(rest.len() > 19_900_000 && segments(&short) <= 100);
    }

    /// Clusters of several characters that are to stay together.
    const CLUSTERS: [&str; 14] = [
        "👨\u{200d}👩\u{200d}👧\u{200d}👦",
        "🇩🇪",
        "👍🏽",
        "e\u{301}",
        // Hangul by its parts, a conjunct of Devanagari, and Thai with two marks.
        "\u{1112}\u{1161}\u{11ab}",
        "क\u{94d}ष\u{93f}",
        "ก\u{e34}\u{e48}",
        "\r\n",
        "1\u{fe0f}\u{20e3}",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "❤\u{fe0f}\u{200d}🔥",
        "🏳\u{fe0f}\u{200d}🌈",
        " \u{301}",
        "a",
    ];

    /// Whether each of the pieces ends where a cluster of the text ends. White space and three dots
    /// do not count.
    fn keeps_clusters<'a>(text: &str, pieces: impl Iterator<Item = &'a str>) -> bool {
        let mut left = text.graphemes(true).filter(|cluster| !cluster.chars().all(characters::is_space));
        pieces
            .flat_map(|piece| piece.graphemes(true))
            .filter(|cluster| !cluster.chars().all(characters::is_space))
            .all(|cluster| left.next() == Some(cluster))
    }

    #[test]
    fn no_cut_is_inside_a_cluster() {
        for cluster in CLUSTERS {
            for before in 0..16 {
                let text = format!("{}{}", "x".repeat(before), cluster.repeat(1700));
                let (parts, rest) = parts(&text, 3);
                assert!(keeps_clusters(&text, parts.iter().map(String::as_str)), "{cluster:?} after {before}");
                assert!(parts.iter().all(|part| units(part) <= MOST_UNITS));
                let taken = parts.concat();
                assert!(is_blank(cluster) || text.starts_with(&taken) && text.ends_with(rest), "{cluster:?}");
                let (short, _) = cut(text.clone(), 2);
                let short = short.strip_suffix("...").expect("it is cut");
                assert!(keeps_clusters(&text, [short].into_iter()), "{cluster:?} after {before}: {short}");
            }
        }
    }

    #[test]
    fn a_cluster_that_is_longer_than_a_message_ends_all_the_same() {
        let zalgo = format!("Z{}", "\u{301}".repeat(5000));
        let text = format!("hello {zalgo} world");
        let (all, rest) = parts(&text, 100);
        assert_eq!((all.len(), rest, all[0].as_str()), (5, "", "hello"), "the word before it is whole");
        assert_eq!(all.concat().chars().filter(|letter| *letter == '\u{301}').count(), 5000);
        assert!(all.iter().all(|part| units(part) <= MOST_UNITS));
        let (short, missing) = cut(zalgo, 1);
        assert_eq!((units(&short), missing), (70, 5001 - 67));
    }

    #[test]
    fn a_part_without_anything_visible_is_left_out() {
        let text = format!("one{}two", " \u{2800}".repeat(3000));
        let (all, rest) = parts(&text, 10);
        assert_eq!((all.len(), rest), (2, ""), "{all:?}");
        assert_eq!(parts(&"\u{200b}".repeat(5000), 10), (Vec::new(), ""));
        assert_eq!(parts(&format!("one{}", " \u{200b}".repeat(3000)), 1).1, "", "nothing visible was cut");
    }

    /// The count once more, from the bits of the standard: a header of 6 bytes leaves 134 of the
    /// 140 bytes of a segment.
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
                prop_assert!(part.encode_utf16().count() <= MOST_UNITS && !is_blank(part));
            }
            let letters = |text: &str| text.chars().filter(|letter| !characters::is_invisible(*letter)).collect::<String>();
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
            prop_assert_eq!(is_blank(rest), all.len() <= most);
        }

        #[test]
        fn clusters_stay_whole_in_parts_and_in_cut_texts(
            pieces in proptest::collection::vec((proptest::sample::select(&CLUSTERS[..]), 1_usize..300), 1..20),
            most in 1_usize..5,
        ) {
            let text: String = pieces.iter().map(|(cluster, times)| cluster.repeat(*times)).collect();
            let (parts, _) = parts(&text, usize::MAX);
            prop_assert!(keeps_clusters(&text, parts.iter().map(String::as_str)), "{parts:?}");
            let (cut, missing) = cut(text.clone(), most);
            let kept = if missing == 0 { cut.as_str() } else { cut.strip_suffix("...").unwrap_or_default() };
            prop_assert!(keeps_clusters(&text, [kept].into_iter()), "{kept:?}");
        }

        #[test]
        fn a_cut_text_costs_what_it_may(text in texts(), most in 1_usize..5) {
            let (cut, missing) = cut(text.clone(), most);
            prop_assert!(segments(&cut) <= most);
            prop_assert_eq!(missing == 0, cut == text);
            prop_assert!(cut == text || text.starts_with(cut.trim_end_matches("...").trim_end_matches('.')));
        }
    }
}
