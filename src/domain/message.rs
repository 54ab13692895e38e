//! What a message is: its direction, its kind, how far it has come and why it got no answer.

use super::words::words;

words! {
    /// Which way a message goes.
    pub enum Direction {
        /// From the contact.
        Inbound = "inbound",
        /// To the contact.
        Outbound = "outbound",
    }
}

words! {
    /// What a message is for.
    pub enum MessageKind {
        /// A message of the contact, or one that the project sent.
        Text = "text",
        /// A consent keyword of the contact, such as STOP.
        Keyword = "keyword",
        /// The agent's greeting.
        Greeting = "greeting",
        /// The agent's answer.
        Reply = "reply",
        /// What the contact is told when the agent failed.
        Error = "error",
        /// The warning that the session ends soon.
        Warning = "warning",
        /// What the contact is told when the session ends.
        Closing = "closing",
        /// The answer to HELP.
        Help = "help",
    }
}

words! {
    /// Why an inbound message got no answer.
    pub enum SkipReason {
        /// The session ended before.
        SessionEnded = "session_ended",
        /// The agent failed for good.
        AgentFailed = "agent_failed",
        /// The process that ran the agent ended several times.
        WorkerLost = "worker_lost",
        /// It was a consent keyword, which has its own answer.
        Keyword = "keyword",
        /// The contact has opted out.
        OptedOut = "opted_out",
        /// The contact sent more messages in a minute than the project allows.
        ContactTooFast = "contact_too_fast",
        /// The contact sent the same message too often in five minutes.
        Repeats = "repeats",
        /// The contact is paused after too many repeated messages.
        Paused = "paused",
        /// The project got more messages in a minute than it allows.
        ProjectTooFast = "project_too_fast",
        /// Its session could not be read.
        Unreadable = "unreadable",
    }
}

words! {
    /// How far a message has come. An outbound one has the status of its delivery.
    pub enum MessageStatus {
        /// It waits for an answer.
        Waiting = "waiting",
        /// It was answered.
        Handled = "handled",
        /// It gets no answer.
        Skipped = "skipped",
        /// A rate limit or the loop detection stopped it.
        Held = "held",
        /// It is to be sent.
        Planned = "planned",
        /// The carrier is being called.
        Sending = "sending",
        /// The carrier has it.
        Accepted = "accepted",
        /// The carrier passed it on.
        Sent = "sent",
        /// The contact has it.
        Delivered = "delivered",
        /// It was not delivered.
        Failed = "failed",
        /// Whether the carrier has it is not known yet.
        Unknown = "unknown",
        /// It is not sent.
        Suppressed = "suppressed",
    }
}

words! {
    /// What became of a request to send a message.
    pub enum SendOutcome {
        /// It is a message with a delivery.
        Sent = "sent",
        /// It waits for its time.
        Scheduled = "scheduled",
        /// The same request was answered before.
        Replayed = "replayed",
        /// The idempotency key was used for another request.
        KeyReused = "key_reused",
        /// The contact has opted out.
        ContactOptedOut = "contact_opted_out",
        /// The contact has a session that is not closed.
        SessionActive = "session_active",
        /// The number is detached.
        NumberDetached = "number_detached",
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
        /// The contact got as many messages as the project allows.
        ContactLimitReached = "contact_limit_reached",
        /// The project sent as many messages as it may.
        ProjectLimitReached = "project_limit_reached",
    }
}

words! {
    /// What became of a scheduled message that was due.
    pub enum ScheduledOutcome {
        /// It is a message with a delivery.
        Sent = "sent",
        /// It waits until the contact's quiet hours are over, or until a limit admits it.
        PutOff = "put_off",
        /// The contact has opted out.
        ContactOptedOut = "contact_opted_out",
        /// The contact has a session that is not closed.
        SessionActive = "session_active",
        /// The number is detached.
        NumberDetached = "number_detached",
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
        /// The contact got as many messages as the project allows.
        ContactLimitReached = "contact_limit_reached",
        /// The project sent as many messages as it may.
        ProjectLimitReached = "project_limit_reached",
    }
}
