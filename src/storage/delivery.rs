//! Deliveries: claimed in order per contact, settled by what the carrier said, moved forward by its reports.

use std::time::Duration;

use nix::time::ClockId;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::delivery::{DeliveryStatus, ReportOutcome};
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::composite::composite;
use crate::storage::set_aside::{Claiming, read_claims};
use crate::storage::{Storage, new_id, turn};

/// How long an unknown delivery is left to the carrier's own report before it is looked for.
const LOOK_AFTER_SECONDS: f64 = 3.0;

/// A moment by a clock that goes on while the process or the whole machine sleeps. It decides nothing but whether to let a
/// claim go that may be somebody else's by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub asked_at: BootInstant,
}

impl Claim {
    /// The first claim of the delivery of a message that a claimed turn sends, as the claim of its row would be.
    pub(super) fn of_new_message(id: Uuid, body: String, turn: &turn::Claim) -> Self {
        let row = ClaimRow {
            id,
            project_id: turn.project_id,
            session_id: turn.session_id,
            from: turn.number.clone(),
            to: turn.contact.clone(),
            body,
            media_urls: Vec::new(),
            attempt: 1,
        };
        row.into_claim(new_id(), BootInstant::now())
    }
}

/// The row of a [`Claim`]. The names of the columns say in the SQL text which of them are never null.
#[derive(FromRow)]
struct ClaimRow {
    id: Uuid,
    project_id: Uuid,
    session_id: Uuid,
    #[sqlx(rename = "from!")]
    from: String,
    to: String,
    #[sqlx(rename = "body!")]
    body: String,
    #[sqlx(rename = "media_urls!")]
    media_urls: Vec<String>,
    attempt: i32,
}

impl ClaimRow {
    fn into_claim(self, token: Uuid, asked_at: BootInstant) -> Claim {
        let Self { id, project_id, session_id, from, to, body, media_urls, attempt } = self;
        Claim { id, token, project_id, session_id, from, to, body, media_urls, attempt, asked_at }
    }
}

/// Claims deliveries that are due, within the limits, for `lease_seconds`.
///
/// What was `sending` past its lease becomes `unknown` on the way: the carrier may have it.
pub async fn claim(storage: &Storage, limits: ClaimLimits, lease_seconds: u32) -> Result<Vec<Claim>, sqlx::Error> {
    let asked_at = BootInstant::now();
    let token = new_id();
    let owners = limits.owners.parameters();
    let claiming = sqlx::query_file_as!(
        ClaimRow,
        "sql/queries/delivery/claim.sql",
        limits.most,
        &owners.full[..],
        &owners.limited[..],
        &owners.quotas[..],
        owners.others,
        f64::from(lease_seconds),
        token,
        limits.only.as_deref(),
    );
    let claim = Claiming { work: JobKind::Delivery, id_column: "id", token: Some(token) };
    let rows: Vec<ClaimRow> = read_claims(storage, claim, claiming).await?;
    Ok(rows.into_iter().map(|row| row.into_claim(token, asked_at)).collect())
}

/// Gives back deliveries that were claimed and not begun. The attempt does not count.
pub async fn give_back(connection: &mut PgConnection, claims: &[Claim]) -> Result<(), sqlx::Error> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = claims.iter().map(|claim| (claim.id, claim.token)).unzip();
    sqlx::query_file!("sql/queries/delivery/give_back.sql", &ids[..], &tokens[..]).execute(connection).await?;
    Ok(())
}

/// Why a delivery did not go out, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The carrier's error code, when it gave one.
    pub code: Option<i32>,
    /// What kind of error it is (see [`crate::domain::delivery::DeliveryErrorClass`]).
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
    pub status: DeliveryStatus,
    pub error_code: Option<i32>,
    pub error_class: Option<String>,
}

/// Moves a delivery forward by a report of the carrier. It may be ended by a deadlock. When the delivery moved, the caller
/// tells the workers of deliveries.
pub async fn record(
    connection: &mut PgConnection,
    project_id: Uuid,
    report: &Report,
) -> Result<ReportOutcome, sqlx::Error> {
    let recording = sqlx::query_file_scalar!(
        "sql/queries/delivery/record.sql",
        project_id,
        report.delivery_id,
        report.carrier_sid,
        report.status.as_str(),
        report.error_code,
        report.error_class.as_deref(),
        new_id(),
    )
    .fetch_one(connection);
    failpoint::during("status.in_commit", recording).await
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
    let read = |(outcome, next_waits): (String, bool)| match outcome.as_str() {
        "settled" => Ok(Settled::Written { next_waits }),
        "stale" => Ok(Settled::Stale),
        other => Err(sqlx::Error::Decode(format!("settle_deliveries answered {other}").into())),
    };
    settled.into_iter().map(read).collect()
}

impl SettlementRow {
    fn of(ordinal: i32, settlement: Settlement) -> Self {
        let (status, carrier_sid, refusal, retry_after_seconds) = match settlement.outcome {
            Outcome::Accepted { carrier_sid } => (DeliveryStatus::Accepted, Some(carrier_sid), None, None),
            Outcome::Failed(refusal) => (DeliveryStatus::Failed, None, Some(refusal), None),
            Outcome::Unknown(refusal) => (DeliveryStatus::Unknown, None, Some(refusal), Some(LOOK_AFTER_SECONDS)),
            Outcome::PutOff { seconds, refusal } => (DeliveryStatus::Planned, None, Some(refusal), Some(seconds)),
        };
        let (error_code, error_class, error_detail) = match refusal {
            Some(refusal) => (refusal.code, Some(refusal.class), Some(bounds::error(&refusal.detail))),
            None => (None, None, None),
        };
        Self {
            ordinal,
            id: settlement.id,
            token: settlement.token,
            status: status.as_str(),
            carrier_sid,
            error_code,
            error_class,
            error_detail,
            retry_after_seconds,
            consent_id: new_id(),
        }
    }
}
