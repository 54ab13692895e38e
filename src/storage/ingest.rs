//! Texts become rows: each one once, in its session, with work marked, or in quarantine; it never answers anybody.

use std::collections::HashSet;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::consent::Keyword;
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::composite::composite;
use crate::storage::database;
use crate::storage::eager_dispatch::{Beginnings, Place};
use crate::storage::health::Pair;
use crate::storage::turn::{Claim, WaitingMessage};
use crate::storage::{Storage, new_id};

/// A text as the carrier's door understood it.
#[derive(Debug, Clone)]
pub struct Text {
    pub project_id: Uuid,
    /// The carrier's id of the message, by which a second delivery of it is known.
    pub carrier_sid: Option<String>,
    /// Our number.
    pub to: String,
    /// The contact.
    pub from: String,
    pub body: String,
    pub media: Vec<Attachment>,
    /// The form as it came, for quarantine.
    pub form: Vec<u8>,
    /// Why it fits no session, when the door knows already.
    pub misfit: Option<&'static str>,
    /// When it is not for the agent.
    pub keyword: Option<Keyword>,
    /// When it was said, by the carrier's clock, if that is long ago: a text that was read back.
    pub said_at: Option<DateTime<Utc>>,
}

/// The longest stored media type, in bytes. The longest registered type has about ninety.
const MOST_TYPE_BYTES: usize = 255;

/// Something that came with a text.
#[derive(Debug, Clone, Serialize)]
pub struct Attachment {
    id: Uuid,
    url: String,
    content_type: Option<String>,
}

impl Attachment {
    /// A medium at an address, and what the carrier says it is.
    pub fn at(url: String, content_type: Option<String>) -> Self {
        let content_type = content_type.map(|given| bounds::text(&given, MOST_TYPE_BYTES).into_owned());
        Self { id: new_id(), url, content_type }
    }
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngestOutcome {
    Stored {
        session_id: Uuid,
        message_id: Uuid,
        /// Its turn runs in this process: nobody needs to be told of it.
        begun: bool,
    },
    /// It is stored, and no turn will answer it: a keyword, a text of somebody who has opted out, or one that is held by
    /// a guard.
    Noted {
        session_id: Uuid,
        message_id: Uuid,
        reason: String,
    },
    Duplicate {
        session_id: Uuid,
        message_id: Uuid,
    },
    Quarantined {
        reason: String,
    },
}

impl IngestOutcome {
    /// The word for logs and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Stored { .. } => "stored",
            Self::Noted { .. } => "noted",
            Self::Duplicate { .. } => "duplicate",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}

/// Why a text was not ingested.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("the database did not store it in time")]
    TooLate,
    #[error(transparent)]
    Refused(BatchError),
}

/// Ingests a text, waiting until `deadline` at most. When this returns a result, it is committed. After a time-out the
/// text may still be committed a moment later. If the carrier sends it again, its id keeps it one message.
pub async fn take_in(storage: &Storage, text: Text, deadline: Instant) -> Result<IngestOutcome, NotTaken> {
    let pair = Pair::of(text.project_id, &text.to, &text.from);
    // A client that goes away drops this future, and nothing is counted, because that says nothing about the database.
    let taken = match tokio::time::timeout_at(deadline.into(), storage.intake.submit(text)).await {
        Ok(Ok(taken)) => taken,
        Ok(Err(error)) => {
            if error.is_of_the_database() {
                storage.ingest.failed(pair, !error.may_be_of_a_row());
            }
            return Err(NotTaken::Refused(error));
        }
        Err(_) => {
            storage.ingest.failed(pair, false);
            return Err(NotTaken::TooLate);
        }
    };
    storage.ingest.succeeded();
    match &taken {
        IngestOutcome::Stored { begun: false, .. } => storage.notifier.notify(JobKind::Turn),
        // HELP may have an answer.
        IngestOutcome::Noted { reason, .. } if reason == "keyword" => storage.notifier.notify(JobKind::Delivery),
        _ => {}
    }
    Ok(taken)
}

/// Those of the carrier's message ids that are not recorded yet.
pub async fn unrecorded(
    storage: &Storage,
    project_id: Uuid,
    carrier_sids: &[&str],
) -> Result<HashSet<String>, sqlx::Error> {
    let unrecorded: Vec<String> = sqlx::query_scalar(include_str!("../../sql/queries/inbound/unrecorded.sql"))
        .bind(project_id)
        .bind(carrier_sids)
        .fetch_all(&storage.pool)
        .await?;
    Ok(unrecorded.into_iter().collect())
}

/// Keeps a status report that fits no delivery.
pub async fn quarantine_status(
    storage: &Storage,
    project_id: Uuid,
    reason: &str,
    carrier_sid: Option<&str>,
    form: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../sql/queries/inbound/quarantine.sql"))
        .bind(new_id())
        .bind(project_id)
        .bind("status")
        .bind(reason)
        .bind(carrier_sid)
        .bind(form)
        .execute(&storage.pool)
        .await?;
    Ok(())
}

#[derive(sqlx::Encode)]
struct TextRow {
    ordinal: i32,
    project_id: Uuid,
    to: String,
    from: String,
    carrier_sid: Option<String>,
    body: String,
    media: Option<Json<Vec<Attachment>>>,
    reason: Option<&'static str>,
    keyword: Option<&'static str>,
    said_at: Option<DateTime<Utc>>,
    message_id: Uuid,
    session_id: Uuid,
    turn_id: Uuid,
    consent_id: Option<Uuid>,
    help_message_id: Option<Uuid>,
    agent_id: Option<Uuid>,
}

composite!(TextRow, "incoming_text");

#[derive(FromRow)]
struct IngestRow {
    outcome: String,
    why: Option<String>,
    message_id: Option<Uuid>,
    session_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    /// Set when its turn is claimed; so is what follows then.
    begun_at: Option<DateTime<Utc>>,
    seq: Option<i64>,
    number_id: Option<Uuid>,
    origin: Option<String>,
    begun_by_agent: Option<bool>,
    agent_version: Option<i32>,
    started: Option<bool>,
    state: Option<Json<Map<String, Value>>>,
    language: Option<String>,
    handled_seq: Option<i64>,
}

/// Writes all texts in one transaction. Only a turn that begins at once needs the session's state. If the state can't
/// be read, the texts are written without it, and the claim of the turn sets the session aside.
pub(super) async fn flush_somehow(
    connection: &mut PgConnection,
    texts: Vec<Text>,
    beginnings: Option<&Beginnings>,
) -> Result<Vec<IngestOutcome>, sqlx::Error> {
    if beginnings.is_none() {
        return flush(connection, texts, None).await;
    }
    match flush(connection, texts.clone(), beginnings).await {
        Err(error) if database::is_of_the_data(&error) => {
            database::count_retry("unreadable_row");
            flush(connection, texts, None).await
        }
        flushed => flushed,
    }
}

/// One transaction, one round trip for all of them; turns for which there is a place begin.
async fn flush(
    connection: &mut PgConnection,
    mut texts: Vec<Text>,
    beginnings: Option<&Beginnings>,
) -> Result<Vec<IngestOutcome>, sqlx::Error> {
    let forms: Vec<Vec<u8>> = texts.iter_mut().map(|text| std::mem::take(&mut text.form)).collect();
    let token = new_id();
    let (rows, places): (Vec<TextRow>, Vec<Option<Place>>) = texts
        .into_iter()
        .zip(0..)
        .map(|(text, ordinal)| {
            let place = beginnings.and_then(|beginnings| beginnings.reserve(text.project_id, &text.to));
            let (agent_id, place) = place.unzip();
            (TextRow::of(ordinal, text, agent_id), place)
        })
        .unzip();
    failpoint::reach("intake.before_insert");
    let taking = sqlx::query_as(include_str!("../../sql/queries/inbound/ingest.sql"))
        .bind(&rows)
        .bind(&forms)
        .bind(token)
        .bind(beginnings.map(Beginnings::lease_seconds))
        .fetch_all(&mut *connection);
    let taken: Vec<IngestRow> =
        match (failpoint::during("intake.in_commit", taking).await, rows.as_slice(), forms.as_slice()) {
            (Ok(taken), ..) => taken,
            // The texts of a refused batch go one by one, to find the faulty one. A text is at fault only if it fails
            // without a turn.
            (Err(error), [row], [form]) if beginnings.is_none() => match refusal(&error) {
                Some(reason) => return Ok(vec![quarantine_text(connection, row, form, reason).await?]),
                None => return Err(error),
            },
            (Err(error), ..) => return Err(error),
        };
    failpoint::reach("intake.after_commit");
    let ended = taken.into_iter().zip(rows).zip(places);
    ended.map(|((taken, row), place)| taken.read(row, token, place, beginnings)).collect()
}

/// Why the database will always refuse a text: a value can't be stored (class 22), breaks a constraint (class 23), or
/// exceeds an index's limit (class 54). The carrier would send such a text again and again. A row that another
/// transaction wrote first (23505) is found by a retry.
///
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn refusal(error: &sqlx::Error) -> Option<String> {
    let refused = error.as_database_error()?;
    let code = refused.code()?;
    if code == "23505" || !["22", "23", "54"].iter().any(|class| code.starts_with(class)) {
        return None;
    }
    Some(refused.constraint().map_or_else(|| format!("refused_by_the_database_{code}"), str::to_owned))
}

/// Stores a text that the database refuses, as it came.
async fn quarantine_text(
    connection: &mut PgConnection,
    text: &TextRow,
    form: &[u8],
    reason: String,
) -> Result<IngestOutcome, sqlx::Error> {
    sqlx::query(include_str!("../../sql/queries/inbound/quarantine.sql"))
        .bind(text.message_id)
        .bind(text.project_id)
        .bind("inbound")
        .bind(&reason)
        .bind(text.carrier_sid.as_deref())
        .bind(form)
        .execute(connection)
        .await?;
    Ok(IngestOutcome::Quarantined { reason })
}

impl TextRow {
    fn of(ordinal: i32, text: Text, agent_id: Option<Uuid>) -> Self {
        Self {
            ordinal,
            project_id: text.project_id,
            to: text.to,
            from: text.from,
            carrier_sid: text.carrier_sid,
            body: text.body,
            media: (!text.media.is_empty()).then_some(Json(text.media)),
            reason: text.misfit,
            keyword: text.keyword.map(Keyword::as_str),
            said_at: text.said_at,
            message_id: new_id(),
            session_id: new_id(),
            turn_id: new_id(),
            consent_id: text.keyword.map(|_| new_id()),
            help_message_id: text.keyword.map(|_| new_id()),
            agent_id,
        }
    }
}

impl IngestRow {
    fn read(
        self,
        text: TextRow,
        token: Uuid,
        place: Option<Place>,
        beginnings: Option<&Beginnings>,
    ) -> Result<IngestOutcome, sqlx::Error> {
        match (self.outcome.as_str(), self.session_id, self.message_id) {
            ("stored", Some(session_id), Some(message_id)) => {
                if let (Some(beginnings), Some(agent_id)) = (beginnings, self.agent_id) {
                    beginnings.learn(text.project_id, &text.to, agent_id);
                }
                let begun = match (place, self.claim(text, token)) {
                    (Some(begin), Some(claim)) => {
                        begin(claim);
                        true
                    }
                    _ => false,
                };
                Ok(IngestOutcome::Stored { session_id, message_id, begun })
            }
            ("noted", Some(session_id), Some(message_id)) => {
                Ok(IngestOutcome::Noted { session_id, message_id, reason: self.why.unwrap_or_default() })
            }
            ("duplicate", Some(session_id), Some(message_id)) => {
                Ok(IngestOutcome::Duplicate { session_id, message_id })
            }
            ("quarantined", _, _) => Ok(IngestOutcome::Quarantined { reason: self.why.unwrap_or_default() }),
            (other, _, _) => Err(sqlx::Error::Decode(format!("take_in answered {other}").into())),
        }
    }

    /// The claim of the turn that began with this text, if one did.
    fn claim(self, text: TextRow, token: Uuid) -> Option<Claim> {
        Some(Claim {
            claimed_at: self.begun_at?,
            turn_id: text.turn_id,
            session_id: self.session_id?,
            project_id: text.project_id,
            number_id: self.number_id?,
            origin: self.origin?,
            begun_by_agent: self.begun_by_agent?,
            number: text.to,
            contact: text.from,
            channel: "sms".to_owned(),
            token,
            attempt: 1,
            failures: 0,
            agent_id: self.agent_id?,
            agent_version: self.agent_version?,
            started: self.started?,
            state: self.state?,
            language: self.language,
            handled_seq: self.handled_seq?,
            waiting: Json(vec![WaitingMessage {
                id: self.message_id?,
                seq: self.seq?,
                text: text.body,
                media: Value::Array(Vec::new()),
            }]),
            history: Json(Vec::new()),
        })
    }
}
