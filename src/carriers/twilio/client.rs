//! The HTTP client of Twilio's REST API: requests with a login, answers of limited size, errors in
//! one shape.
//!
//! Errors: <https://www.twilio.com/docs/usage/twilios-response>.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Response, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::carriers::error::{CarrierError, CarrierErrorKind};
use crate::domain::bounds;
use crate::domain::carrier_account::Credentials;

/// Longer than Twilio needs on a bad day, shorter than a lease.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The most that we read of an answer. Lists of one number and single resources are far below it.
const MOST_BYTES: usize = 1 << 20;

/// A client of Twilio's API.
#[derive(Clone)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) api_url: Url,
    messaging_url: Url,
}

/// Why a call that reads or sets something failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    #[error("the carrier refused ({status}{}): {message}", .code.map(|code| format!(", error {code}")).unwrap_or_default())]
    Refused { status: u16, code: Option<i32>, message: String },
    #[error("the carrier could not be reached: {0}")]
    NotReached(String),
    #[error("the carrier's answer can't be read: {0}")]
    Unreadable(String),
}

impl ApiError {
    fn kind(&self) -> CarrierErrorKind {
        match self {
            Self::Refused { status: 400, .. } => CarrierErrorKind::Invalid,
            Self::Refused { status: 401, .. } => CarrierErrorKind::Credentials,
            Self::Refused { status: 403, .. } => CarrierErrorKind::Permission,
            Self::Refused { status: 404, .. } => CarrierErrorKind::NotFound,
            Self::Refused { status, .. } if *status == 429 || *status >= 500 => CarrierErrorKind::Overloaded,
            Self::Refused { .. } => CarrierErrorKind::Refused,
            Self::NotReached(_) => CarrierErrorKind::NotReached,
            Self::Unreadable(_) => CarrierErrorKind::Unreadable,
        }
    }

    const fn advice(&self) -> &'static str {
        match self {
            Self::Refused { status: 401, .. } => "; check the credentials: PUT /v1/carrier",
            Self::Refused { status: 403, .. } => {
                "; the API key lacks a permission: a restricted key needs to read and write phone numbers and messages, and to read messaging services"
            }
            Self::Refused { .. } => "",
            Self::NotReached(_) | Self::Unreadable(_) => {
                "; what was begun goes on by itself, and asking again is safe; check TEXTBACK_TWILIO_API_URL if it stays so"
            }
        }
    }
}

impl From<ApiError> for CarrierError {
    fn from(error: ApiError) -> Self {
        let (kind, text, advice) = (error.kind(), error.to_string(), error.advice());
        let reason = match error {
            ApiError::Refused { message, .. } => message,
            ApiError::NotReached(detail) | ApiError::Unreadable(detail) => detail,
        };
        Self { kind, reason, text, advice }
    }
}

impl Client {
    /// A client of the API at these base URLs. Messages and numbers have one host, messaging
    /// services and registrations another.
    pub fn new(api_url: Url, messaging_url: Url) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("textback/", env!("CARGO_PKG_VERSION")))
            // A redirected POST would be sent twice, or as a GET.
            .redirect(reqwest::redirect::Policy::none())
            // The row of a message alone says whether it is offered again. A retry would also copy
            // each request.
            .retry(reqwest::retry::never().max_retries_per_request(0))
            .connect_timeout(Duration::from_secs(5))
            .timeout(TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { http, api_url, messaging_url })
    }

    pub(super) fn request(
        &self,
        method: reqwest::Method,
        account: &Credentials,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.request_at(method, account, &format!("/2010-04-01/Accounts/{}/{path}", account.account_sid))
    }

    /// A request at a path of the API, as its own pages name them.
    pub(super) fn request_at(
        &self,
        method: reqwest::Method,
        account: &Credentials,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.request_of(&self.api_url, method, account, path)
    }

    /// The same at the host of messaging services.
    pub(super) fn request_messaging(
        &self,
        method: reqwest::Method,
        account: &Credentials,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.request_of(&self.messaging_url, method, account, path)
    }

    fn request_of(
        &self,
        base: &Url,
        method: reqwest::Method,
        account: &Credentials,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let base = base.as_str().trim_end_matches('/');
        let (user, password) = account.login();
        self.http
            .request(method, format!("{base}{path}"))
            .basic_auth(user, Some(password.expose_secret()))
            .header(header::ACCEPT, "application/json")
    }
}

/// Sends a request. While an auth token is rotated, the first one may end at any moment. A request
/// that is refused for that (401) changed nothing, and is sent again with the next token.
pub(super) async fn answered(account: &Credentials, request: reqwest::RequestBuilder) -> reqwest::Result<Response> {
    let next = account.next_login().and_then(|login| Some((login, request.try_clone()?)));
    let answer = request.send().await?;
    match next {
        Some(((user, password), again)) if answer.status() == StatusCode::UNAUTHORIZED => {
            let (http, again) = again.build_split();
            let mut again = again?;
            let login = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
            if let Ok(mut login) = header::HeaderValue::try_from(format!("Basic {login}")) {
                login.set_sensitive(true);
                again.headers_mut().insert(header::AUTHORIZATION, login);
            }
            http.execute(again).await
        }
        _ => Ok(answer),
    }
}

/// Twilio's error body, of the 2010 API (`message`) and of newer ones (`title`, `detail`).
#[derive(Deserialize, Default)]
pub(super) struct ErrorBody {
    pub(super) code: Option<i32>,
    message: Option<String>,
    detail: Option<String>,
    title: Option<String>,
}

impl ErrorBody {
    pub(super) fn reason(self) -> Option<String> {
        self.message.or(self.detail).or(self.title).map(|reason| bounds::error(&reason))
    }
}

pub(super) async fn read<T: DeserializeOwned>(answer: reqwest::Result<Response>) -> Result<T, ApiError> {
    let answer = answer.map_err(|error| ApiError::NotReached(describe(&error)))?;
    let status = answer.status();
    let body = bounded_body(answer).await.map_err(ApiError::Unreadable)?;
    if status.is_success() {
        let unreadable = |error: serde_json::Error| ApiError::Unreadable(bounds::error(&error.to_string()));
        let mut told: serde_json::Value = serde_json::from_slice(&body).map_err(unreadable)?;
        // Values of the answer may be used in queries, and PostgreSQL accepts no NUL.
        bounds::told(&mut told, usize::MAX);
        return serde_json::from_value(told).map_err(unreadable);
    }
    let error: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
    Err(ApiError::Refused {
        status: status.as_u16(),
        code: error.code,
        message: error.reason().unwrap_or_else(|| "it gave no reason".to_owned()),
    })
}

/// An answer without a body.
pub(super) async fn expect_nothing(answer: reqwest::Result<Response>) -> Result<(), ApiError> {
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        answer => read::<serde::de::IgnoredAny>(answer).await.map(|_| ()),
    }
}

pub(super) async fn bounded_body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| describe(&error))? {
        if body.len() + part.len() > MOST_BYTES {
            return Err("the answer is longer than 1 MiB".to_owned());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// The error with its causes, without its URL, which may tell more than a log should.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    if text.is_empty() { "the connection broke".to_owned() } else { text }
}
