//! Where a carrier calls us, what it sends there, and what it wants to hear.

use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use uuid::Uuid;

use crate::domain::carrier_account::{CarrierAccount, CarrierKind};

/// Where the carrier turns to for the messages of a project.
#[derive(Debug, Clone)]
pub struct WebhookUrls {
    pub messages: String,
    pub status: String,
    /// Where a message goes that the first address could not take.
    pub fallback: String,
    /// Where a signature can be tried. The carrier never calls it.
    pub check: String,
    /// What the addresses of all projects here begin with.
    base: String,
    /// What stands in all addresses of this project, under whatever public address they were set.
    path: String,
}

impl WebhookUrls {
    /// The addresses of an account below the address by which the carrier reaches us.
    pub fn of(public_base: &str, account: &CarrierAccount) -> Self {
        Self::of_key(public_base, account.carrier, &account.webhook_key)
    }

    /// The same by the webhook key.
    pub fn of_key(public_base: &str, carrier: CarrierKind, webhook_key: &str) -> Self {
        let path = format!("/webhooks/{carrier}/{webhook_key}/");
        let here = format!("{public_base}{path}");
        Self {
            messages: format!("{here}messages"),
            status: format!("{here}status"),
            fallback: format!("{here}fallback"),
            check: format!("{here}check"),
            base: format!("{public_base}/webhooks/{carrier}/"),
            path,
        }
    }

    /// The address of reports about one delivery. Our id comes back with every report, even when
    /// the carrier's answer to the sending is lost.
    pub fn status_of_delivery(public_base: &str, account: &CarrierAccount, delivery_id: Uuid) -> String {
        format!("{public_base}/webhooks/{}/{}/status?delivery={delivery_id}", account.carrier, account.webhook_key)
    }

    /// Whether an address is this project's.
    pub fn has(&self, url: &str) -> bool {
        url.contains(&self.path)
    }

    /// Whether an address is another project's of this installation.
    pub fn lead_to_another_project(&self, url: &str) -> bool {
        url.starts_with(&self.base) && !self.has(url)
    }
}

/// A text for the log: without the keys in the addresses of webhooks. Whoever has a key knows half
/// of what a webhook needs.
pub fn without_webhook_keys(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/webhooks/") {
        let (carrier, of_key) = after.split_once('/').unwrap_or((after, ""));
        let end = of_key.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(of_key.len());
        shown.push_str(before);
        shown.push_str("/webhooks/");
        shown.push_str(carrier);
        if after.len() > carrier.len() {
            shown.push_str(if end == 0 { "/" } else { "/{key}" });
        }
        rest = of_key.get(end..).unwrap_or_default();
    }
    shown + rest
}

/// A request to a webhook.
#[derive(Debug, Clone, Copy)]
pub struct WebhookRequest<'a> {
    /// The whole address, as the carrier calls it.
    pub url: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

impl<'a> WebhookRequest<'a> {
    /// A request of which only the body was kept. It was verified when it came.
    pub fn of_kept(body: &'a [u8]) -> Self {
        Self { url: "", headers: &NO_HEADERS, body }
    }
}

/// Why a request is not the carrier's. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WebhookRefusal(pub String);

/// The answer that tells a carrier that a webhook was received, and that there is nothing more to
/// do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    pub content_type: &'static str,
    pub body: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_no_key() {
        for (text, shown) in [
            ("https://a.example/webhooks/twilio/s3-cr_et/messages", "https://a.example/webhooks/twilio/{key}/messages"),
            ("https://a.example/webhooks/twilio/secret", "https://a.example/webhooks/twilio/{key}"),
            (
                "it is /webhooks/twilio/secret, not /webhooks/twilio/other/x?y",
                "it is /webhooks/twilio/{key}, not /webhooks/twilio/{key}/x?y",
            ),
            ("https://a.example/webhooks/twilio", "https://a.example/webhooks/twilio"),
            ("https://a.example/webhooks/twilio//x", "https://a.example/webhooks/twilio//x"),
            ("https://a.example/sms", "https://a.example/sms"),
            ("", ""),
        ] {
            assert_eq!(without_webhook_keys(text), shown);
        }
    }

    #[test]
    fn addresses_are_told_apart_by_their_key() {
        let urls = WebhookUrls::of_key("https://a.example", CarrierKind::Twilio, "mine");
        let other = WebhookUrls::of_key("https://a.example", CarrierKind::Twilio, "other");
        let moved = WebhookUrls::of_key("https://b.example", CarrierKind::Twilio, "mine");
        assert_eq!(urls.messages, "https://a.example/webhooks/twilio/mine/messages");
        assert!(urls.has(&urls.fallback) && urls.has(&moved.status) && !urls.has(&other.messages));
        assert!(urls.lead_to_another_project(&other.messages));
        assert!(!urls.lead_to_another_project(&urls.messages) && !urls.lead_to_another_project("https://a.example/x"));
    }
}
