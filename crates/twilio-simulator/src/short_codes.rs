//! The paths of short codes: list, fetch, change.
//!
//! <https://www.twilio.com/docs/messaging/api/short-code-resource>.

use chrono::Utc;
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Request, Response, Route, get, handler};
use serde_json::Value;

use crate::Simulator;
use crate::api::{ApiError, authenticate, form, page_2010, query, respond};
use crate::faults::with_number_fault;
use crate::form::Form;
use crate::numbers::{Webhooks, contains_pattern};
use crate::short_code::ShortCode;

/// Adds the routes below `/2010-04-01`.
pub fn add_to(routes: Route) -> Route {
    routes
        .at("/Accounts/:account/SMS/ShortCodes.json", get(list))
        .at("/Accounts/:account/SMS/ShortCodes/:sid", get(fetch).post(update))
}

/// Whether a filter of the list lets a short code pass. `ShortCode` matches parts, and `*` is any
/// digit.
fn passes(code: &ShortCode, query: &Form) -> bool {
    query.non_empty("ShortCode").is_none_or(|pattern| contains_pattern(&code.short_code, pattern))
        && query.non_empty("FriendlyName").is_none_or(|name| code.friendly_name == name)
}

#[handler]
async fn list(request: &Request, account: Path<String>, simulator: Data<&Simulator>) -> Response {
    let call = || {
        authenticate(&simulator, request, &account)?;
        let query = query(request);
        let records = simulator.store.lock();
        let codes = records.short_codes.iter().filter(|code| code.account_sid == *account);
        let found: Vec<Value> = codes.filter(|code| passes(code, &query)).map(ShortCode::json).collect();
        Ok((StatusCode::OK, page_2010("short_codes", request.original_uri().path(), &query, &found)))
    };
    respond(with_number_fault(&simulator, call).await)
}

#[handler]
async fn fetch(
    request: &Request,
    Path((account, sid)): Path<(String, String)>,
    simulator: Data<&Simulator>,
) -> Response {
    let call = || {
        authenticate(&simulator, request, &account)?;
        let sid = sid.trim_end_matches(".json");
        let records = simulator.store.lock();
        let code = records.short_codes.iter().find(|code| code.sid == sid && code.account_sid == account);
        let code = code.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
        Ok((StatusCode::OK, code.json()))
    };
    respond(with_number_fault(&simulator, call).await)
}

#[handler]
async fn update(
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
        let code = records.short_codes.iter_mut().find(|code| code.sid == sid && code.account_sid == account);
        let code = code.ok_or_else(|| ApiError::not_found(request.uri().path()))?;
        change(code, &form)?;
        Ok((StatusCode::OK, code.json()))
    };
    respond(with_number_fault(&simulator, call).await)
}

/// Changes the settings of a short code that a form names.
fn change(code: &mut ShortCode, form: &Form) -> Result<(), ApiError> {
    let changed = |name: &str, current: &str| form.get(name).unwrap_or(current).to_owned();
    let webhooks = Webhooks::changed(form, &code.sms_url, &code.sms_fallback_url)?;
    code.sms_method = changed("SmsMethod", &code.sms_method);
    code.sms_fallback_method = changed("SmsFallbackMethod", &code.sms_fallback_method);
    code.friendly_name = changed("FriendlyName", &code.friendly_name);
    (code.sms_url, code.sms_fallback_url) = (webhooks.sms_url, webhooks.sms_fallback_url);
    code.date_updated = Utc::now();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_parts_of_a_code_and_whole_names() {
        let code = ShortCode::new("AC1", "72975");
        for (query, expected) in [
            ("", true),
            ("ShortCode=72975", true),
            ("ShortCode=297", true),
            ("ShortCode=7*9", true),
            ("ShortCode=72976", false),
            ("ShortCode=729751", false),
            ("FriendlyName=72975", true),
            ("FriendlyName=7297", false),
        ] {
            assert_eq!(passes(&code, &Form::parse(query.as_bytes())), expected, "{query}");
        }
    }

    #[test]
    fn a_change_is_made_whole_or_not_at_all() {
        let mut code = ShortCode::new("AC1", "72975");
        change(&mut code, &Form::parse(b"SmsUrl=http%3A%2F%2Fa.example%2F&FriendlyName=x")).expect("a change");
        for refused in ["SmsUrl=nowhere&FriendlyName=y", "SmsUrl=&SmsFallbackUrl=http%3A%2F%2Fb.example%2F"] {
            change(&mut code, &Form::parse(refused.as_bytes())).expect_err("a refusal");
            assert_eq!((code.sms_url.as_str(), code.friendly_name.as_str()), ("http://a.example/", "x"), "{refused}");
        }
    }
}
