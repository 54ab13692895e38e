//! Messages as they cross the trait: what we send, what a carrier answers, reports and lists, and
//! what contacts send.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::delivery::{DeliveryErrorClass, DeliveryStatus};
use crate::domain::message::RejectReason;
use crate::domain::phone_number;
use crate::domain::smart_encoding;

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct OutboundMessage<'a> {
    /// The same for each attempt to send this message: a carrier that takes idempotency keys is
    /// given it.
    pub delivery_id: Uuid,
    pub from: &'a str,
    /// The carrier's id of the pool through which it is sent; `from` is in it.
    pub pool_id: Option<&'a str>,
    pub to: &'a str,
    pub body: &'a str,
    /// Addresses of attachments, which the carrier fetches itself.
    pub media_urls: &'a [String],
    /// Where the carrier reports what becomes of the message.
    pub status_url: &'a str,
}

/// What became of a message that was handed to the carrier.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// The carrier has it.
    Accepted { carrier_id: String },
    /// The carrier answered that it did not take it.
    Refused(SendRefusal),
    /// The carrier was not reached: no byte of the request was sent.
    NotReached { detail: String },
    /// The carrier may have it or not.
    Unsure { detail: String },
}

/// Why the carrier did not take a message.
#[derive(Debug, Clone, PartialEq)]
pub struct SendRefusal {
    /// The carrier's own code, if it gave one. It is shown and never compared.
    pub code: Option<i32>,
    pub class: DeliveryErrorClass,
    /// Time changes nothing about it, even if it usually does for the class.
    pub is_permanent: bool,
    /// The account's other numbers are not concerned.
    pub is_of_one_number: bool,
    pub detail: String,
    /// How long the carrier asks to be left alone.
    pub retry_after_seconds: Option<f64>,
}

impl SendRefusal {
    /// Whether the same message may be offered again later.
    pub const fn may_pass(&self) -> bool {
        self.class.may_pass() && !self.is_permanent
    }
}

/// A message of ours, as the carrier lists it.
#[derive(Debug, Clone)]
pub struct SentMessage {
    pub carrier_id: String,
    pub body: String,
}

impl SentMessage {
    /// Whether it can be the message with this body. A carrier may put words of its own before a
    /// text, and a pool with smart encoding replaces typographic characters. So only letters and
    /// digits are compared, as they are when all is replaced that can be, from the end. A text
    /// without any is compared as a whole.
    pub fn may_be(&self, body: &str) -> bool {
        let (ours, theirs) = (smart_encoding::core(body), smart_encoding::core(&self.body));
        let letters = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let our_letters = letters(&ours);
        if our_letters.is_empty() {
            theirs.trim().ends_with(ours.trim())
        } else {
            letters(&theirs).ends_with(&our_letters)
        }
    }
}

/// A message of a contact, as the carrier lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedMessage {
    pub carrier_id: String,
    pub from: String,
    pub to: String,
    pub body: String,
    /// When the carrier took it, by the carrier's clock.
    pub received_at: Option<DateTime<Utc>>,
    pub has_media: bool,
}

impl ReceivedMessage {
    /// The same as its webhook would have told it, as far as lists tell.
    pub fn into_inbound(self, media: Vec<InboundMedia>) -> InboundMessage {
        InboundMessage::new(Some(self.carrier_id), self.from, self.to, self.body, media)
    }
}

/// A message as the carrier's list has it, with its attachments, as it is kept in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub message: ReceivedMessage,
    pub media: Vec<InboundMedia>,
}

impl Listing {
    /// The listing that was kept. `None`: what was kept is no listing but the request of a webhook.
    pub fn of_kept(kept: &[u8]) -> Option<Self> {
        serde_json::from_slice(kept).ok()
    }
}

/// An attachment of a contact's message, still at the carrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundMedia {
    pub url: String,
    pub content_type: String,
}

/// A message that a contact sent.
#[derive(Debug, Clone)]
pub struct InboundMessage {
    /// The carrier's id of it, by which a second delivery is known.
    pub carrier_id: Option<String>,
    pub from: String,
    pub to: String,
    pub body: String,
    pub media: Vec<InboundMedia>,
    /// Why no session can hold it, if so.
    pub reject_reason: Option<RejectReason>,
    /// What the carrier itself took the message for. It counts more than the text, because the
    /// carrier's words may be the customer's own.
    pub keyword: Option<CarrierKeyword>,
}

/// What a carrier did with a consent keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarrierKeyword {
    Stop,
    Start,
    Help,
}

impl InboundMessage {
    /// A message as it came. What is missing or odd gives a reason to reject it, and no error.
    pub fn new(carrier_id: Option<String>, from: String, to: String, body: String, media: Vec<InboundMedia>) -> Self {
        let reject_reason = reject_reason(carrier_id.as_deref(), &from, &to, &media);
        Self { carrier_id, from, to, body, media, reject_reason, keyword: None }
    }
}

fn reject_reason(carrier_id: Option<&str>, from: &str, to: &str, media: &[InboundMedia]) -> Option<RejectReason> {
    if carrier_id.is_none() {
        Some(RejectReason::NoMessageId)
    } else if from.contains(':') || to.contains(':') {
        // whatsapp:+…, rcs:…, messenger:…
        Some(RejectReason::ChannelNotSupported)
    } else if !phone_number::is_dialable(from) {
        Some(RejectReason::SenderCannotBeAnswered)
    } else if media.iter().any(|media| media.url.chars().count() > bounds::MEDIA_URL_CHARS) {
        Some(RejectReason::AttachmentUrlTooLong)
    } else {
        None
    }
}

/// What a call of the status webhook tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusNotice {
    /// What became of a message of ours.
    Report(StatusReport),
    /// It is not about a message, but about a phone call for example.
    NotOfAMessage,
    /// It names no message, or no status that is known.
    NotUnderstood,
}

/// What the carrier says about a message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    pub carrier_id: String,
    pub status: DeliveryStatus,
    /// The carrier's own code, if it gave one. It is shown and never compared.
    pub error_code: Option<i32>,
    pub error_class: Option<DeliveryErrorClass>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_no_session_says_why() {
        for (id, from, to, reason) in [
            (Some("1"), "+14155550101", "+14155550199", None),
            (Some("1"), "72975", "+14155550199", None),
            (None, "+14155550101", "+14155550199", Some(RejectReason::NoMessageId)),
            (Some("1"), "whatsapp:+14155550101", "+14155550199", Some(RejectReason::ChannelNotSupported)),
            (Some("1"), "+14155550101", "rcs:agent", Some(RejectReason::ChannelNotSupported)),
            (Some("1"), "ACME", "+14155550199", Some(RejectReason::SenderCannotBeAnswered)),
            (Some("1"), "", "+14155550199", Some(RejectReason::SenderCannotBeAnswered)),
        ] {
            assert_eq!(reject_reason(id, from, to, &[]), reason, "{id:?} {from} {to}");
        }
    }

    #[test]
    fn the_address_of_a_file_is_kept_as_far_as_the_table_takes_it() {
        let medium = |chars| InboundMedia { url: "é".repeat(chars), content_type: String::new() };
        for (media, reason) in
            [(vec![medium(4000)], None), (vec![medium(1), medium(4001)], Some(RejectReason::AttachmentUrlTooLong))]
        {
            assert_eq!(reject_reason(Some("1"), "+14155550101", "+14155550199", &media), reason, "{}", media.len());
        }
    }

    #[test]
    fn a_listing_is_told_apart_from_a_webhooks_request() {
        let message = ReceivedMessage {
            carrier_id: "1".to_owned(),
            from: "+14155550101".to_owned(),
            to: "+14155550199".to_owned(),
            body: "hi".to_owned(),
            received_at: Some(DateTime::UNIX_EPOCH),
            has_media: false,
        };
        let listing = Listing { message, media: Vec::new() };
        assert_eq!(serde_json::to_vec(&listing).ok().and_then(|kept| Listing::of_kept(&kept)), Some(listing));
        for kept in ["From=%2B14155550101&Body=%7B%7D", "", "{}", "message"] {
            assert_eq!(Listing::of_kept(kept.as_bytes()), None, "{kept}");
        }
    }

    #[test]
    fn a_listed_message_is_compared_by_its_letters_and_digits_from_the_end() {
        let listed = |body: &str| SentMessage { carrier_id: "1".to_owned(), body: body.to_owned() };
        for (theirs, ours, may_be) in [
            ("Sent from a trial account - it's 5 o’clock", "It's 5 o'clock", true),
            ("1: hi", "1: hi", true),
            ("1: hi", "2: hi", false),
            ("trial 🎉", "🎉", true),
            ("\"It's 1/2 past...\"", "“It’s ½ past…”", true),
            ("It is 1/4 past", "It is ½ past", false),
            ("Cafe", "Café", true),
            ("...", "…", true),
            ("trial \"?!\"", "“?!”", true),
            ("\"Привет\"", "«Привет»", true),
            ("trial 🎈", "🎉", false),
        ] {
            assert_eq!(listed(theirs).may_be(ours), may_be, "{theirs} {ours}");
        }
    }

    #[test]
    fn a_refusal_that_time_does_not_change_is_final() {
        let refusal = |class, is_permanent| SendRefusal {
            code: None,
            class,
            is_permanent,
            is_of_one_number: false,
            detail: String::new(),
            retry_after_seconds: None,
        };
        assert!(refusal(DeliveryErrorClass::Account, false).may_pass());
        assert!(!refusal(DeliveryErrorClass::Account, true).may_pass());
        assert!(!refusal(DeliveryErrorClass::OptedOut, false).may_pass());
    }
}
