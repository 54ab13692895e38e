//! The paths of messaging services, campaigns, brands and toll-free verifications. They can only be
//! read.
//!
//! <https://www.twilio.com/docs/messaging/api/service-resource>,
//! <https://www.twilio.com/docs/messaging/api/usapptoperson-resource>,
//! <https://www.twilio.com/docs/messaging/api/tollfree-verification-resource>.

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Request, Response, Route, get, handler};
use serde_json::{Value, json};

use crate::Simulator;
use crate::api::{Answer, ApiError, login, page_v1, query, respond};
use crate::faults::with_number_fault;
use crate::form::Form;
use crate::number::Number;
use crate::service::{MESSAGING_HOST, REGISTERED_AT, Service, related_sid};

/// The routes below `/v1`.
pub fn routes() -> Route {
    Route::new()
        .at("/Services", get(list_services))
        .at("/Services/Usecases", get(list_usecases))
        .at("/Services/:sid", get(get_service))
        .at("/Services/:sid/PhoneNumbers", get(list_members))
        .at("/Services/:sid/PhoneNumbers/:number", get(get_member))
        .at("/Services/:sid/ShortCodes", get(list_short_codes))
        .at("/Services/:sid/ShortCodes/:code", get(get_short_code))
        .at("/Services/:sid/AlphaSenders", get(list_alpha_senders))
        .at("/Services/:sid/Compliance/Usa2p", get(list_campaigns))
        .at("/Services/:sid/Compliance/Usa2p/:campaign", get(get_campaign))
        .at("/a2p/BrandRegistrations", get(list_brands))
        .at("/a2p/BrandRegistrations/:sid", get(get_brand))
        .at("/a2p/BrandRegistrations/:sid/Vettings", get(list_vettings))
        .at("/Tollfree/Verifications", get(list_verifications))
        .at("/Tollfree/Verifications/:sid", get(get_verification))
}

/// Logs a call in and answers it, unless reading is refused or a fault is planned.
async fn call(request: &Request, simulator: &Simulator, operation: impl FnOnce(&str) -> Answer) -> Response {
    let call = || {
        let account = login(simulator, request)?;
        let mut records = simulator.store.lock();
        records.messaging_calls += 1;
        let refused = records.switches.messaging_refused;
        drop(records);
        if refused {
            return Err(ApiError::forbidden());
        }
        operation(&account)
    };
    respond(with_number_fault(simulator, call).await)
}

/// A page of a list.
fn page(key: &str, request: &Request, items: &[Value]) -> Answer {
    let url = format!("{MESSAGING_HOST}{}", request.original_uri().path());
    Ok((StatusCode::OK, page_v1(key, &url, &query(request), items)))
}

/// The item with this id.
fn one(items: Vec<Value>, sid: &str, request: &Request) -> Answer {
    let item = items.into_iter().find(|item| item.get("sid").and_then(Value::as_str) == Some(sid));
    item.map(|item| (StatusCode::OK, item)).ok_or_else(|| ApiError::not_found(request.original_uri().path()))
}

/// The services of an account.
fn services(simulator: &Simulator, account: &str) -> Vec<Service> {
    let records = simulator.store.lock();
    records.services.iter().filter(|service| service.account_sid == account).cloned().collect()
}

/// A service of an account.
fn service(simulator: &Simulator, account: &str, sid: &str, request: &Request) -> Result<Service, ApiError> {
    let found = services(simulator, account).into_iter().find(|service| service.sid == sid);
    found.ok_or_else(|| ApiError::not_found(request.original_uri().path()))
}

/// The numbers of an account.
fn numbers(simulator: &Simulator, account: &str) -> Vec<Number> {
    let records = simulator.store.lock();
    records.numbers.iter().filter(|number| number.account_sid == account).cloned().collect()
}

#[handler]
async fn list_services(request: &Request, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| {
        let services: Vec<Value> = services(&simulator, account).iter().map(Service::json).collect();
        page("services", request, &services)
    })
    .await
}

#[handler]
async fn get_service(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| Ok((StatusCode::OK, service(&simulator, account, &sid, request)?.json()))).await
}

/// The use cases of the example in Twilio's OpenAPI document.
#[handler]
async fn list_usecases(request: &Request, simulator: Data<&Simulator>) -> Response {
    let usecases = json!([
        {"usecase": "notifications", "friendly_name": "My app sends notifications", "purpose": "Transactional"},
        {"usecase": "undeclared", "friendly_name": "Prefer not to say", "purpose": null},
    ]);
    call(request, &simulator, |_| Ok((StatusCode::OK, json!({"usecases": usecases})))).await
}

/// The PhoneNumber resources of a service.
fn members(simulator: &Simulator, account: &str, sid: &str) -> Vec<Value> {
    let numbers = numbers(simulator, account).into_iter();
    numbers
        .filter(|number| number.service_sid.as_deref() == Some(sid))
        .map(|number| {
            json!({
                "sid": number.sid, "account_sid": account, "service_sid": sid, "phone_number": number.phone_number,
                "country_code": "US", "capabilities": ["SMS", "MMS"], "date_created": REGISTERED_AT,
                "date_updated": REGISTERED_AT,
                "url": format!("{MESSAGING_HOST}/v1/Services/{sid}/PhoneNumbers/{}", number.sid),
            })
        })
        .collect()
}

#[handler]
async fn list_members(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| {
        service(&simulator, account, &sid, request)?;
        page("phone_numbers", request, &members(&simulator, account, &sid))
    })
    .await
}

#[handler]
async fn get_member(
    request: &Request,
    Path((sid, number)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    call(request, &simulator, |account| one(members(&simulator, account, &sid), &number, request)).await
}

/// The ShortCode resources of a service.
fn short_codes(simulator: &Simulator, account: &str, sid: &str) -> Vec<Value> {
    let records = simulator.store.lock();
    let codes = records.short_codes.iter().filter(|code| code.account_sid == account);
    codes.filter(|code| code.service_sid.as_deref() == Some(sid)).map(|code| code.member(sid)).collect()
}

#[handler]
async fn list_short_codes(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| {
        service(&simulator, account, &sid, request)?;
        page("short_codes", request, &short_codes(&simulator, account, &sid))
    })
    .await
}

#[handler]
async fn get_short_code(
    request: &Request,
    Path((sid, code)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    call(request, &simulator, |account| one(short_codes(&simulator, account, &sid), &code, request)).await
}

/// No service has alphanumeric senders.
#[handler]
async fn list_alpha_senders(request: &Request, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |_| page("alpha_senders", request, &[])).await
}

/// No brand was vetted.
#[handler]
async fn list_vettings(request: &Request, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |_| page("data", request, &[])).await
}

#[handler]
async fn list_campaigns(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| {
        page("compliance", request, &service(&simulator, account, &sid, request)?.campaigns())
    })
    .await
}

#[handler]
async fn get_campaign(
    request: &Request,
    Path((sid, campaign)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    call(request, &simulator, |account| {
        one(service(&simulator, account, &sid, request)?.campaigns(), &campaign, request)
    })
    .await
}

/// The brands of an account: one for each service.
fn brands(simulator: &Simulator, account: &str) -> Vec<Value> {
    services(simulator, account).iter().map(Service::brand).collect()
}

#[handler]
async fn list_brands(request: &Request, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| page("data", request, &brands(&simulator, account))).await
}

#[handler]
async fn get_brand(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| one(brands(&simulator, account), &sid, request)).await
}

/// The TollfreeVerification resources of an account, or of the number that the filter names.
fn verifications(simulator: &Simulator, account: &str, filter: &Form) -> Vec<Value> {
    let numbers = numbers(simulator, account).into_iter();
    numbers
        .filter(|number| filter.non_empty("TollfreePhoneNumberSid").is_none_or(|sid| sid == number.sid))
        .filter_map(|number| {
            let (status, reason) = number.verification.as_ref()?;
            Some(json!({
                "sid": related_sid(&number.sid, "HH"), "account_sid": account, "status": status,
                "tollfree_phone_number_sid": number.sid, "tollfree_phone_number": number.phone_number,
                "rejection_reason": reason, "edit_allowed": reason.is_some(),
                "date_created": REGISTERED_AT, "date_updated": REGISTERED_AT,
            }))
        })
        .collect()
}

#[handler]
async fn list_verifications(request: &Request, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| {
        page("verifications", request, &verifications(&simulator, account, &query(request)))
    })
    .await
}

#[handler]
async fn get_verification(request: &Request, sid: Path<String>, simulator: Data<&Simulator>) -> Response {
    call(request, &simulator, |account| one(verifications(&simulator, account, &Form::default()), &sid, request)).await
}
