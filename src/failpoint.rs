//! Failpoints: named points of the message flow where a test makes the process abort or stop.
//! Release builds have none.
//!
//! `TEXTBACK_FAILPOINT=turn.in_commit:3:800` aborts the process 800 µs after that point is reached
//! for the third time. Like kill -9, an abort runs no destructor and closes no connection properly.
//! With `:stop` at the end, the process is instead stopped once (SIGSTOP), as if its machine slept,
//! until it gets SIGCONT.
//!
//! docs/decisions/040-faults-are-tested.md has the reasons.

use std::future::Future;
#[cfg(debug_assertions)]
use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};
#[cfg(debug_assertions)]
use std::time::{Duration, Instant};

/// The points of the message flow, in its order.
pub const POINTS: [&str; 17] = [
    "ingest.before_insert",
    "ingest.after_load",
    "ingest.in_commit",
    "ingest.after_commit",
    "turn.after_claim",
    "turn.in_agent",
    "turn.after_agent",
    "turn.in_commit",
    "turn.after_settle",
    "delivery.after_claim",
    "delivery.in_call",
    "delivery.before_settle",
    "delivery.in_commit",
    "delivery.after_settle",
    "status.in_commit",
    "reconcile.in_commit",
    "backfill.in_commit",
];

/// The points of a turn of a language model, in its order.
pub const MODEL_POINTS: [&str; 6] = [
    "model.before_message",
    "model.in_message",
    "model.after_message",
    "model.before_call",
    "model.in_call",
    "model.after_call",
];

/// The points of reconciling a number.
pub const NUMBER_POINTS: [&str; 2] = ["number.after_call", "number.before_settle"];

/// The point of counting hours.
pub const ROLLUP_POINT: &str = "rollup.in_commit";

fn is_known(point: &str) -> bool {
    POINTS.contains(&point) || MODEL_POINTS.contains(&point) || NUMBER_POINTS.contains(&point) || point == ROLLUP_POINT
}

#[cfg(debug_assertions)]
struct Armed {
    point: String,
    /// How many times the point is passed before it takes effect.
    spared: u32,
    delay: Duration,
    stops: bool,
    reached: AtomicU32,
}

#[cfg(debug_assertions)]
fn armed(point: &str) -> Option<(Duration, bool)> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| {
        let setting = std::env::var("TEXTBACK_FAILPOINT").ok()?;
        let mut parts = setting.split(':');
        let point = parts.next().filter(|point| is_known(point))?.to_owned();
        let mut number = || parts.next().and_then(|number| number.parse::<u32>().ok());
        let (time, micros) = (number().unwrap_or(1), number().unwrap_or(0));
        let (delay, stops) = (Duration::from_micros(u64::from(micros)), setting.ends_with(":stop"));
        Some(Armed { point, spared: time.saturating_sub(1), delay, stops, reached: AtomicU32::new(0) })
    });
    let armed = armed.as_ref().filter(|armed| armed.point == point)?;
    let times = armed.reached.fetch_add(1, Ordering::Relaxed);
    let takes_effect = if armed.stops { times == armed.spared } else { times >= armed.spared };
    takes_effect.then_some((armed.delay, armed.stops))
}

/// Aborts or stops the process if this point is armed.
pub fn reach(point: &str) {
    debug_assert!(is_known(point), "{point} is not listed");
    #[cfg(debug_assertions)]
    match armed(point) {
        // If the process can't be stopped, it goes on and the test fails.
        Some((_, true)) => _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP),
        Some(_) => std::process::abort(),
        None => {}
    }
}

/// Runs a future. If this point is armed, the process aborts after the delay, unless the future
/// ends first.
pub async fn during<F: Future>(point: &str, future: F) -> F::Output {
    debug_assert!(is_known(point), "{point} is not listed");
    #[cfg(debug_assertions)]
    if let Some((delay, _)) = armed(point) {
        let until = Instant::now() + delay;
        let aborting = async {
            // Timers have a resolution of milliseconds, and a commit is faster.
            while Instant::now() < until {
                tokio::task::yield_now().await;
            }
            std::process::abort()
        };
        return tokio::select! { biased; output = future => output, () = aborting => unreachable!("the process aborts") };
    }
    future.await
}
