//! Queues the runs of one script until a runner is free. Quick runs are sent to a runner in
//! batches.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::protocol::{DefinedFunctions, Output, Ran, Run, Source, Stop};
use super::runner::{Runners, too_many_ended};
use super::slots::{Headroom, Pace, QueuePermit, at};
use super::slowness::Slowness;
use crate::agents::AgentError;

/// How often a run is sent to a runner that ends without an answer for an unknown reason.
const MOST_TRIES: usize = 3;
/// How long a failure to compile a script is remembered if it is not the script's fault.
const UNREADABLE: Duration = Duration::from_secs(30);

struct Waiting {
    run: Run,
    answer: oneshot::Sender<Result<Output, AgentError>>,
    /// Whether it was in a batch whose runner ended. It may be the cause, so it is retried alone.
    alone: bool,
    tries: usize,
    /// The permit to wait for a slow slot.
    permit: Option<QueuePermit>,
}

/// The runs of a script.
pub struct Queue(Arc<Inner>);

struct Inner {
    runners: Runners,
    source: Source,
    /// The functions of the script, known once it was compiled.
    functions: OnceLock<DefinedFunctions>,
    state: Mutex<State>,
    /// One script may use at most half of the quick runners, and as many slow ones, so that other
    /// scripts find runners.
    concurrency: [Arc<Semaphore>; 2],
}

struct State {
    /// The runs that wait for quick slots, and those that wait for slow slots.
    waiting: [VecDeque<Waiting>; 2],
    slowness: Slowness,
    /// Why the script can't be compiled, either for good or until the given time.
    unreadable: Option<(AgentError, Option<Instant>)>,
}

impl Queue {
    /// A queue for a script, which is read at its first run.
    pub fn new(runners: Runners, source: Source) -> Self {
        let half = || Arc::new(Semaphore::new((runners.count() / 2).max(1)));
        let concurrency = [half(), half()];
        let state = State { waiting: Default::default(), slowness: Slowness::new(), unreadable: None };
        Self(Arc::new(Inner { runners, source, functions: OnceLock::new(), state: Mutex::new(state), concurrency }))
    }

    /// The functions of the script, if it was compiled.
    pub fn functions(&self) -> Option<DefinedFunctions> {
        self.0.functions.get().copied()
    }

    /// How many more runs may come: any number, unless the script's runs are slow.
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
    pub async fn run(&self, run: Run) -> Result<Output, AgentError> {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = Waiting { run, answer, alone: false, tries: 0, permit: None };
        let pace = {
            let mut state = self.0.lock();
            if let Some(error) = state.unreadable() {
                return Err(error);
            }
            let pace = state.slowness.pace(&waiting.run.conversation.id);
            if pace == Pace::Slow && !self.0.acquire_permit(&mut waiting) {
                return Err(too_many_wait());
            }
            at(&mut state.waiting, pace).push_back(waiting);
            pace
        };
        self.0.clone().begin(pace);
        receiver.await.unwrap_or_else(|_| Err(AgentError::Ours("the process is stopping".to_owned())))
    }
}

/// The error when too many slow runs of the project wait. Its messages wait too, but hold no worker
/// slots meanwhile.
fn too_many_wait() -> AgentError {
    AgentError::Ours(
        "too many slow script runs of this project wait for a runner; it goes on when they are done".to_owned(),
    )
}

impl State {
    /// Why no run can be answered now. An interruption becomes an error of ours, because this turn
    /// did not try anything.
    fn unreadable(&mut self) -> Option<AgentError> {
        self.unreadable.take_if(|(_, until)| until.is_some_and(|until| Instant::now() > until));
        self.unreadable.as_ref().map(|(error, _)| match error {
            AgentError::Interrupted(what) => {
                AgentError::Ours(format!("the script could not be read a moment ago: {what}"))
            }
            error => error.clone(),
        })
    }

    /// Remembers why the script can't be read. A fault of the script itself is remembered for good.
    fn note_unreadable(&mut self, error: &AgentError) {
        let is_its_own = !matches!(error, AgentError::Ours(_) | AgentError::Interrupted(_));
        self.unreadable = Some((error.clone(), (!is_its_own).then(|| Instant::now() + UNREADABLE)));
    }

    /// Updates what is known of the script's speed.
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

    fn acquire_permit(&self, waiting: &mut Waiting) -> bool {
        waiting.permit = waiting.permit.take().or_else(|| self.runners.slots().queue(self.source.project));
        waiting.permit.is_some()
    }

    /// Starts a task for the runs of a pace, unless enough tasks run.
    fn begin(self: Arc<Self>, pace: Pace) {
        let [quick, slow] = &self.concurrency;
        let semaphore = if pace == Pace::Quick { quick } else { slow };
        if let Ok(permit) = semaphore.clone().try_acquire_owned() {
            // A task of its own: the caller may give up, and the other runs must go on.
            tokio::spawn(self.work(pace, permit));
        }
    }

    async fn work(self: Arc<Self>, pace: Pace, permit: OwnedSemaphorePermit) {
        loop {
            // Runs that are about to be queued join this batch.
            tokio::task::yield_now().await;
            let mut batch = {
                let mut state = self.lock();
                let most = if pace == Pace::Quick { state.slowness.together() } else { 1 };
                next_batch(at(&mut state.waiting, pace), most)
            };
            if !batch.is_empty() {
                // The turns of some runs may have ended meanwhile.
                batch.retain(|waiting| !waiting.answer.is_closed());
                if self.run_together(batch, pace).await {
                    self.clone().begin(Pace::Slow);
                }
                continue;
            }
            // The permit is dropped under the lock, so a run that is queued later finds it free.
            let mut state = self.lock();
            if at(&mut state.waiting, pace).is_empty() {
                drop(permit);
                return;
            }
        }
    }

    /// Runs a batch and answers the runs that finished. Returns whether any run waits for a slow
    /// slot now.
    async fn run_together(&self, batch: Vec<Waiting>, pace: Pace) -> bool {
        if batch.is_empty() {
            return false;
        }
        let (mut runs, mut askers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Waiting { run, answer, alone: _, tries, permit } in batch {
            runs.push(run);
            askers.push((answer, tries, permit));
        }
        let count = runs.len();
        let ran = self.runners.run_all(&self.source, &runs, pace).await;
        if let Some(functions) = ran.functions {
            let _ = self.functions.set(functions);
        }
        self.lock().note(&runs, &ran);

        let mut left = runs.into_iter().zip(askers);
        // Only as many runs are taken as there are answers.
        for ((answer, _), (_, (asker, ..))) in ran.answers.into_iter().zip(left.by_ref()) {
            let _ = asker.send(answer);
        }
        let (mut again, mut fate) = (VecDeque::new(), Fate::of(ran.stop, count));
        for (run, (answer, tries, permit)) in left {
            let tries = tries + usize::from(fate.ended.is_some());
            let gone = fate.ended.as_deref().filter(|_| tries >= MOST_TRIES).map(too_many_ended);
            if ran.is_unread && gone.is_some() {
                fate.unreadable.clone_from(&gone);
            }
            match fate.error.clone().or(gone) {
                Some(error) => drop(answer.send(Err(error))),
                None => again.push_back(Waiting { run, answer, alone: fate.alone, tries, permit }),
            }
        }
        self.requeue(again, pace, fate.unreadable)
    }

    /// Puts the runs to be retried before the waiting ones, and moves each run to the queue of its
    /// pace. Runs that get no permit to wait for a slow slot fail: they were queued before they
    /// were known to be slow. Returns whether any run waits for a slow slot.
    fn requeue(&self, mut again: VecDeque<Waiting>, pace: Pace, unreadable: Option<AgentError>) -> bool {
        let mut failed = Vec::new();
        let mut state = self.lock();
        again.append(at(&mut state.waiting, pace));
        *at(&mut state.waiting, pace) = again;
        if let Some(error) = unreadable {
            state.note_unreadable(&error);
            let all = state.waiting.iter_mut().flat_map(std::mem::take);
            failed.extend(all.map(|waiting| (waiting.answer, error.clone())));
        }
        let State { waiting: [quick, slow], slowness, .. } = &mut *state;
        let is_slow = |waiting: &Waiting| slowness.pace(&waiting.run.conversation.id) == Pace::Slow;
        if quick.iter().any(is_slow) {
            let (turned, stay): (VecDeque<_>, VecDeque<_>) = std::mem::take(quick).into_iter().partition(is_slow);
            *quick = stay;
            slow.extend(turned);
        }
        if slow.iter().any(|waiting| waiting.permit.is_none()) {
            for mut waiting in std::mem::take(slow) {
                if self.acquire_permit(&mut waiting) {
                    slow.push_back(waiting);
                } else {
                    failed.push((waiting.answer, too_many_wait()));
                }
            }
        }
        let any_wait = !slow.is_empty();
        drop(state);
        failed.into_iter().for_each(|(answer, error)| drop(answer.send(Err(error))));
        any_wait
    }
}

/// What happens to runs that got no answer.
#[derive(Debug, Default)]
struct Fate {
    /// The error that the runs get; without one, they are retried.
    error: Option<AgentError>,
    /// Each run is retried alone: if one of several took the runner down, it is not known which.
    alone: bool,
    /// How their runner ended, if the reason is not known. This counts as a try.
    ended: Option<String>,
    /// The error that every run of the script gets.
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

/// The next runs that may go together, or one that must go alone.
fn next_batch(waiting: &mut VecDeque<Waiting>, most: usize) -> Vec<Waiting> {
    let together = waiting.iter().take(most).take_while(|waiting| !waiting.alone).count();
    waiting.drain(..together.max(1).min(waiting.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Call;
    use super::*;

    #[test]
    fn a_run_that_may_have_ended_its_runner_goes_alone() {
        let mut waiting = VecDeque::new();
        for alone in [false, false, true, true, false] {
            let conversation = super::super::tests::conversation("sms");
            waiting.push_back(Waiting {
                run: Run { conversation, call: Call::Start },
                answer: oneshot::channel().0,
                alone,
                tries: 0,
                permit: None,
            });
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| Some(next_batch(&mut waiting, 16).len())).take(5).collect();
        assert_eq!(sizes, [2, 1, 1, 1, 0]);
    }
}
