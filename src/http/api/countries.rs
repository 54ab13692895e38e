//! `/v1/countries`: where people can text and be texted, and what has to be registered; a project may correct it for itself.

use chrono::{DateTime, NaiveDate, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Enum, Object, OpenApi};
use serde_json::{Map, Value};

use super::auth::Caller;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::http::problem::Problem;
use crate::storage::country;

/// `/v1/countries`
pub struct Api;

/// Whether a number of a country must be registered before it may send.
#[derive(Enum, Clone, Copy)]
#[oai(rename_all = "snake_case")]
enum RegistrationPolicy {
    /// Without it its texts are not sent, and wait while it is pending.
    Required,
    /// Without it a warning is shown.
    Advised,
    None,
    Unknown,
}

impl RegistrationPolicy {
    const fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Advised => "advised",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// What counts for texting in a country: what sources say, unless the project has a rule of its own.
#[derive(Object)]
struct Country {
    /// ISO 3166-1 alpha-2.
    iso2: String,
    name: String,
    /// Whether people there can be texted and answer; null when nobody knows.
    two_way: Option<bool>,
    /// The same with an ordinary number.
    two_way_long_code: Option<bool>,
    /// Kinds of numbers that the carrier lists as capable of texts.
    number_types: Vec<String>,
    /// `required`, `advised`, `none` or `unknown`.
    registration_policy: String,
    /// What sources say of registration.
    registration: String,
    registration_detail: Option<String>,
    sources: Vec<String>,
    /// `high`, `medium` or `low`.
    confidence: Option<String>,
    /// When the newest dated source was published.
    as_of: Option<NaiveDate>,
    /// Why the project has a rule of its own.
    note: Option<String>,
    /// When it made that rule; null when it has none.
    changed_at: Option<DateTime<Utc>>,
}

/// A project's own rule. What is left out stays, null takes what sources say.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct CountryChanges {
    two_way: MaybeUndefined<bool>,
    registration_policy: MaybeUndefined<RegistrationPolicy>,
    #[oai(validator(max_length = 1000))]
    note: MaybeUndefined<String>,
}

#[OpenApi(tag = "Group::Numbers")]
impl Api {
    /// List countries by their codes
    #[oai(path = "/countries", method = "get", operation_id = "list_countries")]
    async fn list(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Country>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(country::list(&door.storage, caller.reader(), cursor, limit).await?)))
    }

    /// Read a country
    #[oai(path = "/countries/:iso2", method = "get", operation_id = "get_country")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller, iso2: Path<String>) -> Result<Json<Country>, Problem> {
        let found = country::find(&door.storage, caller.reader(), &iso2.to_ascii_uppercase()).await?;
        Ok(Json(found.ok_or_else(|| Problem::not_found("country"))?.into()))
    }

    /// Set the project's own rule for a country
    ///
    /// Its numbers there follow at once: texts that were held for want of a registration leave when it is not required.
    #[oai(path = "/countries/:iso2", method = "patch", operation_id = "rule_country")]
    async fn rule(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        iso2: Path<String>,
        body: Json<CountryChanges>,
    ) -> Result<Json<Country>, Problem> {
        let project_id = caller.writer()?;
        let iso2 = iso2.to_ascii_uppercase();
        if country::find(&door.storage, project_id, &iso2).await?.is_none() {
            return Err(Problem::not_found("country"));
        }
        let CountryChanges { two_way, registration_policy, note } = body.0;
        let mut changes = Map::new();
        let mut change = |name: &str, value: MaybeUndefined<Value>| match value {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => _ = changes.insert(name.to_owned(), Value::Null),
            MaybeUndefined::Value(value) => _ = changes.insert(name.to_owned(), value),
        };
        change("two_way", value_of(two_way, Value::from));
        change("registration_policy", value_of(registration_policy, |policy| policy.word().into()));
        change("note", value_of(note, Value::from));
        country::rule(&door.storage, project_id, &iso2, &changes).await?;
        // What was held may leave now.
        door.storage.notifier().notify(crate::domain::job::JobKind::Delivery);
        let found = country::find(&door.storage, project_id, &iso2).await?;
        Ok(Json(found.ok_or_else(|| Problem::not_found("country"))?.into()))
    }
}

fn value_of<T>(given: MaybeUndefined<T>, value: impl Fn(T) -> Value) -> MaybeUndefined<Value> {
    match given {
        MaybeUndefined::Undefined => MaybeUndefined::Undefined,
        MaybeUndefined::Null => MaybeUndefined::Null,
        MaybeUndefined::Value(given) => MaybeUndefined::Value(value(given)),
    }
}

impl From<country::Country> for Country {
    fn from(country: country::Country) -> Self {
        Self {
            iso2: country.iso2,
            name: country.name,
            two_way: country.two_way,
            two_way_long_code: country.two_way_long_code,
            number_types: country.number_types,
            registration_policy: country.registration_policy,
            registration: country.registration,
            registration_detail: country.registration_detail,
            sources: country.sources,
            confidence: country.confidence,
            as_of: country.as_of,
            note: country.note,
            changed_at: country.changed_at,
        }
    }
}
