//! The contents of an agent's version in the API: what requests give, and what answers tell.

use chrono::{DateTime, Utc};
use poem_openapi::Object;

use crate::domain::agent::{
    self, AgentKind, AgentSettings, AgentSpec, DEFAULT_ERROR_MESSAGE, DEFAULT_MESSAGES_PER_TURN, Environment,
    FirstMessage, Reactions, SpecFields,
};
use crate::domain::phone_number;
use crate::domain::reply_filter::{self, FilterSettings, Links, Markdown};
use crate::http::api::agents::llm::{Llm, NewLlm};
use crate::http::api::texts;
use crate::http::api::visible::visible;
use crate::http::problem::Problem;
use crate::storage::agent::{NewVersion, Version};

const fn default_messages_per_turn() -> i32 {
    DEFAULT_MESSAGES_PER_TURN
}

const fn default_warn_after() -> i32 {
    86_400
}

const fn default_grace() -> i32 {
    600
}

fn default_error_message() -> String {
    DEFAULT_ERROR_MESSAGE.to_owned()
}

fn default_warning() -> String {
    "Are you still there? If we don't hear from you, this conversation will end soon.".to_owned()
}

/// A version to be added to an agent. Without `first_message` it is `greet`; without `inactivity`
/// it has the defaults; without `markdown` it is `keep`, and without `links` `any`.
#[derive(Object)]
#[oai(deny_unknown_fields, rename = "VersionContents")]
pub(super) struct NewAgentVersion {
    kind: AgentKind,
    /// The source of a `script`. It defines `start(conv)`, `reply(conv, text)` or both. The source
    /// of an `llm` agent defines the functions that are the model's tools.
    #[oai(validator(max_length = 262144))]
    source: Option<String>,
    /// The address of an `http` agent's service. For each turn the service gets a POST of
    /// `{turn_id, attempt, conv, messages: [{id, text, media}], history: [{role, text, at}]}`,
    /// signed as Standard Webhooks describes. It answers with
    /// `{utterance | messages: [text], state?, hangup?}`, or with 204 or null to say nothing. A
    /// failed request is repeated with the same `turn_id` and messages, up to five times in all.
    #[oai(validator(max_length = 2048))]
    url: Option<String>,
    /// How many seconds an `http` agent's service has for an answer (1 to 120). Without it 30.
    #[oai(validator(maximum(value = "120"), minimum(value = "1")))]
    timeout_seconds: Option<i32>,
    llm: Option<NewLlm>,
    /// What the contact gets at the beginning of a session, unless `start` returns a text.
    #[oai(validator(max_length = 1600))]
    greeting: Option<String>,
    first_message: Option<FirstMessage>,
    /// How many seconds a turn waits for more messages before the agent answers (0 to 60).
    #[oai(default, validator(maximum(value = "60"), minimum(value = "0")))]
    debounce_seconds: i32,
    inactivity: Option<InactivitySettings>,
    /// How many segments one message of the agent may have (1 to 100). A longer message is cut at
    /// the end of a word, and has `truncated`. Without it there is no limit.
    #[oai(validator(maximum(value = "100"), minimum(value = "1")))]
    max_segments: Option<i32>,
    /// How many messages one turn may send in all (1 to 50). The rest is cut, and the last message
    /// has `truncated`.
    #[oai(default = "default_messages_per_turn", validator(maximum(value = "50"), minimum(value = "1")))]
    max_messages_per_turn: i32,
    /// Whether characters that alone make a message UCS-2 (curly quotes, dashes, other spaces,
    /// invisible characters, fractions, full-width letters) are replaced with those of GSM-7. A
    /// UCS-2 segment has 70 characters, a GSM-7 segment 160. It applies to all messages that leave
    /// from the agent's numbers.
    #[oai(default)]
    smart_encoding: bool,
    reactions: Option<Reactions>,
    markdown: Option<Markdown>,
    links: Option<Links>,
    /// Up to 50 hosts whose links the agent's texts may have, with those of their subdomains, such
    /// as `acme.com`. Only with `links` `listed`.
    #[oai(default, validator(max_items = 50))]
    allowed_link_hosts: Vec<String>,
    /// Up to 50 phone numbers that the agent's texts may have, in E.164. Only with `links`
    /// `listed`. The session's own two numbers are always allowed.
    #[oai(default, validator(max_items = 50))]
    allowed_phone_numbers: Vec<String>,
    /// What the contact gets when the agent failed for good. With an empty text the contact gets
    /// nothing, and the message is marked as skipped.
    #[oai(default = "default_error_message", validator(max_length = 1600))]
    error_message: String,
}

impl NewAgentVersion {
    /// Checks what needs no look at the script or the service.
    pub(super) fn validate(self) -> Result<NewVersion, Problem> {
        // Who reads a file as bytes may leave its byte order mark, which is no part of the script.
        let source = self.source.map(|source| source.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(source));
        let (llm, model_key) = self.llm.map(NewLlm::split).transpose()?.unzip();
        let fields = SpecFields {
            kind: self.kind,
            source,
            url: self.url,
            timeout_seconds: self.timeout_seconds,
            llm: llm.map(Box::new),
        };
        let spec = AgentSpec::try_from(fields)
            .map_err(|mismatch| Problem::invalid("agent_kind_mismatch", mismatch.to_string()))?;
        let inactivity = self.inactivity.unwrap_or_default();
        visible("greeting", self.greeting.as_deref(), "leave it out to have none")?;
        let error_message = Some(self.error_message.as_str()).filter(|text| !text.is_empty());
        visible("error_message", error_message, "leave it out to have the usual one, or empty it to have none")?;
        visible("inactivity.warning", Some(&inactivity.warning), "leave it out to have the usual one")?;
        visible("inactivity.closing", inactivity.closing.as_deref(), "leave it out to end sessions silently")?;
        answers_before_the_warning(self.debounce_seconds, inactivity.warn_after_seconds)?;
        texts::fits_a_message("inactivity.warning", Some(&inactivity.warning))?;
        texts::fits_a_message("inactivity.closing", inactivity.closing.as_deref())?;
        let reply_filter = FilterSettings {
            markdown: self.markdown.unwrap_or(self.kind.default_markdown()),
            links: self.links.unwrap_or(Links::Any),
            allowed_link_hosts: hosts(&self.allowed_link_hosts)?,
            allowed_phone_numbers: phone_numbers(self.allowed_phone_numbers)?,
        };
        allow_lists_count(&reply_filter)?;
        let settings = AgentSettings {
            greeting: self.greeting,
            first_message: self.first_message.unwrap_or(FirstMessage::Greet),
            debounce_seconds: self.debounce_seconds,
            inactivity: agent::InactivitySettings {
                warn_after_seconds: inactivity.warn_after_seconds,
                grace_seconds: inactivity.grace_seconds,
                warning: inactivity.warning,
                closing: inactivity.closing,
            },
            max_segments: self.max_segments,
            max_messages_per_turn: self.max_messages_per_turn,
            smart_encoding: self.smart_encoding,
            reactions: self.reactions.unwrap_or(Reactions::Ignore),
            error_message: Some(self.error_message),
            reply_filter,
        };
        Ok(NewVersion { spec, settings, model_key: model_key.flatten() })
    }
}

/// The hosts in the form in which links are compared.
fn hosts(given: &[String]) -> Result<Vec<String>, Problem> {
    let host = |given: &String| {
        reply_filter::allowed_host(given).ok_or_else(|| {
            Problem::invalid(
                "link_host_invalid",
                format!("{given:?} in allowed_link_hosts is no name of a host; write it alone, such as acme.com, which includes its subdomains"),
            )
        })
    };
    given.iter().map(host).collect()
}

fn phone_numbers(given: Vec<String>) -> Result<Vec<String>, Problem> {
    match given.iter().find(|number| !phone_number::is_e164(number)) {
        None => Ok(given),
        Some(number) => Err(Problem::invalid(
            "number_not_e164",
            format!(
                "{number:?} in allowed_phone_numbers is not in E.164; write + and the digits with the country code, such as +14155550199"
            ),
        )),
    }
}

/// Refuses to warn a contact who waits for the agent.
fn answers_before_the_warning(debounce_seconds: i32, warn_after_seconds: i32) -> Result<(), Problem> {
    match debounce_seconds < warn_after_seconds || debounce_seconds == 0 {
        true => Ok(()),
        false => Err(Problem::invalid(
            "limits_contradict",
            format!(
                "debounce_seconds is {debounce_seconds} and inactivity.warn_after_seconds {warn_after_seconds}, so a contact would be warned before the agent answers; lower the first or raise the second"
            ),
        )),
    }
}

/// Refuses lists that would have no effect.
fn allow_lists_count(settings: &FilterSettings) -> Result<(), Problem> {
    let is_empty = settings.allowed_link_hosts.is_empty() && settings.allowed_phone_numbers.is_empty();
    match settings.links {
        Links::Any if !is_empty => Err(Problem::invalid(
            "links_not_listed",
            "allowed_link_hosts and allowed_phone_numbers have no effect while links is any; set links to listed, or leave them out",
        )),
        Links::Any | Links::Listed => Ok(()),
    }
}

/// What happens in a session without messages. The settings of the active version apply to all
/// sessions of its environment, also to open ones: `warn_after_seconds` from their next message on,
/// the others at once.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub(super) struct InactivitySettings {
    /// How many seconds after the last message of either side the contact is warned (1 to 2592000,
    /// which is 30 days).
    #[oai(default = "default_warn_after", validator(maximum(value = "2592000"), minimum(value = "1")))]
    warn_after_seconds: i32,
    /// How many seconds the contact then has to answer, from the carrier's acceptance of the
    /// warning (1 to 2592000).
    #[oai(default = "default_grace", validator(maximum(value = "2592000"), minimum(value = "1")))]
    grace_seconds: i32,
    /// The warning.
    #[oai(default = "default_warning", validator(min_length = 1, max_length = 1600))]
    warning: String,
    /// What the contact gets when the session ends. Without it the session ends silently.
    #[oai(validator(min_length = 1, max_length = 1600))]
    closing: Option<String>,
}

impl Default for InactivitySettings {
    fn default() -> Self {
        let (warn_after_seconds, grace_seconds) = (default_warn_after(), default_grace());
        Self { warn_after_seconds, grace_seconds, warning: default_warning(), closing: None }
    }
}

impl From<agent::InactivitySettings> for InactivitySettings {
    fn from(settings: agent::InactivitySettings) -> Self {
        let agent::InactivitySettings { warn_after_seconds, grace_seconds, warning, closing } = settings;
        Self { warn_after_seconds, grace_seconds, warning, closing }
    }
}

/// A version of an agent. It never changes. A session keeps the version that it started with.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct AgentVersion {
    /// Counts from 1.
    version: i32,
    kind: AgentKind,
    /// The source of a `script`. Lists leave it out.
    source: Option<String>,
    /// The address of an `http` agent's service.
    url: Option<String>,
    /// How many seconds an `http` agent's service has for an answer.
    timeout_seconds: Option<i32>,
    llm: Option<Llm>,
    greeting: Option<String>,
    first_message: FirstMessage,
    debounce_seconds: i32,
    inactivity: InactivitySettings,
    max_segments: Option<i32>,
    max_messages_per_turn: i32,
    smart_encoding: bool,
    reactions: Reactions,
    markdown: Markdown,
    links: Links,
    allowed_link_hosts: Vec<String>,
    allowed_phone_numbers: Vec<String>,
    error_message: Option<String>,
    /// The environments whose new sessions get it.
    active_in: Vec<Environment>,
    version_created_at: DateTime<Utc>,
}

impl<Spec: Into<SpecFields>> From<Version<Spec>> for AgentVersion {
    fn from(version: Version<Spec>) -> Self {
        let Version { version, spec, settings, active_in, version_created_at } = version;
        let SpecFields { kind, source, url, timeout_seconds, llm } = spec.into();
        let filter = settings.reply_filter;
        Self {
            version,
            kind,
            source,
            url,
            timeout_seconds,
            llm: llm.map(|llm| Llm::from(*llm)),
            greeting: settings.greeting,
            first_message: settings.first_message,
            debounce_seconds: settings.debounce_seconds,
            inactivity: settings.inactivity.into(),
            max_segments: settings.max_segments,
            max_messages_per_turn: settings.max_messages_per_turn,
            smart_encoding: settings.smart_encoding,
            reactions: settings.reactions,
            markdown: filter.markdown,
            links: filter.links,
            allowed_link_hosts: filter.allowed_link_hosts,
            allowed_phone_numbers: filter.allowed_phone_numbers,
            error_message: settings.error_message,
            active_in,
            version_created_at,
        }
    }
}
