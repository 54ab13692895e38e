//! Countries: whether people there can text and be texted, and what has to be registered. A project
//! may have rules of its own.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::country::Confidence;
use crate::domain::number::RegistrationPolicy;
use crate::storage::number::Number;
use crate::storage::pagination::{Page, rows_to_read};
use crate::storage::registration;

/// What counts for texting in a country, in a project.
#[derive(Debug, Clone)]
pub struct Country {
    /// ISO 3166-1 alpha-2.
    pub iso2: String,
    pub name: String,
    /// Whether any kind of sender can both send and receive there; null when nobody knows.
    pub two_way: Option<bool>,
    /// Whether that is the project's own rule.
    pub two_way_ruled: bool,
    /// The same for an ordinary number.
    pub two_way_long_code: Option<bool>,
    /// Kinds of numbers that the carrier lists as capable of texts.
    pub number_types: Vec<String>,
    pub registration_policy: RegistrationPolicy,
    /// What sources say of registration.
    pub registration: String,
    pub registration_detail: Option<String>,
    /// Who says so.
    pub sources: Vec<String>,
    pub confidence: Option<Confidence>,
    pub as_of: Option<NaiveDate>,
    /// Why the project has a rule of its own.
    pub note: Option<String>,
    /// When it made that rule.
    pub changed_at: Option<DateTime<Utc>>,
}

impl Country {
    /// Who says whether texts go both ways, and since when.
    pub fn source_of_two_way(&self) -> String {
        if self.two_way_ruled {
            let since = self.changed_at.map(|at| format!(" of {}", at.date_naive())).unwrap_or_default();
            let note = self.note.as_deref().map(|note| format!(", {note:?}")).unwrap_or_default();
            return format!("your own rule{since}{note}");
        }
        let as_of = self.as_of.map(|date| format!(", {date}")).unwrap_or_default();
        format!("source: {}{as_of}", self.sources.join(", "))
    }
}

/// A country by its ISO 3166-1 alpha-2 code.
pub async fn find(connection: &mut PgConnection, project_id: Uuid, iso2: &str) -> Result<Option<Country>, sqlx::Error> {
    sqlx::query_file_as!(Country, "sql/queries/country/find.sql", project_id, iso2).fetch_optional(connection).await
}

/// The country of a number, if its digits tell it.
pub async fn of_number(connection: &mut PgConnection, number: &Number) -> Result<Option<Country>, sqlx::Error> {
    match &number.country {
        Some(iso2) => find(connection, number.project_id, iso2).await,
        None => Ok(None),
    }
}

/// The countries of numbers of a project, by their codes.
pub async fn of_numbers(
    connection: &mut PgConnection,
    project_id: Uuid,
    numbers: &[Number],
) -> Result<HashMap<String, Country>, sqlx::Error> {
    let codes: HashSet<&str> = numbers.iter().filter_map(|number| number.country.as_deref()).collect();
    let mut countries = HashMap::new();
    // A project's numbers are of a handful of countries.
    for iso2 in codes {
        let found = find(connection, project_id, iso2).await?;
        countries.extend(found.map(|country| (iso2.to_owned(), country)));
    }
    Ok(countries)
}

/// All countries by their codes, after the one that the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    after: Option<String>,
    limit: u32,
) -> Result<Page<Country>, sqlx::Error> {
    let rows = sqlx::query_file_as!(Country, "sql/queries/country/list.sql", project_id, after, rows_to_read(limit))
        .fetch_all(connection)
        .await?;
    Ok(Page::of(rows, limit, |country: &Country| country.iso2.clone()))
}

/// Writes a project's own rule for a country: what is named of `two_way`, `registration_policy` and
/// `note`. The numbers of the project there follow at once. It locks numbers and then their
/// deliveries, as [`crate::storage::number::settle`] does, so it may be ended by a deadlock. The
/// caller commits.
pub async fn rule(
    connection: &mut PgConnection,
    project_id: Uuid,
    iso2: &str,
    changes: &Map<String, Value>,
) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/country/set_policy.sql", project_id, iso2, Json(changes) as _)
        .execute(&mut *connection)
        .await?;
    let numbers = sqlx::query_file_scalar!("sql/queries/number/attached_in_country.sql", project_id, iso2)
        .fetch_all(&mut *connection)
        .await?;
    registration::settle(connection, &numbers, &registration::Observed::default()).await?;
    // The registration was not read before if none was required.
    registration::check_now(connection, &numbers).await
}
