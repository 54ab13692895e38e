//! Writes items that arrive at the same time in one transaction. Inbound messages, settled turns
//! and settled deliveries each have a batcher.
//!
//! # What waits
//!
//! A caller submits an item and waits for its result. Items that arrive while a flush runs wait in
//! a queue, and the next flush takes them together. Items that wait at the same time have no order,
//! because two batches may be flushed in parallel.
//!
//! # When a flush begins
//!
//! A flush needs a free flush worker and at least one item. Before a batch is flushed, more items
//! may join it:
//!
//! 1. A batch of fewer than 128 items waits for the end of the previous flush, until 25 ms after
//!    that flush began.
//! 2. A batch of fewer than 64 items waits for the delay of the flush scheduler. The delay is
//!    counted from the start of the previous flush. It grows with the rate of items, and is at most
//!    10 ms. At a low rate there is none.
//! 3. The tasks that can run at this moment run first, as long as they add items. This takes no
//!    idle time.
//!
//! # How many flushes run at once
//!
//! Two flush workers run at the same time, with at most 128 items each. A worker without work keeps
//! its connection for 200 ms.
//!
//! # What happens when the database refuses a batch
//!
//! - If the database is unavailable, all items of the batch get its error at once.
//! - Otherwise a row may be the cause, so each item is flushed alone. Only the items that fail
//!   alone get an error. A deadlock or a conflict with another transaction is retried three times.
//! - An item that needs a locked row is retried outside of the flush workers, one such item at a
//!   time. If a batch has three of them, the database counts as unavailable, and the items that
//!   were not tried yet get the error.
//!
//! docs/decisions/013-natural-batching.md has the reasons.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::storage::database;

/// How many items the queue holds. When it is full, callers wait to submit.
const QUEUE: usize = 4096;

/// The most items of one flush. What a statement costs before its first row is 8 % of its work for
/// 64 items, and 4 % for 128. Larger batches only make the first items wait longer.
const MAX_BATCH: usize = 128;

/// How many flushes run at the same time.
const FLUSH_WORKERS: usize = 2;

/// For how long after its start a flush delays the next one. One flush of all items costs less than
/// two in parallel. A longer flush waits for a slow disk or a lock, and the other items must not
/// wait with it. A flush of 128 messages takes 5 to 12 ms. With 10 ms here, flushes ran in parallel
/// on a slow machine, each of half as many items, and a message cost PostgreSQL a fifth more.
const SLOW_FLUSH: Duration = Duration::from_millis(25);

/// A batch of this many items does not wait for more.
const FULL: usize = 64;

/// The longest delay of the flush scheduler.
const MAX_DELAY: Duration = Duration::from_millis(10);

/// A shorter delay of the flush scheduler counts as none.
const MIN_DELAY: Duration = Duration::from_millis(1);

/// The time over which the rate of items is measured.
const RATE_WINDOW: Duration = Duration::from_millis(50);

/// How long a flush worker without work keeps its connection.
const IDLE_TIMEOUT: Duration = Duration::from_millis(200);

/// How often one item is retried after a conflict, and how often one whose row is locked is retried
/// later.
const RETRIES: usize = 3;

/// With this many items of a batch that need a locked row, the database counts as unavailable.
const MAX_LOCKED: usize = 3;

/// Who waits for the results of a batcher. This decides how long a flush may wait for more items.
#[derive(Debug, Clone, Copy)]
pub enum Waiter {
    /// The carrier waits for the acknowledgement of its webhook.
    Carrier,
    /// A contact waits for a reply.
    Contact,
    /// Nobody waits: the item records something that has happened.
    Nobody,
}

impl Waiter {
    /// The delay in seconds for each item per second. A flush costs as much as about ten more
    /// items, so under load a delay costs less than another flush. At 500 items per second the
    /// delays are 1.75, 5 and 10 ms, and they save a third of PostgreSQL's work.
    const fn delay_for_rate(self) -> f64 {
        match self {
            Self::Carrier => 3.5e-6,
            Self::Contact => 1e-5,
            Self::Nobody => 2e-5,
        }
    }
}

/// Why an item was not flushed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BatchError {
    #[error(transparent)]
    Database(Arc<sqlx::Error>),
    #[error("the process is stopping")]
    Stopped,
}

impl BatchError {
    /// Whether the database is unavailable. The item is not at fault, and the same item may be
    /// written later.
    pub fn is_of_the_database(&self) -> bool {
        match self {
            Self::Database(error) => match error.as_ref() {
                sqlx::Error::Database(error) => database::is_unavailable(error.as_ref()),
                // A connection that is not suitable, such as one of a pooler, is an error of the
                // configuration.
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::Configuration(_) => true,
                _ => false,
            },
            Self::Stopped => false,
        }
    }

    /// Whether the item itself can never be written: a value can't be computed or stored (classes
    /// 22 and 54), or breaks a constraint (23). A refusal by a trigger or a damaged index does not
    /// count.
    pub fn is_of_the_data(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.as_database_error().and_then(|told| told.code());
        code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
    }

    /// Whether one row, such as a locked one, may be the cause, so that items of other rows can
    /// still be written.
    pub fn may_be_of_a_row(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let timed_out =
            matches!(error.as_ref(), sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut);
        timed_out || self.is_lock_timeout() || error.as_database_error().is_some_and(database::is_given_up)
    }

    /// Whether another session held a lock that the item needs.
    fn is_lock_timeout(&self) -> bool {
        let Self::Database(error) = self else { return false };
        error.as_database_error().is_some_and(database::is_lock_timeout)
    }
}

/// A running flush. It returns one result for each item.
pub type Flushing<'c, R> = Pin<Box<dyn Future<Output = Result<Vec<R>, sqlx::Error>> + Send + 'c>>;

/// An item, and where its result goes.
type Waiting<T, R> = (T, oneshot::Sender<Result<R, BatchError>>);

/// Collects single items and flushes them together. Clones share one queue and are cheap.
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
    /// Starts a batcher for the items that `waiter` waits for. It ends when its last clone is
    /// dropped.
    ///
    /// `flush` must write all items or none, and must return one result for each item, in the order
    /// of the items.
    pub fn start<F>(pool: PgPool, waiter: Waiter, flush: F) -> Self
    where
        F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R> + Send + Sync + 'static,
    {
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        let flush = Arc::new(flush);
        let workers = Arc::new(Semaphore::new(FLUSH_WORKERS));
        // The connections of workers without work.
        let idle = Arc::new(Mutex::new(Vec::new()));
        // Items that need a locked row wait without a worker, one at a time.
        let lock_waits = Arc::new(Semaphore::new(1));
        tokio::spawn(async move {
            let mut scheduler = FlushScheduler::new(waiter);
            let mut previous = None;
            loop {
                // The worker first, then the batch: items that arrive while no worker is free join
                // the batch.
                let Ok(permit) = workers.clone().acquire_owned().await else { return };
                let mut batch = Vec::with_capacity(MAX_BATCH);
                while tokio::time::timeout(IDLE_TIMEOUT, waiting.recv_many(&mut batch, MAX_BATCH)).await.is_err() {
                    // Read before the connections are closed. A flush that ends afterwards gives
                    // its connection back, and the next round must close it.
                    let no_flush_runs = workers.available_permits() == FLUSH_WORKERS - 1;
                    idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    if no_flush_runs {
                        waiting.recv_many(&mut batch, MAX_BATCH).await;
                        break;
                    }
                }
                if batch.is_empty() {
                    return;
                }
                gather(&mut waiting, &mut batch, previous.take(), &scheduler).await;
                scheduler.record_flush(batch.len(), Instant::now());
                let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let (flush, idle, lock_waits) = (flush.clone(), idle.clone(), lock_waits.clone());
                let mut worker = FlushWorker { pool: pool.clone(), connection };
                previous = Some(tokio::spawn(async move {
                    let locked = flush_batch(flush.as_ref(), &mut worker, batch).await;
                    idle.lock().unwrap_or_else(PoisonError::into_inner).extend(worker.connection);
                    drop(permit);
                    let mut worker = FlushWorker { pool: worker.pool, connection: None };
                    for (item, answer) in locked {
                        let Ok(_turn) = lock_waits.acquire().await else { return };
                        let _ = answer.send(flush_alone(flush.as_ref(), &mut worker, item, RETRIES).await);
                    }
                }));
            }
        });
        Self { queue }
    }

    /// Submits an item, and waits until it is committed or refused.
    pub async fn submit(&self, item: T) -> Result<R, BatchError> {
        let (answer, answered) = oneshot::channel();
        self.queue.reserve().await.map_err(|_| BatchError::Stopped)?.send((item, answer));
        answered.await.map_err(|_| BatchError::Stopped)?
    }
}

/// Decides how long the next flush waits for more items: the higher the rate of items, the longer.
struct FlushScheduler {
    waiter: Waiter,
    /// When the last flush began.
    last_flush_at: Instant,
    /// How many items were flushed within about [`RATE_WINDOW`]. Older items count less and less
    /// (exponential decay).
    recent_items: f64,
}

impl FlushScheduler {
    fn new(waiter: Waiter) -> Self {
        Self { waiter, last_flush_at: Instant::now(), recent_items: 0.0 }
    }

    /// Until when the next flush waits for more items.
    fn deadline(&self) -> Instant {
        let rate = self.recent_items / RATE_WINDOW.as_secs_f64();
        let delay = Duration::from_secs_f64(rate * self.waiter.delay_for_rate()).min(MAX_DELAY);
        self.last_flush_at + if delay < MIN_DELAY { Duration::ZERO } else { delay }
    }

    /// Records that a flush of `items` items begins.
    fn record_flush(&mut self, items: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last_flush_at);
        let decay = (-elapsed.as_secs_f64() / RATE_WINDOW.as_secs_f64()).exp();
        self.recent_items = self.recent_items * decay + items as f64;
        self.last_flush_at = now;
    }
}

/// Adds more items to a batch before it is flushed, in the three steps that the module describes.
async fn gather<T>(
    waiting: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    previous: Option<JoinHandle<()>>,
    scheduler: &FlushScheduler,
) {
    if let Some(previous) = previous {
        let flushed = tokio::time::timeout_at((scheduler.last_flush_at + SLOW_FLUSH).into(), previous);
        tokio::pin!(flushed);
        while batch.len() < MAX_BATCH {
            tokio::select! {
                _ = &mut flushed => break,
                more = waiting.recv_many(batch, MAX_BATCH - batch.len()) => if more == 0 { break },
            }
        }
    }
    let deadline = scheduler.deadline();
    while batch.len() < FULL {
        let more = waiting.recv_many(batch, MAX_BATCH - batch.len());
        if !tokio::time::timeout_at(deadline.into(), more).await.is_ok_and(|more| more > 0) {
            break;
        }
    }
    loop {
        let before = batch.len();
        tokio::task::yield_now().await;
        while batch.len() < MAX_BATCH {
            match waiting.try_recv() {
                Ok(item) => batch.push(item),
                Err(_) => break,
            }
        }
        if batch.len() == before || batch.len() == MAX_BATCH {
            return;
        }
    }
}

/// A connection, and when it was last used.
type UsedConnection = (PoolConnection<Postgres>, Instant);

/// A flush worker and its connection. It keeps the connection while it has work, because returning
/// one to the pool and getting another costs more round trips than the flush.
struct FlushWorker {
    pool: PgPool,
    connection: Option<UsedConnection>,
}

impl FlushWorker {
    /// Flushes items on the connection of this worker. An error returns the connection to the pool,
    /// which checks it.
    async fn flush<T, R, F>(&mut self, flush: &F, items: Vec<T>) -> Result<Vec<R>, sqlx::Error>
    where
        F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R>,
    {
        let mut connection = match self.connection.take() {
            Some((connection, used_at)) if used_at.elapsed() < database::VALIDATION_INTERVAL => connection,
            Some((mut connection, _)) => match database::with_timeout(connection.ping()).await {
                Ok(()) => connection,
                Err(_) => database::with_timeout(database::acquire(&self.pool)).await?,
            },
            None => database::with_timeout(database::acquire(&self.pool)).await?,
        };
        let flushed = database::with_timeout(flush(&mut connection, items)).await?;
        if !self.pool.is_closed() {
            self.connection = Some((connection, Instant::now()));
        }
        Ok(flushed)
    }
}

/// Flushes a batch, and its items one by one if the database refuses the batch. Returns the items
/// that need a locked row; all others have their result.
async fn flush_batch<T, R, F>(flush: &F, worker: &mut FlushWorker, batch: Vec<Waiting<T, R>>) -> Vec<Waiting<T, R>>
where
    T: Clone,
    F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R>,
{
    let (items, answers): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
    let error = match worker.flush(flush, items.clone()).await {
        Ok(results) => {
            for (answer, result) in answers.into_iter().zip(results) {
                // A caller may be gone, such as a client that closed its request. Its item is
                // committed all the same.
                let _ = answer.send(Ok(result));
            }
            return Vec::new();
        }
        Err(error) => BatchError::Database(Arc::new(error)),
    };
    let (mut locked, mut waiting) = (Vec::new(), items.into_iter().zip(answers));
    let mut outage = (error.is_of_the_database() && !error.is_lock_timeout()).then(|| error.clone());
    if outage.is_none() {
        let items = waiting.len();
        tracing::debug!(%error, items, "the database refused a batch; its items were written one by one");
    }
    // One row may be the cause, so each item is flushed alone until the database is found to be
    // unavailable.
    while outage.is_none()
        && let Some((item, answer)) = waiting.next()
    {
        database::count_retry("refused_batch");
        match flush_alone(flush, worker, item.clone(), 0).await {
            Err(error) if error.is_lock_timeout() => {
                locked.push((item, answer));
                outage = (locked.len() == MAX_LOCKED).then_some(error);
            }
            result => {
                outage = result.as_ref().err().filter(|error| error.is_of_the_database()).cloned();
                let _ = answer.send(result);
            }
        }
    }
    // The other items would get the same error.
    if let Some(error) = outage {
        for (_, answer) in waiting {
            let _ = answer.send(Err(error.clone()));
        }
    }
    locked
}

/// Flushes one item. If it needs a locked row, it is retried up to `lock_retries` times.
async fn flush_alone<T, R, F>(
    flush: &F,
    worker: &mut FlushWorker,
    item: T,
    mut lock_retries: usize,
) -> Result<R, BatchError>
where
    T: Clone,
    F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R>,
{
    let mut retries = 0;
    loop {
        let error = match worker.flush(flush, vec![item.clone()]).await {
            Ok(results) => return results.into_iter().next().ok_or(BatchError::Stopped),
            Err(error) if retries < RETRIES && is_conflict(&error) => {
                retries += 1;
                database::count_retry("conflict");
                continue;
            }
            Err(error) => BatchError::Database(Arc::new(error)),
        };
        if lock_retries == 0 || !error.is_lock_timeout() {
            return Err(error);
        }
        lock_retries -= 1;
        database::count_retry("lock");
    }
}

/// Whether a retry helps: after a deadlock, a serialization failure, or a unique row that another
/// transaction wrote first. The retry sees what that transaction committed.
fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40P01" | "40001" | "23505"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delay of the next flush in milliseconds, after a second in which `rate` items were
    /// flushed one by one.
    fn delay(waiter: Waiter, rate: u32) -> f64 {
        let mut scheduler = FlushScheduler::new(waiter);
        let began = scheduler.last_flush_at;
        for item in 1..=rate {
            scheduler.record_flush(1, began + Duration::from_secs(1) * item / rate);
        }
        scheduler.deadline().duration_since(scheduler.last_flush_at).as_secs_f64() * 1e3
    }

    #[test]
    fn a_flush_is_not_delayed_at_a_low_rate_and_at_most_ten_milliseconds_at_a_high_one() {
        assert_eq!([0, 1, 10].map(|rate| delay(Waiter::Nobody, rate)), [0.0; 3]);
        assert_eq!(delay(Waiter::Carrier, 50), 0.0, "fifty messages a second are acknowledged one by one");
        for (waiter, milliseconds) in [(Waiter::Carrier, 1.75), (Waiter::Contact, 5.0), (Waiter::Nobody, 10.0)] {
            let delayed = delay(waiter, 500);
            assert!((0.95..1.15).contains(&(delayed / milliseconds)), "{waiter:?}: {delayed}");
            assert_eq!(delay(waiter, 100_000), 10.0, "{waiter:?}");
        }
    }
}
