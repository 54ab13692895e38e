//! Smart encoding: a messaging service replaces characters that would make a text UCS-2
//! (<https://www.twilio.com/docs/messaging/services/smart-encoding-char-list>). Some of them are
//! enough for tests.

/// A text as it leaves with smart encoding.
pub fn encode(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut encoded, character| {
        match replacement(character) {
            Some(plain) => encoded.push_str(plain),
            None => encoded.push(character),
        }
        encoded
    })
}

const fn replacement(character: char) -> Option<&'static str> {
    Some(match character {
        '«' | '»' | '“' | '”' | '„' | '″' => "\"",
        '‘' | '’' | '‚' | '′' | '`' => "'",
        '‐' | '‑' | '–' | '—' => "-",
        '…' => "...",
        '\u{a0}' | '\u{2002}' | '\u{2003}' | '\u{2009}' | '\u{202f}' => " ",
        '\u{200b}' | '\u{feff}' => "",
        '½' => "1/2",
        '¼' => "1/4",
        '¾' => "3/4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typographic_characters_become_plain_ones_and_others_stay() {
        for (text, encoded) in [
            ("“It’s 5 o’clock…”", "\"It's 5 o'clock...\""),
            ("a\u{a0}–\u{200b}b", "a -b"),
            ("½ Grüße 🎉", "1/2 Grüße 🎉"),
        ] {
            assert_eq!(encode(text), encoded);
        }
    }
}
