//! The limits on outbound messages, by the names of their settings.

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
}
