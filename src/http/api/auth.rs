//! Checks API keys before a byte of the body is read: which project a key belongs to and what it
//! may do. Never says why a key is wrong.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use poem::Request;
use poem::http::{StatusCode, header};
use poem_openapi::SecurityScheme;
use poem_openapi::auth::Bearer;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::http::failed_attempts::{FailedAttempts, MAX_GUESSES, WAIT_SECONDS};
use crate::http::headers;
use crate::http::problem::Problem;
use crate::secret::sha256;
use crate::storage::Storage;
use crate::storage::api_key::{self, Key};
use crate::telemetry::metrics;

/// An API key of a project, as `textback project create` prints it.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", rename = "ApiKey", checker = "authenticate")]
pub struct Caller(Key);

impl Caller {
    /// The project of a caller that only looks.
    pub fn reader(&self) -> Uuid {
        self.0.project_id
    }

    /// The project of a caller that changes something.
    pub fn writer(&self) -> Result<Uuid, Problem> {
        if self.0.scopes.iter().any(|scope| scope == "admin") {
            Ok(self.0.project_id)
        } else {
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                "scope_missing",
                "this key may only read; use one with the scope admin",
            ))
        }
    }
}

/// How many keys that were never valid are looked up at a time. Their look-ups must not use up the
/// connections that store texts.
const UNKNOWN_AT_A_TIME: usize = 2;
/// How long such a look-up may wait for a permit.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// The same for addresses that guess. A valid key is never refused, because behind a proxy all
/// clients share one address.
const GUESSED_AT_A_TIME: usize = 1;
/// How long after its last use a valid key is looked up without waiting. Each request still looks
/// it up, so a revoked key is refused at once.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

/// Checks the key of each request. Clones share one state and are cheap.
#[derive(Clone)]
pub struct Authenticator {
    storage: Storage,
    guesses: FailedAttempts,
    /// The hashes of keys that were valid.
    known: Cache<[u8; 32], ()>,
    unknown: Arc<Semaphore>,
    guessed: Arc<Semaphore>,
}

impl Authenticator {
    /// An authenticator that knows no key yet.
    pub fn new(storage: Storage) -> Self {
        Self {
            storage,
            guesses: FailedAttempts::default(),
            known: Cache::builder().max_capacity(10_000).time_to_idle(KNOWN_FOR).build(),
            unknown: Arc::new(Semaphore::new(UNKNOWN_AT_A_TIME)),
            guessed: Arc::new(Semaphore::new(GUESSED_AT_A_TIME)),
        }
    }

    /// Finds the key of a request.
    pub async fn key_of(&self, request: &Request) -> Result<Key, Problem> {
        let given = headers::only(request.headers(), &header::AUTHORIZATION, "Authorization")?;
        let token =
            given.and_then(|given| given.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else {
            return Err(match given {
                None => Problem::key_missing(),
                Some(_) => Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "api_key_missing",
                    "the header Authorization has no Bearer key; send Authorization: Bearer tb_…",
                ),
            });
        };
        let token = token.trim();
        let hash = sha256(token.as_bytes());
        let found = match self.known.get(&hash).await {
            Some(()) => api_key::find(&mut *self.storage.connection().await?, token).await?,
            None if self.guesses.are_too_many(request).await => self.find_unknown(token, &self.guessed).await?,
            None => self.find_unknown(token, &self.unknown).await?,
        };
        match found {
            Some(key) => {
                self.known.insert(hash, ()).await;
                Ok(key)
            }
            None => {
                self.known.invalidate(&hash).await;
                Err(self.refuse(request).await)
            }
        }
    }

    async fn find_unknown(&self, token: &str, turns: &Semaphore) -> Result<Option<Key>, Problem> {
        // No valid key looks like this, so it gets no look-up.
        if !api_key::is_shaped(token) {
            return Ok(None);
        }
        let turn = tokio::time::timeout(TURN_WITHIN, turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let told = "too many keys are looked up at this moment; try again";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_unknown_keys", told).retry_after(1));
        };
        Ok(api_key::find(&mut *self.storage.connection().await?, token).await?)
    }

    async fn refuse(&self, request: &Request) -> Problem {
        if self.guesses.note(request).await {
            return too_many_wrong_keys();
        }
        metrics::WRONG_KEYS.count(&["401"]);
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "api_key_invalid",
            "this API key is not valid; textback project create makes one",
        )
    }
}

fn too_many_wrong_keys() -> Problem {
    metrics::WRONG_KEYS.count(&["429"]);
    let told =
        format!("more than {MAX_GUESSES} wrong API keys came from this address within a minute; wait until it is over");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_wrong_keys", told).retry_after(WAIT_SECONDS)
}

/// The key that the authenticator found.
async fn authenticate(request: &Request, _: Bearer) -> poem::Result<Key> {
    request.extensions().get::<Key>().cloned().ok_or_else(|| Problem::key_missing().into())
}
