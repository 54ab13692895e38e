//! Numbers as Twilio sells, lists, changes and takes them back; it knows no texts.
//!
//! <https://www.twilio.com/docs/phone-numbers/api/availablephonenumber-resource>,
//! <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>.

use chrono::Utc;
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Request, Response, Route, get, handler};
use serde_json::{Value, json};

use super::Simulator;
use super::rest::{Refusal, answer, authenticate, bad, form, internal, missing, page, query};
use super::state::{Fault, Number, Sale};
use crate::carriers::twilio::form::Form;

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

/// Does what is asked unless a fault is planned for it; some faults let it be done and only spoil the answer.
pub(super) async fn unless_faulty(
    simulator: &Simulator,
    doing: impl FnOnce() -> Result<(StatusCode, Value), Refusal>,
) -> Result<(StatusCode, Value), Refusal> {
    let fault = simulator.state.lock().number_faults.pop_front();
    match fault {
        Some(Fault::Fail500) => return Err(internal()),
        Some(Fault::TooManyRequests) => return Err(super::rest::too_many()),
        _ => {}
    }
    let done = doing();
    match fault {
        Some(Fault::AcceptThen500) => Err(internal()),
        Some(Fault::AcceptThenGarbage) => Ok((StatusCode::OK, json!(["garbage"]))),
        Some(Fault::AcceptThenHang(ms)) => {
            tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
            done
        }
        _ => done,
    }
}

/// A country in which numbers are sold, and where its numbers are found.
fn country(account: &str, code: &str, sales: &[Sale]) -> Option<Value> {
    let base = format!("/2010-04-01/Accounts/{account}/AvailablePhoneNumbers/{code}");
    let mut kinds = serde_json::Map::new();
    for sale in sales.iter().filter(|sale| sale.country == code) {
        let (name, path) = match sale.number_type {
            "toll-free" => ("toll_free", "TollFree"),
            "mobile" => ("mobile", "Mobile"),
            _ => ("local", "Local"),
        };
        kinds.insert(name.to_owned(), json!(format!("{base}/{path}.json")));
    }
    let sells = !kinds.is_empty();
    sells.then(|| {
        json!({
            "country_code": code, "country": code, "uri": format!("{base}.json"), "beta": false, "subresource_uris": kinds,
        })
    })
}

#[handler]
async fn list_countries(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    let listing = || {
        authenticate(&simulator, request, &account)?;
        let memory = simulator.state.lock();
        let codes: std::collections::BTreeSet<_> = memory.for_sale.iter().map(|sale| sale.country).collect();
        let countries: Vec<Value> =
            codes.into_iter().filter_map(|code| country(&account, code, &memory.for_sale)).collect();
        Ok((StatusCode::OK, json!({"countries": countries, "uri": request.original_uri().path()})))
    };
    answer(unless_faulty(&simulator, listing).await)
}

#[handler]
async fn get_country(
    request: &Request,
    Path((account, code)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let reading = || {
        authenticate(&simulator, request, &account)?;
        let found = country(&account, code.trim_end_matches(".json"), &simulator.state.lock().for_sale);
        found.map(|found| (StatusCode::OK, found)).ok_or_else(|| missing(request.original_uri().path()))
    };
    answer(unless_faulty(&simulator, reading).await)
}

#[handler]
async fn search(
    request: &Request,
    Path((account, country, kind)): Path<(String, String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let searching = || {
        authenticate(&simulator, request, &account)?;
        let kind = match kind.as_str() {
            "Local.json" => "local",
            "Mobile.json" if country != "US" => "mobile",
            "TollFree.json" => "toll-free",
            _ => return Err(missing(request.uri().path())),
        };
        let query = query(request);
        let limit = query.filled("PageSize").and_then(|size| size.parse().ok()).unwrap_or(50);
        let contains = query.filled("Contains");
        if contains.as_deref().is_some_and(|pattern| !(2..=16).contains(&pattern.len())) {
            return Err(bad(21451, "Contains takes 2 to 16 characters"));
        }
        let memory = simulator.state.lock();
        let found: Vec<Value> = memory
            .for_sale
            .iter()
            .filter(|sale| sale.country == country && sale.number_type == kind && !sale.hidden)
            .filter(|sale| contains.as_deref().is_none_or(|pattern| fits(&sale.phone_number, pattern)))
            .filter(|sale| sale.sms || query.filled("SmsEnabled").as_deref() != Some("true"))
            .take(limit)
            .map(|sale| {
                json!({
                    "address_requirements": "none", "beta": false, "friendly_name": sale.phone_number,
                    "capabilities": {"voice": true, "SMS": sale.sms, "MMS": sale.sms, "fax": false},
                    "iso_country": sale.country, "lata": null, "latitude": null, "locality": null, "longitude": null,
                    "phone_number": sale.phone_number, "postal_code": null, "rate_center": null, "region": null,
                })
            })
            .collect();
        Ok((StatusCode::OK, json!({"available_phone_numbers": found, "uri": request.uri().path()})))
    };
    answer(unless_faulty(&simulator, searching).await)
}

/// Whether digits hold a pattern in which `*` is any digit.
fn fits(number: &str, pattern: &str) -> bool {
    let (number, pattern): (Vec<char>, Vec<char>) = (number.chars().collect(), pattern.chars().collect());
    number
        .windows(pattern.len())
        .any(|part| part.iter().zip(&pattern).all(|(digit, wanted)| *wanted == '*' || digit == wanted))
}

/// The account's numbers, all or of one type.
async fn list(request: &Request, account: &str, simulator: &Simulator, number_type: Option<&str>) -> Response {
    let listing = || {
        authenticate(simulator, request, account)?;
        let query = query(request);
        let memory = simulator.state.lock();
        let found: Vec<Value> = memory
            .numbers
            .iter()
            .filter(|number| number.account_sid == account)
            .filter(|number| number_type.is_none_or(|wanted| number.number_type == wanted))
            // The filter matches parts of numbers, as Twilio's does.
            .filter(|number| query.filled("PhoneNumber").is_none_or(|part| number.phone_number.contains(&part)))
            .map(Number::json)
            .collect();
        Ok((StatusCode::OK, page("incoming_phone_numbers", request.original_uri().path(), &query, found)))
    };
    answer(unless_faulty(simulator, listing).await)
}

#[handler]
async fn list_numbers(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, None).await
}

#[handler]
async fn list_local(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, Some("local")).await
}

#[handler]
async fn list_mobile(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, Some("mobile")).await
}

#[handler]
async fn list_toll_free(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    list(request, &account, &simulator, Some("toll-free")).await
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
        Err(refusal) => return answer(Err(refusal)),
    };
    let buying = || {
        authenticate(&simulator, request, &account)?;
        let wanted = form.filled("PhoneNumber").ok_or_else(|| bad(21421, "PhoneNumber is invalid: it is missing"))?;
        let mut memory = simulator.state.lock();
        // The number of Twilio's test credentials that is never to be had.
        let place = memory.for_sale.iter().position(|sale| sale.phone_number == wanted && wanted != "+15005550000");
        let Some(place) = place else {
            return Err(bad(21422, format!("{wanted} is not available.")));
        };
        let sale = memory.for_sale.remove(place);
        let sid = memory.add_number(&account, &sale.phone_number);
        memory.bought.push(sale.phone_number.clone());
        let Some(number) = memory.numbers.iter_mut().find(|number| number.sid == sid) else { return Err(internal()) };
        number.number_type = sale.number_type;
        number.sms = sale.sms;
        change(number, &form)?;
        Ok((StatusCode::CREATED, number.json()))
    };
    answer(unless_faulty(&simulator, buying).await)
}

#[handler]
async fn get_number(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let reading = || {
        authenticate(&simulator, request, &account)?;
        let sid = sid.trim_end_matches(".json");
        let memory = simulator.state.lock();
        let number = memory.numbers.iter().find(|number| number.sid == sid && number.account_sid == account);
        number.map(|number| (StatusCode::OK, number.json())).ok_or_else(|| missing(request.uri().path()))
    };
    answer(unless_faulty(&simulator, reading).await)
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
        Err(refusal) => return answer(Err(refusal)),
    };
    let updating = || {
        authenticate(&simulator, request, &account)?;
        let sid = sid.trim_end_matches(".json");
        let mut memory = simulator.state.lock();
        let number = memory.numbers.iter_mut().find(|number| number.sid == sid && number.account_sid == account);
        let number = number.ok_or_else(|| missing(request.uri().path()))?;
        change(number, &form)?;
        Ok((StatusCode::OK, number.json()))
    };
    answer(unless_faulty(&simulator, updating).await)
}

#[handler]
async fn release_number(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let releasing = || {
        authenticate(&simulator, request, &account)?;
        let sid = sid.trim_end_matches(".json");
        let mut memory = simulator.state.lock();
        let place = memory.numbers.iter().position(|number| number.sid == sid && number.account_sid == account);
        let place = place.ok_or_else(|| missing(request.uri().path()))?;
        memory.numbers.remove(place);
        Ok((StatusCode::NO_CONTENT, Value::Null))
    };
    answer(unless_faulty(&simulator, releasing).await)
}

/// Changes what a form names of a number.
fn change(number: &mut Number, form: &Form) -> Result<(), Refusal> {
    let after = |name: &str, before: &str| form.text(name).unwrap_or_else(|| before.to_owned());
    let (sms_url, fallback_url) = (after("SmsUrl", &number.sms_url), after("SmsFallbackUrl", &number.sms_fallback_url));
    let status_callback = after("StatusCallback", &number.status_callback);
    for (name, url) in [("SmsUrl", &sms_url), ("SmsFallbackUrl", &fallback_url), ("StatusCallback", &status_callback)] {
        if !url.is_empty() && url::Url::parse(url).is_err() {
            return Err(bad(21402, format!("{name} is not a valid URL: {url}")));
        }
    }
    if sms_url.is_empty() && !fallback_url.is_empty() {
        return Err(bad(21406, "An SMS fallback URL needs an SMS URL."));
    }
    number.sms_method = after("SmsMethod", &number.sms_method);
    number.sms_fallback_method = after("SmsFallbackMethod", &number.sms_fallback_method);
    number.sms_application_sid = after("SmsApplicationSid", &number.sms_application_sid);
    number.friendly_name = after("FriendlyName", &number.friendly_name);
    (number.sms_url, number.sms_fallback_url, number.status_callback) = (sms_url, fallback_url, status_callback);
    number.date_updated = Utc::now();
    Ok(())
}
