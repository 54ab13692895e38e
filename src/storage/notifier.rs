//! Bells between those who write work and those who do it; they carry no work, and nothing depends on their ringing.
//!
//! Inside a process a bell is rung after the commit. Other processes are told by NOTIFY, sent by
//! one task a process at most every 5 ms and never inside a transaction that writes: a NOTIFY in
//! the intake transaction cut it from 4,300 to 757 commits a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::words::words;
use crate::storage::claim_health::Claims;
use crate::storage::database;

const CHANNEL: &str = "textback_work";
/// With 20 ms half of a text's way to its reply was waiting for this.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// For how long a bell that can wait does.
const LATER: Duration = Duration::from_millis(200);
/// A notice that takes longer does not come.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// After which silence a listener asks whether it is still connected.
const QUIET: Duration = Duration::from_secs(30);

words! {
    /// A kind of work.
    pub enum JobKind {
        /// Turns to be run.
        Turn = "turn",
        /// Deliveries to be sent.
        Delivery = "delivery",
        /// Deliveries to be looked for. Nobody rings for them: they are due after a while, and polled.
        Unknown = "unknown",
        /// Numbers to be read back. They are due by the clock, and polled.
        ReadBack = "read_back",
        /// Sessions that may be silent. They are due by the clock, and polled.
        Silence = "silence",
        /// Messages that are to be sent later, or after a turn.
        ScheduledMessage = "scheduled_message",
        /// Numbers to be looked after. They are due by the clock, and polled.
        Number = "number",
    }
}

impl JobKind {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The bells of one process.
pub struct Notifier {
    /// Tells our own notices from those of others.
    process: Uuid,
    turn: Notify,
    delivery: Notify,
    unknown: Notify,
    read_back: Notify,
    silence: Notify,
    scheduled_message: Notify,
    number: Notify,
    untold: AtomicU8,
    later: AtomicU8,
    tell: Notify,
    claims: Claims,
}

impl Default for Notifier {
    fn default() -> Self {
        Self {
            process: Uuid::now_v7(),
            turn: Notify::new(),
            delivery: Notify::new(),
            unknown: Notify::new(),
            read_back: Notify::new(),
            silence: Notify::new(),
            scheduled_message: Notify::new(),
            number: Notify::new(),
            untold: AtomicU8::new(0),
            later: AtomicU8::new(0),
            tell: Notify::new(),
            claims: Claims::default(),
        }
    }
}

impl Notifier {
    /// Says that work was committed: to this process at once, to the others soon.
    pub fn ring(&self, work: JobKind) {
        self.bell(work).notify_one();
        self.untold.fetch_or(work.bit(), Ordering::AcqRel);
        self.tell.notify_one();
    }

    /// The same for work that is hardly ever there: once for all that is rung for within [`LATER`].
    pub fn notify_later(self: &Arc<Self>, work: JobKind) {
        if self.later.fetch_or(work.bit(), Ordering::AcqRel) & work.bit() != 0 {
            return;
        }
        let notifier = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LATER).await;
            notifier.later.fetch_and(!work.bit(), Ordering::AcqRel);
            notifier.ring(work);
        });
    }

    /// Whether this process can claim work.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Waits until somebody rings. A ring that came before is kept.
    pub async fn rung(&self, work: JobKind) {
        self.bell(work).notified().await;
    }

    const fn bell(&self, work: JobKind) -> &Notify {
        match work {
            JobKind::Turn => &self.turn,
            JobKind::Delivery => &self.delivery,
            JobKind::Unknown => &self.unknown,
            JobKind::ReadBack => &self.read_back,
            JobKind::Silence => &self.silence,
            JobKind::ScheduledMessage => &self.scheduled_message,
            JobKind::Number => &self.number,
        }
    }

    /// Tells other processes of what was rung here, until the pool is closed.
    pub async fn publish_notifications(self: Arc<Self>, pool: PgPool) {
        loop {
            self.tell.notified().await;
            let untold = self.untold.swap(0, Ordering::AcqRel);
            let words: Vec<&str> =
                JobKind::ALL.iter().filter(|work| untold & work.bit() != 0).map(|work| work.as_str()).collect();
            if words.is_empty() {
                continue;
            }
            let notice = format!("{} {}", self.process, words.join(" "));
            let telling = sqlx::query_file!("sql/queries/wake/tell.sql", CHANNEL, notice).fetch_one(&pool);
            if let Err(error) = database::with_timeout(telling).await {
                if pool.is_closed() {
                    return;
                }
                // They poll as well: a lost notice costs one interval.
                tracing::debug!(%error, "other processes could not be told of work");
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
    }

    /// Rings here what other processes tell, until the pool is closed. Keeps one connection of the pool, and gets
    /// a new one when it breaks.
    pub async fn listen_to_notifications(self: Arc<Self>, pool: PgPool) {
        loop {
            if let Err(error) = self.listen_until_disconnected(&pool).await {
                if pool.is_closed() {
                    return;
                }
                tracing::warn!(%error, "listening for work was cut off; workers poll until it is back");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// How long a notice takes from one connection of a pool to another; `None` when it does not come.
    pub async fn round_trip(&self, pool: &PgPool) -> Result<Option<Duration>, sqlx::Error> {
        let channel = format!("textback_check_{}", self.process.simple());
        let mut listener = database::with_timeout(PgListener::connect_with(pool)).await?;
        database::with_timeout(listener.listen(&channel)).await?;
        let began = Instant::now();
        let telling = sqlx::query_file!("sql/queries/wake/tell.sql", channel, "").fetch_one(pool);
        database::with_timeout(telling).await?;
        match tokio::time::timeout(HEARD_WITHIN, listener.recv()).await {
            Ok(heard) => heard.map(|_| Some(began.elapsed())),
            Err(_) => Ok(None),
        }
    }

    async fn listen_until_disconnected(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = database::with_timeout(PgListener::connect_with(pool)).await?;
        database::with_timeout(listener.listen(CHANNEL)).await?;
        // What was told while nobody listened.
        for work in JobKind::ALL {
            self.bell(*work).notify_one();
        }
        loop {
            let Ok(notice) = tokio::time::timeout(QUIET, listener.recv()).await else {
                // Nobody rings, or the server vanished without a word.
                let asking = sqlx::query_file!("sql/queries/wake/listens.sql").fetch_one(&mut listener);
                database::with_timeout(asking).await?;
                continue;
            };
            let notice = notice?;
            let mut words = notice.payload().split(' ');
            if words.next() == Some(self.process.to_string().as_str()) {
                continue;
            }
            // A process of another version may name a kind that this one does not have.
            for work in words.filter_map(|word| word.parse().ok()) {
                self.bell(work).notify_one();
            }
        }
    }
}
