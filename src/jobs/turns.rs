//! Runs turns: loads the agent, lets it answer the messages that wait, and settles the outcome
//! under the token of the claim. No transaction is open while the agent runs.

mod converse;
mod failure;
mod messages;
mod model_circuits;
mod model_record;
mod outcome;
pub mod rehearsal;
mod replies;

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::future::Cache;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::agents::{Agent, AgentError, AgentRuntime, Headroom, MessageBody, OutboundRequest};
use crate::channels::Channels;
use crate::domain::agent_error::AgentErrorCode;
use crate::domain::bounds;
use crate::domain::job::JobKind;
use crate::domain::message::SkipReason;
use crate::domain::retry::{self, FailedAttempt, Retry};
use crate::domain::turn_settlement::TurnOutcome;
use crate::failpoint;
use crate::jobs::Shared;
use crate::jobs::deliveries::Deliveries;
use crate::jobs::runtime::circuit_breaker::CircuitState;
use crate::jobs::runtime::fair_limiter::{Owner, Permit};
use crate::jobs::runtime::job::Job;
use crate::jobs::runtime::local_queue::LocalQueue;
use crate::jobs::spans;
use crate::jobs::turns::converse::{TurnContext, converse};
use crate::jobs::turns::failure::Failure;
use crate::jobs::turns::messages::Allowance;
use crate::jobs::turns::model_circuits::ModelCircuits;
use crate::jobs::turns::outcome::written;
use crate::secret::SecretKeys;
use crate::storage::agent::Version;
use crate::storage::batcher::BatchError;
use crate::storage::claim_limits::ClaimLimits;
use crate::storage::database;
use crate::storage::turn::{Claim, Delay, Settled, Settlement};
use crate::storage::{self, Storage, agent, turn};
use crate::telemetry::metrics;
use crate::telemetry::traces::{self, Side};

/// The pause before a settlement is retried because the database was unavailable.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// How long a turn may continue after the signal to stop. Then another worker runs it.
const GRACE: Duration = Duration::from_secs(5);

/// Runs turns.
pub struct Turns {
    storage: Storage,
    /// The agents that ran before. A version is immutable, so they never become outdated.
    agents: Cache<(Uuid, i32), Arc<CachedAgent>>,
    agent_runtime: AgentRuntime,
    channels: Channels,
    /// Decrypts the secrets that sign requests to services.
    key: SecretKeys,
    /// The circuits of the servers of language models.
    models: ModelCircuits,
    slots: usize,
    lease_seconds: u32,
    /// Sends the first messages of turns from this process, if it has a free slot.
    deliveries: LocalQueue<Deliveries>,
    /// Cancelled when the process is told to stop.
    stopping: CancellationToken,
}

struct CachedAgent {
    version: Version,
    agent: Box<dyn Agent>,
}

impl CachedAgent {
    /// The circuit is open if another turn could only wait for other runs of its project, and half
    /// open if one turn may try.
    fn circuit(&self) -> Option<CircuitState> {
        match self.agent.headroom() {
            Headroom::None => Some(CircuitState::Open),
            Headroom::Few => Some(CircuitState::HalfOpen),
            Headroom::Enough => None,
        }
    }
}

impl Turns {
    /// Turns whose first messages are sent by `deliveries`.
    pub(super) fn new(shared: &Shared, deliveries: &LocalQueue<Deliveries>) -> Self {
        let context = &shared.context;
        Self {
            storage: context.storage.clone(),
            agents: Cache::new(1_000),
            agent_runtime: context.agent_runtime.clone(),
            channels: context.channels.clone(),
            key: context.accounts.key().clone(),
            models: ModelCircuits::default(),
            slots: usize::from(context.settings.turn_slots),
            lease_seconds: context.settings.lease_seconds,
            deliveries: deliveries.clone(),
            stopping: shared.stopping.clone(),
        }
    }

    /// The lease of a turn in seconds.
    pub(super) const fn lease_seconds(&self) -> u32 {
        self.lease_seconds
    }

    /// Runs one turn to its end.
    #[tracing::instrument(name = "turn.take", skip_all, fields(project_id = %claim.project_id, session_id = %claim.session_id, turn_id = %claim.turn_id, message_id = claim.first_message().map(display), attempt = claim.attempt))]
    async fn take(&self, claim: Claim) {
        let (began, span) = (Instant::now(), spans::begin_turn(&claim));
        failpoint::reach("turn.after_claim");
        let answered = failpoint::during("turn.in_agent", Box::pin(self.answer(&claim))).await;
        failpoint::reach("turn.after_agent");
        let ran = began.elapsed();
        let outcome = match answered {
            Ok(settlement) => self.settle_answer(&claim, settlement.ran_for(ran), ran).await,
            Err(failure) => self.settle_failure(&claim, failure, ran).await,
        };
        spans::end_turn(span, &claim, outcome.as_str(), outcome == TurnOutcome::Answered);
        metrics::TURNS.count(&[outcome.as_str()]);
        if outcome != TurnOutcome::PutOff {
            metrics::TURN_SECONDS.record(&[], began.elapsed());
        }
    }

    /// Settles the answer of the agent, and sends its first message.
    async fn settle_answer(&self, claim: &Claim, settlement: Settlement, ran: Duration) -> TurnOutcome {
        match self.settle_and_send(claim, settlement).await {
            Err(error) if error.is_of_the_data() => {
                let failure = self.unstorable(claim, &error).await;
                tracing::error!(error = %failure, "the agent's answer could not be stored; the turn failed");
                self.settle_for_good(claim, &failure, ran).await
            }
            settled => written(claim, settled, TurnOutcome::Answered),
        }
    }

    /// Retries a turn later after a failure, or settles it as failed.
    async fn settle_failure(&self, claim: &Claim, mut failure: Failure, ran: Duration) -> TurnOutcome {
        failure.waited(claim);
        self.count_interruption(claim, &mut failure).await;
        if let Some(outcome) = self.put_off(claim, &failure).await {
            // An interruption becomes an error of the agent only when the turn is given up.
            if failure.skip != SkipReason::WorkerLost {
                failure.record(&self.storage, claim).await;
            }
            return outcome;
        }
        // The operators were told when the limit was reached, and are not told for each turn.
        if failure.code != Some(AgentErrorCode::OverBudget) {
            tracing::error!(error = %failure, "the agent failed too often; the turn was given up, and the contact gets the error_message of the agent, if there is one");
        }
        self.settle_for_good(claim, &failure, ran).await
    }

    /// Settles a turn that is not retried. The contact gets the error message of the agent, if it
    /// has one.
    async fn settle_for_good(&self, claim: &Claim, failure: &Failure, ran: Duration) -> TurnOutcome {
        failure.record(&self.storage, claim).await;
        let settlement = failure.settlement(claim, &self.channels).ran_for(ran);
        let skipped = settlement.skip_reason();
        let outcome = written(claim, self.settle_and_send(claim, settlement).await, TurnOutcome::Failed);
        if let (TurnOutcome::Failed, Some(reason)) = (outcome, skipped) {
            let messages = u64::try_from(claim.waiting.len()).unwrap_or(u64::MAX);
            metrics::MESSAGES_SKIPPED.add(&[reason.as_str()], messages);
        }
        outcome
    }

    /// Counts an interruption of the turn, if that is its failure.
    async fn count_interruption(&self, claim: &Claim, failure: &mut Failure) {
        if !matches!(failure.attempt, FailedAttempt::Interrupted { .. }) {
            return;
        }
        let counting = async {
            let mut connection = self.storage.connection().await?;
            turn::count_interruption(&mut connection, claim).await
        };
        match database::with_timeout::<_, sqlx::Error, _>(counting).await {
            Ok(count) => failure.interrupted(count),
            Err(error) => tracing::warn!(%error, "the interruption of the turn could not be counted"),
        }
    }

    /// The failure of an answer that the database will always refuse. The turn is not retried.
    async fn unstorable(&self, claim: &Claim, error: &BatchError) -> Failure {
        let settings = self.load(claim).await.ok().map(|loaded| Box::new(loaded.version.settings.clone()));
        let error = bounds::error(&format!("the answer can't be stored: {error}"));
        let attempt = FailedAttempt::Agent { most_failures: 0 };
        let code = Some(AgentErrorCode::AnswerRefused);
        Failure { error, settings, attempt, skip: SkipReason::AgentFailed, code }
    }

    /// Settles a turn. If a slot is free, this process sends its first message, without a claim of
    /// its own.
    async fn settle_and_send(&self, claim: &Claim, mut settlement: Settlement) -> Result<Settled, BatchError> {
        let permit = self.reserve_delivery(claim, &settlement);
        if permit.is_some() {
            settlement.claim_first_delivery(claim, self.lease_seconds);
        }
        let asked_for = settlement.first_delivery().cloned();
        let span = traces::begin("settle turn", Side::Internal);
        let mut settled = self.settle(claim, settlement).await;
        if matches!(settled, Ok(Settled::Written { .. })) {
            spans::end_settling(span, claim);
        }
        match (&mut settled, permit) {
            (Ok(Settled::Written { first_delivery, .. }), Some(permit)) => {
                if let Some(delivery) = first_delivery.take() {
                    self.deliveries.push(*delivery, permit).await;
                }
            }
            // A try whose result was lost may have claimed the delivery.
            (Err(_), Some(permit)) => {
                drop(permit);
                if let Some(delivery) = asked_for {
                    self.deliveries.give_back(delivery).await;
                }
            }
            (Ok(Settled::Stale), _) | (_, None) => {}
        }
        settled
    }

    fn reserve_delivery(&self, claim: &Claim, settlement: &Settlement) -> Option<Permit> {
        if !settlement.speaks() || !self.channels.capabilities(claim.channel).delivery_reports {
            return None;
        }
        self.deliveries.reserve(Owner::alone(claim.project_id))
    }

    /// Settles a turn. While the database is unavailable, the outcome is kept and retried, because
    /// another claim would count against the turn's messages.
    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<Settled, BatchError> {
        let (mut last_error, mut renewed) = (None, Instant::now());
        loop {
            let error = match (turn::settle(&self.storage, settlement.clone()).await, last_error) {
                (Err(error), _) if error.is_of_the_database() => error,
                // A try whose result was lost may have settled the turn.
                (Ok(Settled::Stale), Some(error)) => return Err(error),
                (settled, _) => return settled,
            };
            tracing::warn!(%error, "the turn could not be settled; it will be tried again");
            last_error = Some(error);
            tokio::select! {
                () = tokio::time::sleep(RETRY_DELAY) => {}
                () = self.grace() => {
                    self.put_off(claim, &Failure::stopped()).await;
                    return Err(BatchError::Stopped);
                }
            }
            if renewed.elapsed() > self.lease() / 3 {
                renewed = Instant::now();
                if let Err(error) = self.renew(claim).await {
                    tracing::warn!(%error, "the lease of the turn could not be renewed");
                }
            }
        }
    }

    /// Loads the agent and lets it answer, while the lease is renewed.
    async fn answer(&self, claim: &Claim) -> Result<Settlement, Failure> {
        let loaded = self.load(claim).await?;
        let version = &loaded.version;
        let failed = |error: AgentError| Failure::of_agent(error, version);
        // A claim counts as an attempt before the agent runs, so a message that kills its worker is
        // counted too.
        if retry::ends_workers(claim.attempt) {
            let lost = failed(AgentError::Failed("the workers that tried it did not come back".to_owned()));
            let attempt = FailedAttempt::Agent { most_failures: 0 };
            return Err(Failure {
                attempt,
                skip: SkipReason::WorkerLost,
                code: Some(AgentErrorCode::WorkerLost),
                ..lost
            });
        }
        let answering = async {
            let Some(channel) = self.channels.get(claim.channel) else {
                return Err(Failure::of_ours(format!("this process does not know the channel {}", claim.channel)));
            };
            let mut allowance = Allowance::of(&version.settings, channel);
            let signing_secrets = self.signing_secrets(claim, version).await?;
            let model = model_record::access(&self.storage, &self.key, &self.models, (claim, version)).await?;
            let context = TurnContext { kind: version.spec.kind(), signing_secrets, model };
            let conversing = converse(&*loaded.agent, &version.settings, claim, context, &mut allowance);
            let (mut settlement, sends) = conversing.await.map_err(failed)?;
            for OutboundRequest { to, from, body } in sends {
                if from.is_none() && !channel.capabilities().delivery_reports {
                    return Err(failed(AgentError::Failed(format!(
                        "a text to {to} needs a number of ours to leave from"
                    ))));
                }
                let body = match body {
                    MessageBody::Text(text) => text,
                    MessageBody::Template { name, variables } => self.fill(claim, version, &name, &variables).await?,
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

    /// The secrets that sign the requests of a turn, the newest first. They are read for each turn,
    /// so that a new secret is used at once.
    async fn signing_secrets(&self, claim: &Claim, version: &Version) -> Result<Vec<SecretString>, Failure> {
        if !version.spec.is_signed() {
            return Ok(Vec::new());
        }
        let secrets = agent::signing_secrets(&self.storage, &self.key, claim.agent_id);
        database::with_timeout(secrets).await.map_err(|error| Failure::of_ours(error.to_string()))
    }

    /// Fills in a template of the project. An error of the template is a failure of the agent that
    /// named it.
    async fn fill(
        &self,
        claim: &Claim,
        version: &Version,
        name: &str,
        variables: &Map<String, Value>,
    ) -> Result<String, Failure> {
        let failed = |error: AgentError| {
            Failure::of_agent(error.map(|what| format!("conv.send_sms_template, {name:?}: {what}")), version)
        };
        let finding = async {
            let mut connection = self.storage.connection().await?;
            storage::template::find(&mut connection, claim.project_id, name).await
        };
        let found = match database::with_timeout(finding).await {
            Ok(found) => found,
            // The name of the template makes the statement fail, now and later.
            Err(error) if database::fault(&error) == Some(database::Fault::Row) => {
                return Err(failed(AgentError::Unusable(bounds::error(&error.to_string()))));
            }
            Err(error) => return Err(Failure::of_ours(error.to_string())),
        };
        let template = found.ok_or_else(|| {
            failed(AgentError::Failed("the project has no such template; PUT /v1/templates makes one".to_owned()))
        })?;
        self.agent_runtime.runners.fill(claim.project_id, &template.body, variables).await.map_err(failed)
    }

    /// Returns when a running turn must end because the process stops.
    async fn grace(&self) {
        self.stopping.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// The agent of a turn, from the cache if it ran before.
    async fn load(&self, claim: &Claim) -> Result<Arc<CachedAgent>, Failure> {
        let reading = async {
            let reading = agent::version(&self.storage, claim.agent_id, claim.agent_version);
            let version = database::with_timeout(reading).await?;
            let key = format!("{} {}", claim.agent_id, claim.agent_version);
            let agent = self.agent_runtime.load(claim.project_id, key, &version.spec);
            Ok::<_, sqlx::Error>(Arc::new(CachedAgent { version, agent }))
        };
        let key = (claim.agent_id, claim.agent_version);
        if let Some(loaded) = self.agents.get(&key).await {
            return Ok(loaded);
        }
        let read = Box::pin(self.agents.try_get_with(key, reading)).await;
        read.map_err(|error: Arc<sqlx::Error>| {
            let failure = Failure::of_ours(format!("the agent can't be read: {error}"));
            match database::fault(&error) {
                Some(database::Fault::Row) => Failure { attempt: FailedAttempt::Agent { most_failures: 0 }, ..failure },
                _ => failure,
            }
        })
    }

    /// Renews the lease after each third of it. Returns when the lease is lost.
    async fn keep_lease(&self, claim: &Claim) {
        loop {
            tokio::time::sleep(self.lease() / 3).await;
            match self.renew(claim).await {
                Ok(true) => {}
                Ok(false) => return,
                // The settlement finds out whether the lease is lost.
                Err(error) => tracing::warn!(%error, "the lease of the turn could not be renewed"),
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

    /// Makes a turn due again later after a failure. Returns `None` if it is not retried.
    async fn put_off(&self, claim: &Claim, failure: &Failure) -> Option<TurnOutcome> {
        let Retry::After { seconds } = failure.retry(claim.failures) else { return None };
        let error = bounds::error(&failure.error);
        let is_agents = matches!(failure.attempt, FailedAttempt::Agent { .. });
        let delay = Delay { seconds, error: &error, is_agents };
        let putting_off = async {
            let mut connection = self.storage.connection().await?;
            turn::put_off(&mut connection, claim, delay).await
        };
        Some(match database::with_timeout::<_, sqlx::Error, _>(putting_off).await {
            Ok(true) => {
                tracing::warn!(error = %failure, seconds, "the turn failed and was put off");
                TurnOutcome::PutOff
            }
            Ok(false) => {
                tracing::warn!(error = %failure, "the turn failed, but another worker had it, or its session had ended");
                TurnOutcome::Stale
            }
            Err(error) => {
                tracing::warn!(%error, "the turn could not be put off; its lease will run out");
                TurnOutcome::NotSettled
            }
        })
    }
}

impl Job for Turns {
    type Claim = Claim;
    const KIND: JobKind = JobKind::Turn;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn concurrency(&self) -> usize {
        self.slots
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }

    fn owner(claim: &Claim) -> Owner {
        Owner::of_project(claim.agent_id, claim.project_id)
    }

    /// The agents for which enough slow turns wait already.
    fn circuits(&self) -> Vec<(Uuid, CircuitState)> {
        if !self.agent_runtime.runners.has_queue() {
            return Vec::new();
        }
        self.agents.iter().filter_map(|(key, cached)| Some((key.0, cached.circuit()?))).collect()
    }

    async fn claim(&self, limits: ClaimLimits) -> Result<Vec<Claim>, sqlx::Error> {
        turn::claim(&self.storage, limits, self.lease_seconds).await
    }

    async fn give_back(&self, claims: Vec<Claim>) -> Result<(), sqlx::Error> {
        turn::give_back(&mut *self.storage.connection().await?, &claims).await?;
        self.storage.notifier().notify(JobKind::Turn);
        Ok(())
    }

    async fn run(&self, claim: Claim) {
        self.take(claim).await;
    }

    /// Limits how many of the slots may wait for slow scripts.
    fn start(&self) {
        self.agent_runtime.runners.bound_queue(self.slots);
    }
}
