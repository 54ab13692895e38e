//! Whether a number may send: A2P 10DLC and toll-free verification. It reads them, and registers
//! nothing.
//!
//! <https://www.twilio.com/docs/messaging/compliance/a2p-10dlc>,
//! <https://www.twilio.com/docs/messaging/compliance/toll-free/api-onboarding>.

use serde::Deserialize;
use serde_json::Value;

use super::client::{ApiError, Client};
use crate::carriers::number::{RegistrationFacts, RegistrationQuery};
use crate::domain::carrier_account::Credentials;
use crate::domain::number::{RegistrationStatus, is_registered_for_a2p};

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

impl RegistrationFacts {
    fn told(registration: RegistrationStatus, detail: impl Into<String>) -> Self {
        Self::Told { registration, detail: Some(detail.into()) }
    }
}

/// What a campaign says by itself. `None`: it waits, perhaps for its brand.
fn of_campaign(campaign: &Campaign) -> Option<RegistrationFacts> {
    match campaign.campaign_status.as_str() {
        "VERIFIED" => Some(RegistrationFacts::Told { registration: RegistrationStatus::Approved, detail: None }),
        "FAILED" | "SUSPENDED" => {
            let reason = campaign.errors.iter().find_map(reason_of);
            let reason = reason.unwrap_or_else(|| format!("its campaign is {}", plain(&campaign.campaign_status)));
            Some(RegistrationFacts::told(RegistrationStatus::Rejected, reason))
        }
        _ => None,
    }
}

fn of_verification(verification: Verification) -> RegistrationFacts {
    match verification.status.as_str() {
        "TWILIO_APPROVED" => RegistrationFacts::Told { registration: RegistrationStatus::Approved, detail: None },
        "TWILIO_REJECTED" => {
            let reason = verification.rejection_reason.unwrap_or_else(|| "it was rejected".to_owned());
            RegistrationFacts::told(RegistrationStatus::Rejected, reason)
        }
        status => {
            RegistrationFacts::told(RegistrationStatus::Pending, format!("its verification is {}", plain(status)))
        }
    }
}

/// A status of Twilio's in small letters.
fn plain(status: &str) -> String {
    status.to_lowercase().replace('_', " ")
}

impl Client {
    /// Whether a number is registered as its country asks, as far as Twilio tells.
    pub async fn registration(
        &self,
        account: &Credentials,
        query: RegistrationQuery<'_>,
    ) -> Result<RegistrationFacts, ApiError> {
        if query.is_short_code {
            // Carriers approve a short code with its use when it is leased.
            return Ok(RegistrationFacts::Told { registration: RegistrationStatus::NotRequired, detail: None });
        }
        match (query.is_toll_free, query.country, query.pool_id) {
            (true, ..) => self.verification(account, query.carrier_id).await,
            (false, Some(country), Some(service)) if is_registered_for_a2p(country) => {
                self.campaign(account, service).await
            }
            (false, Some(country), None) if is_registered_for_a2p(country) => Ok(RegistrationFacts::told(
                RegistrationStatus::Unregistered,
                "it is in no messaging service, so in no campaign",
            )),
            (false, country, _) => Ok(RegistrationFacts::NotTold {
                advice: country.map(|country| {
                    let country = country.to_lowercase();
                    format!("the carrier does not tell it; see https://www.twilio.com/en-us/guidelines/{country}/sms")
                }),
            }),
        }
    }

    /// The state of A2P 10DLC for numbers of a messaging service.
    pub async fn campaign(&self, account: &Credentials, service_sid: &str) -> Result<RegistrationFacts, ApiError> {
        let path = format!("/v1/Services/{service_sid}/Compliance/Usa2p");
        let campaigns: Vec<Campaign> = self.pages(account, &path, "compliance").await?;
        // One that is approved counts, else the newest. Times of this API sort as texts.
        let newest = campaigns
            .into_iter()
            .max_by_key(|campaign| (campaign.campaign_status == "VERIFIED", campaign.date_created.clone()));
        let Some(campaign) = newest else {
            return Ok(RegistrationFacts::told(
                RegistrationStatus::Unregistered,
                "its messaging service has no campaign",
            ));
        };
        if let Some(status) = of_campaign(&campaign) {
            return Ok(status);
        }
        // A campaign waits for its brand, and would wait for ever for one that failed.
        if let Some(sid) = &campaign.brand_registration_sid {
            let brand: Brand = self.read_messaging(account, &format!("/v1/a2p/BrandRegistrations/{sid}")).await?;
            if matches!(brand.status.as_str(), "FAILED" | "SUSPENDED") {
                let reason = brand.failure_reason.filter(|reason| !reason.is_empty());
                let reason = reason.unwrap_or_else(|| format!("its brand is {}", brand.status.to_lowercase()));
                return Ok(RegistrationFacts::told(RegistrationStatus::Rejected, reason));
            }
        }
        let waits = format!("its campaign is {}", plain(&campaign.campaign_status));
        Ok(RegistrationFacts::told(RegistrationStatus::Pending, waits))
    }

    /// The state of a toll-free number's verification.
    pub async fn verification(&self, account: &Credentials, number_sid: &str) -> Result<RegistrationFacts, ApiError> {
        let path = format!("/v1/Tollfree/Verifications?TollfreePhoneNumberSid={number_sid}");
        let found: Vec<Verification> = self.pages(account, &path, "verifications").await?;
        let newest =
            found.into_iter().max_by_key(|found| (found.status == "TWILIO_APPROVED", found.date_created.clone()));
        Ok(newest.map_or_else(
            || RegistrationFacts::told(RegistrationStatus::Unregistered, "nobody has asked for its verification"),
            of_verification,
        ))
    }
}

/// What an error of a campaign says, whatever its shape. The documents show objects, and leave
/// their fields open.
fn reason_of(error: &Value) -> Option<String> {
    let text = ["description", "message", "error_message", "reason"].iter().find_map(|name| error.get(*name)?.as_str());
    text.or_else(|| error.as_str()).map(str::to_owned)
}
