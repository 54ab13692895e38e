//! Twilio's webhook forms in our words, an inbound message or a status report, and the document
//! that answers them.
//!
//! Parameters: <https://www.twilio.com/docs/messaging/guides/webhook-request> and
//! <https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks>.

use super::error_codes;
use super::form::Form;
use crate::carriers::message::{CarrierKeyword, InboundMedia, InboundMessage, StatusNotice, StatusReport};
use crate::carriers::webhook::Acknowledgement;
use crate::domain::delivery::DeliveryStatus;
use crate::domain::message::RejectReason;

/// An empty document of TwiML (<https://www.twilio.com/docs/messaging/twiml>): the webhook was
/// received, and there is nothing to say here. Twilio would text an answer of text/plain to the
/// person, and it does not understand status 429.
pub(super) const EMPTY: Acknowledgement =
    Acknowledgement { content_type: "text/xml; charset=utf-8", body: "<Response/>" };

/// The most attachments that a message has. We read no more, whatever NumMedia says.
const MOST_MEDIA: usize = 10;

/// Reads the form of an inbound message of an account. Any form can be read: what is missing or odd
/// gives a reason to reject the message.
pub fn parse_message(form: &Form, account_sid: &str) -> InboundMessage {
    let sid = ["MessageSid", "SmsMessageSid", "SmsSid"].iter().find_map(|name| form.filled(name));
    let text = |name: &str| form.text(name).unwrap_or_default();
    let mut message =
        InboundMessage::new(sid.filter(|sid| is_sid(sid)), text("From"), text("To"), text("Body"), media(form));
    if form.text("AccountSid").as_deref() != Some(account_sid) {
        message.reject_reason = Some(RejectReason::ForeignAccount);
    }
    message.keyword = keyword(&text("OptOutType"));
    message
}

/// What Twilio took the message for, where Advanced Opt-Out is on
/// (<https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>).
fn keyword(opt_out_type: &str) -> Option<CarrierKeyword> {
    match opt_out_type.trim().to_ascii_uppercase().as_str() {
        "STOP" => Some(CarrierKeyword::Stop),
        "START" => Some(CarrierKeyword::Start),
        "HELP" => Some(CarrierKeyword::Help),
        _ => None,
    }
}

fn media(form: &Form) -> Vec<InboundMedia> {
    let count = form.text("NumMedia").and_then(|count| count.parse::<usize>().ok()).unwrap_or(0).min(MOST_MEDIA);
    (0..count)
        .filter_map(|n| {
            let url = form.filled(&format!("MediaUrl{n}"))?;
            Some(InboundMedia { url, content_type: form.text(&format!("MediaContentType{n}")).unwrap_or_default() })
        })
        .collect()
}

/// Reads the form of a status callback.
pub fn parse_status(form: &Form) -> StatusNotice {
    // A number's status callback is called for phone calls too
    // (<https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>).
    if form.filled("CallSid").is_some() && form.filled("MessageSid").is_none() {
        return StatusNotice::NotOfAMessage;
    }
    report(form).map_or(StatusNotice::NotUnderstood, StatusNotice::Report)
}

fn report(form: &Form) -> Option<StatusReport> {
    let sid = ["MessageSid", "SmsSid"].iter().find_map(|name| form.filled(name)).filter(|sid| is_sid(sid))?;
    let word = ["MessageStatus", "SmsStatus"].iter().find_map(|name| form.filled(name))?;
    let status = status_of(&word)?;
    let error_code: Option<i32> = form.filled("ErrorCode").and_then(|code| code.parse().ok());
    Some(StatusReport { carrier_id: sid, status, error_code, error_class: error_code.map(error_codes::class_of) })
}

/// Twilio's message status in our words. `None` for one that says nothing about a message we sent.
fn status_of(word: &str) -> Option<DeliveryStatus> {
    match word {
        "accepted" | "scheduled" | "queued" | "sending" => Some(DeliveryStatus::Accepted),
        "sent" => Some(DeliveryStatus::Sent),
        "delivered" | "partially_delivered" | "read" => Some(DeliveryStatus::Delivered),
        "undelivered" | "failed" | "canceled" => Some(DeliveryStatus::Failed),
        _ => None,
    }
}

/// The shape of an id: letters and digits, 34 of them today.
fn is_sid(text: &str) -> bool {
    (2..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::DeliveryErrorClass;

    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

    fn read(pairs: &[(&str, &str)]) -> InboundMessage {
        let common = [("AccountSid", ACCOUNT), ("MessageSid", "SM1"), ("To", "+14155550199"), ("From", "+14155550101")];
        let kept = common.iter().filter(|(name, _)| pairs.iter().all(|(given, _)| given != name));
        parse_message(&Form::of(kept.chain(pairs).copied()), ACCOUNT)
    }

    #[test]
    fn a_text_without_a_body_is_a_text() {
        let text = read(&[]);
        assert_eq!((text.body.as_str(), text.reject_reason), ("", None));
    }

    #[test]
    fn what_fits_no_session_says_why() {
        for (pair, reason) in [
            (("AccountSid", "AC2"), RejectReason::ForeignAccount),
            (("MessageSid", ""), RejectReason::NoMessageId),
            (("MessageSid", "SM 1; drop"), RejectReason::NoMessageId),
            (("From", "whatsapp:+14155550101"), RejectReason::ChannelNotSupported),
            (("From", "ACME"), RejectReason::SenderCannotBeAnswered),
            (("From", ""), RejectReason::SenderCannotBeAnswered),
        ] {
            assert_eq!(read(&[pair]).reject_reason, Some(reason), "{pair:?}");
        }
        assert_eq!(read(&[("From", "72975")]).reject_reason, None, "a short code can be answered");
    }

    #[test]
    fn media_are_read_as_far_as_they_are_there() {
        let text = read(&[
            ("NumMedia", "99"),
            ("MediaUrl0", "https://a/1"),
            ("MediaContentType0", "image/png"),
            ("MediaUrl2", "https://a/3"),
        ]);
        let media =
            |url: &str, content_type: &str| InboundMedia { url: url.to_owned(), content_type: content_type.to_owned() };
        assert_eq!(text.media, [media("https://a/1", "image/png"), media("https://a/3", "")]);
    }

    #[test]
    fn a_report_names_a_message_and_a_status_that_is_known() {
        let report = |status, error_code, error_class| {
            StatusNotice::Report(StatusReport { carrier_id: "SM1".to_owned(), status, error_code, error_class })
        };
        for (pairs, callback) in [
            (&[("MessageSid", "SM1"), ("MessageStatus", "pondering")][..], StatusNotice::NotUnderstood),
            (&[("MessageStatus", "sent")], StatusNotice::NotUnderstood),
            (&[("CallSid", "CA1"), ("CallStatus", "completed")], StatusNotice::NotOfAMessage),
            (&[("SmsSid", "SM1"), ("SmsStatus", "sent")], report(DeliveryStatus::Sent, None, None)),
            (
                &[("MessageSid", "SM1"), ("MessageStatus", "undelivered"), ("ErrorCode", "30003")],
                report(DeliveryStatus::Failed, Some(30003), Some(DeliveryErrorClass::Transient)),
            ),
        ] {
            assert_eq!(parse_status(&Form::of(pairs.iter().copied())), callback, "{pairs:?}");
        }
    }
}
