//! Who may run a script now: slots shared fairly by projects, few of them for runs that are slow; it runs nothing.
//!
//! A project may hold as many slots of a kind as are left free, and the project that used the least time of a processor lately is
//! served first. A run begins on a quick slot; one that turns out to be slow gives it up for a slow one, or is set aside
//! until there is one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The time of a processor that a project has back for each second that passes: one second in ten.
const REFUND: f64 = 0.1;
/// Seconds of a processor beyond which a project's scripts begin as slow ones, unless they are known as quick.
const BUDGET: f64 = 1.0;
/// The most that is held against a project, in seconds: 30 seconds after its last slow run it is like any other.
const MOST_USED: f64 = 4.0;

/// A kind of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// For runs that are over soon: there is nearly always one that becomes free within [`super::runner::QUICK`].
    Quick,
    /// For the others; where several run, they have a low priority.
    Slow,
}

/// The slots of a process. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Slots(Arc<Mutex<State>>);

struct State {
    free: [usize; 2],
    waiting: [Vec<Waiting>; 2],
    projects: HashMap<Uuid, Project>,
    /// How many runs wait for a slow slot, and how many may: of all projects, and of one.
    queued: usize,
    most_queued: usize,
    most_queued_of_one: usize,
}

struct Project {
    used: f64,
    at: Instant,
    held: [usize; 2],
    queued: usize,
}

struct Waiting {
    project: Uuid,
    ready: oneshot::Sender<Slot>,
}

/// A slot that is held; free again when this is dropped, and its time counts against its project.
pub(super) struct Slot {
    slots: Slots,
    project: Uuid,
    pace: Pace,
    since: Instant,
    meter: Option<Meter>,
    start: Duration,
    is_freed: bool,
}

/// A place among the runs that wait for a slow slot.
pub(super) struct Place {
    slots: Slots,
    project: Uuid,
}

/// Measures the time of a processor that a process uses.
#[derive(Clone, Copy)]
pub(super) struct Meter {
    clock: ClockId,
    began: Duration,
}

impl Meter {
    /// From now on.
    pub(super) fn of(clock: ClockId) -> Option<Self> {
        Some(Self { clock, began: Duration::from(clock.now().ok()?) })
    }

    /// What was used since, unless the process is gone.
    pub(super) fn used(&self) -> Option<Duration> {
        Some(Duration::from(self.clock.now().ok()?).saturating_sub(self.began))
    }
}

impl Slots {
    /// So many slots of each kind.
    pub(super) fn new(quick: usize, slow: usize) -> Self {
        let (projects, waiting) = (HashMap::new(), [Vec::new(), Vec::new()]);
        let (most_queued, most_queued_of_one) = (usize::MAX, usize::MAX);
        let state = State { free: [quick, slow], waiting, projects, queued: 0, most_queued, most_queued_of_one };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Lets a part of a worker's slots for turns wait for slow slots, and the rest never.
    pub(super) fn bound_queue(&self, turn_slots: usize) {
        let mut state = self.lock();
        state.most_queued = (turn_slots * 3 / 8).max(1);
        state.most_queued_of_one = state.most_queued.div_ceil(2);
    }

    /// Waits for a slot.
    pub(super) async fn take(&self, project: Uuid, pace: Pace) -> Option<Slot> {
        let waiting = {
            let mut state = self.lock();
            if state.waiting_of(pace).is_empty() && state.may_take(project, pace) {
                return Some(self.seat(&mut state, project, pace));
            }
            let (ready, waiting) = oneshot::channel();
            state.waiting_of(pace).push(Waiting { project, ready });
            self.serve(&mut state, pace);
            waiting
        };
        waiting.await.ok()
    }

    /// Whether a project has used up its budget.
    pub(super) fn is_over_budget(&self, project: Uuid) -> bool {
        self.lock().used(project) > BUDGET
    }

    /// A place among the runs that wait for slow slots, if there is one for the project.
    pub(super) fn queue(&self, project: Uuid) -> Option<Place> {
        let mut state = self.lock();
        if !state.has_place(project) {
            return None;
        }
        state.queued += 1;
        state.project(project).queued += 1;
        drop(state);
        Some(Place { slots: self.clone(), project })
    }

    /// Whether a run of the project would have to be sent away that needs a slow slot.
    pub(super) fn is_full(&self, project: Uuid) -> bool {
        !self.lock().has_place(project)
    }

    /// Whether any run waits for a slow slot.
    pub(super) fn has_queue(&self) -> bool {
        self.lock().queued > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self, state: &mut State, project: Uuid, pace: Pace) -> Slot {
        *at(&mut state.free, pace) -= 1;
        *at(&mut state.project(project).held, pace) += 1;
        Slot {
            slots: self.clone(),
            project,
            pace,
            since: Instant::now(),
            meter: None,
            start: Duration::ZERO,
            is_freed: false,
        }
    }

    /// Gives free slots to those who wait: the project that used the least first, and of equals who came first.
    fn serve(&self, state: &mut State, pace: Pace) {
        loop {
            state.waiting_of(pace).retain(|waiting| !waiting.ready.is_closed());
            let waiting = std::mem::take(state.waiting_of(pace));
            let next = waiting.iter().enumerate().filter(|(_, waiting)| state.may_take(waiting.project, pace));
            let next = next.map(|(position, waiting)| (state.used(waiting.project), position));
            let next = next.min_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            *state.waiting_of(pace) = waiting;
            let Some((_, position)) = next else { return };
            let Waiting { project, ready } = state.waiting_of(pace).remove(position);
            let slot = self.seat(state, project, pace);
            if let Err(mut unwanted) = ready.send(slot) {
                // Freed here: its own end would lock what is locked here.
                unwanted.is_freed = true;
                state.free_again(project, pace);
            }
        }
    }
}

fn at<T>(of: &mut [T; 2], pace: Pace) -> &mut T {
    let [quick, slow] = of;
    match pace {
        Pace::Quick => quick,
        Pace::Slow => slow,
    }
}

impl State {
    fn waiting_of(&mut self, pace: Pace) -> &mut Vec<Waiting> {
        at(&mut self.waiting, pace)
    }

    fn project(&mut self, project: Uuid) -> &mut Project {
        let new = || Project { used: 0.0, at: Instant::now(), held: [0; 2], queued: 0 };
        self.projects.entry(project).or_insert_with(new)
    }

    fn may_take(&self, project: Uuid, pace: Pace) -> bool {
        let (mut free, mut held) = (self.free, self.projects.get(&project).map_or([0; 2], |known| known.held));
        let (free, held) = (*at(&mut free, pace), *at(&mut held, pace));
        free > 0 && (held == 0 || held < free)
    }

    fn has_place(&self, project: Uuid) -> bool {
        let queued = self.projects.get(&project).map_or(0, |known| known.queued);
        self.queued < self.most_queued && queued < self.most_queued_of_one
    }

    /// The seconds of a processor that are held against a project now.
    fn used(&self, project: Uuid) -> f64 {
        self.projects.get(&project).map_or(0.0, Project::used_now)
    }

    fn charge(&mut self, project: Uuid, seconds: f64) {
        let charged = self.project(project);
        charged.used = (charged.used_now() + seconds).min(MOST_USED);
        charged.at = Instant::now();
    }

    fn free_again(&mut self, project: Uuid, pace: Pace) {
        *at(&mut self.free, pace) += 1;
        *at(&mut self.project(project).held, pace) -= 1;
        // What says nothing any more is forgotten; not at each end, since most projects come again.
        if self.projects.len() > 1_000 {
            self.projects.retain(|_, known| known.held != [0; 2] || known.queued > 0 || known.used_now() > 0.0);
        }
    }
}

impl Project {
    fn used_now(&self) -> f64 {
        (self.used - self.at.elapsed().as_secs_f64() * REFUND).max(0.0)
    }
}

impl Slot {
    /// Counts what a process uses from now on against the project, and what starting it took, if it was started for it.
    pub(super) fn measure(&mut self, meter: Option<Meter>, is_new: bool) {
        self.start = meter.filter(|_| is_new).map(|meter| meter.began).unwrap_or_default();
        (self.meter, self.since) = (meter, Instant::now());
    }

    /// The time of a processor that was used on it; without a clock for that, the time that passed.
    pub(super) fn used(&self) -> Duration {
        self.meter.and_then(|meter| meter.used()).unwrap_or_else(|| self.since.elapsed())
    }

    /// Whether other slow runs go on beside this one.
    pub(super) fn is_one_of_several(&self) -> bool {
        let state = self.slots.lock();
        state.projects.values().map(|project| project.held).map(|[_, slow]| slow).sum::<usize>() > 1
    }

    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    /// Gives a quick slot up for a slow one, if one is free for the project.
    pub(super) fn slow_down(&mut self) -> bool {
        let slots = self.slots.clone();
        let mut state = slots.lock();
        if self.pace == Pace::Slow || !state.may_take(self.project, Pace::Slow) {
            return self.pace == Pace::Slow;
        }
        *at(&mut state.free, Pace::Slow) -= 1;
        *at(&mut state.project(self.project).held, Pace::Slow) += 1;
        state.free_again(self.project, Pace::Quick);
        self.pace = Pace::Slow;
        slots.serve(&mut state, Pace::Quick);
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_freed {
            return;
        }
        let seconds = (self.start + self.used()).as_secs_f64();
        let mut state = self.slots.lock();
        state.charge(self.project, seconds);
        state.free_again(self.project, self.pace);
        self.slots.serve(&mut state, self.pace);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.queued -= 1;
        state.project(self.project).queued -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(waiting: impl Future<Output = T>) -> Option<T> {
        futures::FutureExt::now_or_never(waiting)
    }

    #[test]
    fn a_project_holds_half_of_the_slots_and_a_newcomer_finds_one() {
        let (slots, project) = (Slots::new(4, 2), Uuid::now_v7());
        let held: Vec<_> = std::iter::from_fn(|| now(slots.take(project, Pace::Quick))).collect();
        assert_eq!(held.len(), 2);
        assert!(now(slots.take(Uuid::now_v7(), Pace::Quick)).is_some());
        let slow: Vec<_> = std::iter::from_fn(|| now(slots.take(project, Pace::Slow))).collect();
        assert_eq!(slow.len(), 1);
        drop((held, slow));
        assert_eq!(slots.lock().free, [4, 2]);
    }

    #[test]
    fn who_used_the_least_is_served_first_and_who_gave_up_not_at_all() {
        let slots = Slots::new(1, 1);
        let (greedy, modest, gone) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        slots.lock().charge(greedy, 3.0);
        assert!(slots.is_over_budget(greedy) && !slots.is_over_budget(modest));
        let held = now(slots.take(gone, Pace::Quick)).flatten().expect("a slot");
        let (mut first, mut second) =
            (Box::pin(slots.take(greedy, Pace::Quick)), Box::pin(slots.take(modest, Pace::Quick)));
        let mut third = Box::pin(slots.take(gone, Pace::Quick));
        assert!(now(&mut first).is_none() && now(&mut second).is_none() && now(&mut third).is_none());
        drop(third);
        drop(held);
        assert!(now(&mut first).is_none());
        let served = now(&mut second).flatten().expect("the modest one is served");
        drop(served);
        assert!(now(&mut first).flatten().is_some());
    }

    #[test]
    fn a_slow_run_frees_its_quick_slot_where_a_slow_one_is_free() {
        let (slots, project) = (Slots::new(1, 1), Uuid::now_v7());
        let mut slow = now(slots.take(project, Pace::Quick)).flatten().expect("a slot");
        assert!(slow.slow_down());
        let mut other = now(slots.take(project, Pace::Quick)).flatten().expect("it is free again");
        assert!(!other.slow_down(), "there is one slow slot only");
        drop((slow, other));
        assert_eq!(slots.lock().free, [1, 1]);
    }

    #[test]
    fn the_runs_of_one_project_that_wait_leave_room_for_others() {
        let (slots, project) = (Slots::new(1, 1), Uuid::now_v7());
        slots.bound_queue(64);
        let places: Vec<_> = std::iter::from_fn(|| slots.queue(project)).collect();
        assert_eq!(places.len(), 12);
        assert!(slots.is_full(project) && slots.queue(Uuid::now_v7()).is_some());
        drop(places);
        assert!(!slots.is_full(project) && !slots.has_queue());
    }
}
