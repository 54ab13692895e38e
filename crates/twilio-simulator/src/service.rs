//! A messaging service with its brand and its campaign, and how the API shows them.

use serde_json::{Value, json};

use crate::account::new_sid;
use crate::number::Review;

/// The base of the URLs in the resources of the Messaging API.
pub const MESSAGING_HOST: &str = "https://messaging.twilio.com";
/// When services and registrations were created and updated.
pub const REGISTERED_AT: &str = "2026-11-01T00:00:00Z";

/// A messaging service: a pool of senders.
#[derive(Debug, Clone)]
pub struct Service {
    /// The service's id (`MG…`).
    pub sid: String,
    /// The account that owns it.
    pub account_sid: String,
    /// The webhook of messages to its numbers, unless the number's own webhook is used.
    pub inbound_request_url: Option<String>,
    /// Whether messages go to the webhook of their number.
    pub use_inbound_webhook_on_number: bool,
    /// Whether it replaces typographic characters of the messages that are sent through it.
    pub smart_encoding: bool,
    /// The review of its campaign; `None` without a campaign.
    pub campaign: Option<Review>,
    /// The status of the brand of its campaign.
    pub brand_status: String,
}

impl Service {
    /// A service with a verified campaign, whose numbers keep their own webhooks.
    pub(crate) fn approved(account_sid: &str) -> Self {
        Self {
            sid: new_sid("MG"),
            account_sid: account_sid.to_owned(),
            inbound_request_url: None,
            use_inbound_webhook_on_number: true,
            smart_encoding: false,
            campaign: Some(("VERIFIED".to_owned(), None)),
            brand_status: "APPROVED".to_owned(),
        }
    }

    /// Whether its campaign is verified.
    pub(crate) fn is_verified(&self) -> bool {
        self.campaign.as_ref().is_some_and(|(status, _)| status == "VERIFIED")
    }

    /// The id of something that belongs to the service: its digits behind another prefix.
    fn related_sid(&self, prefix: &str) -> String {
        related_sid(&self.sid, prefix)
    }

    /// The Service resource.
    pub(crate) fn json(&self) -> Value {
        json!({
            "sid": self.sid, "account_sid": self.account_sid, "friendly_name": "Texts",
            "inbound_request_url": self.inbound_request_url, "inbound_method": "POST", "fallback_url": null,
            "fallback_method": "POST", "status_callback": null, "sticky_sender": true, "mms_converter": true,
            "smart_encoding": self.smart_encoding, "fallback_to_long_code": false, "area_code_geomatch": true, "validity_period": 36000,
            "synchronous_validation": false, "scan_message_content": "inherit", "usecase": "notifications",
            "us_app_to_person_registered": self.is_verified(),
            "use_inbound_webhook_on_number": self.use_inbound_webhook_on_number,
            "date_created": REGISTERED_AT, "date_updated": REGISTERED_AT,
            "url": format!("{MESSAGING_HOST}/v1/Services/{}", self.sid), "links": {},
        })
    }

    /// The UsAppToPerson resources: none or one.
    pub(crate) fn campaigns(&self) -> Vec<Value> {
        let campaign = |(status, reason): &Review| {
            let errors: Vec<Value> =
                reason.iter().map(|reason| json!({"error_code": 30896, "description": reason, "fields": []})).collect();
            json!({
                "sid": self.related_sid("QE"), "account_sid": self.account_sid,
                "brand_registration_sid": self.related_sid("BN"), "messaging_service_sid": self.sid,
                "campaign_status": status, "campaign_id": "C000001", "errors": errors, "mock": false,
                "is_externally_registered": false, "us_app_to_person_usecase": "CUSTOMER_CARE",
                "date_created": REGISTERED_AT, "date_updated": REGISTERED_AT,
            })
        };
        self.campaign.iter().map(campaign).collect()
    }

    /// The BrandRegistration resource.
    pub(crate) fn brand(&self) -> Value {
        let failed = self.brand_status == "FAILED";
        json!({
            "sid": self.related_sid("BN"), "account_sid": self.account_sid, "status": self.brand_status,
            "brand_type": "STANDARD", "mock": false,
            "failure_reason": failed.then_some("the company's name does not match its tax id"),
            "date_created": REGISTERED_AT, "date_updated": REGISTERED_AT,
        })
    }
}

/// An id with the same digits behind another prefix.
pub fn related_sid(sid: &str, prefix: &str) -> String {
    format!("{prefix}{}", sid.get(2..).unwrap_or_default())
}
