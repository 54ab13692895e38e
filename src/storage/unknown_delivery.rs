//! Unknown deliveries: claimed to be looked for at the carrier, and settled by what was found.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::delivery::ResolveOutcome;
use crate::domain::job::JobKind;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::set_aside::{Claiming, read_claims};
use crate::storage::{Storage, new_id};

/// A delivery that the carrier may have or not. The names of the columns say in the SQL text which of them are never null.
#[derive(Debug, Clone, FromRow)]
pub struct Unknown {
    pub id: Uuid,
    #[sqlx(rename = "token!")]
    pub token: Uuid,
    pub project_id: Uuid,
    /// Our number.
    #[sqlx(rename = "from!")]
    pub from: String,
    /// The contact.
    pub to: String,
    #[sqlx(rename = "body!")]
    pub body: String,
    /// When the carrier was about to be called, by the database's clock.
    #[sqlx(rename = "attempted_at!")]
    pub attempted_at: DateTime<Utc>,
}

/// Claims unknown deliveries that are due, within the limits, for `lease_seconds`.
pub async fn claim(storage: &Storage, limits: ClaimLimits, lease_seconds: u32) -> Result<Vec<Unknown>, sqlx::Error> {
    let token = new_id();
    let owners = limits.owners.parameters();
    let claiming = sqlx::query_file_as!(
        Unknown,
        "sql/queries/unknown/claim.sql",
        limits.most,
        &owners.full[..],
        &owners.limited[..],
        &owners.quotas[..],
        owners.others,
        f64::from(lease_seconds),
        token,
        limits.only.as_deref(),
    );
    read_claims(storage, Claiming { work: JobKind::UnknownDelivery, id_column: "id", token: Some(token) }, claiming)
        .await
}

/// Gives back what was claimed and not looked for.
pub async fn give_back(connection: &mut PgConnection, claims: &[Unknown]) -> Result<(), sqlx::Error> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = claims.iter().map(|claim| (claim.id, claim.token)).unzip();
    sqlx::query_file!("sql/queries/unknown/give_back.sql", &ids[..], &tokens[..]).execute(connection).await?;
    Ok(())
}

/// Settles an unknown delivery. `candidates` are the carrier's messages that may be it, the oldest first, or `None` when
/// the carrier could not be asked. It is certainly absent if it was not found `settle_after_seconds` after it was
/// attempted. When it was found, is absent or is given up, the caller tells the workers of deliveries: this one or the next
/// one of the contact may go.
pub async fn resolve(
    connection: &mut PgConnection,
    unknown: &Unknown,
    candidates: Option<Vec<String>>,
    settle_after_seconds: u32,
) -> Result<ResolveOutcome, sqlx::Error> {
    sqlx::query_file_scalar!(
        "sql/queries/unknown/resolve.sql",
        unknown.id,
        unknown.token,
        candidates.as_deref(),
        f64::from(settle_after_seconds),
    )
    .fetch_one(connection)
    .await
}
