//! The only module with SQL: one module for each noun, one function for each statement. It knows
//! nothing of HTTP, of carriers or of the job runtime.

pub mod active_version;
pub mod agent;
pub mod api_key;
pub mod attachment;
pub mod batcher;
pub mod carrier_account;
pub mod claim_health;
pub mod claim_limits;
mod comments;
mod composite;
pub mod connection_settings;
pub mod consent;
pub mod console;
pub mod country;
pub mod database;
pub mod database_url;
pub mod delivery;
pub mod health;
pub mod inactivity;
pub mod ingest;
pub mod invariant;
pub mod key_rotation;
pub mod message;
pub mod metric_sample;
pub mod migrate_error;
pub mod model;
pub mod model_budget;
pub mod notifier;
pub mod number;
pub mod outbound_limits;
pub mod pagination;
mod passes;
mod planned_message;
pub mod pool;
pub mod project;
pub mod quarantine;
pub mod quiet_hours;
mod reference_data;
mod registration;
pub mod report;
pub mod reporting;
pub mod rollup;
pub mod scheduled_message;
mod schema;
pub mod sending;
pub mod session;
pub mod set_aside;
pub mod since;
pub mod template;
pub mod turn;
pub mod unknown_delivery;
pub mod unreachable;

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use batcher::{Batcher, Waiter};
use health::IngestHealth;
use notifier::Notifier;

/// A handle on the database: a pool, the batches that share commits, and the notifier of workers.
///
/// Cheap to clone. Each part of a process opens its own, so that workers can't starve the
/// webhook of connections.
#[derive(Clone)]
pub struct Storage {
    pool: PgPool,
    notifier: Arc<Notifier>,
    ingest_batches: Batcher<ingest::InboundMessage, ingest::Ingested>,
    ingest_health: IngestHealth,
    turn_batches: Batcher<turn::Settlement, turn::Settled>,
    delivery_batches: Batcher<delivery::Settlement, delivery::Settled>,
}

impl Storage {
    /// Opens the storage; connections are made when they are first needed. Needs a tokio runtime.
    pub fn open(url: &str, max_connections: u32, notifier: Arc<Notifier>) -> Result<Self, sqlx::Error> {
        let pool = database::pool(url, max_connections)?;
        Ok(Self {
            ingest_health: IngestHealth::default(),
            ingest_batches: Batcher::start(pool.clone(), Waiter::Carrier, |connection, messages| {
                Box::pin(ingest::flush(connection, messages))
            }),
            turn_batches: Batcher::start(pool.clone(), Waiter::Contact, |connection, settlements| {
                Box::pin(turn::flush(connection, settlements))
            }),
            delivery_batches: Batcher::start(pool.clone(), Waiter::Nobody, |connection, settlements| {
                Box::pin(delivery::flush(connection, settlements))
            }),
            pool,
            notifier,
        })
    }

    /// The notifier of this process.
    pub fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// Where the results of ingests are recorded, for `/readyz`.
    pub const fn ingest_health(&self) -> &IngestHealth {
        &self.ingest_health
    }

    /// A connection of the pool, for one statement or a few. It goes back to the pool when it is
    /// dropped. Whoever holds one must not wait for another one: all others may be waiting too.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        database::acquire(&self.pool).await
    }

    /// A transaction on a connection of the pool. Dropped without a commit, it is rolled back.
    pub async fn transaction(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        Transaction::begin(database::acquire(&self.pool).await?, None).await
    }

    /// How many connections the pool has open, how many of them are idle, and how many it opens at
    /// most.
    pub fn connections(&self) -> (usize, usize, usize) {
        let whole = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        (whole(self.pool.size()), self.pool.num_idle(), whole(self.pool.options().get_max_connections()))
    }

    /// The pool, for tests and tools that look at rows.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Waits until running statements are done and closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// How often `migrate` begins again after another session held a lock that it needs, such as
/// another `migrate`.
const MIGRATE_TRIES: u32 = 30;

/// Brings the database to this binary's schema: migrations, functions, triggers, views and
/// reference data, all or nothing.
///
/// Errors when the database can't be reached or a migration that was applied differs from ours.
pub async fn migrate(url: &str) -> Result<(), migrate_error::MigrateError> {
    let mut connection = database::open_to_migrate(url).await?;
    let mut tries = 1;
    loop {
        match migrate_once(&mut connection).await {
            Err(error) if error.is_of_a_lock() && tries < MIGRATE_TRIES => {
                tracing::info!(%error, "another session held a lock that migrate needs; migrate will try again");
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            done => break done?,
        }
    }
    reporting::provide_role(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

async fn migrate_once(connection: &mut PgConnection) -> Result<(), migrate_error::MigrateError> {
    let mut transaction = connection.begin().await?;
    sqlx::query_file!("sql/queries/schema/lock.sql").fetch_one(&mut *transaction).await?;
    database::apply_migrations(&mut transaction).await?;
    let installed = schema::install(&mut transaction).await?;
    reporting::install(&mut transaction).await?;
    comments::install(&mut transaction).await?;
    reference_data::load(&mut transaction).await?;
    transaction.commit().await?;
    tracing::debug!(?installed, "functions, triggers and views were installed");
    Ok(())
}

/// A new id: a UUIDv7, so that ids of one process sort by time.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// The name of the constraint that refused a statement, if one did.
pub fn refused_by(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}
