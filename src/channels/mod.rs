//! The channels on which sessions talk, behind one trait. What differs by channel is decided here
//! and told to the rest as plain values.

pub mod sms;

use std::sync::Arc;

use crate::domain::agent::AgentSettings;
use crate::domain::channel::{Capabilities, ChannelFacts, OutboundText};
use crate::domain::keyword::Reading;
use crate::domain::session::Channel as Kind;

pub use sms::{inbound_of_carrier, report_of_carrier};

/// A channel on which sessions talk.
pub trait Channel: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> Kind;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What a contact's text is. Only a channel with consent keywords finds some.
    fn read(&self, body: &str) -> Reading;

    /// Makes messages of a text that an agent says, by the settings of its version, at most `most`.
    fn prepare(&self, settings: &AgentSettings, text: String, most: usize) -> Prepared;

    /// The channel with what it can do.
    fn facts(&self) -> ChannelFacts {
        ChannelFacts { channel: self.kind(), capabilities: self.capabilities() }
    }
}

/// A text of an agent, as its channel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub messages: Vec<OutboundText<'static>>,
    /// How many characters were cut because the text costs too much.
    pub shortened: usize,
    /// How many characters no message has room for.
    pub cut: usize,
}

/// The channel of messages that leave from a number without a session that says another.
pub const fn of_numbers() -> &'static dyn Channel {
    &sms::Sms
}

/// The channel of a kind. `None`: nobody can write on it yet.
fn of_kind(kind: Kind) -> Option<&'static dyn Channel> {
    match kind {
        Kind::Sms => Some(&sms::Sms),
        Kind::Webchat | Kind::Voice => None,
    }
}

/// The channels of a process, one of each kind. Cheap to clone.
#[derive(Clone, Default)]
pub struct Channels {
    /// Stands for the product's channel of its kind.
    replacement: Option<Arc<dyn Channel>>,
}

impl Channels {
    /// The channels of the product, but for one, for tests.
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
