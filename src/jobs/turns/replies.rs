//! Filters what an agent says, before its texts become messages.

use crate::agents::AgentError;
use crate::domain::agent::AgentSettings;
use crate::domain::characters::is_blank;
use crate::domain::message::MessageKind;
use crate::domain::reply_filter::{Removed, ReplyFilter};
use crate::storage::turn::Claim;
use crate::telemetry::metrics;

/// Texts of more bytes are filtered on a thread that may block, because a text that was made for it
/// takes most of a second.
const LONG_BYTES: usize = 32 << 10;

/// The filter of one turn.
pub(crate) struct Replies(ReplyFilter);

impl Replies {
    /// A filter that knows what was said in the session of a claim, and the greeting of the
    /// version, which its author wrote.
    pub(crate) fn of(settings: &AgentSettings, claim: &Claim) -> Self {
        let mut filter = ReplyFilter::new(&settings.reply_filter);
        let waiting = claim.waiting.iter().map(|message| message.text.as_str());
        let history = claim.history.iter().map(|message| message.text.as_str());
        let own = [claim.contact.as_str(), claim.address.as_str()].into_iter().chain(settings.greeting.as_deref());
        waiting.chain(history).chain(own).for_each(|text| filter.saw(text));
        Self(filter)
    }

    /// Takes in what a model was told: what is in it may be sent.
    pub(crate) fn saw(&mut self, texts: &[String]) {
        texts.iter().for_each(|text| self.0.saw(text));
    }

    /// The texts as the contact gets them. A text of which nothing visible is left is left out.
    pub(crate) async fn filtered(&self, kind: MessageKind, texts: Vec<String>) -> Result<Vec<String>, AgentError> {
        let (texts, removed) = if texts.iter().map(String::len).sum::<usize>() > LONG_BYTES {
            let filter = self.0.clone();
            let filtering = tokio::task::spawn_blocking(move || filter_all(&filter, &texts));
            filtering.await.map_err(|error| AgentError::Ours(format!("the answer could not be filtered: {error}")))?
        } else {
            filter_all(&self.0, &texts)
        };
        if !removed.is_nothing() {
            let Removed { links, phone_numbers } = removed;
            tracing::warn!(
                kind = kind.as_str(),
                links,
                phone_numbers,
                "links or phone numbers that the agent may not send were removed from a message"
            );
            for (what, count) in [("link", links), ("phone_number", phone_numbers)] {
                metrics::REPLY_REMOVALS.add(&[what], u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
        Ok(texts)
    }
}

fn filter_all(filter: &ReplyFilter, texts: &[String]) -> (Vec<String>, Removed) {
    let mut removed = Removed::default();
    let filtered = texts.iter().map(|text| {
        let filtered = filter.apply(text);
        removed += filtered.removed;
        filtered.text
    });
    let texts = filtered.filter(|text| !is_blank(text)).collect();
    (texts, removed)
}
