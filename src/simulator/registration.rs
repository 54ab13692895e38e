//! Messaging services, campaigns, brands and toll-free verifications as Twilio shows them; nobody can register here.
//!
//! <https://www.twilio.com/docs/messaging/api/service-resource>,
//! <https://www.twilio.com/docs/messaging/api/usapptoperson-resource>,
//! <https://www.twilio.com/docs/messaging/api/tollfree-verification-resource>.

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Request, Response, Route, get, handler};
use serde_json::{Value, json};

use super::Simulator;
use super::rest::{Refusal, answer, login, missing, query};
use super::state::new_sid;

/// A pool of senders.
#[derive(Debug, Clone)]
pub struct Service {
    pub sid: String,
    pub account_sid: String,
    pub inbound_request_url: Option<String>,
    pub use_inbound_webhook_on_number: bool,
    /// The status of its campaign and the carrier's reason; `None`: it has none.
    pub campaign: Option<(String, Option<String>)>,
    pub brand_status: String,
}

impl Service {
    /// A service whose campaign is verified and whose numbers keep their own webhooks.
    pub fn approved(account_sid: &str) -> Self {
        Self {
            sid: new_sid("MG"),
            account_sid: account_sid.to_owned(),
            inbound_request_url: None,
            use_inbound_webhook_on_number: true,
            campaign: Some(("VERIFIED".to_owned(), None)),
            brand_status: "APPROVED".to_owned(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "sid": self.sid, "account_sid": self.account_sid, "friendly_name": "Texts",
            "inbound_request_url": self.inbound_request_url, "inbound_method": "POST", "fallback_url": null,
            "fallback_method": "POST", "status_callback": null, "sticky_sender": true, "mms_converter": true,
            "smart_encoding": false, "fallback_to_long_code": false, "area_code_geomatch": true, "validity_period": 36000,
            "synchronous_validation": false, "scan_message_content": "inherit", "usecase": "notifications",
            "us_app_to_person_registered": self.campaign.as_ref().is_some_and(|(status, _)| status == "VERIFIED"),
            "use_inbound_webhook_on_number": self.use_inbound_webhook_on_number,
            "date_created": "2026-11-01T00:00:00Z", "date_updated": "2026-11-01T00:00:00Z",
            "url": format!("https://messaging.twilio.com/v1/Services/{}", self.sid), "links": {},
        })
    }
}

impl Simulator {
    /// Changes the messaging service that a number is in, which it gets if it has none.
    pub fn change_service(&self, phone_number: &str, change: impl FnOnce(&mut Service)) {
        let mut memory = self.state.lock();
        let Some(place) = memory.numbers.iter().position(|number| number.phone_number == phone_number) else { return };
        let Some(account_sid) = memory.numbers.get(place).map(|number| number.account_sid.clone()) else { return };
        // One of its own, so that no other number's is changed.
        let mut service = Service::approved(&account_sid);
        let old = memory.numbers.get(place).and_then(|number| number.service_sid.clone());
        if let Some(old) = memory.services.iter().find(|service| Some(&service.sid) == old.as_ref()) {
            service = Service { sid: service.sid, ..old.clone() };
        }
        change(&mut service);
        if let Some(number) = memory.numbers.get_mut(place) {
            number.service_sid = Some(service.sid.clone());
        }
        memory.services.push(service);
    }

    /// Takes a number out of its messaging service.
    pub fn leave_service(&self, phone_number: &str) {
        let mut memory = self.state.lock();
        if let Some(number) = memory.numbers.iter_mut().find(|number| number.phone_number == phone_number) {
            number.service_sid = None;
        }
    }

    /// Sets the verification of a toll-free number: its status and why, or none.
    pub fn verify_toll_free(&self, phone_number: &str, verification: Option<(&str, Option<&str>)>) {
        let mut memory = self.state.lock();
        if let Some(number) = memory.numbers.iter_mut().find(|number| number.phone_number == phone_number) {
            number.verification = verification.map(|(status, why)| (status.to_owned(), why.map(str::to_owned)));
        }
    }
}

/// The routes below `/v1`.
pub fn routes() -> Route {
    Route::new()
        .at("/Services", get(list_services))
        .at("/Services/:sid/PhoneNumbers", get(list_members))
        .at("/Services/:sid/Compliance/Usa2p", get(list_campaigns))
        .at("/a2p/BrandRegistrations/:sid", get(get_brand))
        .at("/Tollfree/Verifications", get(list_verifications))
}

/// A page of a list, as the newer APIs give it.
fn page(key: &str, items: &[Value]) -> (StatusCode, Value) {
    let url = "https://messaging.twilio.com/v1";
    let meta = json!({
        "page": 0, "page_size": 50, "first_page_url": url, "previous_page_url": null, "url": url,
        "next_page_url": null, "key": key,
    });
    (StatusCode::OK, json!({key: items, "meta": meta}))
}

/// The account that asks, unless its key may not.
fn account(request: &Request, simulator: &Simulator) -> Result<String, Refusal> {
    let account = login(simulator, request)?;
    if simulator.state.lock().messaging_refused {
        return Err(super::rest::forbidden());
    }
    Ok(account)
}

#[handler]
fn list_services(request: &Request, simulator: Data<&Simulator>) -> Response {
    answer(account(request, &simulator).map(|account| {
        let memory = simulator.state.lock();
        let services: Vec<Value> =
            memory.services.iter().filter(|service| service.account_sid == account).map(Service::json).collect();
        page("services", &services)
    }))
}

#[handler]
fn list_members(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    answer(account(request, &simulator).map(|account| {
        let memory = simulator.state.lock();
        let members: Vec<Value> = memory
            .numbers
            .iter()
            .filter(|number| number.account_sid == account && number.service_sid.as_ref() == Some(&*sid))
            .map(|number| {
                json!({
                    "sid": number.sid, "account_sid": account, "service_sid": *sid, "phone_number": number.phone_number,
                    "country_code": "US", "capabilities": ["SMS", "MMS"], "date_created": "2026-11-01T00:00:00Z",
                    "date_updated": "2026-11-01T00:00:00Z",
                    "url": format!("https://messaging.twilio.com/v1/Services/{}/PhoneNumbers/{}", *sid, number.sid),
                })
            })
            .collect();
        page("phone_numbers", &members)
    }))
}

#[handler]
fn list_campaigns(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    answer(account(request, &simulator).and_then(|account| {
        let memory = simulator.state.lock();
        let service = memory.services.iter().find(|service| service.sid == *sid && service.account_sid == account);
        let service = service.ok_or_else(|| missing(request.uri().path()))?;
        let campaigns: Vec<Value> = service
            .campaign
            .iter()
            .map(|(status, why)| {
                let errors: Vec<Value> =
                    why.iter().map(|why| json!({"error_code": 30896, "description": why, "fields": []})).collect();
                json!({
                    "sid": format!("QE{}", &service.sid[2..]), "account_sid": account,
                    "brand_registration_sid": format!("BN{}", &service.sid[2..]), "messaging_service_sid": service.sid,
                    "campaign_status": status, "campaign_id": "C000001", "errors": errors, "mock": false,
                    "is_externally_registered": false, "us_app_to_person_usecase": "CUSTOMER_CARE",
                    "date_created": "2026-11-01T00:00:00Z", "date_updated": "2026-11-01T00:00:00Z",
                })
            })
            .collect();
        Ok(page("compliance", &campaigns))
    }))
}

#[handler]
fn get_brand(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    answer(account(request, &simulator).and_then(|account| {
        let memory = simulator.state.lock();
        let service = memory.services.iter().find(|service| sid.get(2..) == service.sid.get(2..));
        let service = service.ok_or_else(|| missing(request.uri().path()))?;
        let failed = service.brand_status == "FAILED";
        Ok((
            StatusCode::OK,
            json!({
                "sid": *sid, "account_sid": account, "status": service.brand_status, "brand_type": "STANDARD",
                "failure_reason": failed.then_some("the company's name does not match its tax id"), "mock": false,
                "date_created": "2026-11-01T00:00:00Z", "date_updated": "2026-11-01T00:00:00Z",
            }),
        ))
    }))
}

#[handler]
fn list_verifications(request: &Request, simulator: Data<&Simulator>) -> Response {
    answer(account(request, &simulator).map(|account| {
        let query = query(request);
        let memory = simulator.state.lock();
        let found: Vec<Value> = memory
            .numbers
            .iter()
            .filter(|number| number.account_sid == account)
            .filter(|number| query.filled("TollfreePhoneNumberSid").is_none_or(|sid| sid == number.sid))
            .filter_map(|number| {
                let (status, why) = number.verification.as_ref()?;
                Some(json!({
                    "sid": format!("HH{}", &number.sid[2..]), "account_sid": account, "status": status,
                    "tollfree_phone_number_sid": number.sid, "tollfree_phone_number": number.phone_number,
                    "rejection_reason": why, "edit_allowed": why.is_some(),
                    "date_created": "2026-11-01T00:00:00Z", "date_updated": "2026-11-01T00:00:00Z",
                }))
            })
            .collect();
        page("verifications", &found)
    }))
}
