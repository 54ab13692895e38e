//! What stands in for a model on this machine: a scripted one, recorded answers, or a recorder in
//! front of a real one. Each is a server on this machine that speaks like OpenAI's chat
//! completions, so that an agent runs with the same code as in a worker.

pub(super) mod recorded;
pub(super) mod scripted;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Response, Route, handler, post};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::check::CheckError;
use super::folder::AgentFiles;
use crate::config::parse_base_url;
use crate::dev::shell;
use crate::http::listener::Listening;
use recorded::Recording;
use scripted::Rules;
use url::Url;

/// Which model answers, and with which key.
#[derive(Args, Clone, Default)]
pub struct ModelOptions {
    /// Where the API of your model begins, instead of llm.base_url of the agent
    #[arg(long, env = "TEXTBACK_LLM_URL", value_parser = parse_base_url)]
    llm_url: Option<Url>,
    /// The key at the provider of your model
    #[arg(long, env = "TEXTBACK_LLM_KEY", hide_env_values = true)]
    llm_key: Option<SecretString>,
    /// The provider's name of your model, instead of llm.model of the agent
    #[arg(long, env = "TEXTBACK_LLM_MODEL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    llm_model: Option<String>,
}

impl ModelOptions {
    const fn is_given(&self) -> bool {
        self.llm_url.is_some() || self.llm_key.is_some()
    }
}

/// Whether answers of the model are recorded, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recordings {
    None,
    /// They take the model's part.
    Replay(PathBuf),
    /// The model is called, and its answers are written.
    Record(PathBuf),
}

/// The model of an agent on this machine.
pub(super) struct Model {
    /// What is to be said of it before a conversation.
    pub(super) notice: Option<String>,
    /// The key for requests to it.
    pub(super) key: Option<SecretString>,
    local: Option<LocalModel>,
}

impl Model {
    /// Chooses the model of an agent, and lets the agent call it.
    pub(super) async fn choose(
        files: &mut AgentFiles,
        options: &ModelOptions,
        recordings: &Recordings,
    ) -> Result<Self, CheckError> {
        let none = Self { notice: None, key: None, local: None };
        if files.kind() != "llm" {
            return Ok(none);
        }
        if let Some(url) = &options.llm_url {
            files.set_llm("base_url", json!(url.as_str()));
        }
        if let Some(model) = &options.llm_model {
            files.set_llm("model", json!(model));
        }
        let rules = files.model_file().filter(|_| !options.is_given());
        let key = options.llm_key.clone();
        let (notice, source) = match (recordings, rules) {
            (Recordings::Replay(path), _) => (None, Source::Recorded(Recording::read(path)?)),
            (Recordings::Record(path), None) => {
                let upstream = Upstream::of(files, key.clone())?;
                (None, Source::Recorder(Recording::begin(path)?, upstream))
            }
            (Recordings::Record(_), Some(_)) => {
                return Err("there is no model to record; set TEXTBACK_LLM_KEY or TEXTBACK_LLM_URL".into());
            }
            (Recordings::None, Some(file)) => {
                let notice = format!(
                    "a scripted model answers by the rules in {}; set TEXTBACK_LLM_KEY or TEXTBACK_LLM_URL for a real one",
                    file.display()
                );
                (Some(notice), Source::Scripted(Rules::read(&file)?))
            }
            (Recordings::None, None) => return Ok(Self { key, ..none }),
        };
        let local = LocalModel::serve(source).await?;
        files.set_llm("base_url", json!(local.base_url));
        Ok(Self { notice, key: None, local: Some(local) })
    }

    /// The key as the API takes it.
    pub(super) fn secret(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.expose_secret())
    }

    /// Why the model on this machine gave no answer, and forgets it.
    pub(super) fn problem(&self) -> Option<String> {
        let local = self.local.as_ref()?;
        local.model.problem.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A server that ends when this value is dropped.
struct LocalModel {
    base_url: String,
    model: Arc<LocalAnswers>,
    stop: CancellationToken,
}

impl Drop for LocalModel {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct LocalAnswers {
    source: Source,
    problem: Mutex<Option<String>>,
}

/// Where answers come from.
enum Source {
    Scripted(Rules),
    Recorded(Recording),
    Recorder(Recording, Upstream),
}

/// A real model, whose answers are recorded.
struct Upstream {
    url: String,
    key: Option<SecretString>,
    client: reqwest::Client,
}

impl Upstream {
    fn of(files: &AgentFiles, key: Option<SecretString>) -> Result<Self, CheckError> {
        let base = files.llm("base_url").and_then(Value::as_str).unwrap_or_default().trim_end_matches('/').to_owned();
        let url = if base.ends_with("/chat/completions") { base } else { format!("{base}/chat/completions") };
        Ok(Self { url, key, client: reqwest::Client::builder().build()? })
    }

    async fn answer(&self, request: &Value) -> Result<Value, String> {
        let mut call = self.client.post(&self.url).json(request);
        if let Some(key) = &self.key {
            call = call.bearer_auth(key.expose_secret());
        }
        let told = |error: reqwest::Error| format!("the model can't be called: {}", error.without_url());
        let answer = call.send().await.map_err(told)?;
        let status = answer.status();
        match status.is_success() {
            true => answer.json().await.map_err(told),
            false => Err(format!("the model answered {status}")),
        }
    }
}

impl LocalModel {
    async fn serve(source: Source) -> Result<Self, CheckError> {
        let model = Arc::new(LocalAnswers { source, problem: Mutex::default() });
        let routes = Route::new().at("/v1/chat/completions", post(complete)).data(model.clone());
        let listening = Listening::at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), "a free port").await?;
        let base_url = format!("{}/v1", shell::url_of(listening.address()));
        let stop = CancellationToken::new();
        tokio::spawn(listening.serve(routes, stop.clone().cancelled_owned()));
        Ok(Self { base_url, model, stop })
    }
}

#[handler]
async fn complete(model: Data<&Arc<LocalAnswers>>, request: Json<Value>) -> Response {
    let answer = match &model.source {
        Source::Scripted(rules) => rules.answer(&request),
        Source::Recorded(recording) => recording.next(&request),
        Source::Recorder(recording, upstream) => match upstream.answer(&request).await {
            Ok(answer) => recording.keep(&request, answer),
            Err(what) => Err(what),
        },
    };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(what) => {
            *model.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
            let body = json!({"error": {"code": "no_answer_on_this_machine"}});
            Json(body).with_status(StatusCode::UNPROCESSABLE_ENTITY).into_response()
        }
    }
}

/// The text of the newest message of the contact in a request.
fn newest_text(request: &Value) -> &str {
    let messages = request.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of_contact = messages.iter().rev().find(|message| message.get("role") == Some(&json!("user")));
    of_contact.and_then(|message| message.get("content")).and_then(Value::as_str).unwrap_or_default()
}
