//! Attachments of inbound messages, fetched with the account's credentials, which go to the
//! account's own media only.
//!
//! <https://www.twilio.com/docs/messaging/api/media-resource>. Twilio redirects to its stores:
//! mms.twiliocdn.com where HTTP authentication is enforced, s3-external-1.amazonaws.com where it
//! is not (<https://help.twilio.com/articles/223183748>). Redirects to other hosts are refused.

use reqwest::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use url::Url;

use super::client::{Client, answered};
use crate::carriers::media::{FetchedMedia, MOST_BYTES, MediaError, is_allowed};
use crate::domain::carrier_account::Credentials;

impl Client {
    /// Fetches an attachment of the account.
    pub async fn fetch_media(&self, account: &Credentials, address: &str) -> Result<FetchedMedia, MediaError> {
        let failed = |error: &reqwest::Error| MediaError::Failed(super::client::describe(error));
        let mut url = self.media_url(account, address)?;
        for _ in 0..3 {
            let request = self.http.request(Method::GET, url.clone());
            // Other hosts get no credentials.
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
            return Ok(FetchedMedia { content_type, bytes });
        }
        Err(MediaError::Failed("it redirects in circles".to_owned()))
    }

    /// The address, if it is one of the account's media at the carrier's API.
    fn media_url(&self, account: &Credentials, address: &str) -> Result<Url, MediaError> {
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
}
