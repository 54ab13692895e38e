//! What all calls to the API share: logins, errors, forms and pages of lists.

use std::sync::Arc;

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::StatusCode;
use poem::web::Json;
use poem::web::headers::authorization::Basic;
use poem::web::headers::{Authorization, HeaderMapExt};
use poem::{Endpoint, IntoResponse, Request, Response};
use serde_json::{Value, json};

use crate::Simulator;
use crate::form::Form;

const MAX_FORM_BYTES: usize = 256 * 1024;
/// How many items a page has if the caller does not say.
const DEFAULT_PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 1000;

/// The status and the body of an answer, or an error.
pub type Answer = Result<(StatusCode, Value), ApiError>;

/// An error as Twilio answers it
/// (<https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions>).
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: i32,
    message: String,
}

impl ApiError {
    /// The call is wrong: a code of <https://www.twilio.com/docs/api/errors>.
    pub fn bad_request(code: i32, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    /// The login is wrong, or of another account.
    pub fn unauthenticated() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, code: 20003, message: "Authenticate".to_owned() }
    }

    /// The key is restricted, and lacks a permission.
    pub fn forbidden() -> Self {
        let message = "The key lacks the permission for this resource".to_owned();
        Self { status: StatusCode::FORBIDDEN, code: 70051, message }
    }

    /// There is nothing at this path.
    pub fn not_found(path: &str) -> Self {
        let message = format!("The requested resource {path} was not found");
        Self { status: StatusCode::NOT_FOUND, code: 20404, message }
    }

    /// The account calls too often.
    pub fn too_many_requests() -> Self {
        Self { status: StatusCode::TOO_MANY_REQUESTS, code: 20429, message: "Too Many Requests".to_owned() }
    }

    /// Twilio failed.
    pub fn internal() -> Self {
        let message = "Internal Server Error".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, code: 20500, message }
    }

    /// An error with a status that a test chose.
    pub fn with_status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code: i32::from(status.as_u16()) + 20_000, message: "refused".to_owned() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let body = json!({
            "code": code,
            "message": message,
            "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
            "status": status.as_u16(),
        });
        Json(body).with_status(status).into_response()
    }
}

/// The response of an answer.
pub fn respond(answer: Answer) -> Response {
    match answer {
        Ok((StatusCode::NO_CONTENT, _)) => StatusCode::NO_CONTENT.into_response(),
        Ok((status, body)) => Json(body).with_status(status).into_response(),
        Err(error) => error.into_response(),
    }
}

/// Answers paths that the simulator does not have with an error in Twilio's shape that says so.
pub async fn explain_unknown_paths<E: Endpoint>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    let called = format!("{} {}", request.method(), request.original_uri().path());
    match next.call(request).await {
        Ok(response) => Ok(response.into_response()),
        Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
            Ok(ApiError::not_found(&format!("{called} (the simulator does not offer it)")).into_response())
        }
        Err(error) => Err(error),
    }
}

/// Checks that a call logs in to this account.
pub fn authenticate(simulator: &Simulator, request: &Request, account_sid: &str) -> Result<(), ApiError> {
    let caller = login(simulator, request)?;
    if caller == account_sid { Ok(()) } else { Err(ApiError::unauthenticated()) }
}

/// The account that a call logs in to (HTTP basic authentication).
pub fn login(simulator: &Simulator, request: &Request) -> Result<String, ApiError> {
    let login = request.headers().typed_get::<Authorization<Basic>>().ok_or_else(ApiError::unauthenticated)?;
    let mut records = simulator.store.lock();
    let host = request.headers().get("Host").and_then(|host| host.to_str().ok());
    records.api_base = host.map(|host| format!("http://{host}"));
    let account = records.accounts.values().find(|account| account.accepts(login.username(), login.password()));
    account.map(|account| account.sid.clone()).ok_or_else(ApiError::unauthenticated)
}

/// The form in a request's body.
pub async fn form(body: poem::Body) -> Result<Form, ApiError> {
    let bytes = body.into_bytes_limit(MAX_FORM_BYTES).await;
    bytes.map(|bytes| Form::parse(&bytes)).map_err(|error| ApiError::bad_request(20001, error.to_string()))
}

/// The query of a request.
pub fn query(request: &Request) -> Form {
    Form::parse(request.uri().query().unwrap_or_default().as_bytes())
}

/// Which items of a list a page shows.
struct PageRange {
    page: usize,
    size: usize,
    start: usize,
    end: usize,
    has_more: bool,
}

impl PageRange {
    fn of(query: &Form, items: usize) -> Self {
        let size = query.number("PageSize").unwrap_or(DEFAULT_PAGE_SIZE).clamp(1, MAX_PAGE_SIZE);
        let page: usize = query.number("Page").unwrap_or(0);
        let start = page.saturating_mul(size).min(items);
        let end = (start + size).min(items);
        Self { page, size, start, end, has_more: end < items }
    }
}

/// A page of a list in the format of the 2010 API.
pub fn page_2010(key: &str, path: &str, query: &Form, items: &[Value]) -> Value {
    let range = PageRange::of(query, items.len());
    let filters = query.encode_without(&["Page", "PageSize"]);
    let filters = if filters.is_empty() { filters } else { format!("&{filters}") };
    let uri = |page: usize| format!("{path}?Page={page}&PageSize={}{filters}", range.size);
    json!({
        key: items.get(range.start..range.end).unwrap_or_default(),
        "end": range.end.saturating_sub(1),
        "first_page_uri": uri(0),
        "next_page_uri": range.has_more.then(|| uri(range.page + 1)),
        "page": range.page,
        "page_size": range.size,
        "previous_page_uri": range.page.checked_sub(1).map(uri),
        "start": range.start,
        "uri": uri(range.page),
    })
}

/// A page of a list in the format of the newer APIs.
pub fn page_v1(key: &str, url: &str, query: &Form, items: &[Value]) -> Value {
    let range = PageRange::of(query, items.len());
    let page_url = |page: usize| format!("{url}?PageSize={}&Page={page}&PageToken=PT{page}", range.size);
    let meta = json!({
        "page": range.page,
        "page_size": range.size,
        "first_page_url": page_url(0),
        "previous_page_url": range.page.checked_sub(1).map(page_url),
        "url": page_url(range.page),
        "next_page_url": range.has_more.then(|| page_url(range.page + 1)),
        "key": key,
    });
    json!({key: items.get(range.start..range.end).unwrap_or_default(), "meta": meta})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_keep_their_filters() {
        let items: Vec<Value> = (0..5).map(Value::from).collect();
        let query = Form::parse(b"PageSize=2&Page=1&To=%2B1415");
        let page = page_2010("messages", "/path", &query, &items);
        assert_eq!(page["messages"], json!([2, 3]));
        assert_eq!(page["next_page_uri"], "/path?Page=2&PageSize=2&To=%2B1415");
        assert_eq!(page["previous_page_uri"], "/path?Page=0&PageSize=2&To=%2B1415");

        let last = page_v1("services", "https://host/v1", &Form::parse(b"PageSize=2&Page=2"), &items);
        assert_eq!((&last["services"], &last["meta"]["next_page_url"]), (&json!([4]), &Value::Null));
        let beyond = page_2010("messages", "/path", &Form::parse(b"Page=9"), &items);
        assert_eq!(beyond["messages"], json!([]));
    }
}
