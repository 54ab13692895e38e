//! Text messages: they cost segments, leave by a carrier in parts, and know consent keywords.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::carriers::message::{self, CarrierKeyword, InboundMedia};
use crate::channels::{Channel, Prepared};
use crate::domain::agent::AgentSettings;
use crate::domain::channel::Capabilities;
use crate::domain::consent::Keyword;
use crate::domain::reaction;
use crate::domain::segments;
use crate::domain::session::Channel as Kind;
use crate::storage::ingest::{Attachment, InboundMessage};

/// What text messages can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    segments: true,
    consent_keywords: true,
    media: true,
    delivery_reports: true,
    streaming: false,
    inactivity_warnings: true,
};

/// Text messages.
#[derive(Debug, Clone, Copy)]
pub struct Sms;

impl Channel for Sms {
    fn kind(&self) -> Kind {
        Kind::Sms
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn keyword(&self, body: &str) -> Option<Keyword> {
        Keyword::of(body)
    }

    /// Cuts a text that costs too much, and splits one that is longer than a message of the carrier.
    fn prepare(&self, settings: &AgentSettings, text: String, most: usize) -> Prepared {
        let text = shortened(settings, text);
        let (messages, rest) = segments::parts(&text, most);
        Prepared { messages, cut: rest.chars().count() }
    }
}

fn shortened(settings: &AgentSettings, text: String) -> String {
    let text = if settings.smart_encoding { segments::plain(text) } else { text };
    let Some(most) = settings.max_segments.and_then(|most| usize::try_from(most).ok()) else { return text };
    let (before, short) = (text.len(), segments::cut(text, most));
    if short.len() != before {
        tracing::warn!(most, bytes = before, "the agent's text costs too much; it is cut (max_segments)");
    }
    short
}

/// A carrier's message to a project as an inbound message of this channel, with the request that it came in. `sent_at`
/// is set for one that was backfilled.
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
    let reaction = if keyword.is_none() { reaction::parse(&received.body) } else { None };
    let attachment = |media: InboundMedia| Attachment::at(media.url, Some(media.content_type));
    InboundMessage {
        carrier_id: received.carrier_id,
        media: received.media.into_iter().map(attachment).collect(),
        form,
        reject_reason: received.reject_reason,
        keyword,
        reaction,
        sent_at,
        ..InboundMessage::of(Sms.facts(), project_id, received.from, received.to, received.body)
    }
}
