//! Unknown deliveries: claimed to be looked for at the carrier, and settled by what was found.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::delivery::{DeliveryErrorClass, DeliveryStatus, ResolveOutcome};
use crate::domain::job::JobKind;
use crate::domain::unknown_delivery::{self, Decision, Facts};
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::set_aside::{Claiming, read_claims};
use crate::storage::{Storage, delivery, new_id};

/// A delivery that the carrier may have or not. The names of the columns say in the SQL text which
/// of them are never null.
#[derive(Debug, Clone, FromRow)]
pub struct Unknown {
    pub id: Uuid,
    #[sqlx(rename = "token!")]
    pub token: Uuid,
    pub project_id: Uuid,
    pub session_id: Uuid,
    /// The turn that made the message, if one did.
    pub turn_id: Option<Uuid>,
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

/// Settles an unknown delivery. `candidates` are the carrier's messages that may be it, the oldest
/// first, or `None` when the carrier's list could not be read. An absence is certain
/// `settle_after_seconds` after the attempt. The caller commits. When the delivery was found, is
/// absent or is given up, the caller tells the workers of deliveries: this one or the next one of
/// the contact may go.
pub async fn resolve(
    connection: &mut PgConnection,
    unknown: &Unknown,
    candidates: Option<Vec<String>>,
    settle_after_seconds: u32,
) -> Result<Resolved, sqlx::Error> {
    let nothing = |outcome| Resolved { outcome, carrier_id: None };
    let loading = sqlx::query_file!("sql/queries/unknown/load.sql", unknown.id, unknown.token, candidates.as_deref());
    let Some(loaded) = loading.fetch_optional(&mut *connection).await? else {
        return Ok(nothing(ResolveOutcome::Stale));
    };
    let facts = Facts {
        now: loaded.now,
        attempted_at: loaded.attempted_at,
        settle_after: TimeDelta::seconds(settle_after_seconds.into()),
        was_listed: candidates.is_some(),
        was_found: loaded.found_carrier_id.is_some(),
        absences: u32::try_from(loaded.absences).unwrap_or(u32::MAX),
    };
    let settled = match unknown_delivery::decide(&facts) {
        Decision::LookAgain { at } => {
            sqlx::query_file!("sql/queries/unknown/postpone.sql", unknown.id, at).execute(connection).await?;
            return Ok(nothing(ResolveOutcome::Waiting));
        }
        Decision::Found => Settled {
            outcome: ResolveOutcome::Found,
            status: DeliveryStatus::Accepted,
            carrier_id: loaded.found_carrier_id,
            class: None,
            detail: None,
        },
        Decision::SendAgain => Settled {
            outcome: ResolveOutcome::Absent,
            status: DeliveryStatus::Planned,
            carrier_id: None,
            class: None,
            detail: Some("the carrier does not have it; it is sent again"),
        },
        Decision::GiveUp => Settled {
            outcome: ResolveOutcome::GivenUp,
            status: DeliveryStatus::Failed,
            carrier_id: None,
            class: Some(DeliveryErrorClass::Ambiguous),
            detail: Some("the carrier never had it, four times"),
        },
    };
    settled.write(&mut *connection, unknown.id).await?;
    if settled.status == DeliveryStatus::Planned {
        delivery::withdraw_outdated(connection, &[unknown.id]).await?;
    }
    Ok(Resolved { outcome: settled.outcome, carrier_id: settled.carrier_id })
}

/// What became of an unknown delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    pub outcome: ResolveOutcome,
    /// The message at the carrier, if it was found.
    pub carrier_id: Option<String>,
}

/// How an unknown delivery is settled.
struct Settled {
    outcome: ResolveOutcome,
    status: DeliveryStatus,
    carrier_id: Option<String>,
    class: Option<DeliveryErrorClass>,
    detail: Option<&'static str>,
}

impl Settled {
    async fn write(&self, connection: &mut PgConnection, delivery_id: Uuid) -> Result<(), sqlx::Error> {
        sqlx::query_file!(
            "sql/queries/unknown/settle.sql",
            delivery_id,
            self.status.as_str(),
            self.carrier_id,
            self.class.map(DeliveryErrorClass::as_str),
            self.detail,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
