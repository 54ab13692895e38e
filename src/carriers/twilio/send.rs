//! Sends a message, and reads what Twilio's answer means
//! (<https://www.twilio.com/docs/messaging/api/message-resource>).

use chrono::DateTime;
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;

use super::client::{Client, ErrorBody, answered, bounded_body, describe};
use super::error_codes;
use super::numbers::OVERRIDES;
use crate::carriers::message::{OutboundMessage, SendRefusal, Sent};
use crate::domain::carrier_account::Credentials;
use crate::domain::delivery::DeliveryErrorClass;

/// What Twilio answered to a message.
#[derive(Debug, Clone, PartialEq)]
pub enum SendAnswer {
    /// It has the message.
    Accepted { sid: String },
    /// It did not take the message.
    Refused {
        code: Option<i32>,
        status: u16,
        /// Whether the message named a messaging service.
        names_service: bool,
        detail: String,
        retry_after_seconds: Option<f64>,
    },
    /// It was not reached: no byte of the request was sent.
    NotReached { detail: String },
    /// It may have taken the message or not.
    Unsure { detail: String },
}

impl From<SendAnswer> for Sent {
    fn from(answer: SendAnswer) -> Self {
        match answer {
            SendAnswer::Accepted { sid } => Self::Accepted { carrier_id: sid },
            SendAnswer::NotReached { detail } => Self::NotReached { detail },
            SendAnswer::Unsure { detail } => Self::Unsure { detail },
            SendAnswer::Refused { code, status, names_service, detail, retry_after_seconds } => {
                let class = class_of(code, status, names_service);
                Self::Refused(SendRefusal {
                    code,
                    class,
                    is_permanent: code.is_some_and(error_codes::is_permanent),
                    // One number's queue is full, or it is not in its service. The account's other
                    // numbers may send.
                    is_of_one_number: class == DeliveryErrorClass::NotInPool
                        || (class == DeliveryErrorClass::Throttled && status != 429),
                    detail,
                    retry_after_seconds,
                })
            }
        }
    }
}

/// The class of a refusal.
fn class_of(code: Option<i32>, status: u16, names_service: bool) -> DeliveryErrorClass {
    match (code, status) {
        (_, 429) => DeliveryErrorClass::Throttled,
        (Some(code), _) if names_service && error_codes::may_be_of_a_service(code) => DeliveryErrorClass::NotInPool,
        (None, 404) if names_service => DeliveryErrorClass::NotInPool,
        (Some(code), _) => error_codes::class_of(code),
        (None, 401 | 403) => DeliveryErrorClass::Auth,
        (None, _) => DeliveryErrorClass::PermanentConfig,
    }
}

impl Client {
    /// Hands a message to Twilio, once.
    pub async fn send(&self, account: &Credentials, message: &OutboundMessage<'_>) -> SendAnswer {
        let status_callback = format!("{}{OVERRIDES}", message.status_url);
        let mut fields = vec![("To", message.to), ("From", message.from), ("StatusCallback", status_callback.as_str())];
        if let Some(service) = message.pool_id {
            fields.push(("MessagingServiceSid", service));
        }
        if !message.body.is_empty() {
            fields.push(("Body", message.body));
        }
        fields.extend(message.media_urls.iter().map(|url| ("MediaUrl", url.as_str())));
        let request = self.request(reqwest::Method::POST, account, "Messages.json").form(&fields);
        match answered(account, request).await {
            Ok(answer) => read_sent(answer, message.pool_id.is_some()).await,
            Err(error) if error.is_connect() => SendAnswer::NotReached { detail: describe(&error) },
            Err(error) => SendAnswer::Unsure { detail: describe(&error) },
        }
    }
}

async fn read_sent(answer: Response, names_service: bool) -> SendAnswer {
    #[derive(Deserialize)]
    struct Created {
        sid: String,
    }
    let status = answer.status();
    let retry_after_seconds = retry_after(&answer);
    let body = match bounded_body(answer).await {
        Ok(body) => body,
        // The status alone settles a refusal; a success without its body names no message.
        Err(detail) if !status.is_client_error() => return SendAnswer::Unsure { detail },
        Err(_) => Vec::new(),
    };
    if status.is_success() {
        return match serde_json::from_slice::<Created>(&body) {
            Ok(Created { sid }) if is_message_sid(&sid) => SendAnswer::Accepted { sid },
            Ok(Created { sid }) => {
                SendAnswer::Unsure { detail: format!("the answer {status} names no message but {sid:?}") }
            }
            Err(error) => SendAnswer::Unsure { detail: format!("the answer {status} names no message: {error}") },
        };
    }
    let error: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
    let code = error.code;
    let detail = error.reason().unwrap_or_else(|| format!("the carrier answered {status}"));
    if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT {
        return SendAnswer::Refused { code, status: status.as_u16(), names_service, detail, retry_after_seconds };
    }
    SendAnswer::Unsure { detail }
}

/// SM… or MM…, letters and digits.
fn is_message_sid(text: &str) -> bool {
    (text.starts_with("SM") || text.starts_with("MM"))
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Seconds of a Retry-After header, which tells seconds or a date (RFC 9110, 10.2.3). A date is
/// read by the carrier's own clock. Twilio's documents do not promise the header.
fn retry_after(answer: &Response) -> Option<f64> {
    let text = |name: header::HeaderName| answer.headers().get(name)?.to_str().ok().map(str::trim);
    let told = text(header::RETRY_AFTER)?;
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    let seconds: f64 = match told.parse() {
        Ok(seconds) => seconds,
        Err(_) => (date(told)? - date(text(header::DATE)?)?).as_seconds_f64(),
    };
    (0.0..=86_400.0).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Option<i32>, status: u16, names_service: bool) -> SendRefusal {
        let (detail, retry_after_seconds) = ("no".to_owned(), Some(7.0));
        let answer = SendAnswer::Refused { code, status, names_service, detail, retry_after_seconds };
        match answer.into() {
            Sent::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_has_a_class_and_says_whom_it_concerns() {
        for (code, status, class, may_pass, is_of_one_number) in [
            (Some(20429), 429, DeliveryErrorClass::Throttled, true, false),
            (None, 429, DeliveryErrorClass::Throttled, true, false),
            (Some(21611), 400, DeliveryErrorClass::Throttled, true, true),
            (Some(20003), 401, DeliveryErrorClass::Auth, true, false),
            (None, 403, DeliveryErrorClass::Auth, true, false),
            (Some(21608), 400, DeliveryErrorClass::Account, false, false),
            (Some(21610), 400, DeliveryErrorClass::OptedOut, false, false),
            (Some(21211), 400, DeliveryErrorClass::PermanentRecipient, false, false),
            (Some(30034), 400, DeliveryErrorClass::Unregistered, false, false),
            (Some(99999), 400, DeliveryErrorClass::PermanentConfig, false, false),
            (None, 404, DeliveryErrorClass::PermanentConfig, false, false),
        ] {
            let refusal = refused(code, status, false);
            let told = (refusal.class, refusal.may_pass(), refusal.is_of_one_number);
            assert_eq!(told, (class, may_pass, is_of_one_number), "{code:?} {status}");
            assert_eq!(refusal.retry_after_seconds, Some(7.0));
        }
    }

    #[test]
    fn what_a_service_does_not_send_its_number_may_send_alone() {
        for (code, status, is_of_the_service) in [
            (Some(20404), 404, true),
            (None, 404, true),
            (Some(21701), 400, true),
            (Some(21702), 400, true),
            (Some(21703), 400, true),
            (Some(21704), 400, true),
            (Some(21705), 400, true),
            (Some(21711), 400, true),
            (Some(21712), 400, true),
            (Some(21606), 400, true),
            (Some(21408), 400, false),
            (Some(21610), 400, false),
            (Some(21211), 400, false),
            (Some(21703), 429, false),
            (Some(20003), 401, false),
            (None, 400, false),
        ] {
            let through = refused(code, status, true);
            assert_eq!(through.class == DeliveryErrorClass::NotInPool, is_of_the_service, "{code:?} {status}");
            assert!(!is_of_the_service || (through.may_pass() && through.is_of_one_number), "{code:?} {status}");
            assert_ne!(refused(code, status, false).class, DeliveryErrorClass::NotInPool, "{code:?} {status}");
        }
    }
}
