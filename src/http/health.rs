//! Serves `/livez` and `/readyz`, which need no key and show no data of a project.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::error::ResponseError;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Request, Response, Route, get, handler};

use crate::http::problem::Problem;
use crate::http::query;
use crate::http::single_flight::SingleFlight;
use crate::repeating::Repeating;
use crate::secret::SecretKeys;
use crate::storage::health::{NotReady, Ready};
use crate::storage::unreachable::Unreachable;
use crate::storage::{Storage, health};

/// Set when the process is told to stop. It then finishes running requests and is no longer ready.
pub type Draining = Arc<AtomicBool>;

/// Adds `/livez` and `/readyz`. The process is ready only while its keys decrypt the stored
/// secrets.
pub fn add_to(routes: Route, storage: Storage, keys: SecretKeys, draining: Draining) -> Route {
    let readiness = Readiness::new(storage, keys);
    routes.at("/livez", get(livez)).at("/readyz", get(readyz).data(readiness).data(draining))
}

/// The readiness check. One task at a time runs it, because anybody may call it and each check
/// queries the database. A client that goes away does not end the check, so it can't start a second
/// one.
#[derive(Clone)]
pub struct Readiness {
    storage: Storage,
    keys: SecretKeys,
    checking: SingleFlight<Result<Ready, Problem>>,
}

impl Readiness {
    /// The readiness of a process whose keys must decrypt the stored secrets.
    pub fn new(storage: Storage, keys: SecretKeys) -> Self {
        Self { storage, keys, checking: SingleFlight::default() }
    }

    /// Checks it, or waits for the check that runs.
    pub(super) async fn check(&self) -> Result<Ready, Problem> {
        let (storage, keys) = (self.storage.clone(), self.keys.clone());
        let check = || async move {
            let checked = health::check(&storage, Some(&keys)).await;
            if checked.is_ok() && NOT_READY.ended("") {
                tracing::info!("the process became ready again");
            }
            checked.map_err(|not_ready| problem_of(&not_ready))
        };
        self.checking.join(check).await.unwrap_or_else(|| {
            let detail = "an internal error occurred; the log has its cause";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail))
        })
    }
}

/// The process runs. This does not query the database, because a restart would not repair the
/// database.
#[handler]
fn livez(request: &Request) -> Result<&'static str, Problem> {
    query::none(request).map(|()| "ok\n")
}

/// The process can serve: the database answers, has the right schema and can store messages, and
/// the process is not stopping.
#[handler]
async fn readyz(request: &Request, readiness: Data<&Readiness>, draining: Data<&Draining>) -> Response {
    if let Err(refused) = query::none(request) {
        return refused.as_response();
    }
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
        tracing::warn!(error = text, times, "the process was found not ready");
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
    // Anybody may read the response: names of hosts, roles, projects and agents are only in the
    // log.
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
