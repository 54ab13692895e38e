//! Looks after one number at the carrier until it is as it is wanted, and tells what it saw and did; it writes no row, and each step can be taken again.
//!
//! A crash between two calls loses nothing: the next look begins with what the account owns. A number is bought only when it
//! is not among that, and the carrier sells a number once.

use crate::carriers::twilio::Client;
use crate::carriers::twilio::client::{CarrierError, WebhookUrls};
use crate::carriers::twilio::numbers::{CarrierNumber, NumberType, Wanted};
use crate::carriers::twilio::registration::{Pools, Registration};
use crate::domain::carrier_account::Account;
use crate::failpoint;
use crate::numbers::health::{A2P, NOT_LOOKED_AT};
use crate::storage::number::{Facts, Number, Step};

/// How often a number is looked at that is well.
const WELL: f64 = 3600.0;
/// One that waits for its registration.
const WAITING: f64 = 600.0;
/// One about which the carrier could not be asked.
const TROUBLED: f64 = 60.0;

/// How long a number is held without a sign of life; it is renewed while somebody looks.
pub const LEASE_SECONDS: u32 = 120;

/// What a registration's detail begins with when a report of the carrier's told it (see the function note_registration).
const BLOCKED_A_TEXT: &str = "the carrier blocked a text";

/// Why a number will never be ours.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    #[error("the carrier account {account} does not own {number}; buy it first, here with buy: true or at the carrier")]
    NotOwned { account: String, number: String },
    #[error("{0} can't be bought: {1}")]
    NotForSale(String, String),
    #[error("{0} can't send or receive texts; attach one that can")]
    NoTexts(String),
    /// It was refused before, in these words, and nobody has asked again since.
    #[error("{1}")]
    AsBefore(&'static str, String),
    #[error(
        "{number} was detached here and not released: another project of this installation has it; release it there"
    )]
    UsedElsewhere { number: String },
    #[error(
        "{number} was detached here and not released: it belongs to the carrier account {account}, which is not the project's any more; release it there"
    )]
    OtherAccount { number: String, account: String },
}

impl Refused {
    /// The word for it in the number's row; none when it is not the number's fault.
    const fn word(&self) -> Option<&'static str> {
        match self {
            Self::NotOwned { .. } => Some("not_owned"),
            Self::NotForSale(..) => Some("not_for_sale"),
            Self::NoTexts(_) => Some("no_texts"),
            Self::AsBefore(word, _) => Some(word),
            Self::UsedElsewhere { .. } | Self::OtherAccount { .. } => None,
        }
    }
}

/// What a look came to.
pub enum Looked {
    /// As far as it came; `trouble` when the carrier stopped it: it goes on later.
    Seen { facts: Facts, trouble: Option<CarrierError> },
    /// It can't serve us; with what was seen of it all the same.
    Refused { refused: Refused, facts: Facts },
}

/// Looks after a number.
pub async fn look_after(
    carrier: &Client,
    pools: &Pools,
    account: &Account,
    urls: &WebhookUrls,
    number: &Number,
) -> Looked {
    let mut look = Look {
        carrier,
        pools,
        account,
        urls,
        number,
        facts: Facts { generation: number.generation, check_in_seconds: WELL, ..Facts::default() },
    };
    let looked = match number.desired_state.as_str() {
        "attached" => look.attach().await,
        wanted => look.part(wanted == "released").await,
    };
    let trouble = match looked {
        Ok(None) => None,
        Ok(Some(refused)) => {
            look.facts.refusal_reason = refused.word();
            if !look.facts.gone {
                look.facts.webhook = Some("drifted");
                look.facts.webhook_detail = Some(refused.to_string());
                look.facts.check_in_seconds = WAITING;
            }
            failpoint::reach("number.before_settle");
            return Looked::Refused { refused, facts: look.facts };
        }
        Err(error) => {
            look.stopped_by(&error);
            Some(error)
        }
    };
    failpoint::reach("number.before_settle");
    Looked::Seen { facts: look.facts, trouble }
}

struct Look<'a> {
    carrier: &'a Client,
    pools: &'a Pools,
    account: &'a Account,
    urls: &'a WebhookUrls,
    number: &'a Number,
    facts: Facts,
}

impl Look<'_> {
    fn did(&mut self, step: &'static str, detail: Option<String>) {
        self.facts.steps.push(Step { step, detail });
    }

    /// Notes what stopped us, so that the number tells it.
    fn stopped_by(&mut self, error: &CarrierError) {
        // What is forbidden is so in a minute too.
        let forbidden = matches!(error, CarrierError::Refused { status: 401 | 403, .. });
        self.facts.check_in_seconds = if forbidden { WAITING } else { TROUBLED };
        let told = format!("{error}{}", error.advice());
        let drift = self.facts.webhook_detail.take().filter(|_| self.facts.webhook == Some("drifted"));
        let known = self.facts.carrier_sid.is_some() || self.number.carrier_sid.is_some();
        self.facts.webhook = Some(match &drift {
            Some(_) => "drifted",
            None if known && self.number.webhook != "pending" => "unreachable",
            None => "pending",
        });
        self.facts.webhook_detail = Some(match drift {
            Some(drift) => format!("{drift}, and it can't be set right: {told}"),
            None => told,
        });
    }

    async fn attach(&mut self) -> Result<Option<Refused>, CarrierError> {
        let owned = match self.own().await? {
            Ok(owned) => owned,
            Err(refused) => return Ok(Some(refused)),
        };
        self.facts.carrier_sid = Some(owned.sid.clone());
        self.facts.account_sid = Some(self.account.account_sid.clone());
        self.facts.number_type = owned.number_type.clone();
        if !owned.capabilities.sms {
            return Ok(Some(Refused::NoTexts(self.number.number.clone())));
        }
        self.point_here(&owned).await?;
        self.look_for_trap(&owned.sid).await
    }

    /// The number as the account has it, bought if need be.
    async fn own(&mut self) -> Result<Result<CarrierNumber, Refused>, CarrierError> {
        let number = &self.number.number;
        if let Some(owned) = done(self.carrier.find_number(self.account, number)).await? {
            if self.number.carrier_sid.is_none() {
                self.did("found", Some(format!("the account owns it ({})", owned.sid)));
            }
            return Ok(Ok(owned));
        }
        if !self.number.may_buy {
            let before = self.number.webhook_detail.clone().filter(|_| self.number.carrier_sid.is_none());
            let word = ["not_for_sale", "no_texts"]
                .into_iter()
                .find(|word| self.number.refusal_reason.as_deref() == Some(*word));
            if let (Some(word), Some(told)) = (word, before) {
                return Ok(Err(Refused::AsBefore(word, told)));
            }
            let (account, number) = (self.account.account_sid.clone(), number.clone());
            return Ok(Err(Refused::NotOwned { account, number }));
        }
        if !self.may_text_if_bought().await? {
            return Ok(Err(Refused::NoTexts(number.clone())));
        }
        match done(self.carrier.buy_number(self.account, number, self.urls)).await {
            Ok(bought) => {
                self.did("bought", Some(bought.sid.clone()));
                self.facts.webhook_was_set = true;
                Ok(Ok(bought))
            }
            // Somebody has it. That may be us: the answer to an earlier purchase was lost.
            Err(CarrierError::Refused { status: 400 | 404, message, .. }) => {
                match done(self.carrier.find_number(self.account, number)).await? {
                    Some(owned) => {
                        self.did("found", Some(format!("the account owns it ({})", owned.sid)));
                        Ok(Ok(owned))
                    }
                    None => Ok(Err(Refused::NotForSale(number.clone(), message))),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a number that is for sale can text, so that none is paid for that can't. One that is not found is nobody's
    /// yet to judge: the purchase tells.
    async fn may_text_if_bought(&self) -> Result<bool, CarrierError> {
        let number = &self.number.number;
        let Some(country) = self.number.country.clone() else { return Ok(true) };
        let types =
            if is_toll_free(number) { &[NumberType::TollFree][..] } else { &[NumberType::Local, NumberType::Mobile] };
        for number_type in types {
            let contains = Some(number.trim_start_matches('+').to_owned());
            let wanted =
                Wanted { country: country.clone(), number_type: *number_type, contains, sms: false, limit: 20 };
            match done(self.carrier.search_numbers(self.account, &wanted)).await {
                Ok(found) => {
                    if let Some(found) = found.iter().find(|found| found.phone_number == *number) {
                        return Ok(found.capabilities.sms);
                    }
                }
                // No numbers of this type are sold there, or nobody may look: the purchase tells.
                Err(CarrierError::Refused { status: 400 | 403 | 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sets the webhooks where they are not ours, unless somebody changed them who was to be left alone.
    async fn point_here(&mut self, owned: &CarrierNumber) -> Result<(), CarrierError> {
        let Some(drift) = owned.drift(self.urls) else {
            self.facts.webhook = Some("ok");
            return Ok(());
        };
        let ours_once = self.number.webhook_set_at.is_some();
        // Two projects must not take a number from each other for ever: the last one that asked has it.
        let another_project = self.urls.lead_to_another_project(owned.sms_url.as_deref().unwrap_or_default());
        if ours_once && (!self.number.mend_drift || another_project) {
            let drift = if another_project {
                "another project of this installation has it now; whoever attaches it last gets its texts".to_owned()
            } else {
                drift
            };
            if self.number.webhook != "drifted" {
                self.did("webhook drifted", Some(drift.clone()));
            }
            self.facts.webhook = Some("drifted");
            self.facts.webhook_detail = Some(drift);
            return Ok(());
        }
        if ours_once {
            self.did("webhook drifted", Some(drift.clone()));
            // What is seen stays seen, should the mending fail.
            self.facts.webhook = Some("drifted");
            self.facts.webhook_detail = Some(drift);
        }
        done(self.carrier.set_webhooks(self.account, owned, self.urls)).await?;
        self.did("webhook set", Some(self.urls.messages.clone()));
        self.facts.webhook = Some("ok");
        self.facts.webhook_detail = None;
        self.facts.webhook_was_set = true;
        Ok(())
    }

    /// Messaging services and registration. What can't be read is no reason to give up the number: it is told, and what was
    /// known of it stays.
    async fn look_for_trap(&mut self, sid: &str) -> Result<Option<Refused>, CarrierError> {
        let service = match done(self.pools.service(self.carrier, self.account, sid)).await {
            Ok(service) => service,
            Err(error) => return self.unread(&error),
        };
        let trap = service.as_ref().and_then(|service| service.trap(self.urls));
        if trap.is_some() && self.number.inbound_blocked_reason != trap {
            self.did("a messaging service takes its texts", trap.clone());
        }
        self.facts.inbound_blocked_reason = Some(trap);
        let toll_free = self.facts.number_type.as_deref() == Some("toll-free") || is_toll_free(&self.number.number);
        let registered = match (toll_free, self.number.country.as_deref(), &service) {
            (true, ..) => done(self.carrier.verification(self.account, sid)).await,
            (false, Some(country), Some(service)) if A2P.contains(&country) => {
                done(self.carrier.campaign(self.account, &service.sid)).await
            }
            (false, Some(country), None) if A2P.contains(&country) => {
                Ok((Registration::Unregistered, Some("it is in no messaging service, so in no campaign".to_owned())))
            }
            _ => {
                let known = self.number.registration_policy == "none";
                self.facts.registration = Some(if known { "not_required" } else { "unknown" });
                return Ok(None);
            }
        };
        match registered {
            Ok((registration, detail)) => {
                let word = registration.word();
                if self.number.registration != word {
                    self.did(
                        "registration",
                        Some(detail.clone().map_or(word.to_owned(), |detail| format!("{word}: {detail}"))),
                    );
                }
                self.facts.registration = Some(word);
                self.facts.registration_detail = detail;
                if registration != Registration::Approved {
                    self.facts.check_in_seconds = WAITING;
                }
                Ok(None)
            }
            Err(error) => self.unread(&error),
        }
    }

    fn unread(&mut self, error: &CarrierError) -> Result<Option<Refused>, CarrierError> {
        let why = match error {
            CarrierError::Refused { status: 401 | 403, .. } => format!(
                "the key may not read messaging services and registrations ({error}); give it read permission for Messaging, or PUT /v1/carrier without a key"
            ),
            error => error.to_string(),
        };
        // What a report said is no more than a suspicion while nobody can ask: texts are tried again.
        let suspected = self.number.registration == "unregistered"
            && self.number.registration_detail.as_deref().is_some_and(|detail| detail.starts_with(BLOCKED_A_TEXT));
        if suspected {
            self.facts.registration = Some("unknown");
        }
        self.facts.registration_detail = Some(format!("{NOT_LOOKED_AT}: {why}"));
        self.facts.check_in_seconds = WAITING;
        Ok(None)
    }

    /// Lets a number go: back to the carrier for good, or only from us.
    async fn part(&mut self, release: bool) -> Result<Option<Refused>, CarrierError> {
        let number = self.number.number.clone();
        let Some(owned) = done(self.carrier.find_number(self.account, &number)).await? else {
            self.facts.gone = true;
            // An account that had it and is not ours any more goes on paying for it.
            let other =
                self.number.account_sid.clone().filter(|account| release && *account != self.account.account_sid);
            return Ok(other.map(|account| Refused::OtherAccount { number, account }));
        };
        let elsewhere = self.urls.lead_to_another_project(owned.sms_url.as_deref().unwrap_or_default());
        if release && !elsewhere {
            done(self.carrier.release_number(self.account, &owned.sid)).await?;
            self.did("released", Some(owned.sid));
        } else if done(self.carrier.clear_webhooks(self.account, &owned, self.urls)).await? {
            self.did("webhook taken off", None);
        }
        self.facts.gone = true;
        Ok((release && elsewhere).then_some(Refused::UsedElsewhere { number }))
    }
}

/// A call to the carrier that came to its end: here a test lets the process die.
async fn done<T>(call: impl Future<Output = T>) -> T {
    let answer = call.await;
    failpoint::reach("number.after_call");
    answer
}

/// Toll-free codes of the North American plan (<https://www.nanpa.com/numbering/toll-free>).
fn is_toll_free(number: &str) -> bool {
    ["800", "833", "844", "855", "866", "877", "888"]
        .iter()
        .any(|code| number.strip_prefix("+1").is_some_and(|rest| rest.starts_with(code)))
}
