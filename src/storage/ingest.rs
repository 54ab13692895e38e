//! Texts become rows: each one once, in its session, with work marked, or in quarantine; it never answers anybody.

use std::collections::HashSet;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::consent::Keyword;
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::composite::composite;
use crate::storage::database;
use crate::storage::health::ContactKey;
use crate::storage::turn::{Claim, ClaimedSession, NewTurn, WaitingMessage};
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
    /// The slot that the caller keeps for the turn of this message.
    pub permit: Option<TurnPermit>,
}

/// A slot for a turn of an agent. If the turn of a message is that agent's and needs nothing but the message, it is
/// claimed for the caller as the message is stored.
#[derive(Debug, Clone, Copy)]
pub struct TurnPermit {
    pub agent_id: Uuid,
    /// For how many seconds the turn is claimed.
    pub lease_seconds: u32,
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
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Stored { .. } => "stored",
            Self::Noted { .. } => "noted",
            Self::Duplicate { .. } => "duplicate",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}

/// A stored message.
#[derive(Debug)]
pub struct Ingested {
    pub outcome: IngestOutcome,
    /// The agent of its session, if the message waits for an answer.
    pub agent_id: Option<Uuid>,
    /// Its turn, if it was claimed for the caller. Nobody else is notified of it.
    pub claim: Option<Box<Claim>>,
}

/// Why a message was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotIngested {
    #[error("the database did not store it in time")]
    TooLate,
    #[error(transparent)]
    Refused(BatchError),
}

/// Stores a message. When this returns, it is committed. The caller must run the turn that was claimed for it.
pub async fn store(storage: &Storage, text: Text) -> Result<Ingested, BatchError> {
    let ingested = storage.intake.submit(text).await?;
    match &ingested.outcome {
        IngestOutcome::Stored { .. } if ingested.claim.is_none() => storage.notifier.notify(JobKind::Turn),
        // HELP may have an answer.
        IngestOutcome::Noted { reason, .. } if reason == "keyword" => storage.notifier.notify(JobKind::Delivery),
        _ => {}
    }
    Ok(ingested)
}

/// Tells the contact of a message for [`wait`].
pub fn contact_key(text: &Text) -> ContactKey {
    ContactKey::of(text.project_id, &text.to, &text.from)
}

/// Waits until a message is stored, until `deadline` at most, and records for `/readyz` whether it was.
pub async fn wait(
    storage: &Storage,
    contact: ContactKey,
    deadline: Instant,
    storing: impl Future<Output = Result<IngestOutcome, BatchError>>,
) -> Result<IngestOutcome, NotIngested> {
    // A client that goes away drops this future, and nothing is counted, because that says nothing about the database.
    match tokio::time::timeout_at(deadline.into(), storing).await {
        Ok(Ok(outcome)) => {
            storage.ingest.succeeded();
            Ok(outcome)
        }
        Ok(Err(error)) => {
            if error.is_of_the_database() {
                storage.ingest.failed(contact, !error.may_be_of_a_row());
            }
            Err(NotIngested::Refused(error))
        }
        Err(_) => {
            storage.ingest.failed(contact, false);
            Err(NotIngested::TooLate)
        }
    }
}

/// Those of the carrier's message ids that are not recorded yet.
pub async fn unrecorded(
    connection: &mut PgConnection,
    project_id: Uuid,
    carrier_sids: &[&str],
) -> Result<HashSet<String>, sqlx::Error> {
    let unrecorded =
        sqlx::query_file_scalar!("sql/queries/inbound/unrecorded.sql", project_id, carrier_sids as &[&str])
            .fetch_all(connection)
            .await?;
    Ok(unrecorded.into_iter().collect())
}

/// A request that fits no session or delivery.
struct Quarantined<'a> {
    id: Uuid,
    project_id: Uuid,
    kind: &'static str,
    reason: &'a str,
    carrier_sid: Option<&'a str>,
    form: &'a [u8],
}

impl Quarantined<'_> {
    /// Stores it as it came.
    async fn store(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Self { id, project_id, kind, reason, carrier_sid, form } = self;
        sqlx::query_file!("sql/queries/inbound/quarantine.sql", id, project_id, kind, reason, carrier_sid, form)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Keeps a status report that fits no delivery.
pub async fn quarantine_status(
    connection: &mut PgConnection,
    project_id: Uuid,
    reason: &str,
    carrier_sid: Option<&str>,
    form: &[u8],
) -> Result<(), sqlx::Error> {
    Quarantined { id: new_id(), project_id, kind: "status", reason, carrier_sid, form }.store(connection).await
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

/// A row of the statement that stores messages.
struct IngestRow {
    outcome: String,
    why: Option<String>,
    message_id: Option<Uuid>,
    session_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    claimed: Option<ClaimedRow>,
}

/// What the statement returns of a turn that it claimed.
struct ClaimedRow {
    claimed_at: DateTime<Utc>,
    seq: i64,
    session: ClaimedSession,
}

impl FromRow<'_, PgRow> for IngestRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let claimed = match row.try_get("begun_at")? {
            Some(claimed_at) => {
                Some(ClaimedRow { claimed_at, seq: row.try_get("seq")?, session: ClaimedSession::from_row(row)? })
            }
            None => None,
        };
        Ok(Self {
            outcome: row.try_get("outcome")?,
            why: row.try_get("why")?,
            message_id: row.try_get("message_id")?,
            session_id: row.try_get("session_id")?,
            agent_id: row.try_get("agent_id")?,
            claimed,
        })
    }
}

/// Stores all messages in one transaction. Only a turn that is claimed at once needs the session's state. If the state
/// can't be read, the messages are stored without claims, and the claim of the turn sets the session aside.
pub(super) async fn flush_somehow(
    connection: &mut PgConnection,
    mut texts: Vec<Text>,
) -> Result<Vec<Ingested>, sqlx::Error> {
    if texts.iter().any(|text| text.permit.is_some()) {
        match flush(connection, texts.clone()).await {
            Err(error) if database::is_of_the_data(&error) => database::count_retry("unreadable_row"),
            flushed => return flushed,
        }
        texts.iter_mut().for_each(|text| text.permit = None);
    }
    flush(connection, texts).await
}

/// Stores all messages with one round trip. The turns of those with a permit are claimed.
async fn flush(connection: &mut PgConnection, mut texts: Vec<Text>) -> Result<Vec<Ingested>, sqlx::Error> {
    let forms: Vec<Vec<u8>> = texts.iter_mut().map(|text| std::mem::take(&mut text.form)).collect();
    let token = new_id();
    // They are the same for all turns of a process.
    let lease_seconds = texts.iter().filter_map(|text| text.permit).map(|permit| permit.lease_seconds).max();
    let rows: Vec<TextRow> = texts.into_iter().zip(0..).map(|(text, ordinal)| TextRow::of(ordinal, text)).collect();
    failpoint::reach("intake.before_insert");
    let storing = sqlx::query_as(include_str!("../../sql/queries/inbound/ingest.sql"))
        .bind(&rows)
        .bind(&forms)
        .bind(token)
        .bind(lease_seconds.map(f64::from))
        .fetch_all(&mut *connection);
    let stored: Vec<IngestRow> =
        match (failpoint::during("intake.in_commit", storing).await, rows.as_slice(), forms.as_slice()) {
            (Ok(stored), ..) => stored,
            // The messages of a refused batch go one by one, to find the faulty one. A message is at fault only if it
            // fails without a turn.
            (Err(error), [row], [form]) if lease_seconds.is_none() => match refusal(&error) {
                Some(reason) => return Ok(vec![quarantine_text(connection, row, form, reason).await?]),
                None => return Err(error),
            },
            (Err(error), ..) => return Err(error),
        };
    failpoint::reach("intake.after_commit");
    stored.into_iter().zip(rows).map(|(stored, row)| stored.read(row, token)).collect()
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
) -> Result<Ingested, sqlx::Error> {
    let quarantined = Quarantined {
        id: text.message_id,
        project_id: text.project_id,
        kind: "inbound",
        reason: &reason,
        carrier_sid: text.carrier_sid.as_deref(),
        form,
    };
    quarantined.store(connection).await?;
    Ok(Ingested { outcome: IngestOutcome::Quarantined { reason }, agent_id: None, claim: None })
}

impl TextRow {
    fn of(ordinal: i32, text: Text) -> Self {
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
            agent_id: text.permit.map(|permit| permit.agent_id),
        }
    }
}

impl IngestRow {
    fn read(self, text: TextRow, token: Uuid) -> Result<Ingested, sqlx::Error> {
        let Self { outcome, why, message_id, session_id, agent_id, claimed } = self;
        let mut claim = None;
        let outcome = match (outcome.as_str(), session_id, message_id) {
            ("stored", Some(session_id), Some(message_id)) => {
                claim = claimed.map(|claimed| Box::new(claimed.into_claim(text, session_id, token)));
                IngestOutcome::Stored { session_id, message_id }
            }
            ("noted", Some(session_id), Some(message_id)) => {
                IngestOutcome::Noted { session_id, message_id, reason: why.unwrap_or_default() }
            }
            ("duplicate", Some(session_id), Some(message_id)) => IngestOutcome::Duplicate { session_id, message_id },
            ("quarantined", _, _) => IngestOutcome::Quarantined { reason: why.unwrap_or_default() },
            (other, _, _) => return Err(sqlx::Error::Decode(format!("ingest answered {other}").into())),
        };
        let agent_id = agent_id.filter(|_| matches!(outcome, IngestOutcome::Stored { .. }));
        Ok(Ingested { outcome, agent_id, claim })
    }
}

impl ClaimedRow {
    fn into_claim(self, text: TextRow, session_id: Uuid, token: Uuid) -> Claim {
        let turn = NewTurn {
            turn_id: text.turn_id,
            session_id,
            project_id: text.project_id,
            number: text.to,
            contact: text.from,
            token,
            claimed_at: self.claimed_at,
        };
        let media = Value::Array(Vec::new());
        Claim::of_new_turn(
            turn,
            self.session,
            WaitingMessage { id: text.message_id, seq: self.seq, text: text.body, media },
        )
    }
}
