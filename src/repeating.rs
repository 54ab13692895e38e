//! Keeps a condition that lasts from filling the log: it is logged when it begins or changes, and
//! then once a minute with how often it was seen.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a condition that lasts is not logged again.
const INTERVAL: Duration = Duration::from_secs(60);

/// How many conditions of one place are told apart. More of them within an interval differ in a
/// detail, such as the number of a process, so they are counted and not logged.
const MOST: usize = 16;

/// The conditions that one place of the program sees again and again, such as a loop that polls. It
/// is a static beside the call that logs.
pub struct Repeating(Mutex<Vec<Seen>>);

/// A condition, and when it was logged.
struct Seen {
    /// What has the condition, such as a kind of job, and its text.
    of: &'static str,
    text: String,
    /// How often it was seen since it was logged.
    times: u64,
    logged: Instant,
}

impl Repeating {
    /// Nothing was seen yet.
    #[expect(clippy::new_without_default, reason = "it is a static")]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Notes that a condition was seen. If it is to be logged now, returns how often it was seen
    /// since it was logged last, with this time.
    pub fn observe(&self, of: &'static str, text: &str) -> Option<u64> {
        self.observe_at(of, text, Instant::now())
    }

    fn observe_at(&self, of: &'static str, text: &str, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |seen: &Seen| now.saturating_duration_since(seen.logged) >= INTERVAL;
        if let Some(seen) = all.iter_mut().find(|seen| seen.of == of && seen.text == text) {
            seen.times += 1;
            if !is_over(seen) {
                return None;
            }
            seen.logged = now;
            return Some(std::mem::take(&mut seen.times));
        }
        if all.len() >= MOST {
            all.retain(|seen| !is_over(seen));
        }
        if all.len() >= MOST {
            return None;
        }
        all.push(Seen { of, text: text.to_owned(), times: 0, logged: now });
        Some(1)
    }

    /// Notes that all is well. Returns whether a condition was there before, so that its end can be
    /// logged.
    pub fn ended(&self, of: &'static str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        all.retain(|seen| seen.of != of);
        all.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_logged_when_it_begins_and_then_once_a_minute_with_its_count() {
        let (repeating, start) = (Repeating::new(), Instant::now());
        let logged: Vec<(u64, u64)> = (0..180)
            .filter_map(|second| {
                repeating.observe_at("turn", "no", start + Duration::from_secs(second)).map(|times| (second, times))
            })
            .collect();
        assert_eq!(logged, [(0, 1), (60, 60), (120, 60)]);
    }

    #[test]
    fn another_text_another_kind_and_a_return_are_logged_at_once() {
        let (repeating, now) = (Repeating::new(), Instant::now());
        assert_eq!(repeating.observe_at("turn", "no", now), Some(1));
        assert_eq!(repeating.observe_at("turn", "other", now), Some(1));
        assert_eq!(repeating.observe_at("delivery", "no", now), Some(1));
        // Two conditions that alternate are two, and not a change each time.
        assert_eq!(repeating.observe_at("turn", "no", now), None);
        assert_eq!(repeating.observe_at("turn", "other", now), None);
        assert!(repeating.ended("turn") && !repeating.ended("turn"));
        assert_eq!(repeating.observe_at("turn", "no", now), Some(1));
        assert_eq!(repeating.observe_at("delivery", "no", now), None);
    }

    #[test]
    fn texts_that_differ_each_time_do_not_fill_the_log() {
        let (repeating, start) = (Repeating::new(), Instant::now());
        let at = |second: u64| {
            repeating.observe_at("turn", &format!("process {second}"), start + Duration::from_secs(second))
        };
        let logged = (0..600).filter_map(at).count();
        assert!(logged <= 11 * MOST, "{logged}");
    }
}
