//! Deliveries: claimed in order per contact, settled by what the carrier said, moved forward by its reports; nothing here calls the carrier.

use std::time::Duration;

use nix::time::ClockId;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::composite::composite;
use crate::storage::database;
use crate::storage::set_aside::read_claims;
use crate::storage::{Storage, new_id};

/// How long an unknown delivery is left to the carrier's own report before it is looked for.
const LOOK_AFTER_SECONDS: f64 = 3.0;

/// A moment by a clock that goes on while the process or the whole machine sleeps. It decides nothing but whether to let a
/// claim go that may be somebody else's by now.
#[derive(Debug, Clone, Copy)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// This moment.
    pub fn now() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = ClockId::CLOCK_BOOTTIME;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = ClockId::CLOCK_MONOTONIC;
        Self(clock.now().map_or(Duration::ZERO, Duration::from))
    }

    /// How long ago it is.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

impl Default for BootInstant {
    fn default() -> Self {
        Self::now()
    }
}

/// A delivery that this process is about to send. It is `sending` and committed as such.
#[derive(Debug, Clone, FromRow)]
pub struct Claim {
    pub id: Uuid,
    pub token: Uuid,
    pub project_id: Uuid,
    pub session_id: Uuid,
    /// Our number.
    pub from: String,
    /// The contact.
    pub to: String,
    pub body: String,
    /// Pictures and the like that go with it.
    pub media_urls: Vec<String>,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// By this machine's clock, before the claim was asked for: its lease can't have begun earlier.
    #[sqlx(skip)]
    pub asked_at: BootInstant,
}

/// Claims deliveries that are due, as far as there is room, for `lease_seconds`.
///
/// What was `sending` past its lease becomes `unknown` on the way: the carrier may have it.
pub async fn claim(storage: &Storage, room: ClaimLimits, lease_seconds: u32) -> Result<Vec<Claim>, sqlx::Error> {
    let asked_at = BootInstant::now();
    let token = new_id();
    let claiming = room.bind(sqlx::query(include_str!("../../sql/queries/delivery/claim.sql")));
    let claiming = claiming.bind(f64::from(lease_seconds)).bind(token).bind(room.only);
    let mut claims: Vec<Claim> = read_claims(storage, JobKind::Delivery, claiming, "id", Some(token)).await?;
    for claim in &mut claims {
        claim.asked_at = asked_at;
    }
    Ok(claims)
}

/// Gives back deliveries that were claimed and not begun; the attempt does not count.
pub async fn give_back(storage: &Storage, claims: &[Claim]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.id).collect();
    let tokens: Vec<Uuid> = claims.iter().map(|claim| claim.token).collect();
    sqlx::query(include_str!("../../sql/queries/delivery/give_back.sql"))
        .bind(ids)
        .bind(tokens)
        .execute(&storage.pool)
        .await?;
    Ok(())
}

/// Why a delivery did not go out, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The carrier's error code, when it gave one.
    pub code: Option<i32>,
    /// What kind of error it is (see `twilio::error_class`).
    pub class: String,
    pub detail: String,
}

/// What the carrier said to a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Accepted {
        carrier_sid: String,
    },
    Failed(Refusal),
    /// The carrier may have it or not. It is never sent again blindly.
    Unknown(Refusal),
    /// The carrier certainly does not have it: again later.
    PutOff {
        seconds: f64,
        refusal: Refusal,
    },
}

/// The outcome of a claimed delivery.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub id: Uuid,
    pub token: Uuid,
    pub outcome: Outcome,
}

/// Whether a settlement was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Written {
        /// The contact has another text that may wait for this one.
        next_waits: bool,
    },
    /// The lease was lost, or a status callback was faster than the carrier's answer.
    Stale,
}

/// Settles a delivery; when this answers, it is committed.
pub async fn settle(storage: &Storage, settlement: Settlement) -> Result<Settled, BatchError> {
    let settled = storage.deliveries.submit(settlement).await?;
    if matches!(settled, Settled::Written { next_waits: false }) {
        // One that was planned at this very moment.
        storage.notifier.notify_later(JobKind::Delivery);
    } else {
        storage.notifier.notify(JobKind::Delivery);
    }
    Ok(settled)
}

/// What the carrier reports about a message.
#[derive(Debug, Clone)]
pub struct Report {
    /// Our delivery id, from the callback's address.
    pub delivery_id: Option<Uuid>,
    pub carrier_sid: String,
    /// `accepted`, `sent`, `delivered` or `failed`.
    pub status: &'static str,
    pub error_code: Option<i32>,
    pub error_class: Option<String>,
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Moved,
    Unchanged,
    /// No delivery of the project fits it.
    Unknown,
}

/// Moves a delivery forward by a report of the carrier.
pub async fn record(storage: &Storage, project_id: Uuid, report: &Report) -> Result<Recorded, sqlx::Error> {
    let consent_id = new_id();
    let recording = database::retry_on_deadlock(|| {
        sqlx::query_scalar(include_str!("../../sql/queries/delivery/record.sql"))
            .bind(project_id)
            .bind(report.delivery_id)
            .bind(&report.carrier_sid)
            .bind(report.status)
            .bind(report.error_code)
            .bind(&report.error_class)
            .bind(consent_id)
            .fetch_one(&storage.pool)
    });
    let recorded: String = failpoint::during("status.in_commit", recording).await?;
    Ok(match recorded.as_str() {
        "moved" => {
            storage.notifier.notify(JobKind::Delivery);
            Recorded::Moved
        }
        "unchanged" => Recorded::Unchanged,
        _ => Recorded::Unknown,
    })
}

#[derive(sqlx::Encode)]
struct SettlementRow {
    ordinal: i32,
    id: Uuid,
    token: Uuid,
    status: &'static str,
    carrier_sid: Option<String>,
    error_code: Option<i32>,
    error_class: Option<String>,
    error_detail: Option<String>,
    retry_after_seconds: Option<f64>,
    consent_id: Uuid,
}

composite!(SettlementRow, "delivery_outcome");

/// One transaction, one round trip for all of them.
pub(super) async fn flush(
    connection: &mut PgConnection,
    settlements: Vec<Settlement>,
) -> Result<Vec<Settled>, sqlx::Error> {
    let rows: Vec<SettlementRow> =
        settlements.into_iter().zip(0..).map(|(settlement, ordinal)| SettlementRow::of(ordinal, settlement)).collect();
    let settling =
        sqlx::query_as(include_str!("../../sql/queries/delivery/settle.sql")).bind(rows).fetch_all(connection);
    let settled: Vec<(String, bool)> = failpoint::during("delivery.in_commit", settling).await?;
    failpoint::reach("delivery.after_settle");
    Ok(settled
        .into_iter()
        .map(
            |(outcome, next_waits)| if outcome == "settled" { Settled::Written { next_waits } } else { Settled::Stale },
        )
        .collect())
}

impl SettlementRow {
    fn of(ordinal: i32, settlement: Settlement) -> Self {
        let (status, carrier_sid, refusal, retry_after_seconds) = match settlement.outcome {
            Outcome::Accepted { carrier_sid } => ("accepted", Some(carrier_sid), None, None),
            Outcome::Failed(refusal) => ("failed", None, Some(refusal), None),
            Outcome::Unknown(refusal) => ("unknown", None, Some(refusal), Some(LOOK_AFTER_SECONDS)),
            Outcome::PutOff { seconds, refusal } => ("planned", None, Some(refusal), Some(seconds)),
        };
        let (error_code, error_class, error_detail) = match refusal {
            Some(refusal) => (refusal.code, Some(refusal.class), Some(bounds::error(&refusal.detail))),
            None => (None, None, None),
        };
        Self {
            ordinal,
            id: settlement.id,
            token: settlement.token,
            status,
            carrier_sid,
            error_code,
            error_class,
            error_detail,
            retry_after_seconds,
            consent_id: new_id(),
        }
    }
}
