//! Twilio's REST paths that the product calls, with Twilio's shapes and error codes; it knows no others.
//!
//! <https://www.twilio.com/docs/messaging/api/message-resource>,
//! <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>.

use std::sync::Arc;

use chrono::Utc;
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::StatusCode;
use poem::web::headers::authorization::Basic;
use poem::web::headers::{Authorization, HeaderMapExt};
use poem::web::{Data, Json, Path};
use poem::{Endpoint, IntoResponse, Request, Response, Route, get, handler};
use serde_json::{Value, json};

use super::media::{get_medium, list_media};
use super::state::{Fault, Message, new_sid};
use super::{Simulator, numbers};
use crate::carriers::twilio::form::Form;

const MOST_CHARACTERS: usize = 1600;
const MOST_FORM_BYTES: usize = 256 * 1024;

/// The routes below `/2010-04-01`.
pub fn routes() -> Route {
    let routes = Route::new()
        .at("/Accounts/:account/Messages.json", get(list_messages).post(create_message))
        .at("/Accounts/:account/Messages/:sid", get(get_message))
        .at("/Accounts/:account/Messages/:sid/Media.json", get(list_media))
        .at("/Accounts/:account/Messages/:sid/Media/:medium", get(get_medium));
    numbers::add_to(routes)
}

/// Twilio's error body.
pub(super) struct Refusal(StatusCode, i32, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let body = json!({
            "code": code,
            "message": message,
            "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
            "status": status.as_u16(),
        });
        Json(body).with_status(status).into_response()
    }
}

pub(super) fn bad(code: i32, message: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, code, message.into())
}

pub(super) fn internal() -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, 20500, "Internal Server Error".to_owned())
}

pub(super) fn too_many() -> Refusal {
    Refusal(StatusCode::TOO_MANY_REQUESTS, 20429, "Too Many Requests".to_owned())
}

/// What a restricted key hears that lacks a permission.
pub(super) fn forbidden() -> Refusal {
    let message = "The key lacks the permission for this resource".to_owned();
    Refusal(StatusCode::FORBIDDEN, 70051, message)
}

pub(super) fn missing(path: &str) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, 20404, format!("The requested resource {path} was not found"))
}

/// What this Twilio does not offer is answered in Twilio's words, and says so.
pub(super) async fn or_not_offered<E: Endpoint>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    let asked = format!("{} {}", request.method(), request.original_uri().path());
    match next.call(request).await {
        Ok(answer) => Ok(answer.into_response()),
        Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
            Ok(missing(&format!("{asked} (the simulator does not offer it)")).into_response())
        }
        Err(error) => Err(error),
    }
}

pub(super) fn refused(status: u16) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refusal(status, i32::from(status.as_u16()) + 20_000, "refused".to_owned())
}

pub(super) fn answer(result: Result<(StatusCode, Value), Refusal>) -> Response {
    match result {
        Ok((StatusCode::NO_CONTENT, _)) => StatusCode::NO_CONTENT.into_response(),
        Ok((status, body)) => Json(body).with_status(status).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Basic auth with the account's token or one of its API keys.
pub(super) fn authenticate(simulator: &Simulator, request: &Request, account_sid: &str) -> Result<(), Refusal> {
    let asking = login(simulator, request)?;
    if asking == account_sid { Ok(()) } else { Err(unauthenticated()) }
}

fn unauthenticated() -> Refusal {
    Refusal(StatusCode::UNAUTHORIZED, 20003, "Authenticate".to_owned())
}

/// The account that a login is of.
pub(super) fn login(simulator: &Simulator, request: &Request) -> Result<String, Refusal> {
    let login = request.headers().typed_get::<Authorization<Basic>>().ok_or_else(unauthenticated)?;
    let mut memory = simulator.state.lock();
    memory.api_base =
        request.headers().get("Host").and_then(|host| host.to_str().ok()).map(|host| format!("http://{host}"));
    let fits = |account: &&super::Account| {
        let tokens = [Some(&account.auth_token), account.next_auth_token.as_ref()];
        (login.username() == account.sid && tokens.into_iter().flatten().any(|token| token == login.password()))
            || account.api_keys.get(login.username()).is_some_and(|secret| secret == login.password())
    };
    memory.accounts.values().find(fits).map(|account| account.sid.clone()).ok_or_else(unauthenticated)
}

pub(super) async fn form(body: poem::Body) -> Result<Form, Refusal> {
    let bytes = body.into_bytes_limit(MOST_FORM_BYTES).await.map_err(|error| bad(20001, error.to_string()))?;
    Ok(Form::read(&bytes))
}

#[handler]
async fn create_message(
    request: &Request,
    account: Path<String>,
    simulator: Data<&Simulator>,
    body: poem::Body,
) -> Response {
    answer(create(request, &account, &simulator, body).await)
}

async fn create(
    request: &Request,
    account_sid: &str,
    simulator: &Simulator,
    body: poem::Body,
) -> Result<(StatusCode, Value), Refusal> {
    authenticate(simulator, request, account_sid)?;
    let form = form(body).await?;
    let to = form.filled("To").ok_or_else(|| bad(21604, "A 'To' phone number is required."))?;
    let from = form.filled("From").ok_or_else(|| bad(21603, "A 'From' phone number is required."))?;
    let body = form.text("Body").unwrap_or_default();
    let media: Vec<(String, String)> = form
        .pairs()
        .iter()
        .filter(|(name, _)| name == b"MediaUrl")
        .map(|(_, url)| (String::from_utf8_lossy(url).into_owned(), "application/octet-stream".to_owned()))
        .collect();
    if body.is_empty() && media.is_empty() {
        return Err(bad(21602, "Message body is required."));
    }
    if body.encode_utf16().count() > MOST_CHARACTERS {
        return Err(bad(21617, "The concatenated message body exceeds the 1600 character limit."));
    }
    let digits = to.strip_prefix('+').unwrap_or(&to);
    if !(3..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad(21211, format!("Invalid 'To' Phone Number: {to}")));
    }
    let status_callback = form.filled("StatusCallback");
    if status_callback.as_deref().is_some_and(|url| url::Url::parse(url).is_err()) {
        return Err(bad(21609, "The 'StatusCallback' URL is not a valid URL."));
    }
    let fault = simulator.state.lock().faults.pop_front();
    match fault {
        Some(Fault::Fail500) => return Err(internal()),
        Some(Fault::TooManyRequests) => {
            return Err(too_many());
        }
        _ => {}
    }
    let message = {
        let mut memory = simulator.state.lock();
        if !memory.numbers.iter().any(|number| number.phone_number == from && number.account_sid == account_sid) {
            return Err(bad(
                21606,
                format!("The 'From' phone number {from} is not a valid, SMS-capable phone number for your account."),
            ));
        }
        if memory.opted_out.contains(&(from.clone(), to.clone())) {
            return Err(bad(21610, "Attempt to send to unsubscribed recipient"));
        }
        let now = Utc::now();
        let message = Message {
            sid: new_sid("SM"),
            account_sid: account_sid.to_owned(),
            from,
            to,
            body,
            media,
            direction: "outbound-api",
            status: "queued",
            error_code: None,
            status_callback,
            date_created: now,
            date_sent: None,
            date_updated: now,
        };
        memory.add_message(message.clone());
        message
    };
    let created = message.json();
    simulator.deliver(message).await;
    match fault {
        Some(Fault::AcceptThen500) => return Err(internal()),
        Some(Fault::AcceptThenGarbage) => return Ok((StatusCode::CREATED, json!(["garbage"]))),
        Some(Fault::AcceptThenHang(ms)) => tokio::time::sleep(std::time::Duration::from_millis(ms)).await,
        _ => {}
    }
    Ok((StatusCode::CREATED, created))
}

#[handler]
fn get_message(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    answer(authenticate(&simulator, request, &account).and_then(|()| {
        let sid = sid.trim_end_matches(".json");
        let memory = simulator.state.lock();
        let message = memory.message(sid).filter(|message| message.account_sid == account);
        message.map(|message| (StatusCode::OK, message.json())).ok_or_else(|| missing(request.uri().path()))
    }))
}

#[handler]
fn list_messages(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    answer(authenticate(&simulator, request, &account).map(|()| {
        let query = query(request);
        let fits = |name: &str, value: &str| query.filled(name).is_none_or(|wanted| wanted == value);
        let memory = simulator.state.lock();
        // Newest first, as the resource promises.
        let found: Vec<Value> = memory
            .messages
            .iter()
            .rev()
            .filter(|message| message.account_sid == *account && fits("To", &message.to) && fits("From", &message.from))
            .map(Message::json)
            .collect();
        (StatusCode::OK, page("messages", &format!("/2010-04-01/Accounts/{}/Messages.json", *account), &query, found))
    }))
}

pub(super) fn query(request: &Request) -> Form {
    Form::read(request.uri().query().unwrap_or_default().as_bytes())
}

/// A page of a list, as the 2010 API gives it: 50 items unless PageSize says otherwise.
pub(super) fn page(key: &str, path: &str, query: &Form, items: Vec<Value>) -> Value {
    let number = |name: &str| query.filled(name).and_then(|value| value.parse::<usize>().ok());
    let size = number("PageSize").unwrap_or(50).clamp(1, 1000);
    let at = number("Page").unwrap_or(0);
    let start = at.saturating_mul(size).min(items.len());
    let end = (start + size).min(items.len());
    let uri = |page: usize| {
        let filters: String = query
            .pairs()
            .iter()
            .filter(|(name, _)| name != b"Page" && name != b"PageSize")
            .map(|(name, value)| {
                let pair = [(String::from_utf8_lossy(name), String::from_utf8_lossy(value))];
                format!("&{}", url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pair).finish())
            })
            .collect();
        format!("{path}?Page={page}&PageSize={size}{filters}")
    };
    let more = end < items.len();
    json!({
        key: items.get(start..end).unwrap_or_default(),
        "end": end.saturating_sub(1),
        "first_page_uri": uri(0),
        "next_page_uri": more.then(|| uri(at + 1)),
        "page": at,
        "page_size": size,
        "previous_page_uri": (at > 0).then(|| uri(at - 1)),
        "start": start,
        "uri": uri(at),
    })
}
