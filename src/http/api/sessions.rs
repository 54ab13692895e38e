//! `/v1/sessions`: conversations and their messages, to read and to end.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::domain::agent::Environment;
use crate::domain::llm::ModelFinish;
use crate::domain::message::{Attachment, Direction, MessageKind, MessageStatus, SkipReason};
use crate::domain::reaction::Reaction;
use crate::domain::segments::Encoding;
use crate::domain::session::{Channel, CloseReason, SessionOrigin, SessionStatus};
use crate::http::problem::Problem;
use crate::storage::{message, model, session};

/// `/v1/sessions`
pub struct Api;

/// A conversation between one of our numbers and a contact.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Session {
    id: Uuid,
    /// Our number. Left out on a channel without numbers.
    number: Option<String>,
    /// The pool that the project sent to when it opened or joined the session. Its messages leave
    /// through it.
    pool_id: Option<String>,
    /// The number of the contact.
    contact: String,
    channel: Channel,
    status: SessionStatus,
    /// The agent's state, up to 256 kB. Lists leave it out.
    state: Option<Any<Value>>,
    origin: SessionOrigin,
    /// Whether the contact has sent a message in it.
    engaged: bool,
    agent_id: Uuid,
    /// The version that it started with and keeps.
    agent_version: i32,
    environment: Environment,
    opened_at: DateTime<Utc>,
    /// When the last message of either side came or was made.
    last_message_at: DateTime<Utc>,
    warned_at: Option<DateTime<Utc>>,
    closed_at: Option<DateTime<Utc>>,
    close_reason: Option<CloseReason>,
    /// The contact's session before this one.
    previous_session_id: Option<Uuid>,
    /// When the contact is warned if no message comes until then.
    warning_due_at: Option<DateTime<Utc>>,
    /// When the session ends if no message comes until then. It does not end before the grace
    /// period is over, which begins when the carrier accepts the warning.
    end_due_at: Option<DateTime<Utc>>,
    /// Until when the messages of the contact are held, for the `pause_reason`. It is `repeats`:
    /// the contact sent the same text again and again, and got the same answers. Left out while
    /// they are answered.
    paused_until: Option<DateTime<Utc>>,
    pause_reason: Option<SkipReason>,
}

/// A message in a session.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Message {
    id: Uuid,
    session_id: Uuid,
    direction: Direction,
    kind: MessageKind,
    body: String,
    reaction: Option<Reaction>,
    encoding: Option<Encoding>,
    /// How many segments it has. Left out on a channel without segments.
    segments: Option<i32>,
    /// What came with it or goes out with it.
    media: Option<Vec<Attachment>>,
    status: MessageStatus,
    /// Why it is held, was skipped or failed: the `skip_reason`, or what the carrier said.
    reason: Option<String>,
    skip_reason: Option<SkipReason>,
    /// The carrier's id of the message.
    carrier_id: Option<String>,
    /// The carrier's error code.
    error_code: Option<i32>,
    /// Whether it was cut because it cost too much (`max_segments` of the agent), or its turn had
    /// more to say than it may send (`max_messages_per_turn`). For the latter, only the last
    /// message of a turn has it.
    truncated: bool,
    /// How many characters were cut then.
    truncated_characters: Option<i32>,
    created_at: DateTime<Utc>,
}

/// A request to a language model, also one that failed.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ModelRequest {
    /// The turn that made it, by the id of the first message that the turn answers.
    turn_id: Uuid,
    /// The attempt at the turn, from 1.
    attempt: i32,
    /// The round of the turn, from 0. A round that was repeated has several requests.
    round: i32,
    agent_id: Uuid,
    agent_version: i32,
    /// The provider's name of the model.
    model: String,
    finish: ModelFinish,
    /// The tokens of the request. Left out if the server did not tell.
    prompt_tokens: Option<i32>,
    /// Those among them that the provider had cached.
    cached_tokens: Option<i32>,
    /// The tokens of the answer.
    output_tokens: Option<i32>,
    /// Those among them that are thoughts.
    reasoning_tokens: Option<i32>,
    /// The cost in millionths of the currency of the project's `llm_prices`. Left out if the model
    /// had no price. Where the server did not tell the tokens, it is estimated.
    cost: Option<i64>,
    duration_seconds: f64,
    /// What went wrong.
    error: Option<String>,
    created_at: DateTime<Utc>,
}

#[OpenApi(tag = "Group::Sessions")]
impl Api {
    /// List sessions, newest first
    ///
    /// The items have no `state`. `GET /v1/sessions/{id}` has it.
    #[oai(path = "/sessions", method = "get", operation_id = "list_sessions")]
    #[expect(clippy::too_many_arguments, reason = "each one is a query parameter")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        /// Only sessions of this number of the project, attached or detached. Another number is
        /// refused.
        number: Query<Option<String>>,
        /// Only sessions of this contact.
        contact: Query<Option<String>>,
        /// Only sessions with this status.
        status: Query<Option<SessionStatus>>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Session>>, Problem> {
        let (cursor, limit) = (List::<Session>::cursor(cursor.0)?, lists::limit(limit.0)?);
        let number = lists::number(&state, caller.reader(), number.0).await?;
        let contact = lists::contact(contact.0)?;
        let filter = session::Filter { number, contact, status: status.0 };
        Ok(Json(List::of(
            session::list(&mut *state.storage.connection().await?, caller.reader(), &filter, cursor, limit).await?,
        )))
    }

    /// Read a session
    #[oai(path = "/sessions/:id", method = "get", operation_id = "get_session")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Session>, Problem> {
        let session = session::find(&mut *state.storage.connection().await?, caller.reader(), *id).await?;
        Ok(Json(session.ok_or_else(|| Problem::not_found("session"))?.into()))
    }

    /// List the messages of a session, oldest first
    #[oai(path = "/sessions/:id/messages", method = "get", operation_id = "list_messages")]
    async fn messages(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Message>>, Problem> {
        let (cursor, limit) = (List::<Message>::cursor(cursor.0)?, lists::limit(limit.0)?);
        let mut connection = state.storage.connection().await?;
        if session::find(&mut connection, caller.reader(), *id).await?.is_none() {
            return Err(Problem::not_found("session"));
        }
        Ok(Json(List::of(message::list(&mut connection, caller.reader(), *id, cursor, limit).await?)))
    }

    /// List the requests to language models of a session, oldest first
    #[oai(path = "/sessions/:id/model-requests", method = "get", operation_id = "list_model_requests")]
    async fn model_requests(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<ModelRequest>>, Problem> {
        let (cursor, limit) = (List::<ModelRequest>::cursor(cursor.0)?, lists::limit(limit.0)?);
        let mut connection = state.storage.connection().await?;
        if session::find(&mut connection, caller.reader(), *id).await?.is_none() {
            return Err(Problem::not_found("session"));
        }
        let of = (caller.reader(), *id);
        Ok(Json(List::of(model::list_requests(&mut connection, of, cursor, limit).await?)))
    }

    /// End a session
    ///
    /// Messages that wait for an answer are skipped. Messages that are planned are still sent. A
    /// closed session stays as it is.
    #[oai(path = "/sessions/:id/end", method = "post", operation_id = "end_session")]
    async fn end(&self, state: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Session>, Problem> {
        let project_id = caller.writer()?;
        let session = session::end(&mut *state.storage.connection().await?, project_id, *id).await?;
        Ok(Json(session.ok_or_else(|| Problem::not_found("session"))?.into()))
    }
}

impl From<session::Session> for Session {
    fn from(session: session::Session) -> Self {
        Self {
            id: session.id,
            number: session.number,
            pool_id: session.pool_id,
            contact: session.contact,
            channel: session.channel,
            status: session.status,
            state: session.state.map(Any),
            origin: session.origin,
            engaged: session.engaged,
            agent_id: session.agent_id,
            agent_version: session.agent_version,
            environment: session.environment,
            opened_at: session.opened_at,
            last_message_at: session.last_message_at,
            warned_at: session.warned_at,
            closed_at: session.closed_at,
            close_reason: session.close_reason,
            previous_session_id: session.previous_session_id,
            warning_due_at: session.warning_due_at,
            end_due_at: session.end_due_at,
            paused_until: session.paused_until,
            // Nothing else pauses a contact.
            pause_reason: session.paused_until.map(|_| SkipReason::Repeats),
        }
    }
}

impl From<model::ListedRequest> for ModelRequest {
    fn from(request: model::ListedRequest) -> Self {
        Self {
            turn_id: request.turn_id,
            attempt: request.attempt,
            round: request.round,
            agent_id: request.agent_id,
            agent_version: request.agent_version,
            model: request.model,
            finish: request.finish,
            prompt_tokens: request.prompt_tokens,
            cached_tokens: request.cached_tokens,
            output_tokens: request.output_tokens,
            reasoning_tokens: request.reasoning_tokens,
            cost: request.cost,
            duration_seconds: f64::from(request.milliseconds) / 1000.0,
            error: request.error,
            created_at: request.created_at,
        }
    }
}

impl From<message::Message> for Message {
    fn from(message: message::Message) -> Self {
        Self {
            id: message.id,
            session_id: message.session_id,
            direction: message.direction,
            kind: message.kind,
            body: message.body,
            reaction: message.reaction.map(|reaction| reaction.0),
            encoding: message.encoding,
            segments: message.segments,
            media: message.media.map(|media| media.0),
            status: message.status,
            reason: message.reason,
            skip_reason: message.skip_reason,
            carrier_id: message.carrier_id,
            error_code: message.error_code,
            truncated: message.truncated.is_some(),
            truncated_characters: message.truncated,
            created_at: message.created_at,
        }
    }
}
