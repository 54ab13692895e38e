//! Turns that begin with their texts: a slot is reserved before a text is written, and its turn is handed over after; it claims nothing itself.

use uuid::Uuid;

use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::local_queue::LocalQueue;
use crate::jobs::runtime::queue::give_back;
use crate::jobs::turns::Turns;
use crate::storage::eager_dispatch::{Beginner, Place};
use crate::storage::turn::Claim;

/// Begins turns on the slots of this process.
pub(crate) struct BeginTurns {
    turns: Turns,
    handover: LocalQueue<Claim>,
}

impl BeginTurns {
    pub(crate) const fn new(turns: Turns, handover: LocalQueue<Claim>) -> Self {
        Self { turns, handover }
    }
}

impl Beginner for BeginTurns {
    fn reserve(&self, project_id: Uuid, agent_id: Uuid) -> Option<Place> {
        // Whoever stops begins nothing more: another process can, at once.
        if self.turns.stopping.is_cancelled() || self.turns.is_gated(agent_id) {
            return None;
        }
        let seat = self.handover.reserve(Owner::of_project(agent_id, project_id))?;
        let (turns, handover) = (self.turns.clone(), self.handover.clone());
        Some(Box::new(move |claim| {
            if let Err(claim) = handover.hand_over(claim, seat) {
                tokio::spawn(async move { give_back(&turns, claim, turns.lease(), &turns.stopping).await });
            }
        }))
    }

    fn lease_seconds(&self) -> u32 {
        self.turns.lease_seconds
    }
}
