//! Plans the messages of a turn: the channel makes messages of the texts of the agent, and the
//! agent version limits their number. The settlement stores them.

use crate::channels::Channel;
use crate::domain::agent::AgentSettings;
use crate::domain::channel::Capabilities;
use crate::domain::delivery::RefusalReason;
use crate::domain::message::MessageKind;
use crate::domain::phone_number;
use crate::domain::pool;
use crate::storage::database;
use crate::storage::new_id;
use crate::storage::turn::{PlannedSend, Settlement};
use crate::telemetry::metrics;

/// The reason for a message outside the answer beyond the turn's limit.
const OVER: RefusalReason = RefusalReason::TurnLimitReached;

/// How many messages a turn may still send.
pub(crate) struct Allowance<'a> {
    settings: &'a AgentSettings,
    channel: &'a dyn Channel,
    left: usize,
    most: usize,
}

impl<'a> Allowance<'a> {
    pub(crate) fn of(settings: &'a AgentSettings, channel: &'a dyn Channel) -> Self {
        let most = usize::try_from(settings.max_messages_per_turn).unwrap_or(1);
        Self { settings, channel, left: most, most }
    }

    /// What the channel of the turn can do.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.channel.capabilities()
    }

    /// Plans texts by the settings of the agent version. Texts over the limit are cut, and the
    /// settlement stores how many characters were cut. `cut`: how many the agent's run had cut
    /// already.
    pub(crate) fn say(
        &mut self,
        mut settlement: Settlement,
        kind: MessageKind,
        texts: Vec<String>,
        mut cut: usize,
    ) -> Settlement {
        for text in texts {
            if self.left == 0 {
                cut += text.chars().count();
                continue;
            }
            let prepared = self.channel.prepare(self.settings, database::strip_nul(&text), self.left);
            self.left = self.left.saturating_sub(prepared.messages.len());
            cut += prepared.cut;
            settlement = prepared.messages.into_iter().fold(settlement, |settlement, text| settlement.say(kind, text));
            settlement = settlement.shorten_last(prepared.shortened);
        }
        if cut == 0 {
            return settlement;
        }
        tracing::warn!(
            kind = kind.as_str(),
            most = self.most,
            cut_characters = cut,
            "the answer was longer than max_messages_per_turn of the agent allows; the rest was cut"
        );
        metrics::OUTBOUND_REFUSED.count(&[OVER.as_str()]);
        settlement.cut(cut)
    }

    /// Plans a message outside the answer, or stores that the turn may not send it.
    pub(crate) fn send(&mut self, settlement: Settlement, to: String, from: Option<String>, body: &str) -> Settlement {
        let countries = phone_number::countries(&to);
        let refused = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                None
            }
            None => {
                tracing::warn!(
                    most = self.most,
                    "the agent sent more texts than one turn may; a text outside its answer was not sent"
                );
                metrics::OUTBOUND_REFUSED.count(&[OVER.as_str()]);
                Some(OVER)
            }
        };
        let (pool_id, number) = if from.as_deref().is_some_and(pool::may_be_id) { (from, None) } else { (None, from) };
        settlement.send(PlannedSend {
            message_id: new_id(),
            number,
            pool_id,
            contact: to,
            countries,
            body: database::strip_nul(body),
            refused,
        })
    }
}
