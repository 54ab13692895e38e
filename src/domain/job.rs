//! What a job is: a row that is due, of one kind.

use super::words::words;

words! {
    /// The kind of a job. Its word stands in the database, in notifications between processes, in
    /// logs and in metrics.
    pub enum JobKind {
        /// The agent answers the messages that wait in a session.
        Turn = "turn",
        /// The carrier is asked to send a message.
        Delivery = "delivery",
        /// The carrier is asked whether it has a delivery.
        UnknownDelivery = "unknown",
        /// The carrier is asked for inbound messages whose webhook never came.
        Backfill = "backfill",
        /// A session may be warned or closed because nobody writes.
        Inactivity = "inactivity",
        /// A message is to be sent at its time, or after a turn.
        ScheduledMessage = "scheduled_message",
        /// A number is compared with what the carrier says of it.
        Number = "number",
        /// What happened is counted by hour, for the views of dashboards.
        Rollup = "rollup",
    }
}

impl JobKind {
    /// What becomes of rows of this kind that can't be claimed, as
    /// `sql/functions/set_aside/end_work.sql` does it.
    pub const fn set_aside_outcome(self) -> &'static str {
        match self {
            Self::Turn | Self::Inactivity => {
                "closed their sessions (close_reason unreadable; their state is in the table quarantine)"
            }
            Self::Delivery | Self::UnknownDelivery => "failed (error_class unreadable)",
            Self::ScheduledMessage => "were refused (unreadable)",
            Self::Number | Self::Backfill => "are tried again each hour",
            Self::Rollup => "are tried again at once",
        }
    }
}
