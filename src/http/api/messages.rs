//! `/v1/messages`: texts that the project begins (Send SMS), and what became of each; it calls no carrier.

mod check;

use chrono::{DateTime, Duration, Utc};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::{Any, ToJSON};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::domain::job::JobKind;
use crate::domain::message::SendOutcome;
use crate::domain::phone_number;
use crate::domain::segments;
use crate::domain::session;
use crate::http::problem::Problem;
use crate::secret::sha256;
use crate::storage::database;
use crate::storage::message::{self, Begun, Idempotency, NewText, Traced};
use crate::storage::number::Sender;
use crate::storage::scheduled_message::{self, ScheduledMessage};
use crate::storage::{country, number};

/// As far ahead as a text can be scheduled.
const FARTHEST: Duration = Duration::days(366);

/// The codes of limits on outbound messages.
const BOUNDS: [&str; 3] = [CONTACT_LIMIT, PROJECT_LIMIT, COUNTRY];
const CONTACT_LIMIT: &str = "contact_limit_reached";
const PROJECT_LIMIT: &str = "project_limit_reached";
const COUNTRY: &str = "country_not_allowed";

/// `/v1/messages`
pub struct Api;

/// What becomes of a session that the contact has already.
#[derive(Enum, Clone, Copy, Default)]
#[oai(rename_all = "snake_case")]
enum OnActiveSession {
    /// It ends without a word, and a new one begins with this text. Texts that wait for an answer move along.
    #[default]
    Supersede,
    /// The text is said in it.
    Join,
    /// Nothing is sent (409 `session_active`).
    Reject,
}

impl OnActiveSession {
    const fn stored(self) -> session::OnActiveSession {
        match self {
            Self::Supersede => session::OnActiveSession::Supersede,
            Self::Join => session::OnActiveSession::Join,
            Self::Reject => session::OnActiveSession::Reject,
        }
    }
}

/// A text to be sent.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewMessage {
    /// The contact, in E.164, such as +14155550101.
    to: String,
    /// What it says, 1 to 1600 characters. Either this or a template; with media it may be left out.
    body: Option<String>,
    /// A number of the project's. Left out, it is the number that the contact had to do with last, else one of the
    /// contact's country, else the project's `default_number`, else the oldest.
    from: Option<String>,
    #[oai(default)]
    on_active_session: OnActiveSession,
    /// Pictures and the like, which the carrier fetches: up to ten addresses.
    #[oai(default, validator(max_items = 10))]
    media_urls: Vec<String>,
    /// The name of a template, instead of a body.
    template: Option<String>,
    /// The template's variables.
    variables: Option<Any<Map<String, Value>>>,
    /// Not before this time, up to a year ahead, and not in the contact's quiet hours. A time that has passed is now.
    send_at: Option<DateTime<Utc>>,
}

/// A text that is on its way or waits for its time.
#[derive(Object)]
struct MessageAccepted {
    /// What `GET /v1/messages/{id}` tells about it.
    message_id: Uuid,
    /// The session that it is in; null while it is scheduled.
    session_id: Option<Uuid>,
    /// When it is to be sent, if not now.
    send_at: Option<DateTime<Utc>>,
}

#[derive(ApiResponse)]
enum Accepted {
    /// It is planned, or was before under this key
    #[oai(status = 202)]
    Accepted(Json<MessageAccepted>),
}

/// A message with every step of its delivery.
#[derive(Object)]
struct TracedMessage {
    id: Uuid,
    /// Null while it is scheduled.
    session_id: Option<Uuid>,
    /// `inbound` or `outbound`.
    direction: String,
    /// As in the list of a session's messages.
    kind: String,
    /// Our number.
    number: String,
    contact: String,
    body: String,
    /// `gsm7` or `ucs2`.
    encoding: String,
    /// How many segments it costs.
    segments: i32,
    /// What came or goes with it.
    media: Option<Any<Value>>,
    /// As in the list of a session's messages; before that `scheduled`, or `refused` if it will not be sent.
    status: String,
    /// Why it is held, skipped, refused or failed. Of a scheduled one: `cancelled`, `contact_opted_out`, `session_active`,
    /// `number_detached`, `unreadable`, `turn_limit_reached`, `contact_limit_reached`, `project_limit_reached` or `country_not_allowed`.
    reason: Option<String>,
    carrier_sid: Option<String>,
    /// The carrier's error code.
    error_code: Option<i32>,
    /// What kind of failure it was: `opted_out`, `permanent_recipient`, `permanent_config`, `content`, `auth`, `account`,
    /// `throttled`, `transient` or `ambiguous`; or a bound of the project's: `contact_limit_reached`, `project_limit_reached` or
    /// `country_not_allowed`.
    error_class: Option<String>,
    /// Whether its turn had more to say than it may send (`max_messages_per_turn` of the agent); told with the turn's last message.
    truncated: bool,
    /// How many characters were cut then.
    truncated_characters: Option<i32>,
    /// When a scheduled one is to be sent.
    send_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    /// Each step of its delivery, oldest first: `{at, status, by?, code?, class?, detail?}`.
    history: Vec<Any<Value>>,
}

/// A text that waits for its time, or will not be sent.
#[derive(Object)]
struct Scheduled {
    /// The id that its message will have.
    id: Uuid,
    /// `scheduled` or `refused`.
    status: String,
    /// Why it will not be sent: `cancelled`, `contact_opted_out`, `session_active`, `number_detached`,
    /// `turn_limit_reached`, `contact_limit_reached`, `project_limit_reached` or `country_not_allowed`.
    reason: Option<String>,
    /// Our number.
    number: String,
    contact: String,
    body: String,
    media_urls: Vec<String>,
    on_active_session: String,
    send_at: DateTime<Utc>,
    /// Later than `send_at` when the contact's quiet hours, or a limit that ends within an hour, put it off.
    due_at: Option<DateTime<Utc>>,
    /// The turn whose agent wanted it.
    turn_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

#[OpenApi(tag = "Group::Messages")]
impl Api {
    /// Send a text
    ///
    /// Opens a session that the contact's reply continues, with this text in its history; the agent's `start` runs in it.
    #[oai(path = "/messages", method = "post", operation_id = "send_message")]
    async fn send(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        /// The same key with the same request gets the first answer, for a week; with another request it is refused.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<String>>,
        body: Json<NewMessage>,
    ) -> Result<Accepted, Problem> {
        let project_id = caller.writer()?;
        let mut request = body.0;
        let idempotency = idempotency(key.0, &request)?;
        // Before any wait, so that an oversized request is not held in memory meanwhile.
        check::request(&mut request)?;
        if let Some(idempotency) = &idempotency
            && let Some(begun) = replay(&door, project_id, idempotency).await?
        {
            return accepted(begun);
        }
        let text = read(&door, project_id, request).await?;
        let (storage, text, idempotency) = (&door.storage, &text, idempotency.as_ref());
        let send = || async move { message::send(&mut *storage.connection().await?, text, idempotency).await };
        let begun = database::retry_on_deadlock(send).await?;
        if begun.outcome == SendOutcome::Sent {
            door.storage.notifier().notify(JobKind::Delivery);
            // A new session runs its start function.
            door.storage.notifier().notify(JobKind::Turn);
        }
        accepted(begun).inspect_err(|problem| {
            if BOUNDS.contains(&problem.code()) {
                metrics::counter!("textback_outbound_refused_total", "reason" => problem.code()).increment(1);
            }
        })
    }

    /// Read a message, with every step of its delivery
    #[oai(path = "/messages/:id", method = "get", operation_id = "get_message")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<TracedMessage>, Problem> {
        // The scheduled one first: while we look it may become a message, and never the other way round.
        let mut connection = door.storage.connection().await?;
        if let Some(scheduled) = scheduled_message::find(&mut connection, caller.reader(), *id).await? {
            return Ok(Json(scheduled.into()));
        }
        let traced = message::find(&mut connection, caller.reader(), *id).await?;
        Ok(Json(traced.ok_or_else(|| Problem::not_found("message"))?.into()))
    }

    /// Cancel a scheduled text
    #[oai(path = "/messages/:id", method = "delete", operation_id = "cancel_message")]
    async fn cancel(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
    ) -> Result<Json<TracedMessage>, Problem> {
        let project_id = caller.writer()?;
        let mut connection = door.storage.connection().await?;
        let cancelled = scheduled_message::cancel(&mut connection, project_id, *id).await?;
        match scheduled_message::find(&mut connection, project_id, *id).await? {
            Some(scheduled) if cancelled || scheduled.refusal_reason.is_some() => Ok(Json(scheduled.into())),
            _ if message::find(&mut connection, project_id, *id).await?.is_some() => Err(Problem::conflict(
                "message_not_scheduled",
                "this text does not wait for a time any more; only a scheduled one can be cancelled",
            )),
            _ => Err(Problem::not_found("message")),
        }
    }

    /// List scheduled texts that wait or were refused, newest first
    #[oai(path = "/scheduled-messages", method = "get", operation_id = "list_scheduled_messages")]
    async fn list(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Scheduled>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(
            scheduled_message::list(&mut *door.storage.connection().await?, caller.reader(), cursor, limit).await?,
        )))
    }
}

/// By what the request is known if it comes again.
fn idempotency(key: Option<String>, request: &NewMessage) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = key else { return Ok(None) };
    if key.is_empty() || key.chars().count() > 255 {
        return Err(Problem::invalid("idempotency_key_invalid", "an Idempotency-Key has 1 to 255 characters"));
    }
    let request = request.to_json().unwrap_or_default().to_string();
    Ok(Some(Idempotency { key, request_hash: sha256(request.as_bytes()).to_vec() }))
}

/// The answer that the key got, if it was used.
async fn replay(door: &ApiState, project_id: Uuid, idempotency: &Idempotency) -> Result<Option<Begun>, sqlx::Error> {
    message::replay(&mut *door.storage.connection().await?, project_id, idempotency).await
}

/// The text that a request asks for, if it can be sent.
async fn read(door: &ApiState, project_id: Uuid, request: NewMessage) -> Result<NewText, Problem> {
    let contact = request.to.clone();
    let (send_at, on_active_session) = (request.send_at, request.on_active_session.stored());
    let media_urls = request.media_urls.clone();
    let body = wording(door, project_id, &request).await?;
    let in_country = phone_number::country(&contact);
    if let Some(iso2) = &in_country
        && let Some(country) = country::find(&mut *door.storage.connection().await?, project_id, iso2).await?
        && country.two_way == Some(false)
    {
        return Err(super::numbers::without_sms(&country));
    }
    let sender = sender(door, project_id, &contact, request.from, in_country.as_deref()).await?;
    if sender.number == contact {
        return Err(Problem::invalid("to_is_from", format!("{contact} can't text itself")));
    }
    if sender.unregistered {
        return Err(Problem::conflict(
            "number_not_registered",
            format!(
                "the carrier blocks texts from {} until it is registered (A2P 10DLC, or toll-free verification); register it at the carrier; it is looked at again every ten minutes",
                sender.number
            ),
        ));
    }
    let countries = phone_number::countries(&contact);
    Ok(NewText { project_id, number_id: sender.id, contact, countries, body, media_urls, on_active_session, send_at })
}

/// What the text says.
async fn wording(door: &ApiState, project_id: Uuid, request: &NewMessage) -> Result<String, Problem> {
    let Some(name) = &request.template else { return Ok(request.body.clone().unwrap_or_default()) };
    let found = crate::storage::template::find(&mut *door.storage.connection().await?, project_id, name).await?;
    let found = found.ok_or_else(|| {
        Problem::invalid(
            "template_unknown",
            format!("this project has no template {name:?}; PUT /v1/templates/{{name}} makes one"),
        )
    })?;
    let variables = request.variables.as_ref().map(|variables| variables.0.clone()).unwrap_or_default();
    let filled = door.agent_runtime.runners.fill(project_id, &found.body, &variables).await;
    let body = filled.map_err(|error| {
        Problem::of_template("template_not_filled", error.map(|what| format!("the template {name:?}: {what}")))
    })?;
    check::body(&body, &request.media_urls)?;
    Ok(body)
}

/// The number that the text leaves from.
async fn sender(
    door: &ApiState,
    project_id: Uuid,
    contact: &str,
    from: Option<String>,
    country: Option<&str>,
) -> Result<Sender, Problem> {
    match from {
        Some(from) => number::find_by_number(&mut *door.storage.connection().await?, project_id, &from).await?.ok_or_else(|| {
            Problem::invalid(
                "number_not_ours",
                format!("{from:?} is not a number of this project; GET /v1/numbers lists them, POST /v1/numbers attaches one"),
            )
        }),
        None => number::choose(&mut *door.storage.connection().await?, project_id, contact, country).await?.ok_or_else(|| {
            Problem::conflict("number_missing", "this project has no number to send from; attach one: POST /v1/numbers")
        }),
    }
}

fn accepted(begun: Begun) -> Result<Accepted, Problem> {
    let Begun { outcome, message_id, session_id, send_at, retry_after_seconds } = begun;
    Err(match outcome {
        SendOutcome::Sent | SendOutcome::Scheduled | SendOutcome::Replayed => {
            return Ok(Accepted::Accepted(Json(MessageAccepted { message_id, session_id, send_at })));
        }
        SendOutcome::KeyReused => Problem::invalid(
            "idempotency_key_reused",
            "this Idempotency-Key was used for another request; take a new key for a new text",
        ),
        SendOutcome::ContactOptedOut => Problem::conflict(
            "contact_opted_out",
            "the contact wants no texts from this number (GET /v1/consents tells since when); nothing is sent until they text START",
        ),
        SendOutcome::SessionActive => Problem::conflict(
            "session_active",
            format!(
                "the contact has a session already{}; send with on_active_session join or supersede",
                session_id.map(|id| format!(", {id}")).unwrap_or_default()
            ),
        ),
        SendOutcome::CountryNotAllowed => Problem::invalid(
            COUNTRY,
            "the contact is in a country that this project does not text; PATCH /v1/project {\"allowed_countries\": [\"…\"]} allows it \
             (without a list: the countries of the project's numbers, and contacts who wrote first)",
        ),
        SendOutcome::ContactLimitReached => Problem::too_many(
            CONTACT_LIMIT,
            "the contact got all the messages that this project sends to one contact in an hour or a day \
             (GET /v1/usage?contact=… tells; PATCH /v1/project changes outbound_per_contact_per_hour and _per_day)",
            retry_after_seconds,
        ),
        SendOutcome::ProjectLimitReached => Problem::too_many(
            PROJECT_LIMIT,
            "this project has sent all that it may in a minute or a day (GET /v1/usage tells; PATCH /v1/project changes \
             outbound_per_project_per_minute and _per_day)",
            retry_after_seconds,
        ),
        SendOutcome::NumberDetached => {
            Problem::conflict("number_detached", "the number was detached a moment ago; choose another one")
        }
    })
}

impl From<Traced> for TracedMessage {
    fn from(traced: Traced) -> Self {
        let Traced { message, number, contact, error_class, history } = traced;
        Self {
            id: message.id,
            session_id: Some(message.session_id),
            direction: message.direction.to_string(),
            kind: message.kind.to_string(),
            number,
            contact,
            body: message.body,
            encoding: message.encoding,
            segments: message.segments,
            media: message.media.map(Any),
            status: message.status.to_string(),
            reason: message.reason,
            carrier_sid: message.carrier_sid,
            error_code: message.error_code,
            error_class,
            truncated: message.truncated.is_some(),
            truncated_characters: message.truncated,
            send_at: None,
            created_at: message.created_at,
            history: history.as_array().into_iter().flatten().cloned().map(Any).collect(),
        }
    }
}

impl From<ScheduledMessage> for TracedMessage {
    fn from(message: ScheduledMessage) -> Self {
        let media: Vec<Value> = message.media_urls.iter().map(|url| serde_json::json!({"url": url})).collect();
        Self {
            id: message.id,
            session_id: None,
            direction: "outbound".to_owned(),
            kind: "text".to_owned(),
            number: message.number,
            contact: message.contact,
            encoding: segments::encoding(&message.body).as_str().to_owned(),
            segments: i32::try_from(segments::segments(&message.body)).unwrap_or(i32::MAX),
            body: message.body,
            media: (!media.is_empty()).then(|| Any(Value::from(media))),
            status: if message.refusal_reason.is_some() { "refused" } else { "scheduled" }.to_owned(),
            reason: message.refusal_reason.map(|reason| reason.to_string()),
            carrier_sid: None,
            error_code: None,
            error_class: None,
            truncated: false,
            truncated_characters: None,
            send_at: Some(message.send_at),
            created_at: message.created_at,
            history: Vec::new(),
        }
    }
}

impl From<ScheduledMessage> for Scheduled {
    fn from(message: ScheduledMessage) -> Self {
        Self {
            id: message.id,
            status: if message.refusal_reason.is_some() { "refused" } else { "scheduled" }.to_owned(),
            reason: message.refusal_reason.map(|reason| reason.to_string()),
            number: message.number,
            contact: message.contact,
            body: message.body,
            media_urls: message.media_urls,
            on_active_session: message.on_active_session.to_string(),
            send_at: message.send_at,
            due_at: message.due_at,
            turn_id: message.turn_id,
            created_at: message.created_at,
        }
    }
}
