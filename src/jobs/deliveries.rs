//! Deliveries: each is committed as `sending`, handed to the carrier once, and settled by what it said; unsure ones are never sent again from here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis_core::error::BoxDynError;
use apalis_core::task::data::Data;
use moka::future::Cache;
use uuid::Uuid;

use crate::agents::countries_of;
use crate::carriers::twilio::client::{Outgoing, WebhookUrls};
use crate::carriers::twilio::numbers::OVERRIDES;
use crate::carriers::twilio::{ErrorClass, Sent};
use crate::domain::bounds;
use crate::domain::carrier_account::Account;
use crate::domain::job::JobKind;
use crate::failpoint;
use crate::jobs::CarrierCalls;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::Owner;
use crate::jobs::runtime::queue::{JobSource, Leased, claim_at_once};
use crate::storage::Storage;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::delivery;
use crate::storage::delivery::{Claim, Outcome, Refusal, Settlement};
use crate::storage::outbound_limits;

/// How often a text is offered to a carrier that certainly did not take it: with the backoff below, for some twelve
/// hours. An outage or a wrong credential is mended by then, and an older answer helps nobody.
const MOST_ATTEMPTS: i32 = 150;

/// The error class of a message to a country that is not allowed.
const COUNTRY: &str = "country_not_allowed";

/// How long a project's list of countries is cached, as long as its account.
const COUNTRIES_KEPT: Duration = Duration::from_secs(5);

/// Sends deliveries.
#[derive(Clone)]
pub struct Sender {
    carrier: CarrierCalls,
    /// Where the carrier reaches us, without a slash at its end.
    public_base: Arc<str>,
    lease_seconds: u32,
    /// The lists of projects that have one, cached for [`COUNTRIES_KEPT`].
    countries: Cache<Uuid, Option<Arc<[String]>>>,
}

impl Sender {
    /// A sender that asks for reports at `public_base` and holds its leases this long.
    pub(super) fn new(carrier: CarrierCalls, public_base: &str, lease_seconds: u32) -> Self {
        let countries = Cache::builder().max_capacity(10_000).time_to_live(COUNTRIES_KEPT).build();
        Self { carrier, public_base: public_base.into(), lease_seconds, countries }
    }

    /// Whether nothing keeps a project's account from sending.
    pub(super) fn may_send(&self, project_id: Uuid) -> bool {
        self.carrier.sends.gates().iter().all(|(shut, _)| *shut != project_id)
    }

    /// Claims what is due and sends it; says how many there were. This is what the worker
    /// does, without the worker: for tests.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        let claims = claim_at_once(self, 64).await?;
        let count = claims.len();
        futures::future::join_all(claims.into_iter().map(|claim| self.send(claim))).await;
        Ok(count)
    }

    /// Sends one delivery and settles it.
    #[tracing::instrument(name = "delivery.send", skip_all, fields(session_id = %claim.session_id, delivery_id = %claim.id, attempt = claim.attempt))]
    async fn send(&self, claim: Claim) {
        let began = Instant::now();
        failpoint::reach("delivery.after_claim");
        let outcome = match self.barred(&claim).await {
            Some(outcome) => outcome,
            None => self.call(&claim, began).await,
        };
        self.settle(claim, outcome).await;
    }

    /// Calls the carrier, if the project has an account there.
    async fn call(&self, claim: &Claim, began: Instant) -> Outcome {
        match self.carrier.accounts.of_project(claim.project_id).await {
            // Who was asleep since the claim may no longer hold it, and another worker may be sending: then nobody is
            // called, and the settling finds out whose it is.
            _ if claim.asked_at.elapsed() > self.lease() / 2 => put_off(
                claim.attempt,
                None,
                refusal(ErrorClass::Transient, "the worker was held up between the claim and the call"),
            ),
            Ok(Some(account)) => {
                let sent = failpoint::during("delivery.in_call", Box::pin(self.hand_over(&account, claim))).await;
                failpoint::reach("delivery.before_settle");
                metrics::histogram!("textback_carrier_request_duration_seconds", "operation" => "send")
                    .record(began.elapsed().as_secs_f64());
                match trouble(&sent) {
                    Some(carrier_says) => self.carrier.sends.failed(claim.project_id, carrier_says),
                    None => self.carrier.sends.answered(claim.project_id),
                }
                judge(sent, claim.attempt)
            }
            Ok(None) => Outcome::Failed(refusal(
                ErrorClass::PermanentConfig,
                "the project has no carrier account; give it one: PUT /v1/carrier",
            )),
            // Nothing was sent, and an operator can mend it.
            Err(error) => put_off(claim.attempt, None, refusal(ErrorClass::PermanentConfig, &error.to_string())),
        }
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }

    /// The outcome of a message to a country that is not on the project's own list. That list applies to every message.
    /// Without a list, the country is checked when the message is planned.
    async fn barred(&self, claim: &Claim) -> Option<Outcome> {
        let reading = async {
            database::with_timeout(outbound_limits::allowed_countries(&self.carrier.storage, claim.project_id)).await
        };
        match Box::pin(self.countries.try_get_with(claim.project_id, reading)).await {
            Ok(allowed) => {
                let allowed = allowed?;
                if countries_of(&claim.to).iter().any(|country| allowed.contains(country)) {
                    return None;
                }
                metrics::counter!("textback_outbound_refused_total", "reason" => COUNTRY).increment(1);
                let detail = format!("{COUNTRY}: the contact is in none of the project's allowed_countries");
                Some(Outcome::Failed(Refusal { code: None, class: COUNTRY.to_owned(), detail }))
            }
            // Nothing was sent yet.
            Err(error) => {
                let error: Arc<sqlx::Error> = error;
                Some(put_off(claim.attempt, None, refusal(ErrorClass::Transient, &error.to_string())))
            }
        }
    }

    async fn hand_over(&self, account: &Account, claim: &Claim) -> Sent {
        // Our id comes back with every report, even when the carrier's answer to this call is lost.
        let status = WebhookUrls::status_of(&self.public_base, &account.webhook_key);
        let status_callback = format!("{status}?delivery={}{OVERRIDES}", claim.id);
        let Claim { from, to, body, media_urls, .. } = claim;
        let outgoing = Outgoing { from, to, body, media_urls, status_callback: &status_callback };
        let patience = self.lease().mul_f64(0.8).saturating_sub(claim.asked_at.elapsed());
        match tokio::time::timeout(patience, self.carrier.client.send(account, &outgoing)).await {
            Ok(sent) => sent,
            Err(_) => Sent::Unclear { detail: "no answer within the lease".to_owned() },
        }
    }

    /// Writes the outcome, as long as the lease lasts: an accepted text that we forget would have
    /// to be searched for.
    async fn settle(&self, claim: Claim, outcome: Outcome) {
        let word = word(&outcome);
        match &outcome {
            Outcome::Accepted { carrier_sid } => tracing::info!(carrier_sid, "the carrier accepted the text"),
            Outcome::Failed(refusal) => tracing::error!(
                code = refusal.code,
                class = refusal.class,
                detail = refusal.detail,
                "the text can't be delivered"
            ),
            Outcome::Unknown(refusal) => tracing::error!(
                detail = refusal.detail,
                "the carrier may have the text or not; it is not sent again blindly"
            ),
            Outcome::PutOff { seconds, refusal } => tracing::warn!(
                seconds,
                code = refusal.code,
                detail = refusal.detail,
                "the carrier did not take the text; later"
            ),
        }
        metrics::counter!("textback_deliveries_total", "outcome" => word).increment(1);
        let until = Instant::now() + Duration::from_secs(u64::from(self.lease_seconds));
        let settlement = Settlement { id: claim.id, token: claim.token, outcome };
        while let Err(error) = delivery::settle(&self.carrier.storage, settlement.clone()).await {
            tracing::error!(%error, "a delivery could not be settled");
            if Instant::now() > until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// Whether the account as a whole is in trouble, and how long the carrier asks to be left alone. One number's full queue
/// (21611) is not: the others' texts leave.
fn trouble(sent: &Sent) -> Option<Option<f64>> {
    match sent {
        Sent::Accepted { .. } => None,
        Sent::NotReached { .. } | Sent::Unclear { .. } => Some(None),
        Sent::Refused { code, status, retry_after_seconds, .. } => {
            let class = class(*code, *status);
            let of_all = class != ErrorClass::Throttled || *status == 429;
            (class.may_pass(*code) && of_all).then_some(*retry_after_seconds)
        }
    }
}

/// The class of a refusal.
fn class(code: Option<i32>, status: u16) -> ErrorClass {
    match (code, status) {
        (_, 429) => ErrorClass::Throttled,
        (Some(code), _) => ErrorClass::of(code),
        (None, 401 | 403) => ErrorClass::Auth,
        (None, _) => ErrorClass::PermanentConfig,
    }
}

/// What the carrier's word means for the delivery.
fn judge(sent: Sent, attempt: i32) -> Outcome {
    match sent {
        Sent::Accepted { sid } => Outcome::Accepted { carrier_sid: sid },
        Sent::Unclear { detail } => Outcome::Unknown(refusal(ErrorClass::Ambiguous, &detail)),
        Sent::NotReached { detail } => put_off(attempt, None, refusal(ErrorClass::Transient, &detail)),
        Sent::Refused { code, status, detail, retry_after_seconds } => {
            let class = class(code, status);
            let refusal = Refusal { code, ..refusal(class, &detail) };
            match class {
                _ if class.may_pass(code) => put_off(attempt, retry_after_seconds, refusal),
                ErrorClass::Ambiguous => Outcome::Unknown(refusal),
                _ => Outcome::Failed(refusal),
            }
        }
    }
}

/// Later: after 1, 2, 4 … 300 seconds and a little more, or when the carrier says; at last never.
fn put_off(attempt: i32, carrier_says: Option<f64>, refusal: Refusal) -> Outcome {
    if attempt >= MOST_ATTEMPTS {
        return Outcome::Failed(refusal);
    }
    let backoff = 2_f64.powi(attempt.clamp(1, 10) - 1).min(300.0);
    // Texts that were refused together must not come back together.
    let jitter = 1.0 + f64::from(crate::secret::random_bytes::<1>()[0]) / 1024.0;
    Outcome::PutOff { seconds: carrier_says.unwrap_or(0.0).max(backoff) * jitter, refusal }
}

fn refusal(class: ErrorClass, detail: &str) -> Refusal {
    Refusal { code: None, class: class.word().to_owned(), detail: bounds::error(detail) }
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted { .. } => "accepted",
        Outcome::Failed(_) => "failed",
        Outcome::Unknown(_) => "unknown",
        Outcome::PutOff { .. } => "put_off",
    }
}

impl JobSource for Sender {
    type Claim = Claim;
    const WORK: JobKind = JobKind::Delivery;

    fn storage(&self) -> &Storage {
        &self.carrier.storage
    }

    fn owner(claim: &Claim) -> Owner {
        Owner::alone(claim.project_id)
    }

    fn gates(&self) -> Vec<(Uuid, CircuitState)> {
        self.carrier.sends.gates()
    }

    async fn claim(&self, room: ClaimLimits) -> Result<Vec<Claim>, sqlx::Error> {
        delivery::claim(&self.carrier.storage, room, self.lease_seconds).await
    }

    async fn give_back(&self, claims: Vec<Claim>) -> Result<(), sqlx::Error> {
        delivery::give_back(&self.carrier.storage, &claims).await?;
        self.carrier.storage.notifier().notify(JobKind::Delivery);
        Ok(())
    }
}

/// The worker's function. The row says how it went, so this never fails.
pub(super) async fn work(seated: Leased<Claim>, sender: Data<Arc<Sender>>) -> Result<(), BoxDynError> {
    let (claim, _seat) = seated.into_parts();
    // On the heap: it is some kilobytes, and a task is moved through each layer of the worker.
    Box::pin(sender.send(claim)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Option<i32>, status: u16) -> Sent {
        Sent::Refused { code, status, detail: "no".to_owned(), retry_after_seconds: Some(7.0) }
    }

    #[test]
    fn only_what_the_carrier_certainly_did_not_take_is_offered_again() {
        for sent in [
            refused(Some(20429), 429),
            refused(None, 429),
            refused(Some(20003), 401),
            Sent::NotReached { detail: String::new() },
        ] {
            assert!(matches!(judge(sent.clone(), 1), Outcome::PutOff { .. }), "{sent:?}");
        }
        assert!(matches!(judge(Sent::Unclear { detail: String::new() }, 1), Outcome::Unknown(_)));
        for sent in [
            refused(Some(21610), 400),
            refused(Some(21211), 400),
            refused(Some(99999), 400),
            refused(None, 404),
            refused(Some(21608), 400),
        ] {
            assert!(matches!(judge(sent.clone(), 1), Outcome::Failed(_)), "{sent:?}");
        }
    }

    #[test]
    fn only_what_concerns_the_whole_account_rests_it() {
        for (sent, rests) in [
            (refused(Some(20429), 429), true),
            (refused(Some(20003), 401), true),
            (Sent::NotReached { detail: String::new() }, true),
            (refused(Some(21611), 400), false),
            (refused(Some(21608), 400), false),
            (refused(Some(21610), 400), false),
        ] {
            assert_eq!(trouble(&sent).is_some(), rests, "{sent:?}");
        }
    }

    #[test]
    fn texts_that_were_refused_together_do_not_come_back_together() {
        let seconds = |_| match judge(refused(Some(20429), 429), 1) {
            Outcome::PutOff { seconds, .. } => seconds.to_bits(),
            other => panic!("{other:?}"),
        };
        let times: std::collections::HashSet<u64> = (0..50).map(seconds).collect();
        assert!(times.len() > 10, "{}", times.len());
    }

    #[test]
    fn the_carriers_retry_after_counts_and_patience_ends() {
        assert!(matches!(judge(refused(Some(20429), 429), 1), Outcome::PutOff { seconds, .. } if seconds >= 7.0));
        assert!(matches!(judge(refused(Some(20429), 429), MOST_ATTEMPTS), Outcome::Failed(_)));
    }
}
