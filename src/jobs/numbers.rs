//! Numbers are looked after by their clock: what a crash interrupted goes on, drift is seen and mended, registrations are read.

use apalis_core::error::BoxDynError;
use apalis_core::task::data::Data;
use std::sync::Arc;
use uuid::Uuid;

use crate::carriers::twilio::client::WebhookUrls;
use crate::carriers::twilio::registration::Pools;
use crate::domain::job::JobKind;
use crate::jobs::CarrierCalls;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::queue::{JobSource, Leased, claim_at_once};
use crate::numbers::reconciler::{self, Looked};
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::number::{self, Claim, Facts};

/// Looks after numbers.
#[derive(Clone)]
pub struct Numbers {
    carrier: CarrierCalls,
    /// Where the carrier reaches us, without a slash at its end.
    public_base: Arc<str>,
    pools: Pools,
}

impl Numbers {
    pub(super) fn new(carrier: CarrierCalls, public_base: &str) -> Self {
        Self { carrier, public_base: public_base.into(), pools: Pools::default() }
    }

    /// Looks after all whose time has come; says how many there were. This is what the worker does, without the worker and
    /// as if the last time was long ago: for tests.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        self.pools.forget();
        self.go_on().await
    }

    /// The same right after the last time.
    pub async fn go_on(&self) -> Result<usize, sqlx::Error> {
        let claims = claim_at_once(self, 8).await?;
        futures::future::join_all(claims.iter().map(|claim| self.look_after(claim))).await;
        Ok(claims.len())
    }

    #[tracing::instrument(name = "number.look_after", skip_all, fields(number_id = %claim.number.id))]
    async fn look_after(&self, claim: &Claim) {
        let account = match self.carrier.accounts.of_project(claim.number.project_id).await {
            Ok(Some(account)) => account,
            Ok(None) => return self.settle(claim, &later(claim)).await,
            Err(error) => {
                tracing::warn!(%error, "the carrier account can't be had; the number is looked at later");
                return self.settle(claim, &later(claim)).await;
            }
        };
        let urls = WebhookUrls::of(&self.public_base, &account.webhook_key);
        let look = reconciler::look_after(&self.carrier.client, &self.pools, &account, &urls, &claim.number);
        match number::while_held(&self.carrier.storage, claim, reconciler::LEASE_SECONDS, look).await {
            Looked::Seen { facts, trouble } => {
                if let Some(error) = trouble {
                    self.carrier.note::<()>(claim.number.project_id, &Err(error.clone()));
                    tracing::warn!(%error, "the number could not be looked after; again later");
                }
                for step in &facts.steps {
                    tracing::info!(step = step.step, detail = step.detail, "the number");
                }
                self.settle(claim, &facts).await;
            }
            // The row stays, so that a person sees what became of it.
            Looked::Refused { refused, facts } => {
                tracing::error!(error = %refused, "the number can't serve us");
                self.settle(claim, &facts).await;
            }
        }
    }

    async fn settle(&self, claim: &Claim, facts: &Facts) {
        match database::with_timeout(number::settle(&self.carrier.storage, claim, facts)).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("the number was lost to another worker"),
            Err(error) => {
                tracing::warn!(%error, "what was seen of the number could not be written; it is looked at again")
            }
        }
    }
}

/// Nothing was seen.
fn later(claim: &Claim) -> Facts {
    Facts { generation: claim.number.generation, check_in_seconds: 600.0, ..Facts::default() }
}

impl JobSource for Numbers {
    type Claim = Claim;
    const WORK: JobKind = JobKind::Number;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn owner(claim: &Claim) -> Owner {
        Owner::alone(claim.number.project_id)
    }

    fn gates(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.reads.gates()
    }

    async fn claim(&self, room: ClaimLimits) -> Result<Vec<Claim>, sqlx::Error> {
        number::claim_check(&self.carrier.storage, room, reconciler::LEASE_SECONDS).await
    }

    async fn give_back(&self, claims: Vec<Claim>) -> Result<(), sqlx::Error> {
        number::give_back(&self.carrier.storage, &claims).await
    }
}

/// The worker's function. What failed is due again, so this never fails.
pub(super) async fn work(seated: Leased<Claim>, numbers: Data<Numbers>) -> Result<(), BoxDynError> {
    let (claim, _seat) = seated.into_parts();
    numbers.look_after(&claim).await;
    Ok(())
}
