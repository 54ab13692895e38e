//! A simulator that runs elsewhere, as the shell and the console use it; it knows only its phones.

use std::time::Duration;

use serde::de::DeserializeOwned;
use url::Url;

use super::phones::{NewText, PhoneText, Texted};

/// A simulator at a URL.
#[derive(Clone)]
pub struct Remote {
    http: reqwest::Client,
    url: Url,
}

/// Why the simulator gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("no simulator answers at {0}; textback dev starts one (or give --simulator-url)")]
    NotReached(Url),
    #[error("{0}")]
    Refused(String),
}

impl Remote {
    /// The simulator at this URL.
    pub fn new(url: Url) -> Result<Self, reqwest::Error> {
        // A webhook may take 15 seconds, and its fallback as long.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(40)).build()?;
        Ok(Self { http, url })
    }

    /// Sends a text from a phone and waits until its webhook is answered.
    pub async fn text(&self, text: &NewText) -> Result<Texted, RemoteError> {
        self.read(self.http.post(self.at("texts")).json(text)).await
    }

    /// What is on a phone's screen, oldest first.
    pub async fn screen(&self, phone: &str) -> Result<Vec<PhoneText>, RemoteError> {
        self.read(self.http.get(self.at(&format!("phones/{phone}")))).await
    }

    /// The numbers that can be texted.
    pub async fn numbers(&self) -> Result<Vec<String>, RemoteError> {
        self.read(self.http.get(self.at("numbers"))).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}/simulator/{path}", self.url.as_str().trim_end_matches('/'))
    }

    async fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, RemoteError> {
        #[derive(serde::Deserialize)]
        struct Refusal {
            detail: String,
        }
        let answer = request.send().await.map_err(|_| RemoteError::NotReached(self.url.clone()))?;
        if !answer.status().is_success() {
            let status = answer.status();
            let refusal = answer.json::<Refusal>().await.map(|refusal| refusal.detail);
            return Err(RemoteError::Refused(refusal.unwrap_or_else(|_| format!("the simulator answered {status}"))));
        }
        answer.json().await.map_err(|error| RemoteError::Refused(error.to_string()))
    }
}
