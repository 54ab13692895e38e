//! `/v1/sessions`: conversations and their messages, to read and to end; it never writes into one.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::domain;
use crate::http::problem::Problem;
use crate::storage::{message, session};

/// `/v1/sessions`
pub struct Api;

/// Where a session stands.
#[derive(Enum, Clone, Copy)]
#[oai(rename_all = "snake_case")]
enum SessionStatus {
    Open,
    Warned,
    Closed,
}

impl SessionStatus {
    const fn stored(self) -> domain::session::SessionStatus {
        match self {
            Self::Open => domain::session::SessionStatus::Open,
            Self::Warned => domain::session::SessionStatus::Warned,
            Self::Closed => domain::session::SessionStatus::Closed,
        }
    }
}

/// A conversation between one of our numbers and a contact.
#[derive(Object)]
struct Session {
    id: Uuid,
    /// Our number.
    number: String,
    /// The other side's number.
    contact: String,
    /// `sms`, `webchat` or `voice`.
    channel: String,
    /// `open`, `warned` or `closed`.
    status: String,
    /// What the agent remembers, up to 256 kB; lists leave it out.
    #[oai(skip_serializing_if_is_none)]
    state: Option<Any<Value>>,
    /// Who began: `inbound` or `outbound`.
    origin: String,
    /// Whether the contact has written in it.
    engaged: bool,
    agent_id: Uuid,
    /// The version it started with, and keeps.
    agent_version: i32,
    opened_at: DateTime<Utc>,
    /// The last message of either side.
    last_message_at: DateTime<Utc>,
    warned_at: Option<DateTime<Utc>>,
    closed_at: Option<DateTime<Utc>>,
    /// `agent_ended`, `operator_ended`, `timed_out`, `opted_out`, `superseded`, or `unreadable`: what it remembered could not be read,
    /// and is gone.
    close_reason: Option<String>,
    /// The contact's session before this one.
    previous_session_id: Option<Uuid>,
    /// When the contact is warned of the end, if nobody says anything until then.
    warning_due_at: Option<DateTime<Utc>>,
    /// When the session ends, if nobody says anything until then. Not before the grace is over, which begins when the
    /// carrier accepts the warning.
    end_due_at: Option<DateTime<Utc>>,
}

/// A text in a session.
#[derive(Object)]
struct Message {
    id: Uuid,
    session_id: Uuid,
    /// `inbound` or `outbound`.
    direction: String,
    /// `text` (of the contact, or sent by request), `keyword`, `greeting`, `reply`, `error`, `warning`, `closing` or `help`.
    kind: String,
    body: String,
    /// `gsm7` or `ucs2`.
    encoding: String,
    /// How many segments it costs.
    segments: i32,
    /// What came or goes with it: `[{id, url, content_type, bytes}]`. `GET /v1/media/{id}` fetches what came.
    media: Option<Any<Value>>,
    /// Inbound: `waiting`, `handled`, `held` (by a guard) or `skipped`. Outbound: `planned`, `sending`, `accepted`, `sent`,
    /// `delivered`, `failed`, `unknown` or `suppressed`.
    status: String,
    /// Why it is held or was skipped, or why it failed.
    reason: Option<String>,
    /// The carrier's id of the message.
    carrier_sid: Option<String>,
    /// The carrier's error code.
    error_code: Option<i32>,
    /// Whether its turn had more to say than it may send (`max_messages_per_turn` of the agent); told with the turn's last message.
    truncated: bool,
    /// How many characters were cut then.
    truncated_characters: Option<i32>,
    created_at: DateTime<Utc>,
}

#[OpenApi(tag = "Group::Sessions")]
impl Api {
    /// List sessions, newest first
    ///
    /// Without their `state`, which `GET /v1/sessions/{id}` has.
    #[oai(path = "/sessions", method = "get", operation_id = "list_sessions")]
    #[expect(clippy::too_many_arguments, reason = "each one is a query parameter")]
    async fn list(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        /// Only sessions on this number of ours.
        number: Query<Option<String>>,
        /// Only sessions of this contact.
        contact: Query<Option<String>>,
        /// Only sessions in this status.
        status: Query<Option<SessionStatus>>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Session>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        let filter =
            session::Filter { number: number.0, contact: contact.0, status: status.0.map(SessionStatus::stored) };
        Ok(Json(List::of(
            session::list(&mut *door.storage.connection().await?, caller.reader(), &filter, cursor, limit).await?,
        )))
    }

    /// Read a session
    #[oai(path = "/sessions/:id", method = "get", operation_id = "get_session")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Session>, Problem> {
        let session = session::find(&mut *door.storage.connection().await?, caller.reader(), *id).await?;
        Ok(Json(session.ok_or_else(|| Problem::not_found("session"))?.into()))
    }

    /// List the messages of a session, oldest first
    #[oai(path = "/sessions/:id/messages", method = "get", operation_id = "list_messages")]
    async fn messages(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Message>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        let mut connection = door.storage.connection().await?;
        if session::find(&mut connection, caller.reader(), *id).await?.is_none() {
            return Err(Problem::not_found("session"));
        }
        Ok(Json(List::of(message::list(&mut connection, caller.reader(), *id, cursor, limit).await?)))
    }

    /// End a session
    ///
    /// Texts that no turn has answered yet are skipped; what was planned to be sent still goes out. A closed
    /// session stays as it is.
    #[oai(path = "/sessions/:id/end", method = "post", operation_id = "end_session")]
    async fn end(&self, door: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Session>, Problem> {
        let project_id = caller.writer()?;
        let session = session::end(&mut *door.storage.connection().await?, project_id, *id).await?;
        Ok(Json(session.ok_or_else(|| Problem::not_found("session"))?.into()))
    }
}

impl From<session::Session> for Session {
    fn from(session: session::Session) -> Self {
        Self {
            id: session.id,
            number: session.number,
            contact: session.contact,
            channel: session.channel.to_string(),
            status: session.status.to_string(),
            state: session.state.map(Any),
            origin: session.origin.to_string(),
            engaged: session.engaged,
            agent_id: session.agent_id,
            agent_version: session.agent_version,
            opened_at: session.opened_at,
            last_message_at: session.last_message_at,
            warned_at: session.warned_at,
            closed_at: session.closed_at,
            close_reason: session.close_reason.map(|reason| reason.to_string()),
            previous_session_id: session.previous_session_id,
            warning_due_at: session.warning_due_at,
            end_due_at: session.end_due_at,
        }
    }
}

impl From<message::Message> for Message {
    fn from(message: message::Message) -> Self {
        Self {
            id: message.id,
            session_id: message.session_id,
            direction: message.direction.to_string(),
            kind: message.kind.to_string(),
            body: message.body,
            encoding: message.encoding,
            segments: message.segments,
            media: message.media.map(Any),
            status: message.status.to_string(),
            reason: message.reason,
            carrier_sid: message.carrier_sid,
            error_code: message.error_code,
            truncated: message.truncated.is_some(),
            truncated_characters: message.truncated,
            created_at: message.created_at,
        }
    }
}
