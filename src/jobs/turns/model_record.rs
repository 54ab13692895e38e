//! Keeps in the database what a turn of a language model did.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::agents::llm::record::{KeptCall, ModelRequest, NotPermitted, Recording, RequestOutcome, Round, TurnRecord};
use crate::agents::{AgentError, ModelAccess};
use crate::domain::agent::AgentSpec;
use crate::domain::agent_error::AgentErrorCode;
use crate::domain::llm_budget::{ModelPrice, ModelTokens, ReservationOutcome};
use crate::jobs::turns::failure::Failure;
use crate::jobs::turns::model_circuits::{ModelCircuits, TurnCircuits};
use crate::secret::SecretKeys;
use crate::storage::agent::{self, FailedTurn, Version};
use crate::storage::model::{self, Access, CallRow, ModelTurn, RequestRow, RoundRow};
use crate::storage::model_budget::{self, ToReserve};
use crate::storage::turn::Claim;
use crate::storage::{Storage, database, new_id};
use crate::telemetry::metrics;

/// The pause before a turn is tried again whose request may reach a limit together with others.
const BUSY_SECONDS: u32 = 2;

/// What operators are told of a limit that is reached.
const SESSION_SPENT: &str =
    "the session has used what a session may use of the model (llm.max_tokens_per_session, llm.max_cost_per_session)";
const PROJECT_SPENT: &str = "the project has used what its models may use today; the day ends at midnight UTC, and PATCH /v1/project raises the limit (llm_max_tokens_per_day, llm_max_cost_per_day)";

/// What the requests of a turn may use and cost.
#[derive(Debug, Clone, Copy)]
struct Budget {
    /// What the project pays for the model, if it has a price.
    price: Option<ModelPrice>,
    session_tokens: Option<i64>,
    session_cost: Option<i64>,
}

/// What a turn of a language model has besides. The key is read for each turn, so that a new one is
/// used at once.
pub(crate) async fn access(
    storage: &Storage,
    keys: &SecretKeys,
    circuits: &ModelCircuits,
    (claim, version): (&Claim, &Version),
) -> Result<Option<ModelAccess>, Failure> {
    let llm = match &version.spec {
        AgentSpec::Script { .. } | AgentSpec::Http { .. } => return Ok(None),
        AgentSpec::Llm { llm, .. } => llm,
    };
    let reading = model::access(storage, keys, claim.agent_id, &llm.model);
    let read = database::with_timeout(reading).await;
    let Access { key, key_set_at, price } = read.map_err(|error| Failure::of_ours(error.to_string()))?;
    let budget = Budget { price, session_tokens: llm.max_tokens_per_session, session_cost: llm.max_cost_per_session };
    let circuits = circuits.of_turn((claim.project_id, claim.agent_id), &llm.base_url, key_set_at);
    Ok(Some(ModelAccess { key, record: Arc::new(ModelRecord::of(storage, claim, budget, circuits)) }))
}

/// The record of one attempt at a turn.
#[derive(Clone)]
pub(crate) struct ModelRecord {
    storage: Storage,
    turn: ModelTurn,
    budget: Budget,
    circuits: TurnCircuits,
}

impl ModelRecord {
    /// The record of a claimed turn.
    fn of(storage: &Storage, claim: &Claim, budget: Budget, circuits: TurnCircuits) -> Self {
        let turn = ModelTurn {
            turn_id: claim.turn_id,
            project_id: claim.project_id,
            session_id: claim.session_id,
            agent_id: claim.agent_id,
            agent_version: claim.agent_version,
            attempt: claim.attempt,
        };
        Self { storage: storage.clone(), turn, budget, circuits }
    }

    async fn load(&self) -> Result<Vec<Round>, AgentError> {
        let loading = async { model::rounds(&mut *self.storage.connection().await?, self.turn.turn_id).await };
        let rows = database::with_timeout(loading).await.map_err(ours)?;
        rows.into_iter().map(round_of).collect()
    }
}

impl ModelRecord {
    fn cost(&self, tokens: ModelTokens) -> Option<i64> {
        self.budget.price.map(|price| price.cost(tokens))
    }

    async fn reserve_most(&self, most: ModelTokens) -> Result<Uuid, AgentError> {
        let Budget { session_tokens, session_cost, .. } = self.budget;
        let to_reserve = ToReserve {
            reservation: new_id(),
            project_id: self.turn.project_id,
            session_id: self.turn.session_id,
            tokens: most.total(),
            cost: self.cost(most).unwrap_or(0),
            session_tokens,
            session_cost,
        };
        let reserving = async { model_budget::reserve(&mut *self.storage.connection().await?, to_reserve).await };
        let reserved = database::with_timeout(reserving).await.map_err(ours)?;
        let (limit, what) = match reserved.outcome {
            ReservationOutcome::Reserved => return Ok(to_reserve.reservation),
            ReservationOutcome::Busy => {
                return Err(AgentError::NotNow {
                    what: "the requests that run may use all that the project's models may use today".to_owned(),
                    seconds: BUSY_SECONDS,
                });
            }
            ReservationOutcome::SessionSpent => ("session", SESSION_SPENT),
            ReservationOutcome::ProjectSpent => ("project", PROJECT_SPENT),
        };
        metrics::LLM_BUDGET_REFUSALS.count(&[limit]);
        if reserved.is_first {
            self.tell(what).await;
        }
        Err(AgentError::OverBudget(what.to_owned()))
    }

    /// Tells the operators that a limit is reached: once for a session, and once a day for a
    /// project.
    async fn tell(&self, what: &'static str) {
        tracing::error!(
            reason = what,
            "language models have used what they may; contacts get the error_message of the agent"
        );
        let turn = FailedTurn {
            project_id: self.turn.project_id,
            agent_id: self.turn.agent_id,
            session_id: self.turn.session_id,
            version: self.turn.agent_version,
        };
        let recording = async {
            let mut connection = self.storage.connection().await?;
            agent::record_error(&mut connection, turn, AgentErrorCode::OverBudget, what).await
        };
        if let Err(error) = database::with_timeout::<_, sqlx::Error, _>(recording).await {
            tracing::warn!(%error, "the error of the agent could not be recorded");
        }
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

    fn permit(&self) -> Result<(), NotPermitted> {
        self.circuits.permit()
    }

    fn observe(&self, outcome: RequestOutcome) {
        self.circuits.record(outcome);
    }

    fn reserve(&self, most: ModelTokens) -> Recording<'_, Uuid> {
        Box::pin(async move {
            let reserved = self.reserve_most(most).await;
            if reserved.is_err() {
                self.circuits.withdraw();
            }
            reserved
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
                cost: self.cost(request.used),
                used_tokens: request.used.total(),
                reservation: request.reservation,
            };
            let counting = async { model::add_request(&mut *self.storage.connection().await?, self.turn, &row).await };
            database::with_timeout(counting).await.map_err(ours)
        })
    }
}
