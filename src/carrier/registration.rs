//! What lets a number text: its messaging service, A2P 10DLC, toll-free verification; it reads, and registers nothing.
//!
//! <https://www.twilio.com/docs/messaging/api/service-resource>, <https://www.twilio.com/docs/messaging/compliance/a2p-10dlc>,
//! <https://www.twilio.com/docs/messaging/compliance/toll-free/api-onboarding>. These resources live at another host than
//! the 2010 API and tell pages and errors in another shape.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{CarrierError, Client, read};
use crate::account::Account;

/// The most pages that we read of a list.
const MOST_PAGES: usize = 20;
/// How many items a page has, where we may ask for that.
const ON_A_PAGE: &str = "PageSize=1000";
/// How many services are read at a time.
const AT_A_TIME: usize = 8;
/// How long the reading of all services of an account may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A messaging service: a pool of senders with a webhook of its own.
#[derive(Debug, Clone, Deserialize)]
pub struct Service {
    pub sid: String,
    #[serde(default)]
    pub friendly_name: String,
    #[serde(default)]
    pub inbound_request_url: Option<String>,
    /// Whether the numbers' own webhooks win over the service's.
    #[serde(default)]
    pub use_inbound_webhook_on_number: bool,
}

impl Service {
    /// Why texts to a number in this service don't reach the number's webhook; `None` when they do.
    pub fn trap(&self) -> Option<String> {
        if self.use_inbound_webhook_on_number {
            return None;
        }
        let name = if self.friendly_name.is_empty() { &self.sid } else { &self.friendly_name };
        Some(match self.inbound_request_url.as_deref().filter(|url| !url.is_empty()) {
            None => format!(
                "it is in the messaging service {name}, which drops inbound texts without a trace; let the service defer to the sender's webhook"
            ),
            Some(url) => format!(
                "it is in the messaging service {name}, whose own address {url} gets its texts; let the service defer to the sender's webhook"
            ),
        })
    }
}

/// Which messaging service each number of an account is in. Services list their numbers, and not the other way round, so
/// all of an account are read at once, and serve all of its numbers that are looked after within a minute.
#[derive(Clone)]
pub struct Pools {
    by_account: Cache<String, Arc<HashMap<String, Service>>>,
}

impl Default for Pools {
    fn default() -> Self {
        Self { by_account: Cache::builder().max_capacity(1_000).time_to_live(Duration::from_secs(60)).build() }
    }
}

impl Pools {
    /// The messaging service that a number (PN…) is in, if any.
    pub async fn service(
        &self,
        client: &Client,
        account: &Account,
        number_sid: &str,
    ) -> Result<Option<Service>, CarrierError> {
        // A key that may not read them must not live on what another one has read.
        let login = format!("{} {}", account.account_sid, account.login().0);
        let pools = self.by_account.try_get_with(login, async {
            let reading = tokio::time::timeout(PATIENCE, client.pools(account)).await;
            reading.unwrap_or_else(|_| {
                Err(CarrierError::Unreadable(format!(
                    "its messaging services take over {} s to read",
                    PATIENCE.as_secs()
                )))
            })
        });
        let pools = pools.await.map_err(|error: Arc<CarrierError>| (*error).clone())?;
        Ok(pools.get(number_sid).cloned())
    }

    /// Lets the next question be asked of the carrier.
    pub fn forget(&self) {
        self.by_account.invalidate_all();
    }
}

/// Whether a number may send as far as its registration goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Unregistered,
    Pending,
    Approved,
    Rejected,
}

impl Registration {
    /// The word for it in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

#[derive(Deserialize)]
struct Member {
    sid: String,
}

#[derive(Deserialize)]
struct Campaign {
    #[serde(default)]
    campaign_status: String,
    #[serde(default)]
    brand_registration_sid: Option<String>,
    #[serde(default)]
    errors: Vec<Value>,
}

#[derive(Deserialize)]
struct Brand {
    #[serde(default)]
    status: String,
    #[serde(default)]
    failure_reason: Option<String>,
}

#[derive(Deserialize)]
struct Verification {
    #[serde(default)]
    status: String,
    #[serde(default)]
    rejection_reason: Option<String>,
}

/// Where the next page of a list is.
#[derive(Deserialize, Default)]
struct Meta {
    next_page_url: Option<String>,
}

impl Client {
    /// The messaging service of each number of an account, by the number's id. Of two, the first counts.
    pub async fn pools(&self, account: &Account) -> Result<Arc<HashMap<String, Service>>, CarrierError> {
        let services: Vec<Service> = self.pages(account, &format!("/v1/Services?{ON_A_PAGE}"), "services").await?;
        let members = stream::iter(services)
            .map(|service| async move {
                let path = format!("/v1/Services/{}/PhoneNumbers?{ON_A_PAGE}", service.sid);
                let members: Vec<Member> = self.pages(account, &path, "phone_numbers").await?;
                Ok::<_, CarrierError>((service, members))
            })
            .buffered(AT_A_TIME);
        let members: Vec<(Service, Vec<Member>)> = members.try_collect().await?;
        let mut pools = HashMap::new();
        for (service, members) in members {
            for member in members {
                pools.entry(member.sid).or_insert_with(|| service.clone());
            }
        }
        Ok(Arc::new(pools))
    }

    /// The state of A2P 10DLC for numbers of a messaging service, and the carrier's reason.
    pub async fn campaign(
        &self,
        account: &Account,
        service_sid: &str,
    ) -> Result<(Registration, Option<String>), CarrierError> {
        let path = format!("/v1/Services/{service_sid}/Compliance/Usa2p");
        let campaigns: Vec<Campaign> = self.pages(account, &path, "compliance").await?;
        let Some(campaign) = campaigns.into_iter().max_by_key(|campaign| campaign.campaign_status == "VERIFIED") else {
            return Ok((Registration::Unregistered, Some("its messaging service has no campaign".to_owned())));
        };
        let reason = campaign.errors.iter().filter_map(told).next();
        match campaign.campaign_status.as_str() {
            "VERIFIED" => Ok((Registration::Approved, None)),
            "FAILED" | "SUSPENDED" => {
                let status = campaign.campaign_status.to_lowercase();
                Ok((Registration::Rejected, Some(reason.unwrap_or_else(|| format!("its campaign is {status}")))))
            }
            status => {
                // A campaign waits for its brand, and a brand that failed lets it wait for ever.
                if let Some(sid) = &campaign.brand_registration_sid {
                    let brand: Brand =
                        self.read_messaging(account, &format!("/v1/a2p/BrandRegistrations/{sid}")).await?;
                    if matches!(brand.status.as_str(), "FAILED" | "SUSPENDED") {
                        let reason = brand.failure_reason.filter(|reason| !reason.is_empty());
                        let reason = reason.unwrap_or_else(|| format!("its brand is {}", brand.status.to_lowercase()));
                        return Ok((Registration::Rejected, Some(reason)));
                    }
                }
                Ok((
                    Registration::Pending,
                    Some(format!("its campaign is {}", status.to_lowercase().replace('_', " "))),
                ))
            }
        }
    }

    /// The state of a toll-free number's verification, and the carrier's reason.
    pub async fn verification(
        &self,
        account: &Account,
        number_sid: &str,
    ) -> Result<(Registration, Option<String>), CarrierError> {
        let path = format!("/v1/Tollfree/Verifications?TollfreePhoneNumberSid={number_sid}");
        let found: Vec<Verification> = self.pages(account, &path, "verifications").await?;
        let Some(verification) = found.into_iter().max_by_key(|found| found.status == "TWILIO_APPROVED") else {
            return Ok((Registration::Unregistered, Some("nobody has asked for its verification".to_owned())));
        };
        Ok(match verification.status.as_str() {
            "TWILIO_APPROVED" => (Registration::Approved, None),
            "TWILIO_REJECTED" => (
                Registration::Rejected,
                Some(verification.rejection_reason.unwrap_or_else(|| "it was rejected".to_owned())),
            ),
            status => (
                Registration::Pending,
                Some(format!("its verification is {}", status.to_lowercase().replace('_', " "))),
            ),
        })
    }

    /// All items of a list.
    async fn pages<T: DeserializeOwned>(
        &self,
        account: &Account,
        path: &str,
        key: &str,
    ) -> Result<Vec<T>, CarrierError> {
        let mut items = Vec::new();
        let mut next = path.to_owned();
        for _ in 0..MOST_PAGES {
            let mut page: Value = self.read_messaging(account, &next).await?;
            let here = page.get_mut(key).map(Value::take).unwrap_or_default();
            let here: Vec<T> =
                serde_json::from_value(here).map_err(|error| CarrierError::Unreadable(format!("{key}: {error}")))?;
            items.extend(here);
            let meta: Meta = page
                .get_mut("meta")
                .map(Value::take)
                .and_then(|meta| serde_json::from_value(meta).ok())
                .unwrap_or_default();
            match meta.next_page_url.as_deref().and_then(|url| url::Url::parse(url).ok()) {
                // Only where it leads to is the carrier's word; whom we ask is our setting.
                Some(url) => {
                    next = format!("{}{}", url.path(), url.query().map(|query| format!("?{query}")).unwrap_or_default())
                }
                None => return Ok(items),
            }
        }
        Err(CarrierError::Unreadable(format!("over {MOST_PAGES} pages of {key}")))
    }

    async fn read_messaging<T: DeserializeOwned>(&self, account: &Account, path: &str) -> Result<T, CarrierError> {
        read(self.request_messaging(Method::GET, account, path).send().await).await
    }
}

/// What an error of a campaign says, whatever its shape: the documents show objects, and leave their fields open.
fn told(error: &Value) -> Option<String> {
    let text = ["description", "message", "error_message", "reason"].iter().find_map(|name| error.get(*name)?.as_str());
    text.or_else(|| error.as_str()).map(str::to_owned)
}
