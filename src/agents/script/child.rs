//! A runner as seen by the process that starts it: starts it, sends requests within limits, and
//! says why a request got no answer.

use std::collections::HashSet;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once, OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use super::interpret::{MOST_TIME, MOST_TIME_OF_TOP_LEVEL, over_time};
use super::memory::{OVER_MEMORY, OVER_STACK};
use super::process::COMMAND;
use super::protocol::{MOST_ANSWER, Output, Ran, Request, Response, Run, RunRequest, Source, Stop};
use super::slots::{Meter, QUICK, QUICK_TO_READ};
use crate::agents::AgentError;

/// How many scripts a runner keeps compiled.
const MOST_SCRIPTS: usize = 200;
/// The niceness (see nice(1)) of slow runs while others run: they get a tenth of the CPU when other
/// processes want it. With a smaller share they would reach the wall-clock limit on a busy machine
/// and never finish.
#[cfg(target_os = "linux")]
const LOW_PRIORITY: i32 = 10;
/// CPU time that a runner has beyond the limit of a run, because the interpreter should end the run
/// itself.
const GRACE: Duration = Duration::from_millis(500);
/// The wall-clock limit of a run, whatever CPU time it got. Then its runner is ended too.
const MOST_WALL: Duration = Duration::from_secs(20);
/// How often the CPU time of a run is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a new runner may take until it is ready.
const MOST_START: Duration = Duration::from_secs(10);

/// The limits of an answer, in CPU time and wall-clock time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    what: &'static str,
    most: Duration,
    wall: Duration,
}

const RUN: Bound = Bound { what: "the script", most: MOST_TIME, wall: MOST_WALL };
pub(super) const READ: Bound = Bound { what: "the script's top level", most: MOST_TIME_OF_TOP_LEVEL, wall: MOST_WALL };
/// Filling in a template. Its language has operators that no count of steps bounds, such as
/// `[1] * 10000000`.
pub(super) const FILL: Bound = Bound { what: "the template", most: Duration::from_millis(500), wall: MOST_WALL };
const START: Bound = Bound { what: "its start", most: Duration::MAX, wall: MOST_START };

impl Bound {
    /// What a late runner means for its script. The script is to blame only for the CPU time that
    /// it used, not for the time that it waited for a CPU.
    fn late(&self, used: Duration) -> AgentError {
        if used * 10 >= self.most.saturating_mul(9) {
            return AgentError::OverLimit(over_time(self.what, self.most));
        }
        let (used, wall) = (used.as_secs_f64(), self.wall.as_secs());
        AgentError::Interrupted(format!(
            "{} had {used:.1} seconds of a processor within {wall} seconds and was ended: the machine is busy",
            self.what
        ))
    }
}

/// A started runner.
pub(super) struct Runner {
    /// Killed on drop.
    child: Child,
    pub(super) clock: Option<ClockId>,
    /// The system's id of the thread that runs scripts.
    pub(super) thread: i32,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(super) scripts: HashSet<String>,
    /// The CPU time in microseconds after which the current work is no longer quick.
    pub(super) allowed: Arc<AtomicU64>,
    /// Whether the runner gave its last answer.
    pub(super) is_over: bool,
    pub(super) is_slow: bool,
    pub(super) is_new: bool,
}

/// Sets the CPU time after which the runner's work is slow.
pub(super) fn allow(allowed: &AtomicU64, most: Duration) {
    allowed.store(u64::try_from(most.as_micros()).unwrap_or(u64::MAX), Relaxed);
}

pub(super) fn other_answer() -> AgentError {
    AgentError::Ours("the script's runner gave another answer".to_owned())
}

/// Why a runner can't be used any more.
pub(super) enum Broken {
    /// It gave no answer in time, and used this much CPU time.
    Late(Bound, Duration),
    /// Its work needs a slow slot, and none is free.
    Slow,
    /// It gave its last answer, and got another request.
    Over,
    /// It ended, or its output was no answer.
    Off(std::io::Error),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Off(error)
    }
}

impl Runner {
    pub(super) async fn start(program: &PathBuf) -> Result<Self, AgentError> {
        let ours = |what: String| AgentError::Ours(format!("no runner for scripts: {what}"));
        let mut command = Command::new(program);
        command.arg(COMMAND).arg("--parent").arg(std::process::id().to_string());
        let mut child = spawn(command).await.map_err(|error| ours(error.to_string()))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ours("it has no pipes".to_owned()));
        };
        let mut answers = BufReader::new(answers);
        let (thread, no_sandbox) = match answer_of(&mut answers, None, START).await {
            Ok((Response::Ready { thread, no_sandbox }, _)) => (thread, no_sandbox),
            Ok((Response::Failed(error), _)) => return Err(ours(error.to_string())),
            Err(Broken::Late(..)) => {
                return Err(ours(format!("it was not ready within {} seconds", MOST_START.as_secs())));
            }
            _ => return Err(ours("it ended before it was ready".to_owned())),
        };
        if let Some(why) = no_sandbox {
            static TOLD: Once = Once::new();
            TOLD.call_once(|| {
                tracing::warn!(why, "script runners were started without a sandbox, because this system has none")
            });
        }
        let clock = child.id().and_then(clock_of);
        let (scripts, allowed, is_over) = (HashSet::new(), Arc::default(), false);
        Ok(Self { child, clock, thread, requests, answers, scripts, allowed, is_over, is_slow: false, is_new: true })
    }

    /// What a broken runner means for its requests. Ends the runner.
    pub(super) async fn stop_for(mut self, broken: Broken) -> Stop {
        let broken = match broken {
            Broken::Slow => return Stop::Slow,
            Broken::Over => return Stop::Over,
            Broken::Late(bound, used) => return Stop::One(bound.late(used)),
            Broken::Off(error) => error,
        };
        let ended = tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
        let Ok(Ok(status)) = ended else {
            return Stop::One(AgentError::Interrupted(format!("the script's runner gave no valid answer: {broken}")));
        };
        let over_limit = |what: &str| Stop::One(AgentError::OverLimit(what.to_owned()));
        match (status.code(), std::os::unix::process::ExitStatusExt::signal(&status)) {
            (Some(OVER_MEMORY), _) => over_limit("the script ended its runner: it used too much memory"),
            // A stack overflow ends a process through its guard, or by a signal where the guard
            // fails.
            (Some(OVER_STACK), _) | (_, Some(nix::libc::SIGSEGV | nix::libc::SIGBUS | nix::libc::SIGILL)) => {
                over_limit("the script ended its runner: its values are nested too deep")
            }
            (_, Some(nix::libc::SIGXCPU)) => over_limit(&over_time("the script", MOST_TIME)),
            // Something else ended the runner, perhaps before it got the request.
            _ => Stop::Again(status.to_string()),
        }
    }

    /// Compiles a script unless the runner knows it, and records its functions and the time it
    /// took. Returns why the script can't be compiled.
    pub(super) async fn read_once(&mut self, source: &Source, ran: &mut Ran) -> Result<Option<AgentError>, Broken> {
        if self.scripts.contains(&source.key) {
            return Ok(None);
        }
        if self.scripts.len() >= MOST_SCRIPTS {
            self.scripts.clear();
            self.send(&Request::Forget, READ).await?;
        }
        let (meter, began) = (self.clock.and_then(Meter::of), Instant::now());
        allow(&self.allowed, QUICK_TO_READ);
        let (key, text, purpose) = (source.key.clone(), source.text.clone(), source.purpose.clone());
        let request = Request::Read { key, source: text, purpose };
        let answer = self.send(&request, READ).await?;
        ran.reading = used_since(meter, began);
        allow(&self.allowed, QUICK + ran.reading);
        Ok(match answer {
            Response::Read(functions) => {
                self.scripts.insert(source.key.clone());
                ran.functions = Some(functions);
                None
            }
            Response::Failed(error) => Some(error),
            _ => Some(other_answer()),
        })
    }

    /// Writes all requests and reads answers at the same time. Otherwise both sides could wait
    /// forever for the other to empty its pipe.
    pub(super) async fn run_all(
        &mut self,
        key: &str,
        runs: &[Run],
        answers: &mut Vec<(Result<Output, AgentError>, Duration)>,
    ) -> Result<(), Broken> {
        if self.is_over {
            return Err(Broken::Over);
        }
        let mut lines = Vec::new();
        for Run { conversation, call } in runs {
            serde_json::to_writer(&mut lines, &RunRequest::Run { key, conversation, call })
                .map_err(std::io::Error::from)?;
            lines.push(b'\n');
        }
        let (requests, from, clock, is_over) = (&mut self.requests, &mut self.answers, self.clock, &mut self.is_over);
        let mut reading = pin!(async {
            for _ in runs {
                if *is_over {
                    return Err(Broken::Over);
                }
                let (meter, began) = (clock.and_then(Meter::of), Instant::now());
                let (response, is_last) = answer_of(from, meter, RUN).await?;
                *is_over = is_last;
                let answer = match response {
                    Response::Ran(output) => Ok(*output),
                    Response::Failed(error) => Err(error),
                    _ => Err(other_answer()),
                };
                answers.push((answer, used_since(meter, began)));
            }
            Ok(())
        });
        // A runner that ends reads no more, so writing may fail while answers can still be read.
        tokio::select! {
            read = &mut reading => read,
            Ok(()) = requests.write_all(&lines) => reading.await,
        }
    }

    pub(super) async fn send(&mut self, request: &Request, bound: Bound) -> Result<Response, Broken> {
        if self.is_over {
            return Err(Broken::Over);
        }
        let mut line = serde_json::to_vec(request).map_err(std::io::Error::from)?;
        line.push(b'\n');
        let meter = self.clock.and_then(Meter::of);
        self.requests.write_all(&line).await?;
        let (response, is_last) = answer_of(&mut self.answers, meter, bound).await?;
        self.is_over = is_last;
        Ok(response)
    }
}

/// A process to be started.
struct Order {
    command: Command,
    runtime: tokio::runtime::Handle,
    started: oneshot::Sender<std::io::Result<Child>>,
}

/// Starts a process with pipes for its input and output, an empty environment, and a process group
/// of its own.
///
/// A thread that lives as long as this process starts it, because the kernel ends a runner when the
/// thread that started it ends.
async fn spawn(mut command: Command) -> std::io::Result<Child> {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    command
        .env_clear()
        // Large blocks go back to the system as soon as they are free, so that resident memory
        // stays near the memory in use.
        .env("_RJEM_MALLOC_CONF", "narenas:1,oversize_threshold:1048576")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C is for this process, which ends its runners when their work is done.
        .process_group(0)
        .kill_on_drop(true);
    let orders = ORDERS.get_or_init(|| {
        let (orders, ordered) = mpsc::channel::<Order>();
        // If the thread can't be started, each order is refused below, because nothing receives it.
        let _ = std::thread::Builder::new().name("runners".to_owned()).spawn(move || {
            for Order { mut command, runtime, started } in ordered {
                let _entered = runtime.enter();
                // A runtime that is shutting down panics here. The thread must go on for other
                // callers.
                let spawning = std::panic::AssertUnwindSafe(|| command.spawn());
                let spawned = std::panic::catch_unwind(spawning);
                let _ = started.send(spawned.unwrap_or_else(|_| Err(std::io::Error::other("the process is stopping"))));
            }
        });
        orders
    });
    let (started, starting) = oneshot::channel();
    let refused = || std::io::Error::other("there is no thread that starts processes");
    let runtime = tokio::runtime::Handle::current();
    orders.send(Order { command, runtime, started }).map_err(|_| refused())?;
    starting.await.map_err(|_| refused())?
}

/// The CPU time used since `began`, or without a CPU clock the time that passed.
fn used_since(meter: Option<Meter>, began: Instant) -> Duration {
    meter.map_or_else(|| began.elapsed(), |meter| meter.used().unwrap_or_default())
}

/// The next answer, if it comes within its limit and the grace, and whether it is the runner's
/// last.
async fn answer_of(
    from: &mut BufReader<ChildStdout>,
    meter: Option<Meter>,
    bound: Bound,
) -> Result<(Response, bool), Broken> {
    let began = Instant::now();
    let mut line = Vec::new();
    let most = u64::try_from(MOST_ANSWER * 2).unwrap_or(u64::MAX);
    let mut from = from.take(most);
    let read = {
        let mut reading = pin!(from.read_until(b'\n', &mut line));
        loop {
            if let Ok(read) = tokio::time::timeout(CHECK_INTERVAL, &mut reading).await {
                break read?;
            }
            let used = used_since(meter, began);
            if used > bound.most.saturating_add(GRACE) || began.elapsed() > bound.wall {
                return Err(Broken::Late(bound, used));
            }
        }
    };
    if read == 0 {
        return Err(Broken::Off(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(match serde_json::from_slice(&line).map_err(std::io::Error::from)? {
        Response::Last(response) => (*response, true),
        response => (response, false),
    })
}

/// The clock of a process's CPU time.
fn clock_of(process: u32) -> Option<ClockId> {
    #[cfg(target_os = "linux")]
    return ClockId::pid_cpu_clock_id(nix::unistd::Pid::from_raw(i32::try_from(process).ok()?)).ok();
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// Lowers a thread's priority: it gets only a small share of the CPU while others want it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "nix has no setpriority; the call takes three numbers")]
pub(super) fn lower_priority(thread: i32) {
    let Ok(thread) = nix::libc::id_t::try_from(thread) else { return };
    // SAFETY: the call reads and writes no memory of this process. Linux accepts a thread id here.
    let lowered = unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, thread, LOW_PRIORITY) };
    if lowered != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "the priority of a slow script could not be lowered");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn lower_priority(_: i32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_to_blame_for_the_time_that_it_used_alone() {
        for bound in [RUN, READ] {
            for (part, is_its_own) in
                [(0.0, false), (0.1, false), (0.5, false), (0.85, false), (0.95, true), (1.2, true)]
            {
                let late = bound.late(bound.most.mul_f64(part));
                assert_eq!(matches!(late, AgentError::OverLimit(_)), is_its_own, "{part} of the bound: {late:?}");
                assert_eq!(matches!(late, AgentError::Interrupted(_)), !is_its_own, "{part} of the bound: {late:?}");
            }
        }
        // On a busy machine a slow run gets a tenth of a CPU or less. It must be able to finish,
        // and must end at some time.
        assert!(RUN.wall >= RUN.most * 5 && RUN.wall <= Duration::from_secs(60));
    }
}
