//! Numbers at the carrier: searched, bought, found, pointed at us, released; it never decides whether that should be done.
//!
//! <https://www.twilio.com/docs/phone-numbers/api/availablephonenumber-resource>,
//! <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>.

use reqwest::Method;
use serde::Deserialize;

use super::client::{CarrierError, Client, WebhookUrls, answered, plain, read};
use crate::domain::carrier_account::Account;

/// How the carrier is to call us, behind an address (<https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>).
///
/// By default it gives up after one answer that is not 2xx, and a text is only kept in its log. Three retries (rc=3) after a
/// connection that fails, an answer that doesn't come, or a 5xx, which we answer while the database is away (rp=ct,rt,5xx);
/// never after a 4xx, which says that it was not the carrier. It gives all tries together 15 s, so that each may take 2 s to
/// connect and 3 s to answer (ct, rt): we answer in milliseconds or not at all. The fallback address is asked after that.
pub const OVERRIDES: &str = "#rc=3&rp=ct,rt,5xx&ct=2000&rt=3000";

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberType {
    Local,
    Mobile,
    TollFree,
}

impl NumberType {
    /// The last part of the path of a search.
    const fn path(self) -> &'static str {
        match self {
            Self::Local => "Local",
            Self::Mobile => "Mobile",
            Self::TollFree => "TollFree",
        }
    }
}

/// Which numbers are looked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    pub number_type: NumberType,
    /// Digits, letters of a keypad, and `*` for any digit.
    pub contains: Option<String>,
    /// Only those that can text.
    pub sms: bool,
    pub limit: u32,
}

/// A number that can be bought.
#[derive(Debug, Clone, Deserialize)]
pub struct Available {
    pub phone_number: String,
    #[serde(default)]
    pub friendly_name: Option<String>,
    #[serde(default)]
    pub locality: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub iso_country: Option<String>,
    #[serde(default)]
    pub capabilities: Capabilities,
    /// `none`, `any`, `local` or `foreign`.
    #[serde(default)]
    pub address_requirements: Option<String>,
}

/// A number as the carrier knows it.
#[derive(Debug, Clone, Deserialize)]
pub struct CarrierNumber {
    pub sid: String,
    pub phone_number: String,
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Where inbound texts are posted.
    #[serde(default)]
    pub sms_url: Option<String>,
    #[serde(default)]
    pub sms_method: Option<String>,
    #[serde(default)]
    pub sms_fallback_url: Option<String>,
    #[serde(default)]
    pub sms_fallback_method: Option<String>,
    #[serde(default)]
    pub status_callback: Option<String>,
    /// When it is set, the carrier ignores the number's own webhook addresses.
    #[serde(default)]
    pub sms_application_sid: Option<String>,
    /// `local`, `mobile`, `toll-free` and the like, where the carrier tells.
    #[serde(default, rename = "type")]
    pub number_type: Option<String>,
}

impl CarrierNumber {
    /// What of its set-up is not ours; `None` when all is.
    pub fn drift(&self, urls: &WebhookUrls) -> Option<String> {
        let bare =
            |url: &Option<String>| url.as_deref().unwrap_or_default().split('#').next().unwrap_or_default().to_owned();
        let told = |url: String| if url.is_empty() { "nowhere".to_owned() } else { plain(&url) };
        if self.sms_application_sid.as_deref().is_some_and(|sid| !sid.is_empty()) {
            return Some("an application is set on it, which outranks its webhooks".to_owned());
        }
        if bare(&self.sms_url) != urls.messages {
            return Some(format!("its texts go to {}", told(bare(&self.sms_url))));
        }
        let methods = [&self.sms_method, &self.sms_fallback_method];
        if methods.into_iter().any(|method| method.as_deref().is_some_and(|method| method != "POST")) {
            return Some("its texts are not posted".to_owned());
        }
        if bare(&self.sms_fallback_url) != urls.fallback {
            return Some(format!("its fallback is {}", told(bare(&self.sms_fallback_url))));
        }
        if bare(&self.status_callback).is_empty() {
            return Some("its status callback is nowhere".to_owned());
        }
        let retried = |url: &Option<String>| url.as_deref().unwrap_or_default().ends_with(OVERRIDES);
        if !retried(&self.sms_url) || !retried(&self.sms_fallback_url) {
            return Some("the carrier would not try again when we don't answer".to_owned());
        }
        None
    }
}

/// What a number can do.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Capabilities {
    #[serde(default, alias = "SMS")]
    pub sms: bool,
    #[serde(default, alias = "MMS")]
    pub mms: bool,
    #[serde(default)]
    pub voice: bool,
}

/// The fields that point a number at us. Of a number that we know, an application is taken off, which would outrank the
/// addresses; and a status callback of somebody else's, for calls, stays.
fn webhook_fields<'a>(urls: &'a Addresses, known: Option<&CarrierNumber>) -> Vec<(&'static str, &'a str)> {
    let mut fields = vec![
        ("SmsUrl", urls.messages.as_str()),
        ("SmsMethod", "POST"),
        ("SmsFallbackUrl", urls.fallback.as_str()),
        ("SmsFallbackMethod", "POST"),
    ];
    let filled = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    if known.is_some_and(|known| filled(&known.sms_application_sid)) {
        fields.push(("SmsApplicationSid", ""));
    }
    let bare = |url: &str| url.split('#').next().unwrap_or_default().to_owned();
    let theirs = known.and_then(|known| known.status_callback.as_deref()).unwrap_or_default();
    if theirs.is_empty() || bare(theirs) == bare(&urls.status) {
        fields.push(("StatusCallback", urls.status.as_str()));
        fields.push(("StatusCallbackMethod", "POST"));
    }
    fields
}

/// Addresses with how the carrier is to call them.
struct Addresses {
    messages: String,
    fallback: String,
    status: String,
}

impl Addresses {
    fn of(urls: &WebhookUrls) -> Self {
        let overridden = |url: &str| format!("{url}{OVERRIDES}");
        // The fallback is the last try: a retry more costs nothing.
        Self {
            messages: overridden(&urls.messages),
            fallback: overridden(&urls.fallback),
            status: overridden(&urls.status),
        }
    }
}

impl Client {
    /// Numbers that can be bought.
    pub async fn search_numbers(&self, account: &Account, wanted: &Wanted) -> Result<Vec<Available>, CarrierError> {
        #[derive(Deserialize)]
        struct Found {
            available_phone_numbers: Vec<Available>,
        }
        let path = format!("AvailablePhoneNumbers/{}/{}.json", wanted.country, wanted.number_type.path());
        let mut request = self.request(Method::GET, account, &path).query(&[("PageSize", wanted.limit.to_string())]);
        if wanted.sms {
            request = request.query(&[("SmsEnabled", "true")]);
        }
        if let Some(contains) = &wanted.contains {
            request = request.query(&[("Contains", contains)]);
        }
        let found: Found = read(answered(account, request).await).await?;
        Ok(found.available_phone_numbers)
    }

    /// Buys a number, with its webhooks set from the first moment on.
    pub async fn buy_number(
        &self,
        account: &Account,
        number: &str,
        urls: &WebhookUrls,
    ) -> Result<CarrierNumber, CarrierError> {
        let urls = Addresses::of(urls);
        let mut fields = webhook_fields(&urls, None);
        fields.push(("PhoneNumber", number));
        let request = self.request(Method::POST, account, "IncomingPhoneNumbers.json").form(&fields);
        read(answered(account, request).await).await
    }

    /// The number as the carrier has it; `None` when the account does not own it.
    pub async fn find_number(&self, account: &Account, number: &str) -> Result<Option<CarrierNumber>, CarrierError> {
        let request = self.request(Method::GET, account, "IncomingPhoneNumbers.json").query(&[("PhoneNumber", number)]);
        let found: Owned = read(answered(account, request).await).await?;
        // The filter matches parts of numbers too.
        Ok(found.incoming_phone_numbers.into_iter().find(|found| found.phone_number == number))
    }

    /// Whether the account's credentials are taken: by reading one of its numbers, which every key that serves us may.
    pub async fn try_credentials(&self, account: &Account) -> Result<(), CarrierError> {
        let request = self.request(Method::GET, account, "IncomingPhoneNumbers.json").query(&[("PageSize", "1")]);
        read::<Owned>(answered(account, request).await).await.map(|_| ())
    }

    /// Points a number's webhooks at us.
    pub async fn set_webhooks(
        &self,
        account: &Account,
        number: &CarrierNumber,
        urls: &WebhookUrls,
    ) -> Result<CarrierNumber, CarrierError> {
        let urls = Addresses::of(urls);
        let fields = webhook_fields(&urls, Some(number));
        let path = format!("IncomingPhoneNumbers/{}.json", number.sid);
        read(answered(account, self.request(Method::POST, account, &path).form(&fields)).await).await
    }

    /// Takes our webhooks off a number that stays the account's, and leaves what is somebody else's. False: none was ours.
    pub async fn clear_webhooks(
        &self,
        account: &Account,
        number: &CarrierNumber,
        urls: &WebhookUrls,
    ) -> Result<bool, CarrierError> {
        let ours = |url: &Option<String>| url.as_deref().is_some_and(|url| urls.has(url));
        let mut fields = Vec::new();
        if ours(&number.sms_url) {
            // The carrier takes no fallback without the address that it falls back from (21406).
            fields.extend([("SmsFallbackUrl", ""), ("SmsUrl", "")]);
        } else if ours(&number.sms_fallback_url) {
            fields.push(("SmsFallbackUrl", ""));
        }
        if ours(&number.status_callback) {
            fields.push(("StatusCallback", ""));
        }
        if fields.is_empty() {
            return Ok(false);
        }
        let path = format!("IncomingPhoneNumbers/{}.json", number.sid);
        let cleared = answered(account, self.request(Method::POST, account, &path).form(&fields)).await;
        read::<CarrierNumber>(cleared).await.map(|_| true)
    }

    /// Gives a number back to the carrier for good. One that is gone already is no error.
    pub async fn release_number(&self, account: &Account, sid: &str) -> Result<(), CarrierError> {
        let path = format!("IncomingPhoneNumbers/{sid}.json");
        match super::client::expect_nothing(answered(account, self.request(Method::DELETE, account, &path)).await).await
        {
            Err(CarrierError::Refused { status: 404, .. }) => Ok(()),
            released => released,
        }
    }
}

#[derive(Deserialize)]
struct Owned {
    incoming_phone_numbers: Vec<CarrierNumber>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(sms_url: &str) -> CarrierNumber {
        let json = serde_json::json!({
            "sid": "PN1", "phone_number": "+14155550199", "sms_url": sms_url, "sms_method": "POST",
            "sms_fallback_url": format!("https://sms.example.com/webhooks/twilio/k/fallback{OVERRIDES}"),
            "status_callback": "https://calls.example/status", "sms_application_sid": "",
        });
        serde_json::from_value(json).expect("a number")
    }

    #[test]
    fn drift_is_told_and_how_the_carrier_calls_us_is_none() {
        let urls = WebhookUrls::of("https://sms.example.com", "k");
        assert_eq!(number(&format!("{}{OVERRIDES}", urls.messages)).drift(&urls), None);
        let bare = number(&urls.messages).drift(&urls);
        assert!(
            bare.is_some_and(|drift| drift.contains("not try again")),
            "without the overrides a text is lost at the first fault"
        );
        assert_eq!(number("").drift(&urls).as_deref(), Some("its texts go to nowhere"));
        let other = number("https://other.example.com/sms").drift(&urls);
        assert_eq!(other.as_deref(), Some("its texts go to https://other.example.com/sms"));
    }
}
