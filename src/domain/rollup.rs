//! What is counted next for the rollups: docs/decisions/007-rollups.md.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The start of an hour in UTC.
pub type Hour = DateTime<Utc>;

/// How many hours one transaction counts at most. Most hours of an installation without messages
/// cost a millisecond.
pub const MOST_HOURS: i32 = 24;
/// A step that took less than this is followed by one with twice as many hours, and one that
/// took four times as long by one with half.
const QUICK: Duration = Duration::from_millis(250);
/// How many hours are counted with the one that runs, until they are final: while an old
/// transaction runs, they are not.
const LIVE_HOURS: i64 = 3;
/// The shortest and the longest time after which the hour that runs is counted again.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// How many times as long as counting took it is not repeated, so that it costs the database 2 % of
/// one core.
const TIMES: u32 = 50;

/// How far the rollups have come: see the table `rollup_progress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The database's time.
    pub now: DateTime<Utc>,
    /// Hours before it have ended, with a time after their end in which transactions write that
    /// began before.
    pub ended_before: Hour,
    pub settled_until: Option<Hour>,
    pub ended_until: Option<Hour>,
    /// Whether all transactions are over that could still add to hours before `ended_until`.
    pub is_over: bool,
    pub counted_from: Option<Hour>,
    pub oldest: Option<Hour>,
    /// Final hours of which something changed since.
    pub marked: Vec<Hour>,
}

/// What a worker may do besides, by the time that it took before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The hour that runs may be counted.
    pub live: bool,
    /// Marked hours may be counted again.
    pub marked: bool,
    /// How many hours of a backlog are counted in one transaction.
    pub hours: i32,
}

/// What is done next, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The hours that are not final are counted.
    Live { since: Hour, until: Hour },
    /// The clock of the database went back: hours from here on are not final any more.
    GoBack { to: Hour },
    /// Hours have ended. They are final once all transactions of this moment are over.
    End { until: Hour },
    /// The first hours are final, though not counted yet.
    Start { at: Hour },
    /// Hours are counted for the last time, and are final.
    Settle { since: Hour, until: Hour },
    /// The hour of the oldest row is looked up.
    FindOldest,
    /// A marked hour is counted again.
    Recount { hour: Hour },
    /// Hours of before the first counted one are counted.
    Backlog { since: Hour, until: Hour },
    /// There is nothing to do now.
    Rest,
}

/// What is done next.
pub fn next(progress: &Progress, allowed: Allowed) -> Step {
    let Progress { now, ended_before, settled_until, ended_until, counted_from, oldest, .. } = *progress;
    // All hours that may be counted begin before this one.
    let until = ended_before + (whole_hours(now - ended_before) + TimeDelta::hours(1));
    if ended_until.is_some_and(|ended| ended > ended_before) {
        return Step::GoBack { to: ended_before };
    }
    if allowed.live {
        let since = until - TimeDelta::hours(LIVE_HOURS);
        return Step::Live { since: settled_until.map_or(since, |settled| settled.max(since)), until };
    }
    let Some(ended) = ended_until else { return Step::End { until: ended_before } };
    let Some(settled) = settled_until else {
        return if progress.is_over { Step::Start { at: ended } } else { Step::Rest };
    };
    let width = TimeDelta::hours(i64::from(allowed.hours.clamp(1, MOST_HOURS)));
    if settled < ended && progress.is_over {
        return Step::Settle { since: settled, until: ended.min(settled + width) };
    }
    if settled == ended && ended < ended_before {
        return Step::End { until: ended_before };
    }
    if let (Some(hour), true) = (progress.marked.first(), allowed.marked) {
        return Step::Recount { hour: *hour };
    }
    match (counted_from, oldest) {
        (_, None) => Step::FindOldest,
        (Some(from), Some(oldest)) if from > oldest => Step::Backlog { since: oldest.max(from - width), until: from },
        _ => Step::Rest,
    }
}

fn whole_hours(time: TimeDelta) -> TimeDelta {
    TimeDelta::hours(time.num_hours().max(0))
}

impl Step {
    /// The hours that the step counts.
    pub fn hours(&self) -> Option<(Hour, Hour)> {
        match *self {
            Self::Live { since, until } | Self::Settle { since, until } | Self::Backlog { since, until } => {
                Some((since, until))
            }
            Self::Recount { hour } => Some((hour, hour + TimeDelta::hours(1))),
            Self::GoBack { .. } | Self::End { .. } | Self::Start { .. } | Self::FindOldest | Self::Rest => None,
        }
    }

    /// How far the rollups have come after this step. `found`: the hour of the oldest row, if
    /// [`Step::FindOldest`] found one.
    #[must_use]
    pub fn after(&self, before: &Progress, found: Option<Hour>) -> Progress {
        let mut after = before.clone();
        match *self {
            Self::Live { .. } | Self::Recount { .. } | Self::Rest => {}
            Self::GoBack { to } => {
                after.ended_until = Some(to);
                after.settled_until = before.settled_until.map(|settled| settled.min(to));
                after.counted_from = before.counted_from.map(|from| from.min(to));
            }
            Self::End { until } => after.ended_until = Some(until),
            Self::Start { at } => (after.settled_until, after.counted_from) = (Some(at), Some(at)),
            Self::Settle { until, .. } => after.settled_until = Some(until),
            // Without rows there is nothing to count but what comes.
            Self::FindOldest => after.oldest = found.or(before.counted_from),
            Self::Backlog { since, .. } => after.counted_from = Some(since),
        }
        after
    }
}

/// How many hours the next step counts, by how long this many took.
pub fn next_width(hours: i32, took: Duration) -> i32 {
    if took < QUICK {
        (hours * 2).min(MOST_HOURS)
    } else if took > QUICK * 4 {
        (hours / 2).max(1)
    } else {
        hours
    }
}

/// After which time the hour that runs is counted again.
pub fn live_pause(took: Duration) -> Duration {
    marked_pause(took).clamp(SHORTEST, LONGEST)
}

/// After which time marked hours are counted again.
pub fn marked_pause(took: Duration) -> Duration {
    took.saturating_mul(TIMES)
}

#[cfg(test)]
mod tests;
