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
use super::numbers::unless_faulty;
use super::rest::{Refusal, answer, login, missing, query};
use super::state::{Number, new_sid};
use crate::carriers::twilio::form::Form;

/// Where these resources live, as they tell it themselves.
const HOST: &str = "https://messaging.twilio.com";

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
        .at("/Services/Usecases", get(list_usecases))
        .at("/Services/:sid", get(get_service))
        .at("/Services/:sid/PhoneNumbers", get(list_members))
        .at("/Services/:sid/PhoneNumbers/:number", get(get_member))
        .at("/Services/:sid/ShortCodes", get(list_short_codes))
        .at("/Services/:sid/AlphaSenders", get(list_alpha_senders))
        .at("/Services/:sid/Compliance/Usa2p", get(list_campaigns))
        .at("/Services/:sid/Compliance/Usa2p/:campaign", get(get_campaign))
        .at("/a2p/BrandRegistrations", get(list_brands))
        .at("/a2p/BrandRegistrations/:sid", get(get_brand))
        .at("/a2p/BrandRegistrations/:sid/Vettings", get(list_vettings))
        .at("/Tollfree/Verifications", get(list_verifications))
        .at("/Tollfree/Verifications/:sid", get(get_verification))
}

/// A page of a list, as the newer APIs give it: 50 items unless PageSize says otherwise.
fn page(key: &str, request: &Request, items: &[Value]) -> (StatusCode, Value) {
    let query = query(request);
    let number = |name: &str| query.filled(name).and_then(|value| value.parse::<usize>().ok());
    let (size, at) = (number("PageSize").unwrap_or(50).clamp(1, 1000), number("Page").unwrap_or(0));
    let start = at.saturating_mul(size).min(items.len());
    let end = (start + size).min(items.len());
    let path = request.original_uri().path();
    let url = |page: usize| format!("{HOST}{path}?PageSize={size}&Page={page}&PageToken=PT{page}");
    let meta = json!({
        "page": at, "page_size": size, "first_page_url": url(0), "previous_page_url": (at > 0).then(|| url(at - 1)),
        "url": url(at), "next_page_url": (end < items.len()).then(|| url(at + 1)), "key": key,
    });
    (StatusCode::OK, json!({key: items.get(start..end).unwrap_or_default(), "meta": meta}))
}

/// Answers what an account asks, unless its key may not, or a fault is planned.
async fn asked(
    request: &Request,
    simulator: &Simulator,
    answering: impl FnOnce(&str) -> Result<(StatusCode, Value), Refusal>,
) -> Response {
    let doing = || {
        let account = login(simulator, request)?;
        let mut memory = simulator.state.lock();
        memory.messaging_calls += 1;
        let refused = memory.messaging_refused;
        drop(memory);
        if refused {
            return Err(super::rest::forbidden());
        }
        answering(&account)
    };
    answer(unless_faulty(simulator, doing).await)
}

impl Simulator {
    /// A service of an account.
    fn service(&self, account: &str, sid: &str, request: &Request) -> Result<Service, Refusal> {
        let memory = self.state.lock();
        let service = memory.services.iter().find(|service| service.sid == sid && service.account_sid == account);
        service.cloned().ok_or_else(|| missing(request.original_uri().path()))
    }

    /// The numbers of an account.
    fn numbers_of(&self, account: &str) -> Vec<Number> {
        self.state.lock().numbers.iter().filter(|number| number.account_sid == account).cloned().collect()
    }

    /// The brands of an account: one for each service.
    fn brands(&self, account: &str) -> Vec<Value> {
        let memory = self.state.lock();
        memory.services.iter().filter(|service| service.account_sid == account).map(brand).collect()
    }
}

fn one(items: Vec<Value>, sid: &str, request: &Request) -> Result<(StatusCode, Value), Refusal> {
    let item = items.into_iter().find(|item| item.get("sid").and_then(Value::as_str) == Some(sid));
    item.map(|item| (StatusCode::OK, item)).ok_or_else(|| missing(request.original_uri().path()))
}

#[handler]
async fn list_services(request: &Request, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| {
        let memory = simulator.state.lock();
        let services: Vec<Value> =
            memory.services.iter().filter(|service| service.account_sid == account).map(Service::json).collect();
        Ok(page("services", request, &services))
    })
    .await
}

#[handler]
async fn get_service(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| {
        simulator.service(account, &sid, request).map(|service| (StatusCode::OK, service.json()))
    })
    .await
}

/// The uses that the carrier's document shows.
#[handler]
async fn list_usecases(request: &Request, simulator: Data<&Simulator>) -> Response {
    let usecases = json!([
        {"usecase": "notifications", "friendly_name": "My app sends notifications", "purpose": "Transactional"},
        {"usecase": "undeclared", "friendly_name": "Prefer not to say", "purpose": null},
    ]);
    asked(request, &simulator, |_| Ok((StatusCode::OK, json!({"usecases": usecases})))).await
}

/// The numbers of a service as it lists them.
fn members(simulator: &Simulator, account: &str, sid: &str) -> Vec<Value> {
    let numbers = simulator.numbers_of(account).into_iter().filter(|number| number.service_sid.as_deref() == Some(sid));
    numbers
        .map(|number| {
            json!({
                "sid": number.sid, "account_sid": account, "service_sid": sid, "phone_number": number.phone_number,
                "country_code": "US", "capabilities": ["SMS", "MMS"], "date_created": "2026-11-01T00:00:00Z",
                "date_updated": "2026-11-01T00:00:00Z", "url": format!("{HOST}/v1/Services/{sid}/PhoneNumbers/{}", number.sid),
            })
        })
        .collect()
}

#[handler]
async fn list_members(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| {
        simulator.service(account, &sid, request)?;
        Ok(page("phone_numbers", request, &members(&simulator, account, &sid)))
    })
    .await
}

#[handler]
async fn get_member(
    request: &Request,
    Path((sid, number)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    asked(request, &simulator, |account| one(members(&simulator, account, &sid), &number, request)).await
}

/// Nobody has short codes here.
#[handler]
async fn list_short_codes(request: &Request, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |_| Ok(page("short_codes", request, &[]))).await
}

/// Nor names instead of numbers.
#[handler]
async fn list_alpha_senders(request: &Request, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |_| Ok(page("alpha_senders", request, &[]))).await
}

/// Nor a brand that was vetted by others.
#[handler]
async fn list_vettings(request: &Request, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |_| Ok(page("data", request, &[]))).await
}

/// The campaign of a service, if it has one.
fn campaigns(service: &Service) -> Vec<Value> {
    let campaign = |(status, why): &(String, Option<String>)| {
        let errors: Vec<Value> =
            why.iter().map(|why| json!({"error_code": 30896, "description": why, "fields": []})).collect();
        json!({
            "sid": format!("QE{}", &service.sid[2..]), "account_sid": service.account_sid,
            "brand_registration_sid": format!("BN{}", &service.sid[2..]), "messaging_service_sid": service.sid,
            "campaign_status": status, "campaign_id": "C000001", "errors": errors, "mock": false,
            "is_externally_registered": false, "us_app_to_person_usecase": "CUSTOMER_CARE",
            "date_created": "2026-11-01T00:00:00Z", "date_updated": "2026-11-01T00:00:00Z",
        })
    };
    service.campaign.iter().map(campaign).collect()
}

#[handler]
async fn list_campaigns(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| {
        let service = simulator.service(account, &sid, request)?;
        Ok(page("compliance", request, &campaigns(&service)))
    })
    .await
}

#[handler]
async fn get_campaign(
    request: &Request,
    Path((sid, campaign)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    asked(request, &simulator, |account| {
        one(campaigns(&simulator.service(account, &sid, request)?), &campaign, request)
    })
    .await
}

fn brand(service: &Service) -> Value {
    let failed = service.brand_status == "FAILED";
    json!({
        "sid": format!("BN{}", &service.sid[2..]), "account_sid": service.account_sid, "status": service.brand_status,
        "brand_type": "STANDARD", "mock": false,
        "failure_reason": failed.then_some("the company's name does not match its tax id"),
        "date_created": "2026-11-01T00:00:00Z", "date_updated": "2026-11-01T00:00:00Z",
    })
}

#[handler]
async fn list_brands(request: &Request, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| Ok(page("data", request, &simulator.brands(account)))).await
}

#[handler]
async fn get_brand(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| one(simulator.brands(account), &sid, request)).await
}

/// The verifications of an account's numbers, as far as a form asks for them.
fn verifications(simulator: &Simulator, account: &str, asked: &Form) -> Vec<Value> {
    let numbers = simulator.numbers_of(account).into_iter();
    numbers
        .filter(|number| asked.filled("TollfreePhoneNumberSid").is_none_or(|sid| sid == number.sid))
        .filter_map(|number| {
            let (status, why) = number.verification.as_ref()?;
            Some(json!({
                "sid": format!("HH{}", &number.sid[2..]), "account_sid": account, "status": status,
                "tollfree_phone_number_sid": number.sid, "tollfree_phone_number": number.phone_number,
                "rejection_reason": why, "edit_allowed": why.is_some(),
                "date_created": "2026-11-01T00:00:00Z", "date_updated": "2026-11-01T00:00:00Z",
            }))
        })
        .collect()
}

#[handler]
async fn list_verifications(request: &Request, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| {
        Ok(page("verifications", request, &verifications(&simulator, account, &query(request))))
    })
    .await
}

#[handler]
async fn get_verification(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    asked(request, &simulator, |account| one(verifications(&simulator, account, &Form::default()), &sid, request)).await
}
