//! Turns that begin with their texts: a slot is reserved before a text is written, and its turn is handed over after; it claims nothing itself.

use std::time::Duration;

use uuid::Uuid;

use super::handover::Handover;
use super::queue::Source;
use super::turns::Turns;
use crate::db;
use crate::ledger::beginning::{Beginner, Place};
use crate::ledger::turn::Claim;

/// How often what could not be begun is given back; then its lease runs out.
const TRIES: u32 = 5;

/// Begins turns on the slots of this process.
pub(super) struct BeginTurns {
    turns: Turns,
    handover: Handover<Claim>,
}

impl BeginTurns {
    pub(super) const fn new(turns: Turns, handover: Handover<Claim>) -> Self {
        Self { turns, handover }
    }
}

impl Beginner for BeginTurns {
    fn reserve(&self, agent_id: Uuid) -> Option<Place> {
        // Whoever stops begins nothing more: another process can, at once.
        if self.turns.stopping.is_cancelled() {
            return None;
        }
        let seat = self.handover.reserve(agent_id)?;
        let (turns, handover) = (self.turns.clone(), self.handover.clone());
        Some(Box::new(move |claim| {
            if let Err(claim) = handover.hand_over(claim, seat) {
                tokio::spawn(give_back(turns, claim));
            }
        }))
    }

    fn lease_seconds(&self) -> u32 {
        self.turns.lease_seconds
    }
}

async fn give_back(turns: Turns, claim: Claim) {
    for _ in 0..TRIES {
        match db::patiently(turns.give_back(vec![claim.clone()])).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "a turn that was not begun could not be given back"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
