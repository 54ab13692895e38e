//! Loads what decides about inbound messages, under the locks of their contacts.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::agent::Environment;
use crate::domain::consent::ConsentKind;
use crate::domain::ingest::{Facts, Session};
use crate::domain::keyword::{Keyword, KeywordMatch, KnownBy, OwnWords, Reading};
use crate::domain::keyword_answer::{AnswerFacts, KeywordAnswer};
use crate::domain::message::{MessageKind, Sender};
use crate::domain::number::SendPolicy;
use crate::domain::rate_limit::{ContactLimits, RecentMessages};
use crate::domain::reaction::{self, Candidate, Reaction, SentMessage};
use crate::domain::session::{Channel, SessionOrigin, SessionStatus};
use crate::storage::composite::composite;
use crate::storage::ingest::InboundMessage;

/// A message as the statement takes it.
#[derive(Debug, sqlx::Encode)]
struct MessageRow<'a> {
    ordinal: i32,
    project_id: Uuid,
    channel: Channel,
    endpoint_id: Option<Uuid>,
    to: &'a str,
    from: &'a str,
    carrier_id: Option<&'a str>,
    client_id: Option<&'a str>,
    said: Option<&'a str>,
    may_be_answered: bool,
    answers_keywords: bool,
    may_be_own_word: bool,
    may_react: bool,
    agent_id: Option<Uuid>,
}

composite!(MessageRow<'_>, "inbound_message");

impl<'a> MessageRow<'a> {
    fn of(ordinal: i32, message: &'a InboundMessage) -> Self {
        let repeats = message.media.is_empty() && !message.body.is_empty();
        Self {
            ordinal,
            project_id: message.project_id,
            channel: message.channel.channel,
            endpoint_id: message.endpoint_id,
            to: &message.to,
            from: &message.from,
            carrier_id: message.carrier_id.as_deref(),
            client_id: message.client_id.as_deref(),
            said: repeats.then_some(message.body.as_str()),
            may_be_answered: match message.reading {
                Reading::Keyword(KeywordMatch { known_by: KnownBy::CarrierReport, .. }) => false,
                Reading::Keyword(KeywordMatch { keyword, .. }) => message.answers_keywords || keyword == Keyword::Help,
                Reading::MayBeOwnWord(_) | Reading::Text => false,
            },
            answers_keywords: message.answers_keywords,
            may_be_own_word: matches!(message.reading, Reading::MayBeOwnWord(_)),
            may_react: message.reaction.is_some(),
            agent_id: message.permit.map(|permit| permit.agent_id),
        }
    }
}

/// What decides about the answer to a keyword, with the project's texts.
#[derive(Debug, Deserialize)]
pub struct KeywordAnswers {
    opt_out: Option<String>,
    opt_in: Option<String>,
    help: Option<String>,
    /// The answers that the contact got in the last minute.
    in_last_minute: Vec<MessageKind>,
    pub send_policy: SendPolicy,
    pub has_limits: bool,
    pub smart_encoding: bool,
}

impl KeywordAnswers {
    /// What an answer says.
    pub fn text(&self, answer: KeywordAnswer) -> Cow<'_, str> {
        let of_project = match answer {
            KeywordAnswer::OptOut => &self.opt_out,
            KeywordAnswer::OptIn => &self.opt_in,
            KeywordAnswer::Help => &self.help,
        };
        answer.text(of_project.as_deref())
    }

    fn facts(&self, answers_all: bool) -> AnswerFacts {
        let in_last_minute = self.in_last_minute.clone();
        AnswerFacts { answers_all, has_help_message: self.help.is_some(), in_last_minute }
    }
}

/// What the database knows of a message, its contact and its session. "The session" is the
/// contact's session that is not closed. A macro fills this struct from one row, so its fields
/// can't be grouped.
#[derive(Debug)]
pub struct Loaded {
    /// The position of the message in the batch.
    ordinal: i32,
    pub now: DateTime<Utc>,
    pub endpoint_id: Uuid,
    /// The message and its session, if it was stored before.
    stored_message_id: Option<Uuid>,
    stored_session_id: Option<Uuid>,
    /// The latest consent of the contact for the endpoint.
    consent_kind: Option<ConsentKind>,
    consent_at: Option<DateTime<Utc>>,
    /// The session. `None` in the fields of the session: there is none.
    session_id: Option<Uuid>,
    session_status: Option<SessionStatus>,
    engaged: Option<bool>,
    /// Whether the session has a turn.
    has_turn: bool,
    /// The inactivity that the last message allowed the session.
    session_warn_after_seconds: Option<i32>,
    /// The contact's last session, if no session is open.
    previous_session_id: Option<Uuid>,
    /// Until when the contact is paused, by the session or the previous one.
    paused_until: Option<DateTime<Utc>>,
    /// The agent of the session, or of the endpoint.
    pub agent_id: Uuid,
    /// The version of the session, or the agent's current one. The next two fields are its
    /// settings.
    pub agent_version: i32,
    pub environment: Environment,
    pub debounce_seconds: i32,
    reads_history: bool,
    /// The inactivity that this message allows, by the agent's current version.
    pub warn_after_seconds: i32,
    /// The limits of the project.
    per_minute: i32,
    repeats_in_five_minutes: i32,
    /// What the contact sent lately, and how often our two most frequent answers to the same text
    /// were given.
    first_answer: i32,
    second_answer: i32,
    in_last_minute: i32,
    passed_in_last_minute: i32,
    /// Whether the project limits its inbound messages.
    pub has_project_limit: bool,
    /// The answers to keywords, if the message may get one.
    pub keyword_answers: Option<Json<KeywordAnswers>>,
    /// The words of the project, if it has some and the message may be one.
    pub own_words: Option<Json<OwnWords>>,
    sender: Sender,
    /// Whether the agent answers reactions.
    answers_reactions: bool,
    /// Our last messages to the contact, if the message has the form of a reaction.
    sent_messages: Option<Json<Vec<SentMessage>>>,
    /// Of the session, as all fields below. False if there is none.
    pub origin: Option<SessionOrigin>,
    pub begun_by_agent: bool,
    pub started: bool,
    /// Loaded only for a message with a permit for the session's agent.
    pub state: Option<Json<Map<String, Value>>>,
    pub language: Option<String>,
    pub handled_seq: Option<i64>,
}

impl Loaded {
    /// The reaction that a message is, if it has the form of one and is about a message of ours.
    pub fn reaction(&self, candidate: Option<&Candidate>) -> Option<Reaction> {
        reaction::resolve(candidate?, &self.sent_messages.as_ref()?.0)
    }

    /// The facts of the decision. `answers_keywords`: see [`InboundMessage`].
    pub fn facts(&self, answers_keywords: bool, over_project_limit: bool) -> Facts {
        let answers = self.keyword_answers.as_ref().map(|answers| answers.facts(answers_keywords));
        Facts {
            now: self.now,
            stored: self.stored_message_id.zip(self.stored_session_id),
            sender: self.sender,
            answers_reactions: self.answers_reactions,
            opted_out: self.consent_kind == Some(ConsentKind::OptedOut),
            consent_at: self.consent_at,
            session: self.session(),
            previous_session_id: self.previous_session_id,
            paused_until: self.paused_until,
            warn_after_seconds: self.warn_after_seconds,
            limits: ContactLimits {
                per_minute: self.per_minute.unsigned_abs(),
                repeats_in_five_minutes: self.repeats_in_five_minutes.unsigned_abs(),
            },
            recent: RecentMessages {
                same_answers: [self.first_answer.unsigned_abs(), self.second_answer.unsigned_abs()],
                in_last_minute: self.in_last_minute.unsigned_abs(),
                passed_in_last_minute: self.passed_in_last_minute.unsigned_abs(),
            },
            over_project_limit,
            answers: answers.unwrap_or_default(),
        }
    }

    fn session(&self) -> Option<Session> {
        Some(Session {
            id: self.session_id?,
            agent_id: self.agent_id,
            status: self.session_status?,
            engaged: self.engaged?,
            has_turn: self.has_turn,
            runs_at_once: self.debounce_seconds == 0 && !self.reads_history,
            warn_after_seconds: self.session_warn_after_seconds?,
        })
    }
}

/// Locks the contacts of these messages, one message a contact, until the transaction ends, and
/// loads what decides about them, by their position. What has no row is for an endpoint that is not
/// attached.
pub async fn load(
    connection: &mut PgConnection,
    messages: impl Iterator<Item = (usize, &InboundMessage)>,
) -> Result<HashMap<usize, Loaded>, sqlx::Error> {
    let rows: Vec<MessageRow<'_>> =
        messages.filter_map(|(ordinal, message)| Some(MessageRow::of(i32::try_from(ordinal).ok()?, message))).collect();
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let loaded = sqlx::query_file_as!(Loaded, "sql/queries/inbound/load.sql", rows as _).fetch_all(connection).await?;
    Ok(loaded.into_iter().filter_map(|row| Some((usize::try_from(row.ordinal).ok()?, row))).collect())
}
