//! A conversation without a database, for the author of an agent. The same code as in a worker runs
//! the agent, filters its texts and makes messages of them; nothing is stored or sent.

use chrono::Utc;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use crate::agents::{Agent, AgentError, ModelAccess, OutboundRequest};
use crate::channels::{self, Channel, Channels, Prepared};
use crate::domain::agent::{AgentKind, AgentSettings, Environment};
use crate::domain::channel::{Capabilities, OutboundText};
use crate::domain::keyword::Reading;
use crate::domain::message::Direction;
use crate::domain::session::{Channel as Kind, SessionOrigin};
use crate::jobs::turns::converse::{TurnContext, converse};
use crate::jobs::turns::messages::Allowance;
use crate::storage::new_id;
use crate::storage::turn::{Claim, HistoryEntry, WaitingMessage};

/// What our side is called where there is no number.
const ADDRESS: &str = "+14155550199";

/// How many earlier messages a turn gets, as in a worker.
const HISTORY: usize = 50;

/// A session that only this process knows.
pub struct Rehearsal {
    /// The claim of the next turn.
    claim: Claim,
    has_ended: bool,
}

/// What an agent is run with.
pub struct Cast<'a> {
    pub agent: &'a dyn Agent,
    pub kind: AgentKind,
    pub settings: &'a AgentSettings,
    pub signing_secrets: Vec<SecretString>,
    pub model: Option<ModelAccess>,
}

/// What came of a turn.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// The messages as the contact would get them.
    pub messages: Vec<OutboundText<'static>>,
    /// What the agent sends outside its answer.
    pub sends: Vec<OutboundRequest>,
    /// Whether the session ends.
    pub hangup: bool,
}

impl Rehearsal {
    /// A new session on a channel, which the contact opens.
    pub fn new(channel: Kind, contact: &str, state: Map<String, Value>) -> Self {
        let now = Utc::now();
        let claim = Claim {
            turn_id: new_id(),
            session_id: new_id(),
            project_id: Uuid::nil(),
            endpoint_id: Uuid::nil(),
            origin: SessionOrigin::Inbound,
            begun_by_agent: false,
            address: ADDRESS.to_owned(),
            contact: contact.to_owned(),
            channel,
            token: Uuid::nil(),
            attempt: 1,
            failures: 0,
            created_at: now,
            claimed_at: now,
            agent_id: Uuid::nil(),
            agent_version: 1,
            environment: Environment::Sandbox,
            started: false,
            state: Json(state),
            language: None,
            handled_seq: 0,
            text_since: None,
            waiting: Json(Vec::new()),
            history: Json(Vec::new()),
        };
        Self { claim, has_ended: false }
    }

    /// The state of the agent after the last turn.
    pub const fn state(&self) -> &Map<String, Value> {
        &self.claim.state.0
    }

    /// The language of the session after the last turn.
    pub fn language(&self) -> Option<&str> {
        self.claim.language.as_deref()
    }

    /// Whether the agent has ended the session.
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// What textback would do with a text of the contact before the agent sees it.
    pub fn read(&self, text: &str) -> Reading {
        with_channel(self.claim.channel, |channel| channel.read(text))
    }

    /// Lets the agent answer texts of the contact. After an error the session is as it was before.
    pub async fn turn(&mut self, cast: Cast<'_>, texts: &[String]) -> Result<Rehearsed, AgentError> {
        let mut claim = self.claim.clone();
        (claim.turn_id, claim.claimed_at) = (new_id(), Utc::now());
        let waiting =
            |(seq, text): (i64, &String)| WaitingMessage { id: new_id(), seq, text: text.clone(), media: json!([]) };
        claim.waiting = Json((claim.handled_seq + 1..).zip(texts).map(waiting).collect());
        let Cast { agent, kind, settings, signing_secrets, model } = cast;
        let context = TurnContext { kind, signing_secrets, model };
        let channels = Channels::default();
        let bare = BareChannel(claim.channel);
        let mut allowance = Allowance::of(settings, channels.get(claim.channel).unwrap_or(&bare));
        let (settlement, sends) = converse(agent, settings, &claim, context, &mut allowance).await?;
        let messages: Vec<OutboundText<'static>> = settlement.messages().cloned().collect();
        let hangup = settlement.closes();
        if let Some(state) = settlement.state() {
            claim.state = Json(state.clone());
        }
        claim.language = settlement.language().map(str::to_owned);
        self.keep(claim, &messages, hangup);
        Ok(Rehearsed { messages, sends, hangup })
    }

    /// What the contact gets when the agent failed for good.
    pub fn error_messages(&self, settings: &AgentSettings) -> Vec<OutboundText<'static>> {
        let text = settings.error_message.clone().filter(|text| !text.trim().is_empty());
        let prepare = |text| with_channel(self.claim.channel, |channel| channel.prepare(settings, text, 1).messages);
        text.map(prepare).unwrap_or_default()
    }

    fn keep(&mut self, mut claim: Claim, said: &[OutboundText<'static>], hangup: bool) {
        let at = claim.claimed_at;
        let entry = |direction, text: &str| HistoryEntry { direction, text: text.to_owned(), at };
        claim.history.0.extend(claim.waiting.0.iter().map(|message| entry(Direction::Inbound, &message.text)));
        claim.history.0.extend(said.iter().map(|text| entry(Direction::Outbound, text.body())));
        let old = claim.history.0.len().saturating_sub(HISTORY);
        claim.history.0.drain(..old);
        claim.handled_seq = claim.seen_seq();
        (claim.started, claim.waiting) = (true, Json(Vec::new()));
        (self.claim, self.has_ended) = (claim, hangup);
    }
}

/// Calls the channel of a kind, or one that changes nothing where textback does not have it yet.
fn with_channel<T>(kind: Kind, call: impl FnOnce(&dyn Channel) -> T) -> T {
    let channels = Channels::default();
    match channels.get(kind) {
        Some(channel) => call(channel),
        None => call(&BareChannel(kind)),
    }
}

/// The channel on which a conversation runs unless it says otherwise.
pub fn default_channel() -> Kind {
    channels::of_numbers().kind()
}

/// A channel that sends texts as they are.
struct BareChannel(Kind);

impl Channel for BareChannel {
    fn kind(&self) -> Kind {
        self.0
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn read(&self, _: &str) -> Reading {
        Reading::Text
    }

    fn prepare(&self, _: &AgentSettings, text: String, _: usize) -> Prepared {
        Prepared { messages: vec![self.capabilities().outbound(text, false)], shortened: 0, cut: 0 }
    }
}
