//! apalis-postgres behind a webhook: `peer-apalis-postgres migrate | serve | work`.

mod serve;
mod signature;
mod work;

use apalis_postgres::{PgPool, PostgresStorage};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The name of the queue.
const QUEUE: &str = "answer";

/// The job: answers a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    message: i64,
}

fn setting(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

async fn database(connections: u32) -> Result<PgPool, Error> {
    let options = PgPoolOptions::new().max_connections(connections);
    Ok(options.connect(&setting("DATABASE_URL")?).await?)
}

async fn migrate() -> Result<(), Error> {
    let pool = database(2).await?;
    PostgresStorage::setup(&pool).await?;
    sqlx::raw_sql(include_str!("../../common/tables.sql")).execute(&pool).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    match std::env::args().nth(1).as_deref() {
        Some("migrate") => migrate().await,
        Some("serve") => serve::run().await,
        Some("work") => work::run().await,
        _ => Err("migrate, serve or work?".into()),
    }
}
