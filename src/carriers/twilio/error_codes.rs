//! What Twilio's error codes mean for us; it decides nothing.
//!
//! Codes: <https://www.twilio.com/docs/api/errors>. The classes are our reading of the pages.

/// What kind of trouble an error code tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The contact does not want texts from this number.
    OptedOut,
    /// The contact can't be reached, now or later.
    PermanentRecipient,
    /// Something is set up wrong on our side.
    PermanentConfig,
    /// The text itself was refused.
    Content,
    /// The credentials are wrong or may not do this.
    Auth,
    /// The account may not send.
    Account,
    /// Too much at once; later is fine.
    Throttled,
    /// May work later.
    Transient,
    /// The carrier may have processed it or not.
    Ambiguous,
}

impl ErrorClass {
    /// The class of a code; codes that we don't know count as permanent and ours.
    pub const fn of(code: i32) -> Self {
        match code {
            21610 => Self::OptedOut,
            21211 | 21214 | 21612 | 21614 | 30004..=30006 => Self::PermanentRecipient,
            21602 | 21617 | 21658 | 30007 => Self::Content,
            20003 | 20008 => Self::Auth,
            20005 | 21608 | 30002 | 63038 => Self::Account,
            14107 | 20429 | 21611 | 30022 | 30023 | 30027 | 30450 => Self::Throttled,
            30001 | 30003 | 30009 | 30017 | 30035 | 30036 => Self::Transient,
            20500 | 20503 | 30008 | 30410 => Self::Ambiguous,
            _ => Self::PermanentConfig,
        }
    }

    /// Whether a text that was refused for it, with a code, may be offered again when the cause is gone. A trial account's
    /// unverified contact (21608) is one of the account's matters, and no time mends it.
    pub const fn may_pass(self, code: Option<i32>) -> bool {
        matches!(self, Self::Throttled | Self::Transient | Self::Auth | Self::Account) && !matches!(code, Some(21608))
    }

    /// The class's name in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::PermanentRecipient => "permanent_recipient",
            Self::PermanentConfig => "permanent_config",
            Self::Content => "content",
            Self::Auth => "auth",
            Self::Account => "account",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::Ambiguous => "ambiguous",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The collection of codes with their classes, of which those about our own webhooks are none of deliveries.
    #[test]
    fn every_code_of_the_collection_has_its_class() {
        let collected: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/twilio-error-codes.json")).expect("JSON");
        let mut compared = 0;
        for entry in collected["codes"].as_array().expect("codes").iter().filter(|entry| entry["class"] != "webhook") {
            let code = entry["code"].as_i64().and_then(|code| i32::try_from(code).ok()).expect("a code");
            assert_eq!(entry["class"], ErrorClass::of(code).word(), "{code}");
            compared += 1;
        }
        assert!(compared >= 60, "{compared}");
        assert_eq!(ErrorClass::of(1), ErrorClass::PermanentConfig, "what nobody knows is ours, and permanent");
    }
}
