//! Runs of one script that wait for a runner, and go there together while they are quick; it knows no other script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::runner::{Run, Runners};
use crate::agent::{AgentError, Answer};

/// The most runs that go to a runner together.
const MOST: usize = 16;
/// Runs that take longer on average go alone: nobody waits for a slow one.
const QUICK: Duration = Duration::from_millis(1);

struct Waiting {
    run: Run,
    answer: oneshot::Sender<Result<Answer, AgentError>>,
    /// It was there when a runner went down: perhaps by its fault.
    alone: bool,
}

/// The runs of a script.
pub struct Queue(Arc<Inner>);

struct Inner {
    runners: Runners,
    /// Names the script in its runner.
    key: String,
    source: String,
    waiting: Mutex<VecDeque<Waiting>>,
    /// One script may take half of the runners at most: a slow one leaves room for the others.
    share: Arc<Semaphore>,
    /// How many runs go together now.
    together: AtomicUsize,
}

impl Queue {
    /// A queue before a script.
    pub fn new(runners: Runners, key: String, source: String) -> Self {
        let share = Arc::new(Semaphore::new((runners.count() / 2).max(1)));
        let (waiting, together) = (Mutex::default(), AtomicUsize::new(1));
        Self(Arc::new(Inner { runners, key, source, waiting, share, together }))
    }

    /// Runs the script.
    pub async fn run(&self, run: Run) -> Result<Answer, AgentError> {
        let (answer, answered) = oneshot::channel();
        self.0.waiting().push_back(Waiting { run, answer, alone: false });
        if let Ok(permit) = self.0.share.clone().try_acquire_owned() {
            // On its own: who waits may give up, and the others' runs must go on.
            tokio::spawn(self.0.clone().work(permit));
        }
        answered.await.unwrap_or_else(|_| Err(AgentError::Failed("the process is stopping".to_owned())))
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(self: Arc<Self>, permit: OwnedSemaphorePermit) {
        loop {
            // Who could ask at this moment does, and goes along.
            tokio::task::yield_now().await;
            let mut batch = next_batch(&mut self.waiting(), self.together.load(Ordering::Relaxed));
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
        let began = Instant::now();
        let (runs, senders): (Vec<Run>, Vec<_>) =
            batch.into_iter().map(|Waiting { run, answer, .. }| (run, answer)).unzip();
        if runs.is_empty() {
            return;
        }
        let (answers, broken) = self.runners.run_all(&self.key, &self.source, &runs).await;
        let count = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let quick = broken.is_none() && began.elapsed() / count < QUICK;
        let together = if quick { (runs.len() * 2).clamp(2, MOST) } else { 1 };
        self.together.store(together, Ordering::Relaxed);

        let mut left = runs.into_iter().zip(senders);
        // Answers first: an answer that is not there takes no run away.
        for (answer, (_, sender)) in answers.into_iter().zip(left.by_ref()) {
            let _ = sender.send(answer);
        }
        match broken {
            Some(error) if count == 1 => left.for_each(|(_, sender)| drop(sender.send(Err(error.clone())))),
            // One of them took the runner down, and nobody knows which: each goes alone.
            Some(_) => {
                let mut waiting = self.waiting();
                for (run, answer) in left.rev() {
                    waiting.push_front(Waiting { run, answer, alone: true });
                }
            }
            None => {}
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
            waiting.push_back(Waiting { run: Run { conversation, texts: None }, answer: oneshot::channel().0, alone });
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| Some(next_batch(&mut waiting, 16).len())).take(5).collect();
        assert_eq!(sizes, [2, 1, 1, 1, 0]);
    }
}
