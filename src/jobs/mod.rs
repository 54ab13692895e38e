//! The jobs of a process: one file per kind of job, and what they share. `jobs!` below lists all
//! kinds.

pub mod backfill;
mod carrier_calls;
pub mod deliveries;
pub mod inactivity;
pub mod ingest;
pub mod numbers;
pub mod replay;
pub mod rollups;
pub mod runtime;
pub mod scheduled_messages;
mod spans;
pub mod turns;
pub mod unknown_deliveries;

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::AgentRuntime;
use crate::carriers::Carriers;
use crate::channels::Channels;
use crate::config::WorkerSettings;
use crate::domain::job::JobKind;
use crate::storage::Storage;
use crate::storage::carrier_account::Accounts;
use carrier_calls::CarrierCalls;
use ingest::Ingest;
use runtime::job::Job;
use runtime::local_queue::LocalQueue;
use runtime::{GRACE, Runtime, RuntimeError};

/// What the jobs of a process need.
pub struct JobContext {
    pub storage: Storage,
    pub accounts: Accounts,
    pub carriers: Carriers,
    pub channels: Channels,
    pub agent_runtime: AgentRuntime,
    /// Where carriers reach us, without a slash at its end.
    pub public_base: String,
    pub settings: WorkerSettings,
}

/// What the jobs of a process share.
struct Shared {
    context: JobContext,
    carrier: CarrierCalls,
    /// Cancelled when the process is told to stop.
    stopping: CancellationToken,
    /// The tasks that push stored messages into the queue of turns.
    tasks: TaskTracker,
}

/// Declares the jobs of a process. Each line: `module: Type(queues)`. The module is also the
/// field's name. `queues` are fields of earlier lines that `Type::new` gets.
macro_rules! jobs {
    ($($name:ident: $job:ident($($queue:ident),*);)+) => {
        const _: () = assert!(
            [$(<$name::$job as Job>::KIND),+].len() == JobKind::ALL.len(),
            "each kind of job has one job in the list below"
        );

        /// The jobs of a process.
        #[derive(Clone)]
        pub struct Workers {
            $(pub $name: LocalQueue<$name::$job>,)+
            settings: WorkerSettings,
            stopping: CancellationToken,
            tasks: TaskTracker,
        }

        impl Workers {
            fn of(shared: Shared) -> Self {
                $(let $name = LocalQueue::new($name::$job::new(&shared, $(&$queue),*), shared.stopping.clone());)+
                let Shared { context, stopping, tasks, .. } = shared;
                Self { $($name,)+ settings: context.settings, stopping, tasks }
            }

            /// Sets the gauges of the slots and circuits of each kind of job.
            pub fn observe(&self) {
                $(self.$name.observe();)+
            }

            fn register(&self, runtime: Runtime) -> Runtime {
                runtime$(.register(&self.$name))+
            }
        }
    };
}

jobs! {
    deliveries: Deliveries();
    turns: Turns(deliveries);
    backfill: InboundBackfill(turns);
    unknown_deliveries: UnknownDeliveries();
    inactivity: InactivityJobs();
    scheduled_messages: ScheduledMessages();
    numbers: Numbers();
    rollups: Rollups();
}

impl Workers {
    /// The jobs of a process. They run when [`run`] is called.
    pub fn new(context: JobContext) -> Self {
        let carrier = CarrierCalls::new(&context);
        Self::of(Shared { context, carrier, stopping: CancellationToken::new(), tasks: TaskTracker::new() })
    }

    /// Stores inbound messages with `storage` and runs their turns in this process.
    pub fn ingest(&self, storage: Storage) -> Ingest {
        Ingest::with_turns(storage, self.turns.clone(), self.tasks.clone())
    }
}

/// Runs the jobs of this process until `stop`. Then running jobs may end, and jobs that were not
/// begun are given back.
pub async fn run(workers: Workers, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), RuntimeError> {
    let stopping = workers.stopping.clone();
    let runtime = workers.register(Runtime::new(workers.settings.poll_interval()));
    let ran = runtime
        .run(async move {
            stop.await;
            stopping.cancel();
        })
        .await;
    // A message may have been stored meanwhile. Its task gives the turn back.
    workers.tasks.close();
    let _ = tokio::time::timeout(GRACE, workers.tasks.wait()).await;
    ran
}
