//! Texts become rows: each one once, in its session, with work marked, or in quarantine; it never answers anybody.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::batch::BatchError;
use super::consent::Keyword;
use super::wake::Work;
use super::{Ledger, new_id};
use crate::failpoint;

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
    pub media: Vec<Medium>,
    /// The form as it came, for quarantine.
    pub form: Vec<u8>,
    /// Why it fits no session, when the door knows already.
    pub misfit: Option<&'static str>,
    /// When it is not for the agent.
    pub keyword: Option<Keyword>,
    /// When it was said, by the carrier's clock, if that is long ago: a text that was read back.
    pub said_at: Option<DateTime<Utc>>,
}

/// Something that came with a text.
#[derive(Debug, Clone, Serialize)]
pub struct Medium {
    id: Uuid,
    url: String,
    content_type: Option<String>,
}

impl Medium {
    /// A medium at an address, and what the carrier says it is.
    pub fn at(url: String, content_type: Option<String>) -> Self {
        Self { id: new_id(), url, content_type }
    }
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
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

impl Taken {
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

/// Takes a text in; when this answers, it is committed.
pub async fn take_in(ledger: &Ledger, text: Text) -> Result<Taken, BatchError> {
    let taken = ledger.intake.submit(text).await?;
    match &taken {
        Taken::Stored { .. } => ledger.wakes.ring(Work::Turn),
        // HELP may have an answer.
        Taken::Noted { reason, .. } if reason == "keyword" => ledger.wakes.ring(Work::Delivery),
        _ => {}
    }
    Ok(taken)
}

/// Those of the carrier's message ids that are not recorded yet.
pub async fn unrecorded(
    ledger: &Ledger,
    project_id: Uuid,
    carrier_sids: &[&str],
) -> Result<HashSet<String>, sqlx::Error> {
    let unrecorded: Vec<String> = sqlx::query_scalar(include_str!("../../sql/inbound/unrecorded.sql"))
        .bind(project_id)
        .bind(carrier_sids)
        .fetch_all(&ledger.pool)
        .await?;
    Ok(unrecorded.into_iter().collect())
}

/// Keeps a status report that fits no delivery.
pub async fn quarantine_status(
    ledger: &Ledger,
    project_id: Uuid,
    reason: &str,
    carrier_sid: Option<&str>,
    form: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../sql/inbound/quarantine_status.sql"))
        .bind(new_id())
        .bind(project_id)
        .bind(reason)
        .bind(carrier_sid)
        .bind(form)
        .execute(&ledger.pool)
        .await?;
    Ok(())
}

#[derive(Serialize)]
struct TextRow {
    ordinal: i32,
    project_id: Uuid,
    to: String,
    from: String,
    carrier_sid: Option<String>,
    body: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    media: Vec<Medium>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    said_at: Option<DateTime<Utc>>,
    message_id: Uuid,
    session_id: Uuid,
    turn_id: Uuid,
    #[serde(flatten)]
    keyword: Option<KeywordRow>,
}

/// What a text has that is a keyword.
#[derive(Serialize)]
struct KeywordRow {
    keyword: Keyword,
    consent_id: Uuid,
    help_message_id: Uuid,
}

#[derive(FromRow)]
struct TakenRow {
    outcome: String,
    why: Option<String>,
    message_id: Option<Uuid>,
    session_id: Option<Uuid>,
}

/// One transaction, one round trip for all of them.
pub(super) async fn flush(connection: &mut PgConnection, mut texts: Vec<Text>) -> Result<Vec<Taken>, sqlx::Error> {
    let forms: Vec<Vec<u8>> = texts.iter_mut().map(|text| std::mem::take(&mut text.form)).collect();
    let keyword_row = |keyword| KeywordRow { keyword, consent_id: new_id(), help_message_id: new_id() };
    let rows: Vec<TextRow> = texts
        .into_iter()
        .zip(0..)
        .map(|(text, ordinal)| TextRow {
            ordinal,
            project_id: text.project_id,
            to: text.to,
            from: text.from,
            carrier_sid: text.carrier_sid,
            body: text.body,
            media: text.media,
            reason: text.misfit,
            said_at: text.said_at,
            message_id: new_id(),
            session_id: new_id(),
            turn_id: new_id(),
            keyword: text.keyword.map(keyword_row),
        })
        .collect();
    failpoint::reach("intake.before_insert");
    let taking = sqlx::query_as(include_str!("../../sql/inbound/take_in.sql"))
        .bind(Json(rows))
        .bind(forms)
        .fetch_all(connection);
    let taken: Vec<TakenRow> = failpoint::during("intake.in_commit", taking).await?;
    failpoint::reach("intake.after_commit");
    taken.into_iter().map(TakenRow::read).collect()
}

impl TakenRow {
    fn read(self) -> Result<Taken, sqlx::Error> {
        match (self.outcome.as_str(), self.session_id, self.message_id) {
            ("stored", Some(session_id), Some(message_id)) => Ok(Taken::Stored { session_id, message_id }),
            ("noted", Some(session_id), Some(message_id)) => {
                Ok(Taken::Noted { session_id, message_id, reason: self.why.unwrap_or_default() })
            }
            ("duplicate", Some(session_id), Some(message_id)) => Ok(Taken::Duplicate { session_id, message_id }),
            ("quarantined", _, _) => Ok(Taken::Quarantined { reason: self.why.unwrap_or_default() }),
            (other, _, _) => Err(sqlx::Error::Decode(format!("take_in answered {other}").into())),
        }
    }
}
