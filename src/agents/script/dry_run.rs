//! Runs a script with sample texts before it is saved, and finds what fails whatever a text is. The
//! runs send nothing and keep nothing.
//!
//! A script may fail for a sample and work for real texts. So an error refuses a script only if it
//! does not depend on a value (see [`super::certain`]), and if no sample passed the statement that
//! fails. What is only likely to fail is a warning. The samples contain the script's own strings,
//! so that a run comes into most of its branches.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chrono::DateTime;
use serde_json::{Map, Value as Json, json};
use starlark::codemap::{ResolvedPos, ResolvedSpan};
use starlark::eval::Evaluator;

use super::certain::{self, Cause, Names};
use super::check::Fault;
use super::functions::Purpose;
use super::interpret::{Limits, MOST_TIME_OF_TOP_LEVEL, OF_TOP_LEVEL, Script, cpu_time, read_answer};
use super::protocol::{Call, Run};
use super::samples;
use crate::agents::{AgentError, Answer, Conversation, HistoryEntry};
use crate::domain::bounds;
use crate::domain::session::Channel;

/// The limits of a run with a sample. A run that exceeds them proves nothing.
const OF_A_SAMPLE: Limits = Limits { time: Duration::from_millis(50), ticks: 200_000, notes_lines: true };
/// The CPU time of all samples together: less than the check may use beside the top level.
const OF_ALL: Duration = Duration::from_millis(250);
/// The column and the line of a fault count from 1, and the interpreter from 0.
const FIRST: usize = 1;

/// What fails with the samples: with every text, which is fatal, or with those that were tried.
pub(super) fn faults(source: &str, purpose: &Purpose) -> Vec<Fault> {
    let limits = Limits { notes_lines: true, time: MOST_TIME_OF_TOP_LEVEL, ..OF_TOP_LEVEL };
    let Ok(script) = Script::compile_within(source, purpose, &limits) else { return Vec::new() };
    // A panic leaves only the heap of the run behind.
    let trying = AssertUnwindSafe(|| try_all(source, &script));
    catch_unwind(trying).unwrap_or_default()
}

/// A run that failed.
struct Failed {
    function: &'static str,
    /// The text of the run; none in `start`.
    text: Option<String>,
    at: Option<ResolvedSpan>,
    /// The statement that failed.
    statement: Option<ResolvedSpan>,
    cause: Cause,
    message: String,
}

#[derive(Default)]
struct Runs {
    /// How often each function ran.
    counts: HashMap<&'static str, usize>,
    failed: Vec<Failed>,
    /// The statements that a run passed.
    passed: HashSet<ResolvedSpan>,
    is_over: bool,
}

fn try_all(source: &str, script: &Script) -> Vec<Fault> {
    let names = Names::of(source);
    let (until, mut runs) = (cpu_time() + OF_ALL, Runs::default());
    let mut state = Map::new();
    let mut faults = Vec::new();
    if let Some(start) = script.functions.start {
        let began = runs.run(script, start, (None, &state), &names);
        let greeting = began.as_ref().and_then(|answer| answer.state.get("greet_message"));
        if let Some(value) = greeting
            && !matches!(value, Json::String(_) | Json::Null)
            && began.as_ref().is_some_and(|answer| answer.texts.is_empty())
        {
            let (line, column) = super::functions::position_of(source, start).unwrap_or_default();
            let message = format!("{start} sets conv.state.greet_message to {value}; it must be a text or None");
            faults.push(Fault { line, column, fatal: false, message });
        }
        state = began.map(|answer| answer.state).unwrap_or_default();
    }
    if let Some(reply) = script.functions.reply {
        let texts = samples::of(source, &script.module);
        let mut later = state.clone();
        for text in &texts {
            runs.run(script, reply, (Some(text), &state), &names);
            if let Some(answer) = runs.run(script, reply, (Some(text), &later), &names) {
                later = answer.state;
            }
            if runs.is_over || cpu_time() > until {
                return faults;
            }
        }
        // What these runs find is of use even if not all of them are made.
        let with_more = texts.iter().take_while(|_| cpu_time() < until);
        with_more.for_each(|text| _ = runs.run_within(script, reply, Some(text), later_conversation(&state), &names));
    }
    faults.extend(runs.faults());
    faults
}

impl Runs {
    /// Runs a function, and notes how it went. Returns its answer.
    fn run(
        &mut self,
        script: &Script,
        function: &'static str,
        (text, state): (Option<&String>, &Map<String, Json>),
        names: &Names,
    ) -> Option<Answer> {
        self.run_within(script, function, text, conversation(state), names)
    }

    /// The same in a conversation that is given.
    fn run_within(
        &mut self,
        script: &Script,
        function: &'static str,
        text: Option<&String>,
        conversation: Conversation,
        names: &Names,
    ) -> Option<Answer> {
        let call = text.map_or(Call::Start, |text| Call::Reply { texts: vec![text.clone()] });
        let run = Run { conversation, call };
        *self.counts.entry(function).or_default() += 1;
        let mut noted = (HashSet::new(), None);
        let ended = script.evaluate(function, run, &OF_A_SAMPLE, |returned, evaluator, [conv, state]| {
            noted.0 = statements(evaluator);
            match returned {
                Ok(returned) => read_answer(function, returned, conv, state),
                Err(error) => {
                    let at = error.span().map(|span| span.resolve_span());
                    noted.1 = Some((at, certain::cause(&error, at, names)));
                    Err(AgentError::Failed(certain::words(&error)))
                }
            }
        });
        let (mut statements, failure) = noted;
        let answer = match ended {
            Ok(answer) => Some(answer),
            Err(error) => {
                let (at, cause) = failure.unwrap_or((None, Cause::Likely));
                let statement = at.and_then(|at| innermost(&statements, at.begin));
                if let Some(failed) = &statement {
                    statements.remove(failed);
                }
                self.is_over |= cause == Cause::Limit;
                let (text, message) = (text.cloned(), error.to_string());
                self.failed.push(Failed { function, text, at, statement, cause, message });
                None
            }
        };
        self.passed.extend(statements);
        answer
    }

    fn faults(&self) -> Vec<Fault> {
        let is_first = |failed: &Failed| failed.text.as_deref().is_none_or(|text| text == samples::FIRST);
        // The functions begin with the first runs, in a new session.
        let likely = self.failed.iter().filter(|failed| self.is_likely(failed) || is_first(failed));
        let certain = self.failed.iter().filter(|failed| self.is_certain(failed)).map(|failed| failed.fault(true));
        let mut faults: Vec<Fault> = Vec::new();
        for fault in certain.chain(likely.map(|failed| failed.fault(false))) {
            if !faults.iter().any(|told| (told.line, told.column) == (fault.line, fault.column)) {
                faults.push(fault);
            }
        }
        faults
    }

    /// Whether a run fails there whatever its text is.
    fn is_certain(&self, failed: &Failed) -> bool {
        failed.cause == Cause::Always && self.was_never_passed(failed)
    }

    /// Whether all runs that came there failed there.
    fn is_likely(&self, failed: &Failed) -> bool {
        match (failed.cause, failed.statement) {
            (Cause::Varies | Cause::Limit, _) => false,
            (Cause::Always | Cause::Likely, Some(_)) => self.was_never_passed(failed),
            (Cause::Always | Cause::Likely, None) => {
                let like = self.failed.iter().filter(|one| one.function == failed.function && one.statement.is_none());
                self.counts.get(failed.function) == Some(&like.count())
            }
        }
    }

    fn was_never_passed(&self, failed: &Failed) -> bool {
        failed.statement.is_some_and(|statement| !self.passed.contains(&statement))
    }
}

impl Failed {
    fn fault(&self, fatal: bool) -> Fault {
        let begin = self.at.map(|at| at.begin);
        let (function, message) = (self.function, &self.message);
        let message = match (&self.text, fatal) {
            (_, true) => format!("{message} (found in a test run of {function}; no text of the person avoids it)"),
            (None, false) => format!("a test run of {function} fails: {message}"),
            (Some(text), false) => format!("a test run of {function} with the text {text:?} fails: {message}"),
        };
        let (line, column) = begin.map_or((0, 0), |begin: ResolvedPos| (begin.line + FIRST, begin.column + FIRST));
        Fault { line, column, fatal, message: bounds::error(&message) }
    }
}

/// The statements that ran.
fn statements(evaluator: &Evaluator) -> HashSet<ResolvedSpan> {
    evaluator.coverage().map(|all| all.into_iter().map(|one| one.span).collect()).unwrap_or_default()
}

/// The smallest statement that a place is in.
fn innermost(statements: &HashSet<ResolvedSpan>, position: ResolvedPos) -> Option<ResolvedSpan> {
    let around: BTreeSet<&ResolvedSpan> =
        statements.iter().filter(|statement| statement.begin <= position && position <= statement.end).collect();
    // Of two statements around a place, the inner one begins later.
    around.into_iter().next_back().copied()
}

/// A conversation that has just begun.
fn conversation(state: &Map<String, Json>) -> Conversation {
    let channel = Channel::ALL.first();
    Conversation {
        id: "018f0000-0000-7000-8000-000000000000".to_owned(),
        channel_type: channel.map(ToString::to_string).unwrap_or_default(),
        caller_number: "+12025550143".to_owned(),
        callee_number: "+12025550144".to_owned(),
        env: "live".to_owned(),
        language: None,
        state: state.clone(),
        history: Vec::new(),
        media: Vec::new(),
    }
}

/// A conversation with a history, whose text comes with a picture.
pub(super) fn later_conversation(state: &Map<String, Json>) -> Conversation {
    let entry = |role: &str, text: &str| HistoryEntry {
        role: role.to_owned(),
        text: text.to_owned(),
        at: DateTime::UNIX_EPOCH,
    };
    Conversation {
        history: vec![entry("user", samples::FIRST), entry("agent", "How can I help?")],
        media: vec![json!({
            "id": "018f0000-0000-7000-8000-000000000001",
            "url": "https://example.com/a.jpg",
            "content_type": "image/jpeg",
            "bytes": 1000,
        })],
        ..conversation(state)
    }
}
