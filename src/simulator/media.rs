//! Media of messages as Twilio lists and serves them; the pictures themselves stay where their phone has them.
//!
//! <https://www.twilio.com/docs/messaging/api/media-resource>.

use base64::Engine;
use poem::http::{StatusCode, header};
use poem::web::{Data, Path};
use poem::{Request, Response, handler};
use serde_json::{Value, json};

use super::Simulator;
use super::rest::{answer, authenticate, missing, refused};
use super::state::Message;

fn sid(place: usize) -> String {
    format!("ME{place:032x}")
}

/// Where the API has a medium of a message.
pub(super) fn path(message: &Message, place: usize) -> String {
    format!("/2010-04-01/Accounts/{}/Messages/{}/Media/{}", message.account_sid, message.sid, sid(place))
}

/// What a phone's medium is: a `data:` address says it, anything else passes for a photo.
pub(super) fn content_type(url: &str) -> String {
    let said = url.strip_prefix("data:").and_then(|data| data.split([';', ',']).next()).filter(|said| !said.is_empty());
    said.unwrap_or("image/jpeg").to_owned()
}

/// The bytes of a `data:` address (RFC 2397) in base64.
fn bytes(url: &str) -> Option<Vec<u8>> {
    let (_, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    base64::engine::general_purpose::STANDARD.decode(data).ok()
}

/// The Media resource.
fn resource(message: &Message, place: usize) -> Option<Value> {
    let (_, content_type) = message.media.get(place)?;
    Some(json!({
        "account_sid": message.account_sid,
        "content_type": content_type,
        "date_created": message.date_created.to_rfc2822(),
        "date_updated": message.date_updated.to_rfc2822(),
        "parent_sid": message.sid,
        "sid": sid(place),
        "uri": format!("{}.json", path(message, place)),
    }))
}

/// The media of a message.
#[handler]
pub fn list_media(
    request: &Request,
    Path((account, message)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    answer(authenticate(&simulator, request, &account).and_then(|()| {
        let memory = simulator.state.lock();
        if let Some(status) = memory.media_refused {
            return Err(refused(status));
        }
        let found = memory.message(&message).filter(|found| found.account_sid == account);
        let found = found.ok_or_else(|| missing(request.uri().path()))?;
        let media: Vec<Value> = (0..found.media.len()).filter_map(|place| resource(found, place)).collect();
        Ok((StatusCode::OK, json!({"media_list": media, "page": 0, "page_size": 50, "next_page_uri": null})))
    }))
}

/// The medium, or where it is; with `.json` what is known of it. Anybody may ask, as at Twilio unless an account forbids it.
#[handler]
pub fn get_medium(
    request: &Request,
    Path((account, message, medium)): Path<(String, String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let memory = simulator.state.lock();
    let found = memory.message(&message).filter(|found| found.account_sid == account);
    if let Some(wanted) = medium.strip_suffix(".json") {
        let known = found.and_then(|found| {
            (0..found.media.len()).find(|place| sid(*place) == wanted).and_then(|place| resource(found, place))
        });
        return answer(
            known.map(|known| (StatusCode::OK, known)).ok_or_else(|| missing(request.original_uri().path())),
        );
    }
    let medium = found.and_then(|found| found.media.iter().zip(0..).find(|(_, place)| sid(*place) == medium));
    match medium {
        Some(((url, content_type), _)) if url.starts_with("data:") => match bytes(url) {
            Some(bytes) => Response::builder().content_type(content_type).body(bytes),
            None => answer(Err(missing(request.uri().path()))),
        },
        Some(((url, _), _)) => {
            Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, url).finish()
        }
        None => answer(Err(missing(request.uri().path()))),
    }
}
