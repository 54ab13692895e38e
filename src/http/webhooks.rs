//! The webhooks that carriers call. Each request is verified, stored and acknowledged. It is
//! acknowledged only after the commit.
//!
//! docs/decisions/043-webhooks-and-readiness.md has the reasons.

mod span;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poem::error::ResponseError;
use poem::http::{StatusCode, header};
use poem::web::{Data, Path};
use poem::{Body, Endpoint, EndpointExt, IntoEndpoint, Request, Response, Route, handler};
use tracing::field::display;
use uuid::Uuid;

use crate::carriers::message::StatusNotice;
use crate::carriers::webhook::{WebhookRefusal, WebhookRequest};
use crate::carriers::{Carrier, Carriers};
use crate::channels;
use crate::domain::carrier_account::{CarrierAccount, CarrierKind};
use crate::domain::delivery::{ReportOutcome, ReportRejectReason};
use crate::domain::job::JobKind;
use crate::domain::quarantine::QuarantineKind;
use crate::http::body::{self, HeldBody, Reading};
use crate::http::problem::{self, Problem};
use crate::http::request_id;
use crate::jobs::ingest::{Ingest, NotIngested};
use crate::storage::carrier_account::Accounts;
use crate::storage::database;
use crate::storage::quarantine::{self, NewItem};
use crate::storage::{Storage, delivery, ingest};
use crate::telemetry::masked;
use crate::telemetry::metrics;
use span::WebhookSpan;

/// The largest body. The carrier's own limit is 64 kB too.
const MOST_BYTES: usize = 64 * 1024;
/// The time within which every webhook is answered. The carrier stops waiting after 15 s. After a
/// 503 it sends the webhook to the fallback address or again. A webhook without an answer may be
/// lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the carrier may take to send a body. The database then has at least as much time. A
/// slow client gets an error of its own, which does not blame the database.
const BODY_WITHIN: Duration = Duration::from_secs(4);

/// The state of the webhooks.
#[derive(Clone)]
pub struct WebhookState {
    pub storage: Storage,
    pub ingest: Ingest,
    pub accounts: Accounts,
    pub carriers: Carriers,
    /// The address at which carriers reach us, without a slash at its end. Signatures cover it.
    pub public_base: Arc<str>,
}

/// The webhooks of one carrier.
struct Webhooks {
    state: WebhookState,
    kind: CarrierKind,
}

impl Webhooks {
    fn carrier(&self) -> &dyn Carrier {
        self.state.carriers.get(self.kind)
    }
}

/// The routes below `/webhooks/{carrier}`. The carrier sends a message to the fallback address,
/// with the same id, if the first address failed.
pub fn routes(state: WebhookState, kind: CarrierKind) -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/:key/messages", problem::post_only(messages))
        .at("/:key/fallback", problem::post_only(messages))
        .at("/:key/status", problem::post_only(status))
        .at("/:key/check", problem::post_only(check))
        .data(Arc::new(Webhooks { state, kind }))
        .into_endpoint()
        .map_to_response()
}

#[handler]
async fn messages(request: &Request, Path(key): Path<String>, webhooks: Data<&Arc<Webhooks>>, body: Body) -> Response {
    let (began, mut span) = (Instant::now(), WebhookSpan::begin(request, "/webhooks/{carrier}/{key}/messages"));
    let deadline = began + ANSWER_WITHIN;
    let answer = async {
        let verified = verify(&webhooks, request, &key, body, deadline).await?;
        ingest_message(&webhooks, request, verified, deadline, &mut span).await
    }
    .await;
    span.end(&answer);
    acknowledge(webhooks.carrier(), "messages", began, answer)
}

#[handler]
async fn status(request: &Request, Path(key): Path<String>, webhooks: Data<&Arc<Webhooks>>, body: Body) -> Response {
    let mut span = WebhookSpan::begin(request, "/webhooks/{carrier}/{key}/status");
    let began = Instant::now();
    let deadline = began + ANSWER_WITHIN;
    let answer = async {
        let verified = verify(&webhooks, request, &key, body, deadline).await?;
        in_time(deadline, record(&webhooks, request, &verified, &mut span)).await
    }
    .await;
    span.end(&answer);
    acknowledge(webhooks.carrier(), "status", began, answer)
}

/// Only checks the signature, for `textback doctor`.
#[handler]
async fn check(
    request: &Request,
    Path(key): Path<String>,
    webhooks: Data<&Arc<Webhooks>>,
    body: Body,
) -> Result<StatusCode, Problem> {
    verify(&webhooks, request, &key, body, Instant::now() + ANSWER_WITHIN).await.map(|_| StatusCode::NO_CONTENT)
}

/// Waits for the database until the carrier must get its answer. A running statement goes on, so a
/// message may be stored after its 503. When the carrier sends it again, it is a duplicate.
async fn in_time<T, E: Into<Problem>>(
    deadline: Instant,
    answering: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match tokio::time::timeout_at(deadline.into(), answering).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(blocked()),
    }
}

fn blocked() -> Problem {
    let told = format!("the database did not answer within {} s; send it again", ANSWER_WITHIN.as_secs());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database_blocked", told)
}

/// A request whose signature is right.
struct Verified {
    account: Arc<CarrierAccount>,
    /// The address to which the carrier sent it.
    url: String,
    body: HeldBody,
}

impl Verified {
    fn request<'a>(&'a self, request: &'a Request) -> WebhookRequest<'a> {
        WebhookRequest { url: &self.url, headers: request.headers(), body: self.body.bytes() }
    }
}

async fn ingest_message(
    webhooks: &Webhooks,
    request: &Request,
    mut verified: Verified,
    deadline: Instant,
    span: &mut WebhookSpan,
) -> Result<&'static str, Problem> {
    let inbound = webhooks.carrier().parse_message(&verified.account, verified.request(request));
    let project_id = verified.account.project_id;
    let (from, to, carrier_id) = (masked(&inbound.from), masked(&inbound.to), inbound.carrier_id.clone());
    let message = channels::inbound_of_carrier(webhooks.carrier(), project_id, inbound, verified.body.take(), None);
    let storing = webhooks.state.ingest.message_of(message, deadline, Some(span.request()));
    let outcome = storing.await.map_err(|error| match error {
        NotIngested::TooLate => blocked(),
        NotIngested::Refused(error) => Problem::of_batch(&error),
    })?;
    span.brought(&outcome);
    match &outcome {
        ingest::IngestOutcome::Stored { session_id, message_id, turn_id } => {
            let turn_id = turn_id.map(display);
            tracing::info!(%session_id, %message_id, turn_id, carrier_id, from, to, "a message was stored");
        }
        ingest::IngestOutcome::Skipped { session_id, message_id, reason } => {
            tracing::info!(%session_id, %message_id, carrier_id, from, to, %reason, "a message was stored that no agent answers");
        }
        ingest::IngestOutcome::Duplicate { session_id, message_id } => {
            tracing::info!(%session_id, %message_id, carrier_id, from, to, "a message was stored before");
        }
        ingest::IngestOutcome::Quarantined { reason } => {
            tracing::warn!(reason, carrier_id, from, to, "a message that fits no session was put into quarantine");
        }
    }
    Ok(outcome.as_str())
}

async fn record(
    webhooks: &Webhooks,
    request: &Request,
    verified: &Verified,
    span: &mut WebhookSpan,
) -> Result<&'static str, Problem> {
    let (storage, project_id) = (&webhooks.state.storage, verified.account.project_id);
    let report = match webhooks.carrier().parse_status(&verified.account, verified.request(request)) {
        StatusNotice::NotOfAMessage => return Ok("of_a_call"),
        StatusNotice::NotUnderstood => {
            quarantine_status(webhooks, verified, ReportRejectReason::NotUnderstood, None).await?;
            return Ok("quarantined");
        }
        StatusNotice::Report(report) => report,
    };
    let report = channels::report_of_carrier(delivery_in(request), report);
    let reported = &report;
    let record = || async move { delivery::record(&mut *storage.connection().await?, project_id, reported).await };
    let recorded = database::retry_on_deadlock(record).await?;
    let (session_id, message_id) = (recorded.session_id.map(display), recorded.message_id.map(display));
    let (carrier_id, delivery_status) = (report.carrier_id.as_str(), report.status.as_str());
    Ok(match recorded.outcome {
        ReportOutcome::Moved => {
            storage.notifier().notify(JobKind::Delivery);
            span.reported(&recorded, &report);
            let (turn_id, code) = (recorded.turn_id.map(display), report.error_code);
            tracing::info!(
                session_id,
                message_id,
                turn_id,
                carrier_id,
                delivery_status,
                code,
                "the status of a delivery changed"
            );
            "moved"
        }
        ReportOutcome::Unchanged => {
            let turn_id = recorded.turn_id.map(display);
            tracing::debug!(
                session_id,
                message_id,
                turn_id,
                carrier_id,
                delivery_status,
                "a status report was older than the status of its delivery"
            );
            "unchanged"
        }
        ReportOutcome::Unknown => {
            let reason = ReportRejectReason::DeliveryUnknown;
            quarantine_status(webhooks, verified, reason, Some(carrier_id)).await?;
            tracing::warn!(
                carrier_id,
                delivery_status,
                "a status report that fits no delivery was put into quarantine"
            );
            "quarantined"
        }
    })
}

/// Keeps a status report that fits no delivery.
async fn quarantine_status(
    webhooks: &Webhooks,
    verified: &Verified,
    reason: ReportRejectReason,
    carrier_id: Option<&str>,
) -> Result<(), Problem> {
    let mut connection = webhooks.state.storage.connection().await?;
    let (project_id, body) = (verified.account.project_id, verified.body.bytes());
    let (kind, reason) = (QuarantineKind::Status, reason.as_str());
    let report = NewItem { project_id, kind, reason, carrier_id, form: body };
    quarantine::keep(&mut connection, report).await?;
    Ok(())
}

/// The id of our delivery that a report is about. It is in the query of the address that we gave
/// the carrier.
fn delivery_in(request: &Request) -> Option<Uuid> {
    let query = request.uri().query()?;
    let (_, id) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "delivery")?;
    let delivery_id = Uuid::parse_str(&id);
    if delivery_id.is_err() {
        // The report is still used, because it also has the carrier's id of the message.
        tracing::warn!("a status report named a delivery that is no id of textback's");
    }
    delivery_id.ok()
}

/// Reads a request and checks that the carrier sent it.
async fn verify(
    webhooks: &Webhooks,
    request: &Request,
    key: &str,
    body: Body,
    deadline: Instant,
) -> Result<Verified, Problem> {
    let account =
        recognize(webhooks, request, key, deadline).await.map_err(|refused| match body::is_announced(request) {
            true => refused.before_the_body(),
            false => refused,
        })?;
    let reading = Reading {
        declared: body::declared(request),
        most: MOST_BYTES,
        within: BODY_WITHIN.min(deadline.saturating_duration_since(Instant::now())),
        owner: account.project_id,
        budget: body::of_webhooks(),
    };
    let body = body::read(body, reading).await?;
    let path = request.original_uri().path_and_query().map_or("/", |path| path.as_str());
    let mut verified = Verified { account, url: format!("{}{path}", webhooks.state.public_base), body };
    let carrier = webhooks.carrier();
    let Err(refusal) = carrier.verify(&verified.account, verified.request(request)) else { return Ok(verified) };
    // Another process may just have changed the secret.
    if let Some(account) = in_time(deadline, webhooks.state.accounts.of_webhook_key_uncached(key)).await? {
        verified.account = account;
        if carrier.verify(&verified.account, verified.request(request)).is_ok() {
            return Ok(verified);
        }
    }
    Err(refuse(&refusal))
}

/// Finds the account of a request and checks the headers, before a byte of the body is read.
async fn recognize(
    webhooks: &Webhooks,
    request: &Request,
    key: &str,
    deadline: Instant,
) -> Result<Arc<CarrierAccount>, Problem> {
    let account = in_time(deadline, webhooks.state.accounts.of_webhook_key(key)).await?;
    let Some(account) = account.filter(|account| account.carrier == webhooks.kind) else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "webhook_key_unknown",
            "no project with a carrier account has this webhook key; PUT /v1/carrier tells the right addresses",
        ));
    };
    request_id::record_project(account.project_id);
    match webhooks.carrier().check_headers(request.headers()) {
        Ok(()) => Ok(account),
        Err(refusal) => Err(refuse(&refusal)),
    }
}

fn refuse(refusal: &WebhookRefusal) -> Problem {
    tracing::warn!(why = %refusal, "a webhook was refused");
    Problem::new(StatusCode::FORBIDDEN, "signature_invalid", refusal.to_string())
}

/// Answers a webhook in the format of its carrier.
fn acknowledge(
    carrier: &dyn Carrier,
    hook: &'static str,
    began: Instant,
    answer: Result<&'static str, Problem>,
) -> Response {
    let result = match &answer {
        Ok(word) => *word,
        Err(problem) => problem.code(),
    };
    metrics::WEBHOOK_SECONDS.record(&[hook], began.elapsed());
    metrics::WEBHOOK_REQUESTS.count(&[hook, result]);
    match answer {
        Ok(_) => {
            let received = carrier.acknowledgement();
            Response::builder().header(header::CONTENT_TYPE, received.content_type).body(received.body)
        }
        Err(problem) => problem.as_response(),
    }
}
