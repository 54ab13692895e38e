//! Whether a number can be attached. Nothing is changed here, neither in the database nor at the
//! carrier.

use uuid::Uuid;

use super::carrier::of_carrier;
use super::{ApiState, numbers};
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::numbers::attempt;
use crate::storage::country;

/// Refuses a number that can't be attached, whatever the carrier says.
pub(super) fn form(number: &str, buy: bool) -> Result<(), Problem> {
    if !phone_number::is_e164_or_short_code(number) {
        return Err(Problem::invalid(
            "number_not_e164",
            format!(
                "{number} is neither in E.164 nor a short code; write + and the digits with the country code, such as +14155550199, or the 3 to 8 digits of a short code"
            ),
        ));
    }
    if buy && phone_number::is_short_code(number) {
        return Err(Problem::invalid(
            "short_code_not_sold",
            format!(
                "the short code {number} can't be bought here: people lease it at the carrier; when the account has it, attach it without buy"
            ),
        ));
    }
    Ok(())
}

/// The country of a number. Refuses one that has no texts in both directions.
pub(super) async fn country(state: &ApiState, project_id: Uuid, number: &str) -> Result<Option<String>, Problem> {
    let country = phone_number::country(number);
    if let Some(iso2) = &country
        && let Some(known) = country::find(&mut *state.storage.connection().await?, project_id, iso2).await?
        && known.two_way == Some(false)
    {
        return Err(numbers::without_sms(&known));
    }
    Ok(country)
}

/// Refuses a number that can't be attached without buying it, for a command that makes an agent
/// before it attaches the number: a refusal after that would leave an agent that answers nobody.
pub(super) async fn check(state: &ApiState, project_id: Uuid, number: &str) -> Result<(), Problem> {
    form(number, false)?;
    let account = numbers::account(state, project_id).await?;
    country(state, project_id, number).await?;
    match attempt::refusal_of_unbought(&state.carriers, &account, number).await.map_err(of_carrier)? {
        None => Ok(()),
        Some(refusal) => Err(numbers::of_refusal(&refusal)),
    }
}
