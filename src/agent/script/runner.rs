//! Runs scripts in processes of their own, so that one that exhausts stack, memory or time takes nobody with it; it knows no sessions.
//!
//! A runner is this program again (`textback run-scripts`, see `process.rs`). It serves one script's runs at a time, and
//! ends with the first one that goes wrong in a way that the next could feel.

use std::collections::HashSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::time::ClockId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use uuid::Uuid;

use super::check::Fault;
use super::interpret::{MOST_TIME, over_time};
use super::memory::{OVER_MEMORY, OVER_STACK};
pub use super::protocol::Facts;
use super::protocol::{MOST_ANSWER, Request, Response, RunRequest};
use super::slots::{Meter, Pace, Slot, Slots};
use super::spawn::spawn;
use crate::agent::{AgentError, Answer, Conversation};

/// How many scripts a runner keeps read.
const MOST_SCRIPTS: usize = 200;
/// The command that a runner is started with.
pub const COMMAND: &str = "run-scripts";
/// The time of a processor after which a run, or runs that went together, must leave a quick slot.
/// A debug build takes ten times as long for the same.
pub(super) const QUICK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 250 } else { 25 });
/// The priority of slow runs beside others, as nice(1) has it: a tenth of the processor where others want it. With less they would end
/// by the clock on a busy machine, and never be done.
#[cfg(target_os = "linux")]
const LOW_PRIORITY: i32 = 10;
/// What a runner has beyond the time of a run: the interpreter ends a run itself where it can.
const GRACE: Duration = Duration::from_millis(500);
/// How long a new runner has to say that it is ready.
const MOST_START: Duration = Duration::from_secs(10);
/// How often a question is asked again that failed for no fault of the script.
const MOST_TRIES: usize = 3;
/// How long a check waits for a runner.
const MOST_WAIT: Duration = Duration::from_secs(20);

/// What a script is run for: `reply` with texts, else `start`.
pub struct Run {
    pub conversation: Conversation,
    pub texts: Option<Vec<String>>,
}

/// A script and whose it is.
pub(super) struct Source {
    pub(super) project: Uuid,
    /// Names it in a runner.
    pub(super) key: String,
    pub(super) text: String,
}

/// Why runs have no answer.
pub(super) enum Stop {
    /// None of them can have one.
    All(AgentError),
    /// One of them took the runner down: the only one, if it was alone.
    One(AgentError),
    /// They are to be run again, and none is to blame.
    Again,
    /// They take longer than a quick slot is for, and no slow one was free.
    Slow,
}

/// The runners of this process. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct Runners {
    turns: Arc<Pool>,
    /// Runners of their own for scripts that nobody texts yet, so that those who write agents hold up nobody's conversation.
    checks: Arc<Pool>,
}

/// What is asked once, before a script runs.
enum Question<'q> {
    Read(&'q Source),
    Check(Request),
}

struct Pool {
    program: PathBuf,
    count: usize,
    slots: Slots,
    /// Runners that wait, quick and slow ones: a process that went down in priority can't come up again.
    quick: Mutex<Vec<Runner>>,
    slow: Mutex<Vec<Runner>>,
}

struct Runner {
    /// Killed when it is dropped.
    child: Child,
    clock: Option<ClockId>,
    /// The thread that runs scripts, by the system's number.
    thread: i32,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    scripts: HashSet<String>,
    /// Whether it gave its last answer.
    is_over: bool,
    is_slow: bool,
    is_new: bool,
}

impl Runners {
    /// Runners that are this very program. They are started when they are first needed.
    pub fn new() -> std::io::Result<Self> {
        // The running program, even when its file has been replaced by a newer one.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Self::of(program))
    }

    /// Runners that are another textback program.
    pub fn of(program: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let count = (cores * 2).clamp(4, 16);
        let turns = Pool::new(program.clone(), count, (count / 2).max(2));
        Self { turns: Arc::new(turns), checks: Arc::new(Pool::new(program, 2, 2)) }
    }

    /// Says how many turns the workers run at a time: only some of them may wait for slow runs of others.
    pub fn bound_queue(&self, turn_slots: usize) {
        self.turns.slots.bound_queue(turn_slots);
    }

    /// Whether any run waits for slow scripts of others or of its own project.
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

    /// Reads a script and tells what it offers; the error names line and column.
    pub(super) async fn read(&self, source: &Source) -> Result<Facts, AgentError> {
        match self.turns.ask(source.project, &Question::Read(source)).await? {
            Response::Read(facts) => Ok(facts),
            Response::Failed(error) => Err(error),
            _ => Err(other_answer()),
        }
    }

    /// Runs a script for several conversations, one after the other in one runner. Answers as many as were run before something
    /// stopped them, and tells what that was and how much time of a processor they took.
    pub(super) async fn run_all(
        &self,
        source: &Source,
        runs: &[Run],
        pace: Pace,
    ) -> (Vec<Result<Answer, AgentError>>, Option<Stop>, Duration) {
        let mut answers = Vec::with_capacity(runs.len());
        let mut used = Duration::ZERO;
        let running = self.turns.with_runner(source.project, pace, &mut used, async |runner: &mut Runner| {
            if let Some(failed) = runner.read_once(source).await? {
                return Ok(Some(Stop::All(failed)));
            }
            runner.run_all(&source.key, runs, &mut answers).await?;
            Ok(None)
        });
        let stop = running.await.unwrap_or_else(Some);
        (answers, stop, used)
    }

    /// Tells the faults of a project's script.
    pub async fn check(&self, project: Uuid, source: &str) -> Result<Vec<Fault>, AgentError> {
        let question = Question::Check(Request::Check { source: source.to_owned() });
        let checking = self.checks.ask(project, &question);
        let checked = tokio::time::timeout(MOST_WAIT, checking).await;
        match checked.unwrap_or_else(|_| Err(AgentError::Ours("all runners for checks are busy".to_owned())))? {
            Response::Checked(faults) => Ok(faults),
            Response::Failed(error) => Err(error),
            _ => Err(other_answer()),
        }
    }
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

    /// Asks one question, again where that may help.
    async fn ask(&self, project: Uuid, question: &Question<'_>) -> Result<Response, AgentError> {
        let mut pace = if self.slots.is_over_budget(project) { Pace::Slow } else { Pace::Quick };
        for _ in 0..MOST_TRIES {
            let mut used = Duration::ZERO;
            let asking = self.with_runner(project, pace, &mut used, async |runner: &mut Runner| match question {
                Question::Read(source) => runner.read(&source.key, &source.text).await,
                Question::Check(request) => runner.ask(request).await,
            });
            match asking.await {
                Ok(answer) => return Ok(answer),
                Err(Stop::All(error) | Stop::One(error)) => return Err(error),
                Err(Stop::Slow) => pace = Pace::Slow,
                Err(Stop::Again) => {}
            }
        }
        Err(AgentError::Ours("several runners ended before they answered".to_owned()))
    }

    /// Asks a runner when there is a slot. One that fails is ended, and the next one starts afresh.
    async fn with_runner<T>(
        &self,
        project: Uuid,
        pace: Pace,
        used: &mut Duration,
        asking: impl AsyncFnOnce(&mut Runner) -> Result<T, Broken>,
    ) -> Result<T, Stop> {
        let stopping = || Stop::All(AgentError::Ours("the process is stopping".to_owned()));
        let mut slot = self.slots.take(project, pace).await.ok_or_else(stopping)?;
        let idle = self.idle(pace == Pace::Slow).pop();
        let mut runner = match idle {
            Some(runner) => runner,
            None => Runner::start(&self.program).await.map_err(Stop::All)?,
        };
        // The only one keeps its priority: on a machine that is busy with other things it would have no processor at all.
        if pace == Pace::Slow && slot.is_one_of_several() {
            lower_priority(runner.thread);
            runner.is_slow = true;
        }
        slot.measure(runner.clock.and_then(Meter::of), runner.is_new);
        let thread = runner.thread;
        let outcome = watched(asking(&mut runner), thread, &mut slot).await;
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
            Err(broken) => Err(runner.stop_for(broken, *used).await),
        }
    }
}

/// Waits for a runner's answer; what takes long must find a slow slot, and then runs at a low priority beside others.
async fn watched<T>(
    asking: impl Future<Output = Result<T, Broken>>,
    thread: i32,
    slot: &mut Slot,
) -> Result<T, Broken> {
    let mut asking = pin!(asking);
    while slot.pace() == Pace::Quick {
        match tokio::time::timeout(QUICK, &mut asking).await {
            Ok(answer) => return answer,
            Err(_) if slot.used() < QUICK => {}
            Err(_) if slot.slow_down() && !slot.is_one_of_several() => break,
            Err(_) if slot.pace() == Pace::Slow => lower_priority(thread),
            Err(_) => return Err(Broken::Slow),
        }
    }
    asking.await
}

fn other_answer() -> AgentError {
    AgentError::Ours("the script's runner gave another answer".to_owned())
}

/// Why a runner can't be asked any more.
enum Broken {
    /// It gave no answer in time.
    Late,
    /// It needs a slow slot, and there is none.
    Slow,
    /// It gave its last answer, and more was asked.
    Over,
    /// It ended, or wrote no answer.
    Off(std::io::Error),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Off(error)
    }
}

impl Runner {
    async fn start(program: &PathBuf) -> Result<Self, AgentError> {
        let ours = |what: String| AgentError::Ours(format!("no runner for scripts: {what}"));
        let mut command = Command::new(program);
        command.arg(COMMAND).arg("--parent").arg(std::process::id().to_string());
        let mut child = spawn(command).await.map_err(|error| ours(error.to_string()))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ours("it has no pipes".to_owned()));
        };
        let mut answers = BufReader::new(answers);
        let ready = tokio::time::timeout(MOST_START, answer_of(&mut answers)).await;
        let Ok(Ok((Response::Ready { thread, no_sandbox }, _))) = ready else {
            return Err(ours("it ended before it was ready".to_owned()));
        };
        if let Some(why) = no_sandbox {
            tracing::debug!(why, "this system does not refuse script runners files and sockets");
        }
        let clock = child.id().and_then(clock_of);
        let (scripts, is_over) = (HashSet::new(), false);
        Ok(Self { child, clock, thread, requests, answers, scripts, is_over, is_slow: false, is_new: true })
    }

    /// What a runner that broke means for what it was asked. The runner is over.
    async fn stop_for(mut self, broken: Broken, used: Duration) -> Stop {
        let broken = match broken {
            Broken::Slow => return Stop::Slow,
            Broken::Over => return Stop::Again,
            Broken::Late => return Stop::One(over_time("the script", used)),
            Broken::Off(error) => error,
        };
        let ended = tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
        let Ok(Ok(status)) = ended else {
            return Stop::One(AgentError::Ours(format!("the script's runner can't be understood: {broken}")));
        };
        let over_limit = |what: &str| Stop::One(AgentError::OverLimit(what.to_owned()));
        match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (Some(OVER_MEMORY), _) => over_limit("the script took its runner down: it used too much memory"),
            // A stack that ran out ends a process by its own guard, or without a word where that does not hold.
            (Some(OVER_STACK), _) | (_, Some(nix::libc::SIGSEGV | nix::libc::SIGBUS | nix::libc::SIGILL)) => {
                over_limit("the script took its runner down: its values lie too deep in each other")
            }
            (_, Some(nix::libc::SIGXCPU)) => Stop::One(over_time("the script", MOST_TIME)),
            // Somebody else ended it: perhaps before it was asked at all.
            _ if !self.is_new => Stop::Again,
            _ => {
                Stop::All(AgentError::Ours(format!("the script's runner ended ({status}), and no script is to blame")))
            }
        }
    }

    async fn read(&mut self, key: &str, source: &str) -> Result<Response, Broken> {
        if self.scripts.len() >= MOST_SCRIPTS {
            self.scripts.clear();
            self.ask(&Request::Forget).await?;
        }
        let answer = self.ask(&Request::Read { key: key.to_owned(), source: source.to_owned() }).await?;
        if matches!(answer, Response::Read(_)) {
            self.scripts.insert(key.to_owned());
        }
        Ok(answer)
    }

    /// Reads a script if it is not known here; why it can't be.
    async fn read_once(&mut self, source: &Source) -> Result<Option<AgentError>, Broken> {
        if self.scripts.contains(&source.key) {
            return Ok(None);
        }
        Ok(match self.read(&source.key, &source.text).await? {
            Response::Read(_) => None,
            Response::Failed(error) => Some(error),
            _ => Some(other_answer()),
        })
    }

    /// Writes all requests and reads the answers meanwhile: who waited with reading could wait for ever, each side for the other's
    /// pipe.
    async fn run_all(
        &mut self,
        key: &str,
        runs: &[Run],
        answers: &mut Vec<Result<Answer, AgentError>>,
    ) -> Result<(), Broken> {
        if self.is_over {
            return Err(Broken::Over);
        }
        let mut lines = Vec::new();
        for Run { conversation, texts } in runs {
            serde_json::to_writer(&mut lines, &RunRequest::Run { key, conversation, texts })
                .map_err(std::io::Error::from)?;
            lines.push(b'\n');
        }
        let (requests, from, is_over) = (&mut self.requests, &mut self.answers, &mut self.is_over);
        let mut reading = pin!(async {
            for _ in runs {
                if *is_over {
                    return Err(Broken::Over);
                }
                let (response, is_last) = answer_of(from).await?;
                *is_over = is_last;
                answers.push(match response {
                    Response::Ran(answer) => Ok(*answer),
                    Response::Failed(error) => Err(error),
                    _ => Err(other_answer()),
                });
            }
            Ok(())
        });
        // A runner that ends reads no more, so writing may fail where reading still has answers.
        tokio::select! {
            read = &mut reading => read,
            Ok(()) = requests.write_all(&lines) => reading.await,
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Response, Broken> {
        if self.is_over {
            return Err(Broken::Over);
        }
        let mut line = serde_json::to_vec(request).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.requests.write_all(&line).await?;
        let (response, is_last) = answer_of(&mut self.answers).await?;
        self.is_over = is_last;
        Ok(response)
    }
}

/// The next answer, in the time of a run and a little more, and whether it is the runner's last.
async fn answer_of(from: &mut BufReader<ChildStdout>) -> Result<(Response, bool), Broken> {
    let mut line = Vec::new();
    let most = u64::try_from(MOST_ANSWER * 2).unwrap_or(u64::MAX);
    let mut from = from.take(most);
    let reading = tokio::time::timeout(MOST_TIME + GRACE, from.read_until(b'\n', &mut line));
    if reading.await.map_err(|_| Broken::Late)?? == 0 {
        return Err(Broken::Off(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(match serde_json::from_slice(&line).map_err(std::io::Error::from)? {
        Response::Last(response) => (*response, true),
        response => (response, false),
    })
}

/// What tells the time of a processor that a process used.
fn clock_of(process: u32) -> Option<ClockId> {
    #[cfg(target_os = "linux")]
    return ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(i32::try_from(process).ok()?)).ok();
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Lets a thread have a processor only for a small part of the time that others want it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "nix has no setpriority; the call takes three numbers")]
fn lower_priority(thread: i32) {
    let Ok(thread) = nix::libc::id_t::try_from(thread) else { return };
    // SAFETY: the call reads and writes no memory of ours. Linux takes a thread's number here.
    let lowered = unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, thread, LOW_PRIORITY) };
    if lowered != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a slow script keeps its priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn lower_priority(_: i32) {}
