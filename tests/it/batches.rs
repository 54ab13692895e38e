//! Natural batching over a real pool: what waits shares a flush, a lane keeps no connection that is broken, and a database that is away is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use textback::ledger::batch::{BatchError, Batcher};
use tokio::sync::Semaphore;

use crate::harness::World;

#[tokio::test]
async fn what_waits_during_a_flush_shares_the_next_one() {
    let world = World::new().await;
    let flushes = Arc::new(AtomicUsize::new(0));
    let disk = Arc::new(Semaphore::new(0));
    let batcher: Batcher<usize, usize> = Batcher::start(world.ledger.pool().clone(), {
        let (flushes, disk) = (flushes.clone(), disk.clone());
        move |_, items| {
            let (flushes, disk) = (flushes.clone(), disk.clone());
            Box::pin(async move {
                flushes.fetch_add(1, Ordering::SeqCst);
                disk.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?.forget();
                Ok(items.into_iter().map(|item| item * 10).collect())
            })
        }
    });
    let submitted: Vec<_> = (0..50)
        .map(|item| {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.submit(item).await })
        })
        .collect();
    disk.add_permits(50);
    for (item, task) in submitted.into_iter().enumerate() {
        assert_eq!(task.await.expect("no panic").expect("flushed"), item * 10);
    }
    assert!(flushes.load(Ordering::SeqCst) < 50, "{flushes:?} flushes for 50 items");
}

#[tokio::test]
async fn a_lane_whose_connection_was_cut_gets_another_one() {
    let world = World::new().await;
    let batcher: Batcher<i32, i32> = Batcher::start(world.ledger.pool().clone(), |connection, items| {
        Box::pin(async move {
            sqlx::query_scalar("select unnest($1::integer[]) * 10").bind(items).fetch_all(connection).await
        })
    });
    assert_eq!(batcher.submit(1).await.expect("flushed"), 10);
    let others = "select count(*) from (select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()) cut";
    assert!(world.count(others).await > 0);
    // Who comes in that moment may hear of it, of each connection that was in use just before once at most.
    let mut heard = 0;
    while batcher.submit(2).await.is_err() {
        heard += 1;
        assert!(heard <= 10, "a broken connection is not thrown away");
    }
    assert_eq!(batcher.submit(3).await.expect("flushed"), 30);
}

#[tokio::test]
async fn a_database_that_is_away_is_told_to_everybody_who_waits() {
    let nobody =
        textback::ledger::Ledger::open("postgres://nobody@127.0.0.1:9/none", 1, Arc::default()).expect("a ledger");
    let batcher: Batcher<u8, u8> = Batcher::start(nobody.pool().clone(), |_, items| Box::pin(async move { Ok(items) }));
    assert!(matches!(batcher.submit(1).await, Err(BatchError::Database(_))));
}
