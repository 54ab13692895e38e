//! What happened to a turn that was run.

use crate::domain::turn_settlement::TurnOutcome;
use crate::storage::batcher::BatchError;
use crate::storage::turn::{Claim, Settled};

/// The outcome of a turn that was settled as `outcome`, if the settlement was written.
pub(crate) fn written(claim: &Claim, settled: Result<Settled, BatchError>, outcome: TurnOutcome) -> TurnOutcome {
    match settled {
        Ok(Settled::Written { planned, .. }) => {
            let further_message_ids = claim.further_messages();
            tracing::info!(outcome = outcome.as_str(), planned, further_message_ids, "the turn was settled");
            outcome
        }
        Ok(Settled::Stale) => {
            tracing::warn!("another worker had the turn, or its session had ended; its outcome was discarded");
            TurnOutcome::Stale
        }
        Err(error) => {
            tracing::error!(%error, "the turn could not be settled");
            TurnOutcome::NotSettled
        }
    }
}
