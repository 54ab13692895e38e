//! Diagnostics of a number: what keeps its messages from coming or going, and how to repair it, in
//! plain English.

use crate::carriers::error::CarrierError;
use crate::domain::number::{
    DesiredState, NumberHealthStatus, NumberRefusal, RegistrationPolicy, RegistrationStatus, WebhookState,
    is_registered_for_a2p,
};
use crate::domain::phone_number::is_short_code;
use crate::numbers::reconciler::Refusal;
use crate::storage::country::Country;
use crate::storage::number::Number;

/// Something that keeps messages of a number from coming or going.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// `Blocked` or `AtRisk`.
    pub severity: NumberHealthStatus,
    pub what: String,
    pub repair: String,
}

/// What stands in the row of a number whose registration can't be read.
const REGISTRATION_UNREAD: &str = "not looked at";
/// What stands in the row of a number after a delivery report told that it is not registered (see
/// the SQL function that records it).
const TOLD_BY_A_DELIVERY: &str = "the carrier blocked a text";
/// What is observed of a number that another project took.
pub(super) const TAKEN_BY_ANOTHER: &str =
    "another project of this installation has it now; whoever attaches it last gets its texts";

/// Why a number can't be as desired.
pub(super) fn of_refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotOwned { account, number } if is_short_code(number) => format!(
            "the carrier account {account} does not have the short code {number}; lease it at the carrier, which takes weeks and can't be done here, or give the account that has it: PUT /v1/carrier"
        ),
        Refusal::NotOwned { account, number } => format!(
            "the carrier account {account} does not own {number}; buy it first, here with buy: true or at the carrier"
        ),
        Refusal::NotForSale { number, reason } => format!("{number} can't be bought: {reason}"),
        Refusal::NoTexts { number } => format!("{number} can't send or receive texts; attach one that can"),
        Refusal::AsBefore { told, .. } => told.clone(),
        Refusal::UsedElsewhere { number } => format!(
            "{number} was detached here and not released: another project of this installation has it; release it there"
        ),
        Refusal::OtherAccount { number, account } => format!(
            "{number} was detached here and not released: it belongs to the carrier account {account}, which is not the project's any more; release it there"
        ),
    }
}

/// What stopped a reconciliation, after the webhooks had drifted perhaps.
pub(super) fn of_interruption(drift: Option<String>, error: &CarrierError) -> String {
    let told = format!("{error}{}", error.advice);
    match drift {
        Some(drift) => format!("{drift}, and it can't be set right: {told}"),
        None => told,
    }
}

/// Why the registration of a number can't be read.
pub(super) fn of_unread_registration(error: &CarrierError) -> String {
    format!("{REGISTRATION_UNREAD}: {error}")
}

/// Whether a delivery report told the detail of a registration.
pub(super) fn is_told_by_a_delivery(detail: Option<&str>) -> bool {
    detail.is_some_and(|detail| detail.starts_with(TOLD_BY_A_DELIVERY))
}

fn blocked(what: String, repair: impl Into<String>) -> Diagnostic {
    Diagnostic { severity: NumberHealthStatus::Blocked, what, repair: repair.into() }
}

fn at_risk(what: String, repair: impl Into<String>) -> Diagnostic {
    Diagnostic { severity: NumberHealthStatus::AtRisk, what, repair: repair.into() }
}

/// A detail, as it follows what it explains.
fn after_colon(detail: Option<&str>) -> String {
    detail.map(|detail| format!(": {detail}")).unwrap_or_default()
}

/// What keeps a number's messages from coming or going, as far as it was observed. `country` is
/// what is known of texting in the number's country.
pub fn diagnose(number: &Number, country: Option<&Country>) -> Vec<Diagnostic> {
    let mut diagnostics = of_webhook(number);
    diagnostics.extend(of_registration(number, country));
    diagnostics.extend(of_country(number, country));
    diagnostics
}

fn of_webhook(row: &Number) -> Vec<Diagnostic> {
    let (number, why) = (&row.number, after_colon(row.webhook_detail.as_deref()));
    match row.desired_state {
        DesiredState::Attached => {}
        DesiredState::Detached | DesiredState::Released => {
            return vec![at_risk(
                format!("{number} is to be {}, and is not yet{why}", row.desired_state),
                "textback work tries it again while it runs; asking again (DELETE /v1/numbers) is safe",
            )];
        }
    }
    let found = match row.refusal_reason {
        Some(reason) => Some(of_refusal_reason(number, reason, &why)),
        None => of_webhook_state(row, &why),
    };
    found.into_iter().chain(of_blocked_inbound(row)).collect()
}

fn of_refusal_reason(number: &str, reason: NumberRefusal, why: &str) -> Diagnostic {
    match reason {
        NumberRefusal::NotOwned if is_short_code(number) => blocked(
            format!("{number} is not in the carrier account{why}"),
            "renew its lease at the carrier, which is noticed within ten minutes; or detach it",
        ),
        NumberRefusal::NotOwned => blocked(
            format!("{number} is not in the carrier account{why}"),
            "get it back at the carrier, which is noticed within ten minutes; or buy it (POST /v1/numbers with buy: true), or detach it",
        ),
        NumberRefusal::NotForSale => blocked(
            format!("{number} could not be bought{why}"),
            "search for another one (GET /v1/available-numbers) and detach this one; or ask again with buy: true",
        ),
        NumberRefusal::NoTexts => blocked(
            format!("{number} can't carry texts{why}"),
            "attach a number that can, and detach or release this one",
        ),
    }
}

fn of_webhook_state(row: &Number, why: &str) -> Option<Diagnostic> {
    let number = &row.number;
    match row.webhook {
        WebhookState::Ok => None,
        WebhookState::Drifted => Some(blocked(
            format!("texts to {number} don't come here{why}"),
            "attach it again: POST /v1/numbers sets its webhooks; with repair_drift that happens by itself",
        )),
        WebhookState::Unreachable => Some(at_risk(
            format!("the carrier could not be asked about {number}{why}"),
            "it is asked again within ten minutes; GET /v1/numbers/{id}/health?refresh=true asks now",
        )),
        WebhookState::Pending if row.webhook_detail.is_some() => Some(blocked(
            format!("{number} is not set up at the carrier{why}"),
            "repair that; it is tried again within ten minutes, and asking again (POST /v1/numbers) is safe",
        )),
        WebhookState::Pending => Some(blocked(
            format!("{number} is not set up at the carrier yet"),
            "textback work does it while it runs; asking again (POST /v1/numbers) is safe",
        )),
    }
}

fn of_blocked_inbound(row: &Number) -> Option<Diagnostic> {
    let reason = row.inbound_blocked_reason.as_ref()?;
    Some(blocked(format!("texts to {} don't come here: {reason}", row.number), "change that in the carrier's console"))
}

/// How a number is registered.
fn how_to_register(row: &Number, country: Option<&Country>) -> String {
    if row.number_type.as_deref() == Some("toll-free") {
        return "ask for its toll-free verification at the carrier; it is read again every ten minutes".to_owned();
    }
    if row.country.as_deref().is_none_or(is_registered_for_a2p) {
        return "register a brand and a campaign (A2P 10DLC) at the carrier and assign the number to the campaign; it is read again every ten minutes".to_owned();
    }
    let country = country.map_or("this country", |country| &country.name);
    format!("ask the carrier how numbers of {country} are registered")
}

fn of_registration(row: &Number, country: Option<&Country>) -> Vec<Diagnostic> {
    let (number, registration) = (&row.number, row.registration);
    let why = after_colon(row.registration_detail.as_deref());
    let is_unread = row.registration_detail.as_deref().is_some_and(|detail| detail.starts_with(REGISTRATION_UNREAD));
    let register = how_to_register(row, country);
    let found = match (row.registration_policy, registration) {
        (RegistrationPolicy::Required, RegistrationStatus::Unregistered | RegistrationStatus::Rejected) => vec![
            blocked(format!("texts from {number} are not sent: its registration is {registration}{why}"), &register),
            at_risk(format!("texts to {number} may be blocked on their way, because it is not registered"), &register),
        ],
        (RegistrationPolicy::Required, RegistrationStatus::Pending) => {
            let wait = "wait for the approval; then they are sent in order";
            let repair = if is_unread { &register } else { wait };
            vec![blocked(format!("texts from {number} wait for its registration, which is pending{why}"), repair)]
        }
        // The registration of a number that is not set up is not asked for, and that was told
        // above.
        (RegistrationPolicy::Required, RegistrationStatus::Unknown)
            if is_unread || (row.webhook == WebhookState::Ok && row.refusal_reason.is_none()) =>
        {
            vec![at_risk(format!("it is not known whether {number} is registered{why}"), &register)]
        }
        (
            RegistrationPolicy::Advised,
            RegistrationStatus::Unregistered | RegistrationStatus::Rejected | RegistrationStatus::Pending,
        ) => vec![at_risk(
            format!("texts from {number} may be blocked: its registration is {registration}{why}"),
            &register,
        )],
        (
            RegistrationPolicy::Required | RegistrationPolicy::Advised,
            RegistrationStatus::NotRequired | RegistrationStatus::Approved | RegistrationStatus::Unknown,
        )
        | (RegistrationPolicy::None | RegistrationPolicy::Unknown, _) => Vec::new(),
    };
    if is_unread && found.is_empty() {
        return vec![at_risk(
            format!("the registration of {number} can't be read; what was known before counts{why}"),
            "let the key read it; it is read again every ten minutes",
        )];
    }
    found
}

fn of_country(row: &Number, country: Option<&Country>) -> Option<Diagnostic> {
    if is_short_code(&row.number) {
        // Its digits name no country, and texts go both ways wherever its carriers approved it.
        return None;
    }
    let Some(country) = country else {
        return Some(at_risk(
            format!(
                "the digits of {} do not tell its country, so nobody knows whether texts go both ways there",
                row.number
            ),
            "try it with a phone there",
        ));
    };
    let tell = format!("try it with a phone there, and tell what you find: PATCH /v1/countries/{}", country.iso2);
    match country.two_way {
        Some(false) => Some(blocked(
            format!("in {} texts don't go both ways ({})", country.name, country.source_of_two_way()),
            tell,
        )),
        None => Some(at_risk(format!("nobody knows whether texts go both ways in {}", country.name), tell)),
        Some(true) => (country.two_way_long_code == Some(false) && !country.two_way_ruled).then(|| {
            at_risk(
                format!(
                    "in {} texts go both ways with short codes and the like, but not with an ordinary number",
                    country.name
                ),
                tell,
            )
        }),
    }
}
