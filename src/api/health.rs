//! Whether this process lives, whether it can serve, and its numbers; no key is asked, and nothing of a project is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::error::ResponseError;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Response, Route, get, handler};

use crate::ledger::{Ledger, health};
use crate::problem::Problem;
use crate::telemetry;

/// Set when the process is told to stop: it goes on answering and asks for no new work.
pub type Draining = Arc<AtomicBool>;

/// Adds `/livez`, `/readyz` and `/metrics`.
pub fn add_to(routes: Route, ledger: Ledger, draining: Draining) -> Route {
    routes
        .at("/livez", get(livez))
        .at("/readyz", get(readyz).data(ledger.clone()).data(draining))
        .at("/metrics", get(numbers).data(ledger))
}

/// The process runs. Never asks the database: restarting us would not mend it.
#[handler]
fn livez() -> &'static str {
    "ok\n"
}

/// The process can serve: the database answers, has our schema, work can be claimed, and nobody told us to stop.
#[handler]
async fn readyz(ledger: Data<&Ledger>, draining: Data<&Draining>) -> Response {
    if draining.load(Ordering::Relaxed) {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the process is stopping").as_response();
    }
    match health::check(&ledger).await {
        Ok(()) => "ok\n".into_response(),
        Err(not_ready) => {
            tracing::warn!(error = %not_ready, "not ready");
            let code = match not_ready {
                health::NotReady::Database(_) => "database_unavailable",
                health::NotReady::Schema { .. } => "schema_outdated",
                health::NotReady::ReadOnly => "database_read_only",
                health::NotReady::NotClaimable { .. } => "work_not_claimable",
            };
            let detail = match not_ready {
                health::NotReady::Database(_) => "the database does not answer".to_owned(),
                told => told.to_string(),
            };
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).as_response()
        }
    }
}

/// Prometheus' text format.
#[handler]
async fn numbers(ledger: Data<&Ledger>) -> Response {
    let handle = telemetry::metrics();
    // When the database is away the counters are still worth having.
    if let Ok(backlog) = health::backlog(&ledger).await {
        #[expect(clippy::cast_precision_loss, reason = "a backlog beyond 2^52 is not a number anybody reads")]
        for (queue, count, oldest) in [
            ("turns", backlog.turns as f64, backlog.oldest_turn_seconds),
            ("deliveries", backlog.deliveries as f64, backlog.oldest_delivery_seconds),
            ("silences", backlog.silences as f64, backlog.oldest_silence_seconds),
            ("scheduled_messages", backlog.scheduled_messages as f64, backlog.oldest_scheduled_message_seconds),
        ] {
            metrics::gauge!("textback_due", "queue" => queue).set(count);
            metrics::gauge!("textback_oldest_due_age_seconds", "queue" => queue).set(oldest);
        }
    }
    handle.render().with_content_type("text/plain; version=0.0.4; charset=utf-8").into_response()
}
