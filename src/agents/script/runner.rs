//! Runs scripts in separate processes, so that a script that exhausts stack, memory or time affects
//! no other script.
//!
//! A runner is another process of this program (`textback run-scripts`, see `child.rs` and
//! `process.rs`). It serves one script's runs at a time. It ends after a failure that could affect
//! the next run.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::check::Fault;
use super::child::{Bound, Broken, FILL, READ, Runner, allow, lower_priority, other_answer};
use super::functions::Purpose;
use super::protocol::{Ran, Request, Response, Run, Source, Stop};
use super::slots::{Meter, Pace, QUICK, Slot, Slots};
use crate::agents::AgentError;

/// How often a request is retried that failed through no fault of the script.
const MOST_TRIES: usize = 3;
/// How long a check waits for a runner.
const MOST_WAIT: Duration = Duration::from_secs(20);

/// The runners of this process. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct Runners {
    turns: Arc<Pool>,
    /// Runners only for checks, so that people who save agents don't delay conversations.
    checks: Arc<Pool>,
}

struct Pool {
    program: PathBuf,
    count: usize,
    slots: Slots,
    /// Idle runners, quick and slow ones apart: a process whose priority was lowered can't raise it
    /// again.
    quick: Mutex<Vec<Runner>>,
    slow: Mutex<Vec<Runner>>,
}

impl Runners {
    /// Runners of this program. Each is started when it is first needed.
    pub fn new() -> std::io::Result<Self> {
        // The running program, even when its file has been replaced by a newer one.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Self::of(program))
    }

    /// Runners of another textback program.
    pub fn of(program: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let count = (cores * 2).clamp(4, 16);
        let turns = Pool::new(program.clone(), count, (count / 2).max(2));
        Self { turns: Arc::new(turns), checks: Arc::new(Pool::new(program, 2, 2)) }
    }

    /// Sets how many turns the workers run at a time. Only a part of them may wait for slow slots.
    pub fn bound_queue(&self, turn_slots: usize) {
        self.turns.slots.bound_queue(turn_slots);
    }

    /// Whether any run waits for a slow slot.
    pub fn has_queue(&self) -> bool {
        self.turns.slots.has_queue()
    }

    /// How many quick scripts run at a time.
    pub(super) fn count(&self) -> usize {
        self.turns.count
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.turns.slots
    }

    /// Runs a script for several conversations, one after the other in one runner. The runner
    /// compiles the script first, unless it knows it.
    pub(super) async fn run_all(&self, source: &Source, runs: &[Run], pace: Pace) -> Ran {
        let (mut ran, mut used, mut is_reading) = (Ran::default(), Duration::ZERO, false);
        let key = Some(source.key.as_str());
        let running = self.turns.with_runner(source.project, pace, key, &mut used, async |runner: &mut Runner| {
            is_reading = true;
            if let Some(failed) = runner.read_once(source, &mut ran).await? {
                return Ok(Some(Stop::Unreadable(failed)));
            }
            is_reading = false;
            runner.run_all(&source.key, runs, &mut ran.answers).await?;
            Ok(None)
        });
        let stop = running.await.unwrap_or_else(Some);
        ran.stop = match stop {
            Some(Stop::One(error)) if is_reading => Some(Stop::Unreadable(error)),
            stop => stop,
        };
        ran.is_unread = is_reading;
        if is_reading {
            ran.reading = used;
        }
        ran.used = used.saturating_sub(ran.reading);
        ran
    }

    /// Returns the faults of a project's script.
    pub async fn check(&self, project: Uuid, source: &str, purpose: &Purpose) -> Result<Vec<Fault>, AgentError> {
        let request = Request::Check { source: source.to_owned(), purpose: purpose.clone() };
        let mut faults = match self.request_in_time(project, &request, READ).await? {
            Response::Checked(faults) => faults,
            Response::Failed(error) => return Err(error),
            _ => return Err(other_answer()),
        };
        if faults.iter().any(|fault| fault.fatal) {
            return Ok(faults);
        }
        let request = Request::Try { source: source.to_owned(), purpose: purpose.clone() };
        match self.request_in_time(project, &request, READ).await {
            Ok(Response::Checked(more)) => faults.extend(more),
            Ok(Response::Failed(AgentError::Ours(what))) | Err(AgentError::Ours(what)) => {
                return Err(AgentError::Ours(what));
            }
            // A script that exceeds a limit with a sample may not do so with another text.
            Ok(Response::Failed(_)) | Err(_) => {}
            Ok(_) => return Err(other_answer()),
        }
        faults.sort_by_key(|fault| (fault.line, fault.column));
        Ok(faults)
    }

    /// Renders a template of a project. A runner does that, because a short template can use any
    /// amount of time and memory.
    ///
    /// Errors: `Failed` is a fault of the template or its variables, `OverLimit` means that it
    /// costs too much; `Ours` and `Interrupted` say nothing about the template.
    pub async fn fill(
        &self,
        project: Uuid,
        template: &str,
        variables: &Map<String, Value>,
    ) -> Result<String, AgentError> {
        let request = Request::Fill { template: template.to_owned(), variables: variables.clone() };
        match of_template(self.request_in_time(project, &request, FILL).await)? {
            Response::Filled(filled) => filled.map_err(AgentError::Failed),
            _ => Err(other_answer()),
        }
    }

    /// Checks a template of a project as far as that is possible without its variables. The errors
    /// are those of [`Self::fill`].
    pub async fn check_template(&self, project: Uuid, template: &str) -> Result<(), AgentError> {
        let request = Request::CheckTemplate { template: template.to_owned() };
        match of_template(self.request_in_time(project, &request, FILL).await)? {
            Response::TemplateChecked(checked) => checked.map_err(AgentError::Failed),
            _ => Err(other_answer()),
        }
    }

    /// Fills in the prompt of a model. The errors are those of [`Self::fill`].
    pub(in crate::agents) async fn fill_prompt(
        &self,
        project: Uuid,
        prompt: &str,
        conv: Value,
    ) -> Result<String, AgentError> {
        let request = Request::FillPrompt { prompt: prompt.to_owned(), conv };
        match of_template(self.request_in_time(project, &request, FILL).await)? {
            Response::Filled(filled) => filled.map_err(AgentError::Failed),
            _ => Err(other_answer()),
        }
    }

    /// Checks the prompt of a model. The errors are those of [`Self::fill`].
    pub(in crate::agents) async fn check_prompt(&self, project: Uuid, prompt: &str) -> Result<(), AgentError> {
        let request = Request::CheckPrompt { prompt: prompt.to_owned() };
        match of_template(self.request_in_time(project, &request, FILL).await)? {
            Response::TemplateChecked(checked) => checked.map_err(AgentError::Failed),
            _ => Err(other_answer()),
        }
    }

    async fn request_in_time(&self, project: Uuid, request: &Request, bound: Bound) -> Result<Response, AgentError> {
        let requesting = tokio::time::timeout(MOST_WAIT, self.checks.send(project, request, bound)).await;
        requesting.unwrap_or_else(|_| Err(AgentError::Ours("all runners for checks are busy".to_owned())))
    }
}

/// The answer about a template. A template that ends its runner has exceeded a bound.
fn of_template(answer: Result<Response, AgentError>) -> Result<Response, AgentError> {
    let error = match answer {
        Ok(Response::Failed(error)) | Err(error) => error,
        Ok(response) => return Ok(response),
    };
    Err(match error {
        ours @ (AgentError::Ours(_) | AgentError::NotNow { .. } | AgentError::Interrupted(_)) => ours,
        AgentError::Failed(_) | AgentError::OverBudget(_) | AgentError::OverLimit(_) | AgentError::Unusable(_) => {
            AgentError::OverLimit(
                "it takes more time or memory than a template may: half a second of a processor and 96 MiB".to_owned(),
            )
        }
    })
}

impl Pool {
    fn new(program: PathBuf, quick: usize, slow: usize) -> Self {
        let (slots, count) = (Slots::new(quick, slow), quick);
        Self { program, count, slots, quick: Mutex::default(), slow: Mutex::default() }
    }

    fn idle(&self, is_slow: bool) -> MutexGuard<'_, Vec<Runner>> {
        let runners = if is_slow { &self.slow } else { &self.quick };
        runners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle runner, preferably one that knows the script.
    fn idle_runner(&self, is_slow: bool, key: Option<&str>) -> Option<Runner> {
        let mut idle = self.idle(is_slow);
        let knows = key.and_then(|key| idle.iter().rposition(|runner| runner.scripts.contains(key)));
        match knows {
            Some(at) => Some(idle.remove(at)),
            None => idle.pop(),
        }
    }

    /// Sends one request, and retries it where that may help.
    async fn send(&self, project: Uuid, request: &Request, bound: Bound) -> Result<Response, AgentError> {
        let (mut pace, mut last) = (Pace::Quick, String::new());
        for _ in 0..MOST_TRIES {
            let mut used = Duration::ZERO;
            let requesting = self.with_runner(project, pace, None, &mut used, async |runner: &mut Runner| {
                runner.send(request, bound).await
            });
            match requesting.await {
                Ok(answer) => return Ok(answer),
                Err(Stop::All(error) | Stop::One(error) | Stop::Unreadable(error)) => return Err(error),
                Err(Stop::Slow) => pace = Pace::Slow,
                Err(Stop::Again(why)) => last = why,
                Err(Stop::Over) => {}
            }
        }
        Err(too_many_ended(&last))
    }

    /// Uses a runner as soon as there is a slot. A runner that fails is ended, and the next request
    /// starts a new one.
    async fn with_runner<T>(
        &self,
        project: Uuid,
        pace: Pace,
        key: Option<&str>,
        used: &mut Duration,
        requesting: impl AsyncFnOnce(&mut Runner) -> Result<T, Broken>,
    ) -> Result<T, Stop> {
        let stopping = || Stop::All(AgentError::Ours("the process is stopping".to_owned()));
        let mut slot = self.slots.take(project, pace).await.ok_or_else(stopping)?;
        let mut runner = match self.idle_runner(pace == Pace::Slow, key) {
            Some(runner) => runner,
            None => Runner::start(&self.program).await.map_err(Stop::All)?,
        };
        // A single slow run keeps its priority: on a machine that is busy with other work, a low
        // priority could get no CPU time.
        if pace == Pace::Slow && slot.is_one_of_several() {
            lower_priority(runner.thread);
            runner.is_slow = true;
        }
        slot.measure(runner.clock.and_then(Meter::of), runner.is_new);
        let (thread, allowed) = (runner.thread, runner.allowed.clone());
        allow(&allowed, QUICK);
        let outcome = watched(requesting(&mut runner), thread, &allowed, &mut slot).await;
        *used = slot.used();
        runner.is_slow |= slot.pace() == Pace::Slow;
        match outcome {
            Ok(answer) => {
                let (is_slow, most) = (runner.is_slow, self.count);
                let mut idle = self.idle(is_slow);
                if !runner.is_over && idle.len() < most {
                    runner.is_new = false;
                    idle.push(runner);
                }
                Ok(answer)
            }
            Err(broken) => Err(runner.stop_for(broken).await),
        }
    }
}

/// Waits for a runner's answer. A run that takes long must get a slow slot. It then has a low
/// priority while other slow runs go on.
async fn watched<T>(
    requesting: impl Future<Output = Result<T, Broken>>,
    thread: i32,
    allowed: &AtomicU64,
    slot: &mut Slot,
) -> Result<T, Broken> {
    let mut requesting = pin!(requesting);
    while slot.pace() == Pace::Quick {
        match tokio::time::timeout(QUICK, &mut requesting).await {
            Ok(answer) => return answer,
            Err(_) if slot.used() < Duration::from_micros(allowed.load(Relaxed)) => {}
            Err(_) if slot.slow_down() && !slot.is_one_of_several() => break,
            Err(_) if slot.pace() == Pace::Slow => lower_priority(thread),
            Err(_) => return Err(Broken::Slow),
        }
    }
    requesting.await
}

/// The error after several runners ended in a row, with how the last one ended.
pub(super) fn too_many_ended(last: &str) -> AgentError {
    AgentError::Interrupted(format!("several script runners ended before they answered, the last of them: {last}"))
}
