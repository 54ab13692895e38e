//! Who a message leaves from, and why it can't leave from who was asked for.

use uuid::Uuid;

use super::ApiState;
use crate::domain::number::SendPolicy;
use crate::domain::phone_number;
use crate::domain::pool::{Choice, Member, choose};
use crate::http::problem::Problem;
use crate::storage::number;
use crate::storage::pool::{self, PoolContact};
use crate::storage::sending::SendFrom;

/// The number that a request names, or the one that is chosen when it names none.
pub(super) async fn of_number(
    state: &ApiState,
    project_id: Uuid,
    contact: &str,
    from: Option<String>,
    country: Option<&str>,
) -> Result<SendFrom, Problem> {
    let mut connection = state.storage.connection().await?;
    let sender = match from {
        Some(from) => number::find_by_number(&mut connection, project_id, &from).await?.ok_or_else(|| {
            Problem::invalid(
                "number_not_ours",
                format!("{from:?} is not a number of this project; list them with GET /v1/numbers, or attach one with POST /v1/numbers"),
            )
        })?,
        None => number::choose(&mut connection, project_id, contact, country).await?.ok_or_else(|| {
            Problem::conflict("number_missing", "this project has no number to send from; attach one with POST /v1/numbers")
        })?,
    };
    if sender.unregistered {
        return Err(not_registered(&sender.number));
    }
    Ok(SendFrom::Number { id: sender.id, number: sender.number })
}

/// A pool that a request names, by what is neither a number nor a short code. Its number is chosen
/// under a lock later; here the request is refused early and in words.
pub(super) async fn of_pool(state: &ApiState, of: PoolContact<'_>) -> Result<SendFrom, Problem> {
    let pool_id = of.pool_id;
    let forms: Vec<Result<(), &str>> = state.carriers.all().map(|carrier| carrier.check_pool_id(pool_id)).collect();
    if let Some(Err(form)) = forms.first().filter(|_| forms.iter().all(Result::is_err)) {
        return Err(Problem::invalid(
            "from_invalid",
            format!(
                "from must be a number of this project in E.164, such as +14155550199, or a short code, such as 72975, or {form}; it is {pool_id:?}"
            ),
        ));
    }
    let facts = pool::facts(&mut *state.storage.connection().await?, of).await?;
    match choose(&facts, of.contact, phone_number::country(of.contact).as_deref()) {
        Choice::NoNumber => Err(Problem::invalid(
            "pool_unknown",
            format!(
                "no attached number of this project is in {pool_id}; attach one of its numbers with POST /v1/numbers; if one is attached, \
                 GET /v1/numbers/{{id}}/health?refresh=true reads now which pool it is in (pool_id in GET /v1/numbers)"
            ),
        )),
        Choice::Number(Member { number, send_policy: SendPolicy::Blocked, .. }) => Err(not_registered(number)),
        // An opt-out is looked at again under the lock.
        Choice::Number(_) | Choice::ContactOptedOut => Ok(SendFrom::Pool { pool_id: pool_id.to_owned() }),
    }
}

fn not_registered(number: &str) -> Problem {
    Problem::conflict(
        "number_not_registered",
        format!(
            "the carrier blocks messages from {number} until it is registered (A2P 10DLC, or toll-free verification); register it at the carrier; we check it every ten minutes"
        ),
    )
}
