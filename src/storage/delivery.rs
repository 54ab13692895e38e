//! Deliveries. A worker claims them in order for each contact and settles them by the answer of the
//! carrier. The status reports of the carrier move them forward.

use std::time::Duration;

use nix::time::ClockId;
use sqlx::{Connection, FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::delivery::{DeliveryErrorClass, DeliveryStatus, DeliveryStepSource, ReportOutcome};
use crate::domain::delivery_settlement::{Effect, Outcome, Refusal, Store, decide};
use crate::domain::inactivity;
use crate::domain::job::JobKind;
use crate::domain::message::MessageKind;
use crate::domain::session::SessionStatus;
use crate::failpoint;
use crate::storage::batcher::BatchError;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::passes::position;
use crate::storage::set_aside::{Claiming, read_claims};
use crate::storage::since::Since;
use crate::storage::{Storage, consent, new_id, pool, registration, turn};
use crate::telemetry::metrics;

/// A time by a clock that goes on while the process or the whole machine is suspended. It is used
/// only to give up a claim that another worker may have by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The time now.
    pub fn now() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let clock = ClockId::CLOCK_BOOTTIME;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let clock = ClockId::CLOCK_MONOTONIC;
        Self(clock.now().map_or(Duration::ZERO, Duration::from))
    }

    /// How long ago this time was.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

impl Default for BootInstant {
    fn default() -> Self {
        Self::now()
    }
}

/// A claimed delivery, which this process sends. Its status `sending` is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: Uuid,
    pub token: Uuid,
    pub project_id: Uuid,
    pub session_id: Uuid,
    /// The turn that made the message, if one did.
    pub turn_id: Option<Uuid>,
    /// Whether a request to the API made the message.
    pub is_of_the_api: bool,
    /// Our number.
    pub from: String,
    /// The contact.
    pub to: String,
    pub body: String,
    /// The URLs of the media that are sent with it.
    pub media_urls: Vec<String>,
    /// The carrier's id of the pool through which it leaves.
    pub pool_id: Option<String>,
    /// The number of this attempt, from 1.
    pub attempt: i32,
    /// When the message was stored that it answers, if it answers one.
    pub text_since: Option<Since>,
    /// The time just before the claim, by the clock of this machine. The lease can't have begun
    /// earlier.
    pub asked_at: BootInstant,
}

impl Claim {
    /// The first claim of the delivery of a message that a claimed turn sends. With the pool of the
    /// session it equals what a claim of its row would return.
    pub(super) fn of_new_message(id: Uuid, body: String, turn: &turn::Claim) -> Self {
        let row = ClaimRow {
            id,
            project_id: turn.project_id,
            session_id: turn.session_id,
            turn_id: Some(turn.turn_id),
            is_of_the_api: false,
            from: turn.address.clone(),
            to: turn.contact.clone(),
            body,
            media_urls: Vec::new(),
            pool_id: None,
            attempt: 1,
            text_since: turn.text_since,
        };
        row.into_claim(new_id(), BootInstant::now())
    }
}

/// The row of a [`Claim`]. A `!` in the name of a column in the SQL text means that it is never
/// null.
#[derive(FromRow)]
struct ClaimRow {
    id: Uuid,
    project_id: Uuid,
    session_id: Uuid,
    turn_id: Option<Uuid>,
    #[sqlx(rename = "is_of_the_api!")]
    is_of_the_api: bool,
    #[sqlx(rename = "from!")]
    from: String,
    to: String,
    #[sqlx(rename = "body!")]
    body: String,
    #[sqlx(rename = "media_urls!")]
    media_urls: Vec<String>,
    pool_id: Option<String>,
    attempt: i32,
    #[sqlx(rename = "text_since: _")]
    text_since: Option<Since>,
}

impl ClaimRow {
    fn into_claim(self, token: Uuid, asked_at: BootInstant) -> Claim {
        Claim {
            id: self.id,
            token,
            project_id: self.project_id,
            session_id: self.session_id,
            turn_id: self.turn_id,
            is_of_the_api: self.is_of_the_api,
            from: self.from,
            to: self.to,
            body: self.body,
            media_urls: self.media_urls,
            pool_id: self.pool_id,
            attempt: self.attempt,
            text_since: self.text_since,
            asked_at,
        }
    }
}

/// Claims deliveries that are due, within the limits, for `lease_seconds`.
///
/// The same statement makes deliveries `unknown` that are `sending` after the end of their lease,
/// because the carrier may have accepted them.
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

/// Releases claimed deliveries that were not sent. The attempt does not count. The caller commits.
pub async fn give_back(connection: &mut PgConnection, claims: &[Claim]) -> Result<(), sqlx::Error> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = claims.iter().map(|claim| (claim.id, claim.token)).unzip();
    sqlx::query_file!("sql/queries/delivery/give_back.sql", &ids[..], &tokens[..]).execute(&mut *connection).await?;
    withdraw_outdated(connection, &ids).await
}

/// Withdraws those of these deliveries, which were planned again, whose messages are no longer
/// true. The caller holds the locks of their contacts.
pub(super) async fn withdraw_outdated(connection: &mut PgConnection, planned: &[Uuid]) -> Result<(), sqlx::Error> {
    let replanned = sqlx::query_file_as!(Replanned, "sql/queries/delivery/load_replanned.sql", planned)
        .fetch_all(&mut *connection)
        .await?;
    let outdated: Vec<Uuid> =
        replanned.iter().filter(|delivery| delivery.is_outdated()).map(|delivery| delivery.id).collect();
    if !outdated.is_empty() {
        sqlx::query_file!("sql/queries/delivery/withdraw.sql", &outdated[..]).execute(connection).await?;
    }
    Ok(())
}

/// A delivery of a warning or a closing message that was planned again, with what decides whether
/// that is still true.
struct Replanned {
    id: Uuid,
    kind: MessageKind,
    session_status: SessionStatus,
    is_followed: bool,
}

impl Replanned {
    fn is_outdated(&self) -> bool {
        inactivity::outdated_messages(self.session_status, self.is_followed).contains(&self.kind)
    }
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
        /// There may be work with deliveries now: with this one, or with another one to the
        /// contact.
        may_have_work: bool,
    },
    /// The lease was lost, or a status callback was faster than the carrier's answer.
    Stale,
}

/// Settles a delivery. When this returns, the settlement is committed.
pub async fn settle(storage: &Storage, settlement: Settlement) -> Result<Settled, BatchError> {
    let settled = storage.delivery_batches.submit(settlement).await?;
    if matches!(settled, Settled::Written { may_have_work: false }) {
        // Another message to the contact may have been planned at the same time.
        storage.notifier.notify_later(JobKind::Delivery);
    } else {
        storage.notifier.notify(JobKind::Delivery);
    }
    Ok(settled)
}

/// What the carrier reports about a message.
#[derive(Debug, Clone)]
pub struct Report {
    /// The id of our delivery, from the address of the callback.
    pub delivery_id: Option<Uuid>,
    pub carrier_id: String,
    pub status: DeliveryStatus,
    pub error_code: Option<i32>,
    pub error_class: Option<DeliveryErrorClass>,
}

impl Report {
    /// The class of the error, if the message failed.
    fn failure(&self) -> Option<DeliveryErrorClass> {
        self.error_class.filter(|_| self.status == DeliveryStatus::Failed)
    }
}

/// Moves a delivery forward by a report of the carrier. It may be ended by a deadlock, and the
/// caller repeats it. If the delivery moved, the caller notifies the workers of deliveries.
pub async fn record(connection: &mut PgConnection, project_id: Uuid, report: &Report) -> Result<Recorded, sqlx::Error> {
    let recording = async {
        let says_more = [DeliveryErrorClass::OptedOut, DeliveryErrorClass::Unregistered];
        let Some(class) = report.failure().filter(|class| says_more.contains(class)) else {
            return move_by(connection, project_id, report).await;
        };
        let mut transaction = connection.begin().await?;
        let recorded = move_by(&mut transaction, project_id, report).await?;
        match recorded.message_id.filter(|_| recorded.outcome == ReportOutcome::Moved) {
            Some(moved) if class == DeliveryErrorClass::OptedOut => {
                consent::record_refusals(&mut transaction, &[moved]).await?;
            }
            Some(moved) => registration::record_refusals(&mut transaction, &[(moved, report.error_code)]).await?,
            None => {}
        }
        transaction.commit().await?;
        Ok(recorded)
    };
    let recorded = failpoint::during("status.in_commit", recording).await?;
    if recorded.outcome == ReportOutcome::Moved {
        match report.status {
            DeliveryStatus::Delivered => metrics::DELIVERED.count(&[]),
            DeliveryStatus::Failed => {
                let class = report.failure().map_or(metrics::NONE, DeliveryErrorClass::as_str);
                metrics::DELIVERIES_FAILED.count(&[class]);
            }
            _ => {}
        }
    }
    Ok(recorded)
}

/// What a report changed, and of which message. The ids are `None` if it fits no delivery.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub outcome: ReportOutcome,
    pub message_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    /// The turn that made the message, if one did.
    pub turn_id: Option<Uuid>,
}

async fn move_by(connection: &mut PgConnection, project_id: Uuid, report: &Report) -> Result<Recorded, sqlx::Error> {
    sqlx::query_file_as!(
        Recorded,
        "sql/queries/delivery/record.sql",
        project_id,
        report.delivery_id,
        report.carrier_id,
        report.status as _,
        report.error_code,
        report.error_class as _,
    )
    .fetch_one(connection)
    .await
}

/// Settles a batch of deliveries. One statement stores the batch. A transaction is begun only if an
/// outcome has further effects.
///
/// Of several settlements of one delivery, the first that is stored releases the token, and the
/// others are stale.
pub(super) async fn flush(
    connection: &mut PgConnection,
    settlements: Vec<Settlement>,
) -> Result<Vec<Settled>, sqlx::Error> {
    let stores: Vec<Store> = settlements.iter().map(|settlement| decide(&settlement.outcome)).collect();
    let settling = async {
        if stores.iter().all(|store| store.effect == Effect::Nothing) {
            return store(connection, &settlements, &stores).await;
        }
        let mut transaction = connection.begin().await?;
        let settled = store(&mut transaction, &settlements, &stores).await?;
        let written = settlements.iter().zip(&stores).zip(&settled);
        let written: Vec<(&Settlement, &Store)> =
            written.filter_map(|(of_store, settled)| (*settled != Settled::Stale).then_some(of_store)).collect();
        follow(&mut transaction, &written).await?;
        transaction.commit().await?;
        Ok(settled)
    };
    let settled = failpoint::during("delivery.in_commit", settling).await?;
    failpoint::reach("delivery.after_settle");
    Ok(settled)
}

/// Stores the deliveries that are still claimed under their tokens.
async fn store(
    connection: &mut PgConnection,
    settlements: &[Settlement],
    stores: &[Store],
) -> Result<Vec<Settled>, sqlx::Error> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = settlements.iter().map(|settled| (settled.id, settled.token)).unzip();
    let contacts_of = settlements.iter().filter(|settled| settled.outcome.locks_contact()).map(|settled| settled.id);
    let contacts_of: Vec<Uuid> = contacts_of.collect();
    let statuses: Vec<DeliveryStatus> = stores.iter().map(|store| store.status).collect();
    let due_in_seconds: Vec<Option<f64>> = stores.iter().map(|store| store.due_in_seconds).collect();
    let carrier_ids: Vec<Option<&str>> = settlements.iter().map(|settled| carrier_id(&settled.outcome)).collect();
    let refusals = || settlements.iter().map(|settled| refusal(&settled.outcome));
    let codes: Vec<Option<i32>> = refusals().map(|refusal| refusal?.code).collect();
    let classes: Vec<Option<DeliveryErrorClass>> = refusals().map(|refusal| Some(refusal?.class)).collect();
    let details: Vec<Option<String>> = refusals().map(|refusal| Some(bounds::error(&refusal?.detail))).collect();
    let sources: Vec<Option<DeliveryStepSource>> = refusals().map(|refusal| refusal?.by).collect();
    let storing = sqlx::query_file!(
        "sql/queries/delivery/settle.sql",
        &ids[..],
        &tokens[..],
        &contacts_of[..],
        &statuses[..] as &[DeliveryStatus],
        &due_in_seconds[..] as &[Option<f64>],
        &carrier_ids[..] as &[Option<&str>],
        &codes[..] as &[Option<i32>],
        &classes[..] as &[Option<DeliveryErrorClass>],
        &details[..] as &[Option<String>],
        &sources[..] as &[Option<DeliveryStepSource>],
    );
    let mut settled = vec![Settled::Stale; settlements.len()];
    for row in storing.fetch_all(connection).await? {
        let Some(position) = position(row.ordinal) else { continue };
        if let (Some(settled), Some(store)) = (settled.get_mut(position), stores.get(position)) {
            *settled = Settled::Written { may_have_work: store.has_work || row.other_waits };
        }
    }
    Ok(settled)
}

/// Writes the further effects of the decisions. They are rare, so each has a statement of its own
/// that runs only if a delivery has the effect.
async fn follow(connection: &mut PgConnection, decided: &[(&Settlement, &Store)]) -> Result<(), sqlx::Error> {
    let (mut planned, mut failed, mut opted_out, mut unregistered, mut not_in_pool) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (settlement, store) in decided {
        match store.effect {
            Effect::Nothing => {}
            Effect::WithdrawIfStale => planned.push(settlement.id),
            Effect::LeavePool => {
                planned.push(settlement.id);
                not_in_pool.push(settlement.id);
            }
            Effect::ReportFailure | Effect::OptOut => {
                failed.push(settlement.id);
                let refusal = refusal(&settlement.outcome);
                let refusal = refusal.filter(|refusal| refusal.class == DeliveryErrorClass::Unregistered);
                unregistered.extend(refusal.map(|refusal| (settlement.id, refusal.code)));
            }
        }
        if store.effect == Effect::OptOut {
            opted_out.push(settlement.id);
        }
    }
    if !planned.is_empty() {
        withdraw_outdated(connection, &planned).await?;
    }
    if !not_in_pool.is_empty() {
        pool::leave(connection, &not_in_pool).await?;
    }
    if !failed.is_empty() {
        sqlx::query_file!("sql/queries/delivery/report_failures.sql", &failed[..]).execute(&mut *connection).await?;
    }
    if !unregistered.is_empty() {
        registration::record_refusals(connection, &unregistered).await?;
    }
    if !opted_out.is_empty() {
        consent::record_refusals(connection, &opted_out).await?;
    }
    Ok(())
}

fn carrier_id(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Accepted { carrier_id } => Some(carrier_id),
        Outcome::Failed(_) | Outcome::Unknown(_) | Outcome::PutOff { .. } => None,
    }
}

fn refusal(outcome: &Outcome) -> Option<&Refusal> {
    match outcome {
        Outcome::Accepted { .. } => None,
        Outcome::Failed(refusal) | Outcome::Unknown(refusal) | Outcome::PutOff { refusal, .. } => Some(refusal),
    }
}
