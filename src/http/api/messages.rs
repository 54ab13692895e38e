//! `/v1/messages`: sends messages and tells what became of them.

mod answers;
mod check;
mod sender;

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::{Any, ToJSON};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::request_check::IdempotencyKey;
use super::span::Made;
use super::{ApiState, Group};
use crate::channels;
use crate::domain::job::JobKind;
use crate::domain::message::SendOutcome;
use crate::domain::phone_number;
use crate::domain::sending::OnLandline;
use crate::domain::session::OnActiveSession;
use crate::http::problem::Problem;
use crate::http::request_id;
use crate::secret::sha256;
use crate::storage::database;
use crate::storage::pool::PoolContact;
use crate::storage::sending::{self, Idempotency, NewText, SendResult};
use crate::storage::{country, message, scheduled_message};
use crate::telemetry::metrics;
use answers::{ScheduledMessage, TracedMessage};

/// How far ahead a message can be scheduled.
const FARTHEST: Duration = Duration::days(366);

/// `/v1/messages`
pub struct Api;

/// A message to be sent. Without `on_active_session` it is `supersede`.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewMessage {
    /// The contact's number in E.164, such as +14155550101.
    to: String,
    /// The text, 1 to 1600 characters. Give a body or a template. With media it may be left out.
    body: Option<String>,
    /// A number of the project, or a pool that some of them are in: at Twilio a messaging service
    /// (MG…). Of a pool the message leaves from the number of the contact's session, else from the
    /// number that the contact had to do with last, else from one of the contact's country. Without
    /// `from` the message leaves from the number that the contact had to do with last, else from
    /// one of the contact's country, else from the project's `default_number`, else from the
    /// oldest.
    from: Option<String>,
    on_active_session: Option<OnActiveSession>,
    /// The addresses of up to ten files, such as pictures, which the carrier fetches.
    #[oai(default, validator(max_items = 10))]
    media_urls: Vec<String>,
    /// The name of a template, instead of a body.
    template: Option<String>,
    /// The variables of the template: all that it looks up, and no others.
    variables: Option<BTreeMap<String, Any<Value>>>,
    /// The message is not sent before this time, and not in the contact's quiet hours. At most a
    /// year ahead. A time in the past means now.
    send_at: Option<DateTime<Utc>>,
    /// Whether to send although the carrier said before that the contact's number is a landline,
    /// which gets no messages. Without it such a message is refused (`contact_is_landline`), until
    /// the contact texts.
    #[oai(default)]
    even_to_landline: bool,
}

/// A message that is planned or scheduled.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct MessageAccepted {
    /// `GET /v1/messages/{id}` reads the message.
    message_id: Uuid,
    /// The session that it is in. A scheduled message has none.
    session_id: Option<Uuid>,
    /// Our number that it leaves from. Left out while a scheduled message to a pool waits: the
    /// number is chosen when it is due.
    number: Option<String>,
    /// The pool that it was sent to.
    pool_id: Option<String>,
    /// When a scheduled message is to be sent.
    send_at: Option<DateTime<Utc>>,
}

#[derive(ApiResponse)]
enum Accepted {
    /// The message is planned or scheduled, now or by an earlier request with this key
    #[oai(status = 202)]
    Accepted(Json<MessageAccepted>),
}

#[OpenApi(tag = "Group::Messages")]
impl Api {
    /// Send a message
    ///
    /// Opens a session, runs the agent's `start` in it, and sends the message. The contact's reply
    /// continues the session, with this message in its history.
    #[oai(path = "/messages", method = "post", operation_id = "send_message")]
    async fn send(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        /// For a week the same key with the same request gets the first answer. With another
        /// request it is refused.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        made: Data<&Made>,
        body: Json<NewMessage>,
    ) -> Result<Accepted, Problem> {
        let project_id = caller.writer()?;
        let mut request = body.0;
        // An explicit default is the same request as none.
        request.on_active_session.get_or_insert(OnActiveSession::Supersede);
        let idempotency = idempotency(key.0, &request)?;
        // Before any wait, so that an oversized request is not held in memory meanwhile.
        check::request(&mut request)?;
        if let Some(idempotency) = &idempotency
            && let Some(result) = replay(&state, project_id, idempotency).await?
        {
            return accepted(result, &phone_number::countries(&request.to));
        }
        let text = prepare(&state, project_id, request).await?;
        let (storage, text, idempotency) = (&state.storage, &text, idempotency.as_ref());
        let send = || async move {
            let mut transaction = storage.transaction().await?;
            let result = sending::send(&mut transaction, text, idempotency).await;
            database::end(transaction, result).await
        };
        let result = database::retry_on_deadlock(send).await?;
        if result.outcome == SendOutcome::Sent {
            state.storage.notifier().notify(JobKind::Delivery);
            // A new session runs its start function.
            state.storage.notifier().notify(JobKind::Turn);
        }
        if matches!(result.outcome, SendOutcome::Sent | SendOutcome::Scheduled) {
            made.message(result.message_id, result.session_id);
        }
        if is_over_a_limit(result.outcome) {
            metrics::OUTBOUND_REFUSED.count(&[result.outcome.as_str()]);
        }
        accepted(result, &text.countries)
    }

    /// Read a message, with every step of its delivery
    #[oai(path = "/messages/:id", method = "get", operation_id = "get_message")]
    async fn get(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<TracedMessage>, Problem> {
        // First the scheduled one: it may become a message between the two queries, and a message
        // never becomes a scheduled one.
        let mut connection = state.storage.connection().await?;
        if let Some(scheduled) = scheduled_message::find(&mut connection, caller.reader(), *id).await? {
            return Ok(Json(scheduled.into()));
        }
        let traced = message::find(&mut connection, caller.reader(), *id).await?;
        Ok(Json(traced.ok_or_else(|| Problem::not_found("message"))?.into()))
    }

    /// Cancel a scheduled message
    #[oai(path = "/messages/:id", method = "delete", operation_id = "cancel_message")]
    async fn cancel(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<TracedMessage>, Problem> {
        let project_id = caller.writer()?;
        let mut connection = state.storage.connection().await?;
        let cancelled = scheduled_message::cancel(&mut connection, project_id, *id).await?;
        match scheduled_message::find(&mut connection, project_id, *id).await? {
            Some(scheduled) if cancelled || scheduled.refusal_reason.is_some() => Ok(Json(scheduled.into())),
            _ if message::find(&mut connection, project_id, *id).await?.is_some() => Err(Problem::conflict(
                "message_not_scheduled",
                "the message is not scheduled any more; only a scheduled message can be cancelled",
            )),
            _ => Err(Problem::not_found("message")),
        }
    }

    /// List scheduled messages that wait or were refused, newest first
    #[oai(path = "/scheduled-messages", method = "get", operation_id = "list_scheduled_messages")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<ScheduledMessage>>, Problem> {
        let (cursor, limit) = (List::<ScheduledMessage>::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(
            scheduled_message::list(&mut *state.storage.connection().await?, caller.reader(), cursor, limit).await?,
        )))
    }
}

/// What identifies the request if it is repeated.
fn idempotency(key: Option<String>, request: &NewMessage) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.chars().count() > 255 {
        return Err(Problem::invalid("idempotency_key_invalid", "Idempotency-Key must have 1 to 255 characters"));
    }
    let request = request.to_json().unwrap_or_default().to_string();
    Ok(Some(Idempotency { key, request_hash: sha256(request.as_bytes()).to_vec() }))
}

/// The answer that the key got, if it was used.
async fn replay(
    state: &ApiState,
    project_id: Uuid,
    idempotency: &Idempotency,
) -> Result<Option<SendResult>, sqlx::Error> {
    sending::replay(&mut *state.storage.connection().await?, project_id, idempotency).await
}

/// The message that a request asks for, if it can be sent.
async fn prepare(state: &ApiState, project_id: Uuid, request: NewMessage) -> Result<NewText, Problem> {
    let contact = request.to.clone();
    let (send_at, on_active_session) =
        (request.send_at, request.on_active_session.unwrap_or(OnActiveSession::Supersede));
    let media_urls = request.media_urls.clone();
    let on_landline = if request.even_to_landline { OnLandline::Send } else { OnLandline::Refuse };
    let body = body(state, project_id, &request).await?;
    let in_country = phone_number::country(&contact);
    if let Some(iso2) = &in_country
        && let Some(country) = country::find(&mut *state.storage.connection().await?, project_id, iso2).await?
        && country.two_way == Some(false)
    {
        return Err(super::numbers::without_sms(&country));
    }
    let channel = channels::of_numbers().facts();
    let from = match request.from {
        Some(pool_id) if !phone_number::is_e164_or_short_code(&pool_id) => {
            sender::of_pool(
                state,
                PoolContact { project_id, pool_id: &pool_id, contact: &contact, channel: channel.channel },
            )
            .await?
        }
        from => sender::of_number(state, project_id, &contact, from, in_country.as_deref()).await?,
    };
    let countries = phone_number::countries(&contact);
    Ok(NewText {
        project_id,
        from,
        channel,
        contact,
        countries,
        body,
        media_urls,
        on_active_session,
        send_at,
        on_landline,
    })
}

/// The text of the message.
async fn body(state: &ApiState, project_id: Uuid, request: &NewMessage) -> Result<String, Problem> {
    let Some(name) = &request.template else { return Ok(request.body.clone().unwrap_or_default()) };
    let found = crate::storage::template::find(&mut *state.storage.connection().await?, project_id, name).await?;
    let found = found.ok_or_else(|| {
        Problem::invalid(
            "template_unknown",
            format!("this project has no template {name:?}; make one with PUT /v1/templates/{{name}}"),
        )
    })?;
    let variables = request.variables.clone().map(check::object).unwrap_or_default();
    let filled = state.agent_runtime.runners.fill(project_id, &found.body, &variables).await;
    let body = filled.map_err(|error| {
        Problem::of_template("template_not_filled", error.map(|what| format!("the template {name:?}: {what}")))
    })?;
    check::body(&body, &request.media_urls)?;
    Ok(body)
}

/// Whether a limit on outbound messages refused the message.
const fn is_over_a_limit(outcome: SendOutcome) -> bool {
    match outcome {
        SendOutcome::CountryNotAllowed | SendOutcome::ContactLimitReached | SendOutcome::ProjectLimitReached => true,
        SendOutcome::Sent
        | SendOutcome::Scheduled
        | SendOutcome::Replayed
        | SendOutcome::KeyReused
        | SendOutcome::ContactOptedOut
        | SendOutcome::ContactIsLandline
        | SendOutcome::SessionActive
        | SendOutcome::NumberDetached
        | SendOutcome::ToIsFrom => false,
    }
}

/// The problem of a contact to whose country the project does not send. Countries that share a
/// calling code are all named.
fn country_not_allowed(countries: &[String]) -> Problem {
    let country = countries.join(" or ");
    Problem::invalid(
        "country_not_allowed",
        format!(
            "the project does not send to {country}; allow it with PATCH /v1/project {{\"allowed_countries\": [\"…\"]}} (without \
             a list the project sends to the countries of its numbers and to contacts who wrote first)"
        ),
    )
}

/// What is answered to a request to send a message to a contact in one of these countries.
fn accepted(result: SendResult, countries: &[String]) -> Result<Accepted, Problem> {
    let SendResult { outcome, message_id, session_id, send_at, number, pool_id, retry_after_seconds } = result;
    Err(match outcome {
        SendOutcome::Sent | SendOutcome::Scheduled | SendOutcome::Replayed => {
            request_id::record_message(message_id, session_id);
            let accepted = MessageAccepted { message_id, session_id, number, pool_id, send_at };
            return Ok(Accepted::Accepted(Json(accepted)));
        }
        SendOutcome::KeyReused => Problem::invalid(
            "idempotency_key_reused",
            "this Idempotency-Key was used for another request; use a new key for a new message",
        ),
        SendOutcome::ContactOptedOut => Problem::conflict(
            "contact_opted_out",
            "the contact has opted out of messages from this number, or from a number of this pool (see GET /v1/consents); nothing \
             is sent until the contact sends START",
        ),
        SendOutcome::ContactIsLandline => Problem::conflict(
            "contact_is_landline",
            "the carrier said of an earlier message that the contact's number is a landline, which gets no messages; ask for a \
             mobile number, or insist with even_to_landline",
        ),
        SendOutcome::SessionActive => Problem::conflict(
            "session_active",
            format!(
                "the contact already has an open session{}; send with on_active_session join or supersede",
                session_id.map(|id| format!(", {id}")).unwrap_or_default()
            ),
        ),
        SendOutcome::NumberDetached => Problem::conflict(
            "number_detached",
            "the number was detached a moment ago, or left the pool; send from another one",
        ),
        SendOutcome::ToIsFrom => Problem::invalid(
            "to_is_from",
            "to is the number that the message would be sent from, so it would come back as a message to us; send to another \
             number, or from another one",
        ),
        SendOutcome::CountryNotAllowed => country_not_allowed(countries),
        SendOutcome::ContactLimitReached => Problem::too_many(
            "contact_limit_reached",
            "the contact got as many messages as the project sends to one contact in an hour or a day (see \
             GET /v1/usage?contact=…; change outbound_per_contact_per_hour and _per_day with PATCH /v1/project)",
            retry_after_seconds,
        ),
        SendOutcome::ProjectLimitReached => Problem::too_many(
            "project_limit_reached",
            "the project sent as many messages as it may in a minute or a day (see GET /v1/usage; change \
             outbound_per_project_per_minute and _per_day with PATCH /v1/project)",
            retry_after_seconds,
        ),
    })
}
