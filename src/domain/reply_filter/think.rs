//! Cuts what a language model thought before it answered. Servers that do not keep thoughts apart
//! send them with the answer, between tags.

use std::borrow::Cow;

use crate::domain::characters::{is_space, trimmed_end, trimmed_start};

/// The names of the tags, in any case.
const NAMES: [&str; 3] = ["think", "thinking", "reasoning"];

/// A tag, as the range of its bytes.
struct Tag {
    start: usize,
    end: usize,
    closes: bool,
}

/// The text without thoughts: what stands between a tag and the next closing one, what stands
/// before a closing tag that nothing opened, and what follows a tag that begins a line and is never
/// closed. A tag within a line that is never closed is a word like any other.
pub fn cut(text: &str) -> Cow<'_, str> {
    let tags: Vec<Tag> = text.match_indices('<').filter_map(|(at, _)| tag(text, at)).collect();
    if tags.is_empty() {
        return Cow::Borrowed(text);
    }
    // The parts of the answer. A thought stands between two of them.
    let (mut parts, mut rest, mut open): (Vec<&str>, usize, Option<&Tag>) = (Vec::new(), 0, None);
    for tag in &tags {
        match (open, tag.closes) {
            (None, false) => open = Some(tag),
            (Some(_), false) => {}
            (Some(opening), true) => {
                parts.push(text.get(rest..opening.start).unwrap_or_default());
                (rest, open) = (tag.end, None);
            }
            (None, true) => {
                parts = vec![""];
                rest = tag.end;
            }
        }
    }
    let unclosed = tags.iter().filter(|tag| !tag.closes && tag.start >= rest);
    let before = |tag: &Tag| text.get(rest..tag.start).unwrap_or_default();
    match unclosed.map(before).find(|before| begins_line(&parts, before)) {
        Some(last) => parts.extend([last, ""]),
        None => parts.push(text.get(rest..).unwrap_or_default()),
    }
    match parts.len() {
        0 | 1 => Cow::Borrowed(text),
        _ => Cow::Owned(joined(&parts)),
    }
}

/// The tag that begins at a position, if there is one.
fn tag(text: &str, start: usize) -> Option<Tag> {
    let inner = text.get(start..)?.strip_prefix('<')?;
    let (closes, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
    let length = inner.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, after) = inner.split_at_checked(length)?;
    let after = after.trim_start().strip_prefix('>')?;
    let is_known = NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    is_known.then_some(Tag { start, end: text.len() - after.len(), closes })
}

/// Whether what follows these parts of a text and `last` begins a line of the answer.
fn begins_line(parts: &[&str], last: &str) -> bool {
    for part in std::iter::once(last).chain(parts.iter().rev().copied()) {
        let line = part.trim_end_matches(|character| is_space(character) && character != '\n');
        if line.ends_with('\n') {
            return true;
        }
        if !line.is_empty() {
            return false;
        }
    }
    true
}

/// The parts with one gap where a thought stood: a blank line, a line end or a blank, by what was
/// around it. Two words never become one, and no new tag comes of two halves.
fn joined(parts: &[&str]) -> String {
    let mut parts = parts.iter();
    let mut answer = parts.next().copied().unwrap_or_default().to_owned();
    for part in parts {
        let (end, after) = (trimmed_end(&answer).len(), trimmed_start(part));
        let line_ends = |gap: Option<&str>| gap.map_or(0, |gap| gap.matches('\n').count());
        let most = line_ends(answer.get(end..)).max(line_ends(part.get(..part.len() - after.len())));
        let gap = match most {
            _ if end == 0 || after.is_empty() => "",
            0 => " ",
            1 => "\n",
            _ => "\n\n",
        };
        answer.truncate(end);
        answer.push_str(gap);
        answer.push_str(after);
    }
    answer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thoughts_are_cut_and_the_answer_stays() {
        for (text, answer) in [
            ("<think>They want pizza.</think>\n\nWe have pizza.", "We have pizza."),
            ("<THINK>a</Think>b", "b"),
            ("<thinking>\na\n</thinking>\nb", "b"),
            ("<reasoning >a</reasoning>\nb", "b"),
            ("<think></think>\n\nb", "b"),
            ("b\n\n<think>a</think>\n\nc", "b\n\nc"),
            ("b\n<think>a</think> c", "b\nc"),
            ("b<think>a</think>c", "b c"),
            ("b <think>a</think>", "b"),
            // A model that begins with a thought may lack the first tag, one that was cut off the
            // last.
            ("They want pizza.\n</think>\n\nWe have pizza.", "We have pizza."),
            ("a</think>b</think>c", "c"),
            ("<think>They want", ""),
            (" \n<think>They want", ""),
            ("We have pizza.\n<think>They want", "We have pizza."),
            ("<think>a</think><think>b", ""),
            ("b\n<think>a</think> <think>c", "b"),
            ("<think>a <think> b</think>c", "c"),
            ("Use <think> here\n<think>secret", "Use <think> here"),
            // One kind of tag may end what another one began.
            ("<think>a</thinking>b", "b"),
        ] {
            assert_eq!(cut(text), answer, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_thought_stays_as_it_is() {
        for text in [
            "",
            " a ",
            "I think so",
            "1 < 2",
            "<thinker>a</thinker>",
            "<think",
            "<think a>",
            "< think>a",
            "The tag <think> opens a thought.",
            "The tag <think> opens\na thought.",
            "think>a",
        ] {
            assert_eq!(cut(text), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_of_a_thought(text in "(<think>|</think>|<THINKING>|</reasoning >|<thi|nk>|</|a|b| |\n){0,16}") {
            let answer = cut(&text).into_owned();
            prop_assert!(answer.len() <= text.len());
            prop_assert_eq!(cut(&answer), answer.as_str());
            prop_assert!(!answer.to_lowercase().contains("</think>"));
        }

        #[test]
        fn any_text_is_read(text: String) {
            prop_assert!(cut(&text).len() <= text.len());
        }
    }
}
