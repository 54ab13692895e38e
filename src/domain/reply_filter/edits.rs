//! Replaces parts of a text and leaves the rest byte for byte as it is.

use std::borrow::Cow;
use std::ops::Range;

/// Parts of a text that are replaced.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<(Range<usize>, Cow<'static, str>)>);

impl Edits {
    /// Takes a part out.
    pub(super) fn delete(&mut self, range: Range<usize>) {
        self.replace(range, "");
    }

    /// Puts a text in the position of a part.
    pub(super) fn replace(&mut self, range: Range<usize>, with: impl Into<Cow<'static, str>>) {
        if !range.is_empty() {
            self.0.push((range, with.into()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with the edits. Of two that overlap, the one that begins first counts, and of two
    /// that begin together the longer one; nothing is left of the other one's part.
    pub(super) fn apply(mut self, text: &str) -> Cow<'_, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        self.0.sort_by_key(|(range, _)| (range.start, usize::MAX - range.end));
        let (mut edited, mut at) = (String::with_capacity(text.len()), 0);
        for (range, with) in self.0 {
            if range.start >= at {
                edited.push_str(text.get(at..range.start).unwrap_or_default());
                edited.push_str(&with);
            }
            at = at.max(range.end);
        }
        edited.push_str(text.get(at..).unwrap_or_default());
        Cow::Owned(edited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_edits_that_overlap_the_first_and_longer_one_counts() {
        for (edits, edited) in [
            (vec![], "abcdef"),
            (vec![(1..1, "x")], "abcdef"),
            (vec![(4..5, "y"), (1..2, "x")], "axcdyf"),
            (vec![(2..3, "y"), (1..5, "x")], "axf"),
            (vec![(1..2, "y"), (1..5, "x")], "axf"),
            (vec![(1..3, "x"), (2..5, "y")], "axf"),
        ] {
            let mut all = Edits::default();
            edits.iter().for_each(|(range, with)| all.replace(range.clone(), *with));
            assert_eq!(all.apply("abcdef"), edited, "{edits:?}");
        }
    }
}
