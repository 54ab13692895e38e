//! Looks for unknown deliveries in the carrier's list of messages until they are found or certainly
//! absent. Sends nothing itself.
//!
//! docs/decisions/023-unknown-deliveries.md has the reasons.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::domain::delivery::{DeliveryErrorClass, ResolveOutcome};
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::jobs::Shared;
use crate::jobs::carrier_calls::CarrierCalls;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::job::Job;
use crate::jobs::spans;
use crate::repeating::Repeating;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::unknown_delivery::{self, Resolved, Unknown};
use crate::telemetry::metrics;

/// How many deliveries are looked for at a time. They are few, and each needs a list of the
/// carrier.
const SLOTS: usize = 8;

/// How far the carrier's clock and the database's may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(2);

/// Failures to read a carrier account or to decrypt its secrets. Logged once per cause, because a
/// wrong key makes all deliveries fail.
static NOT_OPENED: Repeating = Repeating::new();

/// Looks for unknown deliveries.
pub struct UnknownDeliveries {
    carrier: CarrierCalls,
    lease_seconds: u32,
    settle_after_seconds: u32,
}

impl UnknownDeliveries {
    pub(super) fn new(shared: &Shared) -> Self {
        let settings = &shared.context.settings;
        // A worker calls the carrier within its lease, so an absence before its end says nothing.
        let settle_after_seconds = settings.unknown_settle_seconds.max(settings.lease_seconds);
        Self { carrier: shared.carrier.clone(), lease_seconds: settings.lease_seconds, settle_after_seconds }
    }

    #[tracing::instrument(name = "delivery.reconcile", skip_all, fields(project_id = %claim.project_id, session_id = %claim.session_id, message_id = %claim.id, turn_id = claim.turn_id.map(display)))]
    async fn look_for(&self, claim: &Unknown) {
        let span = spans::begin_search(claim);
        let candidates = self.candidates(claim).await;
        let resolving = async {
            let mut transaction = self.carrier.storage.transaction().await?;
            let resolved =
                unknown_delivery::resolve(&mut transaction, claim, candidates, self.settle_after_seconds).await;
            database::end(transaction, resolved).await
        };
        let resolving = database::with_timeout::<_, sqlx::Error, _>(resolving);
        match failpoint::during("reconcile.in_commit", resolving).await {
            Ok(Resolved { outcome: resolved, carrier_id }) => {
                match resolved {
                    // This delivery or the next one of the contact may be due now.
                    ResolveOutcome::Found | ResolveOutcome::Absent | ResolveOutcome::GivenUp => {
                        self.carrier.storage.notifier().notify(JobKind::Delivery);
                    }
                    ResolveOutcome::Waiting | ResolveOutcome::Stale => {}
                }
                let word = resolved.as_str();
                tracing::info!(carrier_id, outcome = word, "an unknown delivery was looked up at the carrier");
                if let Some(carrier_id) = carrier_id {
                    spans::end_search(span, claim, carrier_id);
                }
                metrics::RECONCILIATIONS.count(&[word]);
                if resolved == ResolveOutcome::GivenUp {
                    metrics::DELIVERIES_FAILED.count(&[DeliveryErrorClass::Ambiguous.as_str()]);
                }
            }
            // The delivery is looked for again when its lease ends.
            Err(error) => {
                tracing::error!(%error, "the result of looking up an unknown delivery could not be stored")
            }
        }
    }

    /// The carrier's messages that may be the delivery, the oldest first. `None` if its list can't
    /// be read.
    async fn candidates(&self, claim: &Unknown) -> Option<Vec<String>> {
        let account = match self.carrier.accounts.of_project(claim.project_id).await {
            Ok(account) => account?,
            Err(error) => {
                if let Some(times) = NOT_OPENED.observe("", &error.to_string()) {
                    tracing::warn!(%error, times, "the carrier account could not be opened");
                }
                return None;
            }
        };
        let carrier = self.carrier.carriers.of(&account);
        if !carrier.capabilities().lists_sent {
            return None;
        }
        let since = claim.attempted_at - CLOCKS_APART;
        let listed = carrier.list_sent(&account, &claim.from, &claim.to, since).await;
        self.carrier.record_read(claim.project_id, &listed);
        match listed {
            Ok(listed) => {
                let alike = listed.into_iter().rev().filter(|message| message.may_be(&claim.body));
                Some(alike.map(|message| message.carrier_id).collect())
            }
            Err(error) => {
                tracing::warn!(%error, "the carrier's list of messages could not be read");
                None
            }
        }
    }
}

impl Job for UnknownDeliveries {
    type Claim = Unknown;
    const KIND: JobKind = JobKind::UnknownDelivery;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn concurrency(&self) -> usize {
        SLOTS
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }

    fn owner(claim: &Unknown) -> Owner {
        Owner::alone(claim.project_id)
    }

    fn circuits(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.reads.not_closed()
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<Unknown>, sqlx::Error> {
        unknown_delivery::claim(&self.carrier.storage, limits, self.lease_seconds).await
    }

    async fn give_back(&self, claims: Vec<Unknown>) -> Result<(), sqlx::Error> {
        unknown_delivery::give_back(&mut *self.carrier.storage.connection().await?, &claims).await
    }

    async fn run(&self, claim: Unknown) {
        self.look_for(&claim).await;
    }
}
