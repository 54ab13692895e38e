//! Media of messages as Twilio lists and serves them; the pictures themselves stay where their phone has them.
//!
//! <https://www.twilio.com/docs/messaging/api/media-resource>.

use poem::http::{StatusCode, header};
use poem::web::{Data, Path};
use poem::{Request, Response, handler};
use serde_json::json;

use super::Simulator;
use super::rest::{answer, authenticate, missing};

fn sid(place: usize) -> String {
    format!("ME{place:032x}")
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
        let found = memory.message(&message).filter(|found| found.account_sid == account);
        let found = found.ok_or_else(|| missing(request.uri().path()))?;
        let media: Vec<_> = found
            .media
            .iter()
            .enumerate()
            .map(|(place, (_, content_type))| {
                let uri = format!("/2010-04-01/Accounts/{account}/Messages/{message}/Media/{}.json", sid(place));
                json!({
                    "account_sid": account,
                    "content_type": content_type,
                    "date_created": found.date_created.to_rfc2822(),
                    "date_updated": found.date_updated.to_rfc2822(),
                    "parent_sid": message,
                    "sid": sid(place),
                    "uri": uri,
                })
            })
            .collect();
        Ok((StatusCode::OK, json!({"media_list": media, "page": 0, "page_size": 50, "next_page_uri": null})))
    }))
}

/// Leads to the medium itself. Anybody may ask, as at Twilio unless an account forbids it.
#[handler]
pub fn get_medium(
    request: &Request,
    Path((account, message, medium)): Path<(String, String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let memory = simulator.state.lock();
    let found = memory.message(&message).filter(|found| found.account_sid == account);
    let medium = found.and_then(|found| found.media.iter().zip(0..).find(|(_, place)| sid(*place) == medium));
    match medium {
        Some(((url, _), _)) => {
            Response::builder().status(StatusCode::TEMPORARY_REDIRECT).header(header::LOCATION, url).finish()
        }
        None => answer(Err(missing(request.uri().path()))),
    }
}
