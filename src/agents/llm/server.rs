//! Asks the model's server, and tries again what may succeed within the turn.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::LlmAgent;
use super::history::tokens;
use super::outcome::{self, Refusal};
use super::reader::{self, Completion, Usage};
use super::record::{ModelRequest, NotPermitted, RequestOutcome, TurnRecord};
use super::request;
use crate::agents::AgentError;
use crate::agents::http::{Caller, NoReply, Post, Reply};
use crate::agents::tool::Tool;
use crate::domain::bounds;
use crate::domain::llm::ModelFinish;
use crate::domain::llm_budget::ModelTokens;

/// The pauses before a request is repeated within a turn.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The longest pause that a server may ask for within a turn. After a longer one the turn is put
/// off.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Why there is no completion.
pub(super) enum NotAnswered {
    /// The request is longer than the model's context.
    TooLong,
    Failed(AgentError),
}

/// What a request asks for.
pub(super) struct Wanted<'a> {
    pub(super) round: i32,
    pub(super) messages: &'a [Value],
    pub(super) tools: &'a [Tool],
    /// How many tokens the answer may have.
    pub(super) most_tokens: i32,
    /// Begins the ids of calls that the server gives none.
    pub(super) prefix: &'a str,
}

/// The model's server during a turn.
pub(super) struct Server<'a> {
    pub(super) agent: &'a LlmAgent,
    pub(super) key: Option<&'a SecretString>,
    pub(super) traceparent: Option<&'a str>,
    pub(super) record: &'a dyn TurnRecord,
}

/// The address of the model's server, from the base URL of a spec.
pub(super) fn address(caller: &Caller, base_url: &str) -> Result<Url, String> {
    let base = base_url.trim_end_matches('/');
    let text = if base.ends_with("/chat/completions") { base.to_owned() } else { format!("{base}/chat/completions") };
    caller.parse_url(&text)
}

impl Server<'_> {
    /// Asks for a completion. What fails for the moment is repeated three times; a parameter that
    /// the server refuses is left out, here and in later turns.
    pub(super) async fn ask(&self, wanted: &Wanted<'_>) -> Result<Completion, NotAnswered> {
        let failed = |what: String| {
            NotAnswered::Failed(AgentError::Failed(bounds::error(&format!("the model's server {what}"))))
        };
        let (mut pauses, mut last_failure) = (PAUSES.into_iter(), None);
        loop {
            if let Err(why) = self.record.permit() {
                // What failed here says more, and counts as a failure of the turn.
                return Err(last_failure.map_or_else(|| NotAnswered::Failed(not_permitted(why)), failed));
            }
            let refused = self.agent.refused();
            let body = request::body(&self.agent.spec, wanted.messages, wanted.tools, wanted.most_tokens, &refused);
            let (what, after) = match self.send(wanted, &body).await? {
                Sent::Completion(completion) => return Ok(*completion),
                Sent::Refused { refusal, what, .. } => match refusal {
                    Refusal::Later(after) => (what, after),
                    Refusal::Parameter(parameter) if !refused.contains(&parameter) => {
                        self.agent.leave_out(parameter);
                        continue;
                    }
                    Refusal::Parameter(_) | Refusal::Unusable => return Err(failed(what)),
                    Refusal::TooLong => return Err(NotAnswered::TooLong),
                    Refusal::Operator(must) => {
                        let text = format!("the model's server {}", must.text());
                        return Err(NotAnswered::Failed(AgentError::Unusable(text)));
                    }
                },
            };
            let Some(pause) = pauses.next() else { return Err(failed(what)) };
            let pause = after.unwrap_or(pause);
            if pause > LONGEST_PAUSE {
                return Err(failed(format!("{what} and asks to wait {} seconds", pause.as_secs())));
            }
            let jitter = f64::from(Uuid::now_v7().as_bytes()[15]) / 1024.0;
            tokio::time::sleep(pause.mul_f64(1.0 + jitter)).await;
            last_failure = Some(what);
        }
    }

    /// Sends one request, and counts it: before it, the most that it may use, and after it, what it
    /// used.
    async fn send(&self, wanted: &Wanted<'_>, body: &Value) -> Result<Sent, NotAnswered> {
        let body = body.to_string();
        let most = ModelTokens { prompt: count(tokens(&body)), cached: 0, output: wanted.most_tokens.into() };
        let reservation = self.record.reserve(most).await.map_err(NotAnswered::Failed)?;
        let began = Instant::now();
        let sent = self.exchange(wanted, body.into_bytes()).await;
        self.record.observe(match &sent {
            Sent::Completion(_) => RequestOutcome::Answered,
            Sent::Refused { refusal, .. } => refusal.outcome(),
        });
        let (finish, usage, error) = match &sent {
            Sent::Completion(completion) => (ModelFinish::from(completion.finish), completion.usage, None),
            Sent::Refused { what, .. } => (ModelFinish::Failed, Usage::default(), Some(bounds::error(what))),
        };
        let request = ModelRequest {
            reservation,
            used: sent.used(most),
            round: wanted.round,
            model: self.agent.spec.model.clone(),
            finish,
            prompt_tokens: usage.prompt,
            cached_tokens: usage.cached,
            output_tokens: usage.output,
            reasoning_tokens: usage.reasoning,
            milliseconds: i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX),
            error,
        };
        self.record.request(request).await.map_err(NotAnswered::Failed)?;
        Ok(sent)
    }

    async fn exchange(&self, wanted: &Wanted<'_>, body: Vec<u8>) -> Sent {
        let spec = &self.agent.spec;
        let url = match address(&self.agent.caller, &spec.base_url) {
            Ok(url) => url,
            Err(what) => return Sent::free(Refusal::Unusable, format!("can't be called: {what}")),
        };
        let timeout = Duration::from_secs(u64::try_from(spec.request_seconds).unwrap_or_default());
        let reply = match self.agent.caller.post(Post { url, headers: self.headers(), body, timeout }).await {
            Ok(reply) => reply,
            Err(NoReply { what, is_unsent }) => {
                return Sent::Refused { refusal: Refusal::Later(None), what, is_free: is_unsent };
            }
        };
        if reply.status.is_success() {
            return match reader::read(&reply.body, wanted.prefix) {
                Ok(completion) => Sent::Completion(Box::new(completion)),
                Err(what) => {
                    let what = format!("gave {what}");
                    Sent::Refused { refusal: Refusal::Later(None), what, is_free: false }
                }
            };
        }
        let refusal = outcome::of_status(reply.status.as_u16(), retry_after(&reply.headers), &reply.body);
        Sent::free(refusal, format!("answered {}{}", reply.status, told(&reply)))
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let key = self.key.and_then(|key| HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok());
        if let Some(mut key) = key {
            key.set_sensitive(true);
            headers.insert(AUTHORIZATION, key);
        }
        if let Some(traceparent) = self.traceparent.and_then(|context| HeaderValue::from_str(context).ok()) {
            headers.insert("traceparent", traceparent);
        }
        headers
    }
}

/// The error of a turn whose server may not be called now.
fn not_permitted(why: NotPermitted) -> AgentError {
    match why {
        NotPermitted::ServerFails(wait) => AgentError::NotNow {
            what: "the model's server failed repeatedly, so it is not called for a while".to_owned(),
            seconds: u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1),
        },
        NotPermitted::AccountRefused => AgentError::Unusable(
            "the model's server refused the API key or the account repeatedly, so it is not called for a while; set another key (llm.api_key), or top the account up at the provider"
                .to_owned(),
        ),
    }
}

/// What became of one request.
enum Sent {
    Completion(Box<Completion>),
    Refused {
        /// What follows.
        refusal: Refusal,
        /// What happened, after "the model's server".
        what: String,
        /// Whether the provider certainly charges nothing: it refused the request or never got it.
        is_free: bool,
    },
}

impl Sent {
    fn free(refusal: Refusal, what: String) -> Self {
        Self::Refused { refusal, what, is_free: true }
    }

    /// What the request used. Where the server does not say, it is estimated. A request whose
    /// answer was lost counts with the most that it may use.
    fn used(&self, most: ModelTokens) -> ModelTokens {
        match self {
            Self::Refused { is_free: true, .. } => ModelTokens::default(),
            Self::Refused { .. } => most,
            Self::Completion(completion) => {
                let Usage { prompt, cached, output, .. } = completion.usage;
                // Some servers say 0 for all.
                let told = |said: Option<i32>| said.filter(|said| *said > 0).map(i64::from);
                let estimated = || count(tokens(&completion.message.to_string()));
                ModelTokens {
                    prompt: told(prompt).unwrap_or(most.prompt),
                    cached: told(cached).unwrap_or(0),
                    output: told(output).unwrap_or_else(estimated),
                }
            }
        }
    }
}

fn count(tokens: usize) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

/// The names of an error of the provider. Its message may repeat what the contact wrote, or the
/// key.
fn told(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let names = ["code", "type", "param"].map(|name| {
        let name = body.pointer(&format!("/error/{name}")).and_then(Value::as_str)?;
        let is_word = name.len() <= 80 && name.bytes().all(|byte| byte.is_ascii_graphic());
        is_word.then(|| name.to_owned())
    });
    let names: Vec<String> = names.into_iter().flatten().collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// How long a server asks to wait: `retry-after-ms`, or `Retry-After` in seconds. A date is left,
/// because no provider is known to send one.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number(RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}
