//! A phone number that an account owns or can buy, and how the API shows it.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::account::new_sid;
use crate::message::API_VERSION;

/// The area codes of toll-free numbers.
const TOLL_FREE: [&str; 7] = ["+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888"];

/// The result of a review: Twilio's status, and the reason of a refusal.
pub type Review = (String, Option<String>);

/// The type of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberType {
    /// A geographic number.
    Local,
    /// A number of a mobile network.
    Mobile,
    /// A number whose calls are free.
    TollFree,
}

impl NumberType {
    /// Twilio's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Mobile => "mobile",
            Self::TollFree => "toll-free",
        }
    }

    /// Its key in the resource of a country, and its part of a path.
    pub const fn subresource(self) -> (&'static str, &'static str) {
        match self {
            Self::Local => ("local", "Local"),
            Self::Mobile => ("mobile", "Mobile"),
            Self::TollFree => ("toll_free", "TollFree"),
        }
    }
}

/// A number that an account owns.
#[derive(Debug, Clone)]
pub struct Number {
    /// The number's id (`PN…`).
    pub sid: String,
    /// The account that owns it.
    pub account_sid: String,
    /// Its digits (E.164).
    pub phone_number: String,
    /// What its owner calls it.
    pub friendly_name: String,
    /// The webhook of its messages; empty without one.
    pub sms_url: String,
    /// The method of that webhook. The simulator posts, whatever it says.
    pub sms_method: String,
    /// The webhook that is tried when the first one fails; empty without one.
    pub sms_fallback_url: String,
    /// The method of the fallback. The simulator posts, whatever it says.
    pub sms_fallback_method: String,
    /// The application that takes its messages; empty without one. The simulator has no
    /// applications.
    pub sms_application_sid: String,
    /// The status callback of its calls; empty without one.
    pub status_callback: String,
    /// Its type.
    pub number_type: NumberType,
    /// Whether it can text.
    pub sms: bool,
    /// The messaging service that it belongs to.
    pub service_sid: Option<String>,
    /// The verification of a toll-free number.
    pub verification: Option<Review>,
    /// When it was bought.
    pub date_created: DateTime<Utc>,
    /// When it was last changed.
    pub date_updated: DateTime<Utc>,
}

impl Number {
    /// A new number without webhooks. A toll-free number is verified.
    pub(crate) fn new(account_sid: &str, phone_number: &str, service_sid: String) -> Self {
        let now = Utc::now();
        let toll_free = TOLL_FREE.iter().any(|code| phone_number.starts_with(code));
        Self {
            sid: new_sid("PN"),
            account_sid: account_sid.to_owned(),
            phone_number: phone_number.to_owned(),
            friendly_name: phone_number.to_owned(),
            sms_url: String::new(),
            sms_method: "POST".to_owned(),
            sms_fallback_url: String::new(),
            sms_fallback_method: "POST".to_owned(),
            sms_application_sid: String::new(),
            status_callback: String::new(),
            number_type: if toll_free { NumberType::TollFree } else { NumberType::Local },
            sms: true,
            service_sid: Some(service_sid),
            verification: toll_free.then(|| ("TWILIO_APPROVED".to_owned(), None)),
            date_created: now,
            date_updated: now,
        }
    }

    /// The IncomingPhoneNumber resource.
    pub(crate) fn json(&self) -> Value {
        json!({
            "account_sid": self.account_sid,
            "address_requirements": "none",
            "address_sid": null,
            "api_version": API_VERSION,
            "beta": false,
            "bundle_sid": null,
            "capabilities": {"voice": true, "sms": self.sms, "mms": self.sms, "fax": false},
            "date_created": self.date_created.to_rfc2822(),
            "date_updated": self.date_updated.to_rfc2822(),
            "friendly_name": self.friendly_name,
            "identity_sid": null,
            "origin": "twilio",
            "phone_number": self.phone_number,
            "sid": self.sid,
            "sms_application_sid": self.sms_application_sid,
            "sms_fallback_method": self.sms_fallback_method,
            "sms_fallback_url": self.sms_fallback_url,
            "sms_method": self.sms_method,
            "sms_url": self.sms_url,
            "status": "in-use",
            "status_callback": self.status_callback,
            "status_callback_method": "POST",
            "type": self.number_type.as_str(),
            "uri": format!("/{API_VERSION}/Accounts/{}/IncomingPhoneNumbers/{}.json", self.account_sid, self.sid),
        })
    }
}

/// A number that can be bought.
#[derive(Debug, Clone)]
pub struct AvailableNumber {
    pub phone_number: String,
    pub country: &'static str,
    pub number_type: NumberType,
    /// Whether it can text.
    pub sms: bool,
    /// Whether searches leave it out.
    pub hidden: bool,
}

impl AvailableNumber {
    /// A number that can text and that searches find.
    pub fn new(phone_number: String, country: &'static str, number_type: NumberType) -> Self {
        Self { phone_number, country, number_type, sms: true, hidden: false }
    }

    /// The AvailablePhoneNumber resource.
    pub fn json(&self) -> Value {
        json!({
            "address_requirements": "none", "beta": false, "friendly_name": self.phone_number,
            "capabilities": {"voice": true, "SMS": self.sms, "MMS": self.sms, "fax": false},
            "iso_country": self.country, "lata": null, "latitude": null, "locality": null, "longitude": null,
            "phone_number": self.phone_number, "postal_code": null, "rate_center": null, "region": null,
        })
    }
}

/// Twenty numbers of each kind, where possible from ranges that are reserved for fiction.
pub fn numbers_for_sale() -> Vec<AvailableNumber> {
    let kinds = [
        ("US", NumberType::Local, "+141555501"),
        ("US", NumberType::TollFree, "+180055501"),
        ("CA", NumberType::Local, "+161355501"),
        ("GB", NumberType::Mobile, "+4477009001"),
        ("DE", NumberType::Mobile, "+49151123456"),
        ("HR", NumberType::Mobile, "+38591234567"),
    ];
    let numbers = kinds.iter().flat_map(|(country, number_type, prefix)| {
        (20..40).map(move |end| AvailableNumber::new(format!("{prefix}{end}"), country, *number_type))
    });
    numbers.collect()
}
