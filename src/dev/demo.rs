//! The demo project of `textback dev`, made through our own API like anybody's; it has no way of
//! its own into the storage.

use serde::Deserialize;
use serde_json::{Value, json};
use twilio_simulator::{Account, Simulator};
use uuid::Uuid;

use super::folder::{Folder, FolderError};
use crate::secret::{SecretKeys, sha256};
use crate::storage::{Storage, api_key, project};

/// The number that the demo agent answers.
pub const NUMBER: &str = "+14155550199";
const NAME: &str = "demo";
const AGENT: &str = include_str!("../../examples/agents/demo.star");

/// The demo project.
pub struct Demo {
    pub project_id: Uuid,
    pub api_key: String,
}

/// The method of an operation of the API, and its path below `/v1`.
pub type Operation<'a> = (&'a str, &'a str);

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("our own API does not answer: {0}")]
    NotReached(String),
    #[error("our own API refused {0}")]
    Refused(String),
}

/// The project and its key: made at the first start, found again at the next.
pub async fn project(storage: &Storage, folder: &Folder) -> Result<Demo, DemoError> {
    let kept = folder.read("api.key")?;
    let mut transaction = storage.transaction().await?;
    let known = match &kept {
        Some(api_key) => api_key::find(&mut transaction, api_key).await?.map(|found| found.project_id),
        None => None,
    };
    if let (Some(api_key), Some(project_id)) = (kept, known) {
        return Ok(Demo { project_id, api_key });
    }
    let (project_id, api_key) = match project::find_by_name(&mut transaction, NAME).await? {
        Some(found) => (found.id, api_key::create(&mut transaction, found.id).await?),
        None => {
            let (made, api_key) = project::create(&mut transaction, NAME).await?;
            (made.id, api_key)
        }
    };
    transaction.commit().await?;
    folder.write("api.key", &api_key)?;
    Ok(Demo { project_id, api_key })
}

/// Gives the project an account at the simulated carrier, an agent, and a number. `api` calls our
/// own API.
pub async fn furnish(
    api: impl AsyncFn(Operation<'_>, Option<Value>) -> Result<(u16, Value), String>,
    simulator: &Simulator,
    secret_key: &SecretKeys,
) -> Result<(), DemoError> {
    // The same at each start, so that nothing that is on its way loses its signature.
    let drawn = |what: &str| hex::encode(&sha256(format!("{what} {}", secret_key.id()).as_bytes())[..16]);
    let account = Account::new(&format!("AC{}", drawn("account")), &drawn("token"));
    simulator.add_account(account.clone());
    simulator.add_number(&account.sid, NUMBER);

    let call = async |operation: Operation<'_>, body: Option<Value>| -> Result<Value, DemoError> {
        let (status, answer) = api(operation, body).await.map_err(DemoError::NotReached)?;
        let path = operation.1;
        if (200..300).contains(&status) {
            Ok(answer)
        } else {
            Err(DemoError::Refused(format!("{path} ({status}): {answer}")))
        }
    };
    let credentials = json!({"account_sid": account.sid, "auth_token": account.auth_token});
    call(("PUT", "carrier"), Some(credentials)).await?;
    let agents: Agents = serde_json::from_value(call(("GET", "agents?limit=200"), None).await?).unwrap_or_default();
    let agent_id = match agents.items.into_iter().find(|agent| agent.name == NAME) {
        Some(agent) => agent.id,
        None => {
            let agent = json!({"name": NAME, "kind": "script", "source": AGENT, "error_message": "Sorry, something went wrong. Please try again."});
            let made: Agent = serde_json::from_value(call(("POST", "agents"), Some(agent)).await?)
                .map_err(|error| DemoError::Refused(error.to_string()))?;
            made.id
        }
    };
    // The number keeps the agent and the environment that somebody gave it. It is attached at each
    // start, because our address may have changed.
    let numbers: Numbers = serde_json::from_value(call(("GET", "numbers?limit=200"), None).await?).unwrap_or_default();
    let kept = numbers.items.into_iter().find(|number| number.number == NUMBER).map(|number| number.agent_id);
    let number = match kept {
        Some(agent_id) => json!({"number": NUMBER, "agent_id": agent_id}),
        None => json!({"number": NUMBER, "agent_id": agent_id, "environment": "sandbox"}),
    };
    call(("POST", "numbers"), Some(number)).await?;
    Ok(())
}

#[derive(Deserialize, Default)]
struct Agents {
    items: Vec<Agent>,
}

#[derive(Deserialize, Default)]
struct Numbers {
    items: Vec<Number>,
}

#[derive(Deserialize)]
struct Number {
    number: String,
    agent_id: Uuid,
}

#[derive(Deserialize)]
struct Agent {
    id: Uuid,
    name: String,
}
