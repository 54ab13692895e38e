//! The door of the queue: apalis workers over our rows; the only room that says apalis, and it decides nothing that a row could.

pub mod backfill;
pub mod deliveries;
pub mod inactivity;
pub mod numbers;
pub mod runtime;
pub mod scheduled_messages;
pub mod turns;
pub mod unknown_deliveries;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis_core::monitor::Monitor;
use apalis_core::worker::builder::WorkerBuilder;
use uuid::Uuid;

use crate::agents::AgentRuntime;
use crate::carriers::twilio::Client;
use crate::carriers::twilio::client::CarrierError;
use crate::config::WorkerSettings;
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;
use crate::storage::eager_dispatch::Beginner;
use crate::storage::turn;
use backfill::InboundBackfill;
use deliveries::Sender;
use inactivity::InactivityJobs;
use numbers::Numbers;
use runtime::circuit_breaker::CircuitBreakers;
use runtime::eager_dispatch::BeginTurns;
use runtime::local_queue::LocalQueue;
use runtime::queue::PgJobQueue;
use scheduled_messages::ScheduledMessages;
use turns::Turns;
use unknown_deliveries::Reconciler;

/// How long deliveries that run may go on after the signal to stop: a call to the carrier ends within 15 seconds by
/// itself. Turns are given up earlier, since another worker can run them again.
const GRACE: Duration = Duration::from_secs(20);

/// How many unknown deliveries are looked for at a time: they are few, and each is a list of the carrier's.
const RECONCILE_SLOTS: usize = 8;

/// How many numbers are read back at a time.
const READ_BACK_SLOTS: usize = 8;

/// How many numbers are looked after at a time.
const NUMBER_SLOTS: usize = 8;

/// How many silent sessions are decided about in one transaction.
const SILENCE_SLOTS: usize = 500;

/// How many scheduled texts become messages in one transaction.
const SCHEDULED_SLOTS: usize = 100;

/// Seconds until something is due, if anything is, as milliseconds.
fn milliseconds(seconds: Option<f64>) -> u64 {
    let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
    wait.and_then(|wait| u64::try_from(wait.as_millis()).ok()).unwrap_or(u64::MAX)
}

/// What all need who talk to the carrier.
#[derive(Clone)]
struct CarrierCalls {
    storage: Storage,
    accounts: Accounts,
    client: Client,
    /// Calls that send: an account that fails them rests.
    sends: CircuitBreakers,
    /// Calls that read: they go on while sending fails, since by them it is known what became of what was sent.
    reads: CircuitBreakers,
}

impl CarrierCalls {
    /// Lets the breaker of an account know how a reading went.
    fn note<T>(&self, project_id: Uuid, read: &Result<T, CarrierError>) {
        match read {
            Ok(_) => self.reads.answered(project_id),
            Err(CarrierError::NotReached(_) | CarrierError::Unreadable(_)) => self.reads.failed(project_id, None),
            Err(CarrierError::Refused { status, .. }) if *status == 429 || *status >= 500 => {
                self.reads.failed(project_id, None);
            }
            Err(CarrierError::Refused { .. }) => {}
        }
    }
}

/// What the workers of a process do.
#[derive(Clone)]
pub struct Workers {
    pub turns: Turns,
    pub sender: Sender,
    pub reconciler: Reconciler,
    pub listener: InboundBackfill,
    pub silences: InactivityJobs,
    pub scheduled_messages: ScheduledMessages,
    pub numbers: Numbers,
    /// Turns that begin with their texts.
    begun: LocalQueue<turn::Claim>,
}

impl Workers {
    /// Workers over a storage, a carrier that knows us by `public_base`, and agents that are told `env`.
    pub fn new(
        storage: &Storage,
        accounts: &Accounts,
        carrier: &Client,
        agent_runtime: AgentRuntime,
        env: &'static str,
        public_base: &str,
        settings: &WorkerSettings,
    ) -> Self {
        let lease = settings.lease_seconds;
        let carrier = CarrierCalls {
            storage: storage.clone(),
            accounts: accounts.clone(),
            client: carrier.clone(),
            sends: CircuitBreakers::default(),
            reads: CircuitBreakers::default(),
        };
        Self {
            turns: Turns::new(storage.clone(), agent_runtime, accounts.key().clone(), env, lease),
            sender: Sender::new(carrier.clone(), public_base, lease),
            reconciler: Reconciler::new(carrier.clone(), lease, settings.unknown_settle_seconds),
            listener: InboundBackfill::new(carrier.clone(), settings.read_back_seconds),
            numbers: Numbers::new(carrier, public_base),
            silences: InactivityJobs::new(storage.clone()),
            scheduled_messages: ScheduledMessages::new(storage.clone()),
            begun: LocalQueue::new(usize::from(settings.turn_slots)),
        }
    }

    /// What lets turns begin with the texts that this process takes in; they run as soon as the workers do.
    pub fn beginner(&self) -> Arc<dyn Beginner> {
        Arc::new(BeginTurns::new(self.turns.clone(), self.begun.clone()))
    }
}

/// Runs the workers of this process until `stop`; then lets what runs come to its end, and gives
/// back what was not begun.
pub async fn run(
    storage: Storage,
    workers: Workers,
    settings: WorkerSettings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), apalis_core::monitor::MonitorError> {
    let Workers { turns, sender, reconciler, listener, silences, scheduled_messages, numbers, begun } = workers;
    let stopping = turns.stopping.clone();
    let process = Uuid::now_v7();
    let interval = settings.poll_interval();
    let turn_slots = usize::from(settings.turn_slots);
    turns.bound_queue(turn_slots);
    let delivery_slots = usize::from(settings.delivery_slots);
    let notifier = storage.notifier().clone();
    let handover = LocalQueue::new(delivery_slots);
    let turns = turns.hand_over_to(sender.clone(), handover.clone());

    let monitor = Monitor::new()
        .register({
            let notifier = notifier.clone();
            move |restart| {
                WorkerBuilder::new(format!("turns-{process}-{restart}"))
                    .backend(PgJobQueue::with_handover(
                        turns.clone(),
                        notifier.clone(),
                        turn_slots,
                        interval,
                        begun.clone(),
                    ))
                    .data(Arc::new(turns.clone()))
                    .concurrency(turn_slots)
                    .catch_panic()
                    .build(turns::work)
            }
        })
        .register({
            let notifier = notifier.clone();
            move |restart| {
                WorkerBuilder::new(format!("reconcile-{process}-{restart}"))
                    .backend(PgJobQueue::new(reconciler.clone(), notifier.clone(), RECONCILE_SLOTS, interval))
                    .data(reconciler.clone())
                    .concurrency(RECONCILE_SLOTS)
                    .catch_panic()
                    .build(unknown_deliveries::work)
            }
        })
        .register({
            let notifier = notifier.clone();
            move |restart| {
                WorkerBuilder::new(format!("read-back-{process}-{restart}"))
                    .backend(PgJobQueue::new(listener.clone(), notifier.clone(), READ_BACK_SLOTS, interval))
                    .data(listener.clone())
                    .concurrency(READ_BACK_SLOTS)
                    .catch_panic()
                    .build(backfill::work)
            }
        })
        .register({
            let notifier = notifier.clone();
            move |restart| {
                WorkerBuilder::new(format!("silences-{process}-{restart}"))
                    .backend(PgJobQueue::new(silences.clone(), notifier.clone(), SILENCE_SLOTS, interval))
                    .concurrency(SILENCE_SLOTS)
                    .catch_panic()
                    .build(inactivity::work)
            }
        })
        .register({
            let notifier = notifier.clone();
            move |restart| {
                WorkerBuilder::new(format!("scheduled-messages-{process}-{restart}"))
                    .backend(PgJobQueue::new(scheduled_messages.clone(), notifier.clone(), SCHEDULED_SLOTS, interval))
                    .concurrency(SCHEDULED_SLOTS)
                    .catch_panic()
                    .build(scheduled_messages::work)
            }
        })
        .register({
            let notifier = notifier.clone();
            move |restart| {
                WorkerBuilder::new(format!("numbers-{process}-{restart}"))
                    .backend(PgJobQueue::new(numbers.clone(), notifier.clone(), NUMBER_SLOTS, interval))
                    .data(numbers.clone())
                    .concurrency(NUMBER_SLOTS)
                    .catch_panic()
                    .build(numbers::work)
            }
        })
        .register(move |restart| {
            WorkerBuilder::new(format!("deliveries-{process}-{restart}"))
                .backend(PgJobQueue::with_handover(
                    sender.clone(),
                    notifier.clone(),
                    delivery_slots,
                    interval,
                    handover.clone(),
                ))
                .data(Arc::new(sender.clone()))
                .concurrency(delivery_slots)
                .catch_panic()
                .build(deliveries::work)
        })
        // A worker that ended would leave a process that runs and answers nobody.
        .should_restart(|worker, error| {
            tracing::error!(worker = worker.name(), %error, "a worker ended; it is started again");
            true
        })
        .shutdown_timeout(GRACE);
    monitor
        .run_with_signal(async move {
            stop.await;
            stopping.cancel();
            Ok(())
        })
        .await
}
