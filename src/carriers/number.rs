//! Numbers as they cross the trait: those that can be bought, those that an account has, and what
//! lets them send.

use url::Url;

use super::webhook::WebhookUrls;
use crate::domain::number::{NumberType, RegistrationStatus};

/// Which numbers are looked for.
#[derive(Debug, Clone)]
pub struct NumberSearch {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub number_type: NumberType,
    /// Digits, letters of a keypad, and `*` for any digit.
    pub contains: Option<String>,
    /// Only those that can carry text messages.
    pub sms: bool,
    pub limit: u32,
}

/// What a number can carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NumberCapabilities {
    pub sms: bool,
    pub mms: bool,
    pub voice: bool,
}

/// A number that can be bought.
#[derive(Debug, Clone)]
pub struct AvailableNumber {
    pub number: String,
    pub locality: Option<String>,
    pub region: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    pub capabilities: NumberCapabilities,
    /// Which address the carrier wants to know before it sells: `none`, `any`, `local` or
    /// `foreign`.
    pub address_requirements: Option<String>,
}

/// A number that the account has.
#[derive(Debug, Clone)]
pub struct CarrierNumber {
    /// The carrier's id of it.
    pub carrier_id: String,
    pub number: String,
    /// `local`, `mobile`, `toll-free`, `short-code` and the like, where the carrier tells.
    pub number_type: Option<String>,
    pub capabilities: NumberCapabilities,
    pub webhooks: NumberWebhooks,
}

/// Where the carrier turns to for a number, as it is set there now. An address that is not set is
/// empty.
#[derive(Debug, Clone, Default)]
pub struct NumberWebhooks {
    pub messages: String,
    pub fallback: String,
    pub status: String,
    /// Whether numbers of its type have no status callback: each message names its own.
    pub lacks_status: bool,
    /// Something that is set on the number and outranks its webhooks, if there is such a thing.
    pub outranked_by: Option<&'static str>,
    /// What is wrong with the way in which the carrier calls the addresses, if something is.
    pub flaw: Option<&'static str>,
}

impl NumberWebhooks {
    /// What is not as we set it. `None`: all is.
    pub fn drift(&self, urls: &WebhookUrls) -> Option<String> {
        let told = |url: &str| if url.is_empty() { "nowhere".to_owned() } else { without_secrets(url) };
        if let Some(outranked_by) = self.outranked_by {
            return Some(outranked_by.to_owned());
        }
        if self.messages != urls.messages {
            return Some(format!("its texts go to {}", told(&self.messages)));
        }
        if self.fallback != urls.fallback {
            return Some(format!("its fallback is {}", told(&self.fallback)));
        }
        if self.status.is_empty() && !self.lacks_status {
            return Some("its status callback is nowhere".to_owned());
        }
        self.flaw.map(str::to_owned)
    }
}

/// An address as it may be told to anybody: without the login and the query, which may hold
/// somebody's secrets.
pub fn without_secrets(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "an address that can't be read".to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // An address that can't have a login has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// How inbound messages of a number find their way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboundRoute {
    /// Why messages don't come here although the number's webhooks are right. `None`: they do.
    pub blocked_reason: Option<String>,
    /// The carrier's id of the group of numbers that it is registered with, if it is in one.
    pub pool_id: Option<String>,
}

/// A number whose registration is asked for.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationQuery<'a> {
    pub carrier_id: &'a str,
    pub is_toll_free: bool,
    pub is_short_code: bool,
    /// ISO 3166-1 alpha-2, when the digits tell.
    pub country: Option<&'a str>,
    /// See [`InboundRoute::pool_id`].
    pub pool_id: Option<&'a str>,
}

/// What the carrier tells about a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationFacts {
    /// The carrier tells nothing about numbers like this one. The advice says where to look
    /// instead.
    NotTold { advice: Option<String> },
    Told {
        registration: RegistrationStatus,
        /// The carrier's reason.
        detail: Option<String>,
    },
}

/// Whether a value may come from a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It may be a minute old.
    Cached,
    /// It must be asked of the carrier.
    Now,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::carrier_account::CarrierKind;

    #[test]
    fn the_first_thing_that_is_not_ours_is_told() {
        let urls = WebhookUrls::of_key("https://sms.example.com", CarrierKind::Twilio, "k");
        let ours = || NumberWebhooks {
            messages: urls.messages.clone(),
            fallback: urls.fallback.clone(),
            status: "https://calls.example/status".to_owned(),
            ..NumberWebhooks::default()
        };
        assert_eq!(ours().drift(&urls), None);
        let other = "https://user:secret@other.example/sms?token=1".to_owned();
        for (webhooks, drift) in [
            (NumberWebhooks { outranked_by: Some("an application"), ..ours() }, "an application"),
            (NumberWebhooks { messages: other.clone(), ..ours() }, "its texts go to https://other.example/sms"),
            (NumberWebhooks { messages: String::new(), ..ours() }, "its texts go to nowhere"),
            (NumberWebhooks { fallback: other, ..ours() }, "its fallback is https://other.example/sms"),
            (NumberWebhooks { status: String::new(), ..ours() }, "its status callback is nowhere"),
            (NumberWebhooks { flaw: Some("it is not posted"), ..ours() }, "it is not posted"),
        ] {
            assert_eq!(webhooks.drift(&urls).as_deref(), Some(drift));
        }
        let without = NumberWebhooks { status: String::new(), lacks_status: true, ..ours() };
        assert_eq!(without.drift(&urls), None, "a short code has no status callback");
    }
}
