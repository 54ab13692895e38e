//! Language models: their keys, what a turn of a model did, and each request to a model.
//! [`crate::storage::model_budget`] has what they may use.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::llm::ModelFinish;
use crate::domain::llm_budget::ModelPrice;
use crate::failpoint;
use crate::secret::{SecretContext, SecretKeys};
use crate::storage::carrier_account::AccountError;
use crate::storage::pagination::{Page, rows_to_read};
use crate::storage::{Storage, database};

/// A turn of a model, as its rows name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelTurn {
    pub turn_id: Uuid,
    pub project_id: Uuid,
    pub session_id: Uuid,
    pub agent_id: Uuid,
    pub agent_version: i32,
    /// Which attempt this is, from 1.
    pub attempt: i32,
}

/// A round that an earlier attempt kept.
#[derive(Debug, Clone)]
pub struct RoundRow {
    /// The message of the model, as it is sent back.
    pub message: Json<Value>,
    /// The calls of it that have run, in order.
    pub calls: Json<Vec<CallRow>>,
}

/// A call of a tool that has run: with an answer, or with the error that the model gets.
#[derive(Debug, Clone, Deserialize)]
pub struct CallRow {
    /// The number of the round, from 0.
    pub round: i32,
    /// The position in its message, from 0.
    pub position: i32,
    pub name: String,
    pub answer: Option<Value>,
    pub error: Option<String>,
}

/// A request to a model.
#[derive(Debug, Clone)]
pub struct RequestRow<'a> {
    pub round: i32,
    pub model: &'a str,
    pub finish: ModelFinish,
    /// Tokens of the request, those that were cached, those of the answer, and those of thoughts.
    pub tokens: [Option<i32>; 4],
    pub milliseconds: i32,
    pub error: Option<&'a str>,
    /// The cost, if the model has a price.
    pub cost: Option<i64>,
    /// How many tokens it used, as it counts against the limits.
    pub used_tokens: i64,
    /// What was reserved for it.
    pub reservation: Uuid,
}

/// What earlier attempts of a turn kept, in order.
pub async fn rounds(connection: &mut PgConnection, turn_id: Uuid) -> Result<Vec<RoundRow>, sqlx::Error> {
    sqlx::query_file_as!(RoundRow, "sql/queries/model/rounds.sql", turn_id).fetch_all(connection).await
}

/// Keeps a message of the model that calls tools.
pub async fn add_round(
    connection: &mut PgConnection,
    turn: ModelTurn,
    round: i32,
    message: &Value,
) -> Result<(), sqlx::Error> {
    let ModelTurn { turn_id, project_id, session_id, .. } = turn;
    failpoint::reach("model.before_message");
    let adding = sqlx::query_file!("sql/queries/model/add_round.sql", turn_id, round, project_id, session_id, message)
        .execute(connection);
    failpoint::during("model.in_message", adding).await?;
    failpoint::reach("model.after_message");
    Ok(())
}

/// Keeps a call of a tool with its result.
pub async fn add_call(connection: &mut PgConnection, turn: ModelTurn, call: &CallRow) -> Result<(), sqlx::Error> {
    let ModelTurn { turn_id, project_id, session_id, .. } = turn;
    let CallRow { round, position, name, answer, error } = call;
    let error = error.as_deref().map(database::strip_nul);
    failpoint::reach("model.before_call");
    let adding = sqlx::query_file!(
        "sql/queries/model/add_call.sql",
        turn_id,
        round,
        position,
        project_id,
        session_id,
        name,
        answer.as_ref(),
        error
    )
    .execute(connection);
    failpoint::during("model.in_call", adding).await?;
    failpoint::reach("model.after_call");
    Ok(())
}

/// Counts a request to a model.
pub async fn add_request(
    connection: &mut PgConnection,
    turn: ModelTurn,
    request: &RequestRow<'_>,
) -> Result<(), sqlx::Error> {
    let ModelTurn { turn_id, project_id, session_id, agent_id, agent_version, attempt } = turn;
    let RequestRow { round, model, finish, tokens: [prompt, cached, output, reasoning], milliseconds, .. } = request;
    sqlx::query_file!(
        "sql/queries/model/add_request.sql",
        project_id,
        session_id,
        agent_id,
        agent_version,
        turn_id,
        attempt,
        round,
        *model,
        *finish as _,
        *prompt,
        *cached,
        *output,
        *reasoning,
        milliseconds,
        request.error,
        request.reservation,
        request.used_tokens,
        request.cost.unwrap_or(0),
        request.cost
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A request to a model, as operators see it.
#[derive(Debug, Clone)]
pub struct ListedRequest {
    pub id: i64,
    pub turn_id: Uuid,
    pub attempt: i32,
    pub round: i32,
    pub agent_id: Uuid,
    pub agent_version: i32,
    pub model: String,
    pub finish: ModelFinish,
    pub prompt_tokens: Option<i32>,
    pub cached_tokens: Option<i32>,
    pub output_tokens: Option<i32>,
    pub reasoning_tokens: Option<i32>,
    pub cost: Option<i64>,
    pub milliseconds: i32,
    pub error: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// The requests to models of a session, oldest first, after the one that the cursor names.
pub async fn list_requests(
    connection: &mut PgConnection,
    (project_id, session_id): (Uuid, Uuid),
    after: Option<i64>,
    limit: u32,
) -> Result<Page<ListedRequest>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        ListedRequest,
        "sql/queries/model/list_requests.sql",
        project_id,
        session_id,
        after,
        rows_to_read(limit)
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |request| request.id.to_string()))
}

/// What a turn needs of an agent at its model's provider.
#[derive(Debug)]
pub struct Access {
    /// The key, if one was set.
    pub key: Option<SecretString>,
    /// When it was set.
    pub key_set_at: Option<DateTime<Utc>>,
    /// What the project pays for the model, if it has a price.
    pub price: Option<ModelPrice>,
}

/// What a turn of an agent needs to use a model.
pub async fn access(storage: &Storage, keys: &SecretKeys, agent_id: Uuid, model: &str) -> Result<Access, AccountError> {
    let found = sqlx::query_file!("sql/queries/model/access.sql", agent_id, model)
        .fetch_one(&mut *storage.connection().await?)
        .await?;
    let context = SecretContext::of_model_key(found.project_id, agent_id);
    let key = match found.key_id.zip(found.encrypted) {
        Some((key_id, encrypted)) => Some(keys.decrypt(&context, &key_id, &encrypted)?),
        None => None,
    };
    let price = found.input.zip(found.output);
    let price = price.map(|(input, output)| ModelPrice { input, cached_input: found.cached_input, output });
    Ok(Access { key, key_set_at: found.set_at, price })
}

/// Sets the key of an agent at its model's provider.
pub async fn set_key(
    connection: &mut PgConnection,
    keys: &SecretKeys,
    (project_id, agent_id): (Uuid, Uuid),
    key: &SecretString,
) -> Result<(), sqlx::Error> {
    let encrypted = keys.encrypt(&SecretContext::of_model_key(project_id, agent_id), key);
    sqlx::query_file!("sql/queries/model/set_key.sql", agent_id, project_id, keys.id(), encrypted)
        .execute(connection)
        .await?;
    Ok(())
}
