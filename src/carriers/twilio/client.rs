//! Calls to Twilio's REST API over one HTTP client; it never retries and never decides what an answer means for a row.
//!
//! Resources: <https://www.twilio.com/docs/messaging/api/message-resource> and
//! <https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource>.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use reqwest::{Response, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::form::Form;
use crate::domain::bounds;
use crate::domain::carrier_account::Account;

/// Longer than Twilio needs on a bad day, shorter than a lease.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The most that we read of an answer. Lists of one number and single resources are far below it.
const MOST_BYTES: usize = 1 << 20;

/// The most pages of 200 messages that we read of one list: enough for 80 texts a second over ten minutes.
const MOST_PAGES: usize = 250;

/// A client of the carrier's API.
#[derive(Clone)]
pub struct Client {
    pub(super) http: reqwest::Client,
    pub(super) api_url: Url,
    messaging_url: Url,
}

/// What became of a text that was handed to the carrier.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// It is the carrier's now.
    Accepted { sid: String },
    /// The carrier answered that it did not take it.
    Refused { code: Option<i32>, status: u16, detail: String, retry_after_seconds: Option<f64> },
    /// The carrier was not reached: not a byte of the request was sent.
    NotReached { detail: String },
    /// The carrier may have taken it or not.
    Unclear { detail: String },
}

/// A text to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub body: &'a str,
    /// Pictures and the like, which the carrier fetches itself; ten at most.
    pub media_urls: &'a [String],
    /// Where the carrier reports what becomes of it.
    pub status_callback: &'a str,
}

/// A message as the carrier lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct Listed {
    pub sid: String,
    #[serde(default)]
    pub from: String,
    #[serde(default)]
    pub to: String,
    #[serde(default)]
    pub body: Option<String>,
    /// RFC 2822.
    date_created: Option<String>,
    direction: Option<String>,
    /// A number in a string.
    num_media: Option<String>,
}

impl Listed {
    /// When the carrier took it, to the second, by the carrier's clock.
    pub fn created_at(&self) -> Option<DateTime<Utc>> {
        let text = self.date_created.as_deref()?;
        DateTime::parse_from_rfc2822(text).ok().map(|at| at.with_timezone(&Utc))
    }

    /// Whether there is more to it than its words.
    pub fn has_media(&self) -> bool {
        self.num_media.as_deref().is_some_and(|count| count != "0")
    }

    /// The form that its webhook would have brought, as far as lists tell; `media` are addresses and content types.
    pub fn webhook_form(&self, account_sid: &str, media: &[(String, String)]) -> Form {
        let plain = [
            ("MessageSid", self.sid.as_str()),
            ("AccountSid", account_sid),
            ("From", &self.from),
            ("To", &self.to),
            ("Body", self.body.as_deref().unwrap_or_default()),
            ("NumMedia", &media.len().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let media = media.iter().enumerate().flat_map(|(n, (url, content_type))| {
            [(format!("MediaUrl{n}"), url.clone()), (format!("MediaContentType{n}"), content_type.clone())]
        });
        Form::of(plain.into_iter().chain(media))
    }

    /// Whether it was sent by the API, and with this text as far as the carrier leaves texts as they are: it may
    /// put a trial account's words before them and exchange typographic characters.
    pub fn may_be(&self, body: &str) -> bool {
        let plain = |text: &str| -> String {
            text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
        };
        let listed = self.body.as_deref().unwrap_or_default();
        let (ours, theirs) = (plain(body), plain(listed));
        let alike = if ours.is_empty() { listed.trim().ends_with(body.trim()) } else { theirs.ends_with(&ours) };
        alike && self.direction.as_deref().is_none_or(|direction| direction.starts_with("outbound"))
    }
}

/// Where the carrier turns to for a number.
#[derive(Debug, Clone)]
pub struct WebhookUrls {
    pub messages: String,
    pub status: String,
    pub fallback: String,
    /// Where a signature can be tried; the carrier never calls it.
    pub check: String,
    /// What the addresses of all projects here begin with.
    door: String,
    /// What stands in all addresses of this one, whatever public address we had when they were set: nobody guesses a key.
    path: String,
}

impl WebhookUrls {
    /// The addresses of a webhook key below the address by which the carrier reaches us.
    pub fn of(public_base: &str, webhook_key: &str) -> Self {
        let door = format!("{public_base}/webhooks/twilio/");
        let path = format!("/webhooks/twilio/{webhook_key}/");
        let base = format!("{door}{webhook_key}");
        Self {
            messages: format!("{base}/messages"),
            status: Self::status_of(public_base, webhook_key),
            fallback: format!("{base}/fallback"),
            check: format!("{base}/check"),
            door,
            path,
        }
    }

    /// The address of reports alone: it goes out with each text.
    pub fn status_of(public_base: &str, webhook_key: &str) -> String {
        format!("{public_base}/webhooks/twilio/{webhook_key}/status")
    }

    /// Whether an address is this project's.
    pub fn has(&self, url: &str) -> bool {
        url.contains(&self.path)
    }

    /// Whether an address leads here, to another project.
    pub fn lead_to_another_project(&self, url: &str) -> bool {
        url.starts_with(&self.door) && !self.has(url)
    }
}

/// An address as it may be told to anybody: without the login and the query, which may hold secrets of others.
pub(super) fn plain(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "an address that can't be read".to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // An address that can't have a login has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// Why a call that reads or sets something failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CarrierError {
    #[error("the carrier refused ({status}{}): {message}", .code.map(|code| format!(", error {code}")).unwrap_or_default())]
    Refused { status: u16, code: Option<i32>, message: String },
    #[error("the carrier could not be reached: {0}")]
    NotReached(String),
    #[error("the carrier's answer can't be read: {0}")]
    Unreadable(String),
}

impl CarrierError {
    /// What an operator can do about it; empty where the error says it.
    pub const fn advice(&self) -> &'static str {
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

impl Client {
    /// A client of the API at these base URLs: messages and numbers have one host, messaging services and registration
    /// another.
    pub fn new(api_url: Url, messaging_url: Url) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("textback/", env!("CARGO_PKG_VERSION")))
            // A redirected POST would be sent twice, or as a GET.
            .redirect(reqwest::redirect::Policy::none())
            // Whether a text is offered again is said by its row alone. To be able to, each request would be copied, too.
            .retry(reqwest::retry::never().max_retries_per_request(0))
            .connect_timeout(Duration::from_secs(5))
            .timeout(TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { http, api_url, messaging_url })
    }

    /// Hands a text to the carrier, once.
    pub async fn send(&self, account: &Account, outgoing: &Outgoing<'_>) -> Sent {
        let mut fields =
            vec![("To", outgoing.to), ("From", outgoing.from), ("StatusCallback", outgoing.status_callback)];
        if !outgoing.body.is_empty() {
            fields.push(("Body", outgoing.body));
        }
        fields.extend(outgoing.media_urls.iter().map(|url| ("MediaUrl", url.as_str())));
        let request = self.request(reqwest::Method::POST, account, "Messages.json").form(&fields);
        match answered(account, request).await {
            Ok(answer) => read_sent(answer).await,
            Err(error) if error.is_connect() => Sent::NotReached { detail: describe(&error) },
            Err(error) => Sent::Unclear { detail: describe(&error) },
        }
    }

    /// The messages from a number of ours to a contact that are not older than `since`, the newest first.
    pub async fn list_sent(
        &self,
        account: &Account,
        from: &str,
        to: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<Listed>, CarrierError> {
        self.list(account, &[("From", from), ("To", to)], since).await
    }

    /// The messages that a number of ours has received and that are not older than `since`, the newest first.
    pub async fn list_received(
        &self,
        account: &Account,
        to: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<Listed>, CarrierError> {
        let mut listed = self.list(account, &[("To", to)], since).await?;
        listed.retain(|message| message.direction.as_deref() == Some("inbound"));
        Ok(listed)
    }

    /// How many messages the first page of the account's list has: whether it can be read at all.
    pub async fn list_newest(&self, account: &Account) -> Result<usize, CarrierError> {
        #[derive(Deserialize)]
        struct Page {
            messages: Vec<serde::de::IgnoredAny>,
        }
        let request = self.request(reqwest::Method::GET, account, "Messages.json").query(&[("PageSize", "20")]);
        let page: Page = read(answered(account, request).await).await?;
        Ok(page.messages.len())
    }

    /// The addresses and content types of a message's media, as its webhook would have told them.
    ///
    /// <https://www.twilio.com/docs/messaging/api/media-resource>
    pub async fn list_media(&self, account: &Account, sid: &str) -> Result<Vec<(String, String)>, CarrierError> {
        #[derive(Deserialize)]
        struct Page {
            media_list: Vec<Attachment>,
        }
        #[derive(Deserialize)]
        struct Attachment {
            uri: String,
            content_type: String,
        }
        let request = self.request(reqwest::Method::GET, account, &format!("Messages/{sid}/Media.json"));
        let page: Page = read(answered(account, request).await).await?;
        let base = self.api_url.as_str().trim_end_matches('/');
        let address = |uri: &str| format!("{base}{}", uri.trim_end_matches(".json"));
        Ok(page.media_list.into_iter().map(|medium| (address(&medium.uri), medium.content_type)).collect())
    }

    /// Messages that are not older than `since`, the newest first; an error when they are more than
    /// the pages that we read.
    ///
    /// No filter by date: whether a message that was only just accepted has the date that the
    /// filter looks at is not documented.
    async fn list(
        &self,
        account: &Account,
        filter: &[(&str, &str)],
        since: DateTime<Utc>,
    ) -> Result<Vec<Listed>, CarrierError> {
        #[derive(Deserialize)]
        struct Page {
            messages: Vec<Listed>,
            next_page_uri: Option<String>,
        }
        let first = self.request(reqwest::Method::GET, account, "Messages.json");
        let mut request = first.query(filter).query(&[("PageSize", "200")]);
        let mut listed = Vec::new();
        for _ in 0..MOST_PAGES {
            let page: Page = read(answered(account, request).await).await?;
            let reached = page.messages.iter().any(|message| message.created_at().is_some_and(|at| at < since));
            listed
                .extend(page.messages.into_iter().filter(|message| message.created_at().is_none_or(|at| at >= since)));
            match page.next_page_uri {
                Some(next) if !reached && next.starts_with('/') => {
                    request = self.request_at(reqwest::Method::GET, account, &next)
                }
                _ => return Ok(listed),
            }
        }
        Err(CarrierError::Unreadable(format!("over {MOST_PAGES} pages of messages since {since}")))
    }

    pub(super) fn request(&self, method: reqwest::Method, account: &Account, path: &str) -> reqwest::RequestBuilder {
        self.request_at(method, account, &format!("/2010-04-01/Accounts/{}/{path}", account.account_sid))
    }

    /// A request at a path of the API's, as its own pages name them.
    fn request_at(&self, method: reqwest::Method, account: &Account, path: &str) -> reqwest::RequestBuilder {
        self.request_of(&self.api_url, method, account, path)
    }

    /// The same at the host of messaging services.
    pub(super) fn request_messaging(
        &self,
        method: reqwest::Method,
        account: &Account,
        path: &str,
    ) -> reqwest::RequestBuilder {
        self.request_of(&self.messaging_url, method, account, path)
    }

    fn request_of(
        &self,
        base: &Url,
        method: reqwest::Method,
        account: &Account,
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

/// Sends a request. While an auth token is rotated the one before may end at any moment: what it is refused for (401), so that
/// nothing was done, is asked again with the next one.
pub(super) async fn answered(account: &Account, request: reqwest::RequestBuilder) -> reqwest::Result<Response> {
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
struct ErrorBody {
    code: Option<i32>,
    message: Option<String>,
    detail: Option<String>,
    title: Option<String>,
}

impl ErrorBody {
    fn reason(self) -> Option<String> {
        self.message.or(self.detail).or(self.title).map(|reason| bounds::error(&reason))
    }
}

async fn read_sent(answer: Response) -> Sent {
    #[derive(Deserialize)]
    struct Created {
        sid: String,
    }
    let status = answer.status();
    let retry_after_seconds = retry_after(&answer);
    let body = match bounded_body(answer).await {
        Ok(body) => body,
        // The status alone settles a refusal; a success without its body names no message.
        Err(detail) if !status.is_client_error() => return Sent::Unclear { detail },
        Err(_) => Vec::new(),
    };
    if status.is_success() {
        return match serde_json::from_slice::<Created>(&body) {
            Ok(Created { sid }) if is_message_sid(&sid) => Sent::Accepted { sid },
            Ok(Created { sid }) => {
                Sent::Unclear { detail: format!("the answer {status} names no message but {sid:?}") }
            }
            Err(error) => Sent::Unclear { detail: format!("the answer {status} names no message: {error}") },
        };
    }
    let error: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
    let code = error.code;
    let detail = error.reason().unwrap_or_else(|| format!("the carrier answered {status}"));
    if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT {
        return Sent::Refused { code, status: status.as_u16(), detail, retry_after_seconds };
    }
    Sent::Unclear { detail }
}

/// SM… or MM…, letters and digits.
fn is_message_sid(text: &str) -> bool {
    (text.starts_with("SM") || text.starts_with("MM"))
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

pub(super) async fn read<T: DeserializeOwned>(answer: reqwest::Result<Response>) -> Result<T, CarrierError> {
    let answer = answer.map_err(|error| CarrierError::NotReached(describe(&error)))?;
    let status = answer.status();
    let body = bounded_body(answer).await.map_err(CarrierError::Unreadable)?;
    if status.is_success() {
        let unreadable = |error: serde_json::Error| CarrierError::Unreadable(bounds::error(&error.to_string()));
        let mut told: serde_json::Value = serde_json::from_slice(&body).map_err(unreadable)?;
        // Values of the answer may be used in queries, and PostgreSQL accepts no NUL.
        bounds::told(&mut told, usize::MAX);
        return serde_json::from_value(told).map_err(unreadable);
    }
    let error: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
    Err(CarrierError::Refused {
        status: status.as_u16(),
        code: error.code,
        message: error.reason().unwrap_or_else(|| "it gave no reason".to_owned()),
    })
}

/// An answer without a body.
pub(super) async fn expect_nothing(answer: reqwest::Result<Response>) -> Result<(), CarrierError> {
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        answer => read::<serde::de::IgnoredAny>(answer).await.map(|_| ()),
    }
}

async fn bounded_body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| describe(&error))? {
        if body.len() + part.len() > MOST_BYTES {
            return Err("the answer is longer than 1 MiB".to_owned());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// Seconds of a Retry-After header, which tells seconds or a date (RFC 9110, 10.2.3); a date is read by the carrier's own
/// clock. No page of Twilio's promises the header; if it comes it counts.
fn retry_after(answer: &Response) -> Option<f64> {
    let text = |name: header::HeaderName| answer.headers().get(name)?.to_str().ok().map(str::trim);
    let told = text(header::RETRY_AFTER)?;
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    let seconds: f64 = match told.parse() {
        Ok(seconds) => seconds,
        Err(_) => (date(told)? - date(text(header::DATE)?)?).as_seconds_f64(),
    };
    (0.0..=86_400.0).contains(&seconds).then_some(seconds)
}

/// The error with its causes; never its URL, which may tell more than a log should.
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
