//! `/v1/numbers`: the numbers that people text to. They are attached, reconciled with the carrier,
//! and detached.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use super::auth::Caller;
use super::carrier::of_carrier;
use super::lists::{self, List};
use super::{ApiState, Group, attachable, changes};
use crate::carriers::number::Freshness;
use crate::domain::agent::Environment;
use crate::domain::carrier_account::CarrierAccount;
use crate::domain::job::JobKind;
use crate::domain::number::{
    DesiredState, NumberHealthStatus, NumberStep, OnDetach, RegistrationStatus, SendPolicy, WebhookState,
};
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::numbers::health::{self, Diagnostic};
use crate::numbers::reconciler::{LEASE_SECONDS, OnRefusal, ReconcileOutcome, Reconciler, Refusal};
use crate::storage::agent;
use crate::storage::country::{self, Country};
use crate::storage::number::{self, AttachRequest, Claim};
use crate::storage::pagination::Page;

/// How long a request waits for a number that a worker reconciles at the moment.
const BUSY: std::time::Duration = std::time::Duration::from_secs(3);

/// `/v1/numbers`
pub struct Api;

/// A number to be attached. Without `environment` a new number has `live`, and an attached one
/// keeps its environment.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewNumber {
    /// The number in E.164, such as +14155550199, or a short code, such as 72975.
    number: String,
    /// The agent that answers it.
    agent_id: Uuid,
    environment: Option<Environment>,
    /// Whether to buy the number if the account does not own it. A short code can't be bought here.
    #[oai(default)]
    buy: bool,
    /// Whether its webhooks are set again when somebody else changes them. Without it a new number
    /// has true, and an attached one keeps its setting.
    repair_drift: Option<bool>,
}

/// Changes to a number. A field that is left out stays as it is.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NumberChanges {
    /// The agent that answers it, in sessions that are opened from now on.
    agent_id: MaybeUndefined<Uuid>,
    environment: MaybeUndefined<Environment>,
    repair_drift: MaybeUndefined<bool>,
}

/// An attached number. Its `wanted` is `detached` or `released` until that is done.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Number {
    id: Uuid,
    number: String,
    agent_id: Uuid,
    environment: Environment,
    /// The ISO 3166-1 alpha-2 code of its country, if its digits tell. Those of a short code never
    /// do.
    country: Option<String>,
    wanted: DesiredState,
    /// The carrier's id of the number. Left out until it was found or bought.
    carrier_id: Option<String>,
    /// The carrier's id of the pool that it is in, as last observed: at Twilio a messaging service
    /// (MG…). Texts may be sent to the pool. Left out if it is in none.
    pool_id: Option<String>,
    /// Its type at the carrier, such as `local`, `mobile`, `toll-free` or `short-code`.
    number_type: Option<String>,
    webhook: WebhookState,
    /// What is set at the carrier instead, or why nothing was observed.
    webhook_detail: Option<String>,
    /// When the webhooks were set last. Left out until that worked once.
    webhook_set_at: Option<DateTime<Utc>>,
    repair_drift: bool,
    registration: RegistrationStatus,
    /// The carrier's reason.
    registration_detail: Option<String>,
    sends: SendPolicy,
    /// What may keep messages from coming or going.
    warnings: Vec<String>,
    /// What was done at the carrier, oldest first.
    steps: Vec<NumberStep>,
    checked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

/// Something that keeps messages from coming or going, and how to repair it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Finding {
    severity: NumberHealthStatus,
    what: String,
    repair: Option<String>,
}

/// Whether people can text a number and are answered. Its status is that of the worst finding.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct NumberHealth {
    status: NumberHealthStatus,
    findings: Vec<Finding>,
    checked_at: Option<DateTime<Utc>>,
}

#[derive(ApiResponse)]
enum DetachAnswer {
    /// The number is detached
    #[oai(status = 204)]
    Detached,
}

#[OpenApi(tag = "Group::Numbers")]
impl Api {
    /// Attach a number, and buy it if `buy` is true
    ///
    /// Finds the number in the carrier account or buys it, and sets its webhooks. The answer's
    /// `steps` tell what was done. Repeating the request is safe: it continues where it was
    /// interrupted, and buys nothing twice. It may change the agent.
    #[oai(path = "/numbers", method = "post", operation_id = "attach_number")]
    async fn attach(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        body: Json<NewNumber>,
    ) -> Result<Json<Number>, Problem> {
        let project_id = caller.writer()?;
        let Json(NewNumber { number, agent_id, environment, buy, repair_drift }) = body;
        attachable::form(&number, buy)?;
        known_agent(&state, project_id, agent_id).await?;
        let account = account(&state, project_id).await?;
        let country = attachable::country(&state, project_id, &number).await?;
        let wanted = AttachRequest { project_id, number, agent_id, environment, country, may_buy: buy, repair_drift };
        let Some(id) = number::attach(&mut *state.storage.connection().await?, &wanted).await? else {
            return Err(Problem::conflict(
                "number_busy",
                format!(
                    "{} is being released at this moment, which can't be taken back; ask again when that is done",
                    wanted.number
                ),
            ));
        };
        let claim = claim(&state, project_id, id).await?;
        reconcile(&state, &account, &claim, OnRefusal::Forget).await?;
        read(&state, project_id, id).await
    }

    /// List attached numbers, newest first
    #[oai(path = "/numbers", method = "get", operation_id = "list_numbers")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Number>>, Problem> {
        let (cursor, limit) = (List::<Number>::cursor(cursor.0)?, lists::limit(limit.0)?);
        let project_id = caller.reader();
        let mut connection = state.storage.connection().await?;
        let page = number::list(&mut connection, project_id, cursor, limit).await?;
        let countries = country::of_numbers(&mut connection, project_id, &page.items).await?;
        drop(connection);
        let told = |number: number::Number| {
            let country = number.country.as_ref().and_then(|iso2| countries.get(iso2));
            Number::of(number, country)
        };
        let items = page.items.into_iter().map(told).collect::<Result<Vec<Number>, _>>()?;
        Ok(Json(List::of(Page { items, next_cursor: page.next_cursor })))
    }

    /// Read an attached number
    #[oai(path = "/numbers/:id", method = "get", operation_id = "get_number")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller, id: Path<Uuid>) -> Result<Json<Number>, Problem> {
        read(&state, caller.reader(), *id).await
    }

    /// Change the agent of a number, its environment, or whether its webhooks are set again
    #[oai(path = "/numbers/:id", method = "patch", operation_id = "change_number")]
    async fn change(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        body: Json<NumberChanges>,
    ) -> Result<Json<Number>, Problem> {
        let project_id = caller.writer()?;
        let Json(NumberChanges { agent_id, environment, repair_drift }) = body;
        let agent_id = changes::value("agent_id", agent_id)?;
        let environment = changes::value("environment", environment)?;
        let repair_drift = changes::value("repair_drift", repair_drift)?;
        if let Some(agent_id) = agent_id {
            known_agent(&state, project_id, agent_id).await?;
        }
        let mut connection = state.storage.connection().await?;
        let is_changed =
            number::change(&mut connection, (project_id, *id), agent_id, environment, repair_drift).await?;
        drop(connection);
        if !is_changed {
            return Err(Problem::not_found("number"));
        }
        read(&state, project_id, *id).await
    }

    /// Detach a number, and keep it at the carrier or release it
    #[oai(path = "/numbers/:id", method = "delete", operation_id = "detach_number")]
    async fn detach(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        /// What happens to the number at the carrier. Required. A short code can't be released
        /// here.
        at_carrier: Query<Option<OnDetach>>,
    ) -> Result<DetachAnswer, Problem> {
        let project_id = caller.writer()?;
        let wanted = match at_carrier.0 {
            Some(OnDetach::Keep) => DesiredState::Detached,
            Some(OnDetach::Release) => DesiredState::Released,
            None => {
                return Err(Problem::invalid(
                    "at_carrier_missing",
                    "say what becomes of the number at the carrier: ?at_carrier=keep, or ?at_carrier=release, which gives it back for good",
                ));
            }
        };
        let account = account(&state, project_id).await?;
        let mut connection = state.storage.connection().await?;
        if wanted == DesiredState::Released
            && let Some(found) = number::find(&mut connection, project_id, *id).await?
        {
            can_be_released(&found.number)?;
        }
        let is_stored = number::set_desired_state(&mut connection, project_id, *id, wanted).await?;
        drop(connection);
        if !is_stored {
            return Err(Problem::not_found("number"));
        }
        let claim = claim(&state, project_id, *id).await?;
        reconcile(&state, &account, &claim, OnRefusal::Keep).await?;
        Ok(DetachAnswer::Detached)
    }

    /// Tell what keeps messages of a number from coming or going
    #[oai(path = "/numbers/:id/health", method = "get", operation_id = "get_number_health")]
    async fn health(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        id: Path<Uuid>,
        /// Whether to ask the carrier now instead of telling what was observed last.
        refresh: Query<Option<bool>>,
    ) -> Result<Json<NumberHealth>, Problem> {
        let project_id = caller.reader();
        if refresh.0 == Some(true) {
            caller.writer()?;
            refresh_observation(&state, project_id, *id).await?;
        }
        let (number, country) = find(&state, project_id, *id).await?;
        let diagnostics = health::diagnose(&number, country.as_ref()).into_iter();
        let mut findings: Vec<Finding> = diagnostics.map(Into::into).collect();
        if let Err(problem) = account(&state, project_id).await {
            findings.push(Finding {
                severity: NumberHealthStatus::Blocked,
                what: format!("the carrier account can't be used: {}", problem.detail()),
                repair: Some("give it, or the key that encrypted it: PUT /v1/carrier, TEXTBACK_SECRET_KEY".to_owned()),
            });
        }
        // In the order of their declaration each status is worse than the one before.
        let status = findings.iter().map(|finding| finding.severity).max().unwrap_or(NumberHealthStatus::Ok);
        if findings.is_empty() {
            let what = format!("texts to {} come here, and its answers may leave", number.number);
            findings.push(Finding { severity: NumberHealthStatus::Ok, what, repair: None });
        }
        Ok(Json(NumberHealth { status, findings, checked_at: number.checked_at }))
    }
}

/// Reconciles a number for whoever asks about its health. What the carrier says of it is told in
/// its health; only a failure of our own is an error.
async fn refresh_observation(state: &ApiState, project_id: Uuid, id: Uuid) -> Result<(), Problem> {
    let reconciled = match account(state, project_id).await {
        Ok(account) => {
            let claim = claim(state, project_id, id).await?;
            reconcile(state, &account, &claim, OnRefusal::Keep).await
        }
        Err(problem) => Err(problem),
    };
    match reconciled.as_ref().map_err(Problem::code) {
        Ok(()) | Err("carrier_failed" | "carrier_account_missing" | "secret_unreadable") => Ok(()),
        Err(code) if code.starts_with("number_") && code != "number_busy" => Ok(()),
        Err(_) => reconciled,
    }
}

impl From<Diagnostic> for Finding {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { severity: diagnostic.severity, what: diagnostic.what, repair: Some(diagnostic.repair) }
    }
}

/// Refuses to release a number that can't be given back by the carrier's API.
fn can_be_released(number: &str) -> Result<(), Problem> {
    if phone_number::is_short_code(number) {
        return Err(Problem::invalid(
            "short_code_not_released",
            format!(
                "the short code {number} can't be released here: detach it (?at_carrier=keep), and end its lease at the carrier"
            ),
        ));
    }
    Ok(())
}

async fn known_agent(state: &ApiState, project_id: Uuid, agent_id: Uuid) -> Result<(), Problem> {
    match agent::find(&state.storage, project_id, agent_id).await? {
        Some(_) => Ok(()),
        None => Err(Problem::invalid(
            "agent_unknown",
            format!("this project has no agent {agent_id}; POST /v1/agents makes one"),
        )),
    }
}

pub(super) async fn account(state: &ApiState, project_id: Uuid) -> Result<std::sync::Arc<CarrierAccount>, Problem> {
    let account = state.accounts.of_project(project_id).await?;
    account.ok_or_else(|| {
        Problem::conflict(
            "carrier_account_missing",
            "the project has no carrier account; give it one first: PUT /v1/carrier",
        )
    })
}

async fn read(state: &ApiState, project_id: Uuid, id: Uuid) -> Result<Json<Number>, Problem> {
    let (number, country) = find(state, project_id, id).await?;
    Ok(Json(Number::of(number, country.as_ref())?))
}

/// A number with what is known of texting in its country.
async fn find(state: &ApiState, project_id: Uuid, id: Uuid) -> Result<(number::Number, Option<Country>), Problem> {
    let mut connection = state.storage.connection().await?;
    let number = number::find(&mut connection, project_id, id).await?.ok_or_else(|| Problem::not_found("number"))?;
    let country = country::of_number(&mut connection, &number).await?;
    Ok((number, country))
}

/// What was asked for is recorded all the same.
fn busy() -> Problem {
    Problem::conflict(
        "number_busy",
        "this number is being reconciled at this moment; what you ask is recorded and done next, and asking again is safe",
    )
}

/// Claims a number, to reconcile it here and now. A worker that has it is done in a moment, and
/// that is waited for.
async fn claim(state: &ApiState, project_id: Uuid, id: Uuid) -> Result<Claim, Problem> {
    let until = tokio::time::Instant::now() + BUSY;
    loop {
        let mut connection = state.storage.connection().await?;
        let claim = number::claim_one(&mut connection, project_id, id, LEASE_SECONDS).await?;
        if claim.is_none() && number::find(&mut connection, project_id, id).await?.is_none() {
            return Err(Problem::not_found("number"));
        }
        drop(connection);
        match claim {
            Some(claim) => return Ok(claim),
            None if tokio::time::Instant::now() > until => return Err(busy()),
            None => tokio::time::sleep(BUSY / 30).await,
        }
    }
}

/// Reconciles a claimed number. Whoever asks wants to know how it is now.
async fn reconcile(
    state: &ApiState,
    account: &CarrierAccount,
    claim: &Claim,
    on_refusal: OnRefusal,
) -> Result<(), Problem> {
    let reconciler = Reconciler::new(state.storage.clone(), state.carriers.clone(), state.public_base.clone());
    match reconciler.reconcile(account, claim, Freshness::Now, on_refusal).await? {
        ReconcileOutcome::Reconciled => Ok(()),
        ReconcileOutcome::LeaseLost => Err(busy()),
        ReconcileOutcome::Interrupted(error) => {
            state.storage.notifier().notify(JobKind::Number);
            Err(of_carrier(error))
        }
        ReconcileOutcome::Refused(refusal) => Err(of_refusal(&refusal)),
    }
}

pub(super) fn of_refusal(refusal: &Refusal) -> Problem {
    let told = refusal.to_string();
    match refusal {
        Refusal::NotOwned { .. } => Problem::invalid("number_not_owned", told),
        Refusal::NotForSale { .. } | Refusal::AsBefore { .. } => Problem::invalid("number_not_available", told),
        Refusal::NoTexts { .. } => Problem::invalid("number_without_sms", told),
        Refusal::UsedElsewhere { .. } | Refusal::OtherAccount { .. } => Problem::conflict("number_not_released", told),
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
    /// The answer about a number. A step that can't be read is a decode error, as if the query had
    /// read it.
    fn of(number: number::Number, country: Option<&Country>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            warnings: health::diagnose(&number, country).into_iter().map(|found| found.what).collect(),
            id: number.id,
            number: number.number,
            agent_id: number.agent_id,
            environment: number.environment,
            country: number.country,
            wanted: number.desired_state,
            carrier_id: number.carrier_id,
            pool_id: number.pool_id,
            number_type: number.number_type,
            webhook: number.webhook,
            webhook_detail: number.webhook_detail,
            webhook_set_at: number.webhook_set_at,
            repair_drift: number.repair_drift,
            registration: number.registration,
            registration_detail: number.registration_detail,
            sends: number.send_policy,
            steps: serde_json::from_value(number.steps).map_err(|error| sqlx::Error::Decode(error.into()))?,
            checked_at: number.checked_at,
            created_at: number.created_at,
        })
    }
}
