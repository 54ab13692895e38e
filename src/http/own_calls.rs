//! Calls of the API that this process makes itself. They have no request id, and no line in the log
//! of requests.

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method, Uri, header};
use poem::{Body, Endpoint, EndpointExt, Request, Response};
use serde_json::Value;

use crate::http::router::{self, App};

/// Calls our own API with a key.
pub struct OwnCalls {
    routes: BoxEndpoint<'static, Response>,
    key: String,
}

impl OwnCalls {
    /// Calls with a key of the API.
    pub fn new(app: App, key: String) -> Self {
        Self { routes: router::for_own_calls(app).boxed(), key }
    }

    /// Calls an operation by its method and its path below `/v1`. Returns the status and the
    /// answer, or why there is none.
    pub async fn call(&self, (method, path): (&str, &str), body: Option<Value>) -> Result<(u16, Value), String> {
        let told = |error: &dyn std::fmt::Display| format!("{method} {path}: {error}");
        let address = format!("/v1/{path}").parse::<Uri>().map_err(|error| told(&error))?;
        let parsed = Method::from_bytes(method.as_bytes()).map_err(|error| told(&error))?;
        let request = Request::builder().method(parsed).uri(address);
        let mut request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key)).finish();
        if let Some(body) = body {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.set_body(Body::from_string(body.to_string()));
        }
        let answer = self.routes.call(request).await.map_err(|error| told(&error))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().into_json().await.map_err(|error| told(&error))?;
        Ok((status, body))
    }
}
