//! Natural batching: what waits while a flush is under way goes out together with the next one; it never waits for a batch to fill.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::db;

/// The most that one flush takes along. Fifty rows per commit reached the limit of two cores
/// (9.1k texts/s in pgbench); more only makes the first of them wait longer.
const MOST: usize = 64;

/// How many flushes may be under way at once: while one waits for the disk the next is prepared.
const LANES: usize = 2;

/// How often one item is tried again when the database itself says that trying again helps.
const RETRIES: usize = 3;

/// Why an item was not flushed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BatchError {
    #[error(transparent)]
    Database(Arc<sqlx::Error>),
    #[error("the process is stopping")]
    Stopped,
}

type Waiting<T, R> = (T, oneshot::Sender<Result<R, BatchError>>);

/// Takes items one by one and flushes them together.
pub struct Batcher<T, R> {
    queue: mpsc::Sender<Waiting<T, R>>,
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<T, R> Batcher<T, R>
where
    T: Clone + Send + 'static,
    R: Send + 'static,
{
    /// Starts the lanes. `flush` must answer one result an item, in the items' order, and must
    /// do all or nothing. The lanes end when the last handle is dropped.
    pub fn start<F, Fut>(flush: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<R>, sqlx::Error>> + Send,
    {
        let (queue, waiting) = mpsc::channel(4096);
        let waiting = Arc::new(Mutex::new(waiting));
        let flush = Arc::new(flush);
        for _ in 0..LANES {
            let (waiting, flush) = (waiting.clone(), flush.clone());
            tokio::spawn(async move {
                while let Some(batch) = next_batch(&waiting).await {
                    flush_batch(flush.as_ref(), batch).await;
                }
            });
        }
        Self { queue }
    }

    /// Hands an item over and waits until it is committed or refused.
    pub async fn submit(&self, item: T) -> Result<R, BatchError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((item, answer)).await.map_err(|_| BatchError::Stopped)?;
        answered.await.map_err(|_| BatchError::Stopped)?
    }
}

/// Everything that waits right now, at least one.
async fn next_batch<T, R>(waiting: &Mutex<mpsc::Receiver<Waiting<T, R>>>) -> Option<Vec<Waiting<T, R>>> {
    let mut waiting = waiting.lock().await;
    let mut batch = vec![waiting.recv().await?];
    while batch.len() < MOST {
        match waiting.try_recv() {
            Ok(item) => batch.push(item),
            Err(_) => break,
        }
    }
    Some(batch)
}

async fn flush_batch<T, R, F, Fut>(flush: &F, batch: Vec<Waiting<T, R>>)
where
    T: Clone,
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<Vec<R>, sqlx::Error>>,
{
    let (items, answers): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
    match db::patiently(flush(items.clone())).await {
        Ok(results) => {
            for (answer, result) in answers.into_iter().zip(results) {
                // Nobody waits any more when the request was cut off: the row is committed all the same.
                let _ = answer.send(Ok(result));
            }
        }
        // The database refused some row: the others must not suffer for it, so each goes alone.
        Err(sqlx::Error::Database(error)) if !db::is_unwell(error.as_ref()) => {
            tracing::debug!(%error, items = items.len(), "a batch was refused; its items go one by one");
            for (item, answer) in items.into_iter().zip(answers) {
                let _ = answer.send(flush_alone(flush, item).await);
            }
        }
        // The database is away or not itself: it would be away for each of them too.
        Err(error) => {
            let error = BatchError::Database(Arc::new(error));
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

async fn flush_alone<T, R, F, Fut>(flush: &F, item: T) -> Result<R, BatchError>
where
    T: Clone,
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<Vec<R>, sqlx::Error>>,
{
    let mut retries = 0;
    loop {
        match db::patiently(flush(vec![item.clone()])).await {
            Ok(results) => return results.into_iter().next().ok_or(BatchError::Stopped),
            Err(error) if retries < RETRIES && helps_to_retry(&error) => retries += 1,
            Err(error) => return Err(BatchError::Database(Arc::new(error))),
        }
    }
}

/// A deadlock, a serialization failure, or a unique row that another transaction was faster to
/// write: the second try sees what the first could not.
fn helps_to_retry(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40P01" | "40001" | "23505"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn what_waits_during_a_flush_shares_the_next_one() {
        let flushes = Arc::new(AtomicUsize::new(0));
        let disk = Arc::new(Semaphore::new(0));
        let batcher: Batcher<usize, usize> = Batcher::start({
            let (flushes, disk) = (flushes.clone(), disk.clone());
            move |items| {
                let (flushes, disk) = (flushes.clone(), disk.clone());
                async move {
                    flushes.fetch_add(1, Ordering::SeqCst);
                    disk.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?.forget();
                    Ok(items.into_iter().map(|item| item * 10).collect())
                }
            }
        });
        let submitted: Vec<_> = (0..50)
            .map(|item| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.submit(item).await })
            })
            .collect();
        disk.add_permits(50);
        for (item, task) in submitted.into_iter().enumerate() {
            assert_eq!(task.await.expect("no panic").expect("flushed"), item * 10);
        }
        assert!(flushes.load(Ordering::SeqCst) < 50, "{flushes:?} flushes for 50 items");
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_told_to_everybody_who_waits() {
        let batcher: Batcher<u8, u8> = Batcher::start(|_| async { Err(sqlx::Error::PoolTimedOut) });
        assert!(matches!(batcher.submit(1).await, Err(BatchError::Database(_))));
    }
}
