//! Finds the phone numbers of a text, and compares them by their digits.
//!
//! A number that only looks like one is told from a phone number by how it is written: a date, a
//! time, a sum, a range of years, an address of the internet, or a number behind `#`.

use std::net::Ipv4Addr;
use std::ops::Range;

use icu_properties::props::GeneralCategory;

use crate::domain::characters::category;

/// How many digits a phone number has: without the code of its area, and the most of E.164.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A phone number of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PhoneNumber {
    pub(super) range: Range<usize>,
    /// Its digits, without `00` before a country.
    pub(super) digits: String,
}

/// Digits without anything between them.
struct Group<'a> {
    start: usize,
    end: usize,
    digits: &'a str,
}

/// The phone numbers of a text, in order, but for those in some parts of it.
pub(super) fn phone_numbers(text: &str, except: &[Range<usize>]) -> Vec<PhoneNumber> {
    let groups = groups(text, except);
    let (mut found, mut first) = (Vec::new(), 0);
    while let Some(rest) = groups.get(first..).filter(|rest| !rest.is_empty()) {
        match number_of(text, rest) {
            Some((number, groups)) => {
                found.push(number);
                first += groups;
            }
            None => first += date(text, rest).unwrap_or(1),
        }
    }
    found
}

/// Whether a number with these digits is known as one of those. A number without its country is
/// the same as one with it; a country that nobody told may be the wrong one.
pub(super) fn is_same(digits: &str, known: &str) -> bool {
    let (own, other) = (digits.trim_start_matches('0'), known.trim_start_matches('0'));
    match own.len().cmp(&other.len()) {
        std::cmp::Ordering::Less => other.ends_with(own),
        std::cmp::Ordering::Equal => own == other,
        // 7 digits are in an area, and a country has at most 3.
        std::cmp::Ordering::Greater => other.len() >= 9 && own.len() - other.len() <= 3 && own.ends_with(other),
    }
}

fn groups<'a>(text: &'a str, except: &[Range<usize>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut except = except.iter().peekable();
    let mut rest = text;
    while let Some(at) = rest.find(|character: char| character.is_ascii_digit()) {
        let start = text.len() - rest.len() + at;
        let from = text.get(start..).unwrap_or_default();
        let digits = from.get(..from.bytes().take_while(u8::is_ascii_digit).count()).unwrap_or_default();
        let end = start + digits.len();
        rest = text.get(end..).unwrap_or_default();
        while except.next_if(|part| part.end <= start).is_some() {}
        if except.peek().is_none_or(|part| part.start >= end) {
            groups.push(Group { start, end, digits });
        }
    }
    groups
}

/// The phone number that some groups of digits begin with, and how many of them it has.
fn number_of(text: &str, groups: &[Group<'_>]) -> Option<(PhoneNumber, usize)> {
    let first = groups.first()?;
    let lead = lead(text, first)?;
    let (mut count, mut total) = (0, 0);
    for (n, group) in groups.iter().enumerate() {
        let joins = n
            .checked_sub(1)
            .and_then(|before| groups.get(before))
            .is_none_or(|before| is_separator(text.get(before.end..group.start).unwrap_or_default()));
        let is_date = !lead.is_international && date(text, groups.get(n..).unwrap_or_default()).is_some();
        total += group.digits.len();
        if !joins || is_date || total > *DIGITS.end() {
            break;
        }
        count += 1;
    }
    let ends_at = |last: &Group<'_>| {
        let number = text.get(first.start..last.end).unwrap_or_default();
        number.matches('(').count() <= number.matches(')').count()
            && may_follow(text.get(last.end..).unwrap_or_default())
    };
    let count = (1..=count).rev().find(|count| groups.get(count - 1).is_some_and(ends_at))?;
    let number = groups.get(..count)?;
    let end = number.last()?.end;
    // "+49 (0)151" has the 0 only for those who call from within the country.
    let is_optional = |group: &&Group<'_>| {
        lead.is_international
            && group.digits == "0"
            && text.get(..group.start).is_some_and(|before| before.ends_with('('))
    };
    let digits: String = number.iter().filter(|group| !is_optional(group)).map(|group| group.digits).collect();
    let digits = digits.strip_prefix("00").unwrap_or(&digits).to_owned();
    if !DIGITS.contains(&digits.len()) || (!lead.is_international && is_other(text, number)) {
        return None;
    }
    let has_bracket = text.get(first.start..end).is_some_and(|inner| inner.contains(')'));
    let start = if has_bracket { lead.start } else { lead.plus };
    Some((PhoneNumber { range: start..end, digits }, count))
}

/// What stands right before the digits of a number and belongs to it.
struct Lead {
    /// Where it begins, with an opening bracket.
    start: usize,
    /// Where it begins, without one.
    plus: usize,
    is_international: bool,
}

/// `None`: what stands before the digits says that they are no phone number.
fn lead(text: &str, first: &Group<'_>) -> Option<Lead> {
    let before = text.get(..first.start)?;
    let (rest, plus, has_plus) = match before.strip_suffix('+').or_else(|| before.strip_suffix("+(")) {
        Some(rest) => (rest, rest.len(), true),
        None => (before, before.len(), false),
    };
    let rest = rest.strip_suffix('(').unwrap_or(rest);
    let mut characters = rest.chars().rev();
    let excluded = match (characters.next(), characters.next()) {
        (None, _) => false,
        (Some(last), _) if has_plus => last.is_alphabetic(),
        (Some('.' | ':' | '-' | '–' | '/'), Some(earlier)) if earlier.is_ascii_digit() => true,
        (Some('-' | '/'), Some(earlier)) => earlier.is_alphanumeric(),
        (Some(' '), Some(earlier)) => is_currency(earlier),
        (Some(last), _) => last.is_alphanumeric() || matches!(last, '#' | '_' | '@' | '%' | '=') || is_currency(last),
    };
    let is_international = has_plus || first.digits.starts_with("00");
    (!excluded).then_some(Lead { start: rest.len(), plus, is_international })
}

fn is_currency(character: char) -> bool {
    category(character) == GeneralCategory::CurrencySymbol
}

/// Whether a phone number may end before this text.
fn may_follow(rest: &str) -> bool {
    let mut characters = rest.chars();
    match (characters.next(), characters.next()) {
        (None, _) => true,
        (Some(':'), Some(next)) => !next.is_ascii_digit(),
        // The cents of a sum.
        (Some(','), Some(next)) if next.is_ascii_digit() => {
            rest.bytes().skip(1).take_while(u8::is_ascii_digit).count() > 2
        }
        (Some(' '), Some(next)) => !is_currency(next),
        (Some(next), _) => !next.is_alphanumeric() && !matches!(next, '_' | '%' | '@') && !is_currency(next),
    }
}

/// Whether a phone number may have this between two groups of its digits.
fn is_separator(gap: &str) -> bool {
    (1..=3).contains(&gap.chars().count())
        && gap.chars().all(|character| {
            matches!(
                character,
                ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}' | '-' | '.' | '(' | ')' | '/' | '\u{2010}' | '\u{2011}' | '–'
            )
        })
}

/// How many groups a date has that some groups begin with.
fn date(text: &str, groups: &[Group<'_>]) -> Option<usize> {
    let [first, second, third, ..] = groups else { return None };
    let gap = |before: &Group<'_>, after: &Group<'_>| text.get(before.end..after.start).unwrap_or_default();
    let mark = gap(first, second);
    let goes_on = groups.get(3).is_some_and(|fourth| gap(third, fourth) == mark);
    let day_or_month =
        |group: &Group<'_>| group.digits.len() <= 2 && group.digits.parse::<u8>().is_ok_and(|number| number <= 31);
    let is_date = match first.digits.len() {
        4 => day_or_month(second) && day_or_month(third),
        _ => day_or_month(first) && day_or_month(second) && matches!(third.digits.len(), 2 | 4),
    };
    (matches!(mark, "-" | "." | "/") && gap(second, third) == mark && !goes_on && is_date).then_some(3)
}

/// Whether groups of digits that could be a phone number without a country are another number.
fn is_other(text: &str, groups: &[Group<'_>]) -> bool {
    let gaps: Vec<&str> =
        groups.windows(2).filter_map(|pair| text.get(pair.first()?.end..pair.last()?.start)).collect();
    let whole = groups.first().zip(groups.last()).and_then(|(first, last)| text.get(first.start..last.end));
    let lengths: Vec<usize> = groups.iter().map(|group| group.digits.len()).collect();
    let is_decimal = gaps == ["."];
    let is_counting = lengths.iter().filter(|length| **length == 1).count() >= 2;
    let is_year = |group: &Group<'_>| group.digits.starts_with(['1', '2']);
    let are_years = lengths == [4, 4] && !gaps.contains(&" ") && groups.iter().all(is_year);
    // 24.12 - 25.12
    let are_dates = lengths == [2, 2, 2, 2] && matches!(gaps.as_slice(), [".", between, "."] if *between != ".");
    // 1 000 000
    let is_sum = gaps.len() >= 2
        && lengths.iter().skip(1).all(|length| *length == 3)
        && groups.last().is_some_and(|last| last.digits == "000");
    is_decimal
        || is_counting
        || are_years
        || are_dates
        || is_sum
        || whole.is_some_and(|whole| whole.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, String)> {
        phone_numbers(text, &[]).into_iter().map(|number| (&text[number.range], number.digits)).collect()
    }

    #[test]
    fn phone_numbers_are_found_as_people_write_them() {
        for (text, number, digits) in [
            ("Call +14155550101.", "+14155550101", "14155550101"),
            ("Call +1 (415) 555-0101 now", "+1 (415) 555-0101", "14155550101"),
            ("(415) 555-0101", "(415) 555-0101", "4155550101"),
            ("Call us (415-555-0101)!", "415-555-0101", "4155550101"),
            ("(+49 151 12345678)", "+49 151 12345678", "4915112345678"),
            ("+49 (0)151 12345678", "+49 (0)151 12345678", "4915112345678"),
            ("0049 151 12345678", "0049 151 12345678", "4915112345678"),
            ("0151/12345678", "0151/12345678", "015112345678"),
            ("06 12 34 56 78", "06 12 34 56 78", "0612345678"),
            ("06.12.34.56.78", "06.12.34.56.78", "0612345678"),
            ("555-0101", "555-0101", "5550101"),
            ("5550101", "5550101", "5550101"),
            ("tel:5550101", "5550101", "5550101"),
            ("9123 4567", "9123 4567", "91234567"),
            ("+12345678", "+12345678", "12345678"),
            ("555\u{2011}0101", "555\u{2011}0101", "5550101"),
            ("On 2026-03-04 call 555-0101", "555-0101", "5550101"),
            ("555-0101 at 10:30", "555-0101", "5550101"),
        ] {
            assert_eq!(found(text), [(number, digits.to_owned())], "{text:?}");
        }
        assert_eq!(found("555-0101, 555-0102").len(), 2);
        assert_eq!(found("555-0101,555-0102").len(), 2);
        assert_eq!(found("4155550101 4155550102").len(), 2);
        assert_eq!(found("+14155550101+14155550102").len(), 2);
    }

    #[test]
    fn other_numbers_are_no_phone_numbers() {
        for text in [
            "",
            "911",
            "555010",
            "2026-03-04",
            "2026-03-04 10:30",
            "04.03.2026",
            "04.03.26 10:30",
            "3/4/2026 - 5/4/2026",
            "24.12/25.12",
            "1939-1945",
            "2024–2026",
            "10:30-12:45",
            "$1234567",
            "€ 1234567",
            "1234567 €",
            "1 500 000",
            "1,500,000",
            "1234567,89",
            "3.1415926",
            "192.168.100.200",
            "#1234567",
            "order A-1234567",
            "AB1234567",
            "1234567x",
            "1 2 3 4 5 6 7 8",
            "12345678901234567890",
            "1234567%",
            "12345678@example.com",
        ] {
            assert_eq!(found(text), [], "{text:?}");
        }
    }

    #[test]
    fn a_number_is_the_same_with_its_country_and_without() {
        for (digits, known, same) in [
            ("14155550101", "14155550101", true),
            ("4155550101", "14155550101", true),
            ("5550101", "14155550101", true),
            ("14155550101", "4155550101", true),
            ("015112345678", "4915112345678", true),
            ("4915112345678", "015112345678", true),
            ("14155550101", "14155550102", false),
            ("5550102", "14155550101", false),
            // Another area or country than the one that was told.
            ("9005550101", "5550101", false),
            ("99914155550101", "4155550101", false),
        ] {
            assert_eq!(is_same(digits, known), same, "{digits} {known}");
        }
    }

    #[test]
    fn what_is_in_a_link_is_left_out() {
        let text = "https://x.y/5550101 5550102 https://x.y/5550103";
        let found = phone_numbers(text, &[0..19, 28..47]);
        assert_eq!(found.iter().map(|number| number.digits.as_str()).collect::<Vec<_>>(), ["5550102"]);
    }
}
