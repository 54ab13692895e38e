//! Countries: whether people there can text and be texted, and what has to be registered; data that a project may correct for itself.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::storage::Storage;
use crate::storage::database;
use crate::storage::number::Number;
use crate::storage::pagination::Page;

/// What counts for texting in a country, in a project.
#[derive(Debug, Clone, FromRow)]
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
    /// `required`, `advised`, `none` or `unknown`.
    pub registration_policy: String,
    /// What sources say of registration.
    pub registration: String,
    pub registration_detail: Option<String>,
    /// Who says so.
    pub sources: Vec<String>,
    pub confidence: Option<String>,
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
pub async fn find(storage: &Storage, project_id: Uuid, iso2: &str) -> Result<Option<Country>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/country/find.sql"))
        .bind(project_id)
        .bind(iso2)
        .fetch_optional(&storage.pool)
        .await
}

/// The countries of numbers, by their codes.
pub async fn of_numbers(
    storage: &Storage,
    project_id: Uuid,
    numbers: &[Number],
) -> Result<HashMap<String, Country>, sqlx::Error> {
    let codes: HashSet<&str> = numbers.iter().filter_map(|number| number.country.as_deref()).collect();
    let mut countries = HashMap::new();
    // A project's numbers are of a handful of countries.
    for iso2 in codes {
        countries.extend(find(storage, project_id, iso2).await?.map(|country| (iso2.to_owned(), country)));
    }
    Ok(countries)
}

/// All countries by their codes, after the one named by the cursor.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    after: Option<String>,
    limit: u32,
) -> Result<Page<Country>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/country/list.sql"))
        .bind(project_id)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |country: &Country| country.iso2.clone()))
}

/// Writes a project's own rule for a country: what is named of `two_way`, `registration_policy` and `note`. Its numbers
/// there follow at once.
pub async fn rule(
    storage: &Storage,
    project_id: Uuid,
    iso2: &str,
    changes: &Map<String, Value>,
) -> Result<(), sqlx::Error> {
    // It locks numbers and then their texts: see number::settle.
    database::retry_on_deadlock(|| {
        sqlx::query(include_str!("../../sql/queries/country/set_policy.sql"))
            .bind(project_id)
            .bind(iso2)
            .bind(Json(changes))
            .execute(&storage.pool)
    })
    .await?;
    Ok(())
}
