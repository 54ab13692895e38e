//! Compiles and runs scripts in this process, within the interpreter's own limits on steps, calls
//! and memory.
//!
//! A script can still exhaust the stack or the memory of its process. So agents run in
//! [`super::runner`], and only tools call this module directly.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value as Json};
use starlark::ErrorKind;
use starlark::environment::{FrozenModule, Globals, GlobalsBuilder, LibraryExtension, Module};
use starlark::eval::{Evaluator, ProfileMode};
use starlark::syntax::{AstModule, Dialect, DialectTypes};
use starlark::values::dict::DictRef;
use starlark::values::{Value, ValueLike};

use super::conv::{Conv, State};
use super::functions::{self, Functions, Purpose};
use super::json::to_json;
use super::protocol::{Call, Output, Run};
use super::tools::{self, ToolFunction};
use super::{depth, memory, tool_arguments, tool_outcome};
use crate::agents::answer::{AnswerFields, Unclear};
use crate::agents::tool::{ToolAnswer, ToolCall};
use crate::agents::{AgentError, Answer, Conversation, MOST_TEXTS, at_most};
use crate::domain::{agent_error, bounds};

/// The most function calls and loop iterations of one run. One takes about 50 ns at least.
pub(super) const MOST_TICKS: u64 = 2_000_000;
/// The most nested calls.
const MOST_DEPTH: usize = 64;
/// The most bytes of one run's values. The interpreter checks it only from time to time.
const MOST_HEAP: usize = 64 << 20;
/// The limits of one evaluation, and whether it notes the lines that it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) time: Duration,
    pub(super) ticks: u64,
    pub(super) notes_lines: bool,
}

pub(super) const OF_A_RUN: Limits = Limits { time: MOST_TIME, ticks: MOST_TICKS, notes_lines: false };
pub(super) const OF_TOP_LEVEL: Limits = Limits { time: MOST_TIME_OF_TOP_LEVEL, ticks: MOST_TICKS, notes_lines: false };
/// How many bytes a compiled script may keep, where allocations are counted. It stays in its runner
/// beside other scripts.
const MOST_KEPT: isize = 16 << 20;
/// The CPU time that one run may use.
pub(super) const MOST_TIME: Duration = Duration::from_secs(3);
/// The CPU time that a script's top level may use. It runs again in each new runner, before any
/// answer.
pub(super) const MOST_TIME_OF_TOP_LEVEL: Duration = Duration::from_millis(500);
/// The stack of the thread that runs scripts. Compiling recurses into expressions (`depth` limits
/// how deep); comparing and printing recurse into values. The system allocates a page only when it
/// is used.
const STACK: usize = 64 << 20;

/// A compiled script.
#[derive(Debug)]
pub struct Script {
    pub(super) module: FrozenModule,
    /// The functions that textback calls.
    pub(super) functions: Functions,
    /// The functions that a language model may call, in the order of their names.
    tools: Vec<ToolFunction>,
}

impl Script {
    /// Compiles a script that answers and runs its top level on a separate thread.
    #[cfg(test)]
    pub fn compile(source: &str) -> Result<Self, AgentError> {
        Self::compile_for(source, &Purpose::Answers)
    }

    /// The same for a script of any purpose.
    #[cfg(test)]
    pub fn compile_for(source: &str, purpose: &Purpose) -> Result<Self, AgentError> {
        let (source, purpose) = (source.to_owned(), purpose.clone());
        on_own_thread(move || Self::compile_here(&source, &purpose))
    }

    /// Compiles a script and runs its top level on the current thread, which must be one of
    /// [`on_own_thread`] for its stack. The error names line and column.
    pub(super) fn compile_here(source: &str, purpose: &Purpose) -> Result<Self, AgentError> {
        Self::compile_within(source, purpose, &OF_TOP_LEVEL)
    }

    /// The same within other limits. Only a script that was compiled so notes the lines that it
    /// runs.
    pub(super) fn compile_within(source: &str, purpose: &Purpose, limits: &Limits) -> Result<Self, AgentError> {
        let before = memory::live();
        let script = compile_here(source, purpose, limits)?;
        let kept = memory::live() - before;
        if kept > MOST_KEPT {
            return Err(AgentError::Unusable(format!(
                "the script's top level keeps {} MiB of values; the limit is {}",
                kept >> 20,
                MOST_KEPT >> 20
            )));
        }
        Ok(script)
    }

    /// Runs a script on the current thread, which must be one of [`on_own_thread`] for its stack. A
    /// start function or a `reply` that the script does not define changes nothing.
    pub fn run(&self, run: Run) -> Result<Output, AgentError> {
        self.run_within(run, &OF_A_RUN)
    }

    /// The same within other limits.
    pub(super) fn run_within(&self, run: Run, limits: &Limits) -> Result<Output, AgentError> {
        // A panic leaves only the heap of the run behind, and nothing uses it again.
        let running = AssertUnwindSafe(|| match run.call {
            Call::Start => self.answer(self.functions.start, run, limits).map(Output::Answer),
            Call::Reply { .. } => self.answer(self.functions.reply, run, limits).map(Output::Answer),
            Call::Tool(call) => self.use_tool(run.conversation, call, limits).map(Output::Tool),
        });
        catch_unwind(running).unwrap_or_else(|_| Err(panicked()))
    }

    fn answer(&self, function: Option<&str>, run: Run, limits: &Limits) -> Result<Answer, AgentError> {
        let Some(function) = function else { return Ok(Answer::silent(run.conversation)) };
        self.evaluate(function, run, limits, |returned, evaluator, [conv, state]| {
            let returned = returned.map_err(|error| readable(function, &error, evaluator, limits))?;
            read_answer(function, returned, conv, state)
        })
    }

    fn use_tool(&self, conversation: Conversation, call: ToolCall, limits: &Limits) -> Result<ToolAnswer, AgentError> {
        let call = tool_arguments::accept_call(&self.tools, call)?;
        let name = call.name.clone();
        let run = Run { conversation, call: Call::Tool(call) };
        self.evaluate(&name, run, limits, |returned, evaluator, [conv, state]| {
            let returned = returned.map_err(|error| readable(&name, &error, evaluator, limits))?;
            let outcome = tool_outcome::read(&name, returned)?;
            Ok(ToolAnswer { outcome, answer: left_in(conv, state, |_| Ok(()))? })
        })
    }

    /// Calls a function of the script on the current thread, and reads what it returned, or why it
    /// failed, with conv and conv.state.
    pub(super) fn evaluate<T>(
        &self,
        function: &str,
        run: Run,
        limits: &Limits,
        read: impl for<'v> FnOnce(
            starlark::Result<Value<'v>>,
            &Evaluator<'v, '_, '_>,
            [Value<'v>; 2],
        ) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let Run { conversation, call } = run;
        Module::with_temp_heap(|module| {
            let heap = module.heap();
            // The name of a tool may begin with _, which makes it private.
            let found = self.module.get_any_visibility(function);
            let (found, _) = found.map_err(|error| AgentError::Unusable(error.to_string()))?;
            let function_value = heap.access_owned_frozen_value(&found);
            let state = State::alloc(&conversation.state, heap);
            let conv = Conv::alloc(conversation, &call, state, heap);
            let (arguments, named) = match &call {
                Call::Start => (vec![conv], Vec::new()),
                Call::Reply { texts } => (vec![conv, heap.alloc(texts.join("\n"))], Vec::new()),
                Call::Tool(tool) => {
                    let named = tool.arguments.iter().map(|(name, value)| (name.as_str(), heap.alloc(value)));
                    (vec![conv], named.collect())
                }
            };
            let mut evaluator = bounded(&module, limits)?;
            let returned = evaluator.eval_function(function_value, &arguments, &named);
            read(returned, &evaluator, [conv, state])
        })
    }
}

/// The answer of a run that returned a value.
pub(super) fn read_answer(function: &str, returned: Value, conv: Value, state: Value) -> Result<Answer, AgentError> {
    left_in(conv, state, |answer| read_returned(function, returned, answer))
}

/// What a run left in conv, with what `add` adds of what it returned.
fn left_in(
    conv: Value,
    state: Value,
    add: impl FnOnce(&mut Answer) -> Result<(), AgentError>,
) -> Result<Answer, AgentError> {
    let conv = conv.downcast_ref::<Conv>().ok_or_else(|| AgentError::Failed("conv is gone".to_owned()))?;
    let mut answer = Answer {
        texts: conv.texts(),
        cut: conv.cut(),
        sends: conv.sends(),
        language: conv.language(),
        log: conv.log_lines(),
        ..Answer::default()
    };
    add(&mut answer)?;
    let (texts, cut) = at_most(answer.texts, MOST_TEXTS);
    (answer.texts, answer.cut) = (texts, answer.cut + cut);
    answer.state = read_state(state)?;
    Ok(answer)
}

fn compile_here(source: &str, purpose: &Purpose, limits: &Limits) -> Result<Script, AgentError> {
    if let Some((line, what)) = depth::too_deep(source) {
        return Err(AgentError::Unusable(format!("line {line}, column 1: {what}")));
    }
    let ast = AstModule::parse("agent.star", source.to_owned(), &dialect())
        .map_err(|error| AgentError::Unusable(one_line(&error)))?;
    // The interpreter consumes what was parsed.
    let tools = tools::functions_of(source, &ast, purpose.tools());
    Module::with_temp_heap(|module| {
        {
            let mut evaluator = bounded(&module, limits)?;
            if let Err(error) = evaluator.eval_module(ast, &globals()) {
                let what = "the script's top level";
                return Err(AgentError::Unusable(match readable(what, &error, &evaluator, limits) {
                    AgentError::OverLimit(text) => text,
                    _ => one_line(&error),
                }));
            }
        }
        let module = module.freeze().map_err(|error| AgentError::Unusable(format!("{error:?}")))?;
        let functions = functions::find(&module, purpose).map_err(|fault| {
            let at = fault.name.and_then(|name| functions::position_of(source, &name));
            AgentError::Unusable(match at {
                Some((line, column)) => format!("line {line}, column {column}: {}", fault.what),
                None => fault.what,
            })
        })?;
        let tools = tools.map_err(|faults| {
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            AgentError::Unusable(told.join("\n"))
        })?;
        Ok(Script { module, functions, tools })
    })
}

/// Runs on a separate thread whose stack is large enough for deep expressions and values.
pub(super) fn on_own_thread<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    std::thread::Builder::new()
        .name("script".to_owned())
        .stack_size(STACK)
        .spawn(run)
        .map_err(|error| AgentError::Ours(format!("no thread for the script: {error}")))?
        .join()
        .unwrap_or_else(|_| Err(panicked()))
}

/// The error of a script whose interpreter panicked. The interpreter's arena panics when an
/// allocation is refused, and collections panic when they would get too many elements.
pub(super) fn panicked() -> AgentError {
    if memory::was_refused() {
        return AgentError::OverLimit("the script used too much memory".to_owned());
    }
    AgentError::Failed(
        "the interpreter failed; most likely the script builds a value that is too large, such as list(enumerate(range(1 << 30)))"
            .to_owned(),
    )
}

/// The dialect of Starlark: with f-strings, lambdas and type annotations (which are ignored),
/// without `load`.
pub(super) fn dialect() -> Dialect {
    Dialect {
        enable_load: false,
        enable_keyword_only_arguments: true,
        enable_types: DialectTypes::ParseOnly,
        enable_top_level_stmt: true,
        enable_f_strings: true,
        ..Dialect::Standard
    }
}

/// What scripts can use beyond the language's core.
pub(super) const EXTENSIONS: [LibraryExtension; 5] = [
    LibraryExtension::StructType,
    LibraryExtension::Map,
    LibraryExtension::Filter,
    LibraryExtension::Json,
    LibraryExtension::SetType,
];

pub(super) fn globals() -> Globals {
    GlobalsBuilder::extended_by(&EXTENSIONS).build()
}

thread_local! {
    /// Whether the run on this thread was ended for its CPU time. Only our own check sets it.
    static IS_OVER_TIME: Cell<bool> = const { Cell::new(false) };
}

/// The CPU time that this thread has used.
pub(super) fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// The error of a run that exceeded its CPU time.
pub(super) fn over_time(what: &str, most: Duration) -> String {
    format!("{what} took over {} seconds of a processor", most.as_secs_f64())
}

/// An evaluator that ends a run after its CPU time. The wall-clock time depends on how busy the
/// machine is, and the caller limits it.
pub(super) fn bounded<'v, 'a, 'e>(
    module: &'a Module<'v>,
    limits: &Limits,
) -> Result<Evaluator<'v, 'a, 'e>, AgentError> {
    let mut evaluator = Evaluator::new(module);
    IS_OVER_TIME.set(false);
    let until = cpu_time() + limits.time;
    evaluator.set_check_cancelled(Box::new(move || {
        let is_over = cpu_time() > until;
        IS_OVER_TIME.set(is_over);
        is_over
    }));
    evaluator
        .set_max_tick_count(limits.ticks)
        .and_then(|()| evaluator.set_max_callstack_size(MOST_DEPTH))
        .and_then(|()| evaluator.set_max_heap_size(MOST_HEAP))
        .and_then(|()| if limits.notes_lines { evaluator.enable_profile(&ProfileMode::Coverage) } else { Ok(()) })
        .map_err(|error| AgentError::Failed(error.to_string()))?;
    Ok(evaluator)
}

/// What a function may return, for errors.
pub(super) const MAY_BE_RETURNED: &str = "return a text, a dict with \"utterance\" and \"hangup\", or None";

/// Parses the value that a function returned: a text, a dict as a service may answer, or None.
pub(super) fn read_returned(function: &str, returned: Value, answer: &mut Answer) -> Result<(), AgentError> {
    if returned.is_none() {
        return Ok(());
    }
    if let Some(text) = returned.unpack_str() {
        answer.texts.push(text.to_owned());
        return Ok(());
    }
    let wrong = |what: String| AgentError::Failed(format!("{function} returned {what}; {MAY_BE_RETURNED}"));
    let Some(dict) = DictRef::from_value(returned) else { return Err(wrong(format!("a {}", returned.get_type()))) };
    let mut fields = AnswerFields::default();
    for (key, value) in dict.iter() {
        let field = match key.unpack_str() {
            Some("utterance") => &mut fields.utterance,
            Some("messages") => &mut fields.messages,
            Some("hangup") => &mut fields.hangup,
            _ => return Err(wrong(format!("a dict with the key {key}"))),
        };
        *field = Some(to_json(value).map_err(|what| wrong(format!("a dict whose {key} is no JSON: {what}")))?);
    }
    let (texts, hangup) = fields.read(false).map_err(|unclear| match unclear {
        Unclear::Nothing => wrong("an empty dict".to_owned()),
        Unclear::Both => wrong("an utterance and messages".to_owned()),
        Unclear::Type(what) => wrong(format!("a dict with {what}")),
    })?;
    answer.texts.extend(texts);
    answer.hangup = hangup;
    Ok(())
}

fn read_state(state: Value) -> Result<Map<String, Json>, AgentError> {
    let state = state.downcast_ref::<State>().ok_or_else(|| AgentError::Failed("conv.state is gone".to_owned()))?;
    let refused = |what: String| AgentError::Failed(format!("conv.state can't be stored: {what}"));
    let mut state = state.to_json().map_err(refused)?;
    bounds::object(&mut state, bounds::STATE_BYTES).map_err(refused)?;
    Ok(state)
}

/// The error of a run, in our own words if one of our limits ended it. The error's text is never
/// the only evidence, because scripts and contacts choose the text of most errors.
fn readable(function: &str, error: &starlark::Error, evaluator: &Evaluator, limits: &Limits) -> AgentError {
    if IS_OVER_TIME.take() {
        return AgentError::OverLimit(over_time(function, limits.time));
    }
    // The interpreter reports these two limits only in the text of a general error, so its counters
    // are checked too.
    let is_told = |words: String| {
        matches!(error.kind(), ErrorKind::Other(_)) && {
            let told = error.without_diagnostic().to_string();
            told.lines().next() == Some(words.as_str())
        }
    };
    let bytes = evaluator.heap().peak_allocated_bytes() + evaluator.frozen_heap().allocated_bytes();
    if bytes > MOST_HEAP && is_told(format!("Heap memory limit of {MOST_HEAP} bytes exceeded.")) {
        return AgentError::OverLimit(format!("{function} used over {} MiB of memory", MOST_HEAP >> 20));
    }
    let most = limits.ticks;
    if evaluator.get_total_tick_count() > most
        && is_told(format!("Execution duration limit of {most} ticks has been exceeded"))
    {
        return AgentError::OverLimit(format!("{function} ran over {most} calls and loop rounds"));
    }
    match error.kind() {
        ErrorKind::StackOverflow(_) => {
            AgentError::OverLimit(format!("{function} called itself over {MOST_DEPTH} deep"))
        }
        _ => {
            let words = error.without_diagnostic().to_string();
            AgentError::Failed(agent_error::of_run(function, position(error), &words))
        }
    }
}

/// `line 3, column 7: message`.
fn one_line(error: &starlark::Error) -> String {
    let message = error.without_diagnostic().to_string();
    match position(error) {
        Some((line, column)) => format!("line {line}, column {column}: {message}"),
        None => message,
    }
}

/// The line and the column of an error, from 1.
fn position(error: &starlark::Error) -> Option<(usize, usize)> {
    let begin = error.span()?.resolve_span().begin;
    Some((begin.line + 1, begin.column + 1))
}
