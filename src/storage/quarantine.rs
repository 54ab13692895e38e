//! The quarantine: what came in through a verified webhook and fits no session, kept as it came.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::storage::new_id;

/// A request that fits no session or delivery.
#[derive(Debug, Clone, Copy)]
pub struct Quarantined<'a> {
    pub project_id: Uuid,
    pub kind: QuarantineKind,
    /// Why it fits nothing: the word of a `RejectReason` or a `ReportRejectReason`, or the constraint that refused it.
    pub reason: &'a str,
    /// The carrier's id of the message, if the request has one.
    pub carrier_id: Option<&'a str>,
    /// The request, byte for byte.
    pub form: &'a [u8],
}

/// What a request in quarantine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineKind {
    /// A message. One that the carrier sends twice is kept once.
    Inbound,
    /// A status report.
    Status,
}

impl QuarantineKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Status => "status",
        }
    }
}

/// Keeps a request in quarantine.
pub async fn keep(connection: &mut PgConnection, request: Quarantined<'_>) -> Result<(), sqlx::Error> {
    let Quarantined { project_id, kind, reason, carrier_id, form } = request;
    let (id, kind) = (new_id(), kind.as_str());
    sqlx::query_file!("sql/queries/inbound/quarantine.sql", id, project_id, kind, reason, carrier_id, form)
        .execute(connection)
        .await?;
    Ok(())
}
