//! Decides what follows from an answer of the provider: from its status and its error, or from what
//! the model said.

use std::time::Duration;

use serde_json::Value;

use super::reader::{Completion, Finish};
use super::record::RequestOutcome;

/// What follows from an answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request may succeed later; the provider may say when.
    Later(Option<Duration>),
    /// The server does not take a parameter of the request, which can be left out.
    Parameter(Parameter),
    /// The request is longer than the model's context.
    TooLong,
    /// The operator must act first: another key, more money, the right address or model.
    Operator(OperatorMust),
    /// The server does not take the request, and nothing that is known would change that.
    Unusable,
}

impl Refusal {
    /// How the server took the request.
    pub(super) const fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Later(after) => RequestOutcome::Failed(*after),
            Self::Operator(OperatorMust::CheckKey | OperatorMust::Pay) => RequestOutcome::AccountRefused,
            // Another model or another address may work.
            Self::Operator(OperatorMust::CheckAddress) | Self::Parameter(_) | Self::TooLong | Self::Unusable => {
                RequestOutcome::Answered
            }
        }
    }
}

/// What the operator must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OperatorMust {
    /// The key is wrong, or may not use the model.
    CheckKey,
    /// The account of the provider has no money left, or reached its limit.
    Pay,
    /// The address or the model does not exist.
    CheckAddress,
}

impl OperatorMust {
    /// What is wrong and what to do, after "the model's server".
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::CheckKey => "refused the API key; set another one (llm.api_key)",
            Self::Pay => "says that the account has no money left or reached its limit; top it up at the provider",
            Self::CheckAddress => "does not know the address or the model; correct llm.base_url or llm.model",
        }
    }
}

/// A parameter of a request that a server may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Parameter {
    /// `temperature`: reasoning models take only their own.
    Temperature,
    /// `max_tokens`: reasoning models want `max_completion_tokens`.
    MaxTokens,
    /// `reasoning_effort`: models that don't reason refuse it.
    ReasoningEffort,
    /// `strict` of a tool: some compatible servers refuse it.
    Strict,
}

impl Parameter {
    /// All of them.
    const ALL: [Self; 4] = [Self::Temperature, Self::MaxTokens, Self::ReasoningEffort, Self::Strict];

    /// Its name in a request.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::MaxTokens => "max_tokens",
            Self::ReasoningEffort => "reasoning_effort",
            Self::Strict => "strict",
        }
    }
}

/// Names of errors of an account without money, which say 429 or 400 like errors that pass.
const NO_MONEY: [&str; 6] = [
    "insufficient_quota",
    "billing",
    "credit balance",
    "insufficient balance",
    "spend limit",
    "exceeded your current quota",
];

/// Words of errors of a request that is longer than the model's context.
const TOO_LONG: [&str; 6] =
    ["context_length", "context length", "context window", "context size", "maximum context", "too many tokens"];

/// What follows from an answer with this status, which is no success. `after`: the header
/// `Retry-After`.
pub(super) fn of_status(status: u16, after: Option<Duration>, body: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(body).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match status {
        402 => Refusal::Operator(OperatorMust::Pay),
        400 | 403 | 429 if says(&NO_MONEY) => Refusal::Operator(OperatorMust::Pay),
        401 | 403 => Refusal::Operator(OperatorMust::CheckKey),
        404 => Refusal::Operator(OperatorMust::CheckAddress),
        400 | 413 | 422 if says(&TOO_LONG) => Refusal::TooLong,
        400 | 422 => parameter_of(body, &text).map_or(Refusal::Unusable, Refusal::Parameter),
        408 | 409 | 425 | 429 | 500.. => Refusal::Later(after),
        _ => Refusal::Unusable,
    }
}

/// The parameter that an error names.
fn parameter_of(body: &[u8], text: &str) -> Option<Parameter> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = body.pointer("/error/param").and_then(Value::as_str).map(str::to_lowercase);
    let is_named = |parameter: &Parameter| match &named {
        Some(named) => named.split(['.', '[', ']']).any(|part| part == parameter.name()),
        None => words(text).any(|word| word == parameter.name()),
    };
    Parameter::ALL.into_iter().find(is_named)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

/// What follows from what a model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It calls tools.
    Calls,
    /// It has a text for the contact.
    Text(String),
    /// It has a text that the limit of tokens cut: the whole sentences of it.
    CutText(String),
    /// It said nothing, because the limit of tokens was used up before.
    NothingYet,
    /// It said nothing at all.
    Nothing,
    /// It, or the filter of the provider, declines to answer.
    Declines,
}

/// What follows from a completion.
pub(super) fn of_completion(completion: &Completion) -> Verdict {
    if !completion.calls.is_empty() {
        return Verdict::Calls;
    }
    let text = completion.text.as_str();
    match (completion.finish, completion.refuses || completion.finish == Finish::Filtered, text.is_empty()) {
        (_, true, _) => Verdict::Declines,
        (Finish::Length, false, true) => Verdict::NothingYet,
        (Finish::Length, false, false) => Verdict::CutText(whole_sentences(text).to_owned()),
        (Finish::Done | Finish::Filtered, false, true) => Verdict::Nothing,
        (Finish::Done | Finish::Filtered, false, false) => Verdict::Text(text.to_owned()),
    }
}

/// A text up to the end of its last whole sentence, or all of it if it has none.
fn whole_sentences(text: &str) -> &str {
    let ends = text.char_indices().zip(text.chars().skip(1).map(Some).chain([None])).filter(|((_, letter), next)| {
        matches!(letter, '.' | '!' | '?' | '…' | '。' | '！' | '？') && next.is_none_or(char::is_whitespace)
    });
    match ends.last() {
        Some(((at, letter), _)) => text.get(..at + letter.len_utf8()).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::reader::{Usage, read};
    use super::*;

    #[test]
    fn a_status_and_an_error_say_what_follows() {
        use {OperatorMust as Must, Parameter as P, Refusal as R};
        let param = |name: &str| {
            json!({"error": {"message": "unsupported", "param": name, "code": "unsupported_parameter"}}).to_string()
        };
        let says = |message: &str| json!({"error": {"message": message}}).to_string();
        for (status, body, follows) in [
            (401, String::new(), R::Operator(Must::CheckKey)),
            (403, says("no access to this model"), R::Operator(Must::CheckKey)),
            (404, says("model not found"), R::Operator(Must::CheckAddress)),
            (402, String::new(), R::Operator(Must::Pay)),
            (429, json!({"error": {"code": "insufficient_quota"}}).to_string(), R::Operator(Must::Pay)),
            (400, says("Your credit balance is too low"), R::Operator(Must::Pay)),
            (429, says("Rate limit reached"), R::Later(None)),
            (408, String::new(), R::Later(None)),
            (409, String::new(), R::Later(None)),
            (500, "<html>".to_owned(), R::Later(None)),
            (503, String::new(), R::Later(None)),
            (529, says("overloaded"), R::Later(None)),
            (400, param("temperature"), R::Parameter(P::Temperature)),
            (400, param("max_tokens"), R::Parameter(P::MaxTokens)),
            (400, param("tools[0].function.strict"), R::Parameter(P::Strict)),
            (422, says("Extra inputs are not permitted: strict"), R::Parameter(P::Strict)),
            (400, says("'reasoning_effort' is not supported"), R::Parameter(P::ReasoningEffort)),
            (400, param("messages[2].content"), R::Unusable),
            (400, says("This model's maximum context length is 8192 tokens"), R::TooLong),
            (400, says("the request exceeds the available context size"), R::TooLong),
            (400, json!({"error": {"code": "context_length_exceeded"}}).to_string(), R::TooLong),
            (400, says("invalid messages"), R::Unusable),
            (400, String::new(), R::Unusable),
            (418, String::new(), R::Unusable),
        ] {
            assert_eq!(of_status(status, None, body.as_bytes()), follows, "{status} {body}");
        }
        let after = Some(Duration::from_secs(7));
        assert_eq!(of_status(429, after, b""), R::Later(after));
    }

    #[test]
    fn what_a_model_said_says_what_follows() {
        let said = |message: Value, finish: &str| {
            let body = json!({"choices": [{"message": message, "finish_reason": finish}]}).to_string();
            of_completion(&read(body.as_bytes(), "c").expect("an answer"))
        };
        let text = |text: &str| Verdict::Text(text.to_owned());
        for (message, finish, follows) in [
            (json!({"content": "Hi."}), "stop", text("Hi.")),
            (json!({"content": ""}), "stop", Verdict::Nothing),
            (json!({"content": null, "reasoning": "…"}), "stop", Verdict::Nothing),
            (json!({"content": ""}), "length", Verdict::NothingYet),
            (json!({"content": "<think>long"}), "length", Verdict::NothingYet),
            (json!({"content": "We open at 9. On Sun"}), "length", Verdict::CutText("We open at 9.".to_owned())),
            (json!({"content": "Weopen"}), "length", Verdict::CutText("Weopen".to_owned())),
            (json!({"content": "No."}), "content_filter", Verdict::Declines),
            (json!({"content": null, "refusal": "I can't."}), "stop", Verdict::Declines),
            (json!({"content": "x", "tool_calls": [{"function": {"name": "book"}}]}), "length", Verdict::Calls),
        ] {
            assert_eq!(said(message.clone(), finish), follows, "{message} {finish}");
        }
    }

    #[test]
    fn a_sentence_ends_before_a_blank_or_the_end() {
        for (text, whole) in [
            ("One. Two", "One."),
            ("Version 1.5 is", "Version 1.5 is"),
            ("It is 3.50. See a.b/c", "It is 3.50."),
            ("はい。 そう", "はい。"),
            ("Done!", "Done!"),
            ("", ""),
        ] {
            assert_eq!(whole_sentences(text), whole);
        }
        let empty = Completion {
            text: String::new(),
            calls: Vec::new(),
            finish: Finish::Done,
            refuses: false,
            usage: Usage::default(),
            message: Value::Null,
        };
        assert_eq!(of_completion(&empty), Verdict::Nothing);
    }
}
