//! Runs one task for several callers that need the same result. The task runs to its end even if
//! all callers go away.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Shares a running task between callers. Clones share one task and are cheap.
pub struct SingleFlight<T>(Arc<Mutex<Option<Run<T>>>>);

/// A run, with its result once it is over.
type Run<T> = watch::Receiver<Option<T>>;

impl<T> Clone for SingleFlight<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// Waits for the running task, or starts one. `None` if the task panicked.
    pub async fn join<F: Future<Output = T> + Send + 'static>(&self, begin: impl FnOnce() -> F) -> Option<T> {
        let mut run = {
            let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match under_way.as_ref().filter(|run| is_under_way(run)) {
                Some(run) => run.clone(),
                None => {
                    let run = start(begin());
                    *under_way = Some(run.clone());
                    run
                }
            }
        };
        let result = run.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }

    /// Whether a task is running.
    #[cfg(test)]
    fn is_under_way(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(is_under_way)
    }
}

fn start<T: Send + Sync + 'static>(running: impl Future<Output = T> + Send + 'static) -> Run<T> {
    let (sender, run) = watch::channel(None);
    tokio::spawn(async move {
        let result = running.await;
        sender.send_replace(Some(result));
    });
    run
}

/// Whether the task still runs. A task that panicked has dropped its sender.
fn is_under_way<T>(run: &Run<T>) -> bool {
    run.borrow().is_none() && run.has_changed().is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_goes_away_does_not_end_the_run() {
        let (flight, runs, finish) = (SingleFlight::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let call = || {
            let (flight, runs, finish) = (flight.clone(), runs.clone(), finish.clone());
            tokio::spawn(async move {
                let run = || async move {
                    let number = runs.fetch_add(1, Ordering::Relaxed);
                    finish.notified().await;
                    number
                };
                flight.join(run).await
            })
        };
        let first = call();
        while !flight.is_under_way() {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.is_err());
        let others = [call(), call()];
        tokio::task::yield_now().await;
        finish.notify_one();
        for other in others {
            assert_eq!(other.await.expect("an answer"), Some(0), "the first run");
        }
        assert!(!flight.is_under_way());
        finish.notify_one();
        assert_eq!(call().await.expect("an answer"), Some(1), "a new run after it");
    }

    #[tokio::test]
    async fn a_run_that_panics_is_over() {
        let flight = SingleFlight::<()>::default();
        let panics = || async { std::panic::resume_unwind(Box::new("a panic")) };
        assert_eq!(flight.join(panics).await, None);
        assert_eq!(flight.join(|| async {}).await, Some(()));
    }
}
