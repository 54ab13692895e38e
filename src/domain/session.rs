//! What a session is: its channel, its status, who began it and why it ended.

use super::words::words;

words! {
    /// How a session talks.
    pub enum Channel {
        /// Text messages.
        Sms = "sms",
        /// A chat on a web page.
        Webchat = "webchat",
        /// A phone call.
        Voice = "voice",
    }
}

words! {
    /// How far a session has come.
    pub enum SessionStatus {
        /// Messages join it.
        Open = "open",
        /// The contact was warned that it ends soon. Any message opens it again.
        Warned = "warned",
        /// It has ended.
        Closed = "closed",
    }
}

words! {
    /// Who began a session.
    pub enum SessionOrigin {
        /// The contact, with a message.
        Inbound = "inbound",
        /// The project, with a message to the contact.
        Outbound = "outbound",
    }
}

words! {
    /// Why a session ended.
    pub enum CloseReason {
        /// Its agent ended it.
        AgentEnded = "agent_ended",
        /// An operator ended it.
        OperatorEnded = "operator_ended",
        /// Nobody sent a message until the warning, and then until the end of the grace period.
        TimedOut = "timed_out",
        /// The contact opted out.
        OptedOut = "opted_out",
        /// A message that the project sent began another session.
        Superseded = "superseded",
        /// Its row could not be read.
        Unreadable = "unreadable",
    }
}

words! {
    /// What a message that the project sends does to a session that is not closed.
    pub enum OnActiveSession {
        /// That session ends silently, and a new one begins with this message. Messages that wait
        /// for an answer move to it.
        Supersede = "supersede",
        /// The message joins that session.
        Join = "join",
        /// Nothing is sent (409 `session_active`).
        Reject = "reject",
    }
}

words! {
    /// What became of a session whose inactivity job was due.
    pub enum InactivityOutcome {
        /// It is too early: the job is due again later.
        Moved = "moved",
        /// A warning is planned.
        Warned = "warned",
        /// The session has timed out.
        Ended = "ended",
    }
}
