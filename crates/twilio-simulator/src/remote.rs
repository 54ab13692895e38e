//! The phones of a simulator that runs in another process.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::phones::{NewText, PhoneText, TextOutcome};

/// A webhook may take 15 seconds and its fallback as long, so a text may take a little more than
/// both.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A simulator at a URL.
#[derive(Clone)]
pub struct Remote {
    http: reqwest::Client,
    url: Url,
}

/// Why a simulator did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing answers at the URL.
    #[error("no simulator answers at {0}")]
    NotReached(Url),
    /// The simulator answered with an error, or with something else than its JSON.
    #[error("{0}")]
    Refused(String),
}

/// The body of an error.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Remote {
    /// The simulator at this URL.
    pub fn new(url: Url) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { http, url })
    }

    /// Sends a text from a phone and waits until its webhook is answered.
    pub async fn text(&self, text: &NewText) -> Result<TextOutcome, RemoteError> {
        self.request(self.http.post(self.path("texts")).json(text)).await
    }

    /// The texts on a phone's screen, oldest first.
    pub async fn screen(&self, phone: &str) -> Result<Vec<PhoneText>, RemoteError> {
        self.request(self.http.get(self.path(&format!("phones/{phone}")))).await
    }

    /// The numbers that phones can text.
    pub async fn numbers(&self) -> Result<Vec<String>, RemoteError> {
        self.request(self.http.get(self.path("numbers"))).await
    }

    fn path(&self, path: &str) -> String {
        format!("{}/simulator/{path}", self.url.as_str().trim_end_matches('/'))
    }

    async fn request<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, RemoteError> {
        let answer = request.send().await.map_err(|_| RemoteError::NotReached(self.url.clone()))?;
        let status = answer.status();
        if !status.is_success() {
            let problem = answer.json::<Problem>().await.map(|problem| problem.detail);
            return Err(RemoteError::Refused(problem.unwrap_or_else(|_| format!("the simulator answered {status}"))));
        }
        answer.json().await.map_err(|error| RemoteError::Refused(error.to_string()))
    }
}
