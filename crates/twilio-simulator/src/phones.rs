//! The phones: they send texts to numbers, and show what they sent and got.

use chrono::{DateTime, Utc};
use poem::http::StatusCode;
use poem::web::{Data, Json, Path};
use poem::{IntoResponse, Response, Route, get, handler, post};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::account::new_sid;
use crate::faults::Fault;
use crate::message::{Direction, Medium, Message, MessageStatus};
use crate::records::Records;
use crate::{Simulator, media};

/// The keywords with which a phone stops and restarts texts of a number
/// (<https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>).
const STOP: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START: [&str; 3] = ["START", "YES", "UNSTOP"];

/// A text to be sent from a phone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewText {
    /// The phone.
    pub from: String,
    /// The number that it texts.
    pub to: String,
    /// The words.
    #[serde(default)]
    pub body: String,
    /// URLs of pictures and other files. A `data:` URL holds the file itself.
    #[serde(default)]
    pub media_urls: Vec<String>,
    /// The id of an earlier text, to deliver that text once more.
    #[serde(default)]
    pub sid: Option<String>,
}

/// The result of a text that a phone sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TextOutcome {
    /// The id of the message.
    pub sid: String,
    /// The status with which the webhook answered; null without an answer.
    pub webhook_status: Option<u16>,
    /// How many times the webhook was posted.
    pub webhook_attempts: u32,
    /// The error that Twilio's debugger would show.
    pub error: Option<String>,
}

/// A text on a phone's screen.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct PhoneText {
    /// The id of the message.
    pub sid: String,
    /// Whether the phone sent it. Otherwise the phone got it.
    pub mine: bool,
    /// The number on the other side.
    pub peer: String,
    /// The words.
    pub body: String,
    /// The messaging service that it was sent through, or that the number is in which the phone
    /// texted.
    #[serde(default)]
    pub service_sid: Option<String>,
    /// How far it has come.
    pub status: MessageStatus,
    /// When it was sent.
    pub at: DateTime<Utc>,
}

impl Simulator {
    /// Sends a text from a phone and waits until its webhook is answered.
    pub async fn text(&self, text: NewText) -> TextOutcome {
        let message = receive(&mut self.store.lock(), text);
        let outcome = self.post_inbound(&message).await;
        TextOutcome {
            sid: message.sid,
            webhook_status: outcome.status,
            webhook_attempts: outcome.attempts,
            error: outcome.error,
        }
    }

    /// Sends a text without media from a phone.
    pub async fn say(&self, from: &str, to: &str, body: &str) -> TextOutcome {
        let text = NewText {
            from: from.to_owned(),
            to: to.to_owned(),
            body: body.to_owned(),
            media_urls: Vec::new(),
            sid: None,
        };
        self.text(text).await
    }

    /// Opts a phone out of the texts of a number, or of its messaging service, without a text.
    pub fn opt_out(&self, phone: &str, number: &str) {
        let mut records = self.store.lock();
        let pair = records.opt_out_pair(number, phone);
        records.opted_out.insert(pair);
    }

    /// Opts a phone in again, without a text.
    pub fn opt_in(&self, phone: &str, number: &str) {
        let mut records = self.store.lock();
        let pair = records.opt_out_pair(number, phone);
        records.opted_out.remove(&pair);
    }

    /// The texts on a phone's screen, oldest first.
    pub fn screen(&self, phone: &str) -> Vec<PhoneText> {
        self.store.lock().messages.iter().filter_map(|message| on_screen(message, phone)).collect()
    }

    /// Waits until a phone has got this many texts from a number, and returns their bodies.
    pub async fn until_received(&self, phone: &str, from: &str, count: usize) -> Vec<String> {
        let mut changes = self.in_flight.subscribe();
        loop {
            let received = self.received(phone, from);
            // The sender lives as long as the simulator, so waiting can't fail.
            if received.len() >= count || changes.changed().await.is_err() {
                return received;
            }
        }
    }

    /// The bodies of all texts that a phone got from a number, oldest first.
    pub fn received(&self, phone: &str, from: &str) -> Vec<String> {
        self.screen(phone).into_iter().filter(|text| !text.mine && text.peer == from).map(|text| text.body).collect()
    }
}

/// Records a text of a phone, and its keyword. Twilio applies the keyword itself, unless it comes
/// to a short code, and posts the text all the same
/// (<https://support.twilio.com/hc/en-us/articles/223181748>).
fn receive(records: &mut Records, text: NewText) -> Message {
    let prefix = if text.media_urls.is_empty() { "SM" } else { "MM" };
    let now = Utc::now();
    let message = Message {
        sid: text.sid.unwrap_or_else(|| new_sid(prefix)),
        account_sid: records.owner(&text.to).cloned().unwrap_or_default(),
        service_sid: records.service_sid_of(&text.to).cloned(),
        from: text.from,
        to: text.to,
        body: text.body,
        media: text.media_urls.into_iter().map(|url| Medium { content_type: media::content_type(&url), url }).collect(),
        direction: Direction::Inbound,
        status: MessageStatus::Received,
        error_code: None,
        status_callback: None,
        date_created: now,
        date_sent: Some(now),
        date_updated: now,
    };
    let pair = records.opt_out_pair(&message.to, &message.from);
    let keyword = message.body.trim().trim_end_matches(['.', '!', '?', ',', ';']).to_uppercase();
    if records.short_code(&message.to).is_some() {
        // The program that has the short code answers for itself.
    } else if STOP.contains(&keyword.as_str()) {
        records.opted_out.insert(pair);
    } else if START.contains(&keyword.as_str()) {
        records.opted_out.remove(&pair);
    }
    if records.message(&message.sid).is_none() {
        records.add_message(message.clone());
    }
    message
}

/// How a phone shows a message; `None` if it does not.
fn on_screen(message: &Message, phone: &str) -> Option<PhoneText> {
    let arrived = match message.status {
        MessageStatus::Received | MessageStatus::Sent | MessageStatus::Delivered => true,
        MessageStatus::Accepted | MessageStatus::Queued | MessageStatus::Undelivered => false,
    };
    let (mine, peer, shown) = match message.direction {
        Direction::Inbound => (true, &message.to, message.from == phone),
        Direction::OutboundApi => (false, &message.from, message.to == phone && arrived),
    };
    shown.then(|| PhoneText {
        sid: message.sid.clone(),
        mine,
        peer: peer.clone(),
        body: message.body.clone(),
        service_sid: message.service_sid.clone(),
        status: message.status,
        at: message.date_created,
    })
}

/// The routes below `/simulator`.
pub(crate) fn routes() -> Route {
    Route::new()
        .at("/texts", post(send))
        .at("/phones/:number", get(show))
        .at("/numbers", get(list_numbers))
        .at("/faults", post(plan_faults))
}

#[handler]
async fn send(text: Json<NewText>, simulator: Data<&Simulator>) -> Response {
    let Json(text) = text;
    let numbers = simulator.phone_numbers();
    if !numbers.contains(&text.to) {
        let detail = format!("the simulated carrier has no number {}; it has {}", text.to, numbers.join(", "));
        return Json(json!({"detail": detail})).with_status(StatusCode::NOT_FOUND).into_response();
    }
    Json(simulator.text(text).await).into_response()
}

#[handler]
fn show(number: Path<String>, simulator: Data<&Simulator>) -> Json<Vec<PhoneText>> {
    Json(simulator.screen(&number))
}

#[handler]
fn list_numbers(simulator: Data<&Simulator>) -> Json<Vec<String>> {
    Json(simulator.phone_numbers())
}

#[handler]
fn plan_faults(faults: Json<Vec<Fault>>, simulator: Data<&Simulator>) -> StatusCode {
    simulator.plan_faults(faults.0);
    StatusCode::NO_CONTENT
}
