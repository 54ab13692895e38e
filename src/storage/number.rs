//! Our numbers: wanted, claimed to be looked after, and settled by what was seen and done at the carrier; nothing here calls it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::job::JobKind;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::pagination::Page;
use crate::storage::set_aside::read_claims;
use crate::storage::{Storage, new_id};

/// A number that a project has or wants.
#[derive(Debug, Clone, FromRow)]
pub struct Number {
    pub id: Uuid,
    pub project_id: Uuid,
    pub number: String,
    pub agent_id: Uuid,
    /// ISO 3166-1 alpha-2, when the digits tell.
    pub country: Option<String>,
    /// `attached`, or `detached` or `released` while that is under way.
    pub desired_state: String,
    /// Changes with each request for another state.
    pub generation: Uuid,
    pub may_buy: bool,
    /// The carrier's id; none until it was found or bought.
    pub carrier_sid: Option<String>,
    /// The carrier account that has it, as was seen last.
    pub account_sid: Option<String>,
    /// Why it can't serve us: `not_owned`, `not_for_sale` or `no_texts`.
    pub refusal_reason: Option<String>,
    /// `local`, `mobile`, `toll-free` and the like, as the carrier says.
    pub number_type: Option<String>,
    /// `pending`, `ok`, `drifted` or `unreachable`.
    pub webhook: String,
    pub webhook_detail: Option<String>,
    pub mend_drift: bool,
    pub webhook_set_at: Option<DateTime<Utc>>,
    /// Why inbound texts vanish though the webhook is right.
    pub inbound_blocked_reason: Option<String>,
    /// `not_required`, `unregistered`, `pending`, `approved`, `rejected` or `unknown`.
    pub registration: String,
    pub registration_detail: Option<String>,
    /// `open`, `held` or `blocked`: what its registration means for its texts.
    pub send_policy: String,
    /// `[{"at", "step", "detail"?}]`, the newest last.
    pub steps: Value,
    pub checked_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    /// `required`, `advised`, `none` or `unknown`, as its country has it in this project.
    pub registration_policy: String,
}

/// A number that this process may look after until its lease ends.
#[derive(Debug, Clone, FromRow)]
pub struct Claim {
    #[sqlx(flatten)]
    pub number: Number,
    /// Without it nothing that was seen can be written.
    pub token: Uuid,
}

/// A number to be attached.
#[derive(Debug, Clone)]
pub struct Wish {
    pub project_id: Uuid,
    pub number: String,
    pub agent_id: Uuid,
    pub country: Option<String>,
    pub may_buy: bool,
    /// None: as it is, or true.
    pub mend_drift: Option<bool>,
}

/// What was seen and done about a number. What is `None` was not looked at.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// The request that was reconciled.
    pub generation: Uuid,
    pub carrier_sid: Option<String>,
    /// The account that has it.
    pub account_sid: Option<String>,
    /// Why it can't serve us.
    pub refusal_reason: Option<&'static str>,
    pub number_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<&'static str>,
    pub webhook_detail: Option<String>,
    pub webhook_was_set: bool,
    /// The inner one: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound_blocked_reason: Option<Option<String>>,
    pub registration: Option<&'static str>,
    pub registration_detail: Option<String>,
    /// It was detached or released.
    pub gone: bool,
    pub steps: Vec<Step>,
    /// When it is to be looked at next.
    pub check_in_seconds: f64,
}

/// Something that was done at the carrier.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub step: &'static str,
    pub detail: Option<String>,
}

/// Notes that a number is wanted, before anything is asked of the carrier: what a crash interrupts goes on from here. `None`:
/// it is being released at this moment.
pub async fn want(storage: &Storage, wish: &Wish) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(include_str!("../../sql/queries/number/attach.sql"))
        .bind(new_id())
        .bind(wish.project_id)
        .bind(&wish.number)
        .bind(wish.agent_id)
        .bind(&wish.country)
        .bind(wish.may_buy)
        .bind(wish.mend_drift)
        .bind(new_id())
        .fetch_optional(&storage.pool)
        .await
}

/// Changes the agent of a number, or whether its webhooks are mended. False: the project has no such number.
pub async fn change(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    agent_id: Option<Uuid>,
    mend_drift: Option<bool>,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query(include_str!("../../sql/queries/number/change.sql"))
        .bind(project_id)
        .bind(id)
        .bind(agent_id)
        .bind(mend_drift)
        .execute(&storage.pool)
        .await?;
    Ok(changed.rows_affected() == 1)
}

/// Notes that a number is to be `detached` or `released`. False: the project has no such number.
pub async fn part(storage: &Storage, project_id: Uuid, id: Uuid, wanted: &str) -> Result<bool, sqlx::Error> {
    let noted = sqlx::query(include_str!("../../sql/queries/number/set_desired_state.sql"))
        .bind(project_id)
        .bind(id)
        .bind(wanted)
        .bind(new_id())
        .execute(&storage.pool)
        .await?;
    Ok(noted.rows_affected() == 1)
}

/// Takes a number to look after it, for `lease_seconds`; `None` when somebody else does, or there is none.
pub async fn take(
    storage: &Storage,
    project_id: Uuid,
    id: Uuid,
    lease_seconds: u32,
) -> Result<Option<Claim>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/number/take.sql"))
        .bind(project_id)
        .bind(id)
        .bind(f64::from(lease_seconds))
        .bind(new_id())
        .fetch_optional(&storage.pool)
        .await
}

/// Claims numbers that are to be looked after, as far as there is room, for `lease_seconds`.
pub async fn claim_check(storage: &Storage, room: ClaimLimits, lease_seconds: u32) -> Result<Vec<Claim>, sqlx::Error> {
    let token = new_id();
    let claiming = room.bind(sqlx::query(include_str!("../../sql/queries/number/claim_check.sql")));
    let claiming = claiming.bind(f64::from(lease_seconds)).bind(token).bind(room.only);
    read_claims(storage, JobKind::Number, claiming, "id", Some(token)).await
}

/// Holds a number while somebody looks after it, however long that takes. Should it be lost all the same, what was seen
/// can't be written.
pub async fn while_held<F: Future>(storage: &Storage, claim: &Claim, lease_seconds: u32, look: F) -> F::Output {
    let mut look = std::pin::pin!(look);
    loop {
        tokio::select! {
            looked = &mut look => return looked,
            () = tokio::time::sleep(Duration::from_secs(u64::from(lease_seconds)) / 3) => {
                let renewed = sqlx::query(include_str!("../../sql/queries/number/renew.sql"))
                    .bind(claim.number.id)
                    .bind(claim.token)
                    .bind(f64::from(lease_seconds))
                    .execute(&storage.pool)
                    .await;
                if let Err(error) = renewed {
                    tracing::warn!(%error, number_id = %claim.number.id, "the number's lease could not be renewed");
                }
            }
        }
    }
}

/// Gives back numbers that were claimed and not looked after.
pub async fn give_back(storage: &Storage, claims: &[Claim]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.number.id).collect();
    let tokens: Vec<Uuid> = claims.iter().map(|claim| claim.token).collect();
    sqlx::query(include_str!("../../sql/queries/number/give_back.sql"))
        .bind(ids)
        .bind(tokens)
        .execute(&storage.pool)
        .await?;
    Ok(())
}

/// Writes what was seen and done about a number. False: the lease was lost.
pub async fn settle(storage: &Storage, claim: &Claim, facts: &Facts) -> Result<bool, sqlx::Error> {
    let mut told = serde_json::to_value(facts).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    bounds::told(&mut told, bounds::ERROR_BYTES);
    // It locks the number first, and then its texts; who sends one holds it and may look at the number.
    let settled = database::retry_on_deadlock(|| {
        sqlx::query_scalar(include_str!("../../sql/queries/number/settle.sql"))
            .bind(claim.number.id)
            .bind(claim.token)
            .bind(&told)
            .fetch_one(&storage.pool)
    })
    .await?;
    // An approval lets go what was held.
    storage.notifier.notify(JobKind::Delivery);
    Ok(settled)
}

/// Takes back that a number is wanted which was never ours: the carrier will never have it for us. False: somebody wished for
/// it anew, or the lease was lost.
pub async fn forget(storage: &Storage, claim: &Claim) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(include_str!("../../sql/queries/number/forget.sql"))
        .bind(claim.number.id)
        .bind(claim.token)
        .bind(claim.number.generation)
        .fetch_one(&storage.pool)
        .await
}

/// One attached number of a project.
pub async fn find(storage: &Storage, project_id: Uuid, id: Uuid) -> Result<Option<Number>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/number/find.sql"))
        .bind(project_id)
        .bind(id)
        .fetch_optional(&storage.pool)
        .await
}

/// The attached numbers of a project, newest first.
pub async fn list(
    storage: &Storage,
    project_id: Uuid,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Number>, sqlx::Error> {
    let rows = sqlx::query_as(include_str!("../../sql/queries/number/list.sql"))
        .bind(project_id)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&storage.pool)
        .await?;
    Ok(Page::of(rows, limit, |number: &Number| number.id.to_string()))
}

/// A number whose inbound texts are to be read back from the carrier.
#[derive(Debug, Clone, FromRow)]
pub struct ReadBack {
    pub id: Uuid,
    pub project_id: Uuid,
    pub number: String,
    /// What came before that is not ours.
    pub attached_at: DateTime<Utc>,
    /// The texts up to then are known, by the carrier's clock.
    pub backfilled_until: DateTime<Utc>,
}

/// Claims numbers that are to be read back, as far as there is room, and puts each off for `every_seconds`.
pub async fn claim_read_back(
    storage: &Storage,
    room: ClaimLimits,
    every_seconds: u32,
) -> Result<Vec<ReadBack>, sqlx::Error> {
    let claiming = room.bind(sqlx::query(include_str!("../../sql/queries/number/claim_backfill.sql")));
    let claiming = claiming.bind(f64::from(every_seconds)).bind(room.only);
    read_claims(storage, JobKind::Backfill, claiming, "id", None).await
}

/// Notes that the texts up to a time of the carrier's are known.
pub async fn mark_backfilled(storage: &Storage, id: Uuid, until: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../sql/queries/number/mark_backfilled.sql"))
        .bind(id)
        .bind(until)
        .execute(&storage.pool)
        .await?;
    Ok(())
}

/// A number that a text can leave from.
#[derive(Debug, Clone, FromRow)]
pub struct Sender {
    pub id: Uuid,
    pub number: String,
    /// ISO 3166-1 alpha-2, when the digits tell.
    pub country: Option<String>,
    /// Whether it may not send for want of its registration.
    pub unregistered: bool,
}

/// An attached number of a project, by its digits.
pub async fn find_by_number(storage: &Storage, project_id: Uuid, number: &str) -> Result<Option<Sender>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/number/find_by_number.sql"))
        .bind(project_id)
        .bind(number)
        .fetch_optional(&storage.pool)
        .await
}

/// The number that texts a contact when nobody names one; `None` when the project has none.
pub async fn choose(
    storage: &Storage,
    project_id: Uuid,
    contact: &str,
    country: Option<&str>,
) -> Result<Option<Sender>, sqlx::Error> {
    sqlx::query_as(include_str!("../../sql/queries/number/choose.sql"))
        .bind(project_id)
        .bind(contact)
        .bind(country)
        .fetch_optional(&storage.pool)
        .await
}
