//! A short code that an account has leased, and how the API shows it.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::account::new_sid;
use crate::message::API_VERSION;
use crate::service::{MESSAGING_HOST, REGISTERED_AT};

/// A short code of an account. It can't be bought or released by the API, and it has no status
/// callback and no voice.
#[derive(Debug, Clone)]
pub struct ShortCode {
    /// The short code's id (`SC…`).
    pub sid: String,
    /// The account that leases it.
    pub account_sid: String,
    /// Its digits, without a plus.
    pub short_code: String,
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
    /// The messaging service that it belongs to. A new short code is in none.
    pub service_sid: Option<String>,
    /// When it was leased.
    pub date_created: DateTime<Utc>,
    /// When it was last changed.
    pub date_updated: DateTime<Utc>,
}

impl ShortCode {
    /// A new short code without webhooks.
    pub(crate) fn new(account_sid: &str, short_code: &str) -> Self {
        let now = Utc::now();
        Self {
            sid: new_sid("SC"),
            account_sid: account_sid.to_owned(),
            short_code: short_code.to_owned(),
            friendly_name: short_code.to_owned(),
            sms_url: String::new(),
            sms_method: "POST".to_owned(),
            sms_fallback_url: String::new(),
            sms_fallback_method: "POST".to_owned(),
            service_sid: None,
            date_created: now,
            date_updated: now,
        }
    }

    /// The ShortCode resource of the 2010 API.
    pub(crate) fn json(&self) -> Value {
        json!({
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "date_created": self.date_created.to_rfc2822(),
            "date_updated": self.date_updated.to_rfc2822(),
            "friendly_name": self.friendly_name,
            "short_code": self.short_code,
            "sid": self.sid,
            "sms_fallback_method": self.sms_fallback_method,
            "sms_fallback_url": self.sms_fallback_url,
            "sms_method": self.sms_method,
            "sms_url": self.sms_url,
            "uri": format!("/{API_VERSION}/Accounts/{}/SMS/ShortCodes/{}.json", self.account_sid, self.sid),
        })
    }

    /// The ShortCode resource of a messaging service.
    pub(crate) fn member(&self, service_sid: &str) -> Value {
        json!({
            "sid": self.sid, "account_sid": self.account_sid, "service_sid": service_sid, "short_code": self.short_code,
            "country_code": "US", "capabilities": ["SMS", "MMS"], "date_created": REGISTERED_AT,
            "date_updated": REGISTERED_AT,
            "url": format!("{MESSAGING_HOST}/v1/Services/{service_sid}/ShortCodes/{}", self.sid),
        })
    }
}
