//! Builds error responses: problem+json (RFC 9457) with a stable code. No response contains an
//! error text of the database.

use std::time::Duration;

use poem::error::{MethodNotAllowedError, ResponseError};
use poem::http::{StatusCode, header};
use poem::{Body, Endpoint, EndpointExt, IntoEndpoint, IntoResponse, Response, post};
use poem_openapi::error::{ParseParamError, ParsePathError, ParseRequestPayloadError};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};

use crate::agents::AgentError;
use crate::domain::bounds;
use crate::repeating::Repeating;
use crate::storage::batcher::BatchError;
use crate::storage::carrier_account::AccountError;
use crate::storage::database;

const CONTENT_TYPE: &str = "application/problem+json";

/// Requests that fail because of the database's schema: every one does, until the operator acts.
static NO_SCHEMA: Repeating = Repeating::new();
static UNAVAILABLE: Repeating = Repeating::new();

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    /// After how many seconds a retry may succeed.
    retry_after: Option<u32>,
    /// Whether the response is sent before the whole body was read.
    body_unread: bool,
    /// The methods of the path, for the header `Allow`: RFC 9110, section 15.5.6.
    allow: Option<String>,
}

/// The body of every error (RFC 9457).
#[derive(Object)]
#[oai(rename = "Problem")]
struct ProblemBody {
    /// Always `about:blank`. The `code` says what kind of problem it is.
    r#type: String,
    /// The name of the HTTP status.
    title: String,
    /// The HTTP status.
    status: u16,
    /// A stable name of the problem, for programs.
    code: String,
    /// What is wrong with which value, and what to do.
    detail: String,
}

impl Problem {
    /// A problem with a code of its own.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        // The detail may echo input of any length.
        Self { status, code, detail: bounds::error(&detail.into()), retry_after: None, body_unread: false, allow: None }
    }

    /// The same problem with a Retry-After of `seconds`.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The path has other methods than the request's (405).
    pub fn method_not_allowed(methods: &[&str]) -> Self {
        let allow = methods.join(", ");
        let detail = format!("this path supports {allow} only; the OpenAPI document lists the methods of each path");
        let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
        Self { allow: Some(allow), ..problem }
    }

    /// The request is invalid (422).
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// The project has no such resource (404). A resource of another project is not found either.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("this project has no such {what}"))
    }

    /// The request conflicts with the current state (409).
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// A limit is reached (429). A message may be sent again after this many seconds.
    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after_seconds: Option<f64>) -> Self {
        let wait = Duration::try_from_secs_f64(retry_after_seconds.unwrap_or(1.0).ceil().max(1.0)).unwrap_or_default();
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail);
        problem.retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX))
    }

    /// A template that is invalid (422), or that could not be checked now (503).
    pub fn of_template(code: &'static str, error: AgentError) -> Self {
        match error {
            AgentError::Ours(what) | AgentError::NotNow { what, .. } | AgentError::Interrupted(what) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "template_not_tried",
                format!("the template could not be checked: {what}; try again"),
            ),
            AgentError::Failed(what)
            | AgentError::OverLimit(what)
            | AgentError::OverBudget(what)
            | AgentError::Unusable(what) => Self::invalid(code, what),
        }
    }

    /// The request has no API key (401).
    pub fn key_missing() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "api_key_missing",
            "the request has no API key; send Authorization: Bearer tb_…",
        )
    }

    /// The problem of an item that was not stored with its batch (503).
    pub fn of_batch(error: &BatchError) -> Self {
        match error {
            BatchError::Database(of) => Self::of_the_schema(of).unwrap_or_else(|| Self::unavailable(error)),
            BatchError::Stopped => Self::unavailable(error),
        }
    }

    /// The database is unavailable (503). The cause goes to the log.
    fn unavailable(error: &dyn std::error::Error) -> Self {
        if let Some(times) = UNAVAILABLE.observe("", &error.to_string()) {
            tracing::error!(%error, times, "a request failed because the database is unavailable");
        }
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", "the database does not answer; try again")
    }

    /// The database lacks the schema of this binary, or the role lacks a right (503): the operator
    /// must act, and the request was right.
    fn of_the_schema(error: &sqlx::Error) -> Option<Self> {
        let lacks = database::what_is_missing(error)?;
        match (lacks, NO_SCHEMA.observe("", &error.to_string())) {
            (_, None) => {}
            (database::Missing::Schema, Some(times)) => {
                tracing::error!(%error, times, "a request failed because of the database's schema; /readyz says what to do");
            }
            (database::Missing::Right, Some(times)) => {
                tracing::error!(%error, times, "a request failed because a right is missing in the database; /readyz says which");
            }
        }
        Some(match lacks {
            database::Missing::Schema => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "schema_outdated",
                "the database does not have the schema of this version of textback, or its role may not use it; /readyz says which, and what the operator must do",
            ),
            database::Missing::Right => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "database_rights_missing",
                "the role of textback lacks a right in the database; its operator must run: textback migrate --grant-to ROLE",
            ),
        })
    }

    /// We failed (500). The caller logs the cause.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "an internal error occurred; the log has its cause",
        )
    }

    /// The same problem as a response before the whole body was read. The connection can't be
    /// reused, so the response closes it.
    #[must_use]
    pub const fn before_the_body(mut self) -> Self {
        self.body_unread = true;
        self
    }

    /// What is wrong, in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status.
    pub fn status_code(&self) -> u16 {
        self.status.as_u16()
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Database(ref of) => Self::of_the_schema(of).unwrap_or_else(|| Self::unavailable(&error)),
            AccountError::TooManyUnknown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_unknown_keys", format!("{error}; try again"))
                    .retry_after(1)
            }
            // The error contains ids of keys, but no key.
            AccountError::Secret(error) => {
                tracing::error!(%error, "a stored secret could not be decrypted");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "secret_unreadable", error.to_string())
            }
        }
    }
}

impl From<AgentError> for Problem {
    /// The problem of a script that could not be checked.
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Ours(what) | AgentError::NotNow { what, .. } | AgentError::Interrupted(what) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "script_not_checked",
                format!("the script could not be checked: {what}; try again"),
            ),
            error => Self::invalid("script_has_faults", error.to_string()),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if let Some(problem) = Self::of_the_schema(&error) {
            return problem;
        }
        match &error {
            // NUL in a text (PostgreSQL's error class 22).
            sqlx::Error::Database(refused) if matches!(refused.code().as_deref(), Some("22021" | "22P05")) => {
                Self::invalid(
                    "text_has_nul",
                    "a text in the request contains the character NUL (U+0000), which can't be stored; remove it",
                )
            }
            // The other errors of class 22: a number or a time outside the range of its column.
            sqlx::Error::Database(refused) if refused.code().is_some_and(|code| code.starts_with("22")) => {
                tracing::warn!(error = %refused, "a value of a request could not be stored");
                Self::invalid("value_refused", "a value in the request is outside the range that can be stored")
            }
            // The names of our constraints are readable sentences.
            sqlx::Error::Database(refused) if refused.is_check_violation() => {
                let rule = refused.constraint().unwrap_or("a rule").replace('_', " ");
                Self::invalid("value_refused", format!("a value breaks a rule: {rule}"))
            }
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
                tracing::error!(%error, "a row could not be decoded");
                Self::internal()
            }
            sqlx::Error::Database(refused) if !database::is_unavailable(refused.as_ref()) => {
                tracing::error!(error = %refused, constraint = refused.constraint(), "the database refused a statement");
                Self::internal()
            }
            _ => Self::unavailable(&error),
        }
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = Response::builder().status(self.status).header(header::CONTENT_TYPE, CONTENT_TYPE);
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3: a wrong key is an invalid token; for a missing key the challenge
            // has no error.
            let challenge = match self.code {
                "api_key_invalid" => r#"Bearer realm="textback", error="invalid_token""#,
                _ => r#"Bearer realm="textback""#,
            };
            response = response.header(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            response = response.header(header::RETRY_AFTER, seconds.to_string());
        }
        if self.body_unread {
            response = response.header(header::CONNECTION, "close");
        }
        if let Some(methods) = &self.allow {
            response = response.header(header::ALLOW, methods);
        }
        response.body(Body::from_string(body.to_string()))
    }
}

/// Documents the schema of all errors, once per operation.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "What went wrong (RFC 9457)",
                status: None,
                status_range: None,
                content: vec![MetaMediaType { content_type: CONTENT_TYPE, schema: ProblemBody::schema_ref() }],
                headers: Vec::new(),
            }],
        }
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}

/// A route that answers POST only, and says so of any other method.
pub fn post_only(handler: impl IntoEndpoint<Endpoint = impl Endpoint + 'static>) -> impl Endpoint<Output = Response> {
    post(handler).catch_error(async |_: MethodNotAllowedError| Problem::method_not_allowed(&["POST"]).as_response())
}

/// An error of a request's form without the value that was found, because that may be a secret.
fn without_value(detail: &str) -> String {
    let Some((expected, found)) = detail.split_once(", found ") else { return detail.to_owned() };
    let after = found.rfind(" (occurred while").and_then(|at| found.get(at..)).unwrap_or_default();
    format!("{expected}{after}")
}

/// Turns the errors of poem itself (routes, parameters, bodies, keys) into problems.
pub async fn from_error(error: poem::Error) -> Response {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return problem.as_response();
    }
    let status = error.status();
    let detail = without_value(&error.to_string());
    let problem = match status {
        StatusCode::NOT_FOUND => {
            Problem::new(status, "not_found", "this path does not exist; the OpenAPI document lists all paths")
        }
        // `request_check` and `post_only` answer for all other paths.
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(&["GET", "HEAD"]),
        StatusCode::UNAUTHORIZED => Problem::key_missing(),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status, "body_too_large", detail),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(status, "content_type_unsupported", "send Content-Type: application/json")
        }
        // These errors name types of Rust. `request_check` refuses first whatever they refuse, in
        // words.
        _ if error.is::<ParseParamError>()
            || error.is::<ParsePathError>()
            || error.is::<ParseRequestPayloadError>() =>
        {
            tracing::warn!(error = %detail, "a request passed its check and could not be parsed");
            Problem::new(status, "request_invalid", "the request does not fit the OpenAPI document")
        }
        _ if status.is_client_error() => Problem::new(status, "request_invalid", detail),
        _ => {
            tracing::error!(error = %detail, "a request failed");
            Problem { status, ..Problem::internal() }
        }
    };
    problem.as_response().into_response()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;
    use std::sync::Arc;

    use super::*;

    /// An error of the database with this code.
    #[derive(Debug)]
    struct Told(&'static str);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("permission denied for table turn")
        }
    }

    impl Error for Told {}

    impl sqlx::error::DatabaseError for Told {
        fn message(&self) -> &str {
            "permission denied for table turn"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    #[test]
    fn a_message_that_lacks_a_right_is_told_so_and_not_that_the_database_is_away() {
        for (sqlstate, code) in
            [("42501", "database_rights_missing"), ("42P01", "schema_outdated"), ("57P01", "database_unavailable")]
        {
            let error = BatchError::Database(Arc::new(sqlx::Error::Database(Box::new(Told(sqlstate)))));
            assert_eq!(Problem::of_batch(&error).code(), code);
        }
        assert_eq!(Problem::of_batch(&BatchError::Stopped).code(), "database_unavailable");
    }

    #[test]
    fn an_error_of_a_request_does_not_repeat_its_value() {
        let detail = r#"parse request payload error: Expected input type "string", found {"token":"hunter2, found"}. (occurred while parsing "Credentials")"#;
        let shown = without_value(detail);
        assert_eq!(
            shown,
            r#"parse request payload error: Expected input type "string" (occurred while parsing "Credentials")"#
        );
        assert_eq!(without_value("EOF while parsing"), "EOF while parsing");
    }

    #[test]
    fn only_a_response_before_the_whole_body_closes_the_connection() {
        let closes = |problem: Problem| problem.as_response().headers().contains_key(header::CONNECTION);
        assert!(!closes(Problem::too_many("contact_limit_reached", "a limit", None)));
        assert!(!closes(Problem::not_found("session")));
        assert!(closes(Problem::key_missing().before_the_body()));
        assert!(closes(Problem::too_many("too_many_wrong_keys", "a limit", None).before_the_body()));
    }
}
