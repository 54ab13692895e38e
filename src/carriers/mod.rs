//! The carriers: companies that carry SMS and calls. All of them implement one trait. Twilio is the
//! only one today.
//!
//! A carrier's own words (its field names, its codes, its documents) stay in its folder. Plain
//! values of the product cross the trait.
//!
//! docs/decisions/027-carrier-trait.md has the reasons.

pub mod error;
pub mod media;
pub mod message;
pub mod number;
pub mod twilio;
pub mod webhook;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use reqwest::header::HeaderMap;

use crate::domain::carrier_account::{CarrierAccount, CarrierKind};
use error::{CarrierError, CredentialsError};
use media::{FetchedMedia, MediaError};
use message::{InboundMedia, InboundMessage, OutboundMessage, ReceivedMessage, Sent, SentMessage, StatusNotice};
use number::{
    AvailableNumber, CarrierNumber, Freshness, InboundRoute, NumberSearch, RegistrationFacts, RegistrationQuery,
};
use webhook::{Acknowledgement, WebhookRefusal, WebhookRequest, WebhookUrls};

/// What a carrier can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It splits texts into segments and charges for each.
    pub segments: bool,
    /// It acts on consent keywords such as STOP itself.
    pub consent_keywords: bool,
    pub media: bool,
    pub delivery_reports: bool,
    /// Numbers can be searched and bought.
    pub number_purchase: bool,
    /// It tells whether a number is registered as its country asks.
    pub registration: bool,
    /// Sent messages can be listed, so that unknown deliveries are found.
    pub lists_sent: bool,
    /// Received messages can be listed, so that those whose webhook never came are backfilled.
    pub lists_received: bool,
}

/// A company that carries SMS and calls.
///
/// No function here retries or decides what an answer means for a row.
pub trait Carrier: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether the carrier applies and answers the consent keywords that come to a number of ours.
    /// If false, textback answers them.
    fn answers_keywords(&self, _number: &str) -> bool {
        self.capabilities().consent_keywords
    }

    /// Whether a request to a webhook is worth reading, by its headers alone. Anybody can call a
    /// webhook, so this comes before a byte of the body is read.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), WebhookRefusal>;

    /// Whether the carrier sent a request to a webhook of an account.
    fn verify(&self, account: &CarrierAccount, request: WebhookRequest<'_>) -> Result<(), WebhookRefusal>;

    /// The message in a verified request.
    fn parse_message(&self, account: &CarrierAccount, request: WebhookRequest<'_>) -> InboundMessage;

    /// The report in a verified request.
    fn parse_status(&self, account: &CarrierAccount, request: WebhookRequest<'_>) -> StatusNotice;

    /// How this carrier wants a webhook to be acknowledged.
    fn acknowledgement(&self) -> Acknowledgement;

    /// The headers with which the carrier would sign an empty request to an address, for a test of
    /// our own webhooks.
    fn sign_empty(&self, account: &CarrierAccount, url: &str) -> HeaderMap;

    /// Calls the carrier once to send a message.
    fn send<'a>(&'a self, account: &'a CarrierAccount, message: &'a OutboundMessage<'a>) -> BoxFuture<'a, Sent>;

    /// The messages from a number of ours to a contact that are not older than `since`, the newest
    /// first.
    fn list_sent<'a>(
        &'a self,
        account: &'a CarrierAccount,
        from: &'a str,
        to: &'a str,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Vec<SentMessage>, CarrierError>>;

    /// The messages that a number of ours received and that are not older than `since`, the newest
    /// first.
    fn list_received<'a>(
        &'a self,
        account: &'a CarrierAccount,
        to: &'a str,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Vec<ReceivedMessage>, CarrierError>>;

    /// The attachments of an inbound message. `carrier_id`: the carrier's id of the message.
    fn list_media<'a>(
        &'a self,
        account: &'a CarrierAccount,
        carrier_id: &'a str,
    ) -> BoxFuture<'a, Result<Vec<InboundMedia>, CarrierError>>;

    /// Fetches an attachment. The account's credentials go to the carrier only.
    fn fetch_media<'a>(
        &'a self,
        account: &'a CarrierAccount,
        url: &'a str,
    ) -> BoxFuture<'a, Result<FetchedMedia, MediaError>>;

    /// Whether the carrier takes each of the account's credentials.
    fn check_credentials<'a>(&'a self, account: &'a CarrierAccount) -> BoxFuture<'a, Result<(), CredentialsError>>;

    /// Checks that the account may read its messages, and returns how many the newest page has.
    /// Unknown deliveries are searched for in these messages.
    fn count_newest<'a>(&'a self, account: &'a CarrierAccount) -> BoxFuture<'a, Result<usize, CarrierError>>;

    /// Numbers that can be bought.
    fn search_numbers<'a>(
        &'a self,
        account: &'a CarrierAccount,
        search: &'a NumberSearch,
    ) -> BoxFuture<'a, Result<Vec<AvailableNumber>, CarrierError>>;

    /// The number as the carrier has it. `None`: the account does not have it.
    fn find_number<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a str,
    ) -> BoxFuture<'a, Result<Option<CarrierNumber>, CarrierError>>;

    /// Buys a number, with its webhooks set from the first moment on.
    fn buy_number<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a str,
        urls: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<CarrierNumber, CarrierError>>;

    /// Points the webhooks of a number at us.
    fn set_webhooks<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a CarrierNumber,
        urls: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<(), CarrierError>>;

    /// Takes our webhooks off a number that stays the account's, and leaves those of others. False:
    /// none was ours.
    fn clear_webhooks<'a>(
        &'a self,
        account: &'a CarrierAccount,
        number: &'a CarrierNumber,
        urls: &'a WebhookUrls,
    ) -> BoxFuture<'a, Result<bool, CarrierError>>;

    /// Gives a number back to the carrier for good. One that is gone already is no error.
    fn release_number<'a>(
        &'a self,
        account: &'a CarrierAccount,
        carrier_id: &'a str,
    ) -> BoxFuture<'a, Result<(), CarrierError>>;

    /// Where the carrier sends the inbound messages of a number. `carrier_id`: the carrier's id of
    /// the number.
    fn inbound_route<'a>(
        &'a self,
        account: &'a CarrierAccount,
        carrier_id: &'a str,
        urls: &'a WebhookUrls,
        freshness: Freshness,
    ) -> BoxFuture<'a, Result<InboundRoute, CarrierError>>;

    /// Whether a number is registered as its country asks.
    fn registration<'a>(
        &'a self,
        account: &'a CarrierAccount,
        query: RegistrationQuery<'a>,
    ) -> BoxFuture<'a, Result<RegistrationFacts, CarrierError>>;

    /// Whether a text has the form of the ids of this carrier's pools. The error says the form.
    fn check_pool_id(&self, pool_id: &str) -> Result<(), &'static str>;

    /// Empties the caches, so that the next read calls the carrier.
    fn forget_cached(&self) {}
}

/// The carriers of a process, one of each kind. Cheap to clone.
#[derive(Clone)]
pub struct Carriers {
    twilio: Arc<dyn Carrier>,
}

impl Carriers {
    /// The carriers that accounts can be at.
    pub fn new(twilio: Arc<dyn Carrier>) -> Self {
        Self { twilio }
    }

    /// The carrier of a kind.
    pub fn get(&self, kind: CarrierKind) -> &dyn Carrier {
        match kind {
            CarrierKind::Twilio => self.twilio.as_ref(),
        }
    }

    /// The carrier that an account is at.
    pub fn of(&self, account: &CarrierAccount) -> &dyn Carrier {
        self.get(account.carrier)
    }

    /// All carriers.
    pub fn all(&self) -> impl Iterator<Item = &dyn Carrier> {
        CarrierKind::ALL.iter().map(|kind| self.get(*kind))
    }
}
