//! Text messages: they cost segments, leave by a carrier in parts, and know consent keywords.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::carriers::Carrier;
use crate::carriers::message::{self, CarrierKeyword, InboundMedia};
use crate::channels::{Channel, Prepared};
use crate::domain::agent::AgentSettings;
use crate::domain::channel::Capabilities;
use crate::domain::keyword::{self, Keyword, KeywordMatch, KnownBy, Reading};
use crate::domain::reaction;
use crate::domain::segments;
use crate::domain::session::Channel as Kind;
use crate::domain::smart_encoding;
use crate::storage::delivery::Report;
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

    fn read(&self, body: &str) -> Reading {
        keyword::read(body)
    }

    /// Cuts a text that costs too much, and splits one that is longer than a message of the
    /// carrier.
    fn prepare(&self, settings: &AgentSettings, text: String, most: usize) -> Prepared {
        let (text, shortened) = shortened(settings, text);
        let (parts, rest) = segments::parts(&text, most);
        let outbound = |part| self.capabilities().outbound(part, settings.smart_encoding);
        Prepared { messages: parts.into_iter().map(outbound).collect(), shortened, cut: rest.chars().count() }
    }
}

/// The text that fits `max_segments`, and how many characters were cut. A text is encoded before it
/// is measured, because that changes its length and its cost.
fn shortened(settings: &AgentSettings, text: String) -> (String, usize) {
    let text = match settings.smart_encoding {
        true => smart_encoding::plain(Cow::Owned(text)).into_owned(),
        false => text,
    };
    let Some(most) = settings.max_segments.and_then(|most| usize::try_from(most).ok()) else { return (text, 0) };
    let (short, cut_characters) = segments::cut(text, most);
    if cut_characters > 0 {
        tracing::warn!(most, cut_characters, "a text was longer than max_segments allows and was cut");
    }
    (short, cut_characters)
}

/// A carrier's message to a project as an inbound message of this channel, with the request that it
/// came in. `sent_at` is set for one that was backfilled.
pub fn inbound_of_carrier(
    carrier: &dyn Carrier,
    project_id: Uuid,
    received: message::InboundMessage,
    form: Vec<u8>,
    sent_at: Option<DateTime<Utc>>,
) -> InboundMessage {
    // The keyword that the carrier reports counts more than the text.
    let reading = match received.keyword {
        Some(CarrierKeyword::Stop) => reported(Keyword::Stop),
        Some(CarrierKeyword::Start) => reported(Keyword::Start),
        Some(CarrierKeyword::Help) => reported(Keyword::Help),
        None => Sms.read(&received.body),
    };
    let reaction = match reading {
        Reading::Keyword(_) => None,
        Reading::MayBeOwnWord(_) | Reading::Text => reaction::parse(&received.body),
    };
    let attachment = |media: InboundMedia| Attachment::at(media.url, Some(media.content_type));
    InboundMessage {
        carrier_id: received.carrier_id,
        media: received.media.into_iter().map(attachment).collect(),
        form,
        reject_reason: received.reject_reason,
        reading,
        answers_keywords: !carrier.answers_keywords(&received.to),
        reaction,
        sent_at,
        ..InboundMessage::of(Sms.facts(), project_id, received.from, received.to, received.body)
    }
}

const fn reported(keyword: Keyword) -> Reading {
    Reading::Keyword(KeywordMatch { keyword, known_by: KnownBy::CarrierReport })
}

/// A carrier's report about a message of ours, with the delivery that the address of the report
/// names.
pub fn report_of_carrier(delivery_id: Option<Uuid>, report: message::StatusReport) -> Report {
    let message::StatusReport { carrier_id, status, error_code, error_class } = report;
    Report { delivery_id, carrier_id, status, error_code, error_class }
}
