//! Webhook forms in our words: an inbound text, a status report; it verifies nothing and stores nothing.
//!
//! Parameters: <https://www.twilio.com/docs/messaging/guides/webhook-request> and
//! <https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks>.

use super::error_codes::ErrorClass;
use super::form::Form;
use crate::domain::delivery::DeliveryStatus;

/// A text that somebody sent us.
#[derive(Debug, Clone)]
pub struct InboundText {
    /// MessageSid, when it is one.
    pub sid: Option<String>,
    pub from: String,
    pub to: String,
    pub body: String,
    /// URL and content type of each medium.
    pub media: Vec<(String, String)>,
    /// Why no session can hold it, if so.
    pub misfit: Option<&'static str>,
    /// What the carrier itself took the text for. It says so where Advanced Opt-Out is on; then its word counts, since the
    /// words may be the customer's own.
    pub opt_out: Option<OptOut>,
}

/// What the carrier did with a keyword (<https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptOut {
    Stop,
    Start,
    Help,
}

impl InboundText {
    /// Reads the form of an inbound text of an account. Anything is readable: what is missing or
    /// odd makes a misfit, not an error.
    pub fn read(form: &Form, account_sid: &str) -> Self {
        let sid = ["MessageSid", "SmsMessageSid", "SmsSid"].iter().find_map(|name| form.filled(name));
        let sid = sid.filter(|sid| is_sid(sid));
        let from = form.text("From").unwrap_or_default();
        let to = form.text("To").unwrap_or_default();
        let misfit = if form.text("AccountSid").as_deref() != Some(account_sid) {
            Some("foreign_account")
        } else if sid.is_none() {
            Some("no_message_id")
        } else if from.contains(':') || to.contains(':') {
            // whatsapp:+…, rcs:…, messenger:…
            Some("channel_not_supported")
        } else if !is_dialable(&from) {
            // An alphanumeric sender can't be answered; neither can nobody.
            Some("sender_cannot_be_answered")
        } else {
            None
        };
        let opt_out = match form.text("OptOutType").unwrap_or_default().trim().to_ascii_uppercase().as_str() {
            "STOP" => Some(OptOut::Stop),
            "START" => Some(OptOut::Start),
            "HELP" => Some(OptOut::Help),
            _ => None,
        };
        Self { sid, from, to, body: form.text("Body").unwrap_or_default(), media: media(form), misfit, opt_out }
    }
}

/// Ten media are the most a message has; we read no more, whatever NumMedia says.
fn media(form: &Form) -> Vec<(String, String)> {
    let count = form.text("NumMedia").and_then(|count| count.parse::<usize>().ok()).unwrap_or(0).min(10);
    (0..count)
        .filter_map(|n| {
            let url = form.filled(&format!("MediaUrl{n}"))?;
            Some((url, form.text(&format!("MediaContentType{n}")).unwrap_or_default()))
        })
        .collect()
}

/// What the carrier says about a message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    pub sid: String,
    /// `accepted`, `sent`, `delivered` or `failed`.
    pub status: DeliveryStatus,
    pub error_code: Option<i32>,
    pub error_class: Option<ErrorClass>,
}

impl StatusReport {
    /// Whether it tells of a phone call: a number's status callback is for those too, and they are nobody's here
    /// (<https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>).
    pub fn is_of_a_call(form: &Form) -> bool {
        form.filled("CallSid").is_some() && form.filled("MessageSid").is_none()
    }

    /// Reads the form of a status callback; `None` when it names no message or no status that we know.
    pub fn read(form: &Form) -> Option<Self> {
        let sid = ["MessageSid", "SmsSid"].iter().find_map(|name| form.filled(name)).filter(|sid| is_sid(sid))?;
        let word = ["MessageStatus", "SmsStatus"].iter().find_map(|name| form.filled(name))?;
        let status = our_status(&word)?;
        let error_code = form.filled("ErrorCode").and_then(|code| code.parse().ok());
        Some(Self { sid, status, error_code, error_class: error_code.map(ErrorClass::of) })
    }
}

/// Twilio's message status in our words; `None` for one that says nothing about a text we sent.
pub fn our_status(word: &str) -> Option<DeliveryStatus> {
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

/// An E.164 number or a short code.
fn is_dialable(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (3..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

    fn read(pairs: &[(&str, &str)]) -> InboundText {
        let common = [("AccountSid", ACCOUNT), ("MessageSid", "SM1"), ("To", "+14155550199"), ("From", "+14155550101")];
        let kept = common.iter().filter(|(name, _)| pairs.iter().all(|(given, _)| given != name));
        InboundText::read(&Form::of(kept.chain(pairs).copied()), ACCOUNT)
    }

    #[test]
    fn a_text_without_a_body_is_a_text() {
        let text = read(&[]);
        assert_eq!((text.body.as_str(), text.misfit), ("", None));
    }

    #[test]
    fn what_fits_no_session_says_why() {
        for (pair, reason) in [
            (("AccountSid", "AC2"), "foreign_account"),
            (("MessageSid", ""), "no_message_id"),
            (("MessageSid", "SM 1; drop"), "no_message_id"),
            (("From", "whatsapp:+14155550101"), "channel_not_supported"),
            (("From", "ACME"), "sender_cannot_be_answered"),
            (("From", ""), "sender_cannot_be_answered"),
        ] {
            assert_eq!(read(&[pair]).misfit, Some(reason), "{pair:?}");
        }
        assert_eq!(read(&[("From", "72975")]).misfit, None, "a short code can be answered");
    }

    #[test]
    fn media_are_read_as_far_as_they_are_there() {
        let text = read(&[
            ("NumMedia", "99"),
            ("MediaUrl0", "https://a/1"),
            ("MediaContentType0", "image/png"),
            ("MediaUrl2", "https://a/3"),
        ]);
        assert_eq!(
            text.media,
            [("https://a/1".to_owned(), "image/png".to_owned()), ("https://a/3".to_owned(), String::new()),]
        );
    }

    #[test]
    fn a_status_that_nobody_knows_changes_nothing() {
        assert_eq!(StatusReport::read(&Form::of([("MessageSid", "SM1"), ("MessageStatus", "pondering")])), None);
        let report = StatusReport::read(&Form::of([
            ("MessageSid", "SM1"),
            ("MessageStatus", "undelivered"),
            ("ErrorCode", "30003"),
        ]));
        assert_eq!(
            report.map(|report| (report.status, report.error_code, report.error_class)),
            Some((DeliveryStatus::Failed, Some(30003), Some(ErrorClass::Transient)))
        );
    }
}
