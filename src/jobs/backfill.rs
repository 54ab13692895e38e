//! Texts whose webhook never came: read back from the carrier's list, and entered like any other; it answers none of them.

use std::time::{Duration, Instant};

use apalis_core::error::BoxDynError;
use apalis_core::task::data::Data;
use chrono::TimeDelta;
use uuid::Uuid;

use crate::carriers::twilio::client::{CarrierError, Listed};
use crate::carriers::twilio::webhooks::InboundText;
use crate::domain::carrier_account::Account;
use crate::domain::consent::Keyword;
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::jobs::CarrierCalls;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::queue::{JobSource, Leased, claim_at_once};
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::ingest::{self, Attachment, IngestOutcome, Text};
use crate::storage::number::{self, ReadBack};

/// What came shortly before the last text that is known is read again: lists are not in the order of arrival.
const OVERLAP: TimeDelta = TimeDelta::minutes(5);

/// How long a text may take to be stored. One that takes longer is read back again.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Reads back the texts of numbers.
#[derive(Clone)]
pub struct InboundBackfill {
    carrier: CarrierCalls,
    every_seconds: u32,
}

impl InboundBackfill {
    /// A listener that reads each number's list every so many seconds.
    pub(super) fn new(carrier: CarrierCalls, every_seconds: u32) -> Self {
        Self { carrier, every_seconds }
    }

    /// Reads back all numbers that are due; says how many there were. This is what the worker does,
    /// without the worker: for tests.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        let claims = claim_at_once(self, 64).await?;
        for claim in &claims {
            self.read_back(claim).await;
        }
        Ok(claims.len())
    }

    #[tracing::instrument(name = "number.read_back", skip_all, fields(number_id = %claim.id))]
    async fn read_back(&self, claim: &ReadBack) {
        let account = match self.carrier.accounts.of_project(claim.project_id).await {
            Ok(Some(account)) => account,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "the carrier account can't be opened"),
        };
        let since = claim.backfilled_until - OVERLAP;
        let listed = self.carrier.client.list_received(&account, &claim.number, since).await;
        self.carrier.note(claim.project_id, &listed);
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return tracing::warn!(%error, "inbound texts can't be read back; again later"),
        };
        let mut newest = claim.backfilled_until;
        let ours = |message: &&Listed| message.created_at().is_some_and(|at| at >= claim.attached_at);
        let listed: Vec<&Listed> = listed.iter().rev().filter(ours).collect();
        let sids: Vec<&str> = listed.iter().map(|message| message.sid.as_str()).collect();
        // Nearly all are known, and a busy number has many: they are not entered to find that out.
        let unrecorded =
            match database::with_timeout(ingest::unrecorded(&self.carrier.storage, claim.project_id, &sids)).await {
                Ok(unrecorded) => unrecorded,
                Err(error) => return tracing::warn!(%error, "what is known can't be read; again later"),
            };
        let mut behind = false;
        for message in listed {
            if unrecorded.contains(&message.sid)
                && let Err(error) = self.take_in(&account, message).await
            {
                // The others must not wait for it; how far texts are known stays before it, so that it is tried again.
                tracing::warn!(error, carrier_sid = message.sid, "a text could not be read back; again later");
                metrics::counter!("textback_read_back_total", "result" => "failed").increment(1);
                behind = true;
            } else if !behind {
                newest = newest.max(message.created_at().unwrap_or(newest));
            }
        }
        if newest > claim.backfilled_until
            && let Err(error) =
                database::with_timeout(number::mark_backfilled(&self.carrier.storage, claim.id, newest)).await
        {
            tracing::warn!(%error, "how far texts are known could not be written; they are read again");
        }
    }

    async fn take_in(&self, account: &Account, message: &Listed) -> Result<(), String> {
        let media = match message.has_media() {
            true => match self.carrier.client.list_media(account, &message.sid).await {
                Ok(media) => media,
                // They are gone, or not for us: the words are answered all the same.
                Err(CarrierError::Refused { status, .. }) if status != 429 && status < 500 => Vec::new(),
                Err(error) => return Err(error.to_string()),
            },
            false => Vec::new(),
        };
        let form = message.webhook_form(&account.account_sid, &media);
        let text = InboundText::read(&form, &account.account_sid);
        let keyword = Keyword::of(&text.body);
        let taking = ingest::take_in(
            &self.carrier.storage,
            Text {
                project_id: account.project_id,
                carrier_sid: text.sid,
                to: text.to,
                from: text.from,
                body: text.body,
                media: text
                    .media
                    .into_iter()
                    .map(|(url, content_type)| Attachment::at(url, Some(content_type)))
                    .collect(),
                form: form.encode().into_bytes(),
                misfit: text.misfit,
                keyword,
                said_at: message.created_at(),
            },
            Instant::now() + TAKEN_WITHIN,
        );
        let taken = failpoint::during("read_back.in_commit", taking).await.map_err(|error| error.to_string())?;
        if let IngestOutcome::Stored { session_id, .. } | IngestOutcome::Noted { session_id, .. } = &taken {
            tracing::warn!(%session_id, carrier_sid = message.sid, "a text whose webhook never came was read back");
        }
        metrics::counter!("textback_read_back_total", "result" => taken.word()).increment(1);
        Ok(())
    }
}

impl JobSource for InboundBackfill {
    type Claim = ReadBack;
    const WORK: JobKind = JobKind::Backfill;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn owner(claim: &ReadBack) -> Owner {
        Owner::alone(claim.project_id)
    }

    fn gates(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.reads.gates()
    }

    async fn claim(&self, room: ClaimLimits) -> Result<Vec<ReadBack>, sqlx::Error> {
        number::claim_read_back(&self.carrier.storage, room, self.every_seconds).await
    }

    /// Nothing to give back: each is due again soon, and no text is lost by then.
    async fn give_back(&self, _: Vec<ReadBack>) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

/// The worker's function. What failed is due again, so this never fails.
pub(super) async fn work(seated: Leased<ReadBack>, listener: Data<InboundBackfill>) -> Result<(), BoxDynError> {
    let (claim, _seat) = seated.into_parts();
    listener.read_back(&claim).await;
    Ok(())
}
