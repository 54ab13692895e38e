//! Media of inbound texts, fetched from the carrier with the account's credentials; these go to the account's own media and nowhere else.
//!
//! <https://www.twilio.com/docs/messaging/api/media-resource>. The carrier leads on to its stores: mms.twiliocdn.com where
//! HTTP authentication is enforced, s3-external-1.amazonaws.com where it is not
//! (<https://help.twilio.com/articles/223183748>). No other host is followed to.

use reqwest::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use url::Url;

use super::Client;
use super::client::answered;
use crate::domain::carrier_account::Account;

/// More than the 5 MB that a carrier takes in one text, and little enough to be held.
const MOST_BYTES: usize = 16 << 20;
/// What texts bring; anything that a browser would run is not among it.
const ALLOWED: [&str; 9] = [
    "image/",
    "audio/",
    "video/",
    "text/vcard",
    "text/x-vcard",
    "text/calendar",
    "text/plain",
    "application/pdf",
    "application/ogg",
];

/// A medium.
#[derive(Debug)]
pub struct Fetched {
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// Why a medium is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error(
        "it leads to {0}, which is no store of the carrier's; nothing is fetched there, and no credentials go there"
    )]
    Elsewhere(String),
    #[error("the carrier does not have it any more")]
    Gone,
    #[error("it is over {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    #[error("it is {0:?}, which is none of the types that are let through")]
    NotAllowed(String),
    #[error("the carrier gave no medium: {0}")]
    Failed(String),
}

impl Client {
    /// Fetches a medium of the account's.
    pub async fn fetch_medium(&self, account: &Account, address: &str) -> Result<Fetched, MediaError> {
        let failed = |error: &reqwest::Error| MediaError::Failed(super::client::describe(error));
        let mut url = self.media_url(account, address)?;
        for _ in 0..3 {
            let request = self.http.request(Method::GET, url.clone());
            // Whoever else is asked gets no credentials.
            let asking = match self.media_url(account, url.as_str()) {
                Ok(_) => {
                    let (user, password) = account.login();
                    answered(account, request.basic_auth(user, Some(password.expose_secret()))).await
                }
                Err(_) => request.send().await,
            };
            let mut answer = asking.map_err(|error| failed(&error))?;
            let status = answer.status();
            if status.is_redirection() {
                let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
                let to = url.join(to).map_err(|error| MediaError::Failed(error.to_string()))?;
                url = if is_store(&to) { to } else { self.media_url(account, to.as_str())? };
                continue;
            }
            if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
                return Err(MediaError::Gone);
            }
            if !status.is_success() {
                return Err(MediaError::Failed(format!("it answered {status}")));
            }
            let content_type = answer.headers().get(header::CONTENT_TYPE).and_then(|is| is.to_str().ok());
            let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
            if !is_allowed(&content_type) {
                return Err(MediaError::NotAllowed(content_type));
            }
            let mut bytes = Vec::new();
            while let Some(part) = answer.chunk().await.map_err(|error| failed(&error))? {
                if bytes.len() + part.len() > MOST_BYTES {
                    return Err(MediaError::TooLarge);
                }
                bytes.extend_from_slice(&part);
            }
            return Ok(Fetched { content_type, bytes });
        }
        Err(MediaError::Failed("it leads in circles".to_owned()))
    }

    /// The address, if it is one of the account's media at the carrier's API.
    fn media_url(&self, account: &Account, address: &str) -> Result<Url, MediaError> {
        let url = Url::parse(address).map_err(|_| MediaError::Elsewhere("no address at all".to_owned()))?;
        let below = format!("/2010-04-01/Accounts/{}/Messages/", account.account_sid);
        if url.origin() == self.api_url.origin() && url.path().starts_with(&below) && url.path().contains("/Media/") {
            return Ok(url);
        }
        Err(MediaError::Elsewhere(url.host_str().unwrap_or("nowhere").to_owned()))
    }
}

/// Whether an address is in a store of the carrier's.
fn is_store(url: &Url) -> bool {
    url.scheme() == "https"
        && url.port().is_none()
        && match url.host_str() {
            Some("mms.twiliocdn.com" | "media.twiliocdn.com") => true,
            Some("s3-external-1.amazonaws.com") => url.path().starts_with("/media.twiliocdn.com/"),
            _ => false,
        }
}

fn is_allowed(content_type: &str) -> bool {
    // A picture that is a program in a browser.
    ALLOWED.iter().any(|allowed| content_type.starts_with(allowed)) && !content_type.starts_with("image/svg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_carriers_stores_are_followed_to() {
        for (address, is) in [
            ("https://mms.twiliocdn.com/AC1/x?token=1", true),
            ("https://s3-external-1.amazonaws.com/media.twiliocdn.com/AC1/x", true),
            ("https://s3-external-1.amazonaws.com/another-bucket/x", false),
            ("http://mms.twiliocdn.com/AC1/x", false),
            ("https://mms.twiliocdn.com:8443/AC1/x", false),
            ("https://mms.twiliocdn.com.example.com/x", false),
            ("https://169.254.169.254/latest", false),
        ] {
            assert_eq!(is_store(&Url::parse(address).expect("a URL")), is, "{address}");
        }
    }

    #[test]
    fn what_a_browser_would_run_is_not_let_through() {
        for (content_type, is) in [
            ("image/png", true),
            ("text/vcard; charset=utf-8", true),
            ("image/svg+xml", false),
            ("text/html", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(content_type), is, "{content_type}");
        }
    }
}
