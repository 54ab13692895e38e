//! The circuits of the servers of language models, and of the keys there.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::agents::llm::record::{NotPermitted, RequestOutcome};
use crate::jobs::runtime::circuit_breaker::{CircuitBreakers, CircuitKey};

/// For how many seconds a key that is refused is not tried. Only the operator can repair that.
const ACCOUNT_RESTS: f64 = 60.0;

/// A server that a project calls. Each project has its own circuit, so that no project can keep
/// another one from a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ModelServer {
    project_id: Uuid,
    base_url: String,
}

impl CircuitKey for ModelServer {
    const KIND: &'static str = "model_server";

    fn log_opening(&self, failures: u32, seconds: f64) {
        let project_id = self.project_id;
        tracing::error!(%project_id, failures, seconds, "a server of language models failed repeatedly; its turns were put off");
    }

    fn log_closing(&self) {
        tracing::info!(project_id = %self.project_id, "a server of language models worked again");
    }
}

/// A key of an agent at a server. A new key begins with a closed circuit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ModelAccount {
    server: ModelServer,
    agent_id: Uuid,
    key_set_at: Option<DateTime<Utc>>,
}

impl CircuitKey for ModelAccount {
    const KIND: &'static str = "model_account";

    fn log_opening(&self, failures: u32, seconds: f64) {
        let project_id = self.server.project_id;
        tracing::error!(%project_id, failures, seconds, "a server of language models refused a key or an account repeatedly; contacts get the error_message of the agent");
    }

    fn log_closing(&self) {
        tracing::info!(project_id = %self.server.project_id, "a server of language models takes a key again");
    }
}

/// The circuits of a process. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(crate) struct ModelCircuits {
    servers: CircuitBreakers<ModelServer>,
    accounts: CircuitBreakers<ModelAccount>,
}

/// The circuits of one turn.
#[derive(Clone)]
pub(crate) struct TurnCircuits {
    circuits: ModelCircuits,
    account: ModelAccount,
}

impl ModelCircuits {
    /// The circuits of a turn of an agent that calls a server with the key that was set at a time.
    pub(crate) fn of_turn(
        &self,
        (project_id, agent_id): (Uuid, Uuid),
        base_url: &str,
        key_set_at: Option<DateTime<Utc>>,
    ) -> TurnCircuits {
        let server = ModelServer { project_id, base_url: base_url.trim_end_matches('/').to_owned() };
        TurnCircuits { circuits: self.clone(), account: ModelAccount { server, agent_id, key_set_at } }
    }
}

impl TurnCircuits {
    /// Whether the server may be called now.
    pub(crate) fn permit(&self) -> Result<(), NotPermitted> {
        let Self { circuits, account } = self;
        circuits.accounts.permit(account).map_err(|_| NotPermitted::AccountRefused)?;
        circuits.servers.permit(&account.server).map_err(|wait| {
            circuits.accounts.withdraw(account);
            NotPermitted::ServerFails(wait)
        })
    }

    /// Gives back a permission, because no request was made.
    pub(crate) fn withdraw(&self) {
        let Self { circuits, account } = self;
        circuits.accounts.withdraw(account);
        circuits.servers.withdraw(&account.server);
    }

    /// Keeps how the server took a request.
    pub(crate) fn record(&self, outcome: RequestOutcome) {
        let Self { circuits: ModelCircuits { servers, accounts }, account } = self;
        let server = account.server.clone();
        match outcome {
            RequestOutcome::Answered => {
                accounts.record_success(account.clone());
                servers.record_success(server);
            }
            RequestOutcome::Failed(after) => servers.record_failure(server, after.map(|after| after.as_secs_f64())),
            RequestOutcome::AccountRefused => {
                accounts.record_failure(account.clone(), Some(ACCOUNT_RESTS));
                servers.record_success(server);
            }
        }
    }
}
