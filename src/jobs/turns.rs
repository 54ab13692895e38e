//! Turns: the agent answers what waits, and the outcome is settled under the token; no transaction is open while it thinks.

mod agent_log;
mod failure;
mod input;
mod messages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use apalis_core::error::BoxDynError;
use apalis_core::task::data::Data;
use moka::future::Cache;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::agents::http::HttpAgent;
use crate::agents::script::{Headroom, ScriptAgent};
use crate::agents::{Agent, AgentError, AgentRuntime, Answer, MessageBody, OutboundRequest};
use crate::domain::bounds;
use crate::domain::job::JobKind;
use crate::domain::message::{MessageKind, SkipReason};
use crate::domain::session::{CloseReason, SessionOrigin};
use crate::failpoint;
use crate::jobs::deliveries::Sender;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::{Owner, Permit};
use crate::jobs::runtime::local_queue::LocalQueue;
use crate::jobs::runtime::queue::{JobSource, Leased, claim_at_once, give_back};
use crate::jobs::turns::agent_log::write_log;
use crate::jobs::turns::failure::Failure;
use crate::jobs::turns::input::{asked, conversation};
use crate::jobs::turns::messages::Allowance;
use crate::secret::SecretKeys;
use crate::storage::agent::Version;
use crate::storage::batcher::BatchError;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::turn::{Claim, Delay, Reason, Settled, Settlement};
use crate::storage::{self, Storage, agent, delivery, turn};

/// How often a turn may be claimed before it is set aside, since its text may end each worker. Workers also die for
/// other reasons, so this is more than the attempts.
const MOST_CLAIMS: i32 = 8;

/// After which time the outcome of a turn is tried again that the database did not take.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a turn may go on after the signal to stop; then another worker takes it over.
const GRACE: Duration = Duration::from_secs(5);

/// Runs turns.
#[derive(Clone)]
pub struct Turns {
    storage: Storage,
    /// Versions never change, so what was read once is right for ever.
    agents: Cache<(Uuid, i32), Arc<CachedAgent>>,
    agent_runtime: AgentRuntime,
    /// What opens the secrets that sign requests to services.
    key: SecretKeys,
    env: &'static str,
    pub(super) lease_seconds: u32,
    /// Who sends what turns say, when it is this process.
    sending: Option<(Sender, LocalQueue<delivery::Claim>)>,
    /// Cancelled when the process is told to stop.
    pub(super) stopping: CancellationToken,
}

struct CachedAgent {
    version: Version,
    /// None for a service.
    script: Option<ScriptAgent>,
}

impl CachedAgent {
    /// Whether one more turn could only wait for other runs of its project, or only one turn may try.
    fn gate(&self) -> Option<CircuitState> {
        match self.script.as_ref().map(ScriptAgent::headroom)? {
            Headroom::None => Some(CircuitState::Shut),
            Headroom::Few => Some(CircuitState::Trial),
            Headroom::Enough => None,
        }
    }
}

impl Turns {
    /// Turns whose agents are told that they run in `env`, and that hold their leases this long.
    pub fn new(
        storage: Storage,
        agent_runtime: AgentRuntime,
        key: SecretKeys,
        env: &'static str,
        lease_seconds: u32,
    ) -> Self {
        let (agents, stopping) = (Cache::new(1_000), CancellationToken::new());
        Self { storage, agents, agent_runtime, key, env, lease_seconds, sending: None, stopping }
    }

    /// The same, whose first texts are sent by this process without another look for them.
    pub(super) fn hand_over_to(self, sender: Sender, handover: LocalQueue<delivery::Claim>) -> Self {
        Self { sending: Some((sender, handover)), ..self }
    }

    /// Lets only a part of a worker's slots wait for slow scripts.
    pub(super) fn bound_queue(&self, slots: usize) {
        self.agent_runtime.runners.bound_queue(slots);
    }

    /// Whether an agent's turns stay unclaimed for now: enough slow turns of its project wait already.
    pub(super) fn is_gated(&self, agent_id: Uuid) -> bool {
        self.gates().iter().any(|(gated, _)| *gated == agent_id)
    }

    /// Claims the due turns and runs them, without the worker, for tests. Returns the number of turns.
    pub async fn step(&self) -> Result<usize, sqlx::Error> {
        let claims = claim_at_once(self, 64).await?;
        let count = claims.len();
        futures::future::join_all(claims.into_iter().map(|claim| self.take(claim))).await;
        Ok(count)
    }

    /// Runs one turn to its end.
    #[tracing::instrument(name = "turn.take", skip_all, fields(session_id = %claim.session_id, turn_id = %claim.turn_id, attempt = claim.attempt))]
    async fn take(&self, claim: Claim) {
        let began = Instant::now();
        failpoint::reach("turn.after_claim");
        let mut outcome = failpoint::during("turn.in_agent", Box::pin(self.answer(&claim))).await;
        failpoint::reach("turn.after_agent");
        if let Err(failure) = &mut outcome {
            self.count_interruption(&claim, failure).await;
        }
        let (settlement, mut word) = match outcome {
            Ok(settlement) => (settlement, "answered"),
            Err(failure) if failure.gives_up(claim.failures) => {
                tracing::error!(error = %failure, "the agent failed for good; the person gets its error message if it has one");
                (failure.settlement(&claim), "failed")
            }
            Err(failure) => {
                tracing::warn!(error = %failure, "the agent failed; the turn is put off");
                self.put_off(&claim, &failure).await;
                metrics::counter!("textback_turns_total", "outcome" => "put_off").increment(1);
                return;
            }
        };
        let mut settlement = settlement;
        let leaving = self.reserve(&claim, &mut settlement);
        let mut settled = self.settle(&claim, settlement).await;
        if let Some((claim, seat)) = leaving {
            self.hand_over(&settled, claim, seat).await;
        }
        if let Err(error) = &settled
            && error.is_of_the_data()
        {
            let failure = self.unstorable(&claim, error).await;
            tracing::error!(error = %failure, "what the agent answered can't be stored; it counts as its failure, for good");
            (word, settled) = ("failed", self.settle(&claim, failure.settlement(&claim)).await);
        }
        match settled {
            Ok(Settled::Written { planned, .. }) => {
                tracing::info!(outcome = word, planned, "turn settled");
                metrics::counter!("textback_turns_total", "outcome" => word).increment(1);
            }
            Ok(Settled::Stale) => {
                tracing::warn!(
                    "the turn was lost to another worker or its session has ended; its outcome is thrown away"
                );
                metrics::counter!("textback_turns_total", "outcome" => "stale").increment(1);
            }
            // The lease runs out and the turn is run again: nothing of it was sent.
            Err(error) => tracing::error!(%error, "the turn could not be settled"),
        }
        metrics::histogram!("textback_turn_duration_seconds").record(began.elapsed().as_secs_f64());
    }

    /// Counts an interruption of the turn, if that is its failure.
    async fn count_interruption(&self, claim: &Claim, failure: &mut Failure) {
        if failure.reason != Reason::Interrupted {
            return;
        }
        let counting = async {
            let mut connection = self.storage.connection().await?;
            turn::count_interruption(&mut connection, claim).await
        };
        match database::with_timeout::<_, sqlx::Error, _>(counting).await {
            Ok(count) => failure.interrupted(count),
            Err(error) => tracing::warn!(%error, "it could not be counted that the turn was interrupted"),
        }
    }

    /// The failure of an answer that the database will always refuse: the agent failed for good.
    async fn unstorable(&self, claim: &Claim, error: &BatchError) -> Failure {
        let error_message = self.load(claim).await.ok().and_then(|loaded| loaded.version.error_message.clone());
        let error = bounds::error(&format!("the answer can't be stored: {error}"));
        Failure {
            error,
            error_message,
            most_attempts: 0,
            reason: Reason::Failed,
            interruptions: 0,
            skip: SkipReason::AgentFailed,
        }
    }

    /// Settles a turn. While the database is unavailable, the outcome is kept and retried, because another claim would
    /// count against the turn's text.
    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<Settled, BatchError> {
        let (mut troubled, mut renewed) = (None, Instant::now());
        loop {
            let error = match (turn::settle(&self.storage, settlement.clone()).await, troubled) {
                (Err(error), _) if error.is_of_the_database() => error,
                // It may be settled by a try of which we had no answer.
                (Ok(Settled::Stale), Some(error)) => return Err(error),
                (settled, _) => return settled,
            };
            tracing::warn!(%error, "the turn could not be settled; again soon");
            troubled = Some(error);
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.grace() => {
                    self.put_off(claim, &Failure::stopped()).await;
                    return Err(BatchError::Stopped);
                }
            }
            if renewed.elapsed() > self.lease() / 3 {
                renewed = Instant::now();
                if let Err(error) = self.renew(claim).await {
                    tracing::warn!(%error, "the lease could not be renewed");
                }
            }
        }
    }

    /// A slot for what the turn says first, if its account may send and a slot is free.
    fn reserve(&self, claim: &Claim, settlement: &mut Settlement) -> Option<(delivery::Claim, Permit)> {
        let (sender, handover) = self.sending.as_ref()?;
        // Whoever stops sends no more: another process can, at once.
        if self.stopping.is_cancelled() || !settlement.speaks() || !sender.may_send(claim.project_id) {
            return None;
        }
        let seat = handover.reserve(Owner::alone(claim.project_id))?;
        Some((settlement.send_first(claim, self.lease_seconds)?, seat))
    }

    /// Lets the first text go when it was claimed with the settling. Gives it back where that is not known, or nobody sends any more.
    async fn hand_over(&self, settled: &Result<Settled, BatchError>, claim: delivery::Claim, seat: Permit) {
        let Some((sender, handover)) = &self.sending else { return };
        let left = match settled {
            Ok(Settled::Written { leaving: true, .. }) => handover.hand_over(claim, seat).err(),
            Ok(_) => None,
            Err(_) => {
                drop(seat);
                Some(claim)
            }
        };
        let Some(claim) = left else { return };
        give_back(sender, claim, self.lease(), &self.stopping).await;
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }

    async fn answer(&self, claim: &Claim) -> Result<Settlement, Failure> {
        let loaded = self.load(claim).await?;
        let version = &loaded.version;
        let failed = |error: AgentError| Failure::of_agent(error, version);
        // Counted by the claim, before the agent runs: a text that takes its worker with it ends here.
        if claim.attempt > MOST_CLAIMS {
            let lost = failed(AgentError::Failed("the workers that tried it did not come back".to_owned()));
            return Err(Failure { most_attempts: 0, skip: SkipReason::WorkerLost, ..lost });
        }
        let answering = async {
            let mut allowance = Allowance::of(version);
            let (settlement, sends) = match &version.url {
                Some(url) => {
                    // Read for each turn: a secret may be changed, and from then on the new one signs.
                    let secrets = agent::signing_secrets(&self.storage, &self.key, claim.agent_id);
                    let secrets = database::with_timeout(secrets).await;
                    let secrets = secrets.map_err(|error| Failure::of_ours(error.to_string()))?;
                    let timeout = Duration::from_secs(u64::try_from(version.timeout_seconds).unwrap_or_default());
                    let service = HttpAgent::new(self.agent_runtime.caller.clone(), url.clone(), timeout, secrets);
                    converse(&service, version, claim, self.env, &mut allowance).await.map_err(failed)?
                }
                None => {
                    let script = loaded.script.as_ref();
                    let script = script.ok_or_else(|| Failure::of_ours("the agent has no script".to_owned()))?;
                    converse(script, version, claim, self.env, &mut allowance).await.map_err(failed)?
                }
            };
            let mut settlement = settlement;
            for OutboundRequest { to, from, body } in sends {
                let body = match body {
                    MessageBody::Text(text) => text,
                    MessageBody::Template { name, variables } => {
                        self.fill(claim, &name, &variables).await?.map_err(failed)?
                    }
                };
                settlement = allowance.send(settlement, to, from, &body);
            }
            Ok(settlement)
        };
        tokio::select! {
            settlement = answering => settlement,
            () = self.keep_lease(claim) => Err(Failure::of_ours("the lease was lost".to_owned())),
            () = self.grace() => Err(Failure::stopped()),
        }
    }

    /// A template of the project, filled in. What is wrong with it is the agent's fault, like any other.
    async fn fill(
        &self,
        claim: &Claim,
        name: &str,
        variables: &Map<String, Value>,
    ) -> Result<Result<String, AgentError>, Failure> {
        let finding = async {
            let mut connection = self.storage.connection().await?;
            storage::template::find(&mut connection, claim.project_id, name).await
        };
        let found = match database::with_timeout(finding).await {
            Ok(found) => found,
            // The template that the agent named can't be looked up now or later.
            Err(error) if database::fault(&error) == Some(database::Fault::Row) => {
                let what = format!("conv.send_sms_template, {name:?}: {error}");
                return Ok(Err(AgentError::Unusable(bounds::error(&what))));
            }
            Err(error) => return Err(Failure::of_ours(error.to_string())),
        };
        let Some(found) = found else {
            let what = "the project has no such template; PUT /v1/templates makes one";
            return Ok(Err(AgentError::Failed(format!("conv.send_sms_template, {name:?}: {what}"))));
        };
        let filled = self.agent_runtime.runners.fill(claim.project_id, &found.body, variables).await;
        Ok(filled.map_err(|error| error.map(|what| format!("conv.send_sms_template, {name:?}: {what}"))))
    }

    /// Ends when a turn that runs can't be waited for any longer.
    async fn grace(&self) {
        self.stopping.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    async fn load(&self, claim: &Claim) -> Result<Arc<CachedAgent>, Failure> {
        let reading = async {
            let reading = agent::version(&self.storage, claim.agent_id, claim.agent_version);
            let version = database::with_timeout(reading).await?;
            let script = version.url.is_none().then(|| {
                let key = format!("{} {}", claim.agent_id, claim.agent_version);
                let source = version.source.clone().unwrap_or_default();
                ScriptAgent::new(self.agent_runtime.runners.clone(), claim.project_id, key, source)
            });
            Ok::<_, sqlx::Error>(Arc::new(CachedAgent { version, script }))
        };
        let key = (claim.agent_id, claim.agent_version);
        if let Some(loaded) = self.agents.get(&key).await {
            return Ok(loaded);
        }
        let read = Box::pin(self.agents.try_get_with(key, reading)).await;
        read.map_err(|error: Arc<sqlx::Error>| {
            let failure = Failure::of_ours(format!("the agent can't be read: {error}"));
            match database::fault(&error) {
                Some(database::Fault::Row) => Failure { most_attempts: 0, reason: Reason::Failed, ..failure },
                _ => failure,
            }
        })
    }

    /// Renews the lease every third of it; ends when it is lost.
    async fn keep_lease(&self, claim: &Claim) {
        loop {
            tokio::time::sleep(self.lease() / 3).await;
            match self.renew(claim).await {
                Ok(true) => {}
                Ok(false) => return,
                // The settling will tell whether it is still ours.
                Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
            }
        }
    }

    /// Renews the lease. Returns false if it is lost.
    async fn renew(&self, claim: &Claim) -> Result<bool, sqlx::Error> {
        let renewing = async {
            let mut connection = self.storage.connection().await?;
            turn::renew(&mut connection, claim, self.lease_seconds).await
        };
        database::with_timeout(renewing).await
    }

    async fn put_off(&self, claim: &Claim, failure: &Failure) {
        let error = bounds::error(&failure.error);
        let delay = Delay { seconds: failure.rest(claim.failures), error: &error, reason: failure.reason };
        let putting_off = async {
            let mut connection = self.storage.connection().await?;
            turn::put_off(&mut connection, claim, delay).await
        };
        if let Err(error) = database::with_timeout::<_, sqlx::Error, _>(putting_off).await {
            tracing::warn!(%error, "the turn could not be put off; its lease will run out");
        }
    }
}

/// Greets, processes or both, as the version says. In a session that our text opened, the text is the greeting.
async fn converse(
    agent: &dyn Agent,
    version: &Version,
    claim: &Claim,
    env: &'static str,
    allowance: &mut Allowance<'_>,
) -> Result<(Settlement, Vec<OutboundRequest>), AgentError> {
    let mut conversation = conversation(claim, env);
    let mut settlement = Settlement::of(claim);
    let mut sends = Vec::new();
    let mut processes = true;
    let mut hangup = false;
    let mut log_left = bounds::TURN_LOG_BYTES;

    if !claim.started {
        let begun = agent.start(conversation.clone()).await?;
        write_log(&begun.log, &mut log_left);
        if claim.origin != SessionOrigin::Outbound {
            let greeting = greeting(&begun, version);
            // Without a greeting there is nothing to greet with: then the text is processed.
            processes = version.first_message != "greet" || greeting.is_empty();
            if version.first_message != "process" {
                settlement = allowance.say(settlement, MessageKind::Greeting, greeting);
            }
        }
        (hangup, sends) = (begun.hangup, begun.sends);
        if claim.begun_by_agent && (hangup || !sends.is_empty()) {
            // What an agent's text begins must not begin the next one, and so on for ever.
            tracing::warn!(
                sends = sends.len(),
                hangup,
                "start ran for a text of an agent: what it sends, and its hangup, is left out"
            );
            (hangup, sends) = (false, Vec::new());
        }
        (conversation.state, conversation.language) = (begun.state, begun.language);
    }
    if processes && !hangup && !claim.waiting.is_empty() && agent.replies() {
        let answer = agent.reply(conversation.clone(), asked(claim)).await?;
        write_log(&answer.log, &mut log_left);
        settlement = allowance.say(settlement, MessageKind::Reply, answer.texts);
        hangup = answer.hangup;
        sends.extend(answer.sends);
        (conversation.state, conversation.language) = (answer.state, answer.language);
    }
    let changed = (conversation.state != claim.state.0).then_some(conversation.state);
    settlement = settlement.remember(changed, conversation.language);
    Ok((if hangup { settlement.close(CloseReason::AgentEnded) } else { settlement }, sends))
}

/// What `start` said, else what it left in `conv.state.greet_message`, else the agent's setting.
fn greeting(begun: &Answer, version: &Version) -> Vec<String> {
    if !begun.texts.is_empty() {
        return begun.texts.clone();
    }
    let from_state = begun.state.get("greet_message").and_then(Value::as_str).map(str::to_owned);
    from_state.or_else(|| version.greeting.clone()).filter(|text| !text.trim().is_empty()).into_iter().collect()
}

impl JobSource for Turns {
    type Claim = Claim;
    const WORK: JobKind = JobKind::Turn;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn owner(claim: &Claim) -> Owner {
        Owner::of_project(claim.agent_id, claim.project_id)
    }

    fn gates(&self) -> Vec<(Uuid, CircuitState)> {
        if !self.agent_runtime.runners.has_queue() {
            return Vec::new();
        }
        self.agents.iter().filter_map(|(key, loaded)| Some((key.0, loaded.gate()?))).collect()
    }

    async fn claim(&self, room: ClaimLimits) -> Result<Vec<Claim>, sqlx::Error> {
        turn::claim(&self.storage, room, self.lease_seconds).await
    }

    async fn give_back(&self, claims: Vec<Claim>) -> Result<(), sqlx::Error> {
        turn::give_back(&mut *self.storage.connection().await?, &claims).await?;
        self.storage.notifier().notify(JobKind::Turn);
        Ok(())
    }
}

/// The worker's function. The row says how it went, so this never fails.
pub(super) async fn work(seated: Leased<Claim>, turns: Data<Arc<Turns>>) -> Result<(), BoxDynError> {
    let (claim, _seat) = seated.into_parts();
    // On the heap: it is some kilobytes, and a task is moved through each layer of the worker.
    Box::pin(turns.take(claim)).await;
    Ok(())
}
