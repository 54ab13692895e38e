//! The only room that speaks SQL: a module per noun, a function per statement; it knows neither HTTP nor the carrier nor the queue runtime.

pub mod agent;
pub mod batch;
pub mod beginning;
pub mod carrier_account;
pub mod claims;
mod composite;
pub mod consent;
pub mod country;
pub mod delivery;
pub mod health;
pub mod inbound;
pub mod invariant;
pub mod key;
pub mod medium;
pub mod message;
pub mod number;
pub mod number_finding;
pub mod outbound;
pub mod page;
pub mod project;
mod reference_data;
pub mod room;
pub mod scheduled_message;
mod schema;
pub mod seal;
pub mod session;
pub mod set_aside;
pub mod silence;
pub mod template;
pub mod turn;
pub mod unknown;
pub mod wake;

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::db;
use batch::{Batcher, Patience};
use beginning::{Beginner, Beginnings};
use wake::Wakes;

/// A handle on the truth: a pool, the batches that share commits, and the bells that wake workers.
///
/// Cheap to clone. Each part of a process opens its own, so that workers can't starve the
/// webhook of connections.
#[derive(Clone)]
pub struct Ledger {
    pool: PgPool,
    wakes: Arc<Wakes>,
    intake: Batcher<inbound::Text, inbound::Taken>,
    ingest: health::Ingest,
    turns: Batcher<turn::Settlement, turn::Settled>,
    deliveries: Batcher<delivery::Settlement, delivery::Settled>,
}

impl Ledger {
    /// Opens the ledger; connections are made when they are first needed. Needs a tokio runtime.
    pub fn open(url: &str, max_connections: u32, wakes: Arc<Wakes>) -> Result<Self, sqlx::Error> {
        Self::open_for(url, max_connections, wakes, None)
    }

    /// The same in a process that also runs turns: those of texts that are taken in here begin at once, while it has a place for them.
    pub fn open_beside(
        url: &str,
        max_connections: u32,
        wakes: Arc<Wakes>,
        beginner: Arc<dyn Beginner>,
    ) -> Result<Self, sqlx::Error> {
        Self::open_for(url, max_connections, wakes, Some(Arc::new(Beginnings::new(beginner))))
    }

    fn open_for(
        url: &str,
        max_connections: u32,
        wakes: Arc<Wakes>,
        beginnings: Option<Arc<Beginnings>>,
    ) -> Result<Self, sqlx::Error> {
        let pool = db::pool(url, max_connections)?;
        Ok(Self {
            ingest: health::Ingest::default(),
            intake: Batcher::start(pool.clone(), Patience::Carrier, move |connection, texts| {
                let beginnings = beginnings.clone();
                Box::pin(async move { inbound::flush_somehow(connection, texts, beginnings.as_deref()).await })
            }),
            turns: Batcher::start(pool.clone(), Patience::Person, |connection, settlements| {
                Box::pin(turn::flush(connection, settlements))
            }),
            deliveries: Batcher::start(pool.clone(), Patience::Nobody, |connection, settlements| {
                Box::pin(delivery::flush(connection, settlements))
            }),
            pool,
            wakes,
        })
    }

    /// The bells of this process.
    pub fn wakes(&self) -> &Arc<Wakes> {
        &self.wakes
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

/// How often `migrate` begins again after another session held a lock that it needs, such as another `migrate`.
const MIGRATE_TRIES: u32 = 30;

/// Brings the database to this binary's schema: migrations, functions, triggers, views and reference data, all or nothing.
///
/// Errors when the database can't be reached or a migration that was applied differs from ours.
pub async fn migrate(url: &str) -> Result<(), db::MigrateError> {
    let mut connection = db::open_to_migrate(url).await?;
    let mut tries = 1;
    loop {
        match migrate_once(&mut connection).await {
            Err(error) if error.is_of_a_lock() && tries < MIGRATE_TRIES => {
                tracing::info!(%error, "another session holds a lock that migrate needs; it tries again");
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            done => break done?,
        }
    }
    connection.close().await?;
    Ok(())
}

async fn migrate_once(connection: &mut PgConnection) -> Result<(), db::MigrateError> {
    let mut transaction = connection.begin().await?;
    sqlx::query(include_str!("../../sql/queries/schema/lock.sql")).execute(&mut *transaction).await?;
    db::apply_migrations(&mut transaction).await?;
    let installed = schema::install(&mut transaction).await?;
    reference_data::load(&mut transaction).await?;
    transaction.commit().await?;
    tracing::debug!(?installed, "functions, triggers and views are installed");
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
