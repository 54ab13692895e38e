//! Unknown deliveries: looked for in the carrier's list of messages until they are found or certainly absent; it sends nothing itself.

use apalis_core::error::BoxDynError;
use apalis_core::task::data::Data;
use chrono::TimeDelta;
use uuid::Uuid;

use crate::domain::job::JobKind;
use crate::failpoint;
use crate::jobs::CarrierCalls;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::queue::{JobSource, Leased, claim_at_once};
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::unknown_delivery::{self, Resolved, Unknown};

/// How far the carrier's clock and the database's may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(2);

/// Looks for unknown deliveries.
#[derive(Clone)]
pub struct Reconciler {
    carrier: CarrierCalls,
    lease_seconds: u32,
    settle_after_seconds: u32,
}

impl Reconciler {
    /// A reconciler that holds an absence certain `settle_after_seconds` after the attempt.
    pub(super) fn new(carrier: CarrierCalls, lease_seconds: u32, settle_after_seconds: u32) -> Self {
        // Nobody calls for a delivery after its lease: an absence before that says nothing.
        Self { carrier, lease_seconds, settle_after_seconds: settle_after_seconds.max(lease_seconds) }
    }

    /// Looks for all whose time has come; says how many there were. This is what the worker does,
    /// without the worker: for tests.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        let claims = claim_at_once(self, 64).await?;
        let count = claims.len();
        futures::future::join_all(claims.iter().map(|claim| self.look_for(claim))).await;
        Ok(count)
    }

    #[tracing::instrument(name = "delivery.reconcile", skip_all, fields(delivery_id = %claim.id))]
    async fn look_for(&self, claim: &Unknown) {
        let candidates = self.candidates(claim).await;
        let resolving = unknown_delivery::resolve(&self.carrier.storage, claim, candidates, self.settle_after_seconds);
        match failpoint::during("reconcile.in_commit", database::with_timeout(resolving)).await {
            Ok(resolved) => {
                let word = match resolved {
                    Resolved::Found => "found",
                    Resolved::Absent => "absent",
                    Resolved::GivenUp => "given_up",
                    Resolved::Waiting => "waiting",
                    Resolved::Stale => "stale",
                };
                tracing::info!(outcome = word, "looked for an unknown delivery at the carrier");
                metrics::counter!("textback_reconciliations_total", "outcome" => word).increment(1);
            }
            // Its lease runs out, and it is looked for again.
            Err(error) => tracing::error!(%error, "what was found of an unknown delivery could not be written"),
        }
    }

    /// The carrier's messages that may be it, the oldest first; `None` when it could not be asked.
    async fn candidates(&self, claim: &Unknown) -> Option<Vec<String>> {
        let account = match self.carrier.accounts.of_project(claim.project_id).await {
            Ok(account) => account?,
            Err(error) => {
                tracing::warn!(%error, "the carrier account can't be opened");
                return None;
            }
        };
        let since = claim.attempted_at - CLOCKS_APART;
        let listed = self.carrier.client.list_sent(&account, &claim.from, &claim.to, since).await;
        self.carrier.note(claim.project_id, &listed);
        match listed {
            Ok(listed) => {
                let alike = listed.into_iter().rev().filter(|message| message.may_be(&claim.body));
                Some(alike.map(|message| message.sid).collect())
            }
            Err(error) => {
                tracing::warn!(%error, "the carrier's list of messages can't be read");
                None
            }
        }
    }
}

impl JobSource for Reconciler {
    type Claim = Unknown;
    const WORK: JobKind = JobKind::UnknownDelivery;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn owner(claim: &Unknown) -> Owner {
        Owner::alone(claim.project_id)
    }

    fn gates(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.reads.gates()
    }

    async fn claim(&self, room: ClaimLimits) -> Result<Vec<Unknown>, sqlx::Error> {
        unknown_delivery::claim(&self.carrier.storage, room, self.lease_seconds).await
    }

    async fn give_back(&self, claims: Vec<Unknown>) -> Result<(), sqlx::Error> {
        unknown_delivery::give_back(&self.carrier.storage, &claims).await
    }
}

/// The worker's function. The row says how it went, so this never fails.
pub(super) async fn work(seated: Leased<Unknown>, reconciler: Data<Reconciler>) -> Result<(), BoxDynError> {
    let (claim, _seat) = seated.into_parts();
    reconciler.look_for(&claim).await;
    Ok(())
}
