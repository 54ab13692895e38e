//! Pools of numbers: what decides which number sends to a contact, and numbers that left.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::number::SendPolicy;
use crate::domain::pool::{Facts, Member};
use crate::domain::session::Channel;

/// A pool of a project, and the contact that something is sent to on a channel.
#[derive(Debug, Clone, Copy)]
pub struct PoolContact<'a> {
    pub project_id: Uuid,
    /// The carrier's id of the pool.
    pub pool_id: &'a str,
    pub contact: &'a str,
    pub channel: Channel,
}

/// A row of `load_pool`.
struct MemberRow {
    id: Uuid,
    number: String,
    country: Option<String>,
    send_policy: SendPolicy,
    receives: bool,
    session_id: Option<Uuid>,
    is_last: bool,
    opted_out: bool,
    opted_out_of_pool: bool,
}

impl From<MemberRow> for Member {
    fn from(row: MemberRow) -> Self {
        let MemberRow { id, number, country, send_policy, receives, session_id, is_last, opted_out, .. } = row;
        Self { id, number, country, send_policy, receives, session_id, is_last, opted_out }
    }
}

/// What decides about the number that sends. Without the lock it may be outdated.
pub async fn facts(connection: &mut PgConnection, of: PoolContact<'_>) -> Result<Facts, sqlx::Error> {
    let channel = of.channel.as_str();
    let rows = sqlx::query_file_as!(
        MemberRow,
        "sql/queries/number/load_pool.sql",
        of.project_id,
        of.pool_id,
        of.contact,
        channel
    )
    .fetch_all(connection)
    .await?;
    let opted_out = rows.iter().any(|row| row.opted_out_of_pool);
    Ok(Facts { members: rows.into_iter().map(Member::from).collect(), opted_out })
}

/// The same, under a lock that lasts until the transaction ends: who chooses later sees what became
/// of this choice.
pub(super) async fn locked_facts(connection: &mut PgConnection, of: PoolContact<'_>) -> Result<Facts, sqlx::Error> {
    sqlx::query_file!("sql/queries/number/lock_pool.sql", of.project_id, of.pool_id, of.contact)
        .execute(&mut *connection)
        .await?;
    facts(connection, of).await
}

/// Forgets the pools of deliveries that the carrier refused because their numbers are not in these
/// pools. The numbers are checked at once. The caller holds the locks of the contacts.
pub(super) async fn leave(connection: &mut PgConnection, deliveries: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/number/leave_pool.sql", deliveries).execute(connection).await?;
    Ok(())
}
