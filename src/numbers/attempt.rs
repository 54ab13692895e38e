//! One attempt to bring a number at its carrier to its desired state. It writes no row.

use crate::carriers::error::{CarrierError, CarrierErrorKind};
use crate::carriers::number::{
    CarrierNumber, Freshness, InboundRoute, NumberSearch, RegistrationFacts, RegistrationQuery,
};
use crate::carriers::webhook::WebhookUrls;
use crate::carriers::{Carrier, Carriers};
use crate::domain::carrier_account::CarrierAccount;
use crate::domain::number::{
    DesiredState, NumberRefusal, NumberType, RegistrationPolicy, RegistrationStatus, WebhookState, is_toll_free,
};
use crate::domain::phone_number::is_short_code;
use crate::failpoint;
use crate::numbers::health;
use crate::numbers::reconciler::{AttemptOutcome, Refusal};
use crate::storage::number::{Number, ObservedState, Step};

/// When a number that is as desired is reconciled again.
const WELL_SECONDS: f64 = 3600.0;
/// When one is that waits for its registration, or for an operator.
pub(super) const WAITING_SECONDS: f64 = 600.0;
/// When one is about which the carrier could not be asked.
const INTERRUPTED_SECONDS: f64 = 60.0;

/// An attempt, with what it has observed so far.
pub(super) struct Attempt<'a> {
    pub carrier: &'a dyn Carrier,
    pub account: &'a CarrierAccount,
    pub urls: &'a WebhookUrls,
    pub number: &'a Number,
    pub freshness: Freshness,
    pub observed: ObservedState,
}

/// `Some`: the number can't be as desired.
type StepResult = Result<Option<Refusal>, CarrierError>;

impl Attempt<'_> {
    /// Runs it to its end.
    pub async fn run(mut self) -> (AttemptOutcome, ObservedState) {
        self.observed.check_in_seconds = WELL_SECONDS;
        let done = match self.number.desired_state {
            DesiredState::Attached => self.attach().await,
            DesiredState::Detached => self.detach().await,
            DesiredState::Released => self.release().await,
        };
        let outcome = match done {
            Ok(None) => AttemptOutcome::Done,
            Ok(Some(refusal)) => {
                self.note_refusal(&refusal);
                AttemptOutcome::Refused(refusal)
            }
            Err(error) => {
                self.note_interruption(&error);
                AttemptOutcome::Interrupted(error)
            }
        };
        (outcome, self.observed)
    }

    fn note_step(&mut self, step: &'static str, detail: Option<String>) {
        self.observed.steps.push(Step { step, detail });
    }

    fn note_refusal(&mut self, refusal: &Refusal) {
        self.observed.refusal_reason = refusal.reason();
        if !self.observed.gone {
            self.observed.webhook = Some(WebhookState::Drifted);
            self.observed.webhook_detail = Some(refusal.to_string());
            self.observed.check_in_seconds = WAITING_SECONDS;
        }
    }

    /// Notes what stopped us, so that the number's row tells it.
    fn note_interruption(&mut self, error: &CarrierError) {
        // What is forbidden now will be forbidden in a minute too.
        let soon = if error.kind.is_forbidden() { WAITING_SECONDS } else { INTERRUPTED_SECONDS };
        self.observed.check_in_seconds = soon;
        let has_drifted = self.observed.webhook == Some(WebhookState::Drifted);
        let drift = self.observed.webhook_detail.take().filter(|_| has_drifted);
        let is_known = self.observed.carrier_id.is_some() || self.number.carrier_id.is_some();
        self.observed.webhook = Some(match &drift {
            Some(_) => WebhookState::Drifted,
            None if is_known && self.number.webhook != WebhookState::Pending => WebhookState::Unreachable,
            None => WebhookState::Pending,
        });
        self.observed.webhook_detail = Some(health::of_interruption(drift, error));
    }

    async fn attach(&mut self) -> StepResult {
        let owned = match self.find_or_buy().await? {
            Ok(owned) => owned,
            Err(refusal) => return Ok(Some(refusal)),
        };
        self.observed.carrier_id = Some(owned.carrier_id.clone());
        self.observed.account_sid = Some(self.account.id().to_owned());
        self.observed.number_type = owned.number_type.clone();
        if !owned.capabilities.sms {
            return Ok(Some(Refusal::NoTexts { number: self.number.number.clone() }));
        }
        self.point_webhooks_here(&owned).await?;
        self.observe_registration(&owned.carrier_id).await;
        Ok(None)
    }

    /// The number as the account has it. It is bought if the account does not have it and that is
    /// allowed.
    async fn find_or_buy(&mut self) -> Result<Result<CarrierNumber, Refusal>, CarrierError> {
        let number = &self.number.number;
        if let Some(owned) = after_call(self.carrier.find_number(self.account, number)).await? {
            if self.number.carrier_id.is_none() {
                self.note_step("found", Some(format!("the account owns it ({})", owned.carrier_id)));
            }
            return Ok(Ok(owned));
        }
        if !self.number.may_buy {
            return Ok(Err(self.refusal_before().unwrap_or_else(|| Refusal::NotOwned {
                account: self.account.id().to_owned(),
                number: number.clone(),
            })));
        }
        if !self.can_text_if_bought().await? {
            return Ok(Err(Refusal::NoTexts { number: number.clone() }));
        }
        self.buy().await
    }

    /// Why an earlier request to buy it failed, if nobody has asked again since.
    fn refusal_before(&self) -> Option<Refusal> {
        let reason = self
            .number
            .refusal_reason
            .filter(|reason| matches!(reason, NumberRefusal::NotForSale | NumberRefusal::NoTexts))?;
        let told = self.number.webhook_detail.clone().filter(|_| self.number.carrier_id.is_none())?;
        Some(Refusal::AsBefore { reason, told })
    }

    async fn buy(&mut self) -> Result<Result<CarrierNumber, Refusal>, CarrierError> {
        let number = &self.number.number;
        match after_call(self.carrier.buy_number(self.account, number, self.urls)).await {
            Ok(bought) => {
                self.note_step("bought", Some(bought.carrier_id.clone()));
                self.observed.webhook_was_set = true;
                Ok(Ok(bought))
            }
            // Somebody has it. That may be us, if the answer to an earlier purchase was lost.
            Err(error) if matches!(error.kind, CarrierErrorKind::Invalid | CarrierErrorKind::NotFound) => {
                match after_call(self.carrier.find_number(self.account, number)).await? {
                    Some(owned) => {
                        self.note_step("found", Some(format!("the account owns it ({})", owned.carrier_id)));
                        Ok(Ok(owned))
                    }
                    None => Ok(Err(Refusal::NotForSale { number: number.clone(), reason: error.reason })),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a number that is for sale can carry texts, so that none is paid for that can't. The
    /// purchase tells it of one that the search does not find.
    async fn can_text_if_bought(&self) -> Result<bool, CarrierError> {
        let number = &self.number.number;
        let Some(country) = self.number.country.clone() else { return Ok(true) };
        let types =
            if is_toll_free(number) { &[NumberType::TollFree][..] } else { &[NumberType::Local, NumberType::Mobile] };
        for number_type in types {
            let contains = Some(number.trim_start_matches('+').to_owned());
            let search =
                NumberSearch { country: country.clone(), number_type: *number_type, contains, sms: false, limit: 20 };
            match after_call(self.carrier.search_numbers(self.account, &search)).await {
                Ok(found) => {
                    if let Some(found) = found.iter().find(|found| found.number == *number) {
                        return Ok(found.capabilities.sms);
                    }
                }
                // No numbers of this type are sold there, or the key may not search.
                Err(error)
                    if matches!(
                        error.kind,
                        CarrierErrorKind::Invalid | CarrierErrorKind::Permission | CarrierErrorKind::NotFound
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sets the webhooks where they are not ours, unless somebody changed them and that is to be
    /// left alone.
    async fn point_webhooks_here(&mut self, owned: &CarrierNumber) -> Result<(), CarrierError> {
        let Some(drift) = owned.webhooks.drift(self.urls) else {
            self.observed.webhook = Some(WebhookState::Ok);
            return Ok(());
        };
        let were_ours = self.number.webhook_set_at.is_some();
        // Two projects must not take a number from each other for ever: the last one that asked has
        // it.
        let is_of_another_project = self.urls.lead_to_another_project(&owned.webhooks.messages);
        let is_left_alone = were_ours && (!self.number.repair_drift || is_of_another_project);
        let drift = if were_ours && is_of_another_project { health::TAKEN_BY_ANOTHER.to_owned() } else { drift };
        if were_ours {
            if !is_left_alone || self.number.webhook != WebhookState::Drifted {
                self.note_step("webhook drifted", Some(drift.clone()));
            }
            // What was observed stays observed if the repair fails.
            self.observed.webhook = Some(WebhookState::Drifted);
            self.observed.webhook_detail = Some(drift);
        }
        if is_left_alone {
            return Ok(());
        }
        after_call(self.carrier.set_webhooks(self.account, owned, self.urls)).await?;
        self.note_step("webhook set", Some(self.urls.messages.clone()));
        self.observed.webhook = Some(WebhookState::Ok);
        self.observed.webhook_detail = None;
        self.observed.webhook_was_set = true;
        Ok(())
    }

    /// Observes how inbound messages come here and whether the number is registered. What can't be
    /// read is no reason to give up the number: it is told, and what was known before stays.
    async fn observe_registration(&mut self, carrier_id: &str) {
        let route = self.carrier.inbound_route(self.account, carrier_id, self.urls, self.freshness);
        let route = match after_call(route).await {
            Ok(route) => route,
            Err(error) => return self.note_unread_registration(&error),
        };
        let InboundRoute { blocked_reason, pool_id } = route;
        if blocked_reason.is_some() && self.number.inbound_blocked_reason != blocked_reason {
            self.note_step("inbound messages are blocked", blocked_reason.clone());
        }
        self.observed.inbound_blocked_reason = Some(blocked_reason);
        self.observed.pool_id = Some(pool_id.clone());
        let has_toll_free_type = self.observed.number_type.as_deref() == Some("toll-free");
        let query = RegistrationQuery {
            carrier_id,
            is_toll_free: has_toll_free_type || is_toll_free(&self.number.number),
            is_short_code: is_short_code(&self.number.number),
            country: self.number.country.as_deref(),
            pool_id: pool_id.as_deref(),
        };
        match after_call(self.carrier.registration(self.account, query)).await {
            Ok(facts) => self.note_registration(facts),
            Err(error) => self.note_unread_registration(&error),
        }
    }

    fn note_registration(&mut self, facts: RegistrationFacts) {
        match facts {
            RegistrationFacts::NotTold { .. } if self.number.registration_policy == RegistrationPolicy::None => {
                self.observed.registration = Some(RegistrationStatus::NotRequired);
            }
            RegistrationFacts::NotTold { advice } => {
                self.observed.registration = Some(RegistrationStatus::Unknown);
                self.observed.registration_detail = advice;
            }
            RegistrationFacts::Told { registration, detail } => {
                if self.number.registration != registration {
                    let why = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
                    self.note_step("registration", Some(format!("{registration}{why}")));
                }
                self.observed.registration = Some(registration);
                self.observed.registration_detail = detail;
                if registration.may_change_soon() {
                    self.observed.check_in_seconds = WAITING_SECONDS;
                }
            }
        }
    }

    fn note_unread_registration(&mut self, error: &CarrierError) {
        // What a delivery report said is only a suspicion while the carrier can't be asked:
        // messages are tried again.
        let is_suspected = self.number.registration == RegistrationStatus::Unregistered
            && health::is_told_by_a_delivery(self.number.registration_detail.as_deref());
        if is_suspected {
            self.observed.registration = Some(RegistrationStatus::Unknown);
        }
        self.observed.registration_detail = Some(health::of_unread_registration(error));
        self.observed.check_in_seconds = WAITING_SECONDS;
    }

    /// Takes our webhooks off the number. The account keeps it.
    async fn detach(&mut self) -> StepResult {
        let number = &self.number.number;
        if let Some(owned) = after_call(self.carrier.find_number(self.account, number)).await? {
            self.clear_webhooks(&owned).await?;
        }
        self.observed.gone = true;
        Ok(None)
    }

    /// Gives the number back to the carrier for good.
    async fn release(&mut self) -> StepResult {
        let number = self.number.number.clone();
        let Some(owned) = after_call(self.carrier.find_number(self.account, &number)).await? else {
            self.observed.gone = true;
            // An account that had it and is not the project's any more goes on paying for it.
            let other = self.number.account_sid.clone().filter(|account| account != self.account.id());
            return Ok(other.map(|account| Refusal::OtherAccount { number, account }));
        };
        if self.urls.lead_to_another_project(&owned.webhooks.messages) {
            self.clear_webhooks(&owned).await?;
            self.observed.gone = true;
            return Ok(Some(Refusal::UsedElsewhere { number }));
        }
        after_call(self.carrier.release_number(self.account, &owned.carrier_id)).await?;
        self.note_step("released", Some(owned.carrier_id));
        self.observed.gone = true;
        Ok(None)
    }

    async fn clear_webhooks(&mut self, owned: &CarrierNumber) -> Result<(), CarrierError> {
        if after_call(self.carrier.clear_webhooks(self.account, owned, self.urls)).await? {
            self.note_step("webhook cleared", None);
        }
        Ok(())
    }
}

/// Why a number could not be attached without buying it. Nothing is changed.
pub async fn refusal_of_unbought(
    carriers: &Carriers,
    account: &CarrierAccount,
    number: &str,
) -> Result<Option<Refusal>, CarrierError> {
    let number = number.to_owned();
    let owned = carriers.of(account).find_number(account, &number).await?;
    Ok(match owned {
        None => Some(Refusal::NotOwned { account: account.id().to_owned(), number }),
        Some(owned) if !owned.capabilities.sms => Some(Refusal::NoTexts { number }),
        Some(_) => None,
    })
}

/// Waits for a call to the carrier. A test lets the process die when it has ended.
async fn after_call<T>(call: impl Future<Output = T>) -> T {
    let answer = call.await;
    failpoint::reach("number.after_call");
    answer
}
