//! The limits on outbound messages, by the names of their settings.

use chrono::{DateTime, Utc};

use super::delivery::DeliveryErrorClass;
use super::words::words;

words! {
    /// A limit on outbound messages. Each is a setting of the project.
    pub enum OutboundLimit {
        /// Messages of the whole project in a minute.
        ProjectPerMinute = "outbound_per_project_per_minute",
        /// Messages of the whole project in 24 hours.
        ProjectPerDay = "outbound_per_project_per_day",
        /// Messages to one contact in an hour.
        ContactPerHour = "outbound_per_contact_per_hour",
        /// Messages to one contact in 24 hours.
        ContactPerDay = "outbound_per_contact_per_day",
    }
}

impl OutboundLimit {
    /// Whether the limit stops everything that the project sends.
    pub const fn is_of_project(self) -> bool {
        match self {
            Self::ProjectPerMinute | Self::ProjectPerDay => true,
            Self::ContactPerHour | Self::ContactPerDay => false,
        }
    }

    /// What the limit counts, for people.
    const fn scope(self) -> &'static str {
        match self {
            Self::ProjectPerMinute => "in a minute",
            Self::ProjectPerDay => "in 24 hours",
            Self::ContactPerHour => "to one contact in an hour",
            Self::ContactPerDay => "to one contact in 24 hours",
        }
    }
}

/// A limit that stops a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached {
    pub limit: OutboundLimit,
    /// How many messages it admits.
    pub most: i32,
    /// When it admits one again.
    pub until: DateTime<Utc>,
}

impl LimitReached {
    /// The kind of error of a message that it stops.
    pub const fn class(&self) -> DeliveryErrorClass {
        if self.limit.is_of_project() {
            DeliveryErrorClass::ProjectLimitReached
        } else {
            DeliveryErrorClass::ContactLimitReached
        }
    }

    /// Which limit it is, for people.
    pub fn detail(&self) -> String {
        format!("{}: the project sends at most {} messages {}", self.class(), self.most, self.limit.scope())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_is_told_by_whom_it_stops_and_how_many_it_admits() {
        for (limit, most, class, detail) in [
            (
                OutboundLimit::ProjectPerMinute,
                9,
                DeliveryErrorClass::ProjectLimitReached,
                "project_limit_reached: the project sends at most 9 messages in a minute",
            ),
            (
                OutboundLimit::ProjectPerDay,
                900,
                DeliveryErrorClass::ProjectLimitReached,
                "project_limit_reached: the project sends at most 900 messages in 24 hours",
            ),
            (
                OutboundLimit::ContactPerHour,
                3,
                DeliveryErrorClass::ContactLimitReached,
                "contact_limit_reached: the project sends at most 3 messages to one contact in an hour",
            ),
            (
                OutboundLimit::ContactPerDay,
                12,
                DeliveryErrorClass::ContactLimitReached,
                "contact_limit_reached: the project sends at most 12 messages to one contact in 24 hours",
            ),
        ] {
            let reached = LimitReached { limit, most, until: DateTime::UNIX_EPOCH };
            assert_eq!((reached.class(), reached.detail().as_str()), (class, detail), "{limit}");
        }
    }
}
