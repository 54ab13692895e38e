//! Serves `/livez`, `/readyz` and `/metrics`, which need no key and show no data of a project.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use poem::error::ResponseError;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Response, Route, get, handler};

use crate::http::problem::Problem;
use crate::http::single_flight::SingleFlight;
use crate::storage::health::Backlog;
use crate::storage::{Storage, health};
use crate::telemetry;

/// Set when the process is told to stop. It then finishes running requests and is no longer ready.
pub type Draining = Arc<AtomicBool>;

/// Adds `/livez` and `/readyz`.
pub fn add_to(routes: Route, storage: Storage, draining: Draining) -> Route {
    let readiness = Readiness { storage, checking: SingleFlight::default() };
    routes.at("/livez", get(livez)).at("/readyz", get(readyz).data(readiness).data(draining))
}

/// Adds `/metrics`.
pub fn add_metrics_to(routes: Route, storage: Storage) -> Route {
    routes.at(
        "/metrics",
        get(metrics_page).data(Counts { storage, counted: Arc::default(), counting: SingleFlight::default() }),
    )
}

/// How long the database's counts are reused for all scrapers.
const REUSED_FOR: Duration = Duration::from_secs(5);

/// The readiness check. One task at a time runs it, because anybody may call it and each check queries the database. A
/// client that goes away does not end the check, so it can't start a second one.
#[derive(Clone)]
struct Readiness {
    storage: Storage,
    checking: SingleFlight<Result<(), Problem>>,
}

impl Readiness {
    async fn check(&self) -> Result<(), Problem> {
        let storage = self.storage.clone();
        let check = || async move { health::check(&storage).await.map_err(|not_ready| problem_of(&not_ready)) };
        self.checking.join(check).await.unwrap_or_else(|| {
            let detail = "an internal error occurred; the log has its cause";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail))
        })
    }
}

/// The database's counts, and when they were last read.
#[derive(Clone)]
struct Counts {
    storage: Storage,
    counted: Arc<Mutex<Option<Instant>>>,
    counting: SingleFlight<()>,
}

impl Counts {
    /// Reads the counts, unless they are recent or being read. A scraper that comes meanwhile gets the previous counts.
    async fn refresh(&self) {
        let counted = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.is_some_and(|at| at.elapsed() < REUSED_FOR) || self.counting.is_under_way() {
            return;
        }
        let (storage, counted) = (self.storage.clone(), self.counted.clone());
        let count = || async move {
            let counting = async { health::backlog(&mut *storage.connection().await?).await };
            let backlog = counting.await;
            *counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            // While the database is unavailable, the process's own counters are still useful.
            if let Ok(backlog) = backlog {
                show(&backlog);
            }
        };
        self.counting.join(count).await;
    }
}

fn show(backlog: &Backlog) {
    #[expect(clippy::cast_precision_loss, reason = "a backlog is far below 2^52")]
    for (queue, count, oldest) in [
        ("turns", backlog.turns as f64, backlog.oldest_turn_seconds),
        ("deliveries", backlog.deliveries as f64, backlog.oldest_delivery_seconds),
        ("inactivity_jobs", backlog.inactivity_jobs as f64, backlog.oldest_inactivity_job_seconds),
        ("scheduled_messages", backlog.scheduled_messages as f64, backlog.oldest_scheduled_message_seconds),
    ] {
        metrics::gauge!("textback_due", "queue" => queue).set(count);
        metrics::gauge!("textback_oldest_due_age_seconds", "queue" => queue).set(oldest);
    }
}

/// The process runs. This does not query the database, because a restart would not repair the database.
#[handler]
fn livez() -> &'static str {
    "ok\n"
}

/// The process can serve: the database answers, has the right schema and can store messages, and the process is not
/// stopping.
#[handler]
async fn readyz(readiness: Data<&Readiness>, draining: Data<&Draining>) -> Response {
    if draining.load(Ordering::Relaxed) {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the process is stopping").as_response();
    }
    match readiness.check().await {
        Ok(()) => "ok\n".into_response(),
        Err(problem) => problem.as_response(),
    }
}

fn problem_of(not_ready: &health::NotReady) -> Problem {
    tracing::warn!(error = %not_ready, "not ready");
    let code = match not_ready {
        health::NotReady::Database(_) => "database_unavailable",
        health::NotReady::Unsuitable(_) => "database_unsuitable",
        health::NotReady::Rights { .. } => "database_rights_missing",
        health::NotReady::Schema { .. } | health::NotReady::Functions { .. } => "schema_outdated",
        health::NotReady::ReadOnly => "database_read_only",
        health::NotReady::Blocked(_) => "database_blocked",
        health::NotReady::NotClaimable { .. } => "work_not_claimable",
    };
    let detail = match not_ready {
        health::NotReady::Database(_) => "the database does not answer".to_owned(),
        other => other.to_string(),
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
}

/// The metrics in Prometheus' text format.
#[handler]
async fn metrics_page(counts: Data<&Counts>) -> Response {
    let handle = telemetry::metrics();
    counts.refresh().await;
    handle.render().with_content_type("text/plain; version=0.0.4; charset=utf-8").into_response()
}
