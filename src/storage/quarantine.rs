//! The quarantine: what came in through a verified webhook and fits no session, kept as it came.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::storage::new_id;

/// Keeps an inbound message that fits no session, or that the database refuses.
pub async fn keep_message(
    connection: &mut PgConnection,
    project_id: Uuid,
    reason: &str,
    carrier_sid: Option<&str>,
    form: &[u8],
) -> Result<(), sqlx::Error> {
    keep(connection, project_id, "inbound", reason, carrier_sid, form).await
}

/// Keeps a status report that fits no delivery.
pub async fn keep_status(
    connection: &mut PgConnection,
    project_id: Uuid,
    reason: &str,
    carrier_sid: Option<&str>,
    form: &[u8],
) -> Result<(), sqlx::Error> {
    keep(connection, project_id, "status", reason, carrier_sid, form).await
}

async fn keep(
    connection: &mut PgConnection,
    project_id: Uuid,
    kind: &str,
    reason: &str,
    carrier_sid: Option<&str>,
    form: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/inbound/quarantine.sql", new_id(), project_id, kind, reason, carrier_sid, form)
        .execute(connection)
        .await?;
    Ok(())
}
