//! What a channel can do, as far as rules and storage need it.

use super::segments::Segmentation;
use super::session::Channel;

/// What a channel can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Its messages have an encoding and cost segments.
    pub segments: bool,
    /// Some words of a contact are consent keywords.
    pub consent_keywords: bool,
    /// Messages may have attachments.
    pub media: bool,
    /// An outbound message leaves by a carrier, which reports on it: it has a delivery. Without, it is there as soon as it
    /// is stored.
    pub delivery_reports: bool,
    /// A reply can be shown while the agent still writes it.
    pub streaming: bool,
    /// The contact of an inactive session is warned before it ends.
    pub inactivity_warnings: bool,
}

impl Capabilities {
    /// What a channel can do that this process does not know.
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
}

/// A channel with what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelFacts {
    pub channel: Channel,
    pub capabilities: Capabilities,
}
