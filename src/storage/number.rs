//! Numbers of projects: what they are to become, claimed to be reconciled with the carrier, and
//! settled by what was observed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::domain::agent::Environment;
use crate::domain::bounds;
use crate::domain::job::JobKind;
use crate::domain::number::{
    DesiredState, NumberRefusal, RegistrationPolicy, RegistrationStatus, SendPolicy, WebhookState,
};
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::pagination::{Page, rows_to_read};
use crate::storage::set_aside::{Claiming, read_claims};
use crate::storage::{Storage, new_id, registration};

/// A number that a project has or wants. Claims decode it by the names of the columns, which say in
/// the SQL text that this struct decides on their types.
#[derive(Debug, Clone, FromRow)]
pub struct Number {
    pub id: Uuid,
    pub project_id: Uuid,
    pub number: String,
    pub agent_id: Uuid,
    /// The environment of the agent whose active version new sessions get.
    #[sqlx(rename = "environment: _")]
    pub environment: Environment,
    /// ISO 3166-1 alpha-2, when the digits tell.
    pub country: Option<String>,
    #[sqlx(rename = "desired_state: _")]
    pub desired_state: DesiredState,
    /// Changes with each request for another state.
    pub generation: Uuid,
    pub may_buy: bool,
    /// The carrier's id. `None` until it was found or bought.
    pub carrier_id: Option<String>,
    /// The carrier account that had it when it was observed last.
    pub account_sid: Option<String>,
    /// Why it can't serve.
    #[sqlx(rename = "refusal_reason: _")]
    pub refusal_reason: Option<NumberRefusal>,
    /// `local`, `mobile`, `toll-free` and the like, in the carrier's words.
    pub number_type: Option<String>,
    #[sqlx(rename = "webhook: _")]
    pub webhook: WebhookState,
    pub webhook_detail: Option<String>,
    pub repair_drift: bool,
    pub webhook_set_at: Option<DateTime<Utc>>,
    /// Why inbound messages vanish though the webhook is right.
    pub inbound_blocked_reason: Option<String>,
    /// The carrier's id of the pool that it is in.
    pub pool_id: Option<String>,
    #[sqlx(rename = "registration: _")]
    pub registration: RegistrationStatus,
    pub registration_detail: Option<String>,
    #[sqlx(rename = "send_policy: _")]
    pub send_policy: SendPolicy,
    /// `[{"at", "step", "detail"?}]`, the newest last.
    pub steps: Value,
    pub checked_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// What its country asks of it in this project.
    #[sqlx(rename = "registration_policy!: _")]
    pub registration_policy: RegistrationPolicy,
}

/// A number that this process may reconcile until its lease ends.
#[derive(Debug, Clone)]
pub struct Claim {
    pub number: Number,
    /// Without it nothing that was observed can be written.
    pub token: Uuid,
}

/// A number to be attached.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    pub project_id: Uuid,
    pub number: String,
    pub agent_id: Uuid,
    /// The environment of the agent. None: as it is, and live for a new number.
    pub environment: Option<Environment>,
    pub country: Option<String>,
    pub may_buy: bool,
    /// `None`: as it is. A new number has true.
    pub repair_drift: Option<bool>,
}

/// What was observed and done at the carrier about a number. What is `None` was not observed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ObservedState {
    /// The request that was reconciled.
    pub generation: Uuid,
    pub carrier_id: Option<String>,
    /// The account that has it.
    pub account_sid: Option<String>,
    /// Why it can't serve us.
    pub refusal_reason: Option<NumberRefusal>,
    pub number_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookState>,
    pub webhook_detail: Option<String>,
    pub webhook_was_set: bool,
    /// The inner one is `None` when nothing blocks them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound_blocked_reason: Option<Option<String>>,
    /// The inner one is `None` when it is in no pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_id: Option<Option<String>>,
    pub registration: Option<RegistrationStatus>,
    pub registration_detail: Option<String>,
    /// It was detached or released.
    pub gone: bool,
    pub steps: Vec<Step>,
    /// When it is to be reconciled next.
    pub check_in_seconds: f64,
}

/// Something that was done at the carrier.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub step: &'static str,
    pub detail: Option<String>,
}

/// Stores that a number is wanted, before the carrier is asked for anything, so that a crash
/// interrupts nothing for good. `None`: it is being released at this moment.
pub async fn attach(connection: &mut PgConnection, request: &AttachRequest) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_file_scalar!(
        "sql/queries/number/attach.sql",
        new_id(),
        request.project_id,
        request.number,
        request.agent_id,
        request.environment.map(Environment::as_str),
        request.country.as_deref(),
        request.may_buy,
        request.repair_drift,
        new_id(),
    )
    .fetch_one(connection)
    .await
}

/// Changes the agent of a number, its environment, or whether its webhooks are repaired. Returns
/// false if the project has no such number.
pub async fn change(
    connection: &mut PgConnection,
    (project_id, id): (Uuid, Uuid),
    agent_id: Option<Uuid>,
    environment: Option<Environment>,
    repair_drift: Option<bool>,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query_file!(
        "sql/queries/number/change.sql",
        project_id,
        id,
        agent_id,
        environment.map(Environment::as_str),
        repair_drift
    )
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Stores that a number is to be detached or released. Returns false if the project has no such
/// number.
pub async fn set_desired_state(
    connection: &mut PgConnection,
    project_id: Uuid,
    id: Uuid,
    state: DesiredState,
) -> Result<bool, sqlx::Error> {
    let stored =
        sqlx::query_file!("sql/queries/number/set_desired_state.sql", project_id, id, state.as_str(), new_id())
            .execute(connection)
            .await?;
    Ok(stored.rows_affected() == 1)
}

/// Claims one number for `lease_seconds`. `None` when another process has claimed it, or there is
/// none.
pub async fn claim_one(
    connection: &mut PgConnection,
    project_id: Uuid,
    id: Uuid,
    lease_seconds: u32,
) -> Result<Option<Claim>, sqlx::Error> {
    let token = new_id();
    let lease = f64::from(lease_seconds);
    let number = sqlx::query_file_as!(Number, "sql/queries/number/take.sql", project_id, id, lease, token)
        .fetch_optional(connection)
        .await?;
    Ok(number.map(|number| Claim { number, token }))
}

/// Claims numbers that are due for a check, within the limits, for `lease_seconds`.
pub async fn claim_due(storage: &Storage, limits: ClaimLimits, lease_seconds: u32) -> Result<Vec<Claim>, sqlx::Error> {
    let token = new_id();
    let owners = limits.owners.parameters();
    let claiming = sqlx::query_file_as!(
        Number,
        "sql/queries/number/claim_check.sql",
        limits.most,
        &owners.full[..],
        &owners.limited[..],
        &owners.quotas[..],
        owners.others,
        f64::from(lease_seconds),
        token,
        limits.only.as_deref(),
    );
    let claim = Claiming { work: JobKind::Number, id_column: "id", token: Some(token) };
    let numbers: Vec<Number> = read_claims(storage, claim, claiming).await?;
    Ok(numbers.into_iter().map(|number| Claim { number, token }).collect())
}

/// Writes a batch of a decision about the messages that waited for the registration of some number,
/// in a transaction of its own. Returns whether it wrote one: more may follow.
pub async fn release_held(storage: &Storage) -> Result<bool, sqlx::Error> {
    let wrote_one = sqlx::query_file_scalar!("sql/queries/number/release_next.sql")
        .fetch_one(&mut *storage.connection().await?)
        .await?;
    if wrote_one {
        storage.notifier.notify(JobKind::Delivery);
    }
    Ok(wrote_one)
}

/// Renews the lease of a number while a future runs, however long that takes. If the lease is lost
/// all the same, what was observed can't be written.
pub async fn while_leased<F: Future>(storage: &Storage, claim: &Claim, lease_seconds: u32, running: F) -> F::Output {
    let mut running = std::pin::pin!(running);
    loop {
        tokio::select! {
            output = &mut running => return output,
            () = tokio::time::sleep(Duration::from_secs(u64::from(lease_seconds)) / 3) => {
                if let Err(error) = renew(storage, claim, lease_seconds).await {
                    tracing::warn!(%error, number_id = %claim.number.id, "the number's lease could not be renewed");
                }
            }
        }
    }
}

async fn renew(storage: &Storage, claim: &Claim, lease_seconds: u32) -> Result<(), sqlx::Error> {
    let (id, lease) = (claim.number.id, f64::from(lease_seconds));
    let mut connection = storage.connection().await?;
    sqlx::query_file!("sql/queries/number/renew.sql", id, claim.token, lease).execute(&mut *connection).await?;
    Ok(())
}

/// Gives back numbers that were claimed and not checked.
pub async fn give_back(connection: &mut PgConnection, claims: &[Claim]) -> Result<(), sqlx::Error> {
    let (ids, tokens): (Vec<Uuid>, Vec<Uuid>) = claims.iter().map(|claim| (claim.number.id, claim.token)).unzip();
    sqlx::query_file!("sql/queries/number/give_back.sql", &ids[..], &tokens[..]).execute(connection).await?;
    Ok(())
}

/// Writes what was observed and done about a number. Returns false if the lease was lost. It locks
/// the number and then its deliveries, so it may be ended by a deadlock with somebody who has
/// locked a delivery and reads the number. The caller commits, and tells the workers of deliveries,
/// because an approval releases what waited for it.
pub async fn settle(
    connection: &mut PgConnection,
    claim: &Claim,
    observed: &ObservedState,
) -> Result<bool, sqlx::Error> {
    let mut told = serde_json::to_value(observed).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    bounds::told(&mut told, bounds::ERROR_BYTES);
    let is_settled = sqlx::query_file_scalar!("sql/queries/number/settle.sql", claim.number.id, claim.token, told)
        .fetch_one(&mut *connection)
        .await?;
    let (registration, detail) = (observed.registration, observed.registration_detail.clone());
    if is_settled && !observed.gone && (registration.is_some() || detail.is_some()) {
        registration::settle(connection, &[claim.number.id], &registration::Observed { registration, detail }).await?;
    }
    Ok(is_settled)
}

/// Removes a number that was never the project's, because the carrier will never have it for us.
/// Returns false if it was requested again, or the lease was lost.
pub async fn forget(connection: &mut PgConnection, claim: &Claim) -> Result<bool, sqlx::Error> {
    let (id, generation) = (claim.number.id, claim.number.generation);
    sqlx::query_file_scalar!("sql/queries/number/forget.sql", id, claim.token, generation).fetch_one(connection).await
}

/// One attached number of a project.
pub async fn find(connection: &mut PgConnection, project_id: Uuid, id: Uuid) -> Result<Option<Number>, sqlx::Error> {
    sqlx::query_file_as!(Number, "sql/queries/number/find.sql", project_id, id).fetch_optional(connection).await
}

/// The attached numbers of a project, newest first.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Number>, sqlx::Error> {
    let rows = sqlx::query_file_as!(Number, "sql/queries/number/list.sql", project_id, before, rows_to_read(limit))
        .fetch_all(connection)
        .await?;
    Ok(Page::of(rows, limit, |number: &Number| number.id.to_string()))
}

/// A number whose inbound messages are to be backfilled from the carrier's list.
#[derive(Debug, Clone, FromRow)]
pub struct BackfillClaim {
    pub id: Uuid,
    pub project_id: Uuid,
    pub number: String,
    /// What came before that is not ours.
    pub attached_at: DateTime<Utc>,
    /// The messages up to then are known, by the carrier's clock.
    pub backfilled_until: DateTime<Utc>,
}

/// Claims numbers that are due for a backfill, within the limits. Each is due again after
/// `every_seconds`.
pub async fn claim_backfill(
    storage: &Storage,
    limits: ClaimLimits,
    every_seconds: u32,
) -> Result<Vec<BackfillClaim>, sqlx::Error> {
    let owners = limits.owners.parameters();
    let claiming = sqlx::query_file_as!(
        BackfillClaim,
        "sql/queries/number/claim_backfill.sql",
        limits.most,
        &owners.full[..],
        &owners.limited[..],
        &owners.quotas[..],
        owners.others,
        f64::from(every_seconds),
        limits.only.as_deref(),
    );
    read_claims(storage, Claiming { work: JobKind::Backfill, id_column: "id", token: None }, claiming).await
}

/// Stores that the messages up to a time of the carrier's clock are known.
pub async fn mark_backfilled(connection: &mut PgConnection, id: Uuid, until: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/number/mark_backfilled.sql", id, until).execute(connection).await?;
    Ok(())
}

/// A number that a message can leave from.
#[derive(Debug, Clone)]
pub struct Sender {
    pub id: Uuid,
    pub number: String,
    /// ISO 3166-1 alpha-2, when the digits tell.
    pub country: Option<String>,
    /// Whether it may not send because it is not registered.
    pub unregistered: bool,
}

/// An attached number of a project, by its digits.
pub async fn find_by_number(
    connection: &mut PgConnection,
    project_id: Uuid,
    number: &str,
) -> Result<Option<Sender>, sqlx::Error> {
    sqlx::query_file_as!(Sender, "sql/queries/number/find_by_number.sql", project_id, number)
        .fetch_optional(connection)
        .await
}

/// Whether a project has or had a number. One that was detached keeps its sessions and its
/// consents.
pub async fn is_of_project(connection: &mut PgConnection, project_id: Uuid, number: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_file_scalar!("sql/queries/number/is_of_project.sql", project_id, number).fetch_one(connection).await
}

/// The number that sends to a contact when the request names none. `None` when the project has no
/// number.
pub async fn choose(
    connection: &mut PgConnection,
    project_id: Uuid,
    contact: &str,
    country: Option<&str>,
) -> Result<Option<Sender>, sqlx::Error> {
    sqlx::query_file_as!(Sender, "sql/queries/number/choose.sql", project_id, contact, country)
        .fetch_optional(connection)
        .await
}
