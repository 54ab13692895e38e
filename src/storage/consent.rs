//! The append-only record of what contacts, the carrier and operators said about consent.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::consent::{ConsentKind, ConsentSource, LastConsent, records_refusal};
use crate::domain::session::{Channel, CloseReason};
use crate::storage::new_id;
use crate::storage::pagination::{Page, rows_to_read};
use crate::storage::session;

/// A record of what a contact said about messages.
#[derive(Debug, Clone)]
pub struct Consent {
    pub id: Uuid,
    /// Our number, if the endpoint is one.
    pub number: Option<String>,
    pub contact: String,
    pub kind: ConsentKind,
    pub source: ConsentSource,
    /// What the contact texted, or the operator's note.
    pub said: Option<String>,
    pub message_id: Option<Uuid>,
    pub recorded_at: DateTime<Utc>,
}

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub number: Option<String>,
    pub contact: Option<String>,
}

/// What an operator records.
#[derive(Debug, Clone)]
pub struct NewConsent {
    pub project_id: Uuid,
    pub endpoint_id: Uuid,
    pub contact: String,
    /// The channel on which an opt-out ends the session.
    pub channel: Channel,
    pub kind: ConsentKind,
    pub note: Option<String>,
}

/// The records of a project, newest first, before the one that the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Consent>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        Consent,
        "sql/queries/consent/list.sql",
        project_id,
        filter.number.as_deref(),
        filter.contact.as_deref(),
        before,
        rows_to_read(limit),
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |consent: &Consent| consent.id.to_string()))
}

/// Records for an operator what a contact wants of a number. An opt-out cancels planned messages
/// and ends the session.
pub async fn record(connection: &mut PgConnection, consent: &NewConsent) -> Result<Consent, sqlx::Error> {
    let id = new_id();
    let recording = sqlx::query_file!(
        "sql/queries/consent/record.sql",
        id,
        consent.project_id,
        consent.endpoint_id,
        consent.contact,
        consent.kind.as_str(),
        consent.note.as_deref(),
        consent.channel.as_str(),
    );
    let closed = recording.fetch_one(&mut *connection).await?.closed;
    session::count_closed(CloseReason::OptedOut, closed);
    sqlx::query_file_as!(Consent, "sql/queries/consent/find.sql", consent.project_id, id).fetch_one(connection).await
}

/// A delivery that the carrier refused because its contact opted out, with what decides about that.
struct Refused {
    delivery_id: Uuid,
    project_id: Uuid,
    number_id: Uuid,
    contact: String,
    channel: Channel,
    attempted_at: Option<DateTime<Utc>>,
    consent_kind: Option<ConsentKind>,
    consent_at: Option<DateTime<Utc>>,
}

impl Refused {
    fn is_recorded(&self) -> bool {
        let last = self.consent_kind.zip(self.consent_at).map(|(kind, at)| LastConsent { kind, at });
        records_refusal(self.attempted_at, last)
    }
}

/// Records the opt-outs that the carrier tells of by refusing deliveries. The caller holds the
/// locks of their contacts.
pub(super) async fn record_refusals(connection: &mut PgConnection, deliveries: &[Uuid]) -> Result<(), sqlx::Error> {
    let refused = sqlx::query_file_as!(Refused, "sql/queries/consent/load_refused.sql", deliveries)
        .fetch_all(&mut *connection)
        .await?;
    let mut contacts = HashSet::new();
    // One record of a contact is enough.
    let recorded: Vec<&Refused> = refused
        .iter()
        .filter(|refused| refused.is_recorded() && contacts.insert((refused.number_id, refused.contact.as_str())))
        .collect();
    if recorded.is_empty() {
        return Ok(());
    }
    let ids = |id: fn(&Refused) -> Uuid| recorded.iter().map(|refused| id(refused)).collect::<Vec<Uuid>>();
    let texts = |text: fn(&Refused) -> &str| recorded.iter().map(|refused| text(refused)).collect::<Vec<&str>>();
    let opting_out = sqlx::query_file!(
        "sql/queries/consent/opt_out_refused.sql",
        &ids(|_| new_id()),
        &ids(|refused| refused.project_id),
        &ids(|refused| refused.number_id),
        &texts(|refused| &refused.contact)[..] as &[&str],
        &ids(|refused| refused.delivery_id),
        &texts(|refused| refused.channel.as_str())[..] as &[&str],
    );
    for contact in opting_out.fetch_all(connection).await? {
        session::count_closed(CloseReason::OptedOut, contact.closed);
    }
    Ok(())
}
