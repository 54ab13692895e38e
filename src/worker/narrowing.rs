//! A claim that the data of some row makes fail is tried again with fewer rows, until that row is found and set aside; it decides what
//! no row is to blame for by the error alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use super::queue::Source;
use crate::db;
use crate::ledger::room::Room;
use crate::ledger::set_aside;

/// How often a row alone must be met when the server has no memory, before the row is blamed: it may be what else the server does.
const TIMES_WITHOUT_MEMORY: u32 = 3;

/// What is known of the rows of one kind of work, one of which makes claims fail.
#[derive(Default)]
pub(super) struct Narrowing(Mutex<Suspects>);

#[derive(Default)]
struct Suspects {
    /// Each is claimed by itself, the last one first.
    groups: Vec<Vec<Uuid>>,
    /// How often a row alone met a server without memory.
    without_memory: HashMap<Uuid, u32>,
}

impl Narrowing {
    /// One claim: of all that is due, or of some suspects. The claims, and whether there are suspects left, who are claimed next.
    ///
    /// Errors when no row is to blame, or nobody can tell which.
    pub(super) async fn claim<S: Source>(&self, source: &S, room: Room) -> Result<(Vec<S::Claim>, bool), sqlx::Error> {
        let health = source.ledger().wakes().claims();
        let group = self.suspects().groups.pop();
        let barred = room.owners.full();
        let most = room.most;
        let claiming = source.claim(Room { only: group.clone(), ..room });
        let error = match db::patiently(claiming).await {
            Ok(claims) => {
                health.succeeded(S::WORK);
                return Ok((claims, !self.suspects().groups.is_empty()));
            }
            Err(error) => error,
        };
        health.failed_at(S::WORK, Instant::now());
        metrics::counter!("textback_claim_failures_total", "work" => S::WORK.word()).increment(1);
        if !db::is_of_the_data(&error) {
            self.suspects().groups.clear();
            return Err(error);
        }
        match group.as_deref() {
            None => {
                tracing::warn!(%error, work = S::WORK.word(), "some row makes the claim fail; it is looked for");
                let due = db::patiently(set_aside::due(source.ledger(), S::WORK, most, &barred)).await?;
                if due.is_empty() {
                    return Err(error);
                }
                self.suspects().groups.push(due);
            }
            Some(&[row]) => self.blame(source, row, error).await?,
            Some(rows) => {
                let (first, second) = rows.split_at(rows.len() / 2);
                self.suspects().groups.extend([second.to_vec(), first.to_vec()]);
            }
        }
        Ok((Vec::new(), true))
    }

    /// Sets the row aside that can't be claimed alone.
    async fn blame<S: Source>(&self, source: &S, row: Uuid, error: sqlx::Error) -> Result<(), sqlx::Error> {
        if db::is_out_of_memory(&error) {
            let mut suspects = self.suspects();
            let times = suspects.without_memory.entry(row).or_default();
            *times += 1;
            if *times < TIMES_WITHOUT_MEMORY {
                return Err(error);
            }
        }
        self.suspects().without_memory.remove(&row);
        let setting_aside = set_aside::set_aside(source.ledger(), S::WORK, row, None, &error);
        match db::patiently(setting_aside).await {
            Ok(true) => Ok(()),
            // Somebody else holds it: it is met again, after a rest.
            Ok(false) => Err(error),
            Err(cause) => {
                tracing::error!(error = %cause, work = S::WORK.word(), %row, "a row that can't be claimed could not be set aside");
                Err(cause)
            }
        }
    }

    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
