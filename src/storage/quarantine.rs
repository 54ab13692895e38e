//! The quarantine: what came in through a verified webhook and fits no session, kept as it came.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::message::SkipReason;
use crate::domain::quarantine::{QuarantineKind, ReplayOutcome};
use crate::storage::new_id;
use crate::storage::pagination::{Page, rows_to_read};
use crate::telemetry::metrics;

/// A request that fits no session or delivery.
#[derive(Debug, Clone, Copy)]
pub struct NewItem<'a> {
    pub project_id: Uuid,
    pub kind: QuarantineKind,
    /// Why it fits nothing: the word of a `RejectReason` or a `ReportRejectReason`, or the
    /// constraint that refused it.
    pub reason: &'a str,
    /// The carrier's id of the message, if the request has one.
    pub carrier_id: Option<&'a str>,
    /// The request, byte for byte.
    pub form: &'a [u8],
}

/// Something in quarantine, as lists tell it: without what contacts wrote.
#[derive(Debug, Clone)]
pub struct Item {
    pub id: Uuid,
    pub kind: QuarantineKind,
    pub reason: String,
    pub carrier_id: Option<String>,
    pub received_at: DateTime<Utc>,
    pub replayed_at: Option<DateTime<Utc>>,
    pub replay_outcome: Option<ReplayOutcome>,
}

/// Something in quarantine, as it came, and the message that was made of it.
#[derive(Debug, Clone)]
pub struct WholeItem {
    pub id: Uuid,
    pub kind: QuarantineKind,
    pub reason: String,
    pub carrier_id: Option<String>,
    pub form: Vec<u8>,
    pub received_at: DateTime<Utc>,
    pub replayed_at: Option<DateTime<Utc>>,
    pub replay_outcome: Option<ReplayOutcome>,
    /// The inbound message with the same carrier id, if there is one by now.
    pub message_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    /// Why no turn answers that message.
    pub skip_reason: Option<SkipReason>,
}

/// Which items to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub kind: Option<QuarantineKind>,
    pub reason: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub replayed: Option<bool>,
}

/// Keeps a request in quarantine.
pub async fn keep(connection: &mut PgConnection, item: NewItem<'_>) -> Result<(), sqlx::Error> {
    let NewItem { project_id, kind, reason, carrier_id, form } = item;
    let (id, kind) = (new_id(), kind.as_str());
    let keeping =
        sqlx::query_file!("sql/queries/inbound/quarantine.sql", id, project_id, kind, reason, carrier_id, form);
    if keeping.execute(connection).await?.rows_affected() > 0 {
        metrics::QUARANTINED.count(&[kind, reason]);
    }
    Ok(())
}

/// What is in the quarantine of a project, newest first, before the item that the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Item>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        Item,
        "sql/queries/quarantine/list.sql",
        project_id,
        filter.kind.map(QuarantineKind::as_str),
        filter.reason.as_deref(),
        filter.since,
        filter.replayed,
        before,
        rows_to_read(limit),
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |item: &Item| item.id.to_string()))
}

/// Whether a word can be a reason that [`crate::domain::quarantine::is_reason`] does not know: a
/// constraint has this name, or something in the quarantine of the project has it as its reason,
/// such as a constraint that a migration removed.
pub async fn is_reason(connection: &mut PgConnection, project_id: Uuid, word: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/quarantine/is_reason.sql", project_id, word).fetch_one(connection).await
}

/// An item of a project, by its id.
pub async fn find(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<Option<WholeItem>, sqlx::Error> {
    sqlx::query_file_as!(WholeItem, "sql/queries/quarantine/find.sql", project_id, id).fetch_optional(connection).await
}

/// Notes what became of an item that was processed again. The first note stays.
pub async fn mark_replayed(
    connection: &mut PgConnection,
    project_id: Uuid,
    id: Uuid,
    outcome: ReplayOutcome,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/quarantine/mark_replayed.sql", project_id, id, outcome.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
