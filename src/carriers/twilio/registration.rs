//! What lets a number text: its messaging service, A2P 10DLC, toll-free verification; it reads, and registers nothing.
//!
//! <https://www.twilio.com/docs/messaging/api/service-resource>, <https://www.twilio.com/docs/messaging/compliance/a2p-10dlc>,
//! <https://www.twilio.com/docs/messaging/compliance/toll-free/api-onboarding>. These resources live at another host than
//! the 2010 API and tell pages and errors in another shape.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use moka::future::Cache;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{CarrierError, Client, WebhookUrls, answered, plain, read};
use crate::domain::carrier_account::Account;
use crate::domain::number::Registration;

/// The most pages that we read of a list.
const MOST_PAGES: usize = 20;
/// How many services we ask for at a time: one takes up to 2 kB, and we read 1 MiB at the most.
const SERVICES: &str = "PageSize=200";
/// How many of its numbers: one takes half a kB.
const MEMBERS: &str = "PageSize=1000";
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
    /// Why texts to a number in this service don't come to us; `None` when they do: by the number's webhook or the service's.
    pub fn trap(&self, urls: &WebhookUrls) -> Option<String> {
        let comes_here =
            self.inbound_request_url.as_deref().is_some_and(|url| url.split('#').next() == Some(&urls.messages));
        if self.use_inbound_webhook_on_number || comes_here {
            return None;
        }
        let name = if self.friendly_name.is_empty() { &self.sid } else { &self.friendly_name };
        Some(match self.inbound_request_url.as_deref().filter(|url| !url.is_empty()) {
            None => format!(
                "it is in the messaging service {name}, which drops inbound texts without a trace; let the service defer to the sender's webhook"
            ),
            Some(url) => format!(
                "it is in the messaging service {name}, whose own address {} gets its texts; let the service defer to the sender's webhook",
                plain(url)
            ),
        })
    }
}

/// Which messaging service each number of an account is in. Services list their numbers, and not the other way round, so
/// all of an account are read at once, and serve all of its numbers that are looked after within a minute.
#[derive(Clone)]
pub struct Pools {
    by_account: Cache<String, Arc<Members>>,
}

/// The messaging service of each number of an account, by the number's id.
#[derive(Debug, Default)]
pub struct Members {
    service: HashMap<String, Service>,
    /// Why some services could not be read: a number that is in none of the others may be in one of those.
    missing: Option<CarrierError>,
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
        match (pools.service.get(number_sid), &pools.missing) {
            (Some(service), _) => Ok(Some(service.clone())),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(None),
        }
    }

    /// Lets the next question be asked of the carrier.
    pub fn forget(&self) {
        self.by_account.invalidate_all();
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
    date_created: Option<String>,
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
    date_created: Option<String>,
    #[serde(default)]
    rejection_reason: Option<String>,
}

/// Where the next page of a list is.
#[derive(Deserialize, Default)]
struct Meta {
    next_page_url: Option<String>,
}

impl Client {
    /// Which messaging service each number of an account is in. Of two, the first counts.
    pub async fn pools(&self, account: &Account) -> Result<Arc<Members>, CarrierError> {
        let services: Vec<Service> = self.pages(account, &format!("/v1/Services?{SERVICES}"), "services").await?;
        let read: Vec<(Service, Result<Vec<Member>, CarrierError>)> = stream::iter(services)
            .map(|service| async move {
                let path = format!("/v1/Services/{}/PhoneNumbers?{MEMBERS}", service.sid);
                let members = self.pages(account, &path, "phone_numbers").await;
                (service, members)
            })
            .buffered(AT_A_TIME)
            .collect()
            .await;
        let mut pools = Members::default();
        for (service, members) in read {
            match members {
                Ok(members) => {
                    for member in members {
                        pools.service.entry(member.sid).or_insert_with(|| service.clone());
                    }
                }
                // It was deleted since it was listed.
                Err(CarrierError::Refused { status: 404, .. }) => {}
                Err(error) => pools.missing = Some(error),
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
        // One that is approved counts, else the newest; times of this API sort as texts.
        let newest = campaigns
            .into_iter()
            .max_by_key(|campaign| (campaign.campaign_status == "VERIFIED", campaign.date_created.clone()));
        let Some(campaign) = newest else {
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
        let newest =
            found.into_iter().max_by_key(|found| (found.status == "TWILIO_APPROVED", found.date_created.clone()));
        let Some(verification) = newest else {
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
        read(answered(account, self.request_messaging(Method::GET, account, path)).await).await
    }
}

/// What an error of a campaign says, whatever its shape: the documents show objects, and leave their fields open.
fn told(error: &Value) -> Option<String> {
    let text = ["description", "message", "error_message", "reason"].iter().find_map(|name| error.get(*name)?.as_str());
    text.or_else(|| error.as_str()).map(str::to_owned)
}
