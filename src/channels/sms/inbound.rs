//! What a carrier received, as an inbound message of this channel.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::carriers::message::{self, CarrierKeyword, InboundMedia};
use crate::channels::Channel;
use crate::channels::sms::Sms;
use crate::domain::consent::Keyword;
use crate::storage::ingest::{Attachment, InboundMessage};

/// A carrier's message to a project, with the request that it came in. `sent_at` is set for one that was backfilled.
pub fn inbound_of_carrier(
    project_id: Uuid,
    received: message::InboundMessage,
    form: Vec<u8>,
    sent_at: Option<DateTime<Utc>>,
) -> InboundMessage {
    // What the carrier took it for counts more than the text.
    let keyword = match received.keyword {
        Some(CarrierKeyword::Stop) => Some(Keyword::Stop),
        Some(CarrierKeyword::Start) => Some(Keyword::Start),
        Some(CarrierKeyword::Help) => Some(Keyword::Help),
        None => Sms.keyword(&received.body),
    };
    let attachment = |media: InboundMedia| Attachment::at(media.url, Some(media.content_type));
    InboundMessage {
        carrier_sid: received.carrier_id,
        media: received.media.into_iter().map(attachment).collect(),
        form,
        reject_reason: received.reject_reason,
        keyword,
        sent_at,
        ..InboundMessage::of(Sms.facts(), project_id, received.from, received.to, received.body)
    }
}
