//! What a channel can do, as far as rules and storage need it.

use std::borrow::Cow;

use super::segments::Segmentation;
use super::session::Channel;
use super::smart_encoding;

/// What a channel can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Its messages have an encoding and cost segments.
    pub segments: bool,
    /// Some words of a contact are consent keywords.
    pub consent_keywords: bool,
    /// Messages may have attachments.
    pub media: bool,
    /// An outbound message leaves by a carrier, which reports on it, so it has a delivery. Without
    /// deliveries, the message is `sent` as soon as it is stored.
    pub delivery_reports: bool,
    /// A reply can be shown while the agent still writes it.
    pub streaming: bool,
    /// The contact of an inactive session is warned before it ends.
    pub inactivity_warnings: bool,
}

impl Capabilities {
    /// The capabilities of a channel that this process does not know: none.
    pub const NONE: Self = Self {
        segments: false,
        consent_keywords: false,
        media: false,
        delivery_reports: false,
        streaming: false,
        inactivity_warnings: false,
    };

    /// What a text costs, if the channel has segments.
    pub fn segmentation(&self, text: &str) -> Option<Segmentation> {
        self.segments.then(|| Segmentation::of(text))
    }

    /// A text as it leaves. `smart_encoding`: the setting of the agent that it leaves for.
    pub fn outbound<'a>(&self, text: impl Into<Cow<'a, str>>, smart_encoding: bool) -> OutboundText<'a> {
        let text = text.into();
        let body = if self.segments && smart_encoding { smart_encoding::plain(text) } else { text };
        let segmentation = self.segmentation(&body);
        OutboundText { body, segmentation }
    }
}

/// A text as it leaves on a channel, and what it costs there. Every message that we say is made of
/// one, so smart encoding applies to all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundText<'a> {
    body: Cow<'a, str>,
    segmentation: Option<Segmentation>,
}

impl<'a> OutboundText<'a> {
    /// What the contact reads.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The same, for storage.
    pub fn into_body(self) -> Cow<'a, str> {
        self.body
    }

    /// What it costs, if the channel has segments.
    pub const fn segmentation(&self) -> Option<Segmentation> {
        self.segmentation
    }

    /// The same text without its owner.
    pub fn borrowed(&self) -> OutboundText<'_> {
        OutboundText { body: Cow::Borrowed(&self.body), segmentation: self.segmentation }
    }
}

/// A channel with what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelFacts {
    pub channel: Channel,
    pub capabilities: Capabilities,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_encoded_where_it_costs_segments_and_its_agent_wants_it() {
        let texts = Capabilities { segments: true, ..Capabilities::NONE };
        for (capabilities, smart_encoding, body, segments) in [
            (texts, true, "\"Hi\"", Some(1)),
            (texts, false, "“Hi”", Some(1)),
            (Capabilities::NONE, true, "“Hi”", None),
        ] {
            let text = capabilities.outbound("“Hi”", smart_encoding);
            assert_eq!((text.body(), text.segmentation().map(|cost| cost.segments)), (body, segments));
        }
    }
}
