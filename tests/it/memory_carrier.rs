//! A carrier in memory, for tests: it has a JSON webhook, a signature and codes of its own, and no
//! word of a real one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use textback::carriers::error::{CarrierError, CredentialsError};
use textback::carriers::media::{FetchedMedia, MediaError};
use textback::carriers::message::{
    InboundMedia, InboundMessage, OutboundMessage, ReceivedMessage, SendRefusal, Sent, SentMessage, StatusNotice,
    StatusReport,
};
use textback::carriers::number::{
    AvailableNumber, CarrierNumber, Freshness, InboundRoute, NumberCapabilities, NumberSearch, NumberWebhooks,
    RegistrationFacts, RegistrationQuery,
};
use textback::carriers::webhook::{Acknowledgement, WebhookRefusal, WebhookRequest, WebhookUrls};
use textback::carriers::{Capabilities, Carrier};
use textback::domain::carrier_account::CarrierAccount;
use textback::domain::delivery::{DeliveryErrorClass, DeliveryStatus};

/// The header that carries the stamp of a request.
const STAMP: HeaderName = HeaderName::from_static("memory-stamp");
const SECRET: &[u8] = b"what only the carrier and we know";

/// What happens to the next message that is sent.
pub enum Fate {
    /// The carrier does not take it, for a reason of its own.
    Refuse(&'static str),
    /// The carrier takes it, and its answer is lost.
    LoseAnswer,
    /// The carrier takes it, and answers with an id that it did not make for it.
    AcceptAs(&'static str),
}

/// A message that we sent.
#[derive(Debug, Clone)]
pub struct Kept {
    pub id: String,
    pub from: String,
    pub to: String,
    pub body: String,
    pub status_url: String,
    at: DateTime<Utc>,
}

#[derive(Default)]
struct Memory {
    sent: Vec<Kept>,
    received: Vec<ReceivedMessage>,
    fates: VecDeque<Fate>,
    webhooks: NumberWebhooks,
    next_id: usize,
}

/// The carrier. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct MemoryCarrier(Arc<Mutex<Memory>>);

/// What the carrier posts when somebody texts.
#[derive(Deserialize)]
struct Arrival {
    ticket: Option<String>,
    sender: String,
    recipient: String,
    words: String,
}

/// What the carrier posts about a message of ours.
#[derive(Deserialize)]
struct Progress {
    ticket: String,
    phase: String,
    fault: Option<String>,
}

impl MemoryCarrier {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was sent so far.
    pub fn sent(&self) -> Vec<Kept> {
        self.lock().sent.clone()
    }

    /// What was said to somebody so far.
    pub fn said_to(&self, to: &str) -> Vec<String> {
        self.sent().into_iter().filter(|kept| kept.to == to).map(|kept| kept.body).collect()
    }

    /// Decides about the next message.
    pub fn plan(&self, fate: Fate) {
        self.lock().fates.push_back(fate);
    }

    /// The webhooks of the number.
    pub fn webhooks(&self) -> NumberWebhooks {
        self.lock().webhooks.clone()
    }

    /// A person texts, and the carrier keeps it without a webhook.
    pub fn receive(&self, from: &str, to: &str, body: &str) -> Value {
        let mut memory = self.lock();
        memory.next_id += 1;
        let carrier_id = format!("in{}", memory.next_id);
        let arrival = json!({"ticket": carrier_id, "sender": from, "recipient": to, "words": body});
        let (from, to, body) = (from.to_owned(), to.to_owned(), body.to_owned());
        let received_at = Some(Utc::now());
        memory.received.push(ReceivedMessage { carrier_id, from, to, body, received_at, has_media: false });
        arrival
    }

    /// Posts a document to a webhook, under the carrier's stamp.
    pub async fn post(&self, url: &str, document: &Value) -> reqwest::Response {
        let body = document.to_string();
        let request = reqwest::Client::new().post(url).header(STAMP, stamp(url, body.as_bytes()));
        request.body(body).send().await.expect("an answer")
    }

    fn keep(&self, message: &OutboundMessage<'_>) -> String {
        let mut memory = self.lock();
        memory.next_id += 1;
        let id = format!("out{}", memory.next_id);
        memory.sent.push(Kept {
            id: id.clone(),
            from: message.from.to_owned(),
            to: message.to.to_owned(),
            body: message.body.to_owned(),
            status_url: message.status_url.to_owned(),
            at: Utc::now(),
        });
        id
    }
}

fn stamp(url: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    hex::encode(hmac::sign(&key, &[url.as_bytes(), body].concat()))
}

/// The class of a fault, in the product's words.
fn class_of(fault: &str) -> DeliveryErrorClass {
    match fault {
        "left-us-alone-please" => DeliveryErrorClass::OptedOut,
        "nobody-there" => DeliveryErrorClass::PermanentRecipient,
        _ => DeliveryErrorClass::PermanentConfig,
    }
}

fn done<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    ready(value).boxed()
}

impl Carrier for MemoryCarrier {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            segments: false,
            consent_keywords: false,
            media: false,
            delivery_reports: true,
            number_purchase: false,
            registration: false,
            lists_sent: true,
            lists_received: true,
        }
    }

    fn check_headers(&self, headers: &HeaderMap) -> Result<(), WebhookRefusal> {
        headers.get(STAMP).map(|_| ()).ok_or_else(|| WebhookRefusal("there is no stamp".to_owned()))
    }

    fn verify(&self, _: &CarrierAccount, request: WebhookRequest<'_>) -> Result<(), WebhookRefusal> {
        let given = request.headers.get(STAMP).and_then(|value| value.to_str().ok());
        match given == Some(&stamp(request.url, request.body)) {
            true => Ok(()),
            false => Err(WebhookRefusal("the stamp is wrong".to_owned())),
        }
    }

    fn parse_message(&self, _: &CarrierAccount, request: WebhookRequest<'_>) -> InboundMessage {
        let arrival: Arrival = serde_json::from_slice(request.body).expect("tests post arrivals");
        InboundMessage::new(arrival.ticket, arrival.sender, arrival.recipient, arrival.words, Vec::new())
    }

    fn parse_status(&self, _: &CarrierAccount, request: WebhookRequest<'_>) -> StatusNotice {
        let Ok(progress) = serde_json::from_slice::<Progress>(request.body) else {
            return StatusNotice::NotUnderstood;
        };
        let status = match progress.phase.as_str() {
            "on its way" => DeliveryStatus::Sent,
            "arrived" => DeliveryStatus::Delivered,
            "lost" => DeliveryStatus::Failed,
            _ => return StatusNotice::NotUnderstood,
        };
        StatusNotice::Report(StatusReport {
            carrier_id: progress.ticket,
            status,
            error_code: None,
            error_class: progress.fault.as_deref().map(class_of),
        })
    }

    fn acknowledgement(&self) -> Acknowledgement {
        Acknowledgement { content_type: "application/json", body: r#"{"thanks":true}"# }
    }

    fn sign_empty(&self, _: &CarrierAccount, url: &str) -> HeaderMap {
        HeaderValue::try_from(stamp(url, b"")).into_iter().map(|value| (STAMP, value)).collect()
    }

    fn send<'a>(&'a self, _: &'a CarrierAccount, message: &'a OutboundMessage<'a>) -> BoxFuture<'a, Sent> {
        let fate = self.lock().fates.pop_front();
        done(match fate {
            None => Sent::Accepted { carrier_id: self.keep(message) },
            Some(Fate::AcceptAs(carrier_id)) => {
                self.keep(message);
                Sent::Accepted { carrier_id: carrier_id.to_owned() }
            }
            Some(Fate::LoseAnswer) => {
                self.keep(message);
                Sent::Unsure { detail: "the answer was lost".to_owned() }
            }
            Some(Fate::Refuse(fault)) => Sent::Refused(SendRefusal {
                code: None,
                class: class_of(fault),
                is_permanent: true,
                is_of_one_number: true,
                detail: fault.to_owned(),
                retry_after_seconds: None,
            }),
        })
    }

    fn list_sent<'a>(
        &'a self,
        _: &'a CarrierAccount,
        from: &'a str,
        to: &'a str,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Vec<SentMessage>, CarrierError>> {
        let sent = self.sent().into_iter().rev();
        let fits = sent.filter(|kept| kept.from == from && kept.to == to && kept.at >= since);
        done(Ok(fits.map(|kept| SentMessage { carrier_id: kept.id, body: kept.body }).collect()))
    }

    fn list_received<'a>(
        &'a self,
        _: &'a CarrierAccount,
        to: &'a str,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Vec<ReceivedMessage>, CarrierError>> {
        let fits = |message: &&ReceivedMessage| message.to == to && message.received_at.is_some_and(|at| at >= since);
        done(Ok(self.lock().received.iter().rev().filter(fits).cloned().collect()))
    }

    fn list_media<'a>(
        &'a self,
        _: &'a CarrierAccount,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<InboundMedia>, CarrierError>> {
        done(Ok(Vec::new()))
    }

    fn fetch_media<'a>(&'a self, _: &'a CarrierAccount, _: &'a str) -> BoxFuture<'a, Result<FetchedMedia, MediaError>> {
        done(Err(MediaError::Gone))
    }

    fn check_credentials<'a>(&'a self, _: &'a CarrierAccount) -> BoxFuture<'a, Result<(), CredentialsError>> {
        done(Ok(()))
    }

    fn count_newest<'a>(&'a self, _: &'a CarrierAccount) -> BoxFuture<'a, Result<usize, CarrierError>> {
        done(Ok(self.sent().len()))
    }

    fn search_numbers<'a>(
        &'a self,
        _: &'a CarrierAccount,
        _: &'a NumberSearch,
    ) -> BoxFuture<'a, Result<Vec<AvailableNumber>, CarrierError>> {
        done(Err(CarrierError::unsupported("search numbers")))
    }

    fn find_number<'a>(
        &'a self,
        _: &'a CarrierAccount,
        number: &'a str,
    ) -> BoxFuture<'a, Result<Option<CarrierNumber>, CarrierError>> {
        done(Ok(Some(CarrierNumber {
            carrier_id: format!("line{}", number.trim_start_matches('+')),
            number: number.to_owned(),
            number_type: None,
            capabilities: NumberCapabilities { sms: true, mms: false, voice: false },
            webhooks: self.webhooks(),
        })))
    }

    fn buy_number<'a>(
        &'a self,
        _: &'a CarrierAccount,
        _: &'a str,
        _: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<CarrierNumber, CarrierError>> {
        done(Err(CarrierError::unsupported("sell numbers")))
    }

    fn set_webhooks<'a>(
        &'a self,
        _: &'a CarrierAccount,
        _: &'a CarrierNumber,
        urls: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<(), CarrierError>> {
        self.lock().webhooks = NumberWebhooks {
            messages: urls.messages.clone(),
            fallback: urls.fallback.clone(),
            status: urls.status.clone(),
            ..NumberWebhooks::default()
        };
        done(Ok(()))
    }

    fn clear_webhooks<'a>(
        &'a self,
        _: &'a CarrierAccount,
        _: &'a CarrierNumber,
        _: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<bool, CarrierError>> {
        self.lock().webhooks = NumberWebhooks::default();
        done(Ok(true))
    }

    fn release_number<'a>(&'a self, _: &'a CarrierAccount, _: &'a str) -> BoxFuture<'a, Result<(), CarrierError>> {
        done(Ok(()))
    }

    fn inbound_route<'a>(
        &'a self,
        _: &'a CarrierAccount,
        _: &'a str,
        _: &'a WebhookUrls,
        _: Freshness,
    ) -> BoxFuture<'a, Result<InboundRoute, CarrierError>> {
        done(Ok(InboundRoute::default()))
    }

    fn check_pool_id(&self, _: &str) -> Result<(), &'static str> {
        Err("nothing else, because this carrier has no pools")
    }

    fn registration<'a>(
        &'a self,
        _: &'a CarrierAccount,
        _: RegistrationQuery<'a>,
    ) -> BoxFuture<'a, Result<RegistrationFacts, CarrierError>> {
        done(Ok(RegistrationFacts::NotTold { advice: None }))
    }
}
