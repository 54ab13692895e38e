//! `/v1/available-numbers`: numbers that the carrier sells.

use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::auth::Caller;
use super::carrier::of_carrier;
use super::numbers::{account, without_sms};
use super::{ApiState, Group};
use crate::carriers::error::CarrierErrorKind;
use crate::carriers::number::{self as at_carrier, NumberSearch};
use crate::domain::number::NumberType;
use crate::http::problem::Problem;
use crate::storage::country;

/// `/v1/available-numbers`
pub struct Api;

/// A number that can be bought.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct AvailableNumber {
    number: String,
    locality: Option<String>,
    region: Option<String>,
    country: Option<String>,
    sms: bool,
    mms: bool,
    voice: bool,
    /// Which address the carrier asks for before it sells the number: `none`, `any`, `local` or
    /// `foreign`.
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
        state: Data<&ApiState>,
        caller: Caller,
        /// The ISO 3166-1 alpha-2 code of a country, such as US.
        country: Query<String>,
        /// Without it `local`. Short codes are not searched: people lease them at the carrier.
        r#type: Query<Option<NumberType>>,
        /// 2 to 16 digits, with `*` for any digit.
        contains: Query<Option<String>>,
        /// Whether the numbers must carry SMS. Without it true.
        sms: Query<Option<bool>>,
        /// 1 to 50. Without it 20.
        limit: Query<Option<u32>>,
    ) -> Result<Json<AvailableNumbers>, Problem> {
        let account = account(&state, caller.reader()).await?;
        let iso2 = country.0.to_ascii_uppercase();
        if iso2.len() != 2 || !iso2.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Problem::invalid(
                "country_invalid",
                format!("country must be an ISO 3166-1 alpha-2 code such as US; it is {:?}", country.0),
            ));
        }
        let country = country::find(&mut *state.storage.connection().await?, account.project_id, &iso2).await?;
        match country {
            Some(known) if known.two_way == Some(false) => return Err(without_sms(&known)),
            Some(_) => {}
            None => {
                return Err(Problem::invalid(
                    "country_invalid",
                    format!("country {iso2} is not known; list the countries with GET /v1/countries"),
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
                "contains must have 2 to 16 digits, letters of a keypad, or * for any digit",
            ));
        }
        let limit = limit.0.unwrap_or(20);
        if !(1..=50).contains(&limit) {
            return Err(Problem::invalid("limit_out_of_range", format!("limit must be 1 to 50, and is {limit}")));
        }
        let number_type = r#type.0.unwrap_or(NumberType::Local);
        let search = NumberSearch { country: iso2.clone(), number_type, contains, sms: sms.0.unwrap_or(true), limit };
        let found = match state.carriers.of(&account).search_numbers(&account, &search).await {
            Ok(found) => found,
            Err(error) if error.kind == CarrierErrorKind::NotFound => {
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

impl From<at_carrier::AvailableNumber> for AvailableNumber {
    fn from(available: at_carrier::AvailableNumber) -> Self {
        Self {
            number: available.number,
            locality: available.locality,
            region: available.region,
            country: available.country,
            sms: available.capabilities.sms,
            mms: available.capabilities.mms,
            voice: available.capabilities.voice,
            address_requirements: available.address_requirements,
        }
    }
}
