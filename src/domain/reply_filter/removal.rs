//! Takes parts out of a text so that the rest stays readable.

use std::ops::Range;

use crate::domain::characters::is_space;

/// Characters that stand around a part that is removed, and go with it.
const PAIRS: [(char, char); 14] = [
    ('(', ')'),
    ('[', ']'),
    ('{', '}'),
    ('<', '>'),
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('*', '*'),
    ('_', '_'),
    ('“', '”'),
    ('„', '“'),
    ('‘', '’'),
    ('«', '»'),
    ('（', '）'),
];

/// The text without some parts, in order, each within a line. Brackets and quotes around a part go
/// with it, so do blanks, and a line of which neither a letter nor a digit is left.
pub(super) fn without(text: &str, parts: &[Range<usize>]) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut at, mut next) = (0, 0);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        let in_line = parts.get(next..).unwrap_or_default().iter().take_while(|part| part.start < end);
        let parts: Vec<Range<usize>> = in_line.map(|part| part.start - at..part.end - at).collect();
        next += parts.len();
        at = end;
        let cleaned = if parts.is_empty() { line.to_owned() } else { line_without(line, &parts) };
        kept.push_str(&cleaned);
    }
    // The last line may be gone, and with it what its line end was for.
    if !text.ends_with('\n') && kept.ends_with('\n') {
        kept.truncate(kept.trim_end_matches(is_space).len());
    }
    kept
}

fn line_without(line: &str, parts: &[Range<usize>]) -> String {
    let words = line.trim_end_matches(['\r', '\n']);
    let (mut kept, mut at) = (String::with_capacity(line.len()), 0);
    for part in parts {
        let Range { start, end } = with_pair(words, at, part);
        kept.push_str(words.get(at..start).unwrap_or_default());
        at = end;
        let after = words.get(at..).unwrap_or_default();
        let trimmed = after.trim_start_matches(is_space);
        if trimmed.is_empty() || trimmed.starts_with(['.', ',', ';', ':', '!', '?', ')', ']', '}', '…']) {
            kept.truncate(kept.trim_end_matches(is_space).len());
        }
        if kept.is_empty() || kept.ends_with(is_space) || kept.ends_with(['(', '[', '{']) {
            at = words.len() - trimmed.len();
        } else if kept.ends_with(char::is_alphanumeric) && after.starts_with(char::is_alphanumeric) {
            // Two words must not become one.
            kept.push(' ');
        }
    }
    kept.push_str(words.get(at..).unwrap_or_default());
    if !kept.contains(char::is_alphanumeric) {
        return String::new();
    }
    kept.push_str(line.get(words.len()..).unwrap_or_default());
    kept
}

/// A part with the brackets and quotes that stand around it and nothing else. `after`: where the
/// part before it ends.
fn with_pair(line: &str, after: usize, part: &Range<usize>) -> Range<usize> {
    let mut part = part.start.max(after)..part.end.max(after);
    loop {
        let before = line.get(after..part.start).unwrap_or_default().trim_end_matches(is_space);
        let rest = line.get(part.end..).unwrap_or_default();
        let rest = rest.trim_start_matches(is_space);
        let pair = PAIRS.iter().find(|(open, close)| before.ends_with(*open) && rest.starts_with(*close));
        let Some((open, close)) = pair else { return part };
        part = after + before.len() - open.len_utf8()..line.len() - rest.len() + close.len_utf8();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Removes each `X` of a text.
    fn without_x(text: &str) -> String {
        let parts: Vec<Range<usize>> = text.match_indices('X').map(|(at, found)| at..at + found.len()).collect();
        without(text, &parts)
    }

    #[test]
    fn what_is_left_reads_as_if_the_part_had_never_been_there() {
        for (text, left) in [
            ("See X for more", "See for more"),
            ("See X.", "See."),
            ("See X", "See"),
            ("X is it", "is it"),
            ("See the menu (X).", "See the menu."),
            ("See the menu ( X ), please", "See the menu, please"),
            ("See [“X”] now", "See now"),
            ("See (X or X)", "See (or)"),
            ("(see X)", "(see)"),
            ("X", ""),
            ("X\n", ""),
            ("- X\n- b\n", "- b\n"),
            ("a\n- X\n- b", "a\n- b"),
            ("a\n- X", "a"),
            ("a\n\nX", "a"),
            ("a:X\r\nb", "a:\r\nb"),
            ("👉 X\nb", "b"),
            ("aXb", "a b"),
            ("a  X  b", "a  b"),
            ("X X X", ""),
            ("a X X b", "a b"),
            ("((X))", ""),
            ("a (X)(X) b", "a b"),
            ("no part", "no part"),
            ("", ""),
        ] {
            assert_eq!(without_x(text), left, "{text:?}");
        }
    }
}
