//! Runs of one script that wait for a runner, and go there together while they are quick; it knows no other script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::runner::{Run, Runners, Source, Stop};
use super::slots::{Pace, Place};
use crate::agent::{AgentError, Answer};

/// The most runs that go to a runner together.
const MOST: usize = 16;
/// Runs that take longer on average go alone: nobody waits for a slow one.
const QUICK: Duration = Duration::from_millis(1);
/// After so many quick runs a script is known as quick, and one that was slow may use quick slots again.
const PROVEN: usize = 16;
/// How often a run goes to a runner that ends before it answers, and no script is to blame.
const MOST_TRIES: usize = 3;

struct Waiting {
    run: Run,
    answer: oneshot::Sender<Result<Answer, AgentError>>,
    /// It was there when a runner went down: perhaps by its fault.
    alone: bool,
    tries: usize,
    /// While its script is slow: its place among those that wait for slow slots.
    place: Option<Place>,
}

/// The runs of a script.
pub struct Queue(Arc<Inner>);

struct Inner {
    runners: Runners,
    source: Source,
    waiting: Mutex<VecDeque<Waiting>>,
    /// One script may take half of the quick runners at most: a slow one leaves room for the others.
    share: Arc<Semaphore>,
    /// How many runs go together now.
    together: AtomicUsize,
    /// How many quick runs there were since the last slow one, up to [`PROVEN`].
    quick: AtomicUsize,
    /// How many quick runs it takes until the script may use quick slots again: zero, unless it was slow.
    slow: AtomicUsize,
}

impl Queue {
    /// A queue before a script.
    pub fn new(runners: Runners, source: Source) -> Self {
        let share = Arc::new(Semaphore::new((runners.count() / 2).max(1)));
        let [together, quick, slow] = [1, 0, 0].map(AtomicUsize::new);
        Self(Arc::new(Inner { runners, source, waiting: Mutex::default(), share, together, quick, slow }))
    }

    /// Whether the script is slow, and so many of its project's runs wait that one more would be sent away.
    pub fn is_full(&self) -> bool {
        self.0.pace() == Pace::Slow && self.0.runners.slots().is_full(self.0.source.project)
    }

    /// Runs the script.
    pub async fn run(&self, run: Run) -> Result<Answer, AgentError> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = Waiting { run, answer, alone: false, tries: 0, place: None };
        if self.0.pace() == Pace::Slow && !self.0.give_place(&mut waiting) {
            return Err(too_many_wait());
        }
        self.0.waiting().push_back(waiting);
        if let Ok(permit) = self.0.share.clone().try_acquire_owned() {
            // On its own: who waits may give up, and the others' runs must go on.
            tokio::spawn(self.0.clone().work(permit));
        }
        answered.await.unwrap_or_else(|_| Err(AgentError::Ours("the process is stopping".to_owned())))
    }
}

/// A project whose slow runs wait: its messages wait too, and hold none of the worker's slots meanwhile.
fn too_many_wait() -> AgentError {
    AgentError::Ours(
        "too many slow script runs of this project wait for a runner; it goes on when they are done".to_owned(),
    )
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which slots the next run needs. A project that is over its budget has quick ones only for scripts that are known as quick.
    fn pace(&self) -> Pace {
        let is_known = self.quick.load(Relaxed) >= PROVEN;
        let is_slow =
            self.slow.load(Relaxed) > 0 || (!is_known && self.runners.slots().is_over_budget(self.source.project));
        if is_slow { Pace::Slow } else { Pace::Quick }
    }

    fn give_place(&self, waiting: &mut Waiting) -> bool {
        waiting.place = waiting.place.take().or_else(|| self.runners.slots().queue(self.source.project));
        waiting.place.is_some()
    }

    async fn work(self: Arc<Self>, permit: OwnedSemaphorePermit) {
        loop {
            // Who could ask at this moment does, and goes along.
            tokio::task::yield_now().await;
            let mut batch = next_batch(&mut self.waiting(), self.together.load(Relaxed));
            if !batch.is_empty() {
                // Whose turn has ended meanwhile needs no answer.
                batch.retain(|waiting| !waiting.answer.is_closed());
                self.run_together(batch).await;
                continue;
            }
            // While nobody can come: who comes after finds the permit free.
            let waiting = self.waiting();
            if waiting.is_empty() {
                drop(permit);
                return;
            }
        }
    }

    async fn run_together(&self, batch: Vec<Waiting>) {
        if batch.is_empty() {
            return;
        }
        let began = Instant::now();
        let (mut runs, mut askers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Waiting { run, answer, alone: _, tries, place } in batch {
            runs.push(run);
            askers.push((answer, tries, place));
        }
        let count = runs.len();
        let (answers, stop, used) = self.runners.run_all(&self.source, &runs, self.pace()).await;
        // A run over a bound ends its runner, and another has to be started.
        let costly = matches!(&stop, Some(Stop::One(_)) if count == 1)
            || answers.iter().any(|answer| matches!(answer, Err(AgentError::OverLimit(_))));
        let used = if costly { used.max(super::runner::QUICK) } else { used };
        self.note(count, stop.as_ref(), began.elapsed(), used);

        let mut left = runs.into_iter().zip(askers);
        // Answers first: an answer that is not there takes no run away.
        for (answer, (_, (asker, ..))) in answers.into_iter().zip(left.by_ref()) {
            let _ = asker.send(answer);
        }
        // Where one of several took the runner down, nobody knows which: each goes alone.
        let (alone, counts, blame) = match stop {
            None => return,
            Some(Stop::All(error)) => (false, 0, Some(error)),
            Some(Stop::One(error)) if count == 1 => (true, 0, Some(error)),
            Some(Stop::One(_) | Stop::Slow) => (true, 0, None),
            Some(Stop::Again) => (false, 1, None),
        };
        for (run, (answer, tries, place)) in left.rev() {
            let tries = tries + counts;
            let error = blame.clone().or_else(|| {
                let gone = "several script runners ended before they answered";
                (tries >= MOST_TRIES).then(|| AgentError::Ours(gone.to_owned()))
            });
            match error {
                Some(error) => drop(answer.send(Err(error))),
                None => self.waiting().push_front(Waiting { run, answer, alone, tries, place }),
            }
        }
        if self.pace() == Pace::Slow {
            self.send_away();
        }
    }

    /// Learns from how runs went how many may go together, and on which slots. What makes a script slow is the time of a processor:
    /// that of the clock tells how busy the machine is, too.
    fn note(&self, count: usize, stop: Option<&Stop>, took: Duration, used: Duration) {
        let a_run = took / u32::try_from(count).unwrap_or(u32::MAX);
        let is_slow = match stop {
            Some(Stop::Slow) => true,
            Some(Stop::One(_)) if count == 1 => used >= super::runner::QUICK,
            Some(_) => return self.together.store(1, Relaxed),
            None => used >= super::runner::QUICK,
        };
        let quick = !is_slow && a_run < QUICK && stop.is_none();
        self.together.store(if quick { (count * 2).clamp(2, MOST) } else { 1 }, Relaxed);
        if is_slow {
            self.slow.store(PROVEN, Relaxed);
            self.quick.store(0, Relaxed);
        } else {
            self.slow.store(self.slow.load(Relaxed).saturating_sub(count), Relaxed);
            self.quick.store((self.quick.load(Relaxed) + count).min(PROVEN), Relaxed);
        }
    }

    /// Keeps as many runs waiting as there are places for, and sends the others away: they came before their script was known as slow.
    fn send_away(&self) {
        let mut away = Vec::new();
        let mut waiting = self.waiting();
        for mut run in std::mem::take(&mut *waiting) {
            if self.give_place(&mut run) {
                waiting.push_back(run);
            } else {
                away.push(run.answer);
            }
        }
        drop(waiting);
        away.into_iter().for_each(|answer| drop(answer.send(Err(too_many_wait()))));
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
