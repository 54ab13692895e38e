//! `/v1/carrier`: the project's account at the carrier; what is secret goes in and never comes out.

use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use secrecy::SecretString;

use super::auth::Caller;
use super::numbers::account;
use super::{ApiState, Group};
use crate::carriers::twilio::client::{self, CarrierError};
use crate::domain::carrier_account::Account;
use crate::http::problem::Problem;
use crate::storage::project;

/// `/v1/carrier`
pub struct Api;

/// Credentials of the carrier account.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Credentials {
    /// The account's id, AC and 32 hexadecimal digits.
    #[oai(validator(pattern = "^AC[0-9a-fA-F]{32}$"))]
    account_sid: String,
    /// The primary auth token. It signs webhooks, and REST calls when there is no API key.
    #[oai(validator(min_length = 1, max_length = 200))]
    auth_token: String,
    /// An API key (SK…) for REST calls, with its secret.
    #[oai(validator(pattern = "^SK[0-9a-fA-F]{32}$"))]
    api_key_sid: Option<String>,
    #[oai(validator(min_length = 1, max_length = 200))]
    api_key_secret: Option<String>,
    /// The auth token that will be promoted next: while it is set, both may sign webhooks.
    #[oai(validator(min_length = 1, max_length = 200))]
    next_auth_token: Option<String>,
}

/// The carrier account, without its secrets.
#[derive(Object)]
struct Carrier {
    account_sid: String,
    /// The API key (SK…) of REST calls; null when the auth token serves for them too.
    api_key_sid: Option<String>,
    /// Whether a second token may sign webhooks as well.
    has_next_auth_token: bool,
    webhook_urls: WebhookUrls,
}

impl Carrier {
    fn of(account: &Account, door: &ApiState) -> Self {
        let urls = client::WebhookUrls::of(&door.public_base, &account.webhook_key);
        Self {
            account_sid: account.account_sid.clone(),
            api_key_sid: account.api_key.as_ref().map(|(sid, _)| sid.clone()),
            has_next_auth_token: account.next_auth_token.is_some(),
            webhook_urls: WebhookUrls { messages: urls.messages, status: urls.status, fallback: urls.fallback },
        }
    }
}

/// Where the carrier turns to. Attaching a number sets them by itself.
#[derive(Object)]
struct WebhookUrls {
    messages: String,
    status: String,
    fallback: String,
}

/// The carrier's word on it, with what an operator can do.
pub(super) fn of_carrier(error: CarrierError) -> Problem {
    let advice = error.advice();
    Problem::new(StatusCode::BAD_GATEWAY, "carrier_failed", format!("{error}{advice}"))
}

/// Why credentials can't be used, and what can be done.
fn refused(error: CarrierError, by_key: bool) -> Problem {
    match error {
        CarrierError::Refused { status: 401, .. } if by_key => Problem::invalid(
            "credentials_refused",
            "the carrier does not take the API key; give the SK… and the secret of a key of this very account, or leave both out",
        ),
        CarrierError::Refused { status: 401, .. } => Problem::invalid(
            "credentials_refused",
            "the carrier does not take account_sid and auth_token; both are on the first page of its console, and the token must be the primary one",
        ),
        error => of_carrier(error),
    }
}

#[OpenApi(tag = "Group::Carrier")]
impl Api {
    /// Set the carrier account of the project
    ///
    /// Tries the credentials at the carrier, and replaces the account the project had. Secrets are sealed at rest and never
    /// returned. A subaccount has an id and a token of its own.
    #[oai(path = "/carrier", method = "put", operation_id = "put_carrier")]
    async fn put(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        body: Json<Credentials>,
    ) -> Result<Json<Carrier>, Problem> {
        let project_id = caller.writer()?;
        let Json(given) = body;
        let api_key = match (given.api_key_sid, given.api_key_secret) {
            (Some(sid), Some(secret)) => Some((sid, SecretString::from(secret))),
            (None, None) => None,
            _ => {
                return Err(Problem::invalid(
                    "api_key_incomplete",
                    "give api_key_sid and api_key_secret together, or neither",
                ));
            }
        };
        let project = project::find(&mut *door.storage.connection().await?, project_id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let account = Account {
            project_id,
            webhook_key: project.webhook_key,
            account_sid: given.account_sid,
            auth_token: SecretString::from(given.auth_token),
            next_auth_token: given.next_auth_token.map(SecretString::from),
            api_key,
        };
        // The token signs, and calls when there is no key: each is tried, and none in place of another.
        let alone = Account { next_auth_token: None, ..account.clone() };
        door.carrier.try_credentials(&alone).await.map_err(|error| refused(error, account.api_key.is_some()))?;
        if account.api_key.is_some() {
            let by_token = Account { api_key: None, ..alone.clone() };
            door.carrier.try_credentials(&by_token).await.map_err(|error| refused(error, false))?;
        }
        // The carrier takes the next token too, from when it was made.
        if let Some(next) = &account.next_auth_token {
            let by_next = Account { api_key: None, auth_token: next.clone(), ..alone };
            door.carrier.try_credentials(&by_next).await.map_err(|error| match error {
                CarrierError::Refused { status: 401, .. } => Problem::invalid(
                    "credentials_refused",
                    "the carrier does not take next_auth_token; make a secondary token in its console first, or leave it out",
                ),
                error => of_carrier(error),
            })?;
        }
        door.accounts.put(&account).await?;
        tracing::info!(%project_id, account_sid = account.account_sid, "carrier account set");
        Ok(Json(Carrier::of(&account, &door)))
    }

    /// Read the carrier account of the project, without its secrets
    #[oai(path = "/carrier", method = "get", operation_id = "get_carrier")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller) -> Result<Json<Carrier>, Problem> {
        let account = account(&door, caller.reader()).await?;
        Ok(Json(Carrier::of(&account, &door)))
    }
}
