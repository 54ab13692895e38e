//! What becomes of a delivery by what came of the call of its carrier.

use super::delivery::{DeliveryErrorClass, DeliveryStatus, DeliveryStepSource};

/// How many seconds an unknown delivery is left to the carrier's own report before it is looked
/// for.
const SECONDS_FOR_A_REPORT: f64 = 3.0;

/// Why a delivery did not go out, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The carrier's error code, if it gave one.
    pub code: Option<i32>,
    pub class: DeliveryErrorClass,
    pub detail: String,
    /// Who told. `None`: textback itself, before it called the carrier.
    pub by: Option<DeliveryStepSource>,
}

/// What came of the call of the carrier.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The carrier has the message, under this id.
    Accepted { carrier_id: String },
    /// It can't be delivered.
    Failed(Refusal),
    /// The carrier may have it or not. It is never sent again blindly.
    Unknown(Refusal),
    /// The carrier certainly does not have it. It is sent again after so many seconds.
    PutOff { seconds: f64, refusal: Refusal },
}

impl Outcome {
    /// The words of all outcomes, for metrics.
    pub const WORDS: &[&str] = &["accepted", "failed", "unknown", "put_off"];

    /// The word of this outcome.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Failed(_) => "failed",
            Self::Unknown(_) => "unknown",
            Self::PutOff { .. } => "put_off",
        }
    }

    /// Whether the contact is locked first: where a delivery is planned again or tells of an
    /// opt-out. An opt-out suppresses what is planned.
    pub fn locks_contact(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Unknown(_) => false,
            Self::Failed(refusal) => refusal.class == DeliveryErrorClass::OptedOut,
            Self::PutOff { .. } => true,
        }
    }
}

/// How the outcome of a delivery is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Store {
    pub status: DeliveryStatus,
    /// In how many seconds there is work with it again, if there is.
    pub due_in_seconds: Option<f64>,
    pub effect: Effect,
    /// Whether there may be work with deliveries now, even if no other delivery to the contact
    /// waits.
    pub has_work: bool,
}

/// What else follows from the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    /// It is withdrawn if its message is no longer true.
    WithdrawIfStale,
    /// The same, and its number is not in the pool through which it was to leave.
    LeavePool,
    /// The session of a warning ends, and a number without registration is checked.
    ReportFailure,
    /// The same, and the contact has opted out at the carrier.
    OptOut,
}

/// Decides about a delivery. The decision counts only if the delivery is still claimed: otherwise
/// its lease was lost, or a status report was faster and stays.
pub fn decide(outcome: &Outcome) -> Store {
    let (status, due_in_seconds, effect, has_work) = match outcome {
        Outcome::Accepted { .. } => (DeliveryStatus::Accepted, None, Effect::Nothing, false),
        Outcome::Unknown(_) => (DeliveryStatus::Unknown, Some(SECONDS_FOR_A_REPORT), Effect::Nothing, true),
        Outcome::PutOff { seconds, refusal } => {
            let leaves_pool = refusal.class == DeliveryErrorClass::NotInPool;
            let effect = if leaves_pool { Effect::LeavePool } else { Effect::WithdrawIfStale };
            (DeliveryStatus::Planned, Some(*seconds), effect, true)
        }
        Outcome::Failed(refusal) => {
            let opts_out = refusal.class == DeliveryErrorClass::OptedOut;
            let effect = if opts_out { Effect::OptOut } else { Effect::ReportFailure };
            (DeliveryStatus::Failed, None, effect, true)
        }
    };
    Store { status, due_in_seconds, effect, has_work }
}

/// What is stored instead of an outcome that the database will always refuse: the carrier's id of
/// the message is another message's, or can't be stored. The carrier may have sent the message, so
/// it is not sent again. `None`: the other outcomes have nothing of the carrier that a constraint
/// could refuse.
pub fn instead_of(outcome: &Outcome) -> Option<Outcome> {
    match outcome {
        Outcome::Accepted { carrier_id } => Some(Outcome::Failed(Refusal {
            code: None,
            class: DeliveryErrorClass::Ambiguous,
            detail: format!("the carrier accepted the message under an id that can't be its own: {carrier_id:?}"),
            by: Some(DeliveryStepSource::Carrier),
        })),
        Outcome::Failed(_) | Outcome::Unknown(_) | Outcome::PutOff { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(class: DeliveryErrorClass) -> Refusal {
        Refusal { code: Some(7), class, detail: "no".to_owned(), by: Some(DeliveryStepSource::Carrier) }
    }

    fn accepted() -> Outcome {
        Outcome::Accepted { carrier_id: "1".to_owned() }
    }

    #[test]
    fn each_outcome_has_its_status_its_next_time_and_its_effect() {
        use DeliveryErrorClass::{Content, NotInPool, OptedOut, Throttled, Unregistered};
        use DeliveryStatus::{Accepted, Failed, Planned, Unknown};
        let put_off = Outcome::PutOff { seconds: 30.0, refusal: refusal(Throttled) };
        let not_in_pool = Outcome::PutOff { seconds: 0.0, refusal: refusal(NotInPool) };
        for (outcome, status, due_in_seconds, effect, has_work) in [
            (accepted(), Accepted, None, Effect::Nothing, false),
            (Outcome::Unknown(refusal(Content)), Unknown, Some(3.0), Effect::Nothing, true),
            (put_off, Planned, Some(30.0), Effect::WithdrawIfStale, true),
            (not_in_pool, Planned, Some(0.0), Effect::LeavePool, true),
            (Outcome::Failed(refusal(Content)), Failed, None, Effect::ReportFailure, true),
            (Outcome::Failed(refusal(Unregistered)), Failed, None, Effect::ReportFailure, true),
            (Outcome::Failed(refusal(OptedOut)), Failed, None, Effect::OptOut, true),
        ] {
            assert_eq!(decide(&outcome), Store { status, due_in_seconds, effect, has_work }, "{outcome:?}");
        }
    }

    #[test]
    fn only_an_id_of_the_carrier_can_be_refused_and_the_message_is_not_sent_again() {
        let transient = refusal(DeliveryErrorClass::Transient);
        for (outcome, status) in [
            (accepted(), Some(DeliveryStatus::Failed)),
            (Outcome::Failed(transient.clone()), None),
            (Outcome::Unknown(transient.clone()), None),
            (Outcome::PutOff { seconds: 1.0, refusal: transient }, None),
        ] {
            assert_eq!(instead_of(&outcome).map(|outcome| decide(&outcome).status), status, "{outcome:?}");
        }
    }

    #[test]
    fn the_contact_is_locked_where_an_opt_out_could_miss_the_delivery() {
        let put_off = Outcome::PutOff { seconds: 1.0, refusal: refusal(DeliveryErrorClass::Transient) };
        for (outcome, expected) in [
            (accepted(), false),
            (Outcome::Unknown(refusal(DeliveryErrorClass::Ambiguous)), false),
            (Outcome::Failed(refusal(DeliveryErrorClass::Content)), false),
            (Outcome::Failed(refusal(DeliveryErrorClass::OptedOut)), true),
            (put_off, true),
        ] {
            assert_eq!(outcome.locks_contact(), expected, "{outcome:?}");
        }
    }
}
