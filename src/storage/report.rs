//! Reads the reports of `sql/reports` ([`crate::domain::report`]) from the views of the schema
//! `reporting`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::postgres::types::PgInterval;
use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::report::Report;
use crate::domain::report::moment::Span;

/// A project that a role sees.
#[derive(Debug, Clone, FromRow)]
pub struct SeenProject {
    pub project_id: Uuid,
    pub name: String,
}

/// The time that a report is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub bucket: Span,
}

/// The time now, by the database's clock.
pub async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/report/now.sql").fetch_one(connection).await
}

/// The projects that the role of the connection sees, the oldest first.
pub async fn projects(connection: &mut PgConnection) -> Result<Vec<SeenProject>, sqlx::Error> {
    // The views are installed after the migrations, so the compiler can't check this.
    sqlx::query_as(include_str!("../../sql/queries/report/projects.sql")).fetch_all(connection).await
}

/// The rows of a report, each by the names of its columns. `project_id` leaves one project of those
/// that the role sees. The caller gives a transaction, whose settings are changed.
pub async fn read(
    connection: &mut PgConnection,
    report: &Report,
    range: Range,
    project_id: Option<Uuid>,
) -> Result<Vec<Map<String, Value>>, sqlx::Error> {
    let project = project_id.map(|id| id.to_string()).unwrap_or_default();
    sqlx::query_file!("sql/queries/report/prepare.sql", project).fetch_one(&mut *connection).await?;
    // The condition uses each parameter, because a statement may use some of them only. The
    // statement is from our own file.
    let statement = AssertSqlSafe(format!(
        "select to_jsonb(answer) from ({}) answer where ($1::timestamptz, $2::timestamptz, $3::interval) is not null",
        report.statement
    ));
    let bucket = PgInterval { months: 0, days: 0, microseconds: range.bucket.seconds.saturating_mul(1_000_000) };
    let rows: Vec<sqlx::types::Json<Map<String, Value>>> =
        sqlx::query_scalar(statement).bind(range.from).bind(range.to).bind(bucket).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}
