//! What a version of an agent of the kind `llm` runs: which model, with which prompt, tools and
//! limits.

use serde::{Deserialize, Serialize};

use super::llm_budget;
use super::words::words;

words! {
    /// How much a reasoning model thinks before it answers. Not every model takes every word; one
    /// that a model refuses is left out from then on.
    pub enum ReasoningEffort {
        /// It does not think.
        None = "none",
        /// As little as the model can.
        Minimal = "minimal",
        /// A little.
        Low = "low",
        /// As usual.
        Medium = "medium",
        /// Much.
        High = "high",
    }
}

words! {
    /// Why a model stopped.
    pub enum ModelFinish {
        /// It said all that it wanted to, or its server does not say why.
        Done = "done",
        /// Its answer reached the limit of tokens.
        Length = "length",
        /// The provider's filter took the answer away.
        Filtered = "filtered",
        /// It gave no answer.
        Failed = "failed",
    }
}

/// How many tokens one answer of the model may have, unless the version says otherwise. A text of
/// ten segments has about 400.
pub const DEFAULT_OUTPUT_TOKENS: i32 = 500;

/// How many earlier messages of the contact the model is shown, unless the version says otherwise.
pub const DEFAULT_HISTORY_TURNS: i32 = 20;

/// How many tokens the history may have, unless the version says otherwise.
pub const DEFAULT_HISTORY_TOKENS: i32 = 6_000;

/// How many requests to the model one turn may need, unless the version says otherwise.
pub const DEFAULT_ROUNDS: i32 = 6;

/// How many tool calls one turn may have, unless the version says otherwise.
pub const DEFAULT_TOOL_CALLS: i32 = 12;

/// How many seconds one request to the model may take, unless the version says otherwise.
pub const DEFAULT_REQUEST_SECONDS: i32 = 30;

/// The longest prompt, in bytes. A prompt of this length has some 10,000 tokens.
pub const MOST_PROMPT_BYTES: usize = 32 * 1024;

/// The most functions of a script that are tools.
pub const MOST_TOOLS: usize = 64;

/// What a version of an `llm` agent runs. The key of the provider is not part of it: it is stored
/// encrypted with the agent, and may change without a new version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmSpec {
    /// Where the provider's API begins, such as `https://api.openai.com/v1`.
    pub base_url: String,
    /// The provider's name of the model.
    pub model: String,
    /// What the model is told to be and to do: a template over `conv`.
    pub prompt: String,
    /// The functions of the agent's script that the model may call, in the order of their names.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Left out of requests if absent, because reasoning models refuse it. From 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How many tokens one answer of the model may have.
    pub max_output_tokens: i32,
    /// How much the model thinks, for models that do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<ReasoningEffort>,
    /// How many earlier messages of the contact the model is shown, with what was answered.
    pub history_turns: i32,
    /// How many tokens the history may have, as estimated from its bytes.
    pub history_tokens: i32,
    /// How many requests to the model one turn may need.
    pub max_rounds: i32,
    /// How many tool calls one turn may have.
    pub max_tool_calls: i32,
    /// How many seconds one request to the model may take.
    pub request_seconds: i32,
    /// How many tokens a session may use. Without it there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_per_session: Option<i64>,
    /// How much a session may cost, in millionths of the currency of the project's prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_per_session: Option<i64>,
    /// What the contact gets where the model or the provider's filter refuses to answer. Without it
    /// the contact gets the error message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal_message: Option<String>,
}

impl LlmSpec {
    /// What can't be used of the spec, as the name of the field and what is wrong with it. Whether
    /// the prompt can be filled in and the tools can be called is checked by their own modules.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let within = |name, value: i32, (least, most): (i32, i32)| {
            (!(least..=most).contains(&value)).then(|| (name, format!("it is {value}; it must be {least} to {most}")))
        };
        let limit = |name, value: Option<i64>| {
            let value = value.filter(|value| !(1..=llm_budget::MOST).contains(value))?;
            Some((name, format!("it is {value}; it must be 1 to {}", llm_budget::MOST)))
        };
        let blank = |name, text: &str, most: usize| match text.trim().is_empty() {
            true => Some((name, "it is empty".to_owned())),
            false => {
                (text.len() > most).then(|| (name, format!("it has {} bytes; it may have {most} at most", text.len())))
            }
        };
        blank("model", &self.model, 200)
            .or_else(|| blank("prompt", &self.prompt, MOST_PROMPT_BYTES))
            .or_else(|| {
                let is_refused = self.temperature.is_some_and(|given| !(0.0..=2.0).contains(&given));
                is_refused.then(|| ("temperature", "it must be 0 to 2".to_owned()))
            })
            .or_else(|| within("max_output_tokens", self.max_output_tokens, (16, 32_000)))
            .or_else(|| within("history_turns", self.history_turns, (0, 25)))
            .or_else(|| within("history_tokens", self.history_tokens, (0, 200_000)))
            .or_else(|| within("max_rounds", self.max_rounds, (1, 20)))
            .or_else(|| within("max_tool_calls", self.max_tool_calls, (0, 50)))
            .or_else(|| within("request_seconds", self.request_seconds, (1, 120)))
            .or_else(|| limit("max_tokens_per_session", self.max_tokens_per_session))
            .or_else(|| limit("max_cost_per_session", self.max_cost_per_session))
            .or_else(|| {
                let count = self.tools.len();
                (count > MOST_TOOLS).then(|| ("tools", format!("it names {count}; it may name {MOST_TOOLS} at most")))
            })
            .or_else(|| {
                let twice =
                    self.tools.iter().enumerate().find(|(n, name)| self.tools.iter().take(*n).any(|one| one == *name));
                twice.map(|(_, name)| ("tools", format!("it names {name} twice")))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> LlmSpec {
        LlmSpec {
            base_url: "https://models.example.com/v1".to_owned(),
            model: "small".to_owned(),
            prompt: "You answer for Acme.".to_owned(),
            tools: Vec::new(),
            temperature: None,
            max_output_tokens: DEFAULT_OUTPUT_TOKENS,
            reasoning_effort: None,
            history_turns: DEFAULT_HISTORY_TURNS,
            history_tokens: DEFAULT_HISTORY_TOKENS,
            max_rounds: DEFAULT_ROUNDS,
            max_tool_calls: DEFAULT_TOOL_CALLS,
            request_seconds: DEFAULT_REQUEST_SECONDS,
            max_tokens_per_session: None,
            max_cost_per_session: None,
            refusal_message: None,
        }
    }

    #[test]
    fn a_spec_with_the_defaults_is_accepted() {
        assert_eq!(spec().fault(), None);
    }

    #[test]
    fn a_value_out_of_its_range_is_told_by_its_name() {
        type Change = fn(&mut LlmSpec);
        let cases: [(Change, &str, &str); 14] = [
            (|spec| spec.model = " ".to_owned(), "model", "empty"),
            (|spec| spec.model = "m".repeat(201), "model", "201 bytes"),
            (|spec| spec.prompt = "\n".to_owned(), "prompt", "empty"),
            (|spec| spec.prompt = "p".repeat(MOST_PROMPT_BYTES + 1), "prompt", "32769 bytes"),
            (|spec| spec.temperature = Some(2.1), "temperature", "0 to 2"),
            (|spec| spec.temperature = Some(f64::NAN), "temperature", "0 to 2"),
            (|spec| spec.max_output_tokens = 0, "max_output_tokens", "it is 0"),
            (|spec| spec.history_turns = 26, "history_turns", "0 to 25"),
            (|spec| spec.max_rounds = 0, "max_rounds", "1 to 20"),
            (|spec| spec.request_seconds = 121, "request_seconds", "1 to 120"),
            (|spec| spec.max_tokens_per_session = Some(0), "max_tokens_per_session", "it is 0"),
            (|spec| spec.max_cost_per_session = Some(-1), "max_cost_per_session", "it is -1"),
            (|spec| spec.tools = vec!["a".to_owned(), "a".to_owned()], "tools", "names a twice"),
            (|spec| spec.tools = (0..65).map(|n| format!("t{n}")).collect(), "tools", "names 65"),
        ];
        for (change, field, what) in cases {
            let mut spec = spec();
            change(&mut spec);
            let fault = spec.fault();
            assert!(fault.as_ref().is_some_and(|(name, told)| *name == field && told.contains(what)), "{fault:?}");
        }
    }

    #[test]
    fn a_spec_is_the_same_after_it_was_stored() {
        let spec = LlmSpec { temperature: Some(0.3), reasoning_effort: Some(ReasoningEffort::Low), ..spec() };
        let stored = serde_json::to_string(&spec).expect("JSON");
        assert_eq!(serde_json::from_str::<LlmSpec>(&stored).ok(), Some(spec));
        assert!(serde_json::from_str::<LlmSpec>(&stored.replace("\"low\"", "\"deep\"")).is_err());
    }
}
