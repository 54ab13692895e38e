//! Runs scripts in processes of their own, so that one that exhausts stack, memory or patience takes nobody with it; it knows no sessions.
//!
//! A runner is this program again (`textback run-scripts`), without environment, bounded in memory by the system. It
//! reads requests and writes answers, a line of JSON each, and ends with its standard input.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::check::{Fault, check};
use super::interpret::{MOST_TIME, Script, on_own_thread};
use crate::agent::{AgentError, Answer, Conversation};

/// Address space of a runner: the program itself, the stack of a run, its values, and room to spare.
const MOST_MEMORY: u64 = 1 << 30;
/// How long an answer may wait for those of other runs.
const TOGETHER: Duration = Duration::from_millis(2);
/// How many scripts a runner keeps read.
const MOST_SCRIPTS: usize = 200;
/// The command that a runner is started with.
pub const COMMAND: &str = "run-scripts";

/// What a script offers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Facts {
    pub has_start: bool,
    pub has_reply: bool,
}

#[derive(Serialize, Deserialize)]
enum Request {
    /// Forget all scripts.
    Forget,
    /// Keep a script under a key.
    Read { key: String, source: String },
    /// Run a script that was read.
    Run { key: String, conversation: Box<Conversation>, texts: Option<Vec<String>> },
    /// Tell a script's faults.
    Check { source: String },
}

/// [`Request::Run`] as it is written, of what the caller keeps.
#[derive(Serialize)]
enum RunRequest<'r> {
    Run { key: &'r str, conversation: &'r Conversation, texts: &'r Option<Vec<String>> },
}

/// What a script is run for: `reply` with texts, else `start`.
pub struct Run {
    pub conversation: Conversation,
    pub texts: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
enum Response {
    Forgotten,
    Read(Facts),
    Ran(Box<Answer>),
    Checked(Vec<Fault>),
    Failed(AgentError),
}

/// The runners of this process. Cheap to clone; all clones share them.
#[derive(Clone)]
pub struct Runners(Arc<Pool>);

struct Pool {
    program: PathBuf,
    count: usize,
    permits: Semaphore,
    idle: Mutex<Vec<Runner>>,
}

struct Runner {
    /// Killed when it is dropped.
    _child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    scripts: HashSet<String>,
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
        Self(Arc::new(Pool { program, count, permits: Semaphore::new(count), idle: Mutex::default() }))
    }

    /// How many scripts run at a time.
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// Reads a script and tells what it offers; the error names line and column.
    pub async fn read(&self, key: &str, source: &str) -> Result<Facts, AgentError> {
        match self.with_runner(async |runner: &mut Runner| runner.read(key, source).await).await? {
            Response::Read(facts) => Ok(facts),
            Response::Failed(error) => Err(error),
            _ => Err(other_answer()),
        }
    }

    /// Runs a script for several conversations, one after the other in one runner. Answers as many as were run before something
    /// took the runner down, and what that was.
    pub async fn run_all(
        &self,
        key: &str,
        source: &str,
        runs: &[Run],
    ) -> (Vec<Result<Answer, AgentError>>, Option<AgentError>) {
        let mut answers = Vec::with_capacity(runs.len());
        let running = self.with_runner(async |runner: &mut Runner| {
            if let Some(failed) = runner.read_once(key, source).await? {
                return Ok(Some(failed));
            }
            runner.run_all(key, runs, &mut answers).await?;
            Ok(None)
        });
        // A runner that broke off says so; a script that can't be read does too.
        let broken = running.await.unwrap_or_else(Some);
        (answers, broken)
    }

    /// Tells a script's faults.
    pub async fn check(&self, source: &str) -> Result<Vec<Fault>, AgentError> {
        let request = Request::Check { source: source.to_owned() };
        match self.with_runner(async |runner: &mut Runner| runner.ask(&request).await).await? {
            Response::Checked(faults) => Ok(faults),
            Response::Failed(error) => Err(error),
            _ => Err(other_answer()),
        }
    }

    /// Asks an idle runner. One that fails is ended, and the next one starts afresh.
    async fn with_runner<T>(
        &self,
        asking: impl AsyncFnOnce(&mut Runner) -> Result<T, Broken>,
    ) -> Result<T, AgentError> {
        let pool = &self.0;
        let _permit =
            pool.permits.acquire().await.map_err(|_| AgentError::Failed("the process is stopping".to_owned()))?;
        let idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut runner = match idle {
            Some(runner) => runner,
            None => Runner::start(&pool.program)
                .map_err(|error| AgentError::Failed(format!("no runner for scripts: {error}")))?,
        };
        let answer = asking(&mut runner).await.map_err(|broken| match broken {
            Broken::Late => AgentError::OverLimit(format!("the script ran over {} seconds", MOST_TIME.as_secs())),
            Broken::Off(_) => AgentError::OverLimit(format!(
                "the script took its process down: it used over {} MiB of memory, or its values lie too deep in each other",
                MOST_MEMORY >> 20
            )),
        })?;
        pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(runner);
        Ok(answer)
    }
}

fn other_answer() -> AgentError {
    AgentError::Failed("the script's runner gave another answer".to_owned())
}

/// Why a runner can't be asked any more.
enum Broken {
    /// It gave no answer in time.
    Late,
    /// It ended, or wrote no answer.
    Off(#[expect(dead_code, reason = "for who debugs")] std::io::Error),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Off(error)
    }
}

impl Runner {
    fn start(program: &PathBuf) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .arg(COMMAND)
            // No secret of ours is in its reach.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is for us: we end our runners when their work is done.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("it has no pipes"));
        };
        Ok(Self { _child: child, requests, answers: BufReader::new(answers), scripts: HashSet::new() })
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
    async fn read_once(&mut self, key: &str, source: &str) -> Result<Option<AgentError>, Broken> {
        if self.scripts.contains(key) {
            return Ok(None);
        }
        Ok(match self.read(key, source).await? {
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
        let mut lines = Vec::new();
        for Run { conversation, texts } in runs {
            serde_json::to_writer(&mut lines, &RunRequest::Run { key, conversation, texts })
                .map_err(std::io::Error::from)?;
            lines.push(b'\n');
        }
        let (requests, from) = (&mut self.requests, &mut self.answers);
        let writing = async { requests.write_all(&lines).await.map_err(Broken::from) };
        let reading = async {
            for _ in runs {
                answers.push(match answer_of(from).await? {
                    Response::Ran(answer) => Ok(*answer),
                    Response::Failed(error) => Err(error),
                    _ => Err(other_answer()),
                });
            }
            Ok(())
        };
        futures::future::try_join(writing, reading).await.map(|_| ())
    }

    async fn ask(&mut self, request: &Request) -> Result<Response, Broken> {
        let mut line = serde_json::to_vec(request).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.requests.write_all(&line).await?;
        answer_of(&mut self.answers).await
    }
}

/// The next answer, in twice the time of a run: the interpreter ends a run itself where it can.
async fn answer_of(from: &mut BufReader<ChildStdout>) -> Result<Response, Broken> {
    let mut line = Vec::new();
    let reading = tokio::time::timeout(MOST_TIME * 2, from.read_until(b'\n', &mut line));
    if reading.await.map_err(|_| Broken::Late)?? == 0 {
        return Err(Broken::Off(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(serde_json::from_slice(&line).map_err(std::io::Error::from)?)
}

/// The runner itself: answers requests until its standard input ends.
pub fn serve() -> std::io::Result<()> {
    // Where a system knows no such limit, the interpreter's own bounds are what there is.
    let _ = setrlimit(Resource::RLIMIT_AS, MOST_MEMORY, MOST_MEMORY);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // One thread for all runs: one for each took half of a quick script's time.
    let served = on_own_thread(|| serve_here().map_err(|error| AgentError::Failed(error.to_string())));
    served.map_err(std::io::Error::other)
}

fn serve_here() -> std::io::Result<()> {
    let mut scripts: HashMap<String, Script> = HashMap::new();
    let mut requests = std::io::BufReader::with_capacity(1 << 16, std::io::stdin().lock());
    let mut answers = std::io::stdout().lock();
    let (mut line, mut written, mut flushed) = (Vec::new(), Vec::new(), Instant::now());
    while requests.read_until(b'\n', &mut line)? > 0 {
        let answer = answer(serde_json::from_slice(&line)?, &mut scripts)
            .unwrap_or_else(|error| Response::Failed(error.bounded()));
        line.clear();
        serde_json::to_writer(&mut written, &answer)?;
        written.push(b'\n');
        // Answers to requests that came together leave together, unless the runs take long.
        if !requests.buffer().contains(&b'\n') || flushed.elapsed() > TOGETHER {
            answers.write_all(&written)?;
            answers.flush()?;
            written.clear();
            flushed = Instant::now();
        }
    }
    Ok(())
}

fn answer(request: Request, scripts: &mut HashMap<String, Script>) -> Result<Response, AgentError> {
    match request {
        Request::Forget => {
            scripts.clear();
            Ok(Response::Forgotten)
        }
        Request::Read { key, source } => {
            let script = Script::compile(&source)?;
            let facts = Facts { has_start: script.has_start.is_some(), has_reply: script.has_reply };
            scripts.insert(key, script);
            Ok(Response::Read(facts))
        }
        Request::Run { key, conversation, texts } => {
            let script = scripts.get(&key);
            let script = script.ok_or_else(|| AgentError::Failed("the script was not read".to_owned()))?;
            script.run(*conversation, texts).map(|answer| Response::Ran(Box::new(answer)))
        }
        Request::Check { source } => Ok(Response::Checked(check(&source))),
    }
}
