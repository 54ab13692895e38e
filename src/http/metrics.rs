//! Serves `/metrics`, and keeps what it shows up to date. A request for it asks the database
//! nothing, so scrapers can't load the database, and the page is there while the database is away.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use poem::error::ResponseError;
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Request, Response, Route, get, handler};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::metric_sample::SampleKind;
use crate::domain::session::{Channel, SessionStatus};
use crate::http::health::{Draining, Readiness};
use crate::http::query;
use crate::jobs::Workers;
use crate::repeating::Repeating;
use crate::storage::Storage;
use crate::storage::metric_sample::{self, DueWork, Queues, Sample, SessionCount};
use crate::telemetry::metrics;

/// How often the samples are read.
const INTERVAL: Duration = Duration::from_secs(5);
/// After how many of these intervals the readiness is checked, which takes some statements.
const READINESS_EVERY: u32 = 3;

/// Adds `/metrics`.
pub fn add_to(routes: Route, observed: Observed) -> Route {
    routes.at("/metrics", get(page).data(observed))
}

/// The metrics in Prometheus' text format.
#[handler]
fn page(request: &Request, observed: Data<&Observed>) -> Response {
    if let Err(refused) = query::none(request) {
        return refused.as_response();
    }
    observed.show();
    metrics::render().with_content_type("text/plain; version=0.0.4; charset=utf-8").into_response()
}

/// The parts of a process whose state its metrics show. Cheap to clone; all clones show the same.
#[derive(Clone)]
pub struct Observed {
    /// Reads the samples.
    storage: Storage,
    pools: Vec<(&'static str, Storage)>,
    workers: Option<Workers>,
    sampled: Arc<Mutex<Vec<Sampled>>>,
}

/// When a sample was taken.
struct Sampled {
    kind: SampleKind,
    age_seconds: f64,
    read: Instant,
}

impl Observed {
    /// A process that serves the API.
    pub fn serving(storage: &Storage) -> Self {
        Self { pools: vec![("serving", storage.clone())], ..Self::of(storage) }
    }

    /// A process that only works.
    pub fn working(storage: &Storage, workers: &Workers) -> Self {
        Self::of(storage).and_workers(storage, workers)
    }

    fn of(storage: &Storage) -> Self {
        Self { storage: storage.clone(), pools: Vec::new(), workers: None, sampled: Arc::default() }
    }

    /// The same, with workers and their pool.
    #[must_use]
    pub fn and_workers(mut self, storage: &Storage, workers: &Workers) -> Self {
        self.pools.push(("workers", storage.clone()));
        self.workers = Some(workers.clone());
        self
    }

    /// Sets the gauges that are of this moment. It asks the database nothing.
    fn show(&self) {
        for (pool, storage) in &self.pools {
            let (all, idle, most) = storage.connections();
            metrics::POOL_CONNECTIONS.set_count(&[pool, "in_use"], all.saturating_sub(idle));
            metrics::POOL_CONNECTIONS.set_count(&[pool, "idle"], idle);
            metrics::POOL_LIMIT.set_count(&[pool], most);
        }
        if let Some(workers) = &self.workers {
            workers.observe();
        }
        for Sampled { kind, age_seconds, read } in self.sampled().iter() {
            metrics::SAMPLE_AGE_SECONDS.set(&[kind.as_str()], age_seconds + read.elapsed().as_secs_f64());
        }
    }

    /// Reads the samples of the database, and takes those that are due if no other process does.
    pub async fn sample(&self) -> Result<(), sqlx::Error> {
        let samples = metric_sample::refresh(&self.storage).await?;
        let read = Instant::now();
        *self.sampled() = samples
            .into_iter()
            .filter(show_sample)
            .filter_map(|Sample { name: kind, age_seconds, .. }| {
                Some(Sampled { kind, age_seconds: age_seconds?, read })
            })
            .collect();
        Ok(())
    }

    /// Keeps the metrics up to date until `stop`.
    pub async fn keep(self, readiness: Readiness, draining: Draining, stop: CancellationToken) {
        static NOT_SAMPLED: Repeating = Repeating::new();
        let keep_on = async {
            let mut intervals = tokio::time::interval(INTERVAL);
            intervals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut is_ready = false;
            for interval in (0..READINESS_EVERY).cycle() {
                intervals.tick().await;
                metrics::upkeep();
                if interval == 0 {
                    is_ready = readiness.check().await.is_ok();
                }
                let is_serving = is_ready && !draining.load(Ordering::Relaxed);
                metrics::READY.set(&[], f64::from(u8::from(is_serving)));
                match self.sample().await {
                    Err(error) if is_ready => {
                        if let Some(times) = NOT_SAMPLED.observe("", &error.to_string()) {
                            tracing::warn!(%error, times, "the gauges of the database could not be sampled");
                        }
                    }
                    // A process that is not ready has told why.
                    _ => {}
                }
            }
        };
        stop.run_until_cancelled(keep_on).await;
    }

    fn sampled(&self) -> MutexGuard<'_, Vec<Sampled>> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps measured values from piling up in a process whose metrics nobody can read, until `stop`.
pub async fn only_upkeep(stop: CancellationToken) {
    let keep_on = async {
        loop {
            metrics::upkeep();
            tokio::time::sleep(INTERVAL).await;
        }
    };
    stop.run_until_cancelled(keep_on).await;
}

/// Sets the gauges of a sample. False if it was not counted yet, or has words of a newer version
/// that this one does not know.
fn show_sample(sample: &Sample) -> bool {
    let Some(counts) = sample.counts.as_ref().map(|counts| counts.0.clone()) else { return false };
    match sample.name {
        SampleKind::Queues => read(counts).map(|queues| show_queues(&queues)).is_some(),
        SampleKind::Sessions => read::<Vec<SessionCount>>(counts).map(|counts| show_sessions(&counts)).is_some(),
    }
}

fn read<T: serde::de::DeserializeOwned>(counts: Value) -> Option<T> {
    serde_json::from_value(counts)
        .inspect_err(|error| tracing::debug!(%error, "a sample of the gauges could not be read"))
        .ok()
}

fn show_queues(queues: &Queues) {
    for DueWork { kind, due, seconds } in &queues.due {
        metrics::DUE.set_count(&[kind.as_str()], count(*due));
        metrics::OLDEST_DUE_AGE_SECONDS.set(&[kind.as_str()], *seconds);
    }
    metrics::UNKNOWN_DELIVERIES.set_count(&[], count(queues.unknown_deliveries));
    metrics::OLDEST_UNKNOWN_AGE_SECONDS.set(&[], queues.oldest_unknown_seconds);
    for (kind, waiting) in &queues.quarantine {
        metrics::QUARANTINE.set_count(&[kind.as_str()], count(*waiting));
    }
    metrics::SET_ASIDE_ROWS.set_count(&[], count(queues.set_aside));
    if let Some(seconds) = queues.rollup_lag_seconds {
        metrics::ROLLUP_LAG_SECONDS.set(&[], seconds);
    }
}

fn show_sessions(counts: &[SessionCount]) {
    for channel in Channel::ALL {
        for status in [SessionStatus::Open, SessionStatus::Warned] {
            let found = counts.iter().find(|found| found.channel == *channel && found.status == status);
            let sessions = found.map_or(0, |found| count(found.sessions));
            metrics::SESSIONS.set_count(&[channel.as_str(), status.as_str()], sessions);
        }
    }
}

fn count(rows: i64) -> usize {
    usize::try_from(rows).unwrap_or(0)
}
