//! Tells workers that jobs wait, within the process and between processes. Correctness does not
//! depend on it, because workers also poll.
//!
//! A process notifies itself after the commit. One task per process notifies the others with
//! NOTIFY, at most every 5 ms and never in a transaction that writes: a NOTIFY in the ingest
//! transaction cut it from 4,300 to 757 commits a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::repeating::Repeating;
use crate::storage::claim_health::ClaimHealth;
use crate::storage::database;

/// The channel of NOTIFY.
const CHANNEL: &str = "textback_work";
/// The shortest time between two NOTIFYs of a process. With 20 ms, half of the time from a message
/// to its reply was spent waiting for it.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(5);
/// How long [`Notifier::notify_later`] waits.
const DELAY: Duration = Duration::from_millis(200);
/// After which time a notification is lost.
const LOST_AFTER: Duration = Duration::from_secs(3);
/// After which time without a notification a listener checks its connection.
const IDLE_CHECK: Duration = Duration::from_secs(30);

/// Losses of the connection that listens. The next try follows after a second.
static NOT_LISTENING: Repeating = Repeating::new();

/// A set of kinds of jobs that several tasks change at the same time.
#[derive(Default)]
struct AtomicKinds(AtomicU32);

const _: () = assert!(JobKind::ALL.len() <= 32, "each kind has a bit");

impl AtomicKinds {
    /// Adds a kind. Returns false if the set had it already.
    fn insert(&self, kind: JobKind) -> bool {
        self.0.fetch_or(bit(kind), Ordering::AcqRel) & bit(kind) == 0
    }

    fn remove(&self, kind: JobKind) {
        self.0.fetch_and(!bit(kind), Ordering::AcqRel);
    }

    /// Empties the set and returns what was in it.
    fn take(&self) -> impl Iterator<Item = JobKind> {
        let bits = self.0.swap(0, Ordering::AcqRel);
        JobKind::ALL.iter().copied().filter(move |kind| bits & bit(*kind) != 0)
    }
}

const fn bit(kind: JobKind) -> u32 {
    1 << kind as u32
}

/// The notifications of one process.
pub struct Notifier {
    /// Tells the process's own notifications from those of others.
    process: Uuid,
    /// One per kind, in the order of [`JobKind::ALL`].
    waiting: [Notify; JobKind::ALL.len()],
    /// The kinds that the other processes have not been notified of.
    unpublished: AtomicKinds,
    /// The kinds that [`Self::notify_later`] has a task for.
    delayed: AtomicKinds,
    publish: Notify,
    claim_health: ClaimHealth,
}

impl Default for Notifier {
    fn default() -> Self {
        Self {
            process: Uuid::now_v7(),
            waiting: std::array::from_fn(|_| Notify::new()),
            unpublished: AtomicKinds::default(),
            delayed: AtomicKinds::default(),
            publish: Notify::new(),
            claim_health: ClaimHealth::default(),
        }
    }
}

impl Notifier {
    /// Says that a job was committed: to this process at once, to the others soon.
    pub fn notify(&self, kind: JobKind) {
        self.notify_here(kind);
        self.unpublished.insert(kind);
        self.publish.notify_one();
    }

    /// The same for a job that may not exist, once for all calls within [`DELAY`].
    pub fn notify_later(self: &Arc<Self>, kind: JobKind) {
        if !self.delayed.insert(kind) {
            return;
        }
        let notifier = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            notifier.delayed.remove(kind);
            notifier.notify(kind);
        });
    }

    /// Whether this process can claim jobs.
    pub const fn claim_health(&self) -> &ClaimHealth {
        &self.claim_health
    }

    /// Waits for a notification. One that came before the call is kept.
    pub async fn wait(&self, kind: JobKind) {
        match self.waiting.get(kind as usize) {
            Some(waiting) => waiting.notified().await,
            None => std::future::pending().await,
        }
    }

    fn notify_here(&self, kind: JobKind) {
        if let Some(waiting) = self.waiting.get(kind as usize) {
            waiting.notify_one();
        }
    }

    /// Notifies the other processes, until the pool is closed.
    pub async fn publish_notifications(self: Arc<Self>, pool: PgPool) {
        loop {
            self.publish.notified().await;
            let kinds: Vec<&str> = self.unpublished.take().map(JobKind::as_str).collect();
            if kinds.is_empty() {
                continue;
            }
            let payload = format!("{} {}", self.process, kinds.join(" "));
            let notifying = async {
                let mut connection = database::acquire(&pool).await?;
                sqlx::query_file!("sql/queries/wake/tell.sql", CHANNEL, payload).fetch_one(&mut *connection).await
            };
            if let Err(error) = database::with_timeout(notifying).await {
                if pool.is_closed() {
                    return;
                }
                // The other processes also poll, so a lost notification costs one interval.
                tracing::debug!(%error, "other processes could not be notified of jobs");
            }
            tokio::time::sleep(PUBLISH_INTERVAL).await;
        }
    }

    /// Notifies this process of what other processes publish, until the pool is closed. Keeps one
    /// connection of the pool, and takes a new one when it breaks.
    pub async fn listen_to_notifications(self: Arc<Self>, pool: PgPool) {
        loop {
            if let Err(error) = self.listen_until_disconnected(&pool).await {
                if pool.is_closed() {
                    return;
                }
                // The listener connects again by itself, and then says only that the pool timed
                // out.
                let error = database::cause(&pool, error).await;
                if let Some(times) = NOT_LISTENING.observe("", &error.to_string()) {
                    tracing::warn!(%error, times, "the connection that listens for jobs was lost; workers will poll until it is back");
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// How long a notification takes from one connection of a pool to another. `None` if it is
    /// lost.
    pub async fn round_trip(&self, pool: &PgPool) -> Result<Option<Duration>, sqlx::Error> {
        let channel = format!("textback_check_{}", self.process.simple());
        let mut listener = listener_of(pool).await?;
        database::with_timeout(listener.listen(&channel)).await?;
        let began = Instant::now();
        let mut connection = database::acquire(pool).await?;
        let notifying = sqlx::query_file!("sql/queries/wake/tell.sql", channel, "").fetch_one(&mut *connection);
        database::with_timeout(notifying).await?;
        match tokio::time::timeout(LOST_AFTER, listener.recv()).await {
            Ok(received) => received.map(|_| Some(began.elapsed())),
            Err(_) => Ok(None),
        }
    }

    async fn listen_until_disconnected(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = listener_of(pool).await?;
        database::with_timeout(listener.listen(CHANNEL)).await?;
        // Notifications may have come before this connection listened.
        for kind in JobKind::ALL {
            self.notify_here(*kind);
        }
        loop {
            let Ok(received) = tokio::time::timeout(IDLE_CHECK, listener.recv()).await else {
                // Either nobody notifies, or the server is gone and did not close the connection.
                let checking = sqlx::query_file!("sql/queries/wake/listens.sql").fetch_one(&mut listener);
                database::with_timeout(checking).await?;
                continue;
            };
            let received = received?;
            let mut words = received.payload().split(' ');
            if words.next() == Some(self.process.to_string().as_str()) {
                continue;
            }
            // A newer process may know kinds that this one does not.
            words.filter_map(|word| word.parse().ok()).for_each(|kind| self.notify_here(kind));
        }
    }
}

/// A connection of a pool that can listen. An error has its true cause.
async fn listener_of(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    match database::with_timeout(PgListener::connect_with(pool)).await {
        Err(error) => Err(database::cause(pool, error).await),
        listener => listener,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_kinds_gives_back_what_was_added_once() {
        let kinds = AtomicKinds::default();
        assert!(kinds.insert(JobKind::Turn) && kinds.insert(JobKind::Number));
        assert!(!kinds.insert(JobKind::Turn));
        kinds.insert(JobKind::Delivery);
        kinds.remove(JobKind::Delivery);
        assert_eq!(kinds.take().collect::<Vec<_>>(), [JobKind::Turn, JobKind::Number]);
        assert_eq!(kinds.take().count(), 0);
        for kind in JobKind::ALL {
            assert!(kinds.insert(*kind), "{kind} has a bit of its own");
        }
    }
}
