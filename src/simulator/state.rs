//! What the simulated Twilio remembers; it speaks to nobody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::registration::Service;
use crate::secret::random_bytes;

/// An account and its keys.
#[derive(Debug, Clone)]
pub struct Account {
    pub sid: String,
    pub auth_token: String,
    /// A secondary token, which is taken as well.
    pub next_auth_token: Option<String>,
    /// API keys (SK…) with their secrets.
    pub api_keys: HashMap<String, String>,
}

impl Account {
    /// An account with an auth token and no API keys.
    pub fn new(sid: &str, auth_token: &str) -> Self {
        Self { sid: sid.to_owned(), auth_token: auth_token.to_owned(), next_auth_token: None, api_keys: HashMap::new() }
    }
}

/// A number that an account owns.
#[derive(Debug, Clone)]
pub struct Number {
    pub sid: String,
    pub account_sid: String,
    pub phone_number: String,
    pub friendly_name: String,
    pub sms_url: String,
    pub sms_method: String,
    pub sms_fallback_url: String,
    pub sms_fallback_method: String,
    pub sms_application_sid: String,
    pub status_callback: String,
    /// `local`, `mobile` or `toll-free`.
    pub number_type: &'static str,
    /// Whether it can text.
    pub sms: bool,
    /// The messaging service it is in.
    pub service_sid: Option<String>,
    /// A toll-free number's verification: its status and why.
    pub verification: Option<(String, Option<String>)>,
    pub date_created: DateTime<Utc>,
    pub date_updated: DateTime<Utc>,
}

/// A number that can be bought.
#[derive(Debug, Clone)]
pub struct Sale {
    pub phone_number: String,
    pub country: &'static str,
    pub number_type: &'static str,
    /// Whether it can text.
    pub sms: bool,
    /// Whether searches don't tell of it.
    pub hidden: bool,
}

/// Some of each kind, from the ranges that are kept free for stories.
fn on_sale() -> Vec<Sale> {
    let some = |country, number_type, prefix: &'static str| {
        (20..40).map(move |n| Sale {
            phone_number: format!("{prefix}{n}"),
            country,
            number_type,
            sms: true,
            hidden: false,
        })
    };
    some("US", "local", "+141555501")
        .chain(some("US", "toll-free", "+180055501"))
        .chain(some("CA", "local", "+161355501"))
        .chain(some("GB", "mobile", "+4477009001"))
        .chain(some("DE", "mobile", "+49151123456"))
        .chain(some("HR", "mobile", "+38591234567"))
        .collect()
}

/// A message, from or to a phone.
#[derive(Debug, Clone)]
pub struct Message {
    pub sid: String,
    pub account_sid: String,
    pub from: String,
    pub to: String,
    pub body: String,
    pub media: Vec<(String, String)>,
    /// `inbound` or `outbound-api`.
    pub direction: &'static str,
    pub status: &'static str,
    pub error_code: Option<i32>,
    pub status_callback: Option<String>,
    pub date_created: DateTime<Utc>,
    pub date_sent: Option<DateTime<Utc>>,
    pub date_updated: DateTime<Utc>,
}

/// What can go wrong when a message is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It is taken, and the answer is a 500.
    AcceptThen500,
    /// It is taken, and the answer comes after this many milliseconds.
    AcceptThenHang(u64),
    /// It is taken, and the answer is no JSON.
    AcceptThenGarbage,
    /// It is not taken, and the answer is a 500.
    Fail500,
    /// It is not taken: too many requests.
    TooManyRequests,
}

/// Everything.
#[derive(Debug)]
pub struct Memory {
    pub accounts: HashMap<String, Account>,
    pub numbers: Vec<Number>,
    /// In the order they were made.
    pub messages: Vec<Message>,
    by_sid: HashMap<String, usize>,
    pub services: Vec<Service>,
    pub for_sale: Vec<Sale>,
    /// What was bought, in that order.
    pub bought: Vec<String>,
    /// What the next calls about numbers will meet, in this order.
    pub number_faults: VecDeque<Fault>,
    /// How many calls about services and registrations there were.
    pub messaging_calls: usize,
    /// Whether messaging services and registrations are refused, as to a key that may not read them.
    pub messaging_refused: bool,
    /// What the next messages that are created will meet, in this order.
    pub faults: VecDeque<Fault>,
    /// Whether status callbacks are kept back: they are best effort, and may never come.
    pub silent: bool,
    /// Whether status callbacks come as they like: before the answer to the call, out of order, twice, late.
    pub unruly: bool,
    /// With what lists of media are refused, if they are.
    pub media_refused: Option<u16>,
    /// Whether webhooks of inbound texts are lost on the way.
    pub lost: bool,
    /// How the product last called the API: addresses of media begin with it, as Twilio's do with its own.
    pub api_base: Option<String>,
    /// Who sent STOP to which number: (number, phone).
    pub opted_out: HashSet<(String, String)>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            accounts: HashMap::new(),
            numbers: Vec::new(),
            messages: Vec::new(),
            by_sid: HashMap::new(),
            services: Vec::new(),
            for_sale: on_sale(),
            bought: Vec::new(),
            number_faults: VecDeque::new(),
            messaging_calls: 0,
            messaging_refused: false,
            faults: VecDeque::new(),
            silent: false,
            unruly: false,
            media_refused: None,
            lost: false,
            api_base: None,
            opted_out: HashSet::new(),
        }
    }
}

impl Memory {
    pub fn add_number(&mut self, account_sid: &str, phone_number: &str) -> String {
        if let Some(number) = self.numbers.iter().find(|number| number.phone_number == phone_number) {
            return number.sid.clone();
        }
        let now = Utc::now();
        let sid = new_sid("PN");
        // All of an account's numbers are in one approved pool, unless a story says otherwise.
        let pool =
            self.services.iter().find(|service| service.account_sid == account_sid).map(|service| service.sid.clone());
        let service_sid = pool.unwrap_or_else(|| {
            let service = Service::approved(account_sid);
            self.services.push(service.clone());
            service.sid
        });
        let toll_free = ["+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888"]
            .iter()
            .any(|code| phone_number.starts_with(code));
        self.numbers.push(Number {
            sid: sid.clone(),
            account_sid: account_sid.to_owned(),
            phone_number: phone_number.to_owned(),
            friendly_name: phone_number.to_owned(),
            sms_url: String::new(),
            sms_method: "POST".to_owned(),
            sms_fallback_url: String::new(),
            sms_fallback_method: "POST".to_owned(),
            sms_application_sid: String::new(),
            status_callback: String::new(),
            number_type: if toll_free { "toll-free" } else { "local" },
            sms: true,
            service_sid: Some(service_sid),
            verification: toll_free.then(|| ("TWILIO_APPROVED".to_owned(), None)),
            date_created: now,
            date_updated: now,
        });
        sid
    }

    /// Why carriers don't deliver what a number sends: it lacks its registration (30034), or its verification (30032).
    pub fn blocked(&self, phone_number: &str) -> Option<i32> {
        let number = self.numbers.iter().find(|number| number.phone_number == phone_number)?;
        if number.number_type == "toll-free" {
            let approved = number.verification.as_ref().is_some_and(|(status, _)| status == "TWILIO_APPROVED");
            return (!approved).then_some(30032);
        }
        let service = self.services.iter().find(|service| Some(&service.sid) == number.service_sid.as_ref());
        let verified =
            service.and_then(|service| service.campaign.as_ref()).is_some_and(|(status, _)| status == "VERIFIED");
        (phone_number.starts_with("+1") && !verified).then_some(30034)
    }

    pub fn add_message(&mut self, message: Message) {
        self.by_sid.insert(message.sid.clone(), self.messages.len());
        self.messages.push(message);
    }

    pub fn message(&self, sid: &str) -> Option<&Message> {
        self.by_sid.get(sid).and_then(|at| self.messages.get(*at))
    }

    pub fn message_mut(&mut self, sid: &str) -> Option<&mut Message> {
        self.by_sid.get(sid).and_then(|at| self.messages.get_mut(*at))
    }
}

/// The memory, shared.
#[derive(Clone, Default)]
pub struct State(Arc<Mutex<Memory>>);

impl State {
    pub fn lock(&self) -> MutexGuard<'_, Memory> {
        // Nothing panics while it holds the lock; if something did, the memory is still worth reading.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new id: two letters and 32 hexadecimal digits.
pub fn new_sid(prefix: &str) -> String {
    format!("{prefix}{}", hex::encode(random_bytes::<16>()))
}

impl Message {
    /// The Message resource.
    pub fn json(&self) -> Value {
        json!({
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": self.date_created.to_rfc2822(),
            "date_sent": self.date_sent.map(|at| at.to_rfc2822()),
            "date_updated": self.date_updated.to_rfc2822(),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": null,
            "from": self.from,
            "messaging_service_sid": null,
            "num_media": self.media.len().to_string(),
            "num_segments": "1",
            "price": null,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": format!("/2010-04-01/Accounts/{}/Messages/{}/Media.json", self.account_sid, self.sid)},
            "to": self.to,
            "uri": format!("/2010-04-01/Accounts/{}/Messages/{}.json", self.account_sid, self.sid),
        })
    }
}

impl Number {
    /// The IncomingPhoneNumber resource.
    pub fn json(&self) -> Value {
        json!({
            "account_sid": self.account_sid,
            "address_requirements": "none",
            "address_sid": null,
            "api_version": "2010-04-01",
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
            "type": self.number_type,
            "uri": format!("/2010-04-01/Accounts/{}/IncomingPhoneNumbers/{}.json", self.account_sid, self.sid),
        })
    }
}
