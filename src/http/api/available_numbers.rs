//! `/v1/available-numbers`: what the carrier has for sale; looking buys nothing.

use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};

use super::auth::Caller;
use super::carrier::of_carrier;
use super::numbers::{account, without_sms};
use super::{ApiState, Group};
use crate::carriers::twilio::client::CarrierError;
use crate::carriers::twilio::numbers::{self as at_the_carrier, Wanted};
use crate::http::problem::Problem;
use crate::storage::country;

/// `/v1/available-numbers`
pub struct Api;

/// What kind of number is looked for.
#[derive(Enum, Clone, Copy, Default)]
#[oai(rename_all = "snake_case")]
enum NumberType {
    #[default]
    Local,
    Mobile,
    TollFree,
}

/// A number that can be bought.
#[derive(Object)]
struct AvailableNumber {
    number: String,
    locality: Option<String>,
    region: Option<String>,
    country: Option<String>,
    sms: bool,
    mms: bool,
    voice: bool,
    /// Which address the carrier wants to know before it sells: `none`, `any`, `local` or `foreign`.
    address_requirements: Option<String>,
}

/// Numbers that can be bought.
#[derive(Object)]
struct AvailableNumbers {
    items: Vec<AvailableNumber>,
}

#[OpenApi(tag = "Group::Numbers")]
impl Api {
    /// Search for numbers that can be bought
    #[oai(path = "/available-numbers", method = "get", operation_id = "search_numbers")]
    #[expect(clippy::too_many_arguments, reason = "each one is a query parameter")]
    async fn search(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        /// ISO 3166-1 alpha-2, such as US.
        country: Query<String>,
        /// `local` unless you say otherwise.
        r#type: Query<Option<NumberType>>,
        /// 2 to 16 digits, with `*` for any digit.
        contains: Query<Option<String>>,
        /// Only numbers that can text; true unless you say otherwise.
        sms: Query<Option<bool>>,
        /// 1 to 50; 20 unless you say otherwise.
        limit: Query<Option<u32>>,
    ) -> Result<Json<AvailableNumbers>, Problem> {
        let account = account(&door, caller.reader()).await?;
        let iso2 = country.0.to_ascii_uppercase();
        if iso2.len() != 2 || !iso2.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Problem::invalid(
                "country_invalid",
                format!("{:?} is no code of a country such as US", country.0),
            ));
        }
        let country = country::find(&mut *door.storage.connection().await?, account.project_id, &iso2).await?;
        match country {
            Some(known) if known.two_way == Some(false) => return Err(without_sms(&known)),
            Some(_) => {}
            None => {
                return Err(Problem::invalid(
                    "country_invalid",
                    format!("{iso2} is no country; GET /v1/countries lists them"),
                ));
            }
        }
        let contains = contains.0.filter(|contains| !contains.is_empty());
        if contains.as_deref().is_some_and(|pattern| {
            !(2..=16).contains(&pattern.len())
                || !pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'*' || byte == b'+')
        }) {
            return Err(Problem::invalid(
                "contains_invalid",
                "contains takes 2 to 16 digits, letters of a keypad, and * for any digit",
            ));
        }
        let limit = limit.0.unwrap_or(20);
        if !(1..=50).contains(&limit) {
            return Err(Problem::invalid("limit_out_of_range", format!("limit is {limit}; give 1 to 50")));
        }
        let number_type = match r#type.0.unwrap_or_default() {
            NumberType::Local => at_the_carrier::NumberType::Local,
            NumberType::Mobile => at_the_carrier::NumberType::Mobile,
            NumberType::TollFree => at_the_carrier::NumberType::TollFree,
        };
        let wanted = Wanted { country: iso2.clone(), number_type, contains, sms: sms.0.unwrap_or(true), limit };
        let found = match door.carrier.search_numbers(&account, &wanted).await {
            Ok(found) => found,
            Err(CarrierError::Refused { status: 404, .. }) => {
                return Err(Problem::invalid(
                    "numbers_not_sold",
                    format!("the carrier sells no numbers of this type in {iso2}; try another type"),
                ));
            }
            Err(error) => return Err(of_carrier(error)),
        };
        Ok(Json(AvailableNumbers { items: found.into_iter().map(Into::into).collect() }))
    }
}

impl From<at_the_carrier::Available> for AvailableNumber {
    fn from(available: at_the_carrier::Available) -> Self {
        Self {
            number: available.phone_number,
            locality: available.locality,
            region: available.region,
            country: available.iso_country,
            sms: available.capabilities.sms,
            mms: available.capabilities.mms,
            voice: available.capabilities.voice,
            address_requirements: available.address_requirements,
        }
    }
}
