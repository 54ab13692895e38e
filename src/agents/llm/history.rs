//! The messages of a request: the prompt, what was said before, and what the contact says now.

use serde_json::{Value, json};

use crate::agents::HistoryEntry;

/// Roughly how many bytes a token has. Models of English take about four, of other languages fewer;
/// the estimate is rather too high than too low.
const BYTES_OF_A_TOKEN: usize = 3;

/// How many tokens a text has, roughly.
pub(super) const fn tokens(text: &str) -> usize {
    text.len() / BYTES_OF_A_TOKEN + 1
}

/// How many earlier messages a claim has at most: of a longer conversation it has the newest.
const WINDOW: usize = 50;

/// The part of the history that a model is shown.
///
/// It begins with a message of the contact, never within an answer. At most `most_turns` turns are
/// kept, a turn being what the contact said and what was answered, and at most `most_tokens`.
///
/// A provider reuses its work on the beginning of a request if that is the same as before, so the
/// cut should not move with each turn. Of the turns at which the history may begin, a quarter of
/// `most_turns`, the one with the greatest hash is taken: it stays the greatest until it is too
/// old.
pub(super) fn shown(history: &[HistoryEntry], most_turns: usize, most_tokens: usize) -> &[HistoryEntry] {
    let begins: Vec<usize> = (0..history.len())
        .filter(|at| is_of_user(history, *at) && (*at == 0 || !is_of_user(history, at - 1)))
        .collect();
    let from = |begin: &usize| history.get(*begin..).unwrap_or_default();
    let fits = |begin: &usize| from(begin).iter().map(|entry| tokens(&entry.text)).sum::<usize>() <= most_tokens;
    let too_many = begins.len().saturating_sub(most_turns);
    let Some(first) = begins.iter().skip(too_many).position(fits).map(|more| too_many + more) else { return &[] };
    let is_cut = first > 0 || history.len() >= WINDOW;
    let slack = if is_cut { (most_turns / 4).max(1) } else { 1 };
    let may_begin = begins.iter().skip(first).take(slack);
    may_begin.max_by_key(|begin| history.get(**begin).map_or(0, hash)).map(from).unwrap_or_default()
}

/// A number that tells messages apart by their time, without an order.
fn hash(entry: &HistoryEntry) -> u64 {
    // The factor is 2^64 divided by the golden ratio (Knuth, volume 3, section 6.4).
    entry.at.timestamp_micros().cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn is_of_user(history: &[HistoryEntry], at: usize) -> bool {
    history.get(at).is_some_and(|entry| entry.role == "user")
}

/// The history as messages of a request. Messages of one side that follow each other become one,
/// because some models' templates want the sides to alternate.
pub(super) fn messages(shown: &[HistoryEntry]) -> Vec<Value> {
    let mut sides: Vec<(&str, String)> = Vec::new();
    for entry in shown {
        let role = if entry.role == "user" { "user" } else { "assistant" };
        match sides.last_mut() {
            Some((last, text)) if *last == role => {
                text.push('\n');
                text.push_str(&entry.text);
            }
            _ => sides.push((role, entry.text.clone())),
        }
    }
    sides.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;

    /// A history of `u` (contact) and `a` (agent), each text with its position and a minute later.
    fn history(sides: &str) -> Vec<HistoryEntry> {
        let entry = |(n, side)| HistoryEntry {
            role: if side == 'u' { "user".to_owned() } else { "agent".to_owned() },
            text: format!("text {n}"),
            at: DateTime::UNIX_EPOCH + TimeDelta::seconds(60 * n as i64),
        };
        sides.chars().enumerate().map(entry).collect()
    }

    #[test]
    fn history_is_cut_before_a_message_of_the_contact() {
        for (sides, turns, tokens, first, count) in [
            ("", 20, 1000, "", 0),
            ("uaua", 20, 1000, "text 0", 4),
            ("aaua", 20, 1000, "text 2", 2),
            ("aa", 20, 1000, "", 0),
            ("uauaua", 2, 1000, "text 2", 4),
            ("uuauua", 1, 1000, "text 3", 3),
            ("uaua", 0, 1000, "", 0),
            ("uaua", 20, 6, "text 2", 2),
            ("uaua", 20, 1, "", 0),
        ] {
            let history = history(sides);
            let shown = shown(&history, turns, tokens);
            assert_eq!(shown.len(), count, "{sides} {turns} {tokens}");
            assert_eq!(shown.first().map(|entry| entry.text.as_str()).unwrap_or_default(), first, "{sides}");
        }
    }

    #[test]
    fn the_cut_stays_the_same_for_some_turns() {
        let all = history(&"ua".repeat(225));
        let firsts: Vec<String> = (25..225)
            .map(|turns| {
                let kept = shown(&all[(turns - 25) * 2..turns * 2], 20, 100_000);
                assert!((16 * 2..=20 * 2).contains(&kept.len()), "{} messages", kept.len());
                kept.first().expect("a message").text.clone()
            })
            .collect();
        let mut changes = firsts;
        changes.dedup();
        assert!(changes.len() < 200 / 2, "{} cuts in 200 turns: {changes:?}", changes.len());
    }

    #[test]
    fn sides_alternate() {
        let said = messages(&history("uuaau"));
        assert_eq!(
            said,
            [
                json!({"role": "user", "content": "text 0\ntext 1"}),
                json!({"role": "assistant", "content": "text 2\ntext 3"}),
                json!({"role": "user", "content": "text 4"}),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_cut_begins_with_the_contact_and_fits(
            sides in "[ua]{0,60}", turns in 0_usize..25, most in 0_usize..300
        ) {
            let history = history(&sides);
            let kept = shown(&history, turns, most);
            prop_assert!(kept.first().is_none_or(|entry| entry.role == "user"));
            prop_assert!(kept.is_empty() || history.ends_with(kept));
            prop_assert!(kept.iter().map(|entry| tokens(&entry.text)).sum::<usize>() <= most);
            let said = messages(kept);
            prop_assert!(said.windows(2).all(|pair| pair[0]["role"] != pair[1]["role"]));
        }
    }
}
