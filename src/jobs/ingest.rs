//! Stores inbound messages and runs their turns in this process, if it has a free slot. The
//! statement that stores a message claims its turn: a claim of its own would cost a commit and a
//! fifth of what PostgreSQL does for a message.
//!
//! docs/decisions/014-eager-dispatch.md has the reasons.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::jobs::runtime::fair_limiter::{Owner, Permit};
use crate::jobs::runtime::local_queue::LocalQueue;
use crate::jobs::spans::IngestSpan;
use crate::jobs::turns::Turns;
use crate::storage::Storage;
use crate::storage::batcher::BatchError;
use crate::storage::health::ContactKey;
use crate::storage::ingest::{self, InboundMessage, IngestOutcome, Ingested, TurnPermit};

/// Stores inbound messages. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Ingest {
    storage: Storage,
    /// The queue of turns, if this process runs turns.
    local_turns: Option<Arc<LocalTurns>>,
}

struct LocalTurns {
    queue: LocalQueue<Turns>,
    /// By project and number, the agent of the last message's turn. Probably it answers the next
    /// message too; if another agent does, the turn is not claimed here.
    agents: Mutex<HashMap<Uuid, HashMap<String, Uuid>>>,
    tasks: TaskTracker,
}

/// Why a message was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotIngested {
    #[error("the database did not store it in time")]
    TooLate,
    #[error(transparent)]
    Refused(BatchError),
}

impl Ingest {
    /// Stores messages in a process that runs no turns.
    pub fn new(storage: Storage) -> Self {
        Self { storage, local_turns: None }
    }

    /// Stores messages in a process that runs turns. `tasks` are the tasks that end before the
    /// process does.
    pub(super) fn with_turns(storage: Storage, queue: LocalQueue<Turns>, tasks: TaskTracker) -> Self {
        let local_turns = LocalTurns { queue, agents: Mutex::default(), tasks };
        Self { storage, local_turns: Some(Arc::new(local_turns)) }
    }

    /// Stores a message, waiting until `deadline` at most. When this returns an outcome, it is
    /// committed. After a time-out the message may still be committed a moment later. If the
    /// carrier sends it again, its id keeps it one message.
    pub async fn message(&self, message: InboundMessage, deadline: Instant) -> Result<IngestOutcome, NotIngested> {
        self.message_of(message, deadline, None).await
    }

    /// The same for a message that a request brought. `request` is the id of the request's span.
    pub async fn message_of(
        &self,
        mut message: InboundMessage,
        deadline: Instant,
        request: Option<Uuid>,
    ) -> Result<IngestOutcome, NotIngested> {
        let span = IngestSpan::begin(&message, request);
        let contact = ContactKey::of(message.project_id, &message.to, &message.from);
        let storing = async {
            let Some(local) = &self.local_turns else {
                return Ok(ingest::store(&self.storage, message).await?.outcome);
            };
            match local.reserve(&mut message) {
                Some(permit) => local.clone().store(self.storage.clone(), message, permit).await,
                None => {
                    let (project_id, number) = (message.project_id, message.to.clone());
                    let stored = ingest::store(&self.storage, message).await?;
                    local.learn(project_id, number, stored.agent_id);
                    Ok(stored.outcome)
                }
            }
        };
        let outcome = wait(&self.storage, contact, deadline, storing).await?;
        span.end(&outcome);
        Ok(outcome)
    }
}

/// Waits until a message is stored, until `deadline` at most, and records for `/readyz` whether it
/// was.
async fn wait(
    storage: &Storage,
    contact: ContactKey,
    deadline: Instant,
    storing: impl Future<Output = Result<IngestOutcome, BatchError>>,
) -> Result<IngestOutcome, NotIngested> {
    // A client that closes its connection drops this future. Then nothing is counted, because the
    // database is not the cause.
    match tokio::time::timeout_at(deadline.into(), storing).await {
        Ok(Ok(outcome)) => {
            storage.ingest_health().succeeded();
            Ok(outcome)
        }
        Ok(Err(error)) => {
            if error.is_of_the_database() {
                storage.ingest_health().failed(contact, !error.may_be_of_a_row());
            }
            Err(NotIngested::Refused(error))
        }
        Err(_) => {
            storage.ingest_health().failed(contact, false);
            Err(NotIngested::TooLate)
        }
    }
}

impl LocalTurns {
    /// Reserves a slot for the turn of a message, and names its agent in the message.
    fn reserve(&self, message: &mut InboundMessage) -> Option<Permit> {
        let agent_id = *self.agents().get(&message.project_id)?.get(&message.to)?;
        let permit = self.queue.reserve(Owner::of_project(agent_id, message.project_id))?;
        message.permit = Some(TurnPermit { agent_id, lease_seconds: self.queue.job().lease_seconds() });
        Some(permit)
    }

    /// Stores a message and runs its turn, if it was claimed. A task of its own does both, so that
    /// a request that is cut off leaves no claimed turn behind.
    async fn store(
        self: Arc<Self>,
        storage: Storage,
        message: InboundMessage,
        permit: Permit,
    ) -> Result<IngestOutcome, BatchError> {
        let (answer, answered) = oneshot::channel();
        let local = self.clone();
        self.tasks.spawn(async move {
            let (project_id, number) = (message.project_id, message.to.clone());
            match ingest::store(&storage, message).await {
                Ok(Ingested { outcome, agent_id, claim, .. }) => {
                    // Nobody waits for the outcome if the request was cut off.
                    let _ = answer.send(Ok(outcome));
                    local.learn(project_id, number, agent_id);
                    if let Some(claim) = claim {
                        local.queue.push(*claim, permit).await;
                    }
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                }
            }
        });
        answered.await.unwrap_or(Err(BatchError::Stopped))
    }

    /// Remembers which agent answers a number. Only attached numbers have one, so there are few.
    fn learn(&self, project_id: Uuid, number: String, agent_id: Option<Uuid>) {
        let Some(agent_id) = agent_id else { return };
        self.agents().entry(project_id).or_default().insert(number, agent_id);
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<Uuid, HashMap<String, Uuid>>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
