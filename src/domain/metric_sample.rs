//! When the database is counted for the metrics.

use std::time::Duration;

use super::words::words;

words! {
    /// What is counted together.
    pub enum SampleKind {
        /// The work that is due, and what waits for an operator.
        Queues = "queues",
        /// The sessions that are not closed.
        Sessions = "sessions",
    }
}

/// The shortest time between two samples.
const SHORTEST: Duration = Duration::from_secs(15);
/// The longest, whatever counting costs.
const LONGEST: Duration = Duration::from_secs(3600);
/// How many times as long as counting took nobody counts again, so that it costs the database 0.5 %
/// of one core at most.
const TIMES: u32 = 200;

/// How long after a sample the next one is due, by the time that counting took.
pub fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(TIMES).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_counting_takes_the_rarer_it_is() {
        for (took, pause) in [(0, 15), (50, 15), (100, 20), (1_000, 200), (12_000, 2_400), (60_000, 3_600)] {
            assert_eq!(pause_after(Duration::from_millis(took)), Duration::from_secs(pause), "{took} ms");
        }
    }
}
