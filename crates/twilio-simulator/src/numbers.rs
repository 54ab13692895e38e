//! The paths of numbers: search, buy, list, change, release.
//!
//! <https://www.twilio.com/docs/phone-numbers/api/availablephonenumber-resource>,
//! <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>.

use std::collections::BTreeSet;

use chrono::Utc;
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Request, Response, Route, get, handler};
use serde_json::{Value, json};

use crate::Simulator;
use crate::api::{ApiError, authenticate, form, page_2010, query, respond};
use crate::faults::with_number_fault;
use crate::form::Form;
use crate::message::API_VERSION;
use crate::number::{AvailableNumber, Number, NumberType};

/// The number of Twilio's test credentials that nobody can buy.
const UNAVAILABLE: &str = "+15005550000";

/// Adds the routes below `/2010-04-01`.
pub fn add_to(routes: Route) -> Route {
    routes
        .at("/Accounts/:account/AvailablePhoneNumbers.json", get(list_countries))
        .at("/Accounts/:account/AvailablePhoneNumbers/:country", get(get_country))
        .at("/Accounts/:account/AvailablePhoneNumbers/:country/:kind", get(search))
        .at("/Accounts/:account/IncomingPhoneNumbers.json", get(list_numbers).post(buy_number))
        .at("/Accounts/:account/IncomingPhoneNumbers/Local.json", get(list_local))
        .at("/Accounts/:account/IncomingPhoneNumbers/Mobile.json", get(list_mobile))
        .at("/Accounts/:account/IncomingPhoneNumbers/TollFree.json", get(list_toll_free))
        .at("/Accounts/:account/IncomingPhoneNumbers/:sid", get(get_number).post(update_number).delete(release_number))
}

/// The AvailablePhoneNumberCountry resource; `None` if no number of the country is for sale.
fn country(account: &str, code: &str, available: &[AvailableNumber]) -> Option<Value> {
    let base = format!("/{API_VERSION}/Accounts/{account}/AvailablePhoneNumbers/{code}");
    let mut kinds = serde_json::Map::new();
    for number in available.iter().filter(|number| number.country == code) {
        let (key, path) = number.number_type.subresource();
        kinds.insert(key.to_owned(), json!(format!("{base}/{path}.json")));
    }
    if kinds.is_empty() {
        return None;
    }
    Some(json!({
        "country_code": code, "country": code, "uri": format!("{base}.json"), "beta": false, "subresource_uris": kinds,
    }))
}

#[handler]
async fn list_countries(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    let call = || {
        authenticate(&simulator, request, &account)?;
        let records = simulator.store.lock();
        let codes: BTreeSet<_> = records.available.iter().map(|number| number.country).collect();
        let countries: Vec<Value> =
            codes.into_iter().filter_map(|code| country(&account, code, &records.available)).collect();
        Ok((StatusCode::OK, json!({"countries": countries, "uri": request.original_uri().path()})))
    };
    respond(with_number_fault(&simulator, call).await)
}

#[handler]
async fn get_country(
    request: &Request,
    Path((account, code)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let call = || {
        authenticate(&simulator, request, &account)?;
        let found = country(&account, code.trim_end_matches(".json"), &simulator.store.lock().available);
        found.map(|found| (StatusCode::OK, found)).ok_or_else(|| ApiError::not_found(request.original_uri().path()))
    };
    respond(with_number_fault(&simulator, call).await)
}

#[handler]
async fn search(
    request: &Request,
    Path((account, country, kind)): Path<(String, String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let call = || {
        authenticate(&simulator, request, &account)?;
        let kind = match kind.as_str() {
            "Local.json" => NumberType::Local,
            // Twilio sells no mobile numbers of the United States.
            "Mobile.json" if country != "US" => NumberType::Mobile,
            "TollFree.json" => NumberType::TollFree,
            _ => return Err(ApiError::not_found(request.uri().path())),
        };
        let query = query(request);
        let contains = query.non_empty("Contains");
        if contains.is_some_and(|pattern| !(2..=16).contains(&pattern.len())) {
            return Err(ApiError::bad_request(21451, "Contains takes 2 to 16 characters"));
        }
        let sms_only = query.get("SmsEnabled") == Some("true");
        let records = simulator.store.lock();
        let found: Vec<Value> = records
            .available
            .iter()
            .filter(|number| number.country == country && number.number_type == kind && !number.hidden)
            .filter(|number| contains.is_none_or(|pattern| contains_pattern(&number.phone_number, pattern)))
            .filter(|number| number.sms || !sms_only)
            .take(query.number("PageSize").unwrap_or(50))
            .map(AvailableNumber::json)
            .collect();
        Ok((StatusCode::OK, json!({"available_phone_numbers": found, "uri": request.uri().path()})))
    };
    respond(with_number_fault(&simulator, call).await)
}

/// Whether a number contains a pattern, in which `*` is any digit.
pub fn contains_pattern(number: &str, pattern: &str) -> bool {
    let (number, pattern): (Vec<char>, Vec<char>) = (number.chars().collect(), pattern.chars().collect());
    number
        .windows(pattern.len())
        .any(|part| part.iter().zip(&pattern).all(|(digit, wanted)| *wanted == '*' || digit == wanted))
}

/// Lists the numbers of an account, all or of one type.
async fn list(request: &Request, account: &str, simulator: &Simulator, number_type: Option<NumberType>) -> Response {
    let call = || {
        authenticate(simulator, request, account)?;
        let query = query(request);
        let records = simulator.store.lock();
        let found: Vec<Value> = records
            .numbers
            .iter()
            .filter(|number| number.account_sid == account)
            .filter(|number| number_type.is_none_or(|wanted| number.number_type == wanted))
            // The filter matches parts of numbers, as Twilio's does.
            .filter(|number| query.non_empty("PhoneNumber").is_none_or(|part| number.phone_number.contains(part)))
            .map(Number::json)
            .collect();
        Ok((StatusCode::OK, page_2010("incoming_phone_numbers", request.original_uri().path(), &query, &found)))
    };
    respond(with_number_fault(simulator, call).await)
}

#[handler]
async fn list_numbers(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, None).await
}

#[handler]
async fn list_local(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, Some(NumberType::Local)).await
}

#[handler]
async fn list_mobile(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, Some(NumberType::Mobile)).await
}

#[handler]
async fn list_toll_free(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, Some(NumberType::TollFree)).await
}

#[handler]
async fn buy_number(
    request: &Request,
    account: Path<String>,
    simulator: Data<&Simulator>,
    body: poem::Body,
) -> Response {
    let form = match form(body).await {
        Ok(form) => form,
        Err(error) => return respond(Err(error)),
    };
    let call = || {
        authenticate(&simulator, request, &account)?;
        let wanted = form.non_empty("PhoneNumber");
        let wanted =
            wanted.ok_or_else(|| ApiError::bad_request(21421, "PhoneNumber is invalid: it is missing"))?.to_owned();
        let mut records = simulator.store.lock();
        let found = records.available.iter().position(|number| number.phone_number == wanted && wanted != UNAVAILABLE);
        let Some(found) = found else {
            return Err(ApiError::bad_request(21422, format!("{wanted} is not available.")));
        };
        let available = records.available.remove(found);
        records.add_number(&account, &wanted);
        records.bought.push(wanted.clone());
        let number = records.number_mut(&wanted).ok_or_else(ApiError::internal)?;
        number.number_type = available.number_type;
        number.sms = available.sms;
        change(number, &form)?;
        Ok((StatusCode::CREATED, number.json()))
    };
    respond(with_number_fault(&simulator, call).await)
}

#[handler]
async fn get_number(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let call = || {
        authenticate(&simulator, request, &account)?;
        let sid = sid.trim_end_matches(".json");
        let records = simulator.store.lock();
        let number = records.numbers.iter().find(|number| number.sid == sid && number.account_sid == account);
        let number = number.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
        Ok((StatusCode::OK, number.json()))
    };
    respond(with_number_fault(&simulator, call).await)
}

#[handler]
async fn update_number(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
    body: poem::Body,
) -> Response {
    let form = match form(body).await {
        Ok(form) => form,
        Err(error) => return respond(Err(error)),
    };
    let call = || {
        authenticate(&simulator, request, &account)?;
        let sid = sid.trim_end_matches(".json");
        let mut records = simulator.store.lock();
        let number = records.numbers.iter_mut().find(|number| number.sid == sid && number.account_sid == account);
        let number = number.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
        change(number, &form)?;
        Ok((StatusCode::OK, number.json()))
    };
    respond(with_number_fault(&simulator, call).await)
}

#[handler]
async fn release_number(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let call = || {
        authenticate(&simulator, request, &account)?;
        let sid = sid.trim_end_matches(".json");
        let mut records = simulator.store.lock();
        let found = records.numbers.iter().position(|number| number.sid == sid && number.account_sid == account);
        let found = found.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
        records.numbers.remove(found);
        Ok((StatusCode::NO_CONTENT, Value::Null))
    };
    respond(with_number_fault(&simulator, call).await)
}

/// The webhooks of a number or a short code as a form leaves them.
pub struct Webhooks {
    pub sms_url: String,
    pub sms_fallback_url: String,
}

impl Webhooks {
    /// Those that a form names are changed.
    pub fn changed(form: &Form, sms_url: &str, sms_fallback_url: &str) -> Result<Self, ApiError> {
        let sms_url = url("SmsUrl", form, sms_url)?;
        let sms_fallback_url = url("SmsFallbackUrl", form, sms_fallback_url)?;
        if sms_url.is_empty() && !sms_fallback_url.is_empty() {
            return Err(ApiError::bad_request(21406, "An SMS fallback URL needs an SMS URL."));
        }
        Ok(Self { sms_url, sms_fallback_url })
    }
}

/// A URL that a form may change.
fn url(name: &str, form: &Form, current: &str) -> Result<String, ApiError> {
    let url = form.get(name).unwrap_or(current);
    if !url.is_empty() && url::Url::parse(url).is_err() {
        return Err(ApiError::bad_request(21402, format!("{name} is not a valid URL: {url}")));
    }
    Ok(url.to_owned())
}

/// Changes the settings of a number that a form names.
fn change(number: &mut Number, form: &Form) -> Result<(), ApiError> {
    let changed = |name: &str, current: &str| form.get(name).unwrap_or(current).to_owned();
    let webhooks = Webhooks::changed(form, &number.sms_url, &number.sms_fallback_url)?;
    let status_callback = url("StatusCallback", form, &number.status_callback)?;
    number.sms_method = changed("SmsMethod", &number.sms_method);
    number.sms_fallback_method = changed("SmsFallbackMethod", &number.sms_fallback_method);
    number.sms_application_sid = changed("SmsApplicationSid", &number.sms_application_sid);
    number.friendly_name = changed("FriendlyName", &number.friendly_name);
    (number.sms_url, number.sms_fallback_url) = (webhooks.sms_url, webhooks.sms_fallback_url);
    number.status_callback = status_callback;
    number.date_updated = Utc::now();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_digit() {
        for (pattern, matches) in [("5550", true), ("55*12", true), ("**", true), ("5551", false)] {
            assert_eq!(contains_pattern("+14155550120", pattern), matches, "{pattern}");
        }
    }

    #[test]
    fn a_change_is_made_whole_or_not_at_all() {
        let mut number = Number::new("AC1", "+14155550199", "MG1".to_owned());
        change(&mut number, &Form::parse(b"SmsUrl=http%3A%2F%2Fa.example%2F&FriendlyName=x")).expect("a change");
        assert_eq!((number.sms_url.as_str(), number.friendly_name.as_str()), ("http://a.example/", "x"));
        for refused in ["SmsUrl=nowhere&FriendlyName=y", "SmsUrl=&SmsFallbackUrl=http%3A%2F%2Fb.example%2F"] {
            change(&mut number, &Form::parse(refused.as_bytes())).expect_err("a refusal");
            assert_eq!((number.sms_url.as_str(), number.friendly_name.as_str()), ("http://a.example/", "x"));
        }
    }
}
