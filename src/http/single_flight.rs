//! One task does work that several callers ask for. Callers that come while it runs wait for its result. It runs to its
//! end even if all callers go away.

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
        let found = run.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }

    /// Whether a task is running.
    pub fn is_under_way(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(is_under_way)
    }
}

fn start<T: Send + Sync + 'static>(running: impl Future<Output = T> + Send + 'static) -> Run<T> {
    let (tell, run) = watch::channel(None);
    tokio::spawn(async move {
        let found = running.await;
        tell.send_replace(Some(found));
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
    async fn whoever_goes_away_leaves_the_run_to_the_others() {
        let (flight, runs, go) = (SingleFlight::default(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (flight, runs, go) = (flight.clone(), runs.clone(), go.clone());
            tokio::spawn(async move {
                let run = || async move {
                    let number = runs.fetch_add(1, Ordering::Relaxed);
                    go.notified().await;
                    number
                };
                flight.join(run).await
            })
        };
        let first = ask();
        while !flight.is_under_way() {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.is_err());
        let others = [ask(), ask()];
        tokio::task::yield_now().await;
        go.notify_one();
        for other in others {
            assert_eq!(other.await.expect("an answer"), Some(0), "the first run");
        }
        assert!(!flight.is_under_way());
        go.notify_one();
        assert_eq!(ask().await.expect("an answer"), Some(1), "a new run after it");
    }

    #[tokio::test]
    async fn a_run_that_panics_is_over() {
        let flight = SingleFlight::<()>::default();
        let panics = || async { std::panic::resume_unwind(Box::new("a panic")) };
        assert_eq!(flight.join(panics).await, None);
        assert_eq!(flight.join(|| async {}).await, Some(()));
    }
}
