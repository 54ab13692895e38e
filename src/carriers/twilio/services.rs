//! Twilio's messaging services: pools of numbers and short codes, with a webhook of their own that
//! may take a number's messages.
//!
//! <https://www.twilio.com/docs/messaging/api/service-resource>,
//! <https://www.twilio.com/docs/messaging/api/services-shortcode-resource>. These resources live
//! at another host than the 2010 API, and have pages and errors of another shape.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use moka::future::Cache;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{ApiError, Client, answered, read};
use crate::carriers::number::{InboundRoute, without_secrets};
use crate::carriers::webhook::WebhookUrls;
use crate::domain::carrier_account::Credentials;

/// The most pages that we read of a list.
const MOST_PAGES: usize = 20;
/// How many services we ask for at a time. One takes up to 2 kB, and we read 1 MiB at the most.
const SERVICES_QUERY: &str = "PageSize=200";
/// How many of its numbers. One takes half a kB.
const MEMBERS_QUERY: &str = "PageSize=1000";
/// How many services are read at a time.
const AT_A_TIME: usize = 8;
/// How long the reading of all services of an account may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long what was read is kept.
const KEPT: Duration = Duration::from_secs(60);

/// How a service lets its numbers' own webhooks win, as Twilio's console has it.
const DEFER: &str =
    "let it defer to the number's webhook (Messaging, Services, Integration, Defer to sender's webhook)";

/// Whether a text is the id of a messaging service. The error says the form.
pub fn check_id(text: &str) -> Result<(), &'static str> {
    let digits = text.strip_prefix("MG").filter(|digits| digits.len() == 32);
    match digits {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(()),
        Some(_) | None => Err("a messaging service, MG and 32 hexadecimal digits"),
    }
}

/// A messaging service.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    pub sid: String,
    #[serde(default)]
    friendly_name: String,
    #[serde(default)]
    inbound_request_url: Option<String>,
    /// Whether the numbers' own webhooks win over the service's.
    #[serde(default)]
    use_inbound_webhook_on_number: bool,
}

impl Service {
    /// How messages to a number in this service find their way.
    pub fn route(&self, urls: &WebhookUrls) -> InboundRoute {
        InboundRoute { blocked_reason: self.blocked_reason(urls), pool_id: Some(self.sid.clone()) }
    }

    /// Why messages to a number in this service don't come to us. `None`: they do, by the number's
    /// webhook or the service's.
    fn blocked_reason(&self, urls: &WebhookUrls) -> Option<String> {
        let own = self.inbound_request_url.as_deref().filter(|url| !url.is_empty());
        let comes_here = own.is_some_and(|url| url.split('#').next() == Some(&urls.messages));
        if self.use_inbound_webhook_on_number || comes_here {
            return None;
        }
        let name = if self.friendly_name.is_empty() { &self.sid } else { &self.friendly_name };
        Some(match own {
            None => {
                format!("it is in the messaging service {name}, which drops inbound texts without a trace; {DEFER}")
            }
            Some(url) => format!(
                "it is in the messaging service {name}, whose own address {} gets its texts; {DEFER}",
                without_secrets(url)
            ),
        })
    }
}

/// The two lists of members of a service. Few accounts have short codes, so theirs is read only
/// where it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    PhoneNumbers,
    ShortCodes,
}

impl Members {
    const ALL: [Self; 2] = [Self::PhoneNumbers, Self::ShortCodes];

    /// The list that a number is in, by its id (PN… or SC…).
    fn with(sid: &str) -> Self {
        if sid.starts_with("SC") { Self::ShortCodes } else { Self::PhoneNumbers }
    }

    /// The last part of its path, and the key of its items.
    const fn path_and_key(self) -> (&'static str, &'static str) {
        match self {
            Self::PhoneNumbers => ("PhoneNumbers", "phone_numbers"),
            Self::ShortCodes => ("ShortCodes", "short_codes"),
        }
    }
}

/// Which messaging service each number of an account is in. Services list their numbers, and not
/// the other way round, so all services of an account are read at once, and the answer is kept for
/// all of its numbers.
#[derive(Clone)]
pub struct ServiceCache {
    by_login: Cache<(String, &'static str), Arc<ServiceMembers>>,
}

/// The messaging service of each number of an account, by the number's id.
#[derive(Debug, Default)]
pub struct ServiceMembers {
    service: HashMap<String, Service>,
    /// Why some services could not be read. A number that is in none of the others may be in one of
    /// those.
    missing: Option<ApiError>,
}

impl Default for ServiceCache {
    fn default() -> Self {
        Self { by_login: Cache::builder().max_capacity(1_000).time_to_live(KEPT).build() }
    }
}

impl ServiceCache {
    /// The messaging service that a number (PN…) or a short code (SC…) is in, if any.
    pub async fn service(
        &self,
        client: &Client,
        account: &Credentials,
        number_sid: &str,
    ) -> Result<Option<Service>, ApiError> {
        let members = Members::with(number_sid);
        let key = (login_of(account), members.path_and_key().0);
        let reading = self.by_login.try_get_with(key, read_members(client, account, members));
        let members = reading.await.map_err(|error: Arc<ApiError>| (*error).clone())?;
        match (members.service.get(number_sid), &members.missing) {
            (Some(service), _) => Ok(Some(service.clone())),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(None),
        }
    }

    /// Lets the next question about an account be asked of Twilio.
    pub async fn forget_of(&self, account: &Credentials) {
        for members in Members::ALL {
            self.by_login.invalidate(&(login_of(account), members.path_and_key().0)).await;
        }
    }

    /// Lets the next question be asked of Twilio.
    pub fn forget(&self) {
        self.by_login.invalidate_all();
    }
}

/// Who read the services. A key that may not read them must not profit from what another key has
/// read.
fn login_of(account: &Credentials) -> String {
    format!("{} {}", account.account_sid, account.login().0)
}

async fn read_members(
    client: &Client,
    account: &Credentials,
    members: Members,
) -> Result<Arc<ServiceMembers>, ApiError> {
    let reading = tokio::time::timeout(TIMEOUT, client.service_members(account, members)).await;
    reading.unwrap_or_else(|_| {
        Err(ApiError::Unreadable(format!("its messaging services take over {} s to read", TIMEOUT.as_secs())))
    })
}

#[derive(Deserialize)]
struct Member {
    sid: String,
}

/// Where the next page of a list is.
#[derive(Deserialize, Default)]
struct Meta {
    next_page_url: Option<String>,
}

impl Client {
    /// Which messaging service each number of an account is in. Of two, the first counts.
    pub async fn service_members(
        &self,
        account: &Credentials,
        members: Members,
    ) -> Result<Arc<ServiceMembers>, ApiError> {
        let (list, key) = members.path_and_key();
        let services: Vec<Service> = self.pages(account, &format!("/v1/Services?{SERVICES_QUERY}"), "services").await?;
        let read: Vec<(Service, Result<Vec<Member>, ApiError>)> = stream::iter(services)
            .map(|service| async move {
                let path = format!("/v1/Services/{}/{list}?{MEMBERS_QUERY}", service.sid);
                let members = self.pages(account, &path, key).await;
                (service, members)
            })
            .buffered(AT_A_TIME)
            .collect()
            .await;
        let mut read_members = ServiceMembers::default();
        for (service, members) in read {
            match members {
                Ok(members) => {
                    for member in members {
                        read_members.service.entry(member.sid).or_insert_with(|| service.clone());
                    }
                }
                // It was deleted since it was listed.
                Err(ApiError::Refused { status: 404, .. }) => {}
                Err(error) => read_members.missing = Some(error),
            }
        }
        Ok(Arc::new(read_members))
    }

    /// All items of a list.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        account: &Credentials,
        path: &str,
        key: &str,
    ) -> Result<Vec<T>, ApiError> {
        let mut items = Vec::new();
        let mut next = path.to_owned();
        for _ in 0..MOST_PAGES {
            let mut page: Value = self.read_messaging(account, &next).await?;
            let here = page.get_mut(key).map(Value::take).unwrap_or_default();
            let here: Vec<T> =
                serde_json::from_value(here).map_err(|error| ApiError::Unreadable(format!("{key}: {error}")))?;
            items.extend(here);
            let meta: Meta = page
                .get_mut("meta")
                .map(Value::take)
                .and_then(|meta| serde_json::from_value(meta).ok())
                .unwrap_or_default();
            match meta.next_page_url.as_deref().and_then(|url| url::Url::parse(url).ok()) {
                // The path is Twilio's. The host that we ask is our setting.
                Some(url) => {
                    next = format!("{}{}", url.path(), url.query().map(|query| format!("?{query}")).unwrap_or_default())
                }
                None => return Ok(items),
            }
        }
        Err(ApiError::Unreadable(format!("over {MOST_PAGES} pages of {key}")))
    }

    pub(super) async fn read_messaging<T: DeserializeOwned>(
        &self,
        account: &Credentials,
        path: &str,
    ) -> Result<T, ApiError> {
        read(answered(account, self.request_messaging(Method::GET, account, path)).await).await
    }
}
