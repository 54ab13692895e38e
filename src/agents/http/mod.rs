//! The `http` kind of agents: a signed POST asks the customer's service for the answer. Redirects
//! are never followed.
//!
//! The request is `{turn_id, attempt, conv, messages, history}`. A retry has the same `turn_id` and
//! the same messages, so a service can store its answer and return it again.

mod answer;
mod other_keys;

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue,
};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use crate::agents::{Agent, AgentError, AgentFuture, Answer, Conversation, HistoryEntry, TurnInput, UserMessage};
use crate::domain::bounds;
use crate::domain::web_address::is_called_as_written;
pub use crate::outbound_http::networks::{Network, Networks};
use crate::outbound_http::networks::{Resolver, Transport};
use crate::outbound_http::standard_webhooks;

/// The largest answer in bytes: a state of 256 kB, and more text than a turn may send, which is
/// cut.
const MOST_BYTES: usize = 1024 * 1024;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls services in the allowed networks. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Caller {
    /// Clients for https and for http. A DNS resolver does not see the scheme, and http may reach
    /// only allowed networks.
    tls: reqwest::Client,
    plain: reqwest::Client,
    networks: Networks,
}

impl Caller {
    /// A caller that reaches public addresses and the allowed networks.
    pub fn new(networks: Networks) -> Result<Self, reqwest::Error> {
        Ok(Self {
            tls: Self::client(Resolver(networks.clone(), Transport::Tls))?,
            plain: Self::client(Resolver(networks.clone(), Transport::Plain))?,
            networks,
        })
    }

    fn client(resolver: Resolver) -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder()
            .user_agent(concat!("textback/", env!("CARGO_PKG_VERSION")))
            // A redirect could lead to a forbidden address, and drops the body.
            .redirect(reqwest::redirect::Policy::none())
            // Only the row of the turn decides about retries.
            .retry(reqwest::retry::never().max_retries_per_request(0))
            // A proxy would resolve host names, and the addresses could not be checked.
            .no_proxy()
            .dns_resolver(std::sync::Arc::new(resolver))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(20))
            .build()
    }

    /// Posts JSON and reads the answer. The error says what went wrong, after "the agent's service"
    /// or the like, and has nothing of the URL, whose query may contain a secret.
    pub(in crate::agents) async fn post(&self, post: Post) -> Result<Reply, NoReply> {
        let Post { url, mut headers, body, timeout } = post;
        let client = match transport(&url) {
            Transport::Tls => &self.tls,
            Transport::Plain => &self.plain,
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let describe =
            |error: reqwest::Error| NoReply { is_unsent: error.is_connect(), what: describe(&error, timeout) };
        let mut answer =
            client.post(url).headers(headers).body(body).timeout(timeout).send().await.map_err(describe)?;
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(describe)? {
            if bytes.len() + part.len() > MOST_BYTES {
                let what = format!("answered with more than {} KiB", MOST_BYTES / 1024);
                return Err(NoReply { what, is_unsent: false });
            }
            bytes.extend_from_slice(&part);
        }
        Ok(Reply { status: answer.status(), headers: answer.headers().clone(), body: bytes })
    }

    /// Checks the URL of a service before it is saved. A host name is looked up if it is to be
    /// called by http. Then it must resolve into an allowed network now, and again at each call.
    pub async fn check_url(&self, text: &str) -> Result<(), String> {
        let url = self.parse_url(text)?;
        if let (Transport::Plain, Some(url::Host::Domain(name))) = (transport(&url), url.host()) {
            self.networks.look_up(name, Transport::Plain).await.map_err(|what| {
                format!("{what}; http is for networks that TEXTBACK_ALLOW_HOSTS has, and https for everything else")
            })?;
        }
        Ok(())
    }

    /// Parses the URL of a service. The error says what is wrong with it.
    pub fn parse_url(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text)
            .map_err(|error| format!("{error}; give a full URL such as https://agent.example.com/texts"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("its scheme is {}; use https or http", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it contains a user name or a password, which everybody who can read the agent would see; requests are signed instead".to_owned());
        }
        if !is_called_as_written(text) {
            return Err(format!(
                "it is {text:?}, and {url} would be called; remove blanks, line ends and \\, and write two slashes after the scheme"
            ));
        }
        if url.fragment().is_some() {
            return Err("it has a fragment, which is never sent; remove the # and everything after it".to_owned());
        }
        if url.port() == Some(0) {
            return Err("it has the port 0, on which nothing can listen; give the port of the service".to_owned());
        }
        // Host names are resolved at each call, because their addresses change.
        match url.host() {
            Some(url::Host::Ipv4(address)) => self.networks.admit(address.into(), transport(&url))?,
            Some(url::Host::Ipv6(address)) => self.networks.admit(address.into(), transport(&url))?,
            Some(url::Host::Domain(name)) if !is_host_name(name) => {
                return Err(format!(
                    "{name} can't be a host name: between dots are 1 to 63 letters, digits and hyphens"
                ));
            }
            Some(url::Host::Domain(_)) => {}
            None => return Err("it has no host".to_owned()),
        }
        Ok(url)
    }
}

/// A request to a service.
pub(in crate::agents) struct Post {
    pub(in crate::agents) url: Url,
    /// Those that are not the same for all requests.
    pub(in crate::agents) headers: HeaderMap,
    /// JSON.
    pub(in crate::agents) body: Vec<u8>,
    /// How long the service has for the whole answer.
    pub(in crate::agents) timeout: Duration,
}

/// Why there is no answer of a service.
pub(in crate::agents) struct NoReply {
    /// What went wrong, after "the agent's service" or the like.
    pub(in crate::agents) what: String,
    /// Whether the service certainly got no request.
    pub(in crate::agents) is_unsent: bool,
}

/// The answer of a service.
pub(in crate::agents) struct Reply {
    pub(in crate::agents) status: StatusCode,
    pub(in crate::agents) headers: HeaderMap,
    pub(in crate::agents) body: Vec<u8>,
}

/// Describes an error without the URL.
fn describe(error: &reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() {
        return format!("did not answer within {} seconds", timeout.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_connect() { "can't be reached" } else { "broke off" };
    format!("{what}: {cause}")
}

/// The charset that an answer names.
fn charset(headers: &HeaderMap) -> Option<&str> {
    let parameters = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').skip(1);
    let mut named = parameters.filter_map(|parameter| parameter.split_once('='));
    named.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset")).map(|(_, value)| value.trim().trim_matches('"'))
}

/// What is said of an answer that can't be read because it is compressed, although the request asks
/// for no compression.
fn coding(headers: &HeaderMap) -> Option<String> {
    let coding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim();
    let shown = bounds::text(coding, 40);
    (!coding.eq_ignore_ascii_case("identity")).then(|| {
        format!("answered with the Content-Encoding {shown}, which is not read; an answer must be sent without one")
    })
}

/// Whether a name server could know a name (RFC 1035, 2.3.4). Underscores are not in host names,
/// and name servers know some all the same.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn transport(url: &Url) -> Transport {
    if url.scheme() == "https" { Transport::Tls } else { Transport::Plain }
}

/// An agent that is a service of the customer.
pub struct HttpAgent {
    /// What calls the service.
    pub caller: Caller,
    /// Where the service is.
    pub url: String,
    /// How long the service has for an answer.
    pub timeout: Duration,
}

impl HttpAgent {
    async fn call(&self, conversation: Conversation, input: TurnInput) -> Result<Answer, AgentError> {
        let failed = |what: String| AgentError::Failed(bounds::error(&format!("the agent's service {what}")));
        let Self { caller, url, timeout } = self;
        let url = caller.parse_url(url).map_err(|what| failed(format!("can't be called: {what}")))?;
        let body = request_body(&conversation, &input).map_err(|error| failed(format!("can't be called: {error}")))?;
        let headers = headers(&input, &body).map_err(|error| failed(format!("can't be called: {error}")))?;
        let reply = caller.post(Post { url, headers, body, timeout: *timeout }).await;
        let reply = reply.map_err(|no_reply| failed(no_reply.what))?;
        if reply.status == StatusCode::NO_CONTENT {
            return Ok(Answer { state: conversation.state, language: conversation.language, ..Answer::default() });
        }
        if !reply.status.is_success() {
            return Err(failed(format!("answered {}", reply.status)));
        }
        let read = answer::read(&reply.body, charset(&reply.headers), conversation);
        read.map_err(|what| failed(coding(&reply.headers).unwrap_or(what)))
    }
}

/// What identifies and signs the request of a turn.
fn headers(input: &TurnInput, body: &[u8]) -> Result<HeaderMap, InvalidHeaderValue> {
    let timestamp = input.at.timestamp();
    let mut headers = HeaderMap::new();
    headers.insert(standard_webhooks::ID, HeaderValue::from_str(&input.turn_id)?);
    headers.insert(standard_webhooks::TIMESTAMP, HeaderValue::from(timestamp));
    let signature = standard_webhooks::sign(&input.signing_secrets, &input.turn_id, timestamp, body);
    headers.insert(standard_webhooks::SIGNATURE, HeaderValue::from_str(&signature)?);
    if let Some(traceparent) = &input.traceparent {
        headers.insert("traceparent", HeaderValue::from_str(traceparent)?);
    }
    Ok(headers)
}

impl Agent for HttpAgent {
    /// There is nothing to run: the service learns of a session from its first turn.
    fn start(&self, conversation: Conversation) -> AgentFuture<'_> {
        let answer = Answer { state: conversation.state, language: conversation.language, ..Answer::default() };
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn reply(&self, conversation: Conversation, input: TurnInput) -> AgentFuture<'_> {
        Box::pin(self.call(conversation, input))
    }

    fn replies(&self) -> bool {
        true
    }
}

/// The body of the request.
#[derive(Serialize)]
struct Request<'a> {
    turn_id: &'a str,
    attempt: i32,
    conv: Value,
    messages: &'a [UserMessage],
    history: &'a [HistoryEntry],
}

fn request_body(conversation: &Conversation, input: &TurnInput) -> serde_json::Result<Vec<u8>> {
    let Conversation { id, channel_type, caller_number, callee_number, env, language, state, history, .. } =
        conversation;
    serde_json::to_vec(&Request {
        turn_id: &input.turn_id,
        attempt: input.attempt,
        conv: json!({
            "id": id,
            "channel_type": channel_type,
            "caller_number": caller_number,
            "callee_number": callee_number,
            "env": env,
            "language": language,
            "state": state,
        }),
        messages: &input.messages,
        history,
    })
}
