//! Masks phone numbers. A carrier's error or an agent's own line may repeat a contact's number, so
//! every line is searched.

use std::borrow::Cow;

/// A phone number as logs may show it: the last four digits, and of a short code at most half.
pub fn masked(number: &str) -> String {
    let characters = number.chars().count();
    let hidden = characters - (characters / 2).min(4);
    format!("…{}", number.chars().skip(hidden).collect::<String>())
}

/// How many digits a number in E.164 has after its plus.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A log line in which each number in E.164 is masked, also one whose plus is encoded as in a URL.
pub(super) fn without_numbers(line: Cow<'_, str>) -> Cow<'_, str> {
    if find(&line).is_none() {
        return line;
    }
    let mut kept = String::with_capacity(line.len());
    let mut rest = &*line;
    while let Some((before, number, after)) = find(rest) {
        kept.push_str(before);
        kept.push_str(&masked(number));
        rest = after;
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// The first number in a text, without its plus, with what is before and after it.
fn find(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let plus = from + text.get(from..)?.find(['+', '%'])?;
        let sign = if text.get(plus..)?.starts_with('+') { 1 } else { 3 };
        let is_plus = sign == 1 || text.get(plus..plus + 3).is_some_and(|code| code.eq_ignore_ascii_case("%2b"));
        let begins = plus + sign;
        let digits = text.get(begins..).unwrap_or_default().bytes().take_while(u8::is_ascii_digit).count();
        if is_plus && DIGITS.contains(&digits) {
            let ends = begins + digits;
            return Some((text.get(..plus)?, text.get(begins..ends)?, text.get(ends..)?));
        }
        from = plus + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_logged_whole() {
        for (number, expected) in [
            ("+14155550101", "…0101"),
            ("+1234567", "…4567"),
            ("72975", "…75"),
            ("123", "…3"),
            ("whatsapp:+14155550101", "…0101"),
            ("é", "…"),
            ("", "…"),
        ] {
            assert_eq!(masked(number), expected, "{number}");
        }
    }

    #[test]
    fn each_number_in_a_line_is_masked() {
        for (line, expected) in [
            ("to +14155550101, from +4915112345678.", "to …0101, from …5678."),
            ("To=%2B14155550101&From=%2b14155550102", "To=…0101&From=…0102"),
            ("100%, 1+1, +12, ++14155550101", "100%, 1+1, +12, +…0101"),
            ("+1234567890123456 has too many digits", "+1234567890123456 has too many digits"),
            ("2026-01-01T00:00:00+00:00 é%", "2026-01-01T00:00:00+00:00 é%"),
            ("%", "%"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(line.into()), expected);
        }
    }
}
