//! Checks a request to send a message, as far as that is possible without the database.

use std::collections::BTreeMap;

use chrono::{Datelike, Utc};
use poem::http::StatusCode;
use poem_openapi::types::Any;
use serde_json::{Map, Value};

use super::{FARTHEST, NewMessage};
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::phone_number;
use crate::domain::segments;
use crate::http::problem::Problem;

/// The longest address of a file.
const MOST_URL_BYTES: usize = bounds::MEDIA_URL_CHARS;

/// Checks a request, and brings its variables into the form that is stored.
pub(super) fn request(request: &mut NewMessage) -> Result<(), Problem> {
    if !phone_number::is_e164(&request.to) {
        return Err(Problem::invalid(
            "to_not_e164",
            format!(
                "to must be a number in E.164, + and the digits with the country code, such as +14155550101; it is {:?}",
                request.to
            ),
        ));
    }
    send_at(request)?;
    for url in &request.media_urls {
        let is_http = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http || url.len() > MOST_URL_BYTES {
            return Err(Problem::invalid(
                "media_url_invalid",
                format!(
                    "media_urls must be http or https addresses of at most {MOST_URL_BYTES} bytes that the carrier can fetch; one is {url:?}"
                ),
            ));
        }
    }
    match (&request.body, &request.template) {
        (Some(_), Some(_)) => Err(Problem::invalid("body_and_template", "give a body or a template, not both")),
        (_, None) if request.variables.is_some() => Err(Problem::invalid(
            "variables_without_template",
            "variables are for a template; name the template, or leave the variables out",
        )),
        (given, None) => body(given.as_deref().unwrap_or_default(), &request.media_urls),
        (None, Some(_)) => match &mut request.variables {
            Some(variables) => {
                let mut fields = object(std::mem::take(variables));
                bounds::object(&mut fields, bounds::VARIABLES_BYTES).map_err(|what| {
                    Problem::invalid("variables_invalid", format!("variables can't be used: {what}"))
                })?;
                *variables = fields.into_iter().map(|(name, value)| (name, Any(value))).collect();
                Ok(())
            }
            None => Ok(()),
        },
    }
}

/// Variables as a JSON object.
pub(super) fn object(variables: BTreeMap<String, Any<Value>>) -> Map<String, Value> {
    variables.into_iter().map(|(name, value)| (name, value.0)).collect()
}

fn send_at(request: &NewMessage) -> Result<(), Problem> {
    let Some(at) = request.send_at else { return Ok(()) };
    // RFC 3339 has four digits for a year, and PostgreSQL has no time before the year -4713.
    if !(1970..=9999).contains(&at.year()) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "send_at_out_of_range",
            format!("send_at must be between the years 1970 and 9999; it is in the year {}", at.year()),
        ));
    }
    if at > Utc::now() + FARTHEST {
        return Err(Problem::invalid("send_at_too_far", "send_at must be at most 366 days ahead"));
    }
    Ok(())
}

/// Checks the text of a message.
pub(super) fn body(body: &str, media_urls: &[String]) -> Result<(), Problem> {
    let length = segments::units(body);
    if length > segments::MOST_UNITS {
        return Err(Problem::invalid(
            "body_too_long",
            format!(
                "the message has {length} characters (an emoji counts as two), and the carrier takes at most {}; send several messages",
                segments::MOST_UNITS
            ),
        ));
    }
    if is_blank(body) && media_urls.is_empty() {
        return Err(Problem::invalid(
            "body_empty",
            "nothing in the message is visible; give a body, a template or media_urls",
        ));
    }
    Ok(())
}
