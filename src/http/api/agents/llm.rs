//! The model of an `llm` agent in the API: what requests give, and what answers tell.

use poem_openapi::Object;
use secrecy::SecretString;

use crate::domain::llm::{
    DEFAULT_HISTORY_TOKENS, DEFAULT_HISTORY_TURNS, DEFAULT_OUTPUT_TOKENS, DEFAULT_REQUEST_SECONDS, DEFAULT_ROUNDS,
    DEFAULT_TOOL_CALLS, LlmSpec, ReasoningEffort,
};
use crate::http::api::texts;
use crate::http::api::visible::visible;
use crate::http::problem::Problem;

const fn default_output_tokens() -> i32 {
    DEFAULT_OUTPUT_TOKENS
}

const fn default_history_turns() -> i32 {
    DEFAULT_HISTORY_TURNS
}

const fn default_history_tokens() -> i32 {
    DEFAULT_HISTORY_TOKENS
}

const fn default_rounds() -> i32 {
    DEFAULT_ROUNDS
}

const fn default_tool_calls() -> i32 {
    DEFAULT_TOOL_CALLS
}

const fn default_request_seconds() -> i32 {
    DEFAULT_REQUEST_SECONDS
}

/// The model of an `llm` agent, its prompt, its tools and its limits. The agent's `source` is
/// optional: it defines the functions that are the model's tools, and perhaps `start(conv)`.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct NewLlm {
    /// Where the API of the provider begins, such as `https://api.openai.com/v1`. The API must be
    /// compatible with OpenAI's `/chat/completions`.
    #[oai(validator(min_length = 1, max_length = 2048))]
    base_url: String,
    /// The provider's name of the model.
    #[oai(validator(min_length = 1, max_length = 200))]
    model: String,
    /// The key at the provider. It is stored encrypted and never told. Without it the agent keeps
    /// the key that it has; a model on a machine of your own may need none.
    #[oai(validator(min_length = 1, max_length = 1000))]
    api_key: Option<String>,
    /// What the model is told to be and to do. It is a template over `conv`, such as
    /// `{{ conv.state.name }}`.
    #[oai(validator(min_length = 1, max_length = 32768))]
    prompt: String,
    /// The functions of `source` that the model may call.
    #[oai(default, validator(max_items = 64))]
    tools: Vec<String>,
    /// How freely the model chooses its words (0 to 2). Without it the model's own default.
    temperature: Option<f64>,
    /// How many tokens one answer of the model may have (16 to 32000).
    #[oai(default = "default_output_tokens", validator(maximum(value = "32000"), minimum(value = "16")))]
    max_output_tokens: i32,
    reasoning_effort: Option<ReasoningEffort>,
    /// How many earlier messages of the contact the model is shown, with the answers (0 to 25).
    #[oai(default = "default_history_turns", validator(maximum(value = "25"), minimum(value = "0")))]
    history_turns: i32,
    /// How many tokens these may have, roughly (0 to 200000).
    #[oai(default = "default_history_tokens", validator(maximum(value = "200000"), minimum(value = "0")))]
    history_tokens: i32,
    /// How many requests to the model one turn may need (1 to 20).
    #[oai(default = "default_rounds", validator(maximum(value = "20"), minimum(value = "1")))]
    max_rounds: i32,
    /// How many tool calls one turn may have (0 to 50).
    #[oai(default = "default_tool_calls", validator(maximum(value = "50"), minimum(value = "0")))]
    max_tool_calls: i32,
    /// How many seconds one request to the model may take (1 to 120). A turn has 60 in all.
    #[oai(default = "default_request_seconds", validator(maximum(value = "120"), minimum(value = "1")))]
    request_seconds: i32,
    /// How many tokens the requests of a session may use (1 to 1000000000000). When they are used,
    /// the contact gets the error message. Without it there is no limit.
    #[oai(validator(maximum(value = "1000000000000"), minimum(value = "1")))]
    max_tokens_per_session: Option<i64>,
    /// How much the requests of a session may cost, in millionths of the currency of the project's
    /// `llm_prices` (1 to 1000000000000). The project must have a price for the model.
    #[oai(validator(maximum(value = "1000000000000"), minimum(value = "1")))]
    max_cost_per_session: Option<i64>,
    /// What the contact gets where the model, or the filter of its provider, declines to answer.
    /// Without it the contact gets the error message.
    #[oai(validator(min_length = 1, max_length = 1600))]
    refusal_message: Option<String>,
}

impl NewLlm {
    /// What a version stores, and the key, which it does not.
    pub(super) fn split(self) -> Result<(LlmSpec, Option<SecretString>), Problem> {
        let is_sendable = |key: &String| key.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.api_key.as_ref().is_none_or(is_sendable) {
            let detail =
                "llm.api_key has blanks, line ends or characters beyond ASCII, which can't be sent; copy it again";
            return Err(Problem::invalid("value_refused", detail));
        }
        let refusal_message = self.refusal_message.as_deref();
        visible("llm.refusal_message", refusal_message, "leave it out to send error_message instead")?;
        texts::fits_a_message("llm.refusal_message", refusal_message)?;
        let mut tools = self.tools;
        tools.sort();
        let spec = LlmSpec {
            base_url: self.base_url,
            model: self.model,
            prompt: self.prompt,
            tools,
            temperature: self.temperature,
            max_output_tokens: self.max_output_tokens,
            reasoning_effort: self.reasoning_effort,
            history_turns: self.history_turns,
            history_tokens: self.history_tokens,
            max_rounds: self.max_rounds,
            max_tool_calls: self.max_tool_calls,
            request_seconds: self.request_seconds,
            max_tokens_per_session: self.max_tokens_per_session,
            max_cost_per_session: self.max_cost_per_session,
            refusal_message: self.refusal_message,
        };
        Ok((spec, self.api_key.map(SecretString::from)))
    }
}

/// The model of an `llm` agent. The key at the provider is never told.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Llm {
    base_url: String,
    model: String,
    prompt: String,
    tools: Vec<String>,
    temperature: Option<f64>,
    max_output_tokens: i32,
    reasoning_effort: Option<ReasoningEffort>,
    history_turns: i32,
    history_tokens: i32,
    max_rounds: i32,
    max_tool_calls: i32,
    request_seconds: i32,
    max_tokens_per_session: Option<i64>,
    max_cost_per_session: Option<i64>,
    refusal_message: Option<String>,
}

impl From<LlmSpec> for Llm {
    fn from(spec: LlmSpec) -> Self {
        Self {
            base_url: spec.base_url,
            model: spec.model,
            prompt: spec.prompt,
            tools: spec.tools,
            temperature: spec.temperature,
            max_output_tokens: spec.max_output_tokens,
            reasoning_effort: spec.reasoning_effort,
            history_turns: spec.history_turns,
            history_tokens: spec.history_tokens,
            max_rounds: spec.max_rounds,
            max_tool_calls: spec.max_tool_calls,
            request_seconds: spec.request_seconds,
            max_tokens_per_session: spec.max_tokens_per_session,
            max_cost_per_session: spec.max_cost_per_session,
            refusal_message: spec.refusal_message,
        }
    }
}
