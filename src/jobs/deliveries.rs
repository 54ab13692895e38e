//! Sends deliveries. Each is committed as `sending`, sent to the carrier once, and settled by the
//! answer. A delivery that the carrier may have accepted is not sent again here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use uuid::Uuid;

use crate::carriers::message::{OutboundMessage, Sent};
use crate::carriers::webhook::WebhookUrls;
use crate::channels;
use crate::domain::bounds;
use crate::domain::carrier_account::CarrierAccount;
use crate::domain::delivery::{DeliveryErrorClass, DeliveryStepSource};
use crate::domain::delivery_settlement::{self, Outcome, Refusal};
use crate::domain::job::JobKind;
use crate::domain::phone_number;
use crate::domain::retry::{self, Retry};
use crate::failpoint;
use crate::jobs::Shared;
use crate::jobs::carrier_calls::CarrierCalls;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::job::Job;
use crate::jobs::spans;
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::delivery;
use crate::storage::delivery::{Claim, Settled, Settlement};
use crate::storage::outbound_limits;
use crate::telemetry::metrics;

/// How long a project's list of countries is cached, as long as its account.
const COUNTRIES_KEPT: Duration = Duration::from_secs(5);

/// Sends deliveries.
pub struct Deliveries {
    carrier: CarrierCalls,
    /// The address at which the carrier reaches us, without a slash at its end.
    public_base: Arc<str>,
    slots: usize,
    lease_seconds: u32,
    /// The country lists of projects that have one, cached for [`COUNTRIES_KEPT`].
    countries: Cache<Uuid, Option<Arc<[String]>>>,
}

impl Deliveries {
    pub(super) fn new(shared: &Shared) -> Self {
        let settings = &shared.context.settings;
        Self {
            carrier: shared.carrier.clone(),
            public_base: shared.context.public_base.as_str().into(),
            slots: usize::from(settings.delivery_slots),
            lease_seconds: settings.lease_seconds,
            countries: Cache::builder().max_capacity(10_000).time_to_live(COUNTRIES_KEPT).build(),
        }
    }

    /// Sends one delivery and settles it.
    #[tracing::instrument(name = "delivery.send", skip_all, fields(project_id = %claim.project_id, session_id = %claim.session_id, message_id = %claim.id, turn_id = claim.turn_id.map(display), attempt = claim.attempt))]
    async fn send(&self, claim: Claim) {
        let (began, span) = (Instant::now(), spans::begin_delivery(&claim));
        failpoint::reach("delivery.after_claim");
        let outcome = match self.refuse_country(&claim).await {
            Some(outcome) => outcome,
            None => self.call(&claim, began).await,
        };
        spans::end_delivery(span, &claim, &outcome);
        self.settle(claim, outcome).await;
    }

    /// Calls the carrier, if the project has an account there.
    async fn call(&self, claim: &Claim, began: Instant) -> Outcome {
        match self.carrier.accounts.of_project(claim.project_id).await {
            // The process may have been suspended since the claim, and another worker may be
            // sending by now. Then the carrier is not called, and the settlement finds out who
            // holds the delivery.
            _ if claim.asked_at.elapsed() > self.lease() / 2 => put_off(
                claim.attempt,
                None,
                refusal(DeliveryErrorClass::Transient, "the worker was held up between the claim and the call"),
            ),
            Ok(Some(account)) => {
                let sent = failpoint::during("delivery.in_call", Box::pin(self.send_to_carrier(&account, claim))).await;
                failpoint::reach("delivery.before_settle");
                metrics::CARRIER_REQUEST_SECONDS.record(&["send"], began.elapsed());
                match account_trouble(&sent) {
                    Some(retry_after) => self.carrier.sends.record_failure(claim.project_id, retry_after),
                    None => self.carrier.sends.record_success(claim.project_id),
                }
                judge(sent, claim.attempt)
            }
            // Nothing was sent, and an operator can repair the account. This process may also not
            // know an account yet that was put a moment ago.
            Ok(None) => put_off(
                claim.attempt,
                None,
                refusal(
                    DeliveryErrorClass::Account,
                    "the project has no carrier account; give it one: PUT /v1/carrier",
                ),
            ),
            Err(error) => {
                put_off(claim.attempt, None, refusal(DeliveryErrorClass::PermanentConfig, &error.to_string()))
            }
        }
    }

    /// The outcome of a message to a country that is not in the project's own list, which applies
    /// to every message. A project without a list has its countries checked when messages are
    /// planned.
    async fn refuse_country(&self, claim: &Claim) -> Option<Outcome> {
        let reading = database::with_timeout(async {
            let mut connection = self.carrier.storage.connection().await?;
            outbound_limits::allowed_countries(&mut connection, claim.project_id).await
        });
        match Box::pin(self.countries.try_get_with(claim.project_id, reading)).await {
            Ok(allowed) => {
                let allowed = allowed?;
                if phone_number::countries(&claim.to).iter().any(|country| allowed.contains(country)) {
                    return None;
                }
                let class = DeliveryErrorClass::CountryNotAllowed;
                metrics::OUTBOUND_REFUSED.count(&[class.as_str()]);
                let detail = format!("{class}: the contact is in none of the project's allowed_countries");
                Some(Outcome::Failed(refusal(class, &detail)))
            }
            // Nothing was sent.
            Err(error) => {
                let error: Arc<sqlx::Error> = error;
                Some(put_off(claim.attempt, None, refusal(DeliveryErrorClass::Transient, &error.to_string())))
            }
        }
    }

    /// Sends the message to its carrier, and waits for the answer while the lease certainly lasts.
    async fn send_to_carrier(&self, account: &CarrierAccount, claim: &Claim) -> Sent {
        let status_url = WebhookUrls::status_of_delivery(&self.public_base, account, claim.id);
        let Claim { id, from, to, body, media_urls, .. } = claim;
        let (pool_id, status_url) = (claim.pool_id.as_deref(), status_url.as_str());
        let message = OutboundMessage { delivery_id: *id, from, pool_id, to, body, media_urls, status_url };
        let time_left = self.lease().mul_f64(0.8).saturating_sub(claim.asked_at.elapsed());
        match tokio::time::timeout(time_left, self.carrier.carriers.of(account).send(account, &message)).await {
            Ok(sent) => sent,
            Err(_) => Sent::Unsure { detail: "no answer within the lease".to_owned() },
        }
    }

    /// Writes the outcome, and retries until the lease ends. If the outcome of an accepted message
    /// is lost, the message must be searched for in the carrier's list.
    async fn settle(&self, claim: Claim, outcome: Outcome) {
        log(&outcome);
        metrics::DELIVERIES.count(&[outcome.as_str()]);
        if matches!(outcome, Outcome::Accepted { .. }) {
            count_accepted(&claim);
        }
        let leaves_pool = leaves_pool(&outcome);
        let until = Instant::now() + self.lease();
        let mut settlement = Settlement { id: claim.id, token: claim.token, outcome };
        loop {
            let error = match delivery::settle(&self.carrier.storage, settlement.clone()).await {
                Ok(settled) => {
                    count_settled(&settlement.outcome, settled);
                    break;
                }
                Err(error) => error,
            };
            tracing::error!(%error, "a delivery could not be settled");
            if error.is_of_the_data()
                && let Some(outcome) = delivery_settlement::instead_of(&settlement.outcome)
            {
                settlement.outcome = outcome;
                continue;
            }
            if Instant::now() > until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if leaves_pool {
            // The settlement made the reconcile job of the number due.
            self.carrier.storage.notifier().notify(JobKind::Number);
        }
    }
}

/// Logs what became of an attempt.
fn log(outcome: &Outcome) {
    match outcome {
        Outcome::Accepted { carrier_id } => tracing::info!(carrier_id, "the carrier accepted a text"),
        // The contact asked for it, so this is no error.
        Outcome::Failed(refusal) if refusal.class == DeliveryErrorClass::OptedOut => {
            tracing::info!(
                code = refusal.code,
                detail = refusal.detail,
                "the carrier refused a text because its contact opted out"
            );
        }
        Outcome::Failed(refusal) if refusal.by.is_none() => tracing::error!(
            class = refusal.class.as_str(),
            detail = refusal.detail,
            "a text failed before the carrier was called"
        ),
        Outcome::PutOff { seconds, refusal } if refusal.by.is_none() => tracing::warn!(
            seconds,
            class = refusal.class.as_str(),
            detail = refusal.detail,
            "a text was put off before the carrier was called; it will be sent later"
        ),
        Outcome::Failed(refusal) => tracing::error!(
            code = refusal.code,
            class = refusal.class.as_str(),
            detail = refusal.detail,
            "the carrier refused a text for good"
        ),
        Outcome::Unknown(refusal) => tracing::error!(
            code = refusal.code,
            detail = refusal.detail,
            "the carrier's answer was lost; the delivery became unknown, and the text was not sent again"
        ),
        Outcome::PutOff { seconds, refusal } => tracing::warn!(
            seconds,
            code = refusal.code,
            class = refusal.class.as_str(),
            detail = refusal.detail,
            "the carrier did not take a text; it will be sent again"
        ),
    }
}

/// Counts the segments of an accepted message, and how long its contact waited for it.
fn count_accepted(claim: &Claim) {
    if let Some(cost) = channels::of_numbers().capabilities().segmentation(&claim.body) {
        metrics::SEGMENTS.add(&[cost.encoding.as_str()], u64::try_from(cost.segments).unwrap_or(0));
    }
    if let Some(since) = claim.text_since {
        metrics::TEXT_TO_REPLY_SECONDS.record(&[], since.elapsed());
    }
}

/// Counts a delivery that has failed for good.
fn count_settled(outcome: &Outcome, settled: Settled) {
    if let (Outcome::Failed(refusal), Settled::Written { .. }) = (outcome, settled) {
        metrics::DELIVERIES_FAILED.count(&[refusal.class.as_str()]);
    }
}

/// The retry-after of the carrier if the answer is a failure of the whole account. A refusal that
/// concerns one number does not count, because the messages of the other numbers can be sent.
fn account_trouble(sent: &Sent) -> Option<Option<f64>> {
    match sent {
        Sent::Accepted { .. } => None,
        Sent::NotReached { .. } | Sent::Unsure { .. } => Some(None),
        Sent::Refused(refused) => {
            (refused.may_pass() && !refused.is_of_one_number).then_some(refused.retry_after_seconds)
        }
    }
}

/// The outcome of a delivery by the answer of the carrier.
fn judge(sent: Sent, attempt: i32) -> Outcome {
    match sent {
        Sent::Accepted { carrier_id } => Outcome::Accepted { carrier_id },
        Sent::Unsure { detail } => Outcome::Unknown(told(DeliveryErrorClass::Ambiguous, &detail)),
        Sent::NotReached { detail } => put_off(attempt, None, told(DeliveryErrorClass::Transient, &detail)),
        Sent::Refused(refused) => {
            let refusal = Refusal { code: refused.code, ..told(refused.class, &refused.detail) };
            if refused.class == DeliveryErrorClass::NotInPool && attempt < retry::MOST_OFFERS {
                // The number left the pool, so it sends the message at once without the pool.
                Outcome::PutOff { seconds: 0.0, refusal }
            } else if refused.may_pass() {
                put_off(attempt, refused.retry_after_seconds, refusal)
            } else if refused.class == DeliveryErrorClass::Ambiguous {
                Outcome::Unknown(refusal)
            } else {
                Outcome::Failed(refusal)
            }
        }
    }
}

/// The delivery is sent again later, or fails after too many attempts.
fn put_off(attempt: i32, retry_after_seconds: Option<f64>, refusal: Refusal) -> Outcome {
    let jitter = f64::from(crate::secret::random_bytes::<1>()[0]) / 1024.0;
    match retry::of_delivery(attempt, retry_after_seconds, jitter) {
        Retry::After { seconds } => Outcome::PutOff { seconds, refusal },
        Retry::GiveUp => Outcome::Failed(refusal),
    }
}

/// Why textback did not call the carrier.
fn refusal(class: DeliveryErrorClass, detail: &str) -> Refusal {
    Refusal { code: None, class, detail: bounds::error(detail), by: None }
}

/// What the call of the carrier told.
fn told(class: DeliveryErrorClass, detail: &str) -> Refusal {
    Refusal { by: Some(DeliveryStepSource::Carrier), ..refusal(class, detail) }
}

/// Whether the carrier said that the number is not in the pool of the message.
fn leaves_pool(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::PutOff { refusal, .. } if refusal.class == DeliveryErrorClass::NotInPool)
}

impl Job for Deliveries {
    type Claim = Claim;
    const KIND: JobKind = JobKind::Delivery;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn concurrency(&self) -> usize {
        self.slots
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }

    fn owner(claim: &Claim) -> Owner {
        Owner::alone(claim.project_id)
    }

    fn circuits(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.sends.not_closed()
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<Claim>, sqlx::Error> {
        delivery::claim(&self.carrier.storage, limits, self.lease_seconds).await
    }

    async fn give_back(&self, claims: Vec<Claim>) -> Result<(), sqlx::Error> {
        let mut transaction = self.carrier.storage.transaction().await?;
        let given_back = delivery::give_back(&mut transaction, &claims).await;
        database::end(transaction, given_back).await?;
        self.carrier.storage.notifier().notify(JobKind::Delivery);
        Ok(())
    }

    async fn run(&self, claim: Claim) {
        self.send(claim).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carriers::message::SendRefusal;

    fn refused(class: DeliveryErrorClass) -> SendRefusal {
        SendRefusal {
            code: None,
            class,
            is_permanent: false,
            is_of_one_number: false,
            detail: "no".to_owned(),
            retry_after_seconds: Some(7.0),
        }
    }

    #[test]
    fn only_a_message_that_the_carrier_certainly_did_not_accept_is_sent_again() {
        let not_reached = Sent::NotReached { detail: String::new() };
        assert!(matches!(judge(not_reached, 1), Outcome::PutOff { .. }));
        assert!(matches!(judge(Sent::Unsure { detail: String::new() }, 1), Outcome::Unknown(_)));
        for class in DeliveryErrorClass::ALL {
            let outcome = judge(Sent::Refused(refused(*class)), 1).as_str();
            let expected = match class {
                DeliveryErrorClass::Throttled
                | DeliveryErrorClass::Transient
                | DeliveryErrorClass::Auth
                | DeliveryErrorClass::Account
                | DeliveryErrorClass::NotInPool => "put_off",
                DeliveryErrorClass::Ambiguous => "unknown",
                DeliveryErrorClass::OptedOut
                | DeliveryErrorClass::PermanentRecipient
                | DeliveryErrorClass::Landline
                | DeliveryErrorClass::PermanentConfig
                | DeliveryErrorClass::Unregistered
                | DeliveryErrorClass::Content
                | DeliveryErrorClass::Unreadable
                | DeliveryErrorClass::ContactLimitReached
                | DeliveryErrorClass::ProjectLimitReached
                | DeliveryErrorClass::CountryNotAllowed => "failed",
            };
            assert_eq!(outcome, expected, "{class}");
        }
        let permanent = SendRefusal { is_permanent: true, ..refused(DeliveryErrorClass::Account) };
        assert!(matches!(judge(Sent::Refused(permanent), 1), Outcome::Failed(_)));
    }

    #[test]
    fn only_a_failure_of_the_whole_account_opens_its_circuit_breaker() {
        let of_one_number = SendRefusal { is_of_one_number: true, ..refused(DeliveryErrorClass::Throttled) };
        let permanent = SendRefusal { is_permanent: true, ..refused(DeliveryErrorClass::Account) };
        for (sent, opens) in [
            (Sent::Refused(refused(DeliveryErrorClass::Throttled)), true),
            (Sent::Refused(refused(DeliveryErrorClass::Auth)), true),
            (Sent::NotReached { detail: String::new() }, true),
            (Sent::Unsure { detail: String::new() }, true),
            (Sent::Refused(of_one_number), false),
            (Sent::Refused(permanent), false),
            (Sent::Refused(refused(DeliveryErrorClass::OptedOut)), false),
            (Sent::Accepted { carrier_id: "1".to_owned() }, false),
        ] {
            assert_eq!(account_trouble(&sent).is_some(), opens, "{sent:?}");
        }
    }

    #[test]
    fn messages_that_were_refused_together_are_not_retried_together() {
        let seconds = |_| match judge(Sent::Refused(refused(DeliveryErrorClass::Throttled)), 1) {
            Outcome::PutOff { seconds, .. } => seconds.to_bits(),
            other => panic!("{other:?}"),
        };
        let times: std::collections::HashSet<u64> = (0..50).map(seconds).collect();
        assert!(times.len() > 10, "{}", times.len());
    }

    #[test]
    fn a_retry_waits_for_the_carriers_retry_after_and_attempts_end() {
        let throttled = || Sent::Refused(refused(DeliveryErrorClass::Throttled));
        assert!(matches!(judge(throttled(), 1), Outcome::PutOff { seconds, .. } if seconds >= 7.0));
        assert!(matches!(judge(throttled(), retry::MOST_OFFERS), Outcome::Failed(_)));
    }
}
