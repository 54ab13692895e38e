//! The carrier's door: verify, write, acknowledge; it never waits for an agent and never acknowledges what is not committed.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poem::error::ResponseError;
use poem::http::{StatusCode, header};
use poem::web::{Data, Path};
use poem::{Body, Endpoint, EndpointExt, IntoEndpoint, Request, Response, Route, handler, post};
use uuid::Uuid;

use crate::carriers::twilio::form::Form;
use crate::carriers::twilio::signature;
use crate::carriers::twilio::webhooks::{InboundText, OptOut, StatusReport};
use crate::domain::carrier_account::Account;
use crate::domain::consent::Keyword;
use crate::domain::delivery::ReportOutcome;
use crate::domain::job::JobKind;
use crate::http::body::{self, HeldBody, Reading};
use crate::http::problem::Problem;
use crate::storage::carrier_account::Accounts;
use crate::storage::database;
use crate::storage::delivery::Report;
use crate::storage::ingest::{Attachment, NotTaken, Text};
use crate::storage::{Storage, delivery, ingest};
use crate::telemetry::masked;

/// The carrier's own limit is 64 kB too.
const MOST_BYTES: usize = 64 * 1024;
/// The time within which every webhook is answered. The carrier gives up after 15 s. A webhook answered with 503 goes
/// to the fallback address or comes again; one without an answer may be lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the carrier may take to send a body. The database has at least as much time left. A slow client gets its
/// own error, so the database is not blamed.
const BODY_WITHIN: Duration = Duration::from_secs(4);

/// What the door needs.
#[derive(Clone)]
pub struct WebhookState {
    storage: Storage,
    accounts: Accounts,
    /// Where the carrier reaches us, without a slash at its end: signatures are made over it.
    public_base: Arc<str>,
}

impl WebhookState {
    /// A door that is known to the carrier by `public_base`.
    pub fn new(storage: Storage, accounts: Accounts, public_base: &str) -> Self {
        Self { storage, accounts, public_base: public_base.into() }
    }
}

/// The routes below `/webhooks/twilio`. The fallback address takes what the first one could not:
/// the same text with the same id.
pub fn routes(door: WebhookState) -> impl Endpoint<Output = Response> {
    Route::new()
        .at("/:key/messages", post(messages))
        .at("/:key/fallback", post(messages))
        .at("/:key/status", post(status))
        .at("/:key/check", post(check))
        .data(door)
        .into_endpoint()
        .map_to_response()
}

#[handler]
async fn messages(request: &Request, Path(key): Path<String>, door: Data<&WebhookState>, body: Body) -> Response {
    let began = Instant::now();
    let deadline = began + ANSWER_WITHIN;
    let answer = async {
        let (account, form, raw) = verify(&door, request, &key, body, deadline).await?;
        take_in(&door, &account, &form, raw, deadline).await
    }
    .await;
    metrics::histogram!("textback_webhook_duration_seconds", "hook" => "messages")
        .record(began.elapsed().as_secs_f64());
    acknowledge("messages", answer)
}

#[handler]
async fn status(request: &Request, Path(key): Path<String>, door: Data<&WebhookState>, body: Body) -> Response {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let answer = async {
        let (account, form, raw) = verify(&door, request, &key, body, deadline).await?;
        in_time(deadline, record(&door, &account, request, &form, &raw)).await
    }
    .await;
    acknowledge("status", answer)
}

/// Whether a signature is right, and nothing else: for `textback doctor`.
#[handler]
async fn check(
    request: &Request,
    Path(key): Path<String>,
    door: Data<&WebhookState>,
    body: Body,
) -> Result<StatusCode, Problem> {
    verify(&door, request, &key, body, Instant::now() + ANSWER_WITHIN).await.map(|_| StatusCode::NO_CONTENT)
}

/// Waits for the database until the carrier must get an answer. Running work goes on: a text may be stored a moment
/// after its 503, and is one message when it comes again.
async fn in_time<T, E: Into<Problem>>(
    deadline: Instant,
    asking: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match tokio::time::timeout_at(deadline.into(), asking).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(blocked()),
    }
}

fn blocked() -> Problem {
    let told = format!("the database did not answer within {} s; send it again", ANSWER_WITHIN.as_secs());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database_blocked", told)
}

async fn take_in(
    door: &WebhookState,
    account: &Account,
    form: &Form,
    mut raw: HeldBody,
    deadline: Instant,
) -> Result<&'static str, Problem> {
    let text = InboundText::read(form, &account.account_sid);
    let keyword = match text.opt_out {
        Some(OptOut::Stop) => Some(Keyword::Stop),
        Some(OptOut::Start) => Some(Keyword::Start),
        Some(OptOut::Help) => Some(Keyword::Help),
        None => Keyword::of(&text.body),
    };
    let (from, to, carrier_sid) = (masked(&text.from), masked(&text.to), text.sid.clone());
    let taken = ingest::take_in(
        &door.storage,
        Text {
            project_id: account.project_id,
            carrier_sid: text.sid,
            to: text.to,
            from: text.from,
            body: text.body,
            media: text.media.into_iter().map(|(url, content_type)| Attachment::at(url, Some(content_type))).collect(),
            form: raw.take(),
            misfit: text.misfit,
            keyword,
            said_at: None,
        },
        deadline,
    )
    .await
    .map_err(|error| match error {
        NotTaken::TooLate => blocked(),
        NotTaken::Refused(error) => Problem::unavailable(&error),
    })?;
    match &taken {
        ingest::IngestOutcome::Stored { session_id, .. } => {
            tracing::info!(%session_id, carrier_sid, from, to, "text stored");
        }
        ingest::IngestOutcome::Noted { session_id, reason, .. } => {
            metrics::counter!("textback_texts_noted_total", "reason" => reason.clone()).increment(1);
            tracing::info!(%session_id, carrier_sid, from, to, reason, "text stored; no agent answers it");
        }
        ingest::IngestOutcome::Duplicate { session_id, .. } => {
            tracing::info!(%session_id, carrier_sid, from, to, "text was stored before");
        }
        ingest::IngestOutcome::Quarantined { reason } => {
            tracing::warn!(project_id = %account.project_id, reason, carrier_sid, from, to, "text fits no session; it is kept in quarantine");
        }
    }
    Ok(taken.as_str())
}

async fn record(
    door: &WebhookState,
    account: &Account,
    request: &Request,
    form: &Form,
    raw: &HeldBody,
) -> Result<&'static str, Problem> {
    let delivery_id = request.uri().query().and_then(|query| {
        let query = Form::read(query.as_bytes());
        query.text("delivery").and_then(|id| Uuid::parse_str(&id).ok())
    });
    if StatusReport::is_of_a_call(form) {
        return Ok("of_a_call");
    }
    let Some(report) = StatusReport::read(form) else {
        quarantine(door, account, "status_not_understood", None, raw).await?;
        return Ok("quarantined");
    };
    let report = Report {
        delivery_id,
        carrier_sid: report.sid,
        status: report.status,
        error_code: report.error_code,
        error_class: report.error_class.map(|class| class.word().to_owned()),
    };
    let (storage, project_id, reported) = (&door.storage, account.project_id, &report);
    let record = || async move { delivery::record(&mut *storage.connection().await?, project_id, reported).await };
    Ok(match database::retry_on_deadlock(record).await? {
        ReportOutcome::Moved => {
            door.storage.notifier().notify(JobKind::Delivery);
            tracing::info!(
                carrier_sid = report.carrier_sid,
                status = report.status.as_str(),
                code = report.error_code,
                "delivery moved"
            );
            "moved"
        }
        ReportOutcome::Unchanged => "unchanged",
        ReportOutcome::Unknown => {
            let sid = Some(report.carrier_sid.as_str());
            quarantine(door, account, "delivery_unknown", sid, raw).await?;
            tracing::warn!(
                carrier_sid = report.carrier_sid,
                status = report.status.as_str(),
                "a status report fits no delivery; it is kept in quarantine"
            );
            "quarantined"
        }
    })
}

/// Keeps a status report that fits no delivery.
async fn quarantine(
    door: &WebhookState,
    account: &Account,
    reason: &str,
    carrier_sid: Option<&str>,
    raw: &HeldBody,
) -> Result<(), Problem> {
    let mut connection = door.storage.connection().await?;
    ingest::quarantine_status(&mut connection, account.project_id, reason, carrier_sid, raw.bytes()).await?;
    Ok(())
}

/// The account and the form of a request that the carrier signed.
async fn verify(
    door: &WebhookState,
    request: &Request,
    key: &str,
    body: Body,
    deadline: Instant,
) -> Result<(Arc<Account>, Form, HeldBody), Problem> {
    let (account, given) =
        recognize(door, request, key, deadline).await.map_err(|refused| match body::is_announced(request) {
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
    let raw = body::read(body, reading).await?;
    let url =
        format!("{}{}", door.public_base, request.original_uri().path_and_query().map_or("/", |path| path.as_str()));
    let form = Form::read(raw.bytes());
    if signature::verify(account.signing_tokens(), &url, &form, given) {
        return Ok((account, form, raw));
    }
    // The token may have changed in another process a moment ago.
    if let Some(account) = in_time(deadline, door.accounts.of_webhook_key_anew(key)).await?
        && signature::verify(account.signing_tokens(), &url, &form, given)
    {
        return Ok((account, form, raw));
    }
    Err(refuse(
        &account,
        &format!(
            "the signature does not fit; it is checked over the URL {}/… (TEXTBACK_PUBLIC_URL) with the account's auth token: both must be the carrier's",
            door.public_base
        ),
    ))
}

/// Finds the account of a request and its signature, before a byte of the body is read.
async fn recognize<'r>(
    door: &WebhookState,
    request: &'r Request,
    key: &str,
    deadline: Instant,
) -> Result<(Arc<Account>, &'r str), Problem> {
    let account = in_time(deadline, door.accounts.of_webhook_key(key)).await?;
    let Some(account) = account else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "webhook_key_unknown",
            "no project with a carrier account has this webhook key; PUT /v1/carrier tells the right addresses",
        ));
    };
    if request.headers().contains_key(signature::SETTINGS_HEADER) {
        return Err(refuse(
            &account,
            "signed with a shared key of the carrier's webhook settings, which is not supported; take this address out of the setting",
        ));
    }
    let Some(given) = request.headers().get(signature::HEADER).and_then(|value| value.to_str().ok()) else {
        return Err(refuse(&account, "no X-Twilio-Signature; only the carrier may call this address"));
    };
    Ok((account, given))
}

fn refuse(account: &Account, why: &str) -> Problem {
    tracing::warn!(project_id = %account.project_id, why, "a webhook was refused");
    Problem::new(StatusCode::FORBIDDEN, "signature_invalid", why)
}

/// Empty TwiML: received, and nothing to say here. Never text/plain, which the carrier would text
/// to the person; never 429, which it does not understand.
fn acknowledge(hook: &'static str, answer: Result<&'static str, Problem>) -> Response {
    let result = match &answer {
        Ok(word) => *word,
        Err(problem) => problem.code(),
    };
    metrics::counter!("textback_webhook_requests_total", "hook" => hook, "result" => result).increment(1);
    match answer {
        Ok(_) => Response::builder().header(header::CONTENT_TYPE, "text/xml; charset=utf-8").body("<Response/>"),
        Err(problem) => problem.as_response(),
    }
}
