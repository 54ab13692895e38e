//! What answers tell about a message: one with its steps, and one that waits for its time.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use uuid::Uuid;

use crate::domain::delivery::{DeliveryErrorClass, DeliveryStep, RefusalReason};
use crate::domain::message::{
    Attachment, Direction, MessageKind, MessageStatus, ScheduledMessageStatus, SkipReason, WaitReason,
};
use crate::domain::reaction::Reaction;
use crate::domain::segments::{Encoding, Segmentation};
use crate::domain::session::OnActiveSession;
use crate::domain::time_zone::{self, TimeZone};
use crate::storage::message::Traced;
use crate::storage::scheduled_message;

/// A message with every step of its delivery.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct TracedMessage {
    id: Uuid,
    /// The session that it is in. A scheduled message has none.
    session_id: Option<Uuid>,
    direction: Direction,
    kind: MessageKind,
    /// Our number. Left out on a channel without numbers.
    number: Option<String>,
    /// The pool that its session was sent to, or that a scheduled message is sent to. The number of
    /// the latter is chosen when it is due.
    pool_id: Option<String>,
    contact: String,
    body: String,
    reaction: Option<Reaction>,
    encoding: Option<Encoding>,
    /// How many segments it has. Left out on a channel without segments.
    segments: Option<i32>,
    /// What came with it or goes out with it.
    media: Option<Vec<Attachment>>,
    status: MessageStatus,
    /// Why it is held, skipped, refused or failed: the `skip_reason`, the `refusal_reason`, or what
    /// the carrier said.
    reason: Option<String>,
    skip_reason: Option<SkipReason>,
    refusal_reason: Option<RefusalReason>,
    /// The carrier's id of the message.
    carrier_id: Option<String>,
    /// The carrier's error code.
    error_code: Option<i32>,
    error_class: Option<DeliveryErrorClass>,
    /// Whether it was cut because it cost too much (`max_segments` of the agent), or its turn had
    /// more to say than it may send (`max_messages_per_turn`). For the latter, only the last
    /// message of a turn has it.
    truncated: bool,
    /// How many characters were cut then.
    truncated_characters: Option<i32>,
    /// When a scheduled message is to be sent.
    send_at: Option<DateTime<Utc>>,
    /// When a scheduled message is looked at next. Later than `send_at` if `waits_for` says so.
    due_at: Option<DateTime<Utc>>,
    waits_for: Option<WaitReason>,
    /// The time zones that the contact's number may be in, if the message waits for quiet hours: it
    /// waits until they are over in all of these.
    time_zones: Option<Vec<String>>,
    created_at: DateTime<Utc>,
    /// The steps of its delivery, oldest first.
    history: Vec<DeliveryStep>,
}

/// A message that waits for its time or will not be sent.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct ScheduledMessage {
    /// The id that the message will have.
    id: Uuid,
    status: ScheduledMessageStatus,
    reason: Option<RefusalReason>,
    /// Our number. Left out of one that is sent to a pool: the number is chosen when it is due.
    number: Option<String>,
    /// The pool that it is sent to.
    pool_id: Option<String>,
    contact: String,
    body: String,
    media_urls: Vec<String>,
    on_active_session: OnActiveSession,
    send_at: DateTime<Utc>,
    /// Later than `send_at` if the contact's quiet hours, or a limit that ends within an hour,
    /// delay it.
    due_at: Option<DateTime<Utc>>,
    waits_for: Option<WaitReason>,
    /// The turn in which the agent asked for it.
    turn_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl From<Traced> for TracedMessage {
    fn from(traced: Traced) -> Self {
        let Traced { message, number, pool_id, contact, error_class, history } = traced;
        Self {
            id: message.id,
            session_id: Some(message.session_id),
            direction: message.direction,
            kind: message.kind,
            number,
            pool_id,
            contact,
            body: message.body,
            reaction: message.reaction.map(|reaction| reaction.0),
            encoding: message.encoding,
            segments: message.segments,
            media: message.media.map(|media| media.0),
            status: message.status,
            reason: message.reason,
            skip_reason: message.skip_reason,
            refusal_reason: None,
            carrier_id: message.carrier_id,
            error_code: message.error_code,
            error_class,
            truncated: message.truncated.is_some(),
            truncated_characters: message.truncated,
            send_at: None,
            due_at: None,
            waits_for: None,
            time_zones: None,
            created_at: message.created_at,
            history: history.0,
        }
    }
}

impl From<scheduled_message::ScheduledMessage> for TracedMessage {
    fn from(message: scheduled_message::ScheduledMessage) -> Self {
        let attachment = |url| Attachment { id: None, url, content_type: None, bytes: None };
        let segmentation = Segmentation::of(&message.body);
        let media: Vec<Attachment> = message.media_urls.into_iter().map(attachment).collect();
        let waits_for = message.due_at.map(|_| message.waits_for);
        let is_quiet = waits_for == Some(WaitReason::QuietHours);
        let time_zones = is_quiet.then(|| time_zone::zones(&message.contact));
        let names = |zones| Vec::from_iter(BTreeSet::into_iter(zones).map(|zone: TimeZone| zone.as_str().to_owned()));
        Self {
            id: message.id,
            session_id: None,
            direction: Direction::Outbound,
            kind: MessageKind::Text,
            number: message.number,
            pool_id: message.pool_id,
            contact: message.contact,
            encoding: Some(segmentation.encoding),
            segments: Some(segmentation.segments),
            body: message.body,
            reaction: None,
            media: (!media.is_empty()).then_some(media),
            status: if message.refusal_reason.is_some() { MessageStatus::Refused } else { MessageStatus::Scheduled },
            reason: message.refusal_reason.map(|reason| reason.to_string()),
            skip_reason: None,
            refusal_reason: message.refusal_reason,
            carrier_id: None,
            error_code: None,
            error_class: None,
            truncated: false,
            truncated_characters: None,
            send_at: Some(message.send_at),
            due_at: message.due_at,
            waits_for,
            time_zones: time_zones.map(names),
            created_at: message.created_at,
            history: Vec::new(),
        }
    }
}

impl From<scheduled_message::ScheduledMessage> for ScheduledMessage {
    fn from(message: scheduled_message::ScheduledMessage) -> Self {
        Self {
            id: message.id,
            status: match message.refusal_reason {
                Some(_) => ScheduledMessageStatus::Refused,
                None => ScheduledMessageStatus::Scheduled,
            },
            reason: message.refusal_reason,
            number: message.number,
            pool_id: message.pool_id,
            contact: message.contact,
            body: message.body,
            media_urls: message.media_urls,
            on_active_session: message.on_active_session,
            send_at: message.send_at,
            due_at: message.due_at,
            waits_for: message.due_at.map(|_| message.waits_for),
            turn_id: message.turn_id,
            created_at: message.created_at,
        }
    }
}
