//! Tracks the activity of each connection of an address, and decides which one has timed out and
//! which one is closed for a new one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use hyper::http::{HeaderValue, header};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::http::listener::Limits;
use crate::telemetry::metrics;

/// How long a client may take for a request's header, from its first byte, and for the first byte
/// of a new connection.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two requests. The client must be the first to close an
/// idle connection, or its next request may be lost. Proxies keep idle connections for 60 s, Google
/// Cloud's load balancer for 600 s
/// (<https://cloud.google.com/load-balancing/docs/https#timeout-keepalive-backends>).
pub const IDLE: Duration = Duration::from_secs(620);
/// How long a client may read nothing of its response.
const STALLED: Duration = Duration::from_secs(75);
/// At the limit, unused connections and incomplete headers older than this are closed first. A
/// normal client sends its header at once.
const EVICTABLE_AFTER: Duration = Duration::from_secs(1);

/// The activity of a connection. Times are milliseconds since the connection began.
pub(super) struct Activity {
    limits: Limits,
    began: Instant,
    /// How many requests run.
    running: AtomicU32,
    /// How many responses hyper has not received whole.
    responding: AtomicU32,
    /// When the responses that are not fully written began, plus 1; 0 if all are written.
    response_since: AtomicU64,
    /// How many bytes were written since `response_since`.
    written: AtomicU64,
    /// Whether a request was ever complete.
    used: AtomicBool,
    /// Whether the connection uses HTTP/2, which sends frames between requests.
    many_streams: AtomicBool,
    /// When the first byte of an incomplete header came, plus 1; 0 if there is none.
    head_since: AtomicU64,
    /// When a byte was last read or written.
    moved: AtomicU64,
    /// Whether the client's body was refused, so the client may still be sending it.
    refused: AtomicBool,
    /// Cancelled when this connection is to be closed for a new one.
    evicted: CancellationToken,
}

impl Activity {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            began: Instant::now(),
            running: AtomicU32::new(0),
            responding: AtomicU32::new(0),
            response_since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            used: AtomicBool::new(false),
            many_streams: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            evicted: CancellationToken::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn moves(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// Records that bytes were read.
    pub fn reads(&self) {
        self.moves();
        if self.running.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Records that bytes were written to the socket.
    pub fn writes(&self, bytes: usize) {
        self.moves();
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records that everything hyper had was written.
    pub fn has_written_all(&self) {
        if self.responding.load(Ordering::Relaxed) == 0 {
            self.response_since.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the client's body was refused.
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// When this connection is closed, unless it is active before.
    fn deadline(&self) -> Instant {
        if self.running.load(Ordering::Relaxed) > 0 {
            // Each request has its own time-out.
            return Instant::now() + self.limits.idle;
        }
        let moved = self.moved.load(Ordering::Relaxed);
        let many_streams = self.many_streams.load(Ordering::Relaxed);
        let response_since = self.response_since.load(Ordering::Relaxed);
        let head_since = self.head_since.load(Ordering::Relaxed);
        let (since, within) = if response_since > 0 && !many_streams {
            let written = self.written.load(Ordering::Relaxed);
            let overdue = response_since + millis(self.limits.answer) + earned(written, self.limits.bytes_a_second);
            (overdue.min(moved + millis(STALLED)), Duration::ZERO)
        } else {
            match (head_since, self.used.load(Ordering::Relaxed)) {
                (0, true) => (moved, self.limits.idle),
                (0, false) => (0, HEAD_TIMEOUT),
                _ if many_streams => (moved, self.limits.idle),
                (since, _) => (since, HEAD_TIMEOUT),
            }
        };
        self.began + Duration::from_millis(since) + within
    }

    /// Ends when the connection is overdue. It must be polled after the connection, so that it sees
    /// the latest activity. Its timer moves only when the deadline comes earlier or the timer
    /// fires.
    pub fn overdue(&self) -> impl Future<Output = ()> {
        let mut timer: Pin<Box<Sleep>> = Box::pin(tokio::time::sleep_until(self.deadline()));
        std::future::poll_fn(move |context| {
            loop {
                let deadline = self.deadline();
                if deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(context));
                let deadline = self.deadline();
                if deadline <= Instant::now() {
                    return Poll::Ready(());
                }
                timer.as_mut().reset(deadline);
            }
        })
    }

    /// Ends when the connection is to be closed for a new one and is not busy. A request that just
    /// came is answered first.
    pub fn is_evicted(&self) -> impl Future<Output = ()> {
        let mut evicted = Box::pin(self.evicted.cancelled());
        let mut was_evicted = false;
        std::future::poll_fn(move |context| {
            was_evicted = was_evicted || evicted.as_mut().poll(context).is_ready();
            if was_evicted && !self.is_busy() { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    /// Whether a request runs or a response is not fully written.
    fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0 || self.response_since.load(Ordering::Relaxed) > 0
    }

    /// The order in which connections are closed for new ones, the smallest first; `None` while the
    /// connection is in use.
    fn rank(&self) -> Option<(bool, Instant)> {
        if self.is_busy() || self.evicted.is_cancelled() {
            return None;
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed);
        let many_streams = self.many_streams.load(Ordering::Relaxed);
        let since = match head_since {
            0 => self.moved.load(Ordering::Relaxed),
            _ if many_streams => self.moved.load(Ordering::Relaxed),
            since => since,
        };
        let since = self.began + Duration::from_millis(since);
        let has_a_head = head_since > 0 && !many_streams;
        let is_slow = since.elapsed() >= EVICTABLE_AFTER;
        match (has_a_head, used) {
            (true, _) if !is_slow => None,
            (true, _) => Some((false, since)),
            // A connection that never brought a request is closed first. One that did may soon
            // bring another.
            (false, used) => Some((used || !is_slow, since)),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How many more milliseconds a client gets for the bytes that it read.
fn earned(bytes: u64, bytes_a_second: u32) -> u64 {
    bytes.saturating_mul(1000) / u64::from(bytes_a_second.max(1))
}

/// A running request.
pub(super) struct Running(Arc<Activity>);

impl Running {
    pub fn begin(activity: &Arc<Activity>, version: hyper::Version) -> Self {
        activity.running.fetch_add(1, Ordering::Relaxed);
        activity.used.store(true, Ordering::Relaxed);
        activity.head_since.store(0, Ordering::Relaxed);
        if version == hyper::Version::HTTP_2 {
            activity.many_streams.store(true, Ordering::Relaxed);
        }
        Self(activity.clone())
    }

    /// The response is ready, and sending it begins.
    pub fn ends<B>(self, response: &hyper::Response<B>) -> ResponseBody {
        let closes = response.headers().get(header::CONNECTION) == Some(&HeaderValue::from_static("close"));
        if closes && !response.status().is_success() {
            self.0.refused.store(true, Ordering::Relaxed);
        }
        self.0.responding.fetch_add(1, Ordering::Relaxed);
        if self.0.response_since.load(Ordering::Relaxed) == 0 {
            self.0.written.store(0, Ordering::Relaxed);
            self.0.response_since.store(self.0.now() + 1, Ordering::Relaxed);
        }
        ResponseBody(self.0.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.moves();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response that hyper has not received whole.
pub(super) struct ResponseBody(Arc<Activity>);

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.0.responding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections of an address. Clones share one list and are cheap.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Arc<Activity>>,
}

/// Keeps a connection in the list until this is dropped.
pub(super) struct Listed(Connections, u64);

impl Connections {
    /// Adds a connection.
    pub fn add(&self, activity: Arc<Activity>) -> Listed {
        let mut open = self.open();
        let id = open.next;
        open.next += 1;
        open.by_id.insert(id, activity);
        drop(open);
        Listed(self.clone(), id)
    }

    /// Tells the connection that was idle for longest to close. Returns whether there was one.
    pub fn evict_idlest(&self) -> bool {
        let open = self.open();
        let ranked = open.by_id.values().filter_map(|activity| Some((activity.rank()?, activity)));
        let Some((_, idlest)) = ranked.min_by_key(|(rank, _)| *rank) else { return false };
        metrics::CONNECTIONS_DISPLACED.count(&[]);
        idlest.evicted.cancel();
        true
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.open().by_id.remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that began `seconds` ago.
    fn of(seconds: u64) -> Activity {
        let began = Instant::now() - Duration::from_secs(seconds);
        Activity { began, ..Activity::new(Limits::default()) }
    }

    fn used(activity: Activity, moved_seconds: u64) -> Activity {
        activity.used.store(true, Ordering::Relaxed);
        activity.moved.store(moved_seconds * 1000, Ordering::Relaxed);
        activity
    }

    #[test]
    fn at_the_limit_unused_connections_are_closed_first_then_the_idlest_and_never_a_busy_one() {
        let (new, silent, idle, idler) = (of(0), of(3), used(of(100), 90), used(of(100), 50));
        let half = of(8);
        half.head_since.store(3000, Ordering::Relaxed);
        let mut ranked = [&new, &silent, &idle, &idler, &half].map(|activity| activity.rank().expect("a rank"));
        ranked.sort();
        let by_rank = [&half, &silent, &idler, &idle, &new].map(|activity| activity.rank().expect("a rank"));
        assert_eq!(ranked, by_rank);

        let busy = Arc::new(used(of(100), 1));
        let running = Running::begin(&busy, hyper::Version::HTTP_11);
        assert!(busy.rank().is_none(), "a request runs");
        let responding = running.ends(&hyper::Response::new(()));
        assert!(busy.rank().is_none(), "its answer is under way");
        drop(responding);
        assert!(busy.rank().is_none(), "it is not written yet");
        busy.has_written_all();
        assert!(busy.rank().is_some());
        let fresh_head = of(8);
        fresh_head.head_since.store(7900, Ordering::Relaxed);
        assert!(fresh_head.rank().is_none(), "a head has just begun");
    }

    #[test]
    fn a_response_has_a_minute_and_a_second_for_every_16_kilobytes() {
        let activity = Arc::new(of(200));
        let responding = Running::begin(&activity, hyper::Version::HTTP_11).ends(&hyper::Response::new(()));
        let left = || activity.deadline().saturating_duration_since(Instant::now()).as_secs();
        assert!((59..=60).contains(&left()), "{}", left());
        activity.writes(160 * 1024);
        assert!((69..=70).contains(&left()), "{}", left());
        activity.writes(16 << 20);
        assert!((74..=75).contains(&left()), "nothing may stall for longer than 75 s: {}", left());
        drop(responding);
        activity.has_written_all();
        assert!((619..=620).contains(&left()), "{}", left());
    }
}
