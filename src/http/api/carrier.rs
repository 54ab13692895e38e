//! `/v1/carrier`: the project's account at its carrier. Its secrets go in and never come out.

use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use secrecy::SecretString;

use super::auth::Caller;
use super::numbers::account;
use super::{ApiState, Group};
use crate::carriers::error::{CarrierError, CredentialsError};
use crate::carriers::webhook;
use crate::domain::carrier_account::{self, CarrierAccount, CarrierKind};
use crate::http::problem::Problem;
use crate::storage::project;

/// `/v1/carrier`
pub struct Api;

/// Credentials of the carrier account. Without `carrier` it is at `twilio`.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Credentials {
    carrier: Option<CarrierKind>,
    /// The carrier's id of the account. At Twilio it has AC and 32 hexadecimal digits.
    #[oai(validator(min_length = 1, max_length = 200))]
    account_sid: String,
    /// The primary auth token. It signs webhooks, and it is used for REST calls if there is no API
    /// key.
    #[oai(validator(min_length = 1, max_length = 200))]
    auth_token: String,
    /// The id of an API key for REST calls, with its secret. At Twilio it has SK and 32 hexadecimal
    /// digits.
    #[oai(validator(min_length = 1, max_length = 200))]
    api_key_sid: Option<String>,
    #[oai(validator(min_length = 1, max_length = 200))]
    api_key_secret: Option<String>,
    /// The secondary auth token, which will be promoted next. While it is set, webhooks signed with
    /// either are accepted.
    #[oai(validator(min_length = 1, max_length = 200))]
    next_auth_token: Option<String>,
}

/// The carrier account, without its secrets.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Carrier {
    carrier: CarrierKind,
    account_sid: String,
    /// The API key (SK…) of REST calls. Without it the auth token is used for them too.
    api_key_sid: Option<String>,
    /// Whether webhooks signed with a secondary auth token are accepted too.
    has_next_auth_token: bool,
    webhook_urls: WebhookUrls,
}

impl Carrier {
    fn of(account: &CarrierAccount, state: &ApiState) -> Self {
        let urls = webhook::WebhookUrls::of(&state.public_base, account);
        let credentials = &account.credentials;
        Self {
            carrier: account.carrier,
            account_sid: credentials.account_sid.clone(),
            api_key_sid: credentials.api_key.as_ref().map(|(sid, _)| sid.clone()),
            has_next_auth_token: credentials.next_auth_token.is_some(),
            webhook_urls: WebhookUrls { messages: urls.messages, status: urls.status, fallback: urls.fallback },
        }
    }
}

/// The addresses that the carrier calls. Attaching a number sets them.
#[derive(Object)]
struct WebhookUrls {
    messages: String,
    status: String,
    fallback: String,
}

/// The problem of a call to the carrier that failed, with what an operator can do.
pub(super) fn of_carrier(error: CarrierError) -> Problem {
    let advice = error.advice;
    Problem::new(StatusCode::BAD_GATEWAY, "carrier_failed", format!("{error}{advice}"))
}

#[OpenApi(tag = "Group::Carrier")]
impl Api {
    /// Set the carrier account of the project
    ///
    /// Tries the credentials at the carrier, and replaces the account that the project had. Secrets
    /// are encrypted at rest and never returned. A subaccount has its own id and token.
    #[oai(path = "/carrier", method = "put", operation_id = "put_carrier")]
    async fn put(
        &self,
        state: Data<&ApiState>,
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
        let project = project::find(&mut *state.storage.connection().await?, project_id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let credentials = carrier_account::Credentials {
            account_sid: given.account_sid,
            auth_token: SecretString::from(given.auth_token),
            next_auth_token: given.next_auth_token.map(SecretString::from),
            api_key,
        };
        let account = CarrierAccount {
            project_id,
            webhook_key: project.webhook_key,
            carrier: given.carrier.unwrap_or(CarrierKind::Twilio),
            credentials,
        };
        state.carriers.of(&account).check_credentials(&account).await.map_err(|error| match error {
            CredentialsError::Refused(why) => Problem::invalid("credentials_refused", why),
            CredentialsError::Failed(error) => of_carrier(error),
        })?;
        state.accounts.put(&account).await?;
        tracing::info!(account_sid = account.id(), "the carrier account was set");
        Ok(Json(Carrier::of(&account, &state)))
    }

    /// Read the carrier account of the project, without its secrets
    #[oai(path = "/carrier", method = "get", operation_id = "get_carrier")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller) -> Result<Json<Carrier>, Problem> {
        let account = account(&state, caller.reader()).await?;
        Ok(Json(Carrier::of(&account, &state)))
    }
}
