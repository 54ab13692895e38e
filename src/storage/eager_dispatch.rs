//! Turns that begin with their text: where a process both takes texts in and runs turns, the statement that writes a text claims its turn; it runs none.
//!
//! A claim of its own costs a commit and a fifth of all that PostgreSQL does for a text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::storage::turn::Claim;

/// Takes the claim of a turn that began. Dropped instead, its place is free again.
pub type Place = Box<dyn FnOnce(Claim) + Send>;

/// Who runs turns in this process.
pub trait Beginner: Send + Sync {
    /// Reserves a slot for a turn of a project's agent, if one is free.
    fn reserve(&self, project_id: Uuid, agent_id: Uuid) -> Option<Place>;

    /// For how long a turn is claimed, in seconds.
    fn lease_seconds(&self) -> u32;
}

/// Places for turns, by the number that is texted.
pub(super) struct Beginnings {
    beginner: Arc<dyn Beginner>,
    /// By project and number, whose turn the last text made: a guess for the next one, since a turn of another agent is not claimed.
    agents: Mutex<HashMap<Uuid, HashMap<String, Uuid>>>,
}

impl Beginnings {
    pub(super) fn new(beginner: Arc<dyn Beginner>) -> Self {
        Self { beginner, agents: Mutex::default() }
    }

    /// A place for what a text to this number will begin, and the agent that it is for.
    pub(super) fn reserve(&self, project_id: Uuid, number: &str) -> Option<(Uuid, Place)> {
        let agent_id = *self.agents().get(&project_id)?.get(number)?;
        Some((agent_id, self.beginner.reserve(project_id, agent_id)?))
    }

    /// Notes whose turn a text to this number made. Only numbers that are attached come here, so that these stay few.
    pub(super) fn learn(&self, project_id: Uuid, number: &str, agent_id: Uuid) {
        let mut agents = self.agents();
        let of_project = agents.entry(project_id).or_default();
        match of_project.get_mut(number) {
            Some(known) => *known = agent_id,
            None => drop(of_project.insert(number.to_owned(), agent_id)),
        }
    }

    pub(super) fn lease_seconds(&self) -> f64 {
        f64::from(self.beginner.lease_seconds())
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<Uuid, HashMap<String, Uuid>>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
