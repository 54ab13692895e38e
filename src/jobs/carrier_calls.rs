//! The carriers and circuit breakers that all jobs which call a carrier share.

use uuid::Uuid;

use crate::carriers::Carriers;
use crate::carriers::error::CarrierError;
use crate::jobs::JobContext;
use crate::jobs::runtime::circuit_breaker::CircuitBreakers;
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;

/// The carriers, and whether the accounts there work.
#[derive(Clone)]
pub(super) struct CarrierCalls {
    pub(super) storage: Storage,
    pub(super) accounts: Accounts,
    pub(super) carriers: Carriers,
    /// The circuits of calls that send.
    pub(super) sends: CircuitBreakers,
    /// The circuits of calls that read. They go on while sending fails, because they tell what
    /// became of earlier sends.
    pub(super) reads: CircuitBreakers,
}

impl CarrierCalls {
    pub(super) fn new(context: &JobContext) -> Self {
        Self {
            storage: context.storage.clone(),
            accounts: context.accounts.clone(),
            carriers: context.carriers.clone(),
            sends: CircuitBreakers::default(),
            reads: CircuitBreakers::default(),
        }
    }

    /// Records how a call that reads went.
    pub(super) fn record_read<T>(&self, project_id: Uuid, read: &Result<T, CarrierError>) {
        match read {
            Ok(_) => self.reads.record_success(project_id),
            Err(error) if error.kind.is_trouble() => self.reads.record_failure(project_id, None),
            Err(_) => {}
        }
    }
}
