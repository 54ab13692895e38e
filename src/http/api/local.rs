//! The API inside a command: the same operations with the same checks, without a key and without a
//! server.

use poem::endpoint::BoxEndpoint;
use poem::http::{Method, Uri, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route};
use serde_json::Value;
use uuid::Uuid;

use super::request_check::{self, Given};
use super::{ApiState, agents, attachable, operations, service};
use crate::http::problem;
use crate::storage::agent::NewVersion;
use crate::storage::api_key::Key;

/// The API as a key of one project that may do everything uses it.
pub struct LocalApi {
    state: ApiState,
    project_id: Uuid,
    routes: BoxEndpoint<'static, Response>,
}

/// The answer of an operation that refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({code})")]
pub struct Refused {
    /// The stable name of the problem.
    pub code: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

impl LocalApi {
    /// The API for the operator of a project, who has the database and so needs no key.
    pub fn of_project(state: ApiState, project_id: Uuid) -> Self {
        let key = Key { project_id, scopes: vec!["admin".to_owned()] };
        let operations = operations();
        let checked = service().data(state.clone()).around(move |next, mut request: Request| {
            let (key, operations) = (key.clone(), operations.clone());
            async move {
                let body = request.take_body().into_vec().await?;
                operations.check(&Given::of(&request, &body))?;
                request.set_body(body);
                request.extensions_mut().insert(key);
                next.call(request).await
            }
        });
        Self { state, project_id, routes: Route::new().nest("/v1", checked).map_to_response().boxed() }
    }

    /// Errors when a number could not be attached. Nothing is changed.
    pub async fn check_number(&self, number: &str) -> Result<(), Refused> {
        let checked = attachable::check(&self.state, self.project_id, number).await;
        checked.map_err(|problem| refused(problem.code(), problem.detail().to_owned()))
    }

    /// Calls an operation, such as `POST /v1/agents`.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Refused> {
        let uri: Uri = path.parse().map_err(|_| refused("path_invalid", format!("{path} is no path of the API")))?;
        // The operations ask for the form of a key. The key itself was given above.
        let request =
            Request::builder().method(method).uri(uri).header(header::AUTHORIZATION, "Bearer of-the-operator");
        let request = match body {
            Some(body) => request.content_type("application/json").body(body.to_string()),
            None => request.finish(),
        };
        let answer = match self.routes.call(request).await {
            Ok(answer) => answer.into_response(),
            Err(error) => problem::from_error(error).await,
        };
        let is_success = answer.status().is_success();
        let body = answer.into_body().into_bytes().await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if is_success {
            return Ok(body);
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(refused(&text("code"), text("detail")))
    }
}

/// Reads an agent as `POST /v1/agents` takes it, without a project. Its script, its prompt and its
/// addresses are left to the agent runtime. Each fault begins with the name of a field.
pub fn read_agent(agent: &Value) -> Result<NewVersion, Vec<String>> {
    let faults = operations().faults(&Method::POST, "agents", agent);
    if !faults.is_empty() {
        return Err(faults);
    }
    agents::read(agent.clone()).map_err(|fault| vec![fault])
}

/// Reads JSON as the body of a request is read: a field that is given twice is refused.
pub fn read_json(text: &str) -> Result<Value, String> {
    request_check::read_json(text.as_bytes())
}

fn refused(code: &str, detail: String) -> Refused {
    Refused { code: code.to_owned(), detail }
}
