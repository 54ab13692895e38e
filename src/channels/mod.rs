//! The channels on which sessions talk. All of them implement one trait. Storage and rules get
//! plain values from it, and never call a channel.

pub mod sms;

use std::sync::Arc;

use crate::domain::agent::AgentSettings;
use crate::domain::channel::{Capabilities, ChannelFacts, OutboundText};
use crate::domain::keyword::Reading;
use crate::domain::session::Channel as Kind;

pub use sms::{inbound_of_carrier, report_of_carrier};

/// A channel on which sessions talk.
pub trait Channel: Send + Sync {
    /// Which of the product's channels it is.
    fn kind(&self) -> Kind;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether a contact's text is, or may be, a consent keyword. On a channel without consent
    /// keywords, no text is one.
    fn read(&self, body: &str) -> Reading;

    /// Makes at most `most` messages of a text of an agent, by the settings of the agent version.
    fn prepare(&self, settings: &AgentSettings, text: String, most: usize) -> Prepared;

    /// The channel with what it can do.
    fn facts(&self) -> ChannelFacts {
        ChannelFacts { channel: self.kind(), capabilities: self.capabilities() }
    }
}

/// A text of an agent as messages of its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub messages: Vec<OutboundText<'static>>,
    /// How many characters were cut because of `max_segments`.
    pub shortened: usize,
    /// How many characters were cut because the turn has no messages left.
    pub cut: usize,
}

/// The channel of whatever starts without a session: messages that the API sends, scheduled
/// messages and recorded consents. Always SMS today.
pub const fn of_numbers() -> &'static dyn Channel {
    &sms::Sms
}

/// The channel of a kind. `None`: textback does not have it yet.
fn of_kind(kind: Kind) -> Option<&'static dyn Channel> {
    match kind {
        Kind::Sms => Some(&sms::Sms),
        Kind::Webchat | Kind::Voice => None,
    }
}

/// The channels that this process has, at most one of each kind. Cheap to clone.
#[derive(Clone, Default)]
pub struct Channels {
    /// Replaces the product's channel of the same kind, in tests.
    replacement: Option<Arc<dyn Channel>>,
}

impl Channels {
    /// The channels of the product with one of them replaced, for tests.
    pub fn replacing(channel: Arc<dyn Channel>) -> Self {
        Self { replacement: Some(channel) }
    }

    /// The channel of a kind. `None`: this process does not know it.
    pub fn get(&self, kind: Kind) -> Option<&dyn Channel> {
        match self.replacement.as_deref() {
            Some(channel) if channel.kind() == kind => Some(channel),
            _ => of_kind(kind),
        }
    }

    /// What the channel of a kind can do.
    pub fn capabilities(&self, kind: Kind) -> Capabilities {
        self.get(kind).map_or(Capabilities::NONE, Channel::capabilities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_found_by_its_own_kind() {
        for kind in Kind::ALL {
            assert!(of_kind(*kind).is_none_or(|channel| channel.kind() == *kind), "{kind}");
        }
    }
}
