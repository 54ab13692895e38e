//! Splits a batch into passes: items about the same row are written in different passes of one
//! transaction.

use std::collections::HashMap;
use std::hash::Hash;

/// The positions of a batch's items in passes. In each pass a key occurs once at most, and items
/// with the same key keep their order. Nearly always there is one pass.
pub(super) fn passes<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> Vec<Vec<usize>> {
    let mut passes: Vec<Vec<usize>> = Vec::new();
    let mut counts: HashMap<K, usize> = HashMap::new();
    for (position, key) in keys.enumerate() {
        let count = counts.entry(key).or_default();
        match passes.get_mut(*count) {
            Some(pass) => pass.push(position),
            None => passes.push(vec![position]),
        }
        *count += 1;
    }
    passes
}

/// The items at these positions.
pub(super) fn items_at<'a, T>(items: &'a [T], positions: &[usize]) -> Vec<&'a T> {
    positions.iter().filter_map(|position| items.get(*position)).collect()
}

/// Puts the results of a pass to its positions.
pub(super) fn put_at<T>(results: &mut [T], positions: &[usize], of_pass: Vec<T>) {
    for (position, of_pass) in positions.iter().zip(of_pass) {
        if let Some(result) = results.get_mut(*position) {
            *result = of_pass;
        }
    }
}

/// The position that a row names, which `with ordinality` counts from 1.
pub(super) fn position(ordinal: i64) -> Option<usize> {
    usize::try_from(ordinal.checked_sub(1)?).ok()
}

/// The item at the position that a row names.
pub(super) fn at_ordinal<T>(items: &mut [T], ordinal: i64) -> Option<&mut T> {
    items.get_mut(position(ordinal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_occurs_once_in_a_pass_and_keeps_its_order() {
        for (keys, expected) in [
            ("", vec![]),
            ("abc", vec![vec![0, 1, 2]]),
            ("abab", vec![vec![0, 1], vec![2, 3]]),
            ("aaba", vec![vec![0, 2], vec![1], vec![3]]),
        ] {
            assert_eq!(passes(keys.chars()), expected, "{keys}");
        }
    }
}
