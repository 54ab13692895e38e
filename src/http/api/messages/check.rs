//! Checks a request to send a message, as far as that is possible without the database.

use std::collections::BTreeMap;

use chrono::{Datelike, Utc};
use poem::http::StatusCode;
use poem_openapi::types::Any;
use serde_json::{Map, Value};
use url::{Host, Url};

use super::{FARTHEST, NewMessage};
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::phone_number;
use crate::domain::segments;
use crate::domain::web_address::is_called_as_written;
use crate::http::problem::Problem;
use crate::outbound_http::networks::{Networks, Transport};

/// The longest address of a file.
const MOST_URL_BYTES: usize = bounds::MEDIA_URL_CHARS;

/// How much of an address an error shows.
const SHOWN_URL_BYTES: usize = 200;

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
        if !is_media_url(url) {
            return Err(Problem::invalid(
                "media_url_invalid",
                format!(
                    "media_urls must be http or https addresses on the internet, of at most {MOST_URL_BYTES} bytes and without blanks, that the carrier can fetch; one is {:?}",
                    bounds::text(url, SHOWN_URL_BYTES)
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

/// Whether the carrier may be able to fetch a file from an address. The carrier gets the address as
/// it is written.
fn is_media_url(given: &str) -> bool {
    let Ok(url) = Url::parse(given) else { return false };
    let is_public = |address| Networks::public_and(&[]).admit(address, Transport::Tls).is_ok();
    let is_reachable = match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').contains('.') && !name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        None => false,
    };
    is_reachable
        && matches!(url.scheme(), "http" | "https")
        && is_called_as_written(given)
        && given.len() <= MOST_URL_BYTES
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_file_is_one_that_the_carrier_can_fetch_as_it_is() {
        for url in [
            "https://example.com/a.png",
            "HTTPS://EXAMPLE.COM:8443/a.png?b=c#d",
            "http://user:password@example.com/%20",
            "https://münchen.example/ü.png",
            "https://93.184.216.34/a",
            "https://[2606:4700::1111]/a",
        ] {
            assert!(is_media_url(url), "{url}");
        }
        for url in [
            "",
            "example.com/a.png",
            "//example.com/a.png",
            "file:///etc/passwd",
            "data:image/png;base64,AAAA",
            "https://",
            "https:///a.png",
            "https:example.com/a.png",
            "https:\\\\example.com\\a.png",
            "https://example.com\\a.png",
            " https://example.com/a.png",
            "https://example.com/a.png\n",
            "https://example.com/a b.png",
            "https://example.com/a\t.png",
            "https://example.com/\u{200b}a.png",
            "https://\u{200b}example.com/a.png",
            "https://localhost/a.png",
            "https://files.localhost/a.png",
            "https://files/a.png",
            "http://127.0.0.1:8000/a.png",
            "https://10.0.0.1/a.png",
            "https://169.254.169.254/a.png",
            "https://2130706433/a.png",
            "https://[::1]/a.png",
        ] {
            assert!(!is_media_url(url), "{url:?}");
        }
        assert!(!is_media_url(&format!("https://example.com/{}", "a".repeat(MOST_URL_BYTES))));
    }
}
