//! Keeps in the database what a turn of a language model did.

use serde_json::Value;

use crate::agents::AgentError;
use crate::agents::llm::record::{KeptCall, ModelRequest, Recording, Round, TurnRecord};
use crate::storage::model::{self, CallRow, ModelTurn, RequestRow, RoundRow};
use crate::storage::turn::Claim;
use crate::storage::{Storage, database};

/// The record of one attempt at a turn.
#[derive(Clone)]
pub(crate) struct ModelRecord {
    storage: Storage,
    turn: ModelTurn,
}

impl ModelRecord {
    /// The record of a claimed turn.
    pub(crate) fn of(storage: &Storage, claim: &Claim) -> Self {
        let turn = ModelTurn {
            turn_id: claim.turn_id,
            project_id: claim.project_id,
            session_id: claim.session_id,
            agent_id: claim.agent_id,
            agent_version: claim.agent_version,
            attempt: claim.attempt,
        };
        Self { storage: storage.clone(), turn }
    }

    async fn load(&self) -> Result<Vec<Round>, AgentError> {
        let loading = async { model::rounds(&mut *self.storage.connection().await?, self.turn.turn_id).await };
        let rows = database::with_timeout(loading).await.map_err(ours)?;
        rows.into_iter().map(round_of).collect()
    }
}

/// A failure to keep something is no failure of the agent: the turn waits until the database works.
fn ours(error: sqlx::Error) -> AgentError {
    AgentError::Ours(format!("what the turn did could not be kept: {error}"))
}

fn round_of(row: RoundRow) -> Result<Round, AgentError> {
    let calls = row.calls.0.into_iter().map(|CallRow { round, position, name, answer, error }| {
        let result = match (answer, error) {
            (Some(answer), _) => Ok(serde_json::from_value(answer)
                .map_err(|error| AgentError::Ours(format!("a kept call can't be read: {error}")))?),
            (None, error) => Err(error.unwrap_or_default()),
        };
        Ok(KeptCall { round, position, name, result })
    });
    Ok(Round { message: row.message.0, calls: calls.collect::<Result<_, _>>()? })
}

impl std::fmt::Debug for ModelRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelRecord").field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl TurnRecord for ModelRecord {
    fn rounds(&self) -> Recording<'_, Vec<Round>> {
        Box::pin(self.load())
    }

    fn message(&self, round: i32, message: Value) -> Recording<'_, ()> {
        Box::pin(async move {
            let keeping =
                async { model::add_round(&mut *self.storage.connection().await?, self.turn, round, &message).await };
            database::with_timeout(keeping).await.map_err(ours)
        })
    }

    fn call(&self, call: KeptCall) -> Recording<'_, ()> {
        Box::pin(async move {
            let KeptCall { round, position, name, result } = call;
            let (answer, error) = match result {
                Ok(answer) => {
                    let json = serde_json::to_value(answer);
                    let json =
                        json.map_err(|error| AgentError::Failed(format!("the tool's answer is no JSON: {error}")))?;
                    (Some(json), None)
                }
                Err(error) => (None, Some(error)),
            };
            let row = CallRow { round, position, name, answer, error };
            let keeping = async { model::add_call(&mut *self.storage.connection().await?, self.turn, &row).await };
            database::with_timeout(keeping).await.map_err(ours)
        })
    }

    fn request(&self, request: ModelRequest) -> Recording<'_, ()> {
        Box::pin(async move {
            let row = RequestRow {
                round: request.round,
                model: &request.model,
                finish: request.finish,
                tokens: [request.prompt_tokens, request.cached_tokens, request.output_tokens, request.reasoning_tokens],
                milliseconds: request.milliseconds,
                error: request.error.as_deref(),
            };
            let counting = async { model::add_request(&mut *self.storage.connection().await?, self.turn, &row).await };
            database::with_timeout(counting).await.map_err(ours)
        })
    }
}
