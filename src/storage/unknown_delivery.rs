//! Unknown deliveries: claimed to be looked for, and settled by what was found; nothing here asks the carrier.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::set_aside::read_claims;
use crate::storage::{Storage, new_id};

/// A delivery that the carrier may have or not.
#[derive(Debug, Clone, FromRow)]
pub struct Unknown {
    pub id: Uuid,
    pub token: Uuid,
    pub project_id: Uuid,
    /// Our number.
    pub from: String,
    /// The contact.
    pub to: String,
    pub body: String,
    /// When the carrier was about to be called, by the database's clock.
    pub attempted_at: DateTime<Utc>,
}

/// What became of an unknown delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// The carrier has it.
    Found,
    /// The carrier certainly does not have it: it is planned again.
    Absent,
    /// The same once too often: it failed.
    GivenUp,
    /// It is too early to say.
    Waiting,
    /// Somebody else has settled it.
    Stale,
}

/// Claims unknown deliveries whose time has come, as far as there is room, for `lease_seconds`.
pub async fn claim(storage: &Storage, room: ClaimLimits, lease_seconds: u32) -> Result<Vec<Unknown>, sqlx::Error> {
    let token = new_id();
    let claiming = room.bind(sqlx::query(include_str!("../../sql/queries/unknown/claim.sql")));
    let claiming = claiming.bind(f64::from(lease_seconds)).bind(token).bind(room.only);
    read_claims(storage, JobKind::UnknownDelivery, claiming, "id", Some(token)).await
}

/// Gives back what was claimed and not looked for.
pub async fn give_back(storage: &Storage, claims: &[Unknown]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.id).collect();
    let tokens: Vec<Uuid> = claims.iter().map(|claim| claim.token).collect();
    sqlx::query(include_str!("../../sql/queries/unknown/give_back.sql"))
        .bind(ids)
        .bind(tokens)
        .execute(&storage.pool)
        .await?;
    Ok(())
}

/// Settles an unknown delivery: `candidates` are the carrier's messages that may be it, the oldest
/// first, or `None` when the carrier could not be asked. Its absence is certain once it was not
/// found `settle_after_seconds` after it was attempted.
pub async fn resolve(
    storage: &Storage,
    unknown: &Unknown,
    candidates: Option<Vec<String>>,
    settle_after_seconds: u32,
) -> Result<Resolved, sqlx::Error> {
    let resolved: String = sqlx::query_scalar(include_str!("../../sql/queries/unknown/resolve.sql"))
        .bind(unknown.id)
        .bind(unknown.token)
        .bind(candidates)
        .bind(f64::from(settle_after_seconds))
        .fetch_one(&storage.pool)
        .await?;
    Ok(match resolved.as_str() {
        "found" | "absent" => {
            // This text or the next one of the contact may go now.
            storage.notifier.notify(JobKind::Delivery);
            if resolved == "found" { Resolved::Found } else { Resolved::Absent }
        }
        "given_up" => {
            storage.notifier.notify(JobKind::Delivery);
            Resolved::GivenUp
        }
        "waiting" => Resolved::Waiting,
        _ => Resolved::Stale,
    })
}
