//! The phones: who texts, and what they got; it is what a person would see, not what an API would tell.

use chrono::{DateTime, Utc};
use poem::http::StatusCode;
use poem::web::{Data, Json, Path};
use poem::{IntoResponse, Response, Route, get, handler, post};
use serde::{Deserialize, Serialize};

use super::state::{Fault, Message, new_sid};
use super::{Simulator, media};

/// Words by which a person stops and restarts texts from a number
/// (<https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>).
const STOP: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START: [&str; 3] = ["START", "YES", "UNSTOP"];

/// A text to be sent from a phone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewText {
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub body: String,
    /// URLs of pictures and the like.
    #[serde(default)]
    pub media_urls: Vec<String>,
    /// An id that was used before: the same text delivered once more.
    #[serde(default)]
    pub sid: Option<String>,
}

/// What became of a text that a phone sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Texted {
    pub sid: String,
    /// What the product answered to the webhook; null when it did not answer.
    pub webhook_status: Option<u16>,
    /// How often the webhook was posted.
    pub webhook_attempts: u32,
    /// What the carrier would show in its debugger.
    pub error: Option<String>,
}

/// A text on a phone's screen.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct PhoneText {
    pub sid: String,
    /// Whether the phone sent it; else it got it.
    pub mine: bool,
    /// The number on the other side.
    pub peer: String,
    pub body: String,
    /// How far it has come.
    pub status: String,
    pub at: DateTime<Utc>,
}

impl Simulator {
    /// Sends a text from a phone and waits until its webhook is answered.
    pub async fn text(&self, text: NewText) -> Texted {
        let now = Utc::now();
        let sid = text.sid.unwrap_or_else(|| new_sid(if text.media_urls.is_empty() { "SM" } else { "MM" }));
        let message = {
            let mut memory = self.state.lock();
            let account_sid = memory
                .numbers
                .iter()
                .find(|number| number.phone_number == text.to)
                .map(|number| number.account_sid.clone())
                .unwrap_or_default();
            let message = Message {
                sid: sid.clone(),
                account_sid,
                from: text.from,
                to: text.to,
                body: text.body,
                media: text
                    .media_urls
                    .into_iter()
                    .map(|url| (media::content_type(&url), url))
                    .map(|(is, url)| (url, is))
                    .collect(),
                direction: "inbound",
                status: "received",
                error_code: None,
                status_callback: None,
                date_created: now,
                date_sent: Some(now),
                date_updated: now,
            };
            // Twilio keeps the words itself, and posts the text all the same.
            let pair = (message.to.clone(), message.from.clone());
            let word = message.body.trim().trim_end_matches(['.', '!', '?', ',', ';']).to_uppercase();
            if STOP.contains(&word.as_str()) {
                memory.opted_out.insert(pair);
            } else if START.contains(&word.as_str()) {
                memory.opted_out.remove(&pair);
            }
            if memory.message(&sid).is_none() {
                memory.add_message(message.clone());
            }
            message
        };
        let outcome = self.announce(&message).await;
        Texted { sid, webhook_status: outcome.status, webhook_attempts: outcome.attempts, error: outcome.error }
    }

    /// Sends a plain text from a phone.
    pub async fn say(&self, from: &str, to: &str, body: &str) -> Texted {
        let text = NewText {
            from: from.to_owned(),
            to: to.to_owned(),
            body: body.to_owned(),
            media_urls: Vec::new(),
            sid: None,
        };
        self.text(text).await
    }

    /// Lets a phone be opted out at the carrier without a text.
    pub fn opt_out(&self, phone: &str, number: &str) {
        self.state.lock().opted_out.insert((number.to_owned(), phone.to_owned()));
    }

    /// The reverse of it.
    pub fn opt_in(&self, phone: &str, number: &str) {
        self.state.lock().opted_out.remove(&(number.to_owned(), phone.to_owned()));
    }

    /// What is on a phone's screen, oldest first.
    pub fn screen(&self, phone: &str) -> Vec<PhoneText> {
        self.state
            .lock()
            .messages
            .iter()
            .filter(|message| {
                (message.direction == "inbound" && message.from == phone)
                    || (message.direction != "inbound"
                        && message.to == phone
                        && !matches!(message.status, "queued" | "undelivered"))
            })
            .map(|message| {
                let mine = message.direction == "inbound";
                PhoneText {
                    sid: message.sid.clone(),
                    mine,
                    peer: if mine { message.to.clone() } else { message.from.clone() },
                    body: message.body.clone(),
                    status: message.status.to_owned(),
                    at: message.date_created,
                }
            })
            .collect()
    }

    /// Waits until something is sent or has arrived.
    pub async fn step(&self) {
        // The sender lives as long as we do, so this can't fail.
        let _ = self.under_way.subscribe().changed().await;
    }

    /// Waits until a phone has got this many texts from a number, and gives their bodies.
    pub async fn until_received(&self, phone: &str, from: &str, count: usize) -> Vec<String> {
        let mut steps = self.under_way.subscribe();
        loop {
            let received = self.received(phone, from);
            // The sender lives as long as we do, so waiting can't fail.
            if received.len() >= count || steps.changed().await.is_err() {
                return received;
            }
        }
    }

    /// The bodies of all texts that a phone got from a number, oldest first.
    pub fn received(&self, phone: &str, from: &str) -> Vec<String> {
        self.screen(phone).into_iter().filter(|text| !text.mine && text.peer == from).map(|text| text.body).collect()
    }
}

/// The routes below `/simulator`.
pub fn routes() -> Route {
    Route::new()
        .at("/texts", post(send))
        .at("/phones/:number", get(show))
        .at("/numbers", get(list_numbers))
        .at("/faults", post(plan_faults))
}

#[handler]
async fn send(text: Json<NewText>, simulator: Data<&Simulator>) -> Response {
    let Json(text) = text;
    if !simulator.state.lock().numbers.iter().any(|number| number.phone_number == text.to) {
        let numbers: Vec<String> =
            simulator.state.lock().numbers.iter().map(|number| number.phone_number.clone()).collect();
        let detail = format!("the simulated carrier has no number {}; it has {}", text.to, numbers.join(", "));
        return Json(serde_json::json!({"detail": detail})).with_status(StatusCode::NOT_FOUND).into_response();
    }
    Json(simulator.text(text).await).into_response()
}

#[handler]
fn show(number: Path<String>, simulator: Data<&Simulator>) -> Json<Vec<PhoneText>> {
    Json(simulator.screen(&number))
}

#[handler]
fn list_numbers(simulator: Data<&Simulator>) -> Json<Vec<String>> {
    Json(simulator.state.lock().numbers.iter().map(|number| number.phone_number.clone()).collect())
}

#[handler]
fn plan_faults(faults: Json<Vec<Fault>>, simulator: Data<&Simulator>) -> StatusCode {
    simulator.plan_faults(faults.0);
    StatusCode::NO_CONTENT
}
