//! Which rows make claims fail: the plan of a search among what is due, and the rule of whom to blame; it asks nobody.
//!
//! A claim of all that is due failed. So its rows are claimed in ever smaller groups. A row is to blame only if it fails alone while
//! another row of the same search can be claimed (a control): where nothing can be claimed, the schema or the server is to blame.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::db::Fault;

/// How often a row must have failed alone, and over which time, where it may be what else the server does, or there is no control.
const TIMES: u32 = 3;
const OVER: Duration = Duration::from_secs(10);
/// After which time a row that failed alone is tried again. Where many fail, it takes up to a minute: each is a claim of its own.
const AGAIN: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How many rows that fail are tried again each [`AGAIN`].
const FEW: usize = 8;
/// After which time the next search begins when one found no row that fails.
const REST: Duration = Duration::from_secs(10);
/// How many rows may fail slowly, one after the other and without a control, before the search ends.
const MOST_SLOW: usize = 3;
/// By how much a search gets wider that found no row that fails, and up to how many rows.
const WIDER: usize = 4;
const WIDEST: usize = 20_000;

/// Whether a row is to blame for failing alone so often over such a time: where another row could be claimed before its last failure
/// and since the search began, or where it is the only row that is due.
fn is_to_blame(fault: Fault, times: u32, over: Duration, has_control: bool, is_only: bool) -> bool {
    let is_lasting = times >= TIMES && over >= OVER;
    match fault {
        Fault::Row => has_control || (is_only && is_lasting),
        Fault::RowOrServer => has_control,
        Fault::RowOrMoment => has_control && is_lasting,
    }
}

/// What is claimed next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All that is due.
    All,
    /// These rows by themselves.
    Group(Vec<Uuid>),
    /// So many rows that are due are to be looked up, for [`Search::begin`].
    Search { width: usize },
}

/// What came of a search.
#[derive(Debug)]
pub(super) enum Conclusion {
    /// There is more to claim at once.
    GoesOn,
    /// There is not, and some rows are tried again later.
    Rests,
    /// No row is to blame, or nobody can tell which: the error of one of them.
    Nobody(sqlx::Error),
    Blamed(Vec<(Uuid, sqlx::Error)>),
}

/// A row that failed alone in this search.
struct Alone {
    row: Uuid,
    fault: Fault,
    error: sqlx::Error,
    /// Whether another row had been claimed by then.
    has_control: bool,
}

/// How often a row failed alone, one search after the other.
struct Suspicion {
    times: u32,
    since: Instant,
    last: Instant,
}

/// A search among the rows of one kind of work, and what earlier ones have shown.
#[derive(Default)]
pub(super) struct Search {
    /// Each is claimed by itself, the last one first.
    groups: Vec<Vec<Uuid>>,
    alone: Vec<Alone>,
    /// Which rows failed alone in this search.
    met: HashSet<Uuid>,
    /// How many rows could be claimed since the search began.
    claimed: usize,
    size: usize,
    /// Whether all that is due is in this search.
    is_whole: bool,
    is_running: bool,
    /// Why it is wanted: the error of a claim of all that is due.
    wanted: Option<sqlx::Error>,
    /// How many times more rows than one claim takes.
    widening: usize,
    suspects: HashMap<Uuid, Suspicion>,
    /// Whether other rows could be claimed while suspects could not: then they are claimed without the suspects.
    is_apart: bool,
    /// Whether this search is of others than suspects.
    is_of_others: bool,
    rests_until: Option<Instant>,
}

impl Search {
    /// What to claim next, `most` rows at most.
    pub(super) fn step(&mut self, most: usize) -> Step {
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

    /// A claim of all that is due failed. The error comes back while searches rest.
    pub(super) fn want(&mut self, error: sqlx::Error, now: Instant) -> Option<sqlx::Error> {
        if self.rests_until.is_some_and(|until| now < until) {
            return Some(error);
        }
        self.wanted = Some(error);
        None
    }

    /// Begins a search among rows that are due. The error for which it was wanted comes back when none is.
    pub(super) fn begin(&mut self, due: Vec<Uuid>, width: usize, now: Instant) -> Option<sqlx::Error> {
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
        // After the others, so that these tell whether anything can be claimed.
        self.groups = again.into_iter().filter(is_over).map(|row| vec![row]).collect();
        self.is_of_others = !others.is_empty();
        if self.is_of_others {
            self.groups.push(others);
        }
        self.is_running = !self.groups.is_empty();
        if self.is_running { None } else { self.wanted.take() }
    }

    /// So many rows of a group could be claimed.
    pub(super) fn claimed(&mut self, group: &[Uuid], claims: usize) {
        self.claimed += claims;
        if claims > 0
            && let [row] = group
        {
            self.suspects.remove(row);
        }
    }

    /// A group could not be claimed.
    pub(super) fn failed(&mut self, group: Vec<Uuid>, fault: Fault, error: sqlx::Error, now: Instant) {
        let &[row] = group.as_slice() else {
            let (first, second) = group.split_at(group.len() / 2);
            self.groups.extend([second.to_vec(), first.to_vec()]);
            return;
        };
        let known = self.suspects.entry(row).or_insert(Suspicion { times: 0, since: now, last: now });
        // Once a search: it is tried twice where the control came later.
        known.times += u32::from(self.met.insert(row));
        known.last = now;
        self.alone.push(Alone { row, fault, error, has_control: self.claimed > 0 });
        let slow = self.alone.iter().filter(|alone| matches!(alone.fault, Fault::RowOrMoment)).count();
        if self.claimed == 0 && slow >= MOST_SLOW {
            self.groups.clear();
        }
    }

    /// What came of the search, when all its groups were tried.
    pub(super) fn conclude(&mut self, now: Instant) -> Conclusion {
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
        // The trouble may have passed since: they are tried once more.
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
                // Where more fail than not, it is hardly their own fault.
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

    /// No row failed: what does lies further behind, or was claimed by somebody else.
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

    /// A claim of all that is due succeeded: no row makes it fail any more.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A row was set aside.
    pub(super) fn forget(&mut self, row: Uuid) {
        self.suspects.remove(&row);
        self.is_apart &= !self.suspects.is_empty();
    }

    /// A claim failed for a reason that no row has: the search is over.
    pub(super) fn give_up(&mut self) {
        self.succeeded();
    }

    /// A group could not be tried, because the database is away.
    pub(super) fn put_back(&mut self, group: Option<Vec<Uuid>>) {
        self.groups.extend(group);
    }

    fn sleep(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
        self.widening = 1;
    }
}

#[cfg(test)]
mod tests;
