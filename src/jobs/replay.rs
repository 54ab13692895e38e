//! Processes what is in quarantine again, as if it came now, for example after its number was
//! attached.
//!
//! docs/decisions/034-backfill-and-quarantine.md has the reasons.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::carriers::message::{Listing, StatusNotice};
use crate::carriers::webhook::WebhookRequest;
use crate::carriers::{Carrier, Carriers};
use crate::channels;
use crate::domain::carrier_account::CarrierAccount;
use crate::domain::delivery::{ReportOutcome, ReportRejectReason};
use crate::domain::job::JobKind;
use crate::domain::quarantine::{QuarantineKind, ReplayOutcome};
use crate::jobs::ingest::{Ingest, NotIngested};
use crate::storage::carrier_account::{AccountError, Accounts};
use crate::storage::ingest::{InboundMessage, IngestOutcome};
use crate::storage::quarantine::{self, WholeItem};
use crate::storage::{Storage, database, delivery};

/// How long a message may take to be stored.
const STORED_WITHIN: Duration = Duration::from_secs(10);

/// Processes items of the quarantine again.
#[derive(Clone, Copy)]
pub struct Replay<'a> {
    pub storage: &'a Storage,
    pub ingest: &'a Ingest,
    pub accounts: &'a Accounts,
    pub carriers: &'a Carriers,
}

/// The outcome of a replay, and the reason if the item stays in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    pub outcome: ReplayOutcome,
    pub reason: Option<String>,
}

impl Replayed {
    const fn done(outcome: ReplayOutcome) -> Self {
        Self { outcome, reason: None }
    }

    fn unfit(reason: impl Into<String>) -> Self {
        Self { outcome: ReplayOutcome::Quarantined, reason: Some(reason.into()) }
    }
}

/// Why an item was not processed again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("an item of the kind {0} did not come by a webhook, so it can't be replayed")]
    NotReplayable(QuarantineKind),
    #[error("the project has no carrier account")]
    NoAccount,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    NotIngested(#[from] NotIngested),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Replay<'_> {
    /// Processes an item of a project. An item that was replayed before is left alone, and its
    /// outcome is told. Two replays at the same time store one message, because it has one carrier
    /// id.
    pub async fn item(&self, project_id: Uuid, item: &WholeItem) -> Result<Replayed, ReplayError> {
        if let Some(outcome) = item.replay_outcome {
            return Ok(Replayed::done(outcome));
        }
        if !item.kind.can_be_replayed() {
            return Err(ReplayError::NotReplayable(item.kind));
        }
        let account = self.accounts.of_project(project_id).await?.ok_or(ReplayError::NoAccount)?;
        let replayed = match item.kind {
            QuarantineKind::Inbound => self.message(&account, item).await?,
            QuarantineKind::Status => self.report(&account, item).await?,
            QuarantineKind::SessionState => return Err(ReplayError::NotReplayable(item.kind)),
        };
        if replayed.outcome.is_final() {
            let mut connection = self.storage.connection().await?;
            quarantine::mark_replayed(&mut connection, project_id, item.id, replayed.outcome).await?;
        }
        Ok(replayed)
    }

    async fn message(&self, account: &CarrierAccount, item: &WholeItem) -> Result<Replayed, ReplayError> {
        let message = inbound(self.carriers.of(account), account, item);
        // Ingest would put it into quarantine a second time, if it has no id.
        if let Some(reason) = message.reject_reason {
            return Ok(Replayed::unfit(reason.as_str()));
        }
        let outcome = self.ingest.message(message, Instant::now() + STORED_WITHIN).await?;
        Ok(match outcome {
            IngestOutcome::Stored { .. } => Replayed::done(ReplayOutcome::Stored),
            IngestOutcome::Skipped { .. } => Replayed::done(ReplayOutcome::Skipped),
            IngestOutcome::Duplicate { .. } => Replayed::done(ReplayOutcome::Duplicate),
            IngestOutcome::Quarantined { reason } => Replayed::unfit(reason),
        })
    }

    async fn report(&self, account: &CarrierAccount, item: &WholeItem) -> Result<Replayed, ReplayError> {
        let report = match self.carriers.of(account).parse_status(account, WebhookRequest::of_kept(&item.form)) {
            StatusNotice::NotOfAMessage => return Ok(Replayed::done(ReplayOutcome::Unchanged)),
            StatusNotice::NotUnderstood => return Ok(Replayed::unfit(ReportRejectReason::NotUnderstood.as_str())),
            StatusNotice::Report(report) => channels::report_of_carrier(None, report),
        };
        let (project_id, reported) = (account.project_id, &report);
        let record =
            || async move { delivery::record(&mut *self.storage.connection().await?, project_id, reported).await };
        Ok(match database::retry_on_deadlock(record).await?.outcome {
            ReportOutcome::Moved => {
                self.storage.notifier().notify(JobKind::Delivery);
                Replayed::done(ReplayOutcome::Moved)
            }
            ReportOutcome::Unchanged => Replayed::done(ReplayOutcome::Unchanged),
            ReportOutcome::Unknown => Replayed::unfit(ReportRejectReason::DeliveryUnknown.as_str()),
        })
    }
}

/// The message of an item, as its webhook or the backfill would bring it. It keeps the time at
/// which it came, so that an old START does not undo a newer STOP.
fn inbound(carrier: &dyn Carrier, account: &CarrierAccount, item: &WholeItem) -> InboundMessage {
    let (received, sent_at) = match Listing::of_kept(&item.form) {
        Some(Listing { message, media }) => {
            let sent_at = message.received_at;
            (message.into_inbound(media), sent_at)
        }
        None => (carrier.parse_message(account, WebhookRequest::of_kept(&item.form)), None),
    };
    let sent_at = sent_at.unwrap_or(item.received_at);
    channels::inbound_of_carrier(carrier, account.project_id, received, item.form.clone(), Some(sent_at))
}
