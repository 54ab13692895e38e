//! `/v1/numbers`: what people text to; found, bought, pointed here, looked after and let go.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde_json::Value;
use uuid::Uuid;

use super::auth::Caller;
use super::carrier::of_carrier;
use super::lists::{self, List};
use super::{ApiState, Group};
use crate::carriers::twilio::client;
use crate::carriers::twilio::registration::Pools;
use crate::domain::carrier_account::Account;
use crate::domain::job::JobKind;
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::numbers::reconciler::{self, Looked, Refused};
use crate::storage::agent;
use crate::storage::country::{self, Country};
use crate::storage::number::{self, Wish};

/// How long somebody who wants a number waits for who is looking after it.
const BUSY: std::time::Duration = std::time::Duration::from_secs(3);

/// `/v1/numbers`
pub struct Api;

/// What becomes of a number at the carrier.
#[derive(Enum, Clone, Copy)]
#[oai(rename_all = "snake_case")]
enum Parting {
    /// The account keeps it; our webhooks are taken off.
    Keep,
    /// It is given back for good, and costs nothing any more. Nobody can promise to get it again.
    Release,
}

/// A number to be attached.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewNumber {
    /// In E.164, such as +14155550199.
    number: String,
    /// The agent that answers it.
    agent_id: Uuid,
    /// Whether to buy the number if the account does not own it.
    #[oai(default)]
    buy: bool,
    /// Whether its webhooks are set right again when somebody else changes them.
    /// True unless you say otherwise; a number that is attached already keeps what it has.
    mend_drift: Option<bool>,
}

/// Changes to a number. What is left out stays.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NumberChanges {
    /// Who answers it: in sessions that are opened from now on.
    agent_id: Option<Uuid>,
    mend_drift: Option<bool>,
}

/// A number that is attached.
#[derive(Object)]
struct Number {
    id: Uuid,
    number: String,
    agent_id: Uuid,
    /// By its digits, ISO 3166-1 alpha-2.
    country: Option<String>,
    /// `attached`; `detached` or `released` while that is under way.
    wanted: String,
    /// The carrier's id of the number; null until it was found or bought.
    carrier_sid: Option<String>,
    /// `local`, `mobile`, `toll-free` and the like, as the carrier says.
    number_type: Option<String>,
    /// Whether its texts come here, as was seen last: `pending`, `ok`, `drifted` or `unreachable`.
    webhook: String,
    /// What is set there instead, or why nothing was seen.
    webhook_detail: Option<String>,
    /// When the webhooks were set last; null while that has not worked.
    webhook_set_at: Option<DateTime<Utc>>,
    mend_drift: bool,
    /// Whether it is registered as its country asks: `not_required`, `unregistered`, `pending`, `approved`, `rejected` or
    /// `unknown`.
    registration: String,
    /// The carrier's reason.
    registration_detail: Option<String>,
    /// What that means for its texts: `open`, `held` until the approval, or `blocked` (`number_not_registered`).
    sends: String,
    /// What may keep texts from coming or going, in plain words.
    warnings: Vec<String>,
    /// What was done at the carrier, the newest last: `{at, step, detail?}`.
    steps: Vec<Any<Value>>,
    checked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

/// Something that keeps texts from coming or going, and how it is mended.
#[derive(Object)]
struct Finding {
    /// `blocked`: texts don't come or go. `at_risk`: they may not. `ok`.
    severity: String,
    what: String,
    mend: Option<String>,
}

/// Whether people can text a number and are answered.
#[derive(Object)]
struct NumberHealth {
    /// The worst of the findings.
    status: String,
    findings: Vec<Finding>,
    checked_at: Option<DateTime<Utc>>,
}

#[derive(ApiResponse)]
enum Parted {
    /// It is gone
    #[oai(status = 204)]
    Gone,
}

#[OpenApi(tag = "Group::Numbers")]
impl Api {
    /// Attach a number, buying it if that is wanted
    ///
    /// Finds the number in the carrier account, or buys it, and points its webhooks here. What it did is told in `steps`. Doing
    /// it again is safe: it goes on where it was interrupted, buys nothing twice, and may change the agent.
    #[oai(path = "/numbers", method = "post", operation_id = "attach_number")]
    async fn attach(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        body: Json<NewNumber>,
    ) -> Result<Json<Number>, Problem> {
        let project_id = caller.writer()?;
        let Json(NewNumber { number, agent_id, buy, mend_drift }) = body;
        if !phone_number::is_e164(&number) {
            return Err(Problem::invalid(
                "number_not_e164",
                format!("{number} is not in E.164; write + and the digits with the country code, such as +14155550199"),
            ));
        }
        known_agent(&door, project_id, agent_id).await?;
        let account = account(&door, project_id).await?;
        let country = phone_number::country(&number);
        if let Some(iso2) = &country
            && let Some(known) = country::find(&door.storage, project_id, iso2).await?
            && known.two_way == Some(false)
        {
            return Err(without_sms(&known));
        }
        let wish = Wish { project_id, number, agent_id, country, may_buy: buy, mend_drift };
        let Some(id) = number::want(&door.storage, &wish).await? else {
            return Err(Problem::conflict(
                "number_busy",
                format!(
                    "{} is being released at this moment, which can't be taken back; ask again when that is done",
                    wish.number
                ),
            ));
        };
        look_after(&door, &account, project_id, id, true).await?;
        read(&door, project_id, id).await
    }

    /// List attached numbers, newest first
    #[oai(path = "/numbers", method = "get", operation_id = "list_numbers")]
    async fn list(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Number>>, Problem> {
        let (cursor, limit) = (lists::cursor(cursor.0)?, lists::limit(limit.0)?);
        let project_id = caller.reader();
        let page = number::list(&door.storage, project_id, cursor, limit).await?;
        let countries = country::of_numbers(&door.storage, project_id, &page.items).await?;
        let told = |number: number::Number| {
            let country = number.country.as_ref().and_then(|iso2| countries.get(iso2));
            Number::of(number, country)
        };
        Ok(Json(List { items: page.items.into_iter().map(told).collect(), next_cursor: page.next_cursor }))
    }

    /// Read an attached number
    #[oai(path = "/numbers/:id", method = "get", operation_id = "get_number")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Number>, Problem> {
        read(&door, caller.reader(), *id).await
    }

    /// Change the agent of a number, or whether its webhooks are mended
    #[oai(path = "/numbers/:id", method = "patch", operation_id = "change_number")]
    async fn change(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        body: Json<NumberChanges>,
    ) -> Result<Json<Number>, Problem> {
        let project_id = caller.writer()?;
        if let Some(agent_id) = body.agent_id {
            known_agent(&door, project_id, agent_id).await?;
        }
        if !number::change(&door.storage, project_id, *id, body.agent_id, body.mend_drift).await? {
            return Err(Problem::not_found("number"));
        }
        read(&door, project_id, *id).await
    }

    /// Detach a number, and keep it at the carrier or release it
    #[oai(path = "/numbers/:id", method = "delete", operation_id = "detach_number")]
    async fn part(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        /// What becomes of it at the carrier; it has to be said.
        at_carrier: Query<Option<Parting>>,
    ) -> Result<Parted, Problem> {
        let project_id = caller.writer()?;
        let wanted = match at_carrier.0 {
            Some(Parting::Keep) => "detached",
            Some(Parting::Release) => "released",
            None => {
                return Err(Problem::invalid(
                    "parting_unsaid",
                    "say what becomes of the number at the carrier: ?at_carrier=keep, or ?at_carrier=release, which gives it back for good",
                ));
            }
        };
        let account = account(&door, project_id).await?;
        if !number::part(&door.storage, project_id, *id, wanted).await? {
            return Err(Problem::not_found("number"));
        }
        look_after(&door, &account, project_id, *id, false).await?;
        Ok(Parted::Gone)
    }

    /// Tell in plain words what keeps texts of a number from coming or going
    #[oai(path = "/numbers/:id/health", method = "get", operation_id = "get_number_health")]
    async fn health(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        /// Whether to look at the carrier now, and not only at what was seen last.
        refresh: Query<Option<bool>>,
    ) -> Result<Json<NumberHealth>, Problem> {
        let project_id = caller.reader();
        if refresh.0 == Some(true) {
            let looked = match account(&door, caller.writer()?).await {
                Ok(account) => look_after(&door, &account, project_id, *id, false).await,
                Err(problem) => Err(problem),
            };
            match looked.as_ref().map_err(Problem::code) {
                Ok(()) | Err("carrier_failed" | "carrier_account_missing" | "secret_unreadable") => {}
                Err(code) if code.starts_with("number_") && code != "number_busy" => {}
                Err(_) => looked?,
            }
        }
        let number = number::find(&door.storage, project_id, *id).await?.ok_or_else(|| Problem::not_found("number"))?;
        let country = match &number.country {
            Some(iso2) => country::find(&door.storage, project_id, iso2).await?,
            None => None,
        };
        let mut findings: Vec<Finding> = number
            .findings(country.as_ref())
            .into_iter()
            .map(|finding| Finding {
                severity: finding.severity.to_owned(),
                what: finding.what,
                mend: Some(finding.mend),
            })
            .collect();
        if let Err(problem) = account(&door, project_id).await {
            findings.push(Finding {
                severity: "blocked".to_owned(),
                what: format!("the carrier account can't be used: {}", problem.detail()),
                mend: Some("give it, or the key that sealed it: PUT /v1/carrier, TEXTBACK_SECRET_KEY".to_owned()),
            });
        }
        let status =
            ["blocked", "at_risk"].into_iter().find(|word| findings.iter().any(|finding| finding.severity == *word));
        if findings.is_empty() {
            let what = format!("texts to {} come here, and its answers may leave", number.number);
            findings.push(Finding { severity: "ok".to_owned(), what, mend: None });
        }
        Ok(Json(NumberHealth { status: status.unwrap_or("ok").to_owned(), findings, checked_at: number.checked_at }))
    }
}

async fn known_agent(door: &ApiState, project_id: Uuid, agent_id: Uuid) -> Result<(), Problem> {
    match agent::find(&door.storage, project_id, agent_id).await? {
        Some(_) => Ok(()),
        None => Err(Problem::invalid(
            "agent_unknown",
            format!("this project has no agent {agent_id}; POST /v1/agents makes one"),
        )),
    }
}

pub(super) async fn account(door: &ApiState, project_id: Uuid) -> Result<std::sync::Arc<Account>, Problem> {
    let account = door.accounts.of_project(project_id).await?;
    account.ok_or_else(|| {
        Problem::conflict(
            "carrier_account_missing",
            "the project has no carrier account; give it one first: PUT /v1/carrier",
        )
    })
}

async fn read(door: &ApiState, project_id: Uuid, id: Uuid) -> Result<Json<Number>, Problem> {
    let number = number::find(&door.storage, project_id, id).await?.ok_or_else(|| Problem::not_found("number"))?;
    let country = match &number.country {
        Some(iso2) => country::find(&door.storage, project_id, iso2).await?,
        None => None,
    };
    Ok(Json(Number::of(number, country.as_ref())))
}

/// What was asked is noted all the same, and is done with the next look.
fn busy() -> Problem {
    Problem::conflict(
        "number_busy",
        "this number is being looked after at this moment; what you ask is noted and done next, and asking again is safe",
    )
}

/// Looks after a number here and now, as a worker would later. `is_new`: who asks wants it to be attached, and is told at once if
/// it can't be; then nothing is left behind.
async fn look_after(
    door: &ApiState,
    account: &Account,
    project_id: Uuid,
    id: Uuid,
    is_new: bool,
) -> Result<(), Problem> {
    // A look of a worker's is over in a moment, and nobody should hear of it.
    let until = tokio::time::Instant::now() + BUSY;
    let claim = loop {
        match number::take(&door.storage, project_id, id, reconciler::LEASE_SECONDS).await? {
            Some(claim) => break claim,
            None if number::find(&door.storage, project_id, id).await?.is_none() => {
                return Err(Problem::not_found("number"));
            }
            None if tokio::time::Instant::now() > until => return Err(busy()),
            None => tokio::time::sleep(BUSY / 30).await,
        }
    };
    let urls = client::WebhookUrls::of(&door.public_base, &account.webhook_key);
    // Who asks wants to know how it is now.
    let pools = Pools::default();
    let look = reconciler::look_after(&door.carrier, &pools, account, &urls, &claim.number);
    match number::while_held(&door.storage, &claim, reconciler::LEASE_SECONDS, look).await {
        Looked::Seen { facts, trouble } => {
            if !number::settle(&door.storage, &claim, &facts).await? {
                return Err(busy());
            }
            match trouble {
                None => Ok(()),
                Some(error) => {
                    door.storage.notifier().notify(JobKind::Number);
                    Err(of_carrier(error))
                }
            }
        }
        Looked::Refused { refused, facts } => {
            // One that was ours once stays, so that a person sees what became of it.
            let bought = claim.number.may_buy && facts.carrier_sid.is_some();
            let never_ours = is_new && claim.number.carrier_sid.is_none() && !bought;
            if never_ours {
                number::forget(&door.storage, &claim).await?;
            } else {
                number::settle(&door.storage, &claim, &facts).await?;
            }
            let code = match refused {
                Refused::NotOwned { .. } => "number_not_owned",
                Refused::NotForSale(..) | Refused::AsBefore(..) => "number_not_available",
                Refused::NoTexts(_) => "number_without_sms",
                Refused::UsedElsewhere { .. } | Refused::OtherAccount { .. } => {
                    return Err(Problem::conflict("number_not_released", refused.to_string()));
                }
            };
            Err(Problem::invalid(code, refused.to_string()))
        }
    }
}

/// Why a number of a country is refused.
pub(super) fn without_sms(country: &Country) -> Problem {
    Problem::invalid(
        "country_without_sms",
        format!(
            "{} ({}) has no texts in both directions, so nobody could answer ({}); where that is wrong, say so: PATCH /v1/countries/{}",
            country.name,
            country.iso2,
            country.source_of_two_way(),
            country.iso2
        ),
    )
}

impl Number {
    fn of(number: number::Number, country: Option<&Country>) -> Self {
        Self {
            warnings: number.findings(country).into_iter().map(|finding| finding.what).collect(),
            id: number.id,
            number: number.number,
            agent_id: number.agent_id,
            country: number.country,
            wanted: number.desired_state,
            carrier_sid: number.carrier_sid,
            number_type: number.number_type,
            webhook: number.webhook,
            webhook_detail: number.webhook_detail,
            webhook_set_at: number.webhook_set_at,
            mend_drift: number.mend_drift,
            registration: number.registration,
            registration_detail: number.registration_detail,
            sends: number.send_policy,
            steps: number.steps.as_array().into_iter().flatten().cloned().map(Any).collect(),
            checked_at: number.checked_at,
            created_at: number.created_at,
        }
    }
}
