//! The paths of messages: create, fetch, list.
//!
//! <https://www.twilio.com/docs/messaging/api/message-resource>.

use chrono::Utc;
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Request, Response, Route, get, handler};
use serde_json::Value;

use crate::account::new_sid;
use crate::api::{Answer, ApiError, authenticate, form, page_2010, query, respond};
use crate::form::Form;
use crate::media::{get_medium, list_media};
use crate::message::{API_VERSION, Direction, Medium, Message, MessageStatus};
use crate::records::Records;
use crate::{Simulator, numbers, short_codes, smart_encoding};

const MAX_BODY_CHARACTERS: usize = 1600;

/// The routes below `/2010-04-01`.
pub fn routes() -> Route {
    let routes = Route::new()
        .at("/Accounts/:account/Messages.json", get(list_messages).post(create_message))
        .at("/Accounts/:account/Messages/:sid", get(get_message))
        .at("/Accounts/:account/Messages/:sid/Media.json", get(list_media))
        .at("/Accounts/:account/Messages/:sid/Media/:medium", get(get_medium));
    short_codes::add_to(numbers::add_to(routes))
}

#[handler]
async fn create_message(
    request: &Request,
    account: Path<String>,
    simulator: Data<&Simulator>,
    body: poem::Body,
) -> Response {
    respond(create(request, &account, &simulator, body).await)
}

async fn create(request: &Request, account_sid: &str, simulator: &Simulator, body: poem::Body) -> Answer {
    authenticate(simulator, request, account_sid)?;
    let mut message = parse_message(&form(body).await?, account_sid)?;
    let fault = simulator.store.lock().message_faults.pop_front();
    if let Some(refusal) = fault.and_then(|fault| fault.refusal()) {
        return Err(refusal);
    }
    accept(simulator, &mut message)?;
    let created = Ok((StatusCode::CREATED, message.json()));
    simulator.deliver(message).await;
    match fault {
        Some(fault) => fault.spoil(created).await,
        None => created,
    }
}

/// The message that a form asks for, in the order of Twilio's checks.
fn parse_message(form: &Form, account_sid: &str) -> Result<Message, ApiError> {
    let bad = |code, message: &str| ApiError::bad_request(code, message);
    let to = form.non_empty("To").ok_or_else(|| bad(21604, "A 'To' phone number is required."))?;
    let service_sid = form.non_empty("MessagingServiceSid");
    let from = match (form.non_empty("From"), service_sid) {
        (None, None) => return Err(bad(21603, "A 'From' phone number is required.")),
        // The service chooses.
        (from, _) => from.unwrap_or_default(),
    };
    let body = form.get("Body").unwrap_or_default();
    let medium = |url: &str| Medium { url: url.to_owned(), content_type: "application/octet-stream".to_owned() };
    let media: Vec<Medium> = form.all("MediaUrl").map(medium).collect();
    if body.is_empty() && media.is_empty() {
        return Err(bad(21602, "Message body is required."));
    }
    if body.encode_utf16().count() > MAX_BODY_CHARACTERS {
        return Err(bad(21617, "The concatenated message body exceeds the 1600 character limit."));
    }
    if !is_phone_number(to) {
        return Err(bad(21211, &format!("Invalid 'To' Phone Number: {to}")));
    }
    let status_callback = form.non_empty("StatusCallback");
    if status_callback.is_some_and(|url| url::Url::parse(url).is_err()) {
        return Err(bad(21609, "The 'StatusCallback' URL is not a valid URL."));
    }
    if service_sid.is_some_and(|sid| !is_service_sid(sid)) {
        return Err(bad(21705, "The Messaging Service Sid is invalid."));
    }
    let now = Utc::now();
    Ok(Message {
        sid: new_sid("SM"),
        account_sid: account_sid.to_owned(),
        service_sid: service_sid.map(str::to_owned),
        from: from.to_owned(),
        to: to.to_owned(),
        body: body.to_owned(),
        media,
        direction: Direction::OutboundApi,
        status: if service_sid.is_some() { MessageStatus::Accepted } else { MessageStatus::Queued },
        error_code: None,
        status_callback: status_callback.map(str::to_owned),
        date_created: now,
        date_sent: None,
        date_updated: now,
    })
}

/// Whether a text can be a phone number: 3 to 15 digits, perhaps behind a plus.
fn is_phone_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (3..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is the id of a messaging service.
fn is_service_sid(text: &str) -> bool {
    text.strip_prefix("MG")
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Adds a message to the records, if its sender is the account's and its recipient wants texts.
fn accept(simulator: &Simulator, message: &mut Message) -> Result<(), ApiError> {
    let mut records = simulator.store.lock();
    pass_service(&records, message)?;
    let Message { from, to, .. } = &*message;
    if records.owner(from) != Some(&message.account_sid) {
        return Err(ApiError::bad_request(
            21606,
            format!("The 'From' phone number {from} is not a valid, SMS-capable phone number for your account."),
        ));
    }
    if records.opted_out.contains(&records.opt_out_pair(from, to)) {
        return Err(ApiError::bad_request(21610, "Attempt to send to unsubscribed recipient"));
    }
    records.add_message(message.clone());
    Ok(())
}

/// What the messaging service of a message does to it: it chooses the sender, and replaces
/// characters.
fn pass_service(records: &Records, message: &mut Message) -> Result<(), ApiError> {
    let Some(sid) = message.service_sid.clone() else { return Ok(()) };
    let service =
        records.services.iter().find(|service| service.sid == sid && service.account_sid == message.account_sid);
    let service =
        service.ok_or_else(|| ApiError::bad_request(21701, format!("The Messaging Service {sid} does not exist.")))?;
    if message.from.is_empty() {
        let chosen = records.sticky_sender(&sid, &message.to);
        let chosen =
            chosen.ok_or_else(|| ApiError::bad_request(21704, "The Messaging Service contains no phone numbers."))?;
        message.from = chosen;
    } else if records.service_sid_of(&message.from) != Some(&sid) {
        return Err(ApiError::bad_request(
            21711,
            format!("The 'From' number {} is not associated with the specified Messaging Service.", message.from),
        ));
    }
    if service.smart_encoding {
        message.body = smart_encoding::encode(&message.body);
    }
    Ok(())
}

#[handler]
fn get_message(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    respond(authenticate(&simulator, request, &account).and_then(|()| {
        let records = simulator.store.lock();
        let message = records.message(sid.trim_end_matches(".json")).filter(|message| message.account_sid == account);
        let message = message.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
        Ok((StatusCode::OK, message.json()))
    }))
}

#[handler]
fn list_messages(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    respond(authenticate(&simulator, request, &account).map(|()| {
        let query = query(request);
        let matches = |name: &str, value: &str| query.non_empty(name).is_none_or(|wanted| wanted == value);
        let records = simulator.store.lock();
        // Newest first, as the resource promises.
        let found: Vec<Value> = records
            .messages
            .iter()
            .rev()
            .filter(|message| message.account_sid == *account)
            .filter(|message| matches("To", &message.to) && matches("From", &message.from))
            .map(Message::json)
            .collect();
        let path = format!("/{API_VERSION}/Accounts/{}/Messages.json", *account);
        (StatusCode::OK, page_2010("messages", &path, &query, &found))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_message_is_refused_with_twilios_code() {
        let long = format!("To=%2B14155550101&From=%2B1415&Body={}", "a".repeat(1601));
        for (form, code) in [
            ("", 21604),
            ("To=%2B14155550101", 21603),
            ("To=%2B14155550101&From=%2B1415", 21602),
            (&long, 21617),
            ("To=nobody&From=%2B1415&Body=hi", 21211),
            ("To=%2B14155550101&From=%2B1415&Body=hi&StatusCallback=nowhere", 21609),
            ("To=%2B14155550101&MessagingServiceSid=MG1&Body=hi", 21705),
        ] {
            let error = parse_message(&Form::parse(form.as_bytes()), "AC1").expect_err("a refusal");
            assert!(format!("{error:?}").contains(&code.to_string()), "{form}: {error:?}");
        }
        let picture = Form::parse(b"To=%2B14155550101&From=%2B1415&MediaUrl=https%3A%2F%2Fa.example%2F1&MediaUrl=b");
        assert_eq!(parse_message(&picture, "AC1").expect("a message").media.len(), 2);
    }
}
