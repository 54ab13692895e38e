//! What an agent is: its kind, what its version runs, and what it does with a contact's first
//! message.

use serde::{Deserialize, Serialize};

use super::llm::LlmSpec;
use super::reply_filter::{FilterSettings, Links, Markdown};
use super::words::words;

words! {
    /// What answers.
    pub enum AgentKind {
        /// A script in Starlark, which has the syntax of Python.
        Script = "script",
        /// A service of yours, which gets a signed POST for each turn.
        Http = "http",
        /// A language model, which may call functions of a script as its tools.
        Llm = "llm",
    }
}

words! {
    /// Where a version of an agent is active. Each number names one, `live` unless it says
    /// otherwise, and a session keeps the one that its number had when it was opened.
    pub enum Environment {
        /// For trying a version before contacts meet it.
        Sandbox = "sandbox",
        /// For contacts.
        Live = "live",
    }
}

words! {
    /// What the agent does with a contact's first message.
    pub enum FirstMessage {
        /// It sends the greeting.
        Greet = "greet",
        /// It answers the message.
        Process = "process",
        /// It sends the greeting and then answers the message.
        GreetThenProcess = "greet_then_process",
    }
}

/// What a contact gets when the agent failed for good, unless the version says otherwise. It has
/// only characters of GSM-7 and fits one segment.
pub const DEFAULT_ERROR_MESSAGE: &str = "Sorry, something went wrong on our side. Please try again in a few minutes.";

words! {
    /// What becomes of a contact's reaction to a message of ours, such as `Liked “See you at 5”`.
    /// Without it, `ignore`.
    pub enum Reactions {
        /// It is stored and shown, and the agent does not run.
        Ignore = "ignore",
        /// The agent answers its text like any other.
        Answer = "answer",
    }
}

/// How many seconds the service of an `http` agent has for an answer, unless the version says
/// otherwise.
pub const DEFAULT_TIMEOUT_SECONDS: i32 = 30;

impl AgentKind {
    /// How often an agent may fail before its turn is given up: a script with the waits between
    /// within about four seconds, a service or a model's server, which may be restarting, within
    /// about 15 seconds plus its time-outs.
    pub const fn most_failures(self) -> i32 {
        match self {
            Self::Script => 3,
            Self::Http | Self::Llm => 5,
        }
    }

    /// What becomes of markdown unless the version says otherwise. The author of a script or of a
    /// service writes its texts.
    pub const fn default_markdown(self) -> Markdown {
        match self {
            Self::Script | Self::Http => Markdown::Keep,
            Self::Llm => Markdown::Plain,
        }
    }

    /// What a spec of this kind must have, for error messages.
    pub const fn needs(self) -> &'static str {
        match self {
            Self::Script => "a source, and neither url, timeout_seconds nor llm",
            Self::Http => "a url, and neither source nor llm",
            Self::Llm => "llm, and neither url nor timeout_seconds",
        }
    }
}

/// What a version of an agent runs: what only agents of one kind have.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentSpec {
    /// A script in Starlark.
    Script {
        /// The script.
        source: String,
    },
    /// A service that is called for each turn.
    Http {
        /// The service's address.
        url: String,
        /// How many seconds the service has for an answer.
        timeout_seconds: i32,
    },
    /// A language model.
    Llm {
        /// The model, its prompt and its limits.
        llm: Box<LlmSpec>,
        /// The script with the functions that are its tools, and perhaps with a `start`.
        source: Option<String>,
    },
}

impl AgentSpec {
    /// The kind of the agent.
    pub const fn kind(&self) -> AgentKind {
        match self {
            Self::Script { .. } => AgentKind::Script,
            Self::Http { .. } => AgentKind::Http,
            Self::Llm { .. } => AgentKind::Llm,
        }
    }

    /// Whether the agent may look at earlier messages. Loading them costs more than the rest of a
    /// claim, so it is done only for agents that may: services, models, and scripts that name the
    /// history or can reach any attribute.
    pub fn reads_history(&self) -> bool {
        match self {
            Self::Script { source } => ["history", "getattr"].iter().any(|name| source.contains(name)),
            Self::Http { .. } | Self::Llm { .. } => true,
        }
    }

    /// Whether requests to the agent are signed, so that the agent needs a signing secret.
    pub const fn is_signed(&self) -> bool {
        match self {
            Self::Script { .. } | Self::Llm { .. } => false,
            Self::Http { .. } => true,
        }
    }
}

/// A spec as the database and the API have it: its kind, and every field that a spec of some kind
/// has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpecFields {
    pub kind: AgentKind,
    /// Lists leave it out, because it may have 256 kB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<Box<LlmSpec>>,
}

impl SpecFields {
    /// The fields of a spec that has none but its kind.
    pub const fn of(kind: AgentKind) -> Self {
        Self { kind, source: None, url: None, timeout_seconds: None, llm: None }
    }
}

/// Fields that do not fit their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an agent of the kind {0} needs {needs}", needs = .0.needs())]
pub struct SpecMismatch(pub AgentKind);

impl TryFrom<SpecFields> for AgentSpec {
    type Error = SpecMismatch;

    fn try_from(fields: SpecFields) -> Result<Self, SpecMismatch> {
        let SpecFields { kind, source, url, timeout_seconds, llm } = fields;
        match (kind, source, url, timeout_seconds, llm) {
            (AgentKind::Script, Some(source), None, None, None) => Ok(Self::Script { source }),
            (AgentKind::Http, None, Some(url), timeout_seconds, None) => {
                Ok(Self::Http { url, timeout_seconds: timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS) })
            }
            (AgentKind::Llm, source, None, None, Some(llm)) => Ok(Self::Llm { llm, source }),
            (AgentKind::Script | AgentKind::Http | AgentKind::Llm, ..) => Err(SpecMismatch(kind)),
        }
    }
}

impl From<AgentSpec> for SpecFields {
    fn from(spec: AgentSpec) -> Self {
        let fields = Self::of(spec.kind());
        match spec {
            AgentSpec::Script { source } => Self { source: Some(source), ..fields },
            AgentSpec::Http { url, timeout_seconds } => {
                Self { url: Some(url), timeout_seconds: Some(timeout_seconds), ..fields }
            }
            AgentSpec::Llm { llm, source } => Self { source, llm: Some(llm), ..fields },
        }
    }
}

/// How many messages one turn may send, unless the version says otherwise.
pub const DEFAULT_MESSAGES_PER_TURN: i32 = 10;

/// The settings of a version that agents of all kinds have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// What the contact gets at the beginning of a session.
    pub greeting: Option<String>,
    /// What the agent does with the contact's first message.
    pub first_message: FirstMessage,
    /// How long a turn waits for more messages.
    pub debounce_seconds: i32,
    /// When a session of the agent is inactive.
    pub inactivity: InactivitySettings,
    /// How many segments one message of the agent may have. A longer one is cut.
    pub max_segments: Option<i32>,
    /// How many messages one turn may send in all. The rest is cut.
    pub max_messages_per_turn: i32,
    /// Whether typographic characters are replaced where they alone make a message UCS-2.
    pub smart_encoding: bool,
    /// What becomes of a contact's reactions.
    pub reactions: Reactions,
    /// What the contact gets when the agent failed for good.
    pub error_message: Option<String>,
    /// What is taken out of the texts of the agent.
    pub reply_filter: FilterSettings,
}

impl AgentSettings {
    /// Whether turns need the history, whatever the agent reads: what was said before decides which
    /// links stay.
    pub fn needs_history(&self) -> bool {
        self.reply_filter.links == Links::Listed
    }
}

/// What becomes of a session in which nobody sends a message. Read from the agent's current
/// version, also for sessions that run on an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InactivitySettings {
    /// After how many seconds without a message the contact is warned.
    pub warn_after_seconds: i32,
    /// How many seconds the contact then has, from the carrier's acceptance of the warning.
    pub grace_seconds: i32,
    /// The warning.
    pub warning: String,
    /// What the contact gets when the session ends, if anything.
    pub closing: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_spec() {
        let script = |source: &str| AgentSpec::Script { source: source.to_owned() };
        let http = AgentSpec::Http { url: "https://agent.example.com".to_owned(), timeout_seconds: 30 };
        for (spec, kind, reads_history, is_signed) in [
            (script("def reply(conv, text): return text"), AgentKind::Script, false, false),
            (script("def reply(conv, text): return conv.history[0].text"), AgentKind::Script, true, false),
            (script("def reply(conv, text): return getattr(conv, text)"), AgentKind::Script, true, false),
            (script(""), AgentKind::Script, false, false),
            (http, AgentKind::Http, true, true),
        ] {
            assert_eq!((spec.kind(), spec.reads_history(), spec.is_signed()), (kind, reads_history, is_signed));
        }
    }

    #[test]
    fn a_spec_has_what_its_kind_needs_and_nothing_else() {
        let (source, url) = (Some("def reply(conv, text): return text"), Some("https://agent.example.com"));
        for (kind, source, url, fits) in [
            (AgentKind::Script, source, None, true),
            (AgentKind::Script, None, None, false),
            (AgentKind::Script, source, url, false),
            (AgentKind::Script, None, url, false),
            (AgentKind::Http, None, url, true),
            (AgentKind::Http, None, None, false),
            (AgentKind::Http, source, url, false),
            (AgentKind::Http, source, None, false),
        ] {
            let (source, url) = (source.map(str::to_owned), url.map(str::to_owned));
            let fields = SpecFields { source, url, ..SpecFields::of(kind) };
            match AgentSpec::try_from(fields.clone()) {
                Ok(spec) => assert!(fits && spec.kind() == kind, "{fields:?}"),
                Err(mismatch) => assert!(!fits && mismatch == SpecMismatch(kind), "{fields:?}"),
            }
        }
        let hurried =
            SpecFields { source: Some("x".to_owned()), timeout_seconds: Some(5), ..SpecFields::of(AgentKind::Script) };
        assert_eq!(AgentSpec::try_from(hurried), Err(SpecMismatch(AgentKind::Script)), "a script has no timeout");
    }

    #[test]
    fn a_spec_is_the_same_after_it_was_stored() {
        for (spec, stored) in [
            (AgentSpec::Script { source: "x".to_owned() }, r#"{"kind":"script","source":"x"}"#),
            (
                AgentSpec::Http { url: "https://a.b".to_owned(), timeout_seconds: 7 },
                r#"{"kind":"http","url":"https://a.b","timeout_seconds":7}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&SpecFields::from(spec.clone())).ok().as_deref(), Some(stored));
            let read = serde_json::from_str::<SpecFields>(stored).ok().map(AgentSpec::try_from);
            assert_eq!(read, Some(Ok(spec)));
        }
        assert!(serde_json::from_str::<SpecFields>(r#"{"kind":"oracle"}"#).is_err());
    }
}
