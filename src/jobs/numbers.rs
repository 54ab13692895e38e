//! Reconciles numbers with the carrier when they are due: finishes what a crash interrupted,
//! repairs drift and reads registrations.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::carriers::Carrier;
use crate::carriers::number::Freshness;
use crate::domain::job::JobKind;
use crate::jobs::Shared;
use crate::jobs::carrier_calls::CarrierCalls;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::job::{Job, claim_at_once};
use crate::numbers::reconciler::{LEASE_SECONDS, OnRefusal, ReconcileOutcome, Reconciler};
use crate::repeating::Repeating;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::number::{self, Claim};

/// How many numbers are reconciled at a time.
const SLOTS: usize = 8;
/// How many batches of messages that waited for a registration are planned before each claim.
const BATCHES: usize = 10;

/// Failures to plan messages that waited for a registration. Each claim tries again.
static NOT_RELEASED: Repeating = Repeating::new();

/// Reconciles numbers with the carrier.
pub struct Numbers {
    carrier: CarrierCalls,
    reconciler: Reconciler,
}

impl Numbers {
    pub(super) fn new(shared: &Shared) -> Self {
        let carrier = shared.carrier.clone();
        let public_base: Arc<str> = shared.context.public_base.as_str().into();
        let reconciler = Reconciler::new(carrier.storage.clone(), carrier.carriers.clone(), public_base);
        Self { carrier, reconciler }
    }

    /// Claims and reconciles the due numbers, for tests. Unlike a step, it keeps the caches of the
    /// carriers.
    pub async fn go_on(&self) -> Result<usize, sqlx::Error> {
        let claims = claim_at_once(self, SLOTS).await?;
        futures::future::join_all(claims.iter().map(|claim| self.reconcile(claim))).await;
        Ok(claims.len())
    }

    #[tracing::instrument(name = "number.reconcile", skip_all, fields(project_id = %claim.number.project_id, number_id = %claim.number.id))]
    async fn reconcile(&self, claim: &Claim) {
        let project_id = claim.number.project_id;
        let written = match self.carrier.accounts.of_project(project_id).await {
            Ok(Some(account)) => {
                let reconciling = self.reconciler.reconcile(&account, claim, Freshness::Cached, OnRefusal::Keep);
                reconciling.await.map(|outcome| self.note_outcome(project_id, outcome))
            }
            Ok(None) => self.reconciler.put_off(claim).await,
            Err(error) => {
                tracing::warn!(%error, "the carrier account could not be read; the number will be reconciled later");
                self.reconciler.put_off(claim).await
            }
        };
        if let Err(error) = written {
            tracing::warn!(%error, "the state of the number could not be stored; the number will be reconciled again");
        }
    }

    /// Writes decisions about messages that waited for a registration, at most [`BATCHES`] batches,
    /// so that the claim need not wait long.
    async fn release_held(&self) -> Result<(), sqlx::Error> {
        for _ in 0..BATCHES {
            if !number::release_held(&self.carrier.storage).await? {
                return Ok(());
            }
        }
        self.carrier.storage.notifier().notify(JobKind::Number);
        Ok(())
    }

    fn note_outcome(&self, project_id: Uuid, outcome: ReconcileOutcome) {
        match outcome {
            ReconcileOutcome::Reconciled => {}
            ReconcileOutcome::Interrupted(error) => {
                tracing::warn!(%error, "the number could not be reconciled; it will be tried again");
                self.carrier.record_read::<()>(project_id, &Err(error));
            }
            ReconcileOutcome::Refused(refusal) => {
                tracing::error!(error = %refusal, "the carrier refused the settings of the number")
            }
            ReconcileOutcome::LeaseLost => tracing::warn!("another worker claimed the number first"),
        }
    }
}

impl Job for Numbers {
    type Claim = Claim;
    const KIND: JobKind = JobKind::Number;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn concurrency(&self) -> usize {
        SLOTS
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(LEASE_SECONDS))
    }

    fn owner(claim: &Claim) -> Owner {
        Owner::alone(claim.number.project_id)
    }

    fn circuits(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.reads.not_closed()
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<Claim>, sqlx::Error> {
        // A failure to plan these messages must not keep the numbers from being reconciled.
        if let Err(error) = self.release_held().await
            && let Some(times) = NOT_RELEASED.observe("", &error.to_string())
        {
            tracing::warn!(%error, times, "messages that waited for a registration could not be planned; they will be tried again");
        }
        number::claim_due(&self.carrier.storage, limits, LEASE_SECONDS).await
    }

    async fn give_back(&self, claims: Vec<Claim>) -> Result<(), sqlx::Error> {
        number::give_back(&mut *self.carrier.storage.connection().await?, &claims).await
    }

    async fn run(&self, claim: Claim) {
        self.reconcile(&claim).await;
    }

    async fn step(&self) -> Result<usize, sqlx::Error> {
        self.carrier.carriers.all().for_each(Carrier::forget_cached);
        self.go_on().await
    }
}
