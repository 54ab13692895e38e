//! Plans the messages of a turn: splits the texts of the agent into parts that the carrier accepts, and limits their
//! number by the agent version. The settlement stores them.

use crate::agents::countries_of;
use crate::domain::agent::AgentSettings;
use crate::domain::delivery::RefusalReason;
use crate::domain::message::MessageKind;
use crate::domain::segments;
use crate::storage::database;
use crate::storage::new_id;
use crate::storage::turn::{PlannedSend, Settlement};

/// The reason for a `send_sms` beyond the turn's limit.
const OVER: RefusalReason = RefusalReason::TurnLimitReached;

/// How many messages a turn may still send.
pub(crate) struct Allowance<'a> {
    settings: &'a AgentSettings,
    left: usize,
    most: usize,
}

impl<'a> Allowance<'a> {
    pub(crate) fn of(settings: &'a AgentSettings) -> Self {
        let most = usize::try_from(settings.max_messages_per_turn).unwrap_or(1);
        Self { settings, left: most, most }
    }

    /// Plans texts by the settings of the agent version. Texts over the limit are cut, and the settlement stores how
    /// many characters were cut.
    pub(crate) fn say(&mut self, settlement: Settlement, kind: MessageKind, texts: Vec<String>) -> Settlement {
        let (mut settlement, mut cut) = (settlement, 0);
        for text in texts {
            let text = self.shortened(text);
            let (parts, rest) = segments::parts(&text, self.left);
            self.left -= parts.len();
            cut += rest.chars().count();
            settlement = parts.into_iter().fold(settlement, |settlement, part| settlement.say(kind, part));
        }
        if cut == 0 {
            return settlement;
        }
        tracing::warn!(
            kind = kind.as_str(),
            most = self.most,
            cut_characters = cut,
            "the turn says more than it may send; the rest is cut (max_messages_per_turn of the agent)"
        );
        metrics::counter!("textback_outbound_refused_total", "reason" => OVER.as_str()).increment(1);
        settlement.cut(cut)
    }

    /// Plans the message of a `send_sms`, or stores that the turn may not send it.
    pub(crate) fn send(&mut self, settlement: Settlement, to: String, from: Option<String>, body: &str) -> Settlement {
        let countries = countries_of(&to);
        let refused = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                None
            }
            None => {
                tracing::warn!(
                    most = self.most,
                    "the turn sends more than it may; a text outside its answer is not sent"
                );
                metrics::counter!("textback_outbound_refused_total", "reason" => OVER.as_str()).increment(1);
                Some(OVER)
            }
        };
        settlement.send(PlannedSend {
            message_id: new_id(),
            number: from,
            contact: to,
            countries,
            body: database::strip_nul(body),
            refused,
        })
    }

    fn shortened(&self, text: String) -> String {
        let text = database::strip_nul(&text);
        let text = if self.settings.smart_encoding { segments::plain(text) } else { text };
        let Some(most) = self.settings.max_segments.and_then(|most| usize::try_from(most).ok()) else { return text };
        let (before, short) = (text.len(), segments::cut(text, most));
        if short.len() != before {
            tracing::warn!(most, bytes = before, "the agent's text costs too much; it is cut (max_segments)");
        }
        short
    }
}
