//! What Twilio's error codes mean, in our classes.
//!
//! Codes: <https://www.twilio.com/docs/api/errors>. The classes are our reading of the pages.

use crate::domain::delivery::DeliveryErrorClass;

/// The class of a code. A code that we don't know counts as a permanent fault of ours.
pub const fn class_of(code: i32) -> DeliveryErrorClass {
    match code {
        21610 => DeliveryErrorClass::OptedOut,
        // The number is not a mobile one; a landline or an unreachable carrier.
        21614 | 30006 => DeliveryErrorClass::Landline,
        21211 | 21214 | 21612 | 30004 | 30005 => DeliveryErrorClass::PermanentRecipient,
        21602 | 21617 | 21658 | 30007 => DeliveryErrorClass::Content,
        // Toll-free verification and A2P 10DLC.
        30032 | 30034 => DeliveryErrorClass::Unregistered,
        20003 | 20008 => DeliveryErrorClass::Auth,
        20005 | 21608 | 30002 | 63038 => DeliveryErrorClass::Account,
        14107 | 20429 | 21611 | 30022 | 30023 | 30027 | 30450 => DeliveryErrorClass::Throttled,
        30001 | 30003 | 30009 | 30017 | 30035 | 30036 => DeliveryErrorClass::Transient,
        20500 | 20503 | 30008 | 30410 => DeliveryErrorClass::Ambiguous,
        _ => DeliveryErrorClass::PermanentConfig,
    }
}

/// Whether a refusal of a message that named a messaging service may be the service's: it is gone,
/// it is empty, or the number is not in it. Nothing was sent then. Three codes about the sender are
/// among them, because the documents do not say which one Twilio answers when the number and the
/// service do not fit.
pub const fn may_be_of_a_service(code: i32) -> bool {
    matches!(code, 20404 | 21606 | 21659 | 21660 | 21701..=21705 | 21711 | 21712 | 21715)
}

/// Whether time changes nothing about a code, although it may about others of its class: a trial
/// account may not send to a contact that is not verified.
pub const fn is_permanent(code: i32) -> bool {
    code == 21608
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The collection of codes with their classes. Those about our own webhooks do not concern
    /// deliveries.
    #[test]
    fn every_code_of_the_collection_has_its_class() {
        let collected: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/twilio-error-codes.json")).expect("JSON");
        let mut compared = 0;
        for entry in collected["codes"].as_array().expect("codes").iter().filter(|entry| entry["class"] != "webhook") {
            let code = entry["code"].as_i64().and_then(|code| i32::try_from(code).ok()).expect("a code");
            assert_eq!(entry["class"], class_of(code).as_str(), "{code}");
            compared += 1;
        }
        assert!(compared >= 60, "{compared}");
        assert_eq!(class_of(1), DeliveryErrorClass::PermanentConfig, "an unknown code is a permanent fault of ours");
    }
}
