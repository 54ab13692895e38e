//! The main loop of a runner: answers requests until standard input ends, within limits that no
//! script can escape.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};

use super::check::check_here;
use super::functions::Functions;
use super::interpret::{MOST_TIME, Script, on_own_thread, panicked};
use super::protocol::{DefinedFunctions, MOST_ANSWER, Request, Response, Run};
use super::{dry_run, memory, sandbox};
use crate::agents::AgentError;
use crate::domain::bounds;

/// The command that starts a runner.
pub const COMMAND: &str = "run-scripts";
/// The address space of a runner: a second limit, far above what the allocator allows.
const MOST_ADDRESSES: u64 = 1 << 30;
/// How long an answer may wait for the answers of other runs.
const TOGETHER: Duration = Duration::from_millis(2);
/// How many runs a runner serves before a new runner replaces it, so that the interpreter's leaks
/// do not add up.
const MOST_RUNS: usize = 20_000;
/// The memory that a runner may keep between runs, mostly its scripts.
const MOST_KEPT: isize = 32 << 20;
/// The private resident memory that an idle runner may have: the memory that it keeps, plus touched
/// pages of its stack and heap that were not given back.
const MOST_RESIDENT: u64 = 48 << 20;

/// Answers requests until standard input ends, as a runner of the process with the id `parent`.
pub fn serve(parent: Option<i32>) -> std::io::Result<()> {
    sandbox::die_with(parent);
    // On a system without this limit, the other limits must suffice.
    let _ = getrlimit(Resource::RLIMIT_AS).and_then(|(_, hard)| {
        let most = hard.min(MOST_ADDRESSES);
        setrlimit(Resource::RLIMIT_AS, most, most)
    });
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    sandbox::die_with_standard_input()?;
    memory::bound_this_process();
    // One thread for all runs: a thread for each run cost half of a quick script's time.
    let served = on_own_thread(|| serve_here().map_err(|error| AgentError::Ours(error.to_string())));
    if served.is_err() {
        memory::exit_now(memory::NOT_ABLE);
    }
    Ok(())
}

fn serve_here() -> std::io::Result<()> {
    // Opened before the sandbox refuses to open files.
    let resident = sandbox::Resident::open();
    let no_sandbox = sandbox::enter().err();
    let mut scripts: HashMap<String, Script> = HashMap::new();
    let mut requests = std::io::BufReader::with_capacity(1 << 16, std::io::stdin().lock());
    let mut answers = std::io::stdout().lock();
    let (mut line, mut written, mut flushed) = (Vec::new(), Vec::new(), Instant::now());
    // Without this limit, nothing would end a run after the parent process is gone.
    let first = match bound_cpu_time() {
        Ok(_) => Response::Ready { thread: sandbox::this_thread(), no_sandbox },
        Err(error) => Response::Failed(AgentError::Ours(format!("the limit of its CPU time can't be set: {error}"))),
    };
    write(&mut written, &first)?;
    answers.write_all(&written)?;
    written.clear();
    let mut runs = 0;
    loop {
        // A limit for reading the request and for the answers of earlier runs. The request's own
        // limit is set when it has arrived.
        memory::begin_run();
        if requests.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let has_time = bound_cpu_time()?;
        memory::begin_run();
        let answer = answer(serde_json::from_slice(&line)?, &mut scripts);
        line.clear();
        line.shrink_to(1 << 16);
        runs += 1;
        // Answers to requests that came together are sent together, unless the runs take long.
        let leaves = !requests.buffer().contains(&b'\n') || flushed.elapsed() > TOGETHER;
        let is_large = || {
            memory::live() > MOST_KEPT
                || (leaves && resident.as_ref().and_then(sandbox::Resident::bytes) > Some(MOST_RESIDENT))
        };
        let is_last = ends_a_runner(&answer) || runs >= MOST_RUNS || !has_time || is_large();
        write(&mut written, &if is_last { Response::Last(Box::new(answer)) } else { answer })?;
        if is_last || leaves {
            answers.write_all(&written)?;
            answers.flush()?;
            written.clear();
            written.shrink_to(1 << 16);
            flushed = Instant::now();
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Makes the kernel end this process when a request uses far more CPU time than a run may, even if
/// the parent is gone. The hard limit stays, since only a privileged process may raise it again.
/// Returns whether it leaves time for another request.
fn bound_cpu_time() -> nix::Result<bool> {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from)?;
    let bound = (used + MOST_TIME * 2).as_secs() + 1;
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    setrlimit(Resource::RLIMIT_CPU, bound.min(hard), hard)?;
    Ok(bound.saturating_add(MOST_TIME.as_secs() * 2) < hard)
}

/// Whether a runner serves no other script after this answer: it may be short of memory, or its
/// interpreter inconsistent.
fn ends_a_runner(answer: &Response) -> bool {
    match answer {
        Response::Failed(error @ AgentError::Failed(_)) => *error == panicked(),
        Response::Failed(_) => true,
        Response::Checked(faults) => faults.iter().any(|fault| fault.fatal),
        _ => false,
    }
}

fn write(written: &mut Vec<u8>, answer: &Response) -> std::io::Result<()> {
    let before = written.len();
    serde_json::to_writer(&mut *written, answer)?;
    let bytes = written.len() - before;
    if bytes > MOST_ANSWER {
        written.truncate(before);
        let what = format!(
            "the script's answer is {bytes} bytes of JSON; the limit is {MOST_ANSWER}: send less text, or keep less state"
        );
        serde_json::to_writer(&mut *written, &Response::Last(Box::new(Response::Failed(AgentError::Failed(what)))))?;
    }
    written.push(b'\n');
    Ok(())
}

fn answer(request: Request, scripts: &mut HashMap<String, Script>) -> Response {
    // A run leaves only its own heap behind, and a runner that panicked runs nothing else.
    let answering = AssertUnwindSafe(|| try_answer(request, scripts));
    let answered = catch_unwind(answering).unwrap_or_else(|_| match panicked() {
        // It would panic again the next time.
        AgentError::Failed(what) => Err(AgentError::Unusable(what)),
        error => Err(error),
    });
    answered.unwrap_or_else(|error| Response::Failed(error.bounded()))
}

fn try_answer(request: Request, scripts: &mut HashMap<String, Script>) -> Result<Response, AgentError> {
    match request {
        Request::Forget => {
            scripts.clear();
            Ok(Response::Forgotten)
        }
        Request::Read { key, source, purpose } => {
            let script = Script::compile_here(&source, &purpose)?;
            let Functions { start, reply, .. } = script.functions;
            let functions = DefinedFunctions { has_start: start.is_some(), has_reply: reply.is_some() };
            scripts.insert(key, script);
            Ok(Response::Read(functions))
        }
        Request::Run { key, conversation, call } => {
            let script = scripts.get(&key);
            let script = script.ok_or_else(|| AgentError::Ours("the script was not read".to_owned()))?;
            script.run(Run { conversation: *conversation, call }).map(|output| Response::Ran(Box::new(output)))
        }
        Request::Check { source, purpose } => check_here(&source, &purpose).map(Response::Checked),
        Request::Try { source, purpose } => Ok(Response::Checked(dry_run::faults(&source, &purpose))),
        Request::Fill { template, variables } => {
            let filled = crate::agents::template::fill(&template, &variables);
            Ok(Response::Filled(filled.map_err(|what| bounds::error(&what))))
        }
        Request::FillPrompt { prompt, conv } => {
            let filled = crate::agents::llm::prompt::fill(&prompt, &conv);
            Ok(Response::Filled(filled.map_err(|what| bounds::error(&what))))
        }
        Request::CheckPrompt { prompt } => {
            let checked = crate::agents::llm::prompt::check(&prompt);
            Ok(Response::TemplateChecked(checked.map_err(|what| bounds::error(&what))))
        }
        Request::CheckTemplate { template } => {
            let checked = crate::agents::template::check(&template);
            Ok(Response::TemplateChecked(checked.map_err(|what| bounds::error(&what))))
        }
    }
}
