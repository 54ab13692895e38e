//! Numbers at Twilio: searched, bought, found, pointed at us, released. Short codes are found and
//! pointed at us; their leases are made and ended by people.
//!
//! <https://www.twilio.com/docs/phone-numbers/api/availablephonenumber-resource>,
//! <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>,
//! <https://www.twilio.com/docs/messaging/api/short-code-resource>.

use reqwest::Method;
use serde::Deserialize;

use super::client::{ApiError, Client, answered, expect_nothing, read};
use crate::carriers::number::{AvailableNumber, CarrierNumber, NumberCapabilities, NumberSearch, NumberWebhooks};
use crate::carriers::webhook::WebhookUrls;
use crate::domain::carrier_account::Credentials;
use crate::domain::number::NumberType;
use crate::domain::phone_number::is_short_code;

/// How Twilio is to call us, behind an address
/// (<https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>).
///
/// By default it gives up after one answer that is not 2xx, and the message is only kept in its
/// log. With these it tries three times more (rc=3) after a connection that fails, an answer that
/// does not come, or a 5xx, which we answer while the database is away (rp=ct,rt,5xx). It does not
/// after a 4xx, which says that the request was not Twilio's. All tries together may take 15 s, so
/// each may take 2 s to connect and 3 s to answer (ct, rt). The fallback address comes after that.
pub const OVERRIDES: &str = "#rc=3&rp=ct,rt,5xx&ct=2000&rt=3000";

/// The type of a short code, which Twilio's resource does not name.
const SHORT_CODE_TYPE: &str = "short-code";

/// Where numbers like this one are in Twilio's API, and by which parameter they are looked for.
fn resource_of(number: &str) -> (&'static str, &'static str) {
    if is_short_code(number) { ("SMS/ShortCodes", "ShortCode") } else { ("IncomingPhoneNumbers", "PhoneNumber") }
}

/// The path of a number that the account has.
fn path_of_owned(number: &CarrierNumber) -> String {
    let (resource, _) = resource_of(&number.number);
    format!("{resource}/{}.json", number.carrier_id)
}

/// The last part of the path of a search.
const fn path_of(number_type: NumberType) -> &'static str {
    match number_type {
        NumberType::Local => "Local",
        NumberType::Mobile => "Mobile",
        NumberType::TollFree => "TollFree",
    }
}

/// A number that can be bought, as Twilio tells it.
#[derive(Debug, Deserialize)]
struct Available {
    phone_number: String,
    #[serde(default)]
    locality: Option<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    iso_country: Option<String>,
    #[serde(default)]
    capabilities: Capabilities,
    /// `none`, `any`, `local` or `foreign`.
    #[serde(default)]
    address_requirements: Option<String>,
}

impl From<Available> for AvailableNumber {
    fn from(available: Available) -> Self {
        Self {
            number: available.phone_number,
            locality: available.locality,
            region: available.region,
            country: available.iso_country,
            capabilities: available.capabilities.into(),
            address_requirements: available.address_requirements,
        }
    }
}

/// What a number can carry.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Capabilities {
    #[serde(default, alias = "SMS")]
    sms: bool,
    #[serde(default, alias = "MMS")]
    mms: bool,
    #[serde(default)]
    voice: bool,
}

impl From<Capabilities> for NumberCapabilities {
    fn from(capabilities: Capabilities) -> Self {
        Self { sms: capabilities.sms, mms: capabilities.mms, voice: capabilities.voice }
    }
}

/// A number of the account, as Twilio tells it, or a short code. The resource of a short code has
/// no capabilities, no status callback, no application and no type.
#[derive(Debug, Deserialize)]
struct OwnedNumber {
    sid: String,
    #[serde(alias = "short_code")]
    phone_number: String,
    #[serde(default)]
    capabilities: Capabilities,
    /// Where inbound messages are posted.
    #[serde(default)]
    sms_url: Option<String>,
    #[serde(default)]
    sms_method: Option<String>,
    #[serde(default)]
    sms_fallback_url: Option<String>,
    #[serde(default)]
    sms_fallback_method: Option<String>,
    #[serde(default)]
    status_callback: Option<String>,
    /// When it is set, Twilio ignores the number's own webhook addresses.
    #[serde(default)]
    sms_application_sid: Option<String>,
    /// `local`, `mobile`, `toll-free` and the like, where Twilio tells.
    #[serde(default, rename = "type")]
    number_type: Option<String>,
}

impl OwnedNumber {
    /// What is wrong with the way in which Twilio calls the addresses.
    fn flaw(&self) -> Option<&'static str> {
        let methods = [&self.sms_method, &self.sms_fallback_method];
        if methods.into_iter().any(|method| method.as_deref().is_some_and(|method| method != "POST")) {
            return Some("its texts are not posted");
        }
        let retried = |url: &Option<String>| url.as_deref().unwrap_or_default().ends_with(OVERRIDES);
        let are_retried = retried(&self.sms_url) && retried(&self.sms_fallback_url);
        (!are_retried).then_some("the carrier would not try again when we don't answer")
    }
}

impl From<OwnedNumber> for CarrierNumber {
    fn from(owned: OwnedNumber) -> Self {
        let bare = |url: &Option<String>| bare(url.as_deref().unwrap_or_default()).to_owned();
        let has_application = owned.sms_application_sid.as_deref().is_some_and(|sid| !sid.is_empty());
        let is_short_code = is_short_code(&owned.phone_number);
        Self {
            webhooks: NumberWebhooks {
                messages: bare(&owned.sms_url),
                fallback: bare(&owned.sms_fallback_url),
                status: bare(&owned.status_callback),
                lacks_status: is_short_code,
                outranked_by: has_application.then_some("an application is set on it, which outranks its webhooks"),
                flaw: owned.flaw(),
            },
            carrier_id: owned.sid,
            number: owned.phone_number,
            number_type: owned.number_type.or_else(|| is_short_code.then(|| SHORT_CODE_TYPE.to_owned())),
            capabilities: match is_short_code {
                true => NumberCapabilities { sms: true, ..NumberCapabilities::default() },
                false => owned.capabilities.into(),
            },
        }
    }
}

/// An address without how it is to be called.
fn bare(url: &str) -> &str {
    url.split('#').next().unwrap_or_default()
}

/// The addresses that are set on a number, with how Twilio is to call them. The fallback is the
/// last try, so a retry more costs nothing.
struct OverriddenUrls {
    messages: String,
    fallback: String,
    status: String,
}

impl OverriddenUrls {
    fn of(urls: &WebhookUrls) -> Self {
        let overridden = |url: &str| format!("{url}{OVERRIDES}");
        Self {
            messages: overridden(&urls.messages),
            fallback: overridden(&urls.fallback),
            status: overridden(&urls.status),
        }
    }

    /// The fields that point a number at us. An application that is known to be set is taken off,
    /// because it would outrank the addresses. A status callback of somebody else's, for calls,
    /// stays. A short code has none.
    fn fields(&self, known: Option<&NumberWebhooks>) -> Vec<(&'static str, &str)> {
        let mut fields = vec![
            ("SmsUrl", self.messages.as_str()),
            ("SmsMethod", "POST"),
            ("SmsFallbackUrl", self.fallback.as_str()),
            ("SmsFallbackMethod", "POST"),
        ];
        if known.is_some_and(|known| known.outranked_by.is_some()) {
            fields.push(("SmsApplicationSid", ""));
        }
        let theirs = known.map_or("", |known| known.status.as_str());
        let has_status = known.is_none_or(|known| !known.lacks_status);
        if has_status && (theirs.is_empty() || theirs == bare(&self.status)) {
            fields.push(("StatusCallback", self.status.as_str()));
            fields.push(("StatusCallbackMethod", "POST"));
        }
        fields
    }
}

impl Client {
    /// Numbers that can be bought.
    pub async fn search_numbers(
        &self,
        account: &Credentials,
        search: &NumberSearch,
    ) -> Result<Vec<AvailableNumber>, ApiError> {
        #[derive(Deserialize)]
        struct Found {
            available_phone_numbers: Vec<Available>,
        }
        let path = format!("AvailablePhoneNumbers/{}/{}.json", search.country, path_of(search.number_type));
        let mut request = self.request(Method::GET, account, &path).query(&[("PageSize", search.limit.to_string())]);
        if search.sms {
            request = request.query(&[("SmsEnabled", "true")]);
        }
        if let Some(contains) = &search.contains {
            request = request.query(&[("Contains", contains)]);
        }
        let found: Found = read(answered(account, request).await).await?;
        Ok(found.available_phone_numbers.into_iter().map(Into::into).collect())
    }

    /// Buys a number, with its webhooks set from the first moment on.
    pub async fn buy_number(
        &self,
        account: &Credentials,
        number: &str,
        urls: &WebhookUrls,
    ) -> Result<CarrierNumber, ApiError> {
        let urls = OverriddenUrls::of(urls);
        let mut fields = urls.fields(None);
        fields.push(("PhoneNumber", number));
        let request = self.request(Method::POST, account, "IncomingPhoneNumbers.json").form(&fields);
        read::<OwnedNumber>(answered(account, request).await).await.map(Into::into)
    }

    /// The number as the carrier has it; `None` when the account does not own it.
    pub async fn find_number(&self, account: &Credentials, number: &str) -> Result<Option<CarrierNumber>, ApiError> {
        let (resource, parameter) = resource_of(number);
        let request = self.request(Method::GET, account, &format!("{resource}.json"));
        // The filter matches parts of numbers too. A short code may be part of many, so that it is
        // not on a usual page.
        let request = request.query(&[(parameter, number), ("PageSize", "1000")]);
        let found: Owned = read(answered(account, request).await).await?;
        Ok(found.numbers.into_iter().find(|found| found.phone_number == number).map(Into::into))
    }

    /// Whether the account's login is taken. It reads one of its numbers, which every key that
    /// serves us may do.
    pub async fn try_login(&self, account: &Credentials) -> Result<(), ApiError> {
        let request = self.request(Method::GET, account, "IncomingPhoneNumbers.json").query(&[("PageSize", "1")]);
        read::<Owned>(answered(account, request).await).await.map(|_| ())
    }

    /// Points a number's webhooks at us.
    pub async fn set_webhooks(
        &self,
        account: &Credentials,
        number: &CarrierNumber,
        urls: &WebhookUrls,
    ) -> Result<(), ApiError> {
        let urls = OverriddenUrls::of(urls);
        let fields = urls.fields(Some(&number.webhooks));
        let set = answered(account, self.request(Method::POST, account, &path_of_owned(number)).form(&fields)).await;
        read::<OwnedNumber>(set).await.map(|_| ())
    }

    /// Takes our webhooks off a number that stays the account's, and leaves those of others. False:
    /// none was ours.
    pub async fn clear_webhooks(
        &self,
        account: &Credentials,
        number: &CarrierNumber,
        urls: &WebhookUrls,
    ) -> Result<bool, ApiError> {
        let set = &number.webhooks;
        let mut fields = Vec::new();
        if urls.has(&set.messages) {
            // Twilio takes no fallback without the address that it falls back from (21406).
            fields.extend([("SmsFallbackUrl", ""), ("SmsUrl", "")]);
        } else if urls.has(&set.fallback) {
            fields.push(("SmsFallbackUrl", ""));
        }
        if urls.has(&set.status) {
            fields.push(("StatusCallback", ""));
        }
        if fields.is_empty() {
            return Ok(false);
        }
        let cleared =
            answered(account, self.request(Method::POST, account, &path_of_owned(number)).form(&fields)).await;
        read::<OwnedNumber>(cleared).await.map(|_| true)
    }

    /// Gives a number back to the carrier for good. One that is gone already is no error.
    pub async fn release_number(&self, account: &Credentials, sid: &str) -> Result<(), ApiError> {
        let path = format!("IncomingPhoneNumbers/{sid}.json");
        match expect_nothing(answered(account, self.request(Method::DELETE, account, &path)).await).await {
            Err(ApiError::Refused { status: 404, .. }) => Ok(()),
            released => released,
        }
    }
}

/// A page of the account's numbers, or of its short codes.
#[derive(Deserialize)]
struct Owned {
    #[serde(alias = "incoming_phone_numbers", alias = "short_codes")]
    numbers: Vec<OwnedNumber>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::carrier_account::CarrierKind;

    fn number(sms_url: &str, sms_application_sid: &str) -> CarrierNumber {
        let json = serde_json::json!({
            "sid": "PN1", "phone_number": "+14155550199", "sms_url": sms_url, "sms_method": "POST",
            "sms_fallback_url": format!("https://sms.example.com/webhooks/twilio/k/fallback{OVERRIDES}"),
            "status_callback": "https://calls.example/status", "sms_application_sid": sms_application_sid,
        });
        serde_json::from_value::<OwnedNumber>(json).expect("a number").into()
    }

    #[test]
    fn drift_is_told_and_a_webhook_that_is_not_retried_has_a_flaw() {
        let urls = WebhookUrls::of_key("https://sms.example.com", CarrierKind::Twilio, "k");
        let drift = |sms_url: &str| number(sms_url, "").webhooks.drift(&urls);
        assert_eq!(drift(&format!("{}{OVERRIDES}", urls.messages)), None);
        assert!(
            drift(&urls.messages).is_some_and(|drift| drift.contains("not try again")),
            "without the overrides a message is lost at the first fault"
        );
        assert_eq!(drift("").as_deref(), Some("its texts go to nowhere"));
        assert_eq!(
            drift("https://other.example.com/sms").as_deref(),
            Some("its texts go to https://other.example.com/sms")
        );
        let outranked = number(&format!("{}{OVERRIDES}", urls.messages), "AP1").webhooks.drift(&urls);
        assert!(outranked.is_some_and(|drift| drift.contains("an application")));
    }

    #[test]
    fn a_status_callback_of_somebody_elses_stays_and_an_application_is_taken_off() {
        let urls = OverriddenUrls::of(&WebhookUrls::of_key("https://sms.example.com", CarrierKind::Twilio, "k"));
        let names = |known: Option<&NumberWebhooks>| -> Vec<&str> {
            urls.fields(known).into_iter().map(|(name, _)| name).collect()
        };
        let always = ["SmsUrl", "SmsMethod", "SmsFallbackUrl", "SmsFallbackMethod"];
        assert_eq!(names(None), [&always[..], &["StatusCallback", "StatusCallbackMethod"]].concat());
        assert_eq!(names(Some(&number("", "AP1").webhooks)), [&always[..], &["SmsApplicationSid"]].concat());
        assert_eq!(names(Some(&short_code("").webhooks)), always, "a short code has no status callback");
    }

    fn short_code(sms_url: &str) -> CarrierNumber {
        let json = serde_json::json!({
            "sid": "SC1", "short_code": "72975", "friendly_name": "72975", "sms_url": sms_url, "sms_method": "POST",
            "sms_fallback_url": format!("https://sms.example.com/webhooks/twilio/k/fallback{OVERRIDES}"),
            "sms_fallback_method": "POST",
        });
        serde_json::from_value::<OwnedNumber>(json).expect("a short code").into()
    }

    #[test]
    fn a_short_code_texts_has_no_status_callback_and_paths_of_its_own() {
        let urls = WebhookUrls::of_key("https://sms.example.com", CarrierKind::Twilio, "k");
        let ours = short_code(&format!("{}{OVERRIDES}", urls.messages));
        assert_eq!(ours.webhooks.drift(&urls), None);
        assert!(ours.capabilities.sms && !ours.capabilities.voice);
        assert_eq!((ours.number.as_str(), ours.number_type.as_deref()), ("72975", Some(SHORT_CODE_TYPE)));
        assert_eq!(short_code("").webhooks.drift(&urls).as_deref(), Some("its texts go to nowhere"));
        assert_eq!(path_of_owned(&ours), "SMS/ShortCodes/SC1.json");
        assert_eq!(path_of_owned(&number("", "")), "IncomingPhoneNumbers/PN1.json");
    }
}
