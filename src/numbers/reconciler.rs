//! Reconciles a claimed number with its carrier, and writes what was observed and done.
//!
//! The desired state is a row before the carrier is called, and each step can be repeated, so a
//! crash between two calls loses nothing: the next attempt begins with what the account has.
//!
//! docs/decisions/026-numbers-controller.md has the reasons.

use crate::carriers::Carriers;
use crate::carriers::error::CarrierError;
use crate::carriers::number::Freshness;
use crate::carriers::webhook::{WebhookUrls, without_webhook_keys};
use crate::domain::carrier_account::CarrierAccount;
use crate::domain::job::JobKind;
use crate::domain::number::NumberRefusal;
use crate::failpoint;
use crate::numbers::attempt::Attempt;
use crate::numbers::health;
use crate::storage::number::{self, Claim, ObservedState};
use crate::storage::{Storage, database};

/// How long a claim of a number lasts without a renewal. It is renewed while the number is
/// reconciled.
pub const LEASE_SECONDS: u32 = 120;

/// Why a number can't be as desired.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// The account does not have it.
    NotOwned { account: String, number: String },
    /// The carrier does not sell it.
    NotForSale { number: String, reason: String },
    /// It can't carry text messages.
    NoTexts { number: String },
    /// It was refused before, in these words, and nobody has asked for it since.
    AsBefore { reason: NumberRefusal, told: String },
    /// Another project of this installation has it, so it was not released.
    UsedElsewhere { number: String },
    /// It belongs to an account that is no longer the project's, so it was not released.
    OtherAccount { number: String, account: String },
}

impl Refusal {
    /// The reason in the number's row. None when it is not the number's fault.
    pub const fn reason(&self) -> Option<NumberRefusal> {
        match self {
            Self::NotOwned { .. } => Some(NumberRefusal::NotOwned),
            Self::NotForSale { .. } => Some(NumberRefusal::NotForSale),
            Self::NoTexts { .. } => Some(NumberRefusal::NoTexts),
            Self::AsBefore { reason, .. } => Some(*reason),
            Self::UsedElsewhere { .. } | Self::OtherAccount { .. } => None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&health::of_refusal(self))
    }
}

/// What becomes of the row of a number that is refused and never was ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRefusal {
    /// It stays, so that an operator sees what became of the number.
    Keep,
    /// It is removed, because whoever asked for the number hears of the refusal at once.
    Forget,
}

/// What the reconciliation of a number came to.
#[derive(Debug)]
pub enum ReconcileOutcome {
    /// The number is as desired.
    Reconciled,
    /// The carrier stopped it. It goes on later.
    Interrupted(CarrierError),
    /// The number can't be as desired.
    Refused(Refusal),
    /// Another process claimed the number in the meantime. Nothing was written.
    LeaseLost,
}

/// What one attempt at the carrier came to.
pub(super) enum AttemptOutcome {
    Done,
    Interrupted(CarrierError),
    Refused(Refusal),
}

/// Reconciles numbers.
#[derive(Clone)]
pub struct Reconciler {
    storage: Storage,
    carriers: Carriers,
    /// Where carriers reach us, without a slash at its end.
    public_base: std::sync::Arc<str>,
}

impl Reconciler {
    /// A reconciler of numbers whose carriers reach us at `public_base`.
    pub fn new(storage: Storage, carriers: Carriers, public_base: std::sync::Arc<str>) -> Self {
        Self { storage, carriers, public_base }
    }

    /// Reconciles a number until it is as desired, or until the carrier stops it, and writes what
    /// was observed.
    pub async fn reconcile(
        &self,
        account: &CarrierAccount,
        claim: &Claim,
        freshness: Freshness,
        on_refusal: OnRefusal,
    ) -> Result<ReconcileOutcome, sqlx::Error> {
        let urls = WebhookUrls::of(&self.public_base, account);
        let attempt = Attempt {
            carrier: self.carriers.of(account),
            account,
            urls: &urls,
            number: &claim.number,
            freshness,
            observed: ObservedState { generation: claim.number.generation, ..ObservedState::default() },
        };
        let (outcome, observed) = number::while_leased(&self.storage, claim, LEASE_SECONDS, attempt.run()).await;
        failpoint::reach("number.before_settle");
        for step in &observed.steps {
            let detail = step.detail.as_deref().map(without_webhook_keys);
            tracing::info!(project_id = %account.project_id, number_id = %claim.number.id, step = step.step, detail, "a step was done at the carrier");
        }
        let was_never_ours = claim.number.carrier_id.is_none();
        let was_bought = claim.number.may_buy && observed.carrier_id.is_some();
        let is_refused = matches!(outcome, AttemptOutcome::Refused(_));
        if is_refused && on_refusal == OnRefusal::Forget && was_never_ours && !was_bought {
            number::forget(&mut *self.storage.connection().await?, claim).await?;
        } else if !self.settle(claim, &observed).await? {
            return Ok(ReconcileOutcome::LeaseLost);
        }
        Ok(match outcome {
            AttemptOutcome::Done => ReconcileOutcome::Reconciled,
            AttemptOutcome::Interrupted(error) => ReconcileOutcome::Interrupted(error),
            AttemptOutcome::Refused(refusal) => ReconcileOutcome::Refused(refusal),
        })
    }

    /// Writes that a number could not be reconciled now, and is to be tried later.
    pub async fn put_off(&self, claim: &Claim) -> Result<(), sqlx::Error> {
        let observed = ObservedState {
            generation: claim.number.generation,
            check_in_seconds: super::attempt::WAITING_SECONDS,
            ..ObservedState::default()
        };
        self.settle(claim, &observed).await.map(|_| ())
    }

    /// Writes what was observed. Returns false if the lease was lost.
    async fn settle(&self, claim: &Claim, observed: &ObservedState) -> Result<bool, sqlx::Error> {
        let settle = || async move {
            let mut transaction = self.storage.transaction().await?;
            let is_settled = number::settle(&mut transaction, claim, observed).await;
            database::end(transaction, is_settled).await
        };
        let is_settled = database::with_timeout(database::retry_on_deadlock(settle)).await?;
        // An approval releases what waited for it.
        self.storage.notifier().notify(JobKind::Delivery);
        Ok(is_settled)
    }
}
