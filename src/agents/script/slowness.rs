//! Decides from a script's earlier runs which of the next runs are slow, and how many may go
//! together.

use std::collections::VecDeque;
use std::time::Duration;

use super::slots::{Pace, QUICK, QUICK_TO_READ};

/// The most runs that go to a runner together.
const MOST_TOGETHER: usize = 16;
/// Runs that take longer than this on average go alone, so that no run waits for a slow one.
const SHORT: Duration = Duration::from_millis(1);
/// Slow runs in this many sessions mean that the script is slow, and not only the texts of one
/// person.
const SEVERAL: usize = 2;
/// How many sessions with slow runs are remembered.
const MOST_SESSIONS: usize = 8;
/// After this many quick runs, the slow sessions are forgotten.
const PROVEN: usize = 16;

/// What is known of a script's runs.
pub(super) struct Slowness {
    /// The sessions with slow runs lately, the latest last.
    sessions: VecDeque<String>,
    /// Whether reading the script is slow.
    reads_slowly: bool,
    /// How many quick runs there were since the last slow run.
    quick: usize,
    together: usize,
}

impl Slowness {
    /// The state for a script that never ran.
    pub(super) const fn new() -> Self {
        Self { sessions: VecDeque::new(), reads_slowly: false, quick: 0, together: 1 }
    }

    /// How many quick runs may go together now.
    pub(super) const fn together(&self) -> usize {
        self.together
    }

    /// Whether all runs of the script are slow.
    pub(super) fn is_of_all(&self) -> bool {
        self.reads_slowly || self.sessions.len() >= SEVERAL
    }

    /// Which slots a session's next run needs.
    pub(super) fn pace(&self, session: &str) -> Pace {
        if self.is_of_all() || self.sessions.iter().any(|slow| slow == session) { Pace::Slow } else { Pace::Quick }
    }

    /// Records the CPU time of a run, without the time for reading the script.
    pub(super) fn note(&mut self, session: &str, used: Duration) {
        if used >= QUICK {
            return self.note_slow(session);
        }
        self.quick += 1;
        if self.quick >= PROVEN {
            self.sessions.clear();
        }
    }

    /// Records a slow run. A run over a limit counts as slow whatever it used, because its runner
    /// ends and another must be started.
    pub(super) fn note_slow(&mut self, session: &str) {
        (self.quick, self.together) = (0, 1);
        self.sessions.retain(|known| known != session);
        if self.sessions.len() >= MOST_SESSIONS {
            self.sessions.pop_front();
        }
        self.sessions.push_back(session.to_owned());
    }

    /// Records a batch: how many runs, and their CPU time if all were answered. After a batch
    /// without all answers, runs go alone.
    pub(super) fn note_batch(&mut self, count: usize, used: Option<Duration>) {
        let a_run = used.map(|used| used / u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        let is_short = a_run.is_some_and(|a_run| a_run < SHORT);
        self.together = if is_short { (count * 2).clamp(2, MOST_TOGETHER) } else { 1 };
    }

    /// Records the CPU time of reading the script. The script never changes, so a slow result holds
    /// for good.
    pub(super) fn note_reading(&mut self, used: Duration) {
        self.reads_slowly |= used >= QUICK_TO_READ;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_run_of_one_session_slows_no_other_session() {
        let mut script = Slowness::new();
        script.note_slow("heavy");
        script.note("heavy", QUICK * 10);
        assert_eq!((script.pace("heavy"), script.pace("light"), script.is_of_all()), (Pace::Slow, Pace::Quick, false));
        script.note("other", QUICK);
        assert_eq!((script.pace("light"), script.is_of_all()), (Pace::Slow, true), "now it is the script");
        (1..PROVEN).for_each(|_| script.note("light", QUICK / 2));
        assert!(script.is_of_all());
        script.note("light", QUICK / 2);
        assert_eq!((script.pace("heavy"), script.pace("light")), (Pace::Quick, Pace::Quick), "it has proved quick");
    }

    #[test]
    fn many_short_runs_go_together_and_count_one_by_one() {
        let mut script = Slowness::new();
        let counts = [1, 2, 4, 8, 16].map(|count| {
            assert_eq!(script.together(), count);
            // Together the runs take longer than one quick run may, which says nothing about each
            // of them.
            (0..count).for_each(|_| script.note("anybody", SHORT / 2));
            script.note_batch(count, Some(SHORT / 2 * u32::try_from(count).expect("small")));
            script.together()
        });
        assert_eq!(counts, [2, 4, 8, 16, 16]);
        assert_eq!(script.pace("anybody"), Pace::Quick);
        script.note_batch(16, Some(SHORT * 16));
        assert_eq!(script.together(), 1, "long ones go alone");
        script.note_batch(1, None);
        assert_eq!(script.together(), 1);
    }

    #[test]
    fn a_top_level_that_takes_long_makes_its_script_slow_and_a_short_one_does_not() {
        let mut script = Slowness::new();
        script.note_reading(QUICK_TO_READ / 2);
        assert_eq!(script.pace("anybody"), Pace::Quick);
        script.note_reading(QUICK_TO_READ);
        (0..PROVEN * 2).for_each(|_| script.note("anybody", Duration::ZERO));
        assert_eq!(script.pace("anybody"), Pace::Slow);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut script = Slowness::new();
        (0..1_000).for_each(|n| script.note_slow(&n.to_string()));
        assert_eq!(script.sessions.len(), MOST_SESSIONS);
    }
}
