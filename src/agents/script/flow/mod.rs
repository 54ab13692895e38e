//! Follows the values of a script through its functions, and finds what would fail whenever its
//! line runs.
//!
//! Each expression may be one value, any value of a type, one of several, or anything. An operation
//! is tried in the interpreter with samples of what its operands may be ([`trial`]), and one that
//! fails with all of them is told. Only what is certain is told: a loop makes the names that it
//! sets anything, a list or a dict forgets its items when another name may change them, and what
//! stands behind a condition that never holds is left.

mod calls;
mod exprs;
mod reads;
mod stmts;
mod trial;
mod values;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use starlark::codemap::Span;
use starlark::syntax::AstModule;
use starlark::syntax::ast::{AstParameter, AstStmt, ParameterP};

use super::check::Fault;
use super::functions::{self, Purpose};
use super::interpret::{Script, dialect};
use super::members::Members;
use super::module_names::{Function, ModuleNames, bound_in, parameter_name, positional_names};
use super::tools;
use reads::{Calls, StateKeys};
use trial::Trial;
use values::{Kind, Possible, Value};

/// The most times that the functions are read until what they get and return is known.
const MOST_PASSES: usize = 12;
/// After so many passes, what still changes becomes anything.
const PATIENT_PASSES: usize = 4;

/// The CPU time for a script. One that takes longer is not followed to its end.
const MOST_TIME: Duration = Duration::from_millis(400);

/// What fails whenever its line runs.
pub(super) fn faults(source: &str, purpose: &Purpose, script: &Script) -> Vec<Fault> {
    faults_within(source, purpose, script, MOST_TIME)
}

pub(super) fn faults_within(source: &str, purpose: &Purpose, script: &Script, time: Duration) -> Vec<Fault> {
    let Ok(ast) = AstModule::parse("agent.star", source.to_owned(), &dialect()) else { return Vec::new() };
    let names = ModuleNames::of(ast.statement());
    let mut flow = Flow::of(&names, ast.statement(), (purpose, script), time);
    if !flow.settle() {
        return Vec::new();
    }
    flow.is_last = true;
    flow.read_functions();
    let told = flow.faults.into_iter();
    told.map(|(span, what)| Fault::at(&ast.file_span(span).resolve_span(), true, what)).collect()
}

struct Flow<'a> {
    names: &'a ModuleNames<'a>,
    script: &'a Script,
    trial: Trial,
    members: Members,
    /// The names and attributes whose lists may be changed anywhere in the script.
    changing: HashSet<&'a str>,
    keys: StateKeys<'a>,
    functions: Vec<(&'a str, Function<'a>)>,
    summaries: HashMap<&'a str, Summary<'a>>,
    /// What fails, in the last pass.
    faults: Vec<(Span, String)>,
    is_last: bool,
    has_changed: bool,
    pass: usize,
}

/// What a function of the top level gets and returns.
struct Summary<'a> {
    parameters: HashMap<&'a str, Possible>,
    returns: Possible,
    /// Whether it may come to a call of `fail`.
    may_fail: bool,
    /// The function that it calls and that never returns.
    ends_in: Option<&'a str>,
    /// Whether what it returns is an answer.
    answers: bool,
}

/// A function while its body is read.
#[derive(Default)]
struct Frame<'a> {
    /// The name of the function of the top level, if it is one.
    name: Option<&'a str>,
    /// The names that have a value, or may have one.
    locals: HashMap<&'a str, Possible>,
    /// All names that the function binds.
    bound: HashSet<&'a str>,
    /// What the names are that the functions around it bind.
    around: HashMap<&'a str, Possible>,
    /// The names that it binds beside its parameters.
    rebound: HashSet<&'a str>,
    /// The names whose lists and dicts may be changed.
    changing: HashSet<&'a str>,
    returns: Vec<Possible>,
    /// Where it came to an end without a value, and the function of the script that gives none.
    ended: Option<(Span, Option<&'a str>)>,
    may_fail: bool,
}

impl<'a> Flow<'a> {
    fn of(
        names: &'a ModuleNames<'a>,
        top: &'a AstStmt,
        (purpose, script): (&Purpose, &'a Script),
        time: Duration,
    ) -> Self {
        let functions: Vec<(&str, Function)> = names.functions().collect();
        let calls = Calls::of(&functions);
        let mut summaries = HashMap::new();
        for (name, function) in &functions {
            let is_called = calls.count(name) > 0;
            let is_open = names.references.get(name).copied().unwrap_or_default() != calls.count(name);
            let unknown = if is_called && !is_open { Possible::NEVER } else { Possible::Anything };
            let own = function.parameters().iter().filter_map(|one| Some((parameter_name(one)?, one)));
            let parameters = own.map(|(name, one)| (name, of_parameter(one, &unknown))).collect();
            let answers =
                functions::answering().any(|answering| names.function(answering).is_some_and(|it| it.is(function)));
            let summary = Summary { parameters, returns: Possible::NEVER, may_fail: false, ends_in: None, answers };
            summaries.insert(*name, summary);
        }
        let mut flow = Self {
            names,
            script,
            trial: Trial::new(time),
            members: Members::new(),
            changing: changing_in_all(&functions),
            keys: StateKeys::of(top),
            functions,
            summaries,
            faults: Vec::new(),
            is_last: false,
            has_changed: false,
            pass: 0,
        };
        flow.give_arguments(purpose);
        flow
    }

    /// Notes what the functions get that textback and a language model call.
    fn give_arguments(&mut self, purpose: &Purpose) {
        let own = functions::names().map(|name| (name.to_owned(), &[Kind::Conv, Kind::Text][..]));
        let tools = purpose.tools().iter().map(|name| (name.clone(), &[Kind::Conv][..]));
        for (name, kinds) in own.chain(tools).collect::<Vec<_>>() {
            let is_tool = purpose.tools().contains(&name);
            let own = self.names.function(&name);
            let Some((name, function)) =
                self.functions.iter().find(|(_, one)| own.is_some_and(|own| own.is(one))).copied()
            else {
                continue;
            };
            let Some(summary) = self.summaries.get_mut(name) else { continue };
            for (parameter, kind) in positional_names(function.parameters()).zip(kinds) {
                let is_given = !is_tool || parameter == tools::CONV;
                let given = if is_given { Possible::of(*kind) } else { Possible::Anything };
                let Some(known) = summary.parameters.get_mut(parameter) else { continue };
                *known = given;
            }
            // Arguments that are not known are given to the rest.
            for known in summary.parameters.values_mut().filter(|known| known.is_never()) {
                *known = Possible::Anything;
            }
        }
    }

    /// Reads the functions until what they get and return is known. Returns whether it is.
    fn settle(&mut self) -> bool {
        for pass in 0..MOST_PASSES {
            (self.pass, self.has_changed) = (pass, false);
            self.read_functions();
            if self.trial.is_over() {
                return false;
            }
            if !self.has_changed {
                // What is never called may get anything.
                for summary in self.summaries.values_mut() {
                    if summary.parameters.values().any(Possible::is_never) {
                        summary.parameters.values_mut().for_each(|known| *known = Possible::Anything);
                        summary.returns = Possible::Anything;
                    }
                }
                return true;
            }
        }
        false
    }

    fn read_functions(&mut self) {
        for (name, function) in self.functions.clone() {
            self.read_function(name, function);
        }
    }

    fn read_function(&mut self, name: &'a str, function: Function<'a>) {
        let Some(summary) = self.summaries.get(name) else { return };
        if summary.parameters.values().any(Possible::is_never) {
            return;
        }
        let locals = summary.parameters.clone();
        let mut frame = Frame { name: Some(name), locals, ..Frame::default() };
        self.read_body(&mut frame, function);
        let returns = Possible::any_of(std::mem::take(&mut frame.returns));
        self.tell_no_end(&frame, &returns);
        let (pass, ends_in) = (self.pass, frame.ended.and_then(|(_, called)| called));
        let Some(summary) = self.summaries.get_mut(name) else { return };
        let merged = merged(&summary.returns, returns, pass);
        if merged != summary.returns || (frame.may_fail && !summary.may_fail) {
            self.has_changed = true;
            (summary.returns, summary.may_fail) = (merged, frame.may_fail);
        }
        if !self.is_last {
            summary.ends_in = ends_in;
        }
    }

    fn read_body(&mut self, frame: &mut Frame<'a>, function: Function<'a>) {
        frame.bound.extend(function.parameters().iter().filter_map(parameter_name));
        match function {
            Function::Def(def) => {
                frame.rebound = bound_in(&def.body);
                frame.bound.extend(&frame.rebound);
                frame.changing = reads::changing(&def.body);
                if self.stmt(frame, &def.body) {
                    frame.returns.push(Value::None.into());
                }
            }
            Function::Lambda(lambda) => {
                let value = self.expr(frame, &lambda.body);
                self.tell_answer(frame, &lambda.body, &value);
                frame.returns.push(value);
            }
        }
    }

    /// Reads a function in a function.
    fn read_nested(&mut self, outer: &Frame<'a>, function: Function<'a>) {
        let mut around = outer.around.clone();
        around.extend(outer.bound.iter().chain(outer.locals.keys()).map(|name| {
            let is_fixed = outer.bound.contains(name) && !outer.rebound.contains(name);
            let known = outer.locals.get(name).filter(|_| is_fixed).cloned();
            (*name, known.map_or(Possible::Anything, Possible::forgotten))
        }));
        let parameters = function.parameters().iter().filter_map(|one| Some((parameter_name(one)?, one)));
        let locals = parameters.map(|(name, one)| (name, of_parameter(one, &Possible::Anything))).collect();
        self.read_body(&mut Frame { locals, around, ..Frame::default() }, function);
    }

    /// Tells that a function never returns: because it always calls itself again, or, for one of
    /// textback's, because it always fails.
    fn tell_no_end(&mut self, frame: &Frame<'a>, returns: &Possible) {
        let (true, Some((span, called)), Some(name)) = (returns.is_never(), frame.ended, frame.name) else { return };
        let answers = self.summaries.get(name).is_some_and(|summary| summary.answers);
        if !frame.may_fail && called.is_some_and(|called| self.comes_back(called, name)) {
            self.tell(span, format!("{name} never returns: functions call one another too deep, without an end"));
        } else if answers && frame.may_fail {
            self.tell(span, format!("{name} always fails here, whatever the text is"));
        }
    }

    /// Whether a function always comes to a call of another one.
    fn comes_back(&self, from: &'a str, to: &str) -> bool {
        let next = |name: &&'a str| self.summaries.get(name).and_then(|summary| summary.ends_in);
        std::iter::successors(Some(from), next).take(self.functions.len() + 1).any(|name| name == to)
    }

    fn tell(&mut self, span: Span, what: String) {
        if self.is_last && !self.faults.iter().any(|(told, _)| *told == span) {
            self.faults.push((span, what));
        }
    }
}

/// The names and attributes whose lists and dicts a script may change.
fn changing_in_all<'a>(functions: &[(&'a str, Function<'a>)]) -> HashSet<&'a str> {
    let of = |function: &Function<'a>| match function {
        Function::Def(def) => reads::changing(&def.body),
        Function::Lambda(lambda) => reads::changing_in(&lambda.body),
    };
    functions.iter().flat_map(|(_, function)| of(function)).collect()
}

/// What a parameter gets, if `unknown` is what one argument may be.
fn of_parameter(parameter: &AstParameter, unknown: &Possible) -> Possible {
    match &parameter.node {
        ParameterP::Args(..) => Possible::of(Kind::Tuple),
        ParameterP::KwArgs(..) => Possible::of(Kind::Dict),
        ParameterP::Normal(..) | ParameterP::NoArgs | ParameterP::Slash => unknown.clone(),
    }
}

/// What is known after another pass.
fn merged(known: &Possible, more: Possible, pass: usize) -> Possible {
    let merged = known.clone().or(more);
    if merged != *known && pass >= PATIENT_PASSES { Possible::Anything } else { merged }
}
