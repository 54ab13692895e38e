//! Shares the slots for scripts fairly between projects. Only a few slots are for slow runs.
//!
//! A project may hold as many slots of a kind as are left free. The waiting project that used the
//! least CPU time lately is served first. A run begins in a quick slot. A run that turns out to be
//! slow moves to a slow slot, or is stopped and queued until one is free.
//!
//! docs/decisions/038-script-fairness.md has the reasons.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use tokio::sync::oneshot;
use uuid::Uuid;

/// After this many seconds, used CPU time counts half. It decides which of several projects is
/// served first, and does not slow down a project that is alone.
const HALF_LIFE: f64 = 5.0;
/// A project with less CPU time than this, in seconds, is forgotten.
const NOTHING: f64 = 0.001;
/// A project that used less CPU time than this, in seconds, is light, whatever other projects used.
const LIGHT: f64 = 0.25;

/// The CPU time after which a run, or a batch of runs, must leave its quick slot. A debug build
/// takes ten times as long for the same work.
pub(super) const QUICK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 250 } else { 25 });
/// The same for compiling a script, which a runner does once.
pub(super) const QUICK_TO_READ: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 100 });

/// A kind of slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// For short runs: nearly always a slot becomes free within [`QUICK`].
    Quick,
    /// For all other runs. While several of them run, they have a low priority.
    Slow,
}

/// The slots of a process. Clones share them and are cheap.
#[derive(Clone)]
pub(super) struct Slots(Arc<Mutex<State>>);

struct State {
    free: [usize; 2],
    waiting: [Vec<Waiting>; 2],
    projects: HashMap<Uuid, Project>,
    queue: QueueCapacity,
}

/// How many runs may wait for slow slots, and how many do.
struct QueueCapacity {
    most: usize,
    queued: usize,
}

/// How many more runs of a project may wait for slow slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headroom {
    /// None: one more run would be refused.
    None,
    /// Few, and none a moment ago: the project's runs go one at a time.
    Few,
    Enough,
}

struct Project {
    used: f64,
    at: Instant,
    held: [usize; 2],
    /// How many runs of the project wait for slow slots, and whether it ran out of permits since it
    /// last held less than half of what it may hold.
    queued: usize,
    was_full: bool,
}

struct Waiting {
    project: Uuid,
    ready: oneshot::Sender<Slot>,
}

/// A slot that is held. Dropping it frees it, and its CPU time counts for its project.
pub(super) struct Slot {
    slots: Slots,
    project: Uuid,
    pace: Pace,
    since: Instant,
    meter: Option<Meter>,
    start: Duration,
    is_freed: bool,
}

/// A permit to wait for a slow slot.
pub(super) struct QueuePermit {
    slots: Slots,
    project: Uuid,
}

/// Measures the CPU time of a process.
#[derive(Clone, Copy)]
pub(super) struct Meter {
    clock: ClockId,
    began: Duration,
}

impl Meter {
    /// Measures from now on.
    pub(super) fn of(clock: ClockId) -> Option<Self> {
        Some(Self { clock, began: Duration::from(clock.now().ok()?) })
    }

    /// The CPU time used since, unless the process is gone.
    pub(super) fn used(&self) -> Option<Duration> {
        Some(Duration::from(self.clock.now().ok()?).saturating_sub(self.began))
    }
}

impl Slots {
    /// So many slots of each kind.
    pub(super) fn new(quick: usize, slow: usize) -> Self {
        let (projects, waiting) = (HashMap::new(), [Vec::new(), Vec::new()]);
        let queue = QueueCapacity { most: usize::MAX, queued: 0 };
        Self(Arc::new(Mutex::new(State { free: [quick, slow], waiting, projects, queue })))
    }

    /// Lets only a part of a worker's turn slots wait for slow script slots.
    pub(super) fn bound_queue(&self, turn_slots: usize) {
        self.lock().queue.most = (turn_slots * 3 / 8).max(1);
    }

    /// Waits for a slot.
    pub(super) async fn take(&self, project: Uuid, pace: Pace) -> Option<Slot> {
        let waiting = {
            let mut state = self.lock();
            if state.waiting_of(pace).is_empty() && state.may_take(project, pace) {
                return Some(self.occupy(&mut state, project, pace));
            }
            let (ready, waiting) = oneshot::channel();
            state.waiting_of(pace).push(Waiting { project, ready });
            self.serve(&mut state, pace);
            waiting
        };
        waiting.await.ok()
    }

    /// A permit to wait for a slow slot, if the project may have one.
    pub(super) fn queue(&self, project: Uuid) -> Option<QueuePermit> {
        let mut state = self.lock();
        if !state.may_queue(project) {
            state.project(project).was_full = true;
            return None;
        }
        state.queue.queued += 1;
        state.project(project).queued += 1;
        let is_last = !state.may_queue(project);
        state.project(project).was_full |= is_last;
        drop(state);
        Some(QueuePermit { slots: self.clone(), project })
    }

    /// How many more runs of a project may wait for slow slots.
    pub(super) fn headroom(&self, project: Uuid) -> Headroom {
        let mut state = self.lock();
        if !state.may_queue(project) {
            return Headroom::None;
        }
        let (held, spare) = (state.queued_of(project), state.spare_permits());
        // A project becomes full when it holds as many permits as are spare. It stays full until it
        // holds half of that.
        let known = state.project(project);
        known.was_full &= held > 0 && held * 3 > spare;
        if known.was_full { Headroom::Few } else { Headroom::Enough }
    }

    /// Whether any run waits for a slow slot.
    pub(super) fn has_queue(&self) -> bool {
        self.lock().queue.queued > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn occupy(&self, state: &mut State, project: Uuid, pace: Pace) -> Slot {
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

    /// Gives free slots to waiting runs: first to the project that used the least, then in order of
    /// arrival.
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
            let slot = self.occupy(state, project, pace);
            if let Err(mut unwanted) = ready.send(slot) {
                // Freed here: its own drop would take the lock that is held here.
                unwanted.is_freed = true;
                state.release(project, pace);
            }
        }
    }
}

/// The element of a pace.
pub(super) const fn at<T>(of: &mut [T; 2], pace: Pace) -> &mut T {
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
        let new = || Project { used: 0.0, at: Instant::now(), held: [0; 2], queued: 0, was_full: false };
        self.projects.entry(project).or_insert_with(new)
    }

    fn may_take(&self, project: Uuid, pace: Pace) -> bool {
        let (mut free, mut held) = (self.free, self.projects.get(&project).map_or([0; 2], |known| known.held));
        let (free, held) = (*at(&mut free, pace), *at(&mut held, pace));
        match free {
            0 => false,
            1 if held == 0 && pace == Pace::Quick => self.is_light(project),
            _ => held == 0 || held < free,
        }
    }

    /// Whether a project may take the last quick slot: several projects with heavy use leave it to
    /// one with light use.
    fn is_light(&self, project: Uuid) -> bool {
        let holders = self.projects.values().filter(|known| known.held.first().is_some_and(|quick| *quick > 0));
        let heaviest = holders.map(Project::used_now).max_by(f64::total_cmp);
        let used = self.used(project);
        used < LIGHT || heaviest.is_none_or(|heaviest| used < heaviest / 2.0)
    }

    fn queued_of(&self, project: Uuid) -> usize {
        self.projects.get(&project).map_or(0, |known| known.queued)
    }

    /// The permits that are free for projects which hold some already. An eighth of all permits is
    /// reserved for projects that hold none.
    fn spare_permits(&self) -> usize {
        self.queue.most.saturating_sub(self.queue.queued).saturating_sub(self.queue.most / 8)
    }

    /// Whether another run of the project may wait: a project may hold as many permits as are
    /// spare.
    fn may_queue(&self, project: Uuid) -> bool {
        let held = self.queued_of(project);
        if held == 0 { self.queue.queued < self.queue.most } else { held < self.spare_permits() }
    }

    /// The seconds of CPU time that count for a project now.
    fn used(&self, project: Uuid) -> f64 {
        self.projects.get(&project).map_or(0.0, Project::used_now)
    }

    fn charge(&mut self, project: Uuid, seconds: f64) {
        let charged = self.project(project);
        charged.used = charged.used_now() + seconds;
        charged.at = Instant::now();
    }

    fn release(&mut self, project: Uuid, pace: Pace) {
        *at(&mut self.free, pace) += 1;
        *at(&mut self.project(project).held, pace) -= 1;
        // Removes projects without slots, waiting runs or recent use. Not at each call, since most
        // projects come back.
        if self.projects.len() > 1_000 {
            self.projects.retain(|_, known| known.held != [0; 2] || known.queued > 0 || known.used_now() > NOTHING);
        }
    }
}

impl Project {
    fn used_now(&self) -> f64 {
        self.used * 0.5_f64.powf(self.at.elapsed().as_secs_f64() / HALF_LIFE)
    }
}

impl Slot {
    /// From now on, counts the process's CPU time for the project. If the process was started for
    /// it, its start counts too.
    pub(super) fn measure(&mut self, meter: Option<Meter>, is_new: bool) {
        self.start = meter.filter(|_| is_new).map(|meter| meter.began).unwrap_or_default();
        (self.meter, self.since) = (meter, Instant::now());
    }

    /// The CPU time used in this slot, or without a CPU clock the time that passed.
    pub(super) fn used(&self) -> Duration {
        self.meter.and_then(|meter| meter.used()).unwrap_or_else(|| self.since.elapsed())
    }

    /// Whether other slow runs go on at the same time.
    pub(super) fn is_one_of_several(&self) -> bool {
        let state = self.slots.lock();
        state.projects.values().map(|project| project.held).map(|[_, slow]| slow).sum::<usize>() > 1
    }

    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    /// Swaps a quick slot for a slow one, if one is free for the project. Returns whether the slot
    /// is slow.
    pub(super) fn slow_down(&mut self) -> bool {
        let slots = self.slots.clone();
        let mut state = slots.lock();
        if self.pace == Pace::Slow || !state.may_take(self.project, Pace::Slow) {
            return self.pace == Pace::Slow;
        }
        *at(&mut state.free, Pace::Slow) -= 1;
        *at(&mut state.project(self.project).held, Pace::Slow) += 1;
        state.release(self.project, Pace::Quick);
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
        state.release(self.project, self.pace);
        self.slots.serve(&mut state, self.pace);
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.queue.queued -= 1;
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
    fn the_project_that_used_the_least_is_served_first() {
        let slots = Slots::new(1, 1);
        let (greedy, modest, gone) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        slots.lock().charge(greedy, 3.0);
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

    fn all_of(slots: &Slots, project: Uuid) -> Vec<QueuePermit> {
        std::iter::from_fn(|| slots.queue(project)).collect()
    }

    #[test]
    fn projects_with_many_waiting_runs_leave_permits_for_others() {
        let slots = Slots::new(1, 1);
        slots.bound_queue(1_024);
        let mut held: Vec<Vec<QueuePermit>> = (0..8).map(|_| all_of(&slots, Uuid::now_v7())).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [168, 84, 42, 21, 11, 5, 3, 1]);
        // None of these projects holds a permit yet.
        let newcomers: Vec<Vec<QueuePermit>> = (0..40).map(|_| all_of(&slots, Uuid::now_v7())).collect();
        assert!(newcomers.iter().all(|permits| permits.len() == 1), "a project that holds none gets one");
        held.clear();
        drop(newcomers);
        assert!(!slots.has_queue());
    }

    #[test]
    fn one_freed_permit_does_not_admit_many_runs() {
        let (slots, project) = (Slots::new(1, 1), Uuid::now_v7());
        slots.bound_queue(64);
        assert_eq!(slots.headroom(project), Headroom::Enough);
        let mut permits = all_of(&slots, project);
        assert_eq!((permits.len(), slots.headroom(project)), (11, Headroom::None));
        permits.pop();
        assert_eq!(slots.headroom(project), Headroom::Few);
        permits.truncate(5);
        assert_eq!(slots.headroom(project), Headroom::Enough, "half of them are free");
        permits.extend(slots.queue(project));
        assert_eq!(slots.headroom(project), Headroom::Enough);
        drop(permits);
        assert_eq!((slots.headroom(project), slots.has_queue()), (Headroom::Enough, false));
    }

    #[test]
    fn heavy_projects_leave_the_last_quick_slot_to_a_light_one() {
        let slots = Slots::new(4, 2);
        let heavy = [(); 3].map(|()| Uuid::now_v7());
        for (project, seconds) in heavy.iter().zip([3.0, 2.9, 2.8]) {
            slots.lock().charge(*project, seconds);
        }
        let held: Vec<Slot> = heavy[..2]
            .iter()
            .flat_map(|project| std::iter::from_fn(|| now(slots.take(*project, Pace::Quick)).flatten()))
            .collect();
        assert_eq!(held.len(), 3);
        assert!(now(slots.take(heavy[2], Pace::Quick)).is_none());
        // A busy project with a third of what the others used.
        let busy = Uuid::now_v7();
        slots.lock().charge(busy, 1.0);
        assert!(now(slots.take(busy, Pace::Quick)).is_some());
    }

    #[test]
    fn a_busy_project_that_is_alone_waits_for_nobody() {
        let (slots, project) = (Slots::new(4, 2), Uuid::now_v7());
        for _ in 0..100 {
            slots.lock().charge(project, 1.0);
            assert!(now(slots.take(project, Pace::Quick)).is_some());
        }
    }
}
