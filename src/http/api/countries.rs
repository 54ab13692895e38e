//! `/v1/countries`: in which countries messages go both ways, and where a number must be
//! registered. A project may set rules of its own.

use chrono::{DateTime, NaiveDate, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi};
use serde_json::{Map, Value};

use super::auth::Caller;
use super::lists::{self, List};
use super::visible::visible;
use super::{ApiState, Group};
use crate::domain::country::Confidence;
use crate::domain::number::RegistrationPolicy;
use crate::http::problem::Problem;
use crate::storage::{country, database};

/// `/v1/countries`
pub struct Api;

/// What applies to messages in a country: what sources say, unless the project has a rule of its
/// own.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Country {
    /// ISO 3166-1 alpha-2.
    iso2: String,
    name: String,
    /// Whether messages go both ways there. Left out if that is not known.
    two_way: Option<bool>,
    /// The same for an ordinary number (long code).
    two_way_long_code: Option<bool>,
    /// The types of numbers that can carry messages, as the carrier lists them.
    number_types: Vec<String>,
    registration_policy: RegistrationPolicy,
    /// What the sources say about registration.
    registration: String,
    registration_detail: Option<String>,
    sources: Vec<String>,
    confidence: Option<Confidence>,
    /// When the newest dated source was published.
    as_of: Option<NaiveDate>,
    /// Why the project has a rule of its own.
    note: Option<String>,
    /// When the project set a rule of its own.
    changed_at: Option<DateTime<Utc>>,
}

/// A rule of the project's own. A field that is left out stays as it is. Null removes it, so that
/// what sources say applies.
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
        state: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Country>>, Problem> {
        let (cursor, limit) = (List::<Country>::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(
            country::list(&mut *state.storage.connection().await?, caller.reader(), cursor, limit).await?,
        )))
    }

    /// Read a country
    #[oai(path = "/countries/:iso2", method = "get", operation_id = "get_country")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller, iso2: Path<String>) -> Result<Json<Country>, Problem> {
        let iso2 = iso2.to_ascii_uppercase();
        let found = country::find(&mut *state.storage.connection().await?, caller.reader(), &iso2).await?;
        Ok(Json(found.ok_or_else(|| Problem::not_found("country"))?.into()))
    }

    /// Set the project's own rule for a country
    ///
    /// It applies to the project's numbers at once: messages that wait for a registration are sent
    /// if none is required any more.
    #[oai(path = "/countries/:iso2", method = "patch", operation_id = "set_country_policy")]
    async fn set_policy(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        iso2: Path<String>,
        body: Json<CountryChanges>,
    ) -> Result<Json<Country>, Problem> {
        let project_id = caller.writer()?;
        let iso2 = iso2.to_ascii_uppercase();
        if country::find(&mut *state.storage.connection().await?, project_id, &iso2).await?.is_none() {
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
        change("registration_policy", value_of(registration_policy, |policy| policy.as_str().into()));
        if let MaybeUndefined::Value(note) = &note {
            visible("note", Some(note), "set it to null to have none")?;
        }
        change("note", value_of(note, Value::from));
        let (storage, code, changed) = (&state.storage, &iso2, &changes);
        let rule = || async move {
            let mut transaction = storage.transaction().await?;
            let ruled = country::rule(&mut transaction, project_id, code, changed).await;
            database::end(transaction, ruled).await
        };
        database::retry_on_deadlock(rule).await?;
        // Held messages may be sent now.
        state.storage.notifier().notify(crate::domain::job::JobKind::Delivery);
        let found = country::find(&mut *state.storage.connection().await?, project_id, &iso2).await?;
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
