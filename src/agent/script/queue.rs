//! Runs of one script that wait for a runner, and go there together while they are quick; it knows no other script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::protocol::Facts;
use super::runner::{Ran, Run, Runners, Source, Stop, too_many_ended};
use super::slots::{Headroom, Pace, Place, at};
use super::slowness::Slowness;
use crate::agent::{AgentError, Answer};

/// How often a run goes to a runner that ends before it answers, and no script is to blame.
const MOST_TRIES: usize = 3;
/// How long it is remembered that a script could not be read for a reason that is not its own.
const UNREADABLE: Duration = Duration::from_secs(30);

struct Waiting {
    run: Run,
    answer: oneshot::Sender<Result<Answer, AgentError>>,
    /// It was there when a runner went down: perhaps by its fault.
    alone: bool,
    tries: usize,
    /// While it waits for a slow slot: its place among those that do.
    place: Option<Place>,
}

/// The runs of a script.
pub struct Queue(Arc<Inner>);

struct Inner {
    runners: Runners,
    source: Source,
    /// What the script offers, since it was read first.
    facts: OnceLock<Facts>,
    state: Mutex<State>,
    /// One script may take half of the quick runners at most, and as many slow ones: it leaves room for the others.
    shares: [Arc<Semaphore>; 2],
}

struct State {
    /// The runs that wait for quick slots, and for slow ones.
    waiting: [VecDeque<Waiting>; 2],
    slowness: Slowness,
    /// Why the script can't be read: for good, or until then.
    unreadable: Option<(AgentError, Option<Instant>)>,
}

impl Queue {
    /// A queue before a script, which is read with its first run.
    pub fn new(runners: Runners, source: Source) -> Self {
        let share = || Arc::new(Semaphore::new((runners.count() / 2).max(1)));
        let shares = [share(), share()];
        let state = State { waiting: Default::default(), slowness: Slowness::new(), unreadable: None };
        Self(Arc::new(Inner { runners, source, facts: OnceLock::new(), state: Mutex::new(state), shares }))
    }

    /// What the script offers, if it was read.
    pub fn facts(&self) -> Option<Facts> {
        self.0.facts.get().copied()
    }

    /// How many more runs may come: without end, unless they are slow.
    pub fn headroom(&self) -> Headroom {
        let mut state = self.0.lock();
        match state.unreadable() {
            Some(AgentError::Ours(_)) => Headroom::None,
            _ if state.slowness.is_of_all() => {
                drop(state);
                self.0.runners.slots().headroom(self.0.source.project)
            }
            _ => Headroom::Enough,
        }
    }

    /// Runs the script.
    pub async fn run(&self, run: Run) -> Result<Answer, AgentError> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = Waiting { run, answer, alone: false, tries: 0, place: None };
        let pace = {
            let mut state = self.0.lock();
            if let Some(error) = state.unreadable() {
                return Err(error);
            }
            let pace = state.slowness.pace(&waiting.run.conversation.id);
            if pace == Pace::Slow && !self.0.give_place(&mut waiting) {
                return Err(too_many_wait());
            }
            at(&mut state.waiting, pace).push_back(waiting);
            pace
        };
        self.0.clone().begin(pace);
        answered.await.unwrap_or_else(|_| Err(AgentError::Ours("the process is stopping".to_owned())))
    }
}

/// A project whose slow runs wait: its messages wait too, and hold none of the worker's slots meanwhile.
fn too_many_wait() -> AgentError {
    AgentError::Ours(
        "too many slow script runs of this project wait for a runner; it goes on when they are done".to_owned(),
    )
}

impl State {
    /// Why no run can be answered now. The error that was ours is told as such: each turn that meets it tried nothing.
    fn unreadable(&mut self) -> Option<AgentError> {
        self.unreadable.take_if(|(_, until)| until.is_some_and(|until| Instant::now() > until));
        self.unreadable.as_ref().map(|(error, _)| match error {
            AgentError::Interrupted(what) => {
                AgentError::Ours(format!("the script could not be read a moment ago: {what}"))
            }
            error => error.clone(),
        })
    }

    /// Notes why the script can't be read: what is its own fault would be so again.
    fn note_unreadable(&mut self, error: &AgentError) {
        let is_its_own = !matches!(error, AgentError::Ours(_) | AgentError::Interrupted(_));
        self.unreadable = Some((error.clone(), (!is_its_own).then(|| Instant::now() + UNREADABLE)));
    }

    /// Learns from how runs went.
    fn note(&mut self, runs: &[Run], ran: &Ran) {
        for (Run { conversation, .. }, (answer, used)) in runs.iter().zip(&ran.answers) {
            match answer {
                Err(AgentError::OverLimit(_)) => self.slowness.note_slow(&conversation.id),
                _ => self.slowness.note(&conversation.id, *used),
            }
        }
        let is_slow = matches!(ran.stop, Some(Stop::One(AgentError::OverLimit(_)) | Stop::Slow));
        if let (true, [run]) = (is_slow, runs) {
            self.slowness.note_slow(&run.conversation.id);
        }
        self.slowness.note_reading(ran.reading);
        self.slowness.note_batch(runs.len(), ran.stop.is_none().then_some(ran.used));
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_place(&self, waiting: &mut Waiting) -> bool {
        waiting.place = waiting.place.take().or_else(|| self.runners.slots().queue(self.source.project));
        waiting.place.is_some()
    }

    /// Works on the runs of a pace, unless enough do.
    fn begin(self: Arc<Self>, pace: Pace) {
        let [quick, slow] = &self.shares;
        let share = if pace == Pace::Quick { quick } else { slow };
        if let Ok(permit) = share.clone().try_acquire_owned() {
            // On its own: who waits may give up, and the others' runs must go on.
            tokio::spawn(self.work(pace, permit));
        }
    }

    async fn work(self: Arc<Self>, pace: Pace, permit: OwnedSemaphorePermit) {
        loop {
            // Who could ask at this moment does, and goes along.
            tokio::task::yield_now().await;
            let mut batch = {
                let mut state = self.lock();
                let most = if pace == Pace::Quick { state.slowness.together() } else { 1 };
                next_batch(at(&mut state.waiting, pace), most)
            };
            if !batch.is_empty() {
                // Whose turn has ended meanwhile needs no answer.
                batch.retain(|waiting| !waiting.answer.is_closed());
                if self.run_together(batch, pace).await {
                    self.clone().begin(Pace::Slow);
                }
                continue;
            }
            // While nobody can come: who comes after finds the permit free.
            let mut state = self.lock();
            if at(&mut state.waiting, pace).is_empty() {
                drop(permit);
                return;
            }
        }
    }

    /// Runs them and answers those that came to an end; says whether any wait for slow slots now.
    async fn run_together(&self, batch: Vec<Waiting>, pace: Pace) -> bool {
        if batch.is_empty() {
            return false;
        }
        let (mut runs, mut askers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Waiting { run, answer, alone: _, tries, place } in batch {
            runs.push(run);
            askers.push((answer, tries, place));
        }
        let count = runs.len();
        let ran = self.runners.run_all(&self.source, &runs, pace).await;
        if let Some(facts) = ran.facts {
            let _ = self.facts.set(facts);
        }
        self.lock().note(&runs, &ran);

        let mut left = runs.into_iter().zip(askers);
        // Answers first: an answer that is not there takes no run away.
        for ((answer, _), (_, (asker, ..))) in ran.answers.into_iter().zip(left.by_ref()) {
            let _ = asker.send(answer);
        }
        let (mut again, mut fate) = (VecDeque::new(), Fate::of(ran.stop, count));
        for (run, (answer, tries, place)) in left {
            let tries = tries + usize::from(fate.ended.is_some());
            let gone = fate.ended.as_deref().filter(|_| tries >= MOST_TRIES).map(too_many_ended);
            if ran.is_unread && gone.is_some() {
                fate.unreadable.clone_from(&gone);
            }
            match fate.error.clone().or(gone) {
                Some(error) => drop(answer.send(Err(error))),
                None => again.push_back(Waiting { run, answer, alone: fate.alone, tries, place }),
            }
        }
        self.settle(again, pace, fate.unreadable)
    }

    /// Puts what is to be run again before those that wait, and each of them where its pace says: as many wait for slow slots as there
    /// are places for, and the others are sent away. They came before their runs were known as slow. Says whether any wait for slow slots.
    fn settle(&self, mut again: VecDeque<Waiting>, pace: Pace, unreadable: Option<AgentError>) -> bool {
        let mut away = Vec::new();
        let mut state = self.lock();
        again.append(at(&mut state.waiting, pace));
        *at(&mut state.waiting, pace) = again;
        if let Some(error) = unreadable {
            state.note_unreadable(&error);
            let all = state.waiting.iter_mut().flat_map(std::mem::take);
            away.extend(all.map(|waiting| (waiting.answer, error.clone())));
        }
        let State { waiting: [quick, slow], slowness, .. } = &mut *state;
        let is_slow = |waiting: &Waiting| slowness.pace(&waiting.run.conversation.id) == Pace::Slow;
        if quick.iter().any(is_slow) {
            let (turned, stay): (VecDeque<_>, VecDeque<_>) = std::mem::take(quick).into_iter().partition(is_slow);
            *quick = stay;
            slow.extend(turned);
        }
        if slow.iter().any(|waiting| waiting.place.is_none()) {
            for mut waiting in std::mem::take(slow) {
                if self.give_place(&mut waiting) {
                    slow.push_back(waiting);
                } else {
                    away.push((waiting.answer, too_many_wait()));
                }
            }
        }
        let any_wait = !slow.is_empty();
        drop(state);
        away.into_iter().for_each(|(answer, error)| drop(answer.send(Err(error))));
        any_wait
    }
}

/// What becomes of runs that were not answered.
#[derive(Debug, Default)]
struct Fate {
    /// They have no answer for this reason, else they are run again.
    error: Option<AgentError>,
    /// Each on its own: where one of several took the runner down, nobody knows which.
    alone: bool,
    /// Their runner ended for no reason that is known: that counts, and says how it ended.
    ended: Option<String>,
    /// No run of the script has an answer.
    unreadable: Option<AgentError>,
}

impl Fate {
    fn of(stop: Option<Stop>, count: usize) -> Self {
        let again = Self::default();
        match stop {
            None | Some(Stop::Over) => again,
            Some(Stop::All(error)) => Self { error: Some(error), ..again },
            Some(Stop::Unreadable(error)) => Self { error: Some(error.clone()), unreadable: Some(error), ..again },
            Some(Stop::One(error)) if count == 1 => Self { error: Some(error), ..again },
            Some(Stop::One(_) | Stop::Slow) => Self { alone: true, ..again },
            Some(Stop::Again(how)) => Self { alone: true, ended: Some(how), ..again },
        }
    }
}

/// The next runs that may go together; one that must go alone does.
fn next_batch(waiting: &mut VecDeque<Waiting>, most: usize) -> Vec<Waiting> {
    let together = waiting.iter().take(most).take_while(|waiting| !waiting.alone).count();
    waiting.drain(..together.max(1).min(waiting.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_a_runner_down_goes_alone() {
        let mut waiting = VecDeque::new();
        for alone in [false, false, true, true, false] {
            let conversation = super::super::tests::conversation("sms");
            waiting.push_back(Waiting {
                run: Run { conversation, texts: None },
                answer: oneshot::channel().0,
                alone,
                tries: 0,
                place: None,
            });
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| Some(next_batch(&mut waiting, 16).len())).take(5).collect();
        assert_eq!(sizes, [2, 1, 1, 1, 0]);
    }
}
