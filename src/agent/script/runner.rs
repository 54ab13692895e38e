//! Runs scripts in processes of their own, so that one that exhausts stack, memory or patience takes nobody with it; it knows no sessions.
//!
//! A runner is this program again (`textback run-scripts`), without environment, bounded in memory by the system. It
//! reads requests and writes answers, a line of JSON each, and ends with its standard input.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::check::{Fault, check};
use super::interpret::{MOST_TIME, Script};
use crate::agent::{AgentError, Answer, Conversation};

/// Address space of a runner: the program itself, the stack of a run, its values, and room to spare.
const MOST_MEMORY: u64 = 1 << 30;
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
    /// Run a script that was read: `reply` with texts, else `start`.
    Run { key: String, conversation: Box<Conversation>, texts: Option<Vec<String>> },
    /// Tell a script's faults.
    Check { source: String },
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
        match self.ask(Some((key, source)), None).await? {
            Response::Read(facts) => Ok(facts),
            _ => Err(AgentError::Failed("the script's runner gave another answer".to_owned())),
        }
    }

    /// Runs a script: `reply` with texts, else `start`.
    pub async fn run(
        &self,
        key: &str,
        source: &str,
        conversation: Conversation,
        texts: Option<Vec<String>>,
    ) -> Result<Answer, AgentError> {
        let run = Request::Run { key: key.to_owned(), conversation: Box::new(conversation), texts };
        match self.ask(Some((key, source)), Some(run)).await? {
            Response::Ran(answer) => Ok(*answer),
            _ => Err(AgentError::Failed("the script's runner gave another answer".to_owned())),
        }
    }

    /// Tells a script's faults.
    pub async fn check(&self, source: &str) -> Result<Vec<Fault>, AgentError> {
        match self.ask(None, Some(Request::Check { source: source.to_owned() })).await? {
            Response::Checked(faults) => Ok(faults),
            _ => Err(AgentError::Failed("the script's runner gave another answer".to_owned())),
        }
    }

    /// Asks an idle runner. With a script, it is read first if the runner does not know it, or if
    /// nothing else is asked. A runner that fails is ended, and the next one starts afresh.
    async fn ask(&self, script: Option<(&str, &str)>, request: Option<Request>) -> Result<Response, AgentError> {
        let pool = &self.0;
        let _permit =
            pool.permits.acquire().await.map_err(|_| AgentError::Failed("the process is stopping".to_owned()))?;
        let idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut runner = match idle {
            Some(runner) => runner,
            None => Runner::start(&pool.program)
                .map_err(|error| AgentError::Failed(format!("no runner for scripts: {error}")))?,
        };
        let asking = async {
            let mut answer = None;
            if let Some((key, source)) = script
                && (request.is_none() || !runner.scripts.contains(key))
            {
                answer = Some(runner.read(key, source).await?);
            }
            match request {
                Some(request) if !matches!(answer, Some(Response::Failed(_))) => runner.ask(&request).await,
                _ => answer.ok_or_else(|| std::io::Error::other("nothing was asked")),
            }
        };
        // Twice the time of a run: the interpreter ends a run itself where it can.
        let answer = match tokio::time::timeout(MOST_TIME * 2, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                return Err(AgentError::OverLimit(format!(
                    "the script took its process down: it used over {} MiB of memory, or its values lie too deep in each other",
                    MOST_MEMORY >> 20
                )));
            }
            Err(_) => {
                return Err(AgentError::OverLimit(format!("the script ran over {} seconds", MOST_TIME.as_secs())));
            }
        };
        pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(runner);
        match answer {
            Response::Failed(error) => Err(error),
            answer => Ok(answer),
        }
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

    async fn read(&mut self, key: &str, source: &str) -> std::io::Result<Response> {
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

    async fn ask(&mut self, request: &Request) -> std::io::Result<Response> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.requests.write_all(&line).await?;
        line.clear();
        if self.answers.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// The runner itself: answers requests until its standard input ends.
pub fn serve() -> std::io::Result<()> {
    // Where a system knows no such limit, the interpreter's own bounds are what there is.
    let _ = setrlimit(Resource::RLIMIT_AS, MOST_MEMORY, MOST_MEMORY);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let mut scripts: HashMap<String, Arc<Script>> = HashMap::new();
    let mut answers = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = answer(serde_json::from_str(&line?)?, &mut scripts).unwrap_or_else(Response::Failed);
        serde_json::to_writer(&mut answers, &answer)?;
        answers.write_all(b"\n")?;
        answers.flush()?;
    }
    Ok(())
}

fn answer(request: Request, scripts: &mut HashMap<String, Arc<Script>>) -> Result<Response, AgentError> {
    match request {
        Request::Forget => {
            scripts.clear();
            Ok(Response::Forgotten)
        }
        Request::Read { key, source } => {
            let script = Script::compile(&source)?;
            let facts = Facts { has_start: script.has_start.is_some(), has_reply: script.has_reply };
            scripts.insert(key, Arc::new(script));
            Ok(Response::Read(facts))
        }
        Request::Run { key, conversation, texts } => {
            let script = scripts.get(&key).cloned();
            let script = script.ok_or_else(|| AgentError::Failed("the script was not read".to_owned()))?;
            script.run(*conversation, texts).map(|answer| Response::Ran(Box::new(answer)))
        }
        Request::Check { source } => Ok(Response::Checked(check(&source))),
    }
}
