//! What language models may use: the prices of a project, the counters of its sessions and days,
//! and the reservations of requests that run.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::llm_budget::ReservationOutcome;

/// What a request may use at most, and where it counts.
#[derive(Debug, Clone, Copy)]
pub struct ToReserve {
    pub reservation: Uuid,
    pub project_id: Uuid,
    pub session_id: Uuid,
    pub tokens: i64,
    pub cost: i64,
    /// The limits of the session. `None`: no limit.
    pub session_tokens: Option<i64>,
    pub session_cost: Option<i64>,
}

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    pub outcome: ReservationOutcome,
    /// Whether it is the first refusal of the session, or of the project on this day.
    pub is_first: bool,
}

/// Counts the most that a request may use, unless a limit is reached.
pub async fn reserve(connection: &mut PgConnection, to_reserve: ToReserve) -> Result<Reserved, sqlx::Error> {
    let ToReserve { reservation, project_id, session_id, tokens, cost, session_tokens, session_cost } = to_reserve;
    sqlx::query_file_as!(
        Reserved,
        "sql/queries/model/reserve.sql",
        reservation,
        project_id,
        session_id,
        tokens,
        cost,
        session_tokens,
        session_cost
    )
    .fetch_one(connection)
    .await
}

/// What a project pays for a million tokens of a model, in millionths of its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    pub model: String,
    pub input: i64,
    pub cached_input: Option<i64>,
    pub output: i64,
}

/// The prices of a project, in the order of the models' names.
pub async fn prices(connection: &mut PgConnection, project_id: Uuid) -> Result<Vec<PriceRow>, sqlx::Error> {
    sqlx::query_file_as!(PriceRow, "sql/queries/model/prices.sql", project_id).fetch_all(connection).await
}

/// Replaces the prices of a project. No model may be given twice.
pub async fn set_prices(
    connection: &mut PgConnection,
    project_id: Uuid,
    prices: &[PriceRow],
) -> Result<(), sqlx::Error> {
    let models: Vec<&str> = prices.iter().map(|price| price.model.as_str()).collect();
    let inputs: Vec<i64> = prices.iter().map(|price| price.input).collect();
    let cached: Vec<Option<i64>> = prices.iter().map(|price| price.cached_input).collect();
    let outputs: Vec<i64> = prices.iter().map(|price| price.output).collect();
    sqlx::query_file!(
        "sql/queries/model/set_prices.sql",
        project_id,
        &models[..] as &[&str],
        &inputs[..],
        &cached[..] as &[Option<i64>],
        &outputs[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the models of a project used on this day of UTC, and its limits. 0 is no limit.
#[derive(Debug, Clone)]
pub struct UsedToday {
    pub most_tokens: i64,
    pub most_cost: i64,
    pub tokens: i64,
    pub cost: i64,
    /// When the day ends.
    pub resets_at: DateTime<Utc>,
}

/// What the models of a project used today.
pub async fn used_today(connection: &mut PgConnection, project_id: Uuid) -> Result<UsedToday, sqlx::Error> {
    sqlx::query_file_as!(UsedToday, "sql/queries/model/used_today.sql", project_id).fetch_one(connection).await
}

/// A project that has reached its limit of the day.
#[derive(Debug, Clone)]
pub struct Spent {
    /// The project's name.
    pub name: String,
    /// How many requests were not made.
    pub refused: i32,
}

/// The projects that have reached their limit of this day.
pub async fn spent(connection: &mut PgConnection) -> Result<Vec<Spent>, sqlx::Error> {
    sqlx::query_file_as!(Spent, "sql/queries/model/spent.sql").fetch_all(connection).await
}
