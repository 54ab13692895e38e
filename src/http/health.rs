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
use crate::repeating::Repeating;
use crate::secret::SecretKeys;
use crate::storage::health::{Backlog, NotReady, Ready};
use crate::storage::unreachable::Unreachable;
use crate::storage::{Storage, health};
use crate::telemetry;

/// Set when the process is told to stop. It then finishes running requests and is no longer ready.
pub type Draining = Arc<AtomicBool>;

/// Adds `/livez` and `/readyz`. The process is ready only while its keys decrypt the stored secrets.
pub fn add_to(routes: Route, storage: Storage, keys: SecretKeys, draining: Draining) -> Route {
    let readiness = Readiness { storage, keys, checking: SingleFlight::default() };
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
    keys: SecretKeys,
    checking: SingleFlight<Result<Ready, Problem>>,
}

impl Readiness {
    async fn check(&self) -> Result<Ready, Problem> {
        let (storage, keys) = (self.storage.clone(), self.keys.clone());
        let check = || async move {
            let checked = health::check(&storage, Some(&keys)).await;
            if checked.is_ok() && NOT_READY.ended("") {
                tracing::info!("ready again");
            }
            checked.map_err(|not_ready| problem_of(&not_ready))
        };
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
        Ok(ready) => ready.note().map_or("ok\n".to_owned(), |note| format!("ok; {note}\n")).into_response(),
        Err(problem) => problem.as_response(),
    }
}

/// Load balancers ask for the readiness every few seconds.
static NOT_READY: Repeating = Repeating::new();

fn problem_of(not_ready: &NotReady) -> Problem {
    let text = not_ready.to_string();
    if let Some(times) = NOT_READY.observe("", &text) {
        tracing::warn!(error = text, times, "not ready");
    }
    let code = match not_ready {
        NotReady::Database(_) | NotReady::Unreachable(_) => "database_unavailable",
        NotReady::Unsuitable(_) => "database_unsuitable",
        NotReady::Rights { .. } => "database_rights_missing",
        NotReady::Schema { .. } | NotReady::Functions { .. } => "schema_outdated",
        NotReady::ChangedMigration(_) => "schema_changed",
        NotReady::ReadOnly | NotReady::Standby => "database_read_only",
        NotReady::Blocked(_) => "database_blocked",
        NotReady::SecretKey(_) => "secret_key_wrong",
        NotReady::NotClaimable { .. } => "work_not_claimable",
    };
    // Anybody may read the response: names of hosts, roles, projects and agents are only in the log.
    let detail = match not_ready {
        NotReady::Database(_) => "the database does not answer; the log has the reason".to_owned(),
        NotReady::Unreachable(Unreachable { public, .. }) => {
            format!("the database of DATABASE_URL can't be used: {public}; the log says what to do")
        }
        NotReady::SecretKey(unreadable) => format!(
            "TEXTBACK_SECRET_KEY is not the key of {} stored secrets; the log and textback doctor say which",
            unreadable.rows
        ),
        _ => text,
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
