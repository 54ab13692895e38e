//! The metrics that are counted in the database. One process at a time counts, and all processes
//! read its counts. More processes and scrapers thus cost nothing more.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};

use crate::domain::job::JobKind;
use crate::domain::metric_sample::{SampleKind, pause_after};
use crate::domain::quarantine::QuarantineKind;
use crate::domain::session::{Channel, SessionStatus};
use crate::storage::{Storage, database};

/// How long a process may count before another one may begin.
const COUNTS_WITHIN_SECONDS: f64 = 60.0;
/// How many rows of each kind of work are counted at most.
const MOST_DUE: i64 = 100_000;
/// How many sessions are counted at most.
const MOST_SESSIONS: i64 = 1_000_000;

/// A sample, as it is stored.
#[derive(Debug, Clone, FromRow)]
pub struct Sample {
    pub name: SampleKind,
    /// `None` until the first count ends.
    pub counts: Option<Json<Value>>,
    /// How many seconds ago it was taken, by the database's clock.
    pub age_seconds: Option<f64>,
    /// Whether a process may take it again.
    pub is_due: bool,
}

/// The work of a kind that could be claimed, and for how many seconds the oldest could have been.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DueWork {
    pub kind: JobKind,
    pub due: i64,
    pub seconds: f64,
}

/// The sample `queues`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queues {
    pub due: Vec<DueWork>,
    pub unknown_deliveries: i64,
    pub oldest_unknown_seconds: f64,
    pub quarantine: Vec<(QuarantineKind, i64)>,
    pub set_aside: i64,
    /// How many seconds ago the last hour ended whose rollups are final. `None`: another version
    /// counted.
    #[serde(default)]
    pub rollup_lag_seconds: Option<f64>,
}

/// How many sessions of a channel have a status. The sample `sessions` is a list of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionCount {
    pub channel: Channel,
    pub status: SessionStatus,
    pub sessions: i64,
}

/// Reads the samples, and takes those that are due if no other process does.
pub async fn refresh(storage: &Storage) -> Result<Vec<Sample>, sqlx::Error> {
    let stored = read(storage).await?;
    let is_due =
        |kind: &SampleKind| stored.iter().find(|sample| sample.name == *kind).is_none_or(|sample| sample.is_due);
    let due: Vec<SampleKind> = SampleKind::ALL.iter().copied().filter(is_due).collect();
    if due.is_empty() {
        return Ok(stored);
    }
    for kind in due {
        take(storage, kind).await?;
    }
    read(storage).await
}

async fn read(storage: &Storage) -> Result<Vec<Sample>, sqlx::Error> {
    database::with_timeout(async {
        let mut connection = storage.connection().await?;
        sqlx::query_file_as!(Sample, "sql/queries/metric_sample/read.sql").fetch_all(&mut *connection).await
    })
    .await
}

/// Takes a sample, unless another process is faster. No transaction is open while it counts.
async fn take(storage: &Storage, kind: SampleKind) -> Result<(), sqlx::Error> {
    let mut connection = storage.connection().await?;
    let claiming = sqlx::query_file!("sql/queries/metric_sample/claim.sql", kind.as_str(), COUNTS_WITHIN_SECONDS)
        .fetch_optional(&mut *connection);
    if database::with_timeout::<_, sqlx::Error, _>(claiming).await?.is_none() {
        return Ok(());
    }
    let began = Instant::now();
    let counting = async {
        match kind {
            SampleKind::Queues => Ok(serde_json::to_value(queues(&mut connection).await?)),
            SampleKind::Sessions => Ok(serde_json::to_value(sessions(&mut connection).await?)),
        }
    };
    let counts = database::with_timeout::<_, sqlx::Error, _>(counting).await?;
    let counts = counts.map_err(|error| sqlx::Error::Encode(error.into()))?;
    store(&mut connection, kind, counts, pause_after(began.elapsed())).await
}

async fn store(
    connection: &mut PgConnection,
    kind: SampleKind,
    counts: Value,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    let (counts, pause) = (Json(counts), pause.as_secs_f64());
    let storing = sqlx::query_file!("sql/queries/metric_sample/store.sql", kind.as_str(), counts as _, pause);
    database::with_timeout(storing.execute(connection)).await?;
    Ok(())
}

/// Counts the work that could be claimed, and what waits for an operator.
pub async fn queues(connection: &mut PgConnection) -> Result<Queues, sqlx::Error> {
    let due = sqlx::query_file_as!(DueWork, "sql/queries/metric_sample/count_queues.sql", MOST_DUE)
        .fetch_all(&mut *connection)
        .await?;
    let unsettled =
        sqlx::query_file!("sql/queries/metric_sample/count_unsettled.sql", MOST_DUE).fetch_one(connection).await?;
    Ok(Queues {
        due,
        unknown_deliveries: unsettled.unknown_deliveries,
        oldest_unknown_seconds: unsettled.oldest_unknown_seconds,
        quarantine: vec![
            (QuarantineKind::Inbound, unsettled.inbound),
            (QuarantineKind::Status, unsettled.status),
            (QuarantineKind::SessionState, unsettled.session_state),
        ],
        set_aside: unsettled.set_aside,
        rollup_lag_seconds: unsettled.rollup_lag_seconds,
    })
}

/// Counts the sessions that are not closed.
pub async fn sessions(connection: &mut PgConnection) -> Result<Vec<SessionCount>, sqlx::Error> {
    sqlx::query_file_as!(SessionCount, "sql/queries/metric_sample/count_sessions.sql", MOST_SESSIONS)
        .fetch_all(connection)
        .await
}
