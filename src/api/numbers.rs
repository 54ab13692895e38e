//! `/v1/numbers`: what people text to; attaching one points its webhooks here.

use chrono::{DateTime, Utc};
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use super::auth::Caller;
use super::lists::{self, List};
use super::{Door, Group};
use crate::carrier::client::{self, CarrierError};
use crate::ledger::{agent, number};
use crate::phone;
use crate::problem::Problem;

/// `/v1/numbers`
pub struct Api;

/// A number to be attached.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewNumber {
    /// In E.164, such as +14155550199. The carrier account must own it.
    number: String,
    /// The agent that answers it.
    agent_id: Uuid,
    /// Whether to buy the number. Buying is not there yet: buy it at the carrier and attach it.
    #[oai(default)]
    buy: bool,
}

/// A number that is attached.
#[derive(Object)]
struct Number {
    id: Uuid,
    number: String,
    agent_id: Uuid,
    /// The carrier's id of the number.
    carrier_sid: String,
    /// When the carrier confirmed the number's webhooks; null when that did not work: attach it again.
    webhook_set_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

#[OpenApi(tag = "Group::Numbers")]
impl Api {
    /// Attach a number of the carrier account
    ///
    /// Reads the number from the carrier and points its webhooks here. Doing it again changes the
    /// agent and sets the webhooks anew.
    #[oai(path = "/numbers", method = "post", operation_id = "attach_number")]
    async fn attach(&self, door: Data<&Door>, caller: Caller, body: Json<NewNumber>) -> Result<Json<Number>, Problem> {
        let project_id = caller.writer()?;
        let Json(NewNumber { number, agent_id, buy }) = body;
        if buy {
            return Err(Problem::invalid(
                "buying_not_supported",
                "numbers can't be bought here yet; buy it at the carrier, then attach it with buy: false",
            ));
        }
        if !phone::is_e164(&number) {
            return Err(Problem::invalid(
                "number_not_e164",
                format!("{number} is not in E.164; write + and the digits with the country code, such as +14155550199"),
            ));
        }
        if agent::find(&door.ledger, project_id, agent_id).await?.is_none() {
            return Err(Problem::invalid(
                "agent_unknown",
                format!("this project has no agent {agent_id}; POST /v1/agents makes one"),
            ));
        }
        let account = door.accounts.of_project(project_id).await.map_err(|error| Problem::unavailable(&error))?;
        let Some(account) = account else {
            return Err(Problem::conflict(
                "carrier_account_missing",
                "the project has no carrier account; give it one first: PUT /v1/carrier",
            ));
        };
        let Some(found) = door.carrier.find_number(&account, &number).await.map_err(of_carrier)? else {
            return Err(Problem::invalid(
                "number_not_owned",
                format!(
                    "the carrier account {} does not own {number}; buy it at the carrier first",
                    account.account_sid
                ),
            ));
        };
        if !found.capabilities.sms {
            return Err(Problem::invalid(
                "number_without_sms",
                format!("{number} can't send or receive texts; attach one that can"),
            ));
        }
        let country = phone::country(&number);
        // The row comes first: a text that the webhooks bring at once finds its number.
        let attached =
            number::attach(&door.ledger, project_id, &number, agent_id, &found.sid, country.as_deref()).await?;
        let urls = client::WebhookUrls::of(&door.public_base, &account.webhook_key);
        door.carrier.set_webhooks(&account, &found.sid, &urls).await.map_err(of_carrier)?;
        let attached = number::mark_webhook_set(&door.ledger, attached.id).await?;
        tracing::info!(%project_id, number_id = %attached.id, "number attached");
        Ok(Json(attached.into()))
    }

    /// List attached numbers, newest first
    #[oai(path = "/numbers", method = "get", operation_id = "list_numbers")]
    async fn list(
        &self,
        door: Data<&Door>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Number>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(number::list(&door.ledger, caller.reader(), cursor, limit).await?)))
    }

    /// Read an attached number
    #[oai(path = "/numbers/:id", method = "get", operation_id = "get_number")]
    async fn get(&self, door: Data<&Door>, caller: Caller, id: Path<Uuid>) -> Result<Json<Number>, Problem> {
        let number = number::find(&door.ledger, caller.reader(), *id).await?;
        Ok(Json(number.ok_or_else(|| Problem::not_found("number"))?.into()))
    }
}

/// The carrier's word on it, with what an operator can do.
fn of_carrier(error: CarrierError) -> Problem {
    let advice = match &error {
        CarrierError::Refused { status: 401 | 403, .. } => "; check the credentials: PUT /v1/carrier",
        CarrierError::Refused { .. } => "",
        CarrierError::NotReached(_) | CarrierError::Unreadable(_) => "; try again, and check TEXTBACK_TWILIO_API_URL",
    };
    Problem::new(StatusCode::BAD_GATEWAY, "carrier_failed", format!("{error}{advice}"))
}

impl From<number::Number> for Number {
    fn from(number: number::Number) -> Self {
        Self {
            id: number.id,
            number: number.number,
            agent_id: number.agent_id,
            carrier_sid: number.carrier_sid,
            webhook_set_at: number.webhook_set_at,
            created_at: number.created_at,
        }
    }
}
