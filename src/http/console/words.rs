//! Says in plain words how far a message or a session has come. Each enum is matched whole, so that
//! a new value does not compile until it has its words.

use crate::domain::delivery::DeliveryErrorClass;
use crate::domain::message::{MessageKind, MessageStatus, SkipReason};
use crate::domain::session::{CloseReason, SessionStatus};
use crate::storage::console::ConsoleMessage;

/// Whether what is said is good, bad or neither. The page shows it by a colour, never by that
/// alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is under way, or there is nothing to say.
    Neutral,
    /// It worked.
    Good,
    /// Somebody should look at it.
    Attention,
    /// It failed.
    Bad,
}

impl Tone {
    /// The class of its elements in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Good => "good",
            Self::Attention => "attention",
            Self::Bad => "bad",
        }
    }
}

/// How far a message has come, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusText {
    pub tone: Tone,
    pub text: String,
}

impl StatusText {
    fn new(tone: Tone, words: impl Into<String>) -> Self {
        Self { tone, text: words.into() }
    }
}

/// How far a message has come. The end of a pause is no part of it, because the page shows times in
/// the reader's zone.
pub fn of_message(message: &ConsoleMessage) -> StatusText {
    use Tone::{Attention, Bad, Good, Neutral};
    match message.status {
        MessageStatus::Waiting => StatusText::new(Neutral, "Waits for the agent"),
        MessageStatus::Handled => StatusText::new(Good, "Handled"),
        MessageStatus::Skipped | MessageStatus::Held => StatusText::new(Attention, not_answered(message.skip_reason)),
        MessageStatus::Scheduled => StatusText::new(Neutral, "Waits for its time"),
        MessageStatus::Planned if message.waits_for_registration => {
            StatusText::new(Attention, "Waits until the number is registered")
        }
        MessageStatus::Planned => StatusText::new(Neutral, tried("To be sent", message)),
        MessageStatus::Sending => StatusText::new(Neutral, "Being sent"),
        MessageStatus::Accepted => StatusText::new(Neutral, "With the carrier"),
        MessageStatus::Sent => StatusText::new(Neutral, "Sent"),
        MessageStatus::Delivered => StatusText::new(Good, "Delivered"),
        MessageStatus::Unknown => StatusText::new(
            Attention,
            "The carrier may have it or not: textback looks for it there and does not send it again",
        ),
        MessageStatus::Failed => StatusText::new(Bad, because("Failed", message)),
        MessageStatus::Suppressed | MessageStatus::Refused => StatusText::new(Attention, because("Not sent", message)),
    }
}

/// What is said of a delivery that will be tried again after an error.
fn tried(begin: &str, message: &ConsoleMessage) -> String {
    match message.error_class {
        Some(_) => because(&format!("{begin} again"), message),
        None => begin.to_owned(),
    }
}

fn not_answered(reason: Option<SkipReason>) -> String {
    match reason {
        Some(reason) => format!("Not answered: {}", of_skip_reason(reason)),
        None => "Not answered".to_owned(),
    }
}

/// The reason of a delivery's failure, with the carrier's code and words.
fn because(begin: &str, message: &ConsoleMessage) -> String {
    let class = message.error_class.map(of_error_class);
    let detail = message.error_detail.as_deref().map(|detail| detail.trim().trim_end_matches('.'));
    let detail = detail.filter(|detail| !detail.is_empty());
    let carrier = match (message.error_code, detail) {
        (Some(code), Some(detail)) if detail.contains(&code.to_string()) => Some(detail.to_owned()),
        (Some(code), Some(detail)) => Some(format!("code {code}, {detail}")),
        (Some(code), None) => Some(format!("code {code}")),
        (None, Some(detail)) => Some(detail.to_owned()),
        (None, None) => None,
    };
    match (class, carrier) {
        (Some(class), Some(carrier)) => format!("{begin}: {class} ({carrier})"),
        (Some(class), None) => format!("{begin}: {class}"),
        (None, Some(carrier)) => format!("{begin}: {carrier}"),
        (None, None) => begin.to_owned(),
    }
}

/// Why an inbound message got no answer.
pub const fn of_skip_reason(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::SessionEnded => "its session ended before",
        SkipReason::AgentFailed => "the agent failed, and no further try is left",
        SkipReason::WorkerLost => "the process that ran the agent ended several times",
        SkipReason::Keyword => "it is a consent keyword, which has its own answer",
        SkipReason::OptedOut => "the contact has opted out; START opts in again",
        SkipReason::ContactTooFast => "the contact sent more messages in a minute than the project allows",
        SkipReason::Repeats => {
            "the same message came too often in five minutes and got the same answers, which looks like a loop"
        }
        SkipReason::Paused => "the contact is paused, because its messages looked like a loop",
        SkipReason::ToIsFrom => "it came from the number that it was sent to, which would answer itself",
        SkipReason::FromOwnNumber => "it came from another number of the project, and the two would answer each other",
        SkipReason::Reaction => "it is a reaction to a message, and the agent answers none",
        SkipReason::ProjectTooFast => "the project got more messages in a minute than it allows",
        SkipReason::Unreadable => "its session could not be read",
    }
}

/// Why a delivery failed or was not made.
pub const fn of_error_class(class: DeliveryErrorClass) -> &'static str {
    match class {
        DeliveryErrorClass::OptedOut => "the contact has opted out",
        DeliveryErrorClass::PermanentRecipient => "the contact can't be reached",
        DeliveryErrorClass::Landline => "the contact's number is a landline",
        DeliveryErrorClass::PermanentConfig => "something is set up wrong on our side",
        DeliveryErrorClass::Unregistered => "the number lacks the registration that its country asks for",
        DeliveryErrorClass::NotInPool => "the number is not in the pool; it leaves from the number alone",
        DeliveryErrorClass::Content => "the carrier refused the text",
        DeliveryErrorClass::Auth => "the carrier account's credentials are wrong or lack a right",
        DeliveryErrorClass::Account => "the carrier account may not send",
        DeliveryErrorClass::Throttled => "too many messages were sent at once",
        DeliveryErrorClass::Transient => "the carrier failed",
        DeliveryErrorClass::Ambiguous => "the carrier may have sent it or not",
        DeliveryErrorClass::Unreadable => "its row could not be read",
        DeliveryErrorClass::ContactLimitReached => "the contact got as many messages as the project allows",
        DeliveryErrorClass::ProjectLimitReached => "the project sent as many messages as it may",
        DeliveryErrorClass::CountryNotAllowed => "the project does not send to this country",
    }
}

/// What a message is for, where that is not plain from its direction.
pub const fn of_kind(kind: MessageKind) -> Option<&'static str> {
    match kind {
        MessageKind::Text | MessageKind::Reply => None,
        MessageKind::Keyword => Some("Consent keyword"),
        MessageKind::Reaction => Some("Reaction"),
        MessageKind::Greeting => Some("Greeting"),
        MessageKind::Error => Some("Said because the agent failed"),
        MessageKind::Warning => Some("Warning of the inactivity timeout"),
        MessageKind::Closing => Some("Said at the end of the session"),
        MessageKind::Help => Some("Answer to HELP"),
        MessageKind::OptOut => Some("Confirmation of the opt-out"),
        MessageKind::OptIn => Some("Confirmation of the opt-in"),
    }
}

/// How far a session has come, and why it ended.
pub fn of_session(status: SessionStatus, reason: Option<CloseReason>) -> StatusText {
    match status {
        SessionStatus::Open => StatusText::new(Tone::Good, "Open"),
        SessionStatus::Warned => StatusText::new(Tone::Attention, "Warned"),
        SessionStatus::Closed => StatusText::new(
            Tone::Neutral,
            match reason {
                Some(reason) => format!("Closed: {}", of_close_reason(reason)),
                None => "Closed".to_owned(),
            },
        ),
    }
}

/// Why a session ended.
pub const fn of_close_reason(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::AgentEnded => "the agent ended it",
        CloseReason::OperatorEnded => "an operator ended it",
        CloseReason::TimedOut => "it timed out",
        CloseReason::OptedOut => "the contact opted out",
        CloseReason::Superseded => "a message of the project began another session",
        CloseReason::Unreadable => "its row could not be read",
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use uuid::Uuid;

    use super::*;
    use crate::domain::message::Direction;

    fn message(status: MessageStatus) -> ConsoleMessage {
        ConsoleMessage {
            id: Uuid::nil(),
            session_id: Uuid::nil(),
            direction: Direction::Outbound,
            kind: MessageKind::Reply,
            body: "Hi".to_owned(),
            segments: Some(1),
            media: None,
            status,
            skip_reason: None,
            carrier_id: None,
            error_code: None,
            error_class: None,
            error_detail: None,
            waits_for_registration: false,
            paused_until: None,
            created_at: Utc::now(),
        }
    }

    #[test]
    fn every_status_has_words_of_its_own() {
        let mut status: Vec<String> =
            MessageStatus::ALL.iter().map(|status| of_message(&message(*status)).text).collect();
        status.sort();
        status.dedup();
        // Held and skipped, and suppressed and refused, differ by their reasons.
        assert_eq!(status.len(), MessageStatus::ALL.len() - 2, "{status:?}");
    }

    #[test]
    fn every_reason_is_said_in_plain_words() {
        let skipped = SkipReason::ALL.iter().map(|reason| (reason.as_str(), of_skip_reason(*reason)));
        let failed = DeliveryErrorClass::ALL.iter().map(|class| (class.as_str(), of_error_class(*class)));
        let closed = CloseReason::ALL.iter().map(|reason| (reason.as_str(), of_close_reason(*reason)));
        for (name, words) in skipped.chain(failed).chain(closed) {
            assert!(words.contains(' ') && !words.contains('_') && !words.ends_with('.'), "{name}: {words}");
        }
    }

    #[test]
    fn a_failure_has_the_carriers_code_and_words() {
        use DeliveryErrorClass::{PermanentRecipient, Transient};
        for (status, code, class, detail, expected) in [
            (
                MessageStatus::Failed,
                Some(7),
                Some(PermanentRecipient),
                Some("Landline."),
                "Failed: the contact can't be reached (code 7, Landline)",
            ),
            (MessageStatus::Failed, Some(7), None, Some("error 7: Landline"), "Failed: error 7: Landline"),
            (
                MessageStatus::Failed,
                Some(7),
                Some(PermanentRecipient),
                Some(" "),
                "Failed: the contact can't be reached (code 7)",
            ),
            (MessageStatus::Failed, None, None, None, "Failed"),
            (MessageStatus::Suppressed, None, Some(PermanentRecipient), None, "Not sent: the contact can't be reached"),
            (MessageStatus::Planned, None, Some(Transient), None, "To be sent again: the carrier failed"),
            (MessageStatus::Planned, None, None, None, "To be sent"),
        ] {
            let given = ConsoleMessage {
                error_code: code,
                error_class: class,
                error_detail: detail.map(str::to_owned),
                ..message(status)
            };
            assert_eq!(of_message(&given).text, expected);
        }
        let held = ConsoleMessage { skip_reason: Some(SkipReason::Repeats), ..message(MessageStatus::Held) };
        assert_eq!(of_message(&held).tone, Tone::Attention);
        assert!(of_message(&held).text.starts_with("Not answered: the same message came too often"));
        let waits = ConsoleMessage { waits_for_registration: true, ..message(MessageStatus::Planned) };
        assert_eq!(of_message(&waits).text, "Waits until the number is registered");
    }
}
