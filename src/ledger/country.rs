//! Countries: whether people there can text and be texted; data that operators may correct.

use chrono::NaiveDate;
use sqlx::FromRow;

use super::Ledger;

/// What is known of texting in a country.
#[derive(Debug, Clone, FromRow)]
pub struct Country {
    /// ISO 3166-1 alpha-2.
    pub iso2: String,
    pub name: String,
    /// Whether any kind of sender can both send and receive there; null when nobody knows.
    pub two_way: Option<bool>,
    /// Who says so.
    pub sources: Vec<String>,
    pub as_of: Option<NaiveDate>,
}

/// A country by its ISO 3166-1 alpha-2 code.
pub async fn find(ledger: &Ledger, iso2: &str) -> Result<Option<Country>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/country/find.sql")).bind(iso2).fetch_optional(&ledger.pool).await
}
