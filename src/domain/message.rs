//! What a message is: its direction, its kind, its attachments, how far it has come and why it got
//! no answer.

use serde::Deserialize;
use uuid::Uuid;

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
        /// The confirmation of an opt-out, where no carrier confirms it.
        OptOut = "opt_out",
        /// The confirmation of an opt-in, where no carrier confirms it.
        OptIn = "opt_in",
        /// A reaction of the contact to a message of ours, which came as a text.
        Reaction = "reaction",
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
        /// The contact sent the same message too often in five minutes, and our answers to it
        /// repeated too.
        Repeats = "repeats",
        /// The contact is paused after too many repeated messages.
        Paused = "paused",
        /// The project got more messages in a minute than it allows.
        ProjectTooFast = "project_too_fast",
        /// It came from the number that it was sent to. An answer would come back as its next
        /// message.
        ToIsFrom = "to_is_from",
        /// It came from another number of the project, whose agent would answer the answer.
        FromOwnNumber = "from_own_number",
        /// It was a reaction, and the agent does not answer reactions.
        Reaction = "reaction",
        /// Its session could not be read.
        Unreadable = "unreadable",
    }
}

words! {
    /// Who sent an inbound message.
    pub enum Sender {
        /// A contact.
        Contact = "contact",
        /// The number that it was sent to.
        Itself = "itself",
        /// Another number of the project. One that was detached may be a contact's by now.
        OwnNumber = "own_number",
    }
}

impl Sender {
    /// Why no turn answers what comes from a number of the project: the answer would be a message
    /// to the project again. Not even a keyword is obeyed, since nobody gave a consent.
    pub const fn skip_reason(self) -> Option<SkipReason> {
        match self {
            Self::Contact => None,
            Self::Itself => Some(SkipReason::ToIsFrom),
            Self::OwnNumber => Some(SkipReason::FromOwnNumber),
        }
    }
}

words! {
    /// How far a message has come. An outbound one has the status of its delivery.
    pub enum MessageStatus {
        /// Inbound: it waits for an answer.
        Waiting = "waiting",
        /// Inbound: it was answered.
        Handled = "handled",
        /// Inbound: it gets no answer.
        Skipped = "skipped",
        /// Inbound: a rate limit or the loop detection stopped it, or it came from a number of the
        /// project.
        Held = "held",
        /// Outbound: it waits for its time.
        Scheduled = "scheduled",
        /// Outbound: it was scheduled and will not be sent.
        Refused = "refused",
        /// Outbound: it is to be sent.
        Planned = "planned",
        /// Outbound: the carrier is being called.
        Sending = "sending",
        /// Outbound: the carrier has it.
        Accepted = "accepted",
        /// Outbound: the carrier passed it on.
        Sent = "sent",
        /// Outbound: the contact has it.
        Delivered = "delivered",
        /// Outbound: it was not delivered.
        Failed = "failed",
        /// Outbound: whether the carrier has it is not known yet.
        Unknown = "unknown",
        /// Outbound: it is not sent.
        Suppressed = "suppressed",
    }
}

words! {
    /// Why an inbound message fits no session.
    pub enum RejectReason {
        /// It came for another account of the carrier's.
        ForeignAccount = "foreign_account",
        /// It has no id of the carrier's, so a second delivery of it could not be known.
        NoMessageId = "no_message_id",
        /// It is of a channel that is not supported, such as WhatsApp.
        ChannelNotSupported = "channel_not_supported",
        /// It came from nobody, or from a name instead of a number.
        SenderCannotBeAnswered = "sender_cannot_be_answered",
        /// It came to a number that is not attached.
        NumberNotAttached = "number_not_attached",
        /// The address of one of its files is longer than we keep.
        AttachmentUrlTooLong = "media_url_too_long",
    }
}

words! {
    /// How far a scheduled message has come.
    pub enum ScheduledMessageStatus {
        /// It waits for its time.
        Scheduled = "scheduled",
        /// It will not be sent.
        Refused = "refused",
    }
}

words! {
    /// What became of a request to send a message.
    pub enum SendOutcome {
        /// It is planned.
        Sent = "sent",
        /// It waits for its time.
        Scheduled = "scheduled",
        /// It was planned or scheduled before, under the same idempotency key.
        Replayed = "replayed",
        /// The idempotency key was used for another request.
        KeyReused = "key_reused",
        /// The contact has opted out.
        ContactOptedOut = "contact_opted_out",
        /// The contact has a session that is not closed, and the message was to be refused then.
        SessionActive = "session_active",
        /// The number is detached.
        NumberDetached = "number_detached",
        /// The contact is the number that sends.
        ToIsFrom = "to_is_from",
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
        /// The carrier said that the contact's number is a landline.
        ContactIsLandline = "contact_is_landline",
        /// The contact got as many messages as the project allows.
        ContactLimitReached = "contact_limit_reached",
        /// The project sent as many messages as it may.
        ProjectLimitReached = "project_limit_reached",
    }
}

words! {
    /// What a scheduled message waits for.
    pub enum WaitReason {
        /// The time at which it is to be sent.
        SendTime = "send_time",
        /// The end of the contact's quiet hours, in all time zones that its number may be in.
        QuietHours = "quiet_hours",
        /// The end of the window of a limit on outbound messages.
        OutboundLimit = "outbound_limit",
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
        /// The contact is the number that sends.
        ToIsFrom = "to_is_from",
        /// The project does not send to this country.
        CountryNotAllowed = "country_not_allowed",
        /// The carrier said that the contact's number is a landline.
        ContactIsLandline = "contact_is_landline",
        /// The contact got as many messages as the project allows.
        ContactLimitReached = "contact_limit_reached",
        /// The project sent as many messages as it may.
        ProjectLimitReached = "project_limit_reached",
    }
}

/// A file that came with an inbound message or goes out with an outbound one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, poem_openapi::Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Attachment {
    /// `GET /v1/media/{id}` fetches an inbound one. Left out while the message is scheduled.
    pub id: Option<Uuid>,
    /// Where the carrier has it or fetches it.
    pub url: String,
    /// What the carrier says it is, such as `image/png`. Left out while that is not known.
    pub content_type: Option<String>,
    /// Its size. Left out until it was fetched once.
    pub bytes: Option<i64>,
}
