//! Natural batching: what waits while a flush is under way goes out together with the next one; what comes alone does not wait for more
//! unless more has come all the time, and for milliseconds at most.
//!
//! Items that wait at the same time have no order: a full batch goes beside one that is still under way.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::storage::database;

/// The most that one flush takes along: what a statement costs before its first row is 8 % of what it does for 64, and 4 % for 128; more
/// only makes the first of them wait longer.
const MOST: usize = 128;

/// How many flushes may be under way at once.
const LANES: usize = 2;

/// How long the next flush waits for the one before: what arrives meanwhile goes out together, which costs less than two flushes
/// beside each other. One that takes longer waits for a slow disk or for somebody's lock, and the others must not wait with it.
const SLOW: Duration = Duration::from_millis(10);

/// With how many items a batch no longer waits for more, and for how long it waits at most. A flush costs as much as some ten more
/// items, so under load waiting costs less than another flush: how long the next one waits after the one before went grows with the
/// rate (see [`RetryBudget`]). A wait below `SHORT` is none.
const FULL: usize = 64;
const PACE: Duration = Duration::from_millis(10);
const SHORT: Duration = Duration::from_millis(1);

/// Over how long a time the rate is taken.
const MEMORY: Duration = Duration::from_millis(50);

/// How long a lane that has nothing to do keeps its connection.
const KEPT: Duration = Duration::from_millis(200);

/// How often one item is tried again when the database itself says that trying again helps.
const RETRIES: usize = 3;

/// How many items of a batch may be held up by somebody's lock. With more of them the database is not itself.
const HELD: usize = 3;

/// Who waits for the items, which says how long a flush may wait for more of them.
#[derive(Debug, Clone, Copy)]
pub enum RetryBudget {
    /// The carrier, for its acknowledgement.
    Carrier,
    /// A person, for a reply.
    Person,
    /// Nobody: it is written down that something is done.
    Nobody,
}

impl RetryBudget {
    /// Seconds for each item a second. At 500 a second that is 1.5, 4 and 10 ms, and spares a third of what PostgreSQL does then.
    const fn a_rate(self) -> f64 {
        match self {
            Self::Carrier => 3e-6,
            Self::Person => 8e-6,
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
    /// Whether the database is away or not itself, and not the item at fault: once it is back, the same item may well be written.
    pub fn is_of_the_database(&self) -> bool {
        match self {
            Self::Database(error) => match error.as_ref() {
                sqlx::Error::Database(error) => database::is_unavailable(error.as_ref()),
                sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut => true,
                _ => false,
            },
            Self::Stopped => false,
        }
    }

    /// Whether the item itself can never be written: a value can't be computed or stored (classes 22 and 54), or breaks
    /// a constraint (23). A refusal by a trigger or a damaged index does not count.
    pub fn is_of_the_data(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let code = error.as_database_error().and_then(|told| told.code());
        code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
    }

    /// Whether one row, such as a locked one, may keep the item waiting while other items are stored.
    pub fn may_be_of_a_row(&self) -> bool {
        let Self::Database(error) = self else { return false };
        let timed_out =
            matches!(error.as_ref(), sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut);
        timed_out || self.is_lock_timeout() || error.as_database_error().is_some_and(database::is_given_up)
    }

    /// Whether somebody else held what the item needs.
    fn is_lock_timeout(&self) -> bool {
        let Self::Database(error) = self else { return false };
        error.as_database_error().is_some_and(database::is_lock_timeout)
    }
}

/// A flush on its way.
pub type Flushing<'c, R> = Pin<Box<dyn Future<Output = Result<Vec<R>, sqlx::Error>> + Send + 'c>>;

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
    /// Starts flushing, as patiently as whoever waits. `flush` must answer one result an item, in the items' order, and must
    /// do all or nothing. It ends when the last handle is dropped.
    pub fn start<F>(pool: PgPool, patience: RetryBudget, flush: F) -> Self
    where
        F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R> + Send + Sync + 'static,
    {
        let (queue, mut waiting) = mpsc::channel(4096);
        let flush = Arc::new(flush);
        let lanes = Arc::new(Semaphore::new(LANES));
        // The connections of lanes that have nothing to do.
        let idle = Arc::new(Mutex::new(Vec::new()));
        // What waits for somebody's lock waits beside the lanes, one at a time.
        let beside = Arc::new(Semaphore::new(1));
        tokio::spawn(async move {
            let mut pacer = FlushScheduler::new(patience);
            let mut before = None;
            loop {
                // First the place, then the batch: what arrives while there is none goes out with it.
                let Ok(place) = lanes.clone().acquire_owned().await else { return };
                let mut batch = Vec::with_capacity(MOST);
                while tokio::time::timeout(KEPT, waiting.recv_many(&mut batch, MOST)).await.is_err() {
                    // Asked before the connections go: one of a flush that is still under way would stay for ever.
                    let nothing_under_way = lanes.available_permits() == LANES - 1;
                    idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    if nothing_under_way {
                        waiting.recv_many(&mut batch, MOST).await;
                        break;
                    }
                }
                if batch.is_empty() {
                    return;
                }
                gather(&mut waiting, &mut batch, before.take(), &pacer).await;
                pacer.goes(batch.len(), Instant::now());
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let (flush, idle, beside) = (flush.clone(), idle.clone(), beside.clone());
                let mut lane = FlushWorker { pool: pool.clone(), kept };
                before = Some(tokio::spawn(async move {
                    let held = flush_batch(flush.as_ref(), &mut lane, batch).await;
                    idle.lock().unwrap_or_else(PoisonError::into_inner).extend(lane.kept);
                    drop(place);
                    let mut lane = FlushWorker { pool: lane.pool, kept: None };
                    for (item, answer) in held {
                        let Ok(_turn) = beside.acquire().await else { return };
                        let _ = answer.send(flush_alone(flush.as_ref(), &mut lane, item, RETRIES).await);
                    }
                }));
            }
        });
        Self { queue }
    }

    /// Hands an item over and waits until it is committed or refused.
    pub async fn submit(&self, item: T) -> Result<R, BatchError> {
        let (answer, answered) = oneshot::channel();
        self.queue.reserve().await.map_err(|_| BatchError::Stopped)?.send((item, answer));
        answered.await.map_err(|_| BatchError::Stopped)?
    }
}

/// When the next flush goes: the more arrives, the longer it waits for more.
struct FlushScheduler {
    patience: RetryBudget,
    went: Instant,
    /// How many items went within `MEMORY`; those of long ago fade.
    lately: f64,
}

impl FlushScheduler {
    fn new(patience: RetryBudget) -> Self {
        Self { patience, went: Instant::now(), lately: 0.0 }
    }

    /// Until when the next flush waits for more.
    fn hurry(&self) -> Instant {
        let rate = self.lately / MEMORY.as_secs_f64();
        let pace = Duration::from_secs_f64(rate * self.patience.a_rate()).min(PACE);
        self.went + if pace < SHORT { Duration::ZERO } else { pace }
    }

    fn goes(&mut self, items: usize, now: Instant) {
        let faded = (-now.saturating_duration_since(self.went).as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.lately = self.lately * faded + items as f64;
        self.went = now;
    }
}

/// Everything else that waits. A batch that is not complete waits for the flush before while that is not slow, and for more while the pace allows it.
/// Then tasks that could run at this moment run first, as long as they bring more: no time passes in which there is nothing to do.
async fn gather<T>(
    waiting: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    before: Option<JoinHandle<()>>,
    pacer: &FlushScheduler,
) {
    if let Some(before) = before {
        let flushed = tokio::time::timeout_at((pacer.went + SLOW).into(), before);
        tokio::pin!(flushed);
        while batch.len() < MOST {
            tokio::select! {
                _ = &mut flushed => break,
                more = waiting.recv_many(batch, MOST - batch.len()) => if more == 0 { break },
            }
        }
    }
    let hurry = pacer.hurry();
    while batch.len() < FULL {
        let more = waiting.recv_many(batch, MOST - batch.len());
        if !tokio::time::timeout_at(hurry.into(), more).await.is_ok_and(|more| more > 0) {
            break;
        }
    }
    loop {
        let before = batch.len();
        tokio::task::yield_now().await;
        while batch.len() < MOST {
            match waiting.try_recv() {
                Ok(item) => batch.push(item),
                Err(_) => break,
            }
        }
        if batch.len() == before || batch.len() == MOST {
            return;
        }
    }
}

/// A connection and when it was last used.
type Kept = (PoolConnection<Postgres>, Instant);

/// A lane with its connection, which it keeps while it has work: giving it back and getting it again would cost more round
/// trips than the flush.
struct FlushWorker {
    pool: PgPool,
    kept: Option<Kept>,
}

impl FlushWorker {
    async fn flush<T, R, F>(&mut self, flush: &F, items: Vec<T>) -> Result<Vec<R>, sqlx::Error>
    where
        F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R>,
    {
        // Whatever ends this early leaves the connection to the pool, which looks whether it is well.
        let mut connection = match self.kept.take() {
            Some((connection, used)) if used.elapsed() < database::VALIDATION_INTERVAL => connection,
            Some((mut connection, _)) => match database::with_timeout(connection.ping()).await {
                Ok(()) => connection,
                Err(_) => database::with_timeout(self.pool.acquire()).await?,
            },
            None => database::with_timeout(self.pool.acquire()).await?,
        };
        let flushed = database::with_timeout(flush(&mut connection, items)).await?;
        if !self.pool.is_closed() {
            self.kept = Some((connection, Instant::now()));
        }
        Ok(flushed)
    }
}

/// Flushes a batch; gives those of its items that somebody's lock holds up.
async fn flush_batch<T, R, F>(flush: &F, lane: &mut FlushWorker, batch: Vec<Waiting<T, R>>) -> Vec<Waiting<T, R>>
where
    T: Clone,
    F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R>,
{
    let (items, answers): (Vec<T>, Vec<_>) = batch.into_iter().unzip();
    let error = match lane.flush(flush, items.clone()).await {
        Ok(results) => {
            for (answer, result) in answers.into_iter().zip(results) {
                // Nobody waits any more when the request was cut off: the row is committed all the same.
                let _ = answer.send(Ok(result));
            }
            return Vec::new();
        }
        Err(error) => BatchError::Database(Arc::new(error)),
    };
    let (mut held, mut waiting) = (Vec::new(), items.into_iter().zip(answers));
    let mut away = (error.is_of_the_database() && !error.is_lock_timeout()).then(|| error.clone());
    if away.is_none() {
        tracing::debug!(%error, items = waiting.len(), "a batch was refused; its items go one by one");
    }
    // The database refused some row, or somebody holds it: the others must not suffer for it, so each goes alone.
    while away.is_none()
        && let Some((item, answer)) = waiting.next()
    {
        database::count_retry("refused_batch");
        match flush_alone(flush, lane, item.clone(), 0).await {
            Err(error) if error.is_lock_timeout() => {
                held.push((item, answer));
                away = (held.len() == HELD).then_some(error);
            }
            result => {
                away = result.as_ref().err().filter(|error| error.is_of_the_database()).cloned();
                let _ = answer.send(result);
            }
        }
    }
    // The database is away or not itself: it would be away for each of them too.
    if let Some(error) = away {
        for (_, answer) in waiting {
            let _ = answer.send(Err(error.clone()));
        }
    }
    held
}

/// Flushes one item; one that somebody's lock holds up is tried so many times more.
async fn flush_alone<T, R, F>(flush: &F, lane: &mut FlushWorker, item: T, mut patience: usize) -> Result<R, BatchError>
where
    T: Clone,
    F: for<'c> Fn(&'c mut PgConnection, Vec<T>) -> Flushing<'c, R>,
{
    let mut retries = 0;
    loop {
        let error = match lane.flush(flush, vec![item.clone()]).await {
            Ok(results) => return results.into_iter().next().ok_or(BatchError::Stopped),
            Err(error) if retries < RETRIES && helps_to_retry(&error) => {
                retries += 1;
                database::count_retry("conflict");
                continue;
            }
            Err(error) => BatchError::Database(Arc::new(error)),
        };
        if patience == 0 || !error.is_lock_timeout() {
            return Err(error);
        }
        patience -= 1;
        database::count_retry("lock");
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

    /// How long the next flush waits for more when this many items come a second, one each time, in milliseconds.
    fn pace(patience: RetryBudget, rate: u32) -> f64 {
        let mut pacer = FlushScheduler::new(patience);
        let began = pacer.went;
        for item in 1..=rate {
            pacer.goes(1, began + Duration::from_secs(1) * item / rate);
        }
        pacer.hurry().duration_since(pacer.went).as_secs_f64() * 1e3
    }

    #[test]
    fn what_comes_now_and_then_goes_at_once_and_a_flood_waits_ten_milliseconds_at_most() {
        assert_eq!([0, 1, 10].map(|rate| pace(RetryBudget::Nobody, rate)), [0.0; 3]);
        assert_eq!(pace(RetryBudget::Carrier, 50), 0.0, "fifty texts a second are acknowledged one by one");
        for (patience, milliseconds) in
            [(RetryBudget::Carrier, 1.5), (RetryBudget::Person, 4.0), (RetryBudget::Nobody, 10.0)]
        {
            let paced = pace(patience, 500);
            assert!((0.95..1.15).contains(&(paced / milliseconds)), "{patience:?}: {paced}");
            assert_eq!(pace(patience, 100_000), 10.0, "{patience:?}");
        }
    }
}
