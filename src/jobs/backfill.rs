//! Backfills inbound messages whose webhook never came: reads them from the carrier's list and
//! stores them like any other message.
//!
//! docs/decisions/034-backfill-and-quarantine.md has the reasons.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use tracing::field::display;
use uuid::Uuid;

use crate::carriers::message::{InboundMedia, Listing, ReceivedMessage};
use crate::channels;
use crate::domain::carrier_account::CarrierAccount;
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::jobs::Shared;
use crate::jobs::carrier_calls::CarrierCalls;
use crate::jobs::ingest::Ingest;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::job::Job;
use crate::jobs::runtime::local_queue::LocalQueue;
use crate::jobs::turns::Turns;
use crate::repeating::Repeating;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::ingest::{self, IngestOutcome};
use crate::storage::number::{self, BackfillClaim};
use crate::telemetry::metrics;

/// How many numbers are backfilled at a time.
const SLOTS: usize = 8;

/// Lists are not in the order of arrival, so the messages shortly before the last known one are
/// read again.
const OVERLAP: TimeDelta = TimeDelta::minutes(5);

/// How long a message may take to be stored. If it takes longer, a later backfill finds it.
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// Failures to read a carrier account or to decrypt its secrets. Logged once per cause, because a
/// wrong key makes all numbers fail.
static NOT_OPENED: Repeating = Repeating::new();

/// Backfills the messages of numbers.
pub struct InboundBackfill {
    carrier: CarrierCalls,
    ingest: Ingest,
    every_seconds: u32,
}

impl InboundBackfill {
    /// Messages whose turns run in `turns` if it has a free slot.
    pub(super) fn new(shared: &Shared, turns: &LocalQueue<Turns>) -> Self {
        let carrier = shared.carrier.clone();
        let ingest = Ingest::with_turns(carrier.storage.clone(), turns.clone(), shared.tasks.clone());
        Self { carrier, ingest, every_seconds: shared.context.settings.read_back_seconds }
    }

    #[tracing::instrument(name = "number.backfill", skip_all, fields(project_id = %claim.project_id, number_id = %claim.id))]
    async fn backfill(&self, claim: &BackfillClaim) {
        let account = match self.carrier.accounts.of_project(claim.project_id).await {
            Ok(Some(account)) => account,
            Ok(None) => return,
            Err(error) => {
                if let Some(times) = NOT_OPENED.observe("", &error.to_string()) {
                    tracing::warn!(%error, times, "the carrier account could not be opened");
                }
                return;
            }
        };
        let carrier = self.carrier.carriers.of(&account);
        if !carrier.capabilities().lists_received {
            return;
        }
        let since = claim.backfilled_until - OVERLAP;
        let listed = carrier.list_received(&account, &claim.number, since).await;
        self.carrier.record_read(claim.project_id, &listed);
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                return tracing::warn!(%error, "inbound messages could not be listed; they will be backfilled later");
            }
        };
        let mut newest = claim.backfilled_until;
        let ours = |message: &&ReceivedMessage| message.received_at.is_some_and(|at| at >= claim.attached_at);
        let listed: Vec<&ReceivedMessage> = listed.iter().rev().filter(ours).collect();
        let sids: Vec<&str> = listed.iter().map(|message| message.carrier_id.as_str()).collect();
        // A busy number has many messages, and nearly all are recorded. Only the others are stored.
        let reading = async {
            let mut connection = self.carrier.storage.connection().await?;
            ingest::unrecorded(&mut connection, claim.project_id, &sids).await
        };
        let unrecorded = match database::with_timeout::<_, sqlx::Error, _>(reading).await {
            Ok(unrecorded) => unrecorded,
            Err(error) => {
                return tracing::warn!(%error, "recorded messages could not be read; the number will be backfilled later");
            }
        };
        let mut behind = false;
        for message in listed {
            if unrecorded.contains(&message.carrier_id)
                && let Err(error) = self.store(&account, message).await
            {
                // The other messages are stored all the same. The watermark stays before this one,
                // so that the next backfill tries it again.
                tracing::warn!(
                    error,
                    carrier_id = message.carrier_id,
                    "a message could not be backfilled; it will be tried again"
                );
                metrics::BACKFILLED.count(&["failed"]);
                behind = true;
            } else if !behind {
                newest = newest.max(message.received_at.unwrap_or(newest));
            }
        }
        if newest <= claim.backfilled_until {
            return;
        }
        let marking = async {
            let mut connection = self.carrier.storage.connection().await?;
            number::mark_backfilled(&mut connection, claim.id, newest).await
        };
        if let Err(error) = database::with_timeout::<_, sqlx::Error, _>(marking).await {
            tracing::warn!(%error, "the watermark of the backfill could not be written; its messages will be read again");
        }
    }

    async fn store(&self, account: &CarrierAccount, message: &ReceivedMessage) -> Result<(), String> {
        let media = self.media_of(account, message).await?;
        let listing = Listing { message: message.clone(), media };
        let form = serde_json::to_vec(&listing).map_err(|error| error.to_string())?;
        let inbound = listing.message.into_inbound(listing.media);
        let carrier = self.carrier.carriers.of(account);
        let inbound = channels::inbound_of_carrier(carrier, account.project_id, inbound, form, message.received_at);
        let storing = self.ingest.message(inbound, Instant::now() + STORED_WITHIN);
        let outcome = failpoint::during("backfill.in_commit", storing).await.map_err(|error| error.to_string())?;
        if let IngestOutcome::Stored { session_id, message_id, .. }
        | IngestOutcome::Skipped { session_id, message_id, .. } = &outcome
        {
            let turn_id =
                if let IngestOutcome::Stored { turn_id, .. } = &outcome { turn_id.map(display) } else { None };
            let carrier_id = message.carrier_id.as_str();
            tracing::warn!(%session_id, %message_id, turn_id, carrier_id, "a message whose webhook never came was backfilled");
        }
        metrics::BACKFILLED.count(&[outcome.as_str()]);
        Ok(())
    }

    /// The attachments of a message. If the carrier refuses to list them, the message is stored
    /// without attachments.
    async fn media_of(&self, account: &CarrierAccount, message: &ReceivedMessage) -> Result<Vec<InboundMedia>, String> {
        if !message.has_media {
            return Ok(Vec::new());
        }
        match self.carrier.carriers.of(account).list_media(account, &message.carrier_id).await {
            Ok(media) => Ok(media),
            Err(error) if error.kind.is_trouble() => Err(error.to_string()),
            Err(_) => Ok(Vec::new()),
        }
    }
}

impl Job for InboundBackfill {
    type Claim = BackfillClaim;
    const KIND: JobKind = JobKind::Backfill;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn concurrency(&self) -> usize {
        SLOTS
    }

    fn owner(claim: &BackfillClaim) -> Owner {
        Owner::alone(claim.project_id)
    }

    fn circuits(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.reads.not_closed()
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<BackfillClaim>, sqlx::Error> {
        number::claim_backfill(&self.carrier.storage, limits, self.every_seconds).await
    }

    /// Nothing to give back: each number is due again soon, and the carrier keeps its messages.
    async fn give_back(&self, _: Vec<BackfillClaim>) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn run(&self, claim: BackfillClaim) {
        self.backfill(&claim).await;
    }
}
