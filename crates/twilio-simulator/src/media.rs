//! The paths of media: list, describe, download.
//!
//! <https://www.twilio.com/docs/messaging/api/media-resource>.

use base64::Engine;
use poem::http::{StatusCode, header};
use poem::web::{Data, Path};
use poem::{Request, Response, handler};
use serde_json::{Value, json};

use crate::Simulator;
use crate::api::{ApiError, authenticate, respond};
use crate::message::{Medium, Message};

fn sid(index: usize) -> String {
    format!("ME{index:032x}")
}

/// The path of a medium in the API.
pub fn path(message: &Message, index: usize) -> String {
    format!("{}/Media/{}", message.path(), sid(index))
}

/// The content type that a `data:` URL names. Any other URL counts as a photo.
pub fn content_type(url: &str) -> String {
    let named = url.strip_prefix("data:").and_then(|data| data.split([';', ',']).next());
    named.filter(|named| !named.is_empty()).unwrap_or("image/jpeg").to_owned()
}

/// The bytes of a `data:` URL in base64 (RFC 2397).
fn bytes(url: &str) -> Option<Vec<u8>> {
    let (_, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    base64::engine::general_purpose::STANDARD.decode(data).ok()
}

/// The Media resource.
fn resource(message: &Message, index: usize, medium: &Medium) -> Value {
    json!({
        "account_sid": message.account_sid,
        "content_type": medium.content_type,
        "date_created": message.date_created.to_rfc2822(),
        "date_updated": message.date_updated.to_rfc2822(),
        "parent_sid": message.sid,
        "sid": sid(index),
        "uri": format!("{}.json", path(message, index)),
    })
}

/// Lists the media of a message.
#[handler]
pub fn list_media(
    request: &Request,
    Path((account, message)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    respond(authenticate(&simulator, request, &account).and_then(|()| {
        let records = simulator.store.lock();
        if let Some(status) = records.switches.media_refused {
            return Err(ApiError::with_status(status));
        }
        let found = records.message(&message).filter(|found| found.account_sid == account);
        let found = found.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
        let media: Vec<Value> =
            found.media.iter().enumerate().map(|(index, medium)| resource(found, index, medium)).collect();
        Ok((StatusCode::OK, json!({"media_list": media, "page": 0, "page_size": 50, "next_page_uri": null})))
    }))
}

/// Answers with a medium, or redirects to it; with `.json` behind its id, describes it. No login is
/// needed, as at Twilio unless an account forbids it.
#[handler]
pub fn get_medium(
    request: &Request,
    Path((account, message, medium)): Path<(String, String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let records = simulator.store.lock();
    let message = records.message(&message).filter(|message| message.account_sid == account);
    let wanted = medium.strip_suffix(".json").unwrap_or(&medium);
    let found = message.and_then(|message| {
        let mut media = message.media.iter().enumerate();
        media.find(|(index, _)| sid(*index) == wanted).map(|(index, medium)| (message, index, medium))
    });
    let not_found = || respond(Err(ApiError::not_found(request.original_uri().path())));
    match found {
        None => not_found(),
        Some((message, index, found)) if medium.ends_with(".json") => {
            respond(Ok((StatusCode::OK, resource(message, index, found))))
        }
        Some((_, _, found)) if found.url.starts_with("data:") => match bytes(&found.url) {
            Some(bytes) => Response::builder().content_type(&found.content_type).body(bytes),
            None => not_found(),
        },
        Some((_, _, found)) => {
            Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, &found.url).finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_holds_its_type_and_its_bytes() {
        let url = "data:image/png;base64,aGk=";
        assert_eq!((content_type(url).as_str(), bytes(url).as_deref()), ("image/png", Some(&b"hi"[..])));
        let photo = "https://pictures.example/1.jpg";
        assert_eq!((content_type(photo).as_str(), bytes(photo)), ("image/jpeg", None));
    }
}
