//! Finds the rows that make claims fail: the plan of a search among due rows, and the rule that
//! decides which rows are to blame. A pure rule without I/O.
//!
//! When a claim of all due rows fails, they are claimed in ever smaller groups. A row is to blame
//! only if it fails alone while another row of the same search can be claimed (a control). If no
//! row can be claimed, the schema or the server is to blame.
//!
//! docs/decisions/021-rows-set-aside.md has the reasons.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::storage::database::Fault;

/// How often a row must fail alone, and over which time, if the server may be to blame or there is
/// no control.
const TIMES: u32 = 3;
const OVER: Duration = Duration::from_secs(10);
/// The pause before a row that failed alone is tried again. It grows to a minute when many rows
/// fail, because each row is a claim of its own.
const AGAIN: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How many failing rows are retried per [`AGAIN`].
const FEW: usize = 8;
/// The pause before the next search, after a search that found no failing row.
const REST: Duration = Duration::from_secs(10);
/// How many rows may fail slowly, one after the other and without a control, before the search
/// ends.
const MOST_SLOW: usize = 3;
/// By which factor a search widens after it found no failing row, and its largest width in rows.
const WIDER: usize = 4;
const WIDEST: usize = 20_000;

/// Whether a row is to blame that failed alone `times` times over a time of `over`. It needs a
/// control, a row that was claimed in this search before its last failure, or it is the only due
/// row.
fn is_to_blame(fault: Fault, times: u32, over: Duration, has_control: bool, is_only: bool) -> bool {
    let is_lasting = times >= TIMES && over >= OVER;
    match fault {
        Fault::Row => has_control || (is_only && is_lasting),
        Fault::RowOrServer => has_control,
        Fault::RowOrMoment => has_control && is_lasting,
    }
}

/// What to claim next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All due rows.
    All,
    /// Only these rows.
    Group(Vec<Uuid>),
    /// Look up `width` due rows for [`Search::begin`].
    Search { width: usize },
}

/// The result of a search.
#[derive(Debug)]
pub(crate) enum Conclusion {
    /// There is more to claim at once.
    GoesOn,
    /// There is nothing more to claim now. Some rows are retried later.
    Rests,
    /// No row is to blame, or it is not known which. Holds the error of one of the rows.
    Nobody(sqlx::Error),
    Blamed(Vec<(Uuid, sqlx::Error)>),
}

/// A row that failed alone in this search.
struct Alone {
    row: Uuid,
    fault: Fault,
    error: sqlx::Error,
    /// Whether another row had been claimed before.
    has_control: bool,
}

/// How often a row failed alone, counted over searches.
struct Suspicion {
    times: u32,
    since: Instant,
    last: Instant,
}

/// A search among the rows of one kind of work, with the results of earlier searches.
#[derive(Default)]
pub(crate) struct Search {
    /// The groups to claim, each by itself, the last one first.
    groups: Vec<Vec<Uuid>>,
    alone: Vec<Alone>,
    /// The rows that failed alone in this search.
    met: HashSet<Uuid>,
    /// How many rows were claimed since the search began.
    claimed: usize,
    size: usize,
    /// Whether the search covers all due rows.
    is_whole: bool,
    is_running: bool,
    /// The error of the claim of all due rows that made the search necessary.
    wanted: Option<sqlx::Error>,
    /// The width of the search, as a multiple of the rows of one claim.
    widening: usize,
    suspects: HashMap<Uuid, Suspicion>,
    /// Whether other rows could be claimed while suspects could not. Then the other rows are
    /// claimed without the suspects.
    is_apart: bool,
    /// Whether this search covers rows that are not suspects.
    is_of_others: bool,
    rests_until: Option<Instant>,
}

impl Search {
    /// What to claim next, at most `most` rows.
    pub(crate) fn step(&mut self, most: usize) -> Step {
        if let Some(mut group) = self.groups.pop() {
            if group.len() > most {
                self.groups.push(group.split_off(most));
            }
            return Step::Group(group);
        }
        if self.wanted.is_some() || self.is_apart {
            let width = most.saturating_mul(self.widening.max(1)).min(WIDEST);
            return Step::Search { width: width.saturating_add(self.suspects.len()) };
        }
        Step::All
    }

    /// A claim of all due rows failed. Returns the error while searches pause.
    pub(crate) fn want(&mut self, error: sqlx::Error, now: Instant) -> Option<sqlx::Error> {
        if self.rests_until.is_some_and(|until| now < until) {
            return Some(error);
        }
        self.wanted = Some(error);
        None
    }

    /// Begins a search among due rows. If there are none, returns the error that made the search
    /// necessary.
    pub(crate) fn begin(&mut self, due: Vec<Uuid>, width: usize, now: Instant) -> Option<sqlx::Error> {
        self.is_whole = due.len() < width;
        self.size = due.len();
        (self.claimed, self.alone, self.met) = (0, Vec::new(), HashSet::new());
        if due.is_empty() {
            self.is_apart = false;
            self.suspects.clear();
            let error = self.wanted.take();
            if error.is_some() {
                self.sleep(now);
            }
            return error;
        }
        if self.is_whole {
            self.suspects.retain(|row, _| due.contains(row));
        }
        let (again, others): (Vec<Uuid>, Vec<Uuid>) = due.into_iter().partition(|row| self.suspects.contains_key(row));
        let pause =
            AGAIN.saturating_mul(u32::try_from(self.suspects.len() / FEW).unwrap_or(u32::MAX).max(1)).min(LONGEST_REST);
        let is_over = |row: &Uuid| self.suspects.get(row).is_none_or(|known| now >= known.last + pause);
        // The suspects come after the other rows, which show whether anything can be claimed.
        self.groups = again.into_iter().filter(is_over).map(|row| vec![row]).collect();
        self.is_of_others = !others.is_empty();
        if self.is_of_others {
            self.groups.push(others);
        }
        self.is_running = !self.groups.is_empty();
        if self.is_running { None } else { self.wanted.take() }
    }

    /// Records that `claims` rows of a group were claimed.
    pub(crate) fn claimed(&mut self, group: &[Uuid], claims: usize) {
        self.claimed += claims;
        if claims > 0
            && let [row] = group
        {
            self.suspects.remove(row);
        }
    }

    /// Records that a group could not be claimed.
    pub(crate) fn failed(&mut self, group: Vec<Uuid>, fault: Fault, error: sqlx::Error, now: Instant) {
        let &[row] = group.as_slice() else {
            let (first, second) = group.split_at(group.len() / 2);
            self.groups.extend([second.to_vec(), first.to_vec()]);
            return;
        };
        let known = self.suspects.entry(row).or_insert(Suspicion { times: 0, since: now, last: now });
        // Counted once per search, because a row is tried twice when its control came later.
        known.times += u32::from(self.met.insert(row));
        known.last = now;
        self.alone.push(Alone { row, fault, error, has_control: self.claimed > 0 });
        let slow = self.alone.iter().filter(|alone| matches!(alone.fault, Fault::RowOrMoment)).count();
        if self.claimed == 0 && slow >= MOST_SLOW {
            self.groups.clear();
        }
    }

    /// The result of the search, once all its groups were tried.
    pub(crate) fn conclude(&mut self, now: Instant) -> Conclusion {
        if !self.groups.is_empty() {
            return Conclusion::GoesOn;
        }
        if !std::mem::take(&mut self.is_running) {
            return Conclusion::Rests;
        }
        let wanted = self.wanted.take();
        let mut alone = std::mem::take(&mut self.alone);
        if alone.is_empty() {
            return self.conclude_without_suspects(wanted, now);
        }
        // The fault may have passed since, so rows without a control are tried once more.
        if self.claimed > 0 && alone.iter().any(|alone| !alone.has_control) {
            let again = alone.extract_if(.., |alone| !alone.has_control);
            self.groups = again.map(|alone| vec![alone.row]).collect();
            (self.alone, self.is_running) = (alone, true);
            return Conclusion::GoesOn;
        }
        let (size, failing, claimed) = (self.size, alone.len(), self.claimed);
        let is_only = size == 1 && self.is_whole;
        let blamed: Vec<Alone> = alone
            .extract_if(.., |alone| {
                let Some(known) = self.suspects.get(&alone.row) else { return false };
                // If more rows fail than succeed, the rows are probably not to blame.
                let has_control = alone.has_control && (matches!(alone.fault, Fault::Row) || failing <= claimed);
                is_to_blame(alone.fault, known.times, now.saturating_duration_since(known.since), has_control, is_only)
            })
            .collect();
        self.is_apart = claimed > 0 || (self.is_apart && !self.is_of_others);
        if !blamed.is_empty() {
            return Conclusion::Blamed(blamed.into_iter().map(|alone| (alone.row, alone.error)).collect());
        }
        if claimed > 0 {
            return if self.is_whole { Conclusion::Rests } else { Conclusion::GoesOn };
        }
        alone.pop().map_or(Conclusion::Rests, |alone| Conclusion::Nobody(alone.error))
    }

    /// No row failed: the failing row is further behind, or another worker claimed it.
    fn conclude_without_suspects(&mut self, wanted: Option<sqlx::Error>, now: Instant) -> Conclusion {
        if self.claimed > 0 {
            self.is_apart = !self.suspects.is_empty();
            return if self.is_apart && self.is_whole { Conclusion::Rests } else { Conclusion::GoesOn };
        }
        match wanted {
            Some(error) if self.is_whole || self.size >= WIDEST => {
                self.sleep(now);
                Conclusion::Nobody(error)
            }
            Some(error) => {
                self.widening = self.widening.max(1).saturating_mul(WIDER);
                self.wanted = Some(error);
                Conclusion::GoesOn
            }
            None => Conclusion::Rests,
        }
    }

    /// A claim of all due rows succeeded, so no row makes claims fail any more.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Forgets a row that was set aside.
    pub(crate) fn forget(&mut self, row: Uuid) {
        self.suspects.remove(&row);
        self.is_apart &= !self.suspects.is_empty();
    }

    /// Ends the search, because a claim failed for a reason that is not a row's.
    pub(crate) fn give_up(&mut self) {
        self.succeeded();
    }

    /// Returns a group that could not be tried because the database is unavailable.
    pub(crate) fn put_back(&mut self, group: Option<Vec<Uuid>>) {
        self.groups.extend(group);
    }

    fn sleep(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
        self.widening = 1;
    }
}

#[cfg(test)]
mod tests;
