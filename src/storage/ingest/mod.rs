//! Stores inbound messages: each one once, in its session, with the turn that answers it, or in
//! quarantine.

mod flush;
mod load;
mod store;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::channel::ChannelFacts;
use crate::domain::ingest::Inbound;
use crate::domain::job::JobKind;
use crate::domain::keyword::{OwnWords, Reading};
use crate::domain::message::{RejectReason, SkipReason};
use crate::domain::reaction::Candidate;
use crate::domain::session::SessionOrigin;
use crate::storage::batcher::BatchError;
use crate::storage::turn::Claim;
use crate::storage::{Storage, new_id};
use crate::telemetry::metrics;

pub(super) use flush::flush;

/// An inbound message, as its channel understood it.
#[derive(Debug, Clone)]
pub struct InboundMessage {
    pub project_id: Uuid,
    pub channel: ChannelFacts,
    /// The carrier's id of the message, by which a second delivery of it is known.
    pub carrier_id: Option<String>,
    /// The id that the contact's client gave it, where no carrier brings it; unique in its session.
    pub client_id: Option<String>,
    /// Our endpoint. `None`: the number `to`.
    pub endpoint_id: Option<Uuid>,
    /// Our address: a number, or the id of another endpoint.
    pub to: String,
    /// The contact.
    pub from: String,
    pub body: String,
    pub media: Vec<Attachment>,
    /// The request as it came, for quarantine.
    pub form: Vec<u8>,
    /// Why it fits no session, if its channel knows that already.
    pub reject_reason: Option<RejectReason>,
    /// What its text is.
    pub reading: Reading,
    /// Whether the carrier leaves the consent keywords of our address to us, so that we answer
    /// them.
    pub answers_keywords: bool,
    /// The reaction that it may be, by its form.
    pub reaction: Option<Candidate>,
    /// When it was sent, by the carrier's clock, if that is long ago: a message that was
    /// backfilled.
    pub sent_at: Option<DateTime<Utc>>,
    /// The slot that the caller keeps for the turn of this message.
    pub permit: Option<TurnPermit>,
}

impl InboundMessage {
    /// A message with nothing but its text. Its channel adds one of the two ids, and what else it
    /// knows.
    pub const fn of(channel: ChannelFacts, project_id: Uuid, from: String, to: String, body: String) -> Self {
        Self {
            project_id,
            channel,
            carrier_id: None,
            client_id: None,
            endpoint_id: None,
            to,
            from,
            body,
            media: Vec::new(),
            form: Vec::new(),
            reject_reason: None,
            reading: Reading::Text,
            answers_keywords: false,
            reaction: None,
            sent_at: None,
            permit: None,
        }
    }

    /// What the domain needs to decide. `own_words`: those of its project.
    fn as_inbound(&self, own_words: Option<&OwnWords>, is_reaction: bool) -> Inbound {
        Inbound {
            reject_reason: self.reject_reason,
            keyword: match &self.reading {
                Reading::Keyword(found) => Some(*found),
                Reading::MayBeOwnWord(word) => own_words.and_then(|own_words| own_words.find(word)),
                Reading::Text => None,
            },
            is_reaction,
            sent_at: self.sent_at,
            permit: self.permit.map(|permit| permit.agent_id),
        }
    }
}

/// A slot for a turn of an agent. If the turn of a message is that agent's and needs nothing but
/// the message, it is claimed for the caller as the message is stored.
#[derive(Debug, Clone, Copy)]
pub struct TurnPermit {
    pub agent_id: Uuid,
    /// For how many seconds the turn is claimed.
    pub lease_seconds: u32,
}

/// The longest stored media type, in bytes. The longest registered type has about ninety.
const MOST_TYPE_BYTES: usize = 255;

/// A file that came with a message.
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

/// What became of an inbound message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngestOutcome {
    /// It is stored, and a turn will answer it. `turn_id` is that turn if the message began it.
    Stored { session_id: Uuid, message_id: Uuid, turn_id: Option<Uuid> },
    /// It is stored, and no turn will answer it.
    Skipped { session_id: Uuid, message_id: Uuid, reason: SkipReason },
    /// It was stored before.
    Duplicate { session_id: Uuid, message_id: Uuid },
    /// It fits no session, or the database refuses it, and it is kept as it came. The reason is a
    /// [`RejectReason`] or the name of the constraint that refused it, so it is not an enum.
    Quarantined { reason: String },
}

impl IngestOutcome {
    /// The word for logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Stored { .. } => "stored",
            Self::Skipped { .. } => "skipped",
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
    /// Whether it opened its session.
    pub opens: bool,
}

impl Ingested {
    /// A message that gets no turn.
    const fn without_a_turn(outcome: IngestOutcome) -> Self {
        Self { outcome, agent_id: None, claim: None, opens: false }
    }
}

/// Stores a message. When this returns, it is committed. The caller must run the turn that was
/// claimed for it.
pub async fn store(storage: &Storage, message: InboundMessage) -> Result<Ingested, BatchError> {
    let ingested = storage.ingest_batches.submit(message).await?;
    if ingested.opens {
        metrics::SESSIONS_OPENED.count(&[SessionOrigin::Inbound.as_str()]);
    }
    if let IngestOutcome::Skipped { reason, .. } = &ingested.outcome {
        metrics::MESSAGES_SKIPPED.count(&[reason.as_str()]);
    }
    match &ingested.outcome {
        IngestOutcome::Stored { .. } if ingested.claim.is_none() => storage.notifier.notify(JobKind::Turn),
        // It may have an answer.
        IngestOutcome::Skipped { reason: SkipReason::Keyword, .. } => storage.notifier.notify(JobKind::Delivery),
        _ => {}
    }
    Ok(ingested)
}

/// Those of the carrier's message ids that are not recorded yet.
pub async fn unrecorded(
    connection: &mut PgConnection,
    project_id: Uuid,
    carrier_ids: &[&str],
) -> Result<HashSet<String>, sqlx::Error> {
    let unrecorded = sqlx::query_file_scalar!("sql/queries/inbound/unrecorded.sql", project_id, carrier_ids as &[&str])
        .fetch_all(connection)
        .await?;
    Ok(unrecorded.into_iter().collect())
}
