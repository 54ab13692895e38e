//! Checks a script and reports its faults with line and column. It runs the top level of the
//! script, but no function.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use starlark::analysis::{AstModuleLint, EvalSeverity};
use starlark::codemap::ResolvedSpan;
use starlark::syntax::AstModule;

use super::conv_use;
use super::functions::{self, Functions, Purpose};
use super::greeting;
use super::interpret::{Script, dialect, globals, on_own_thread};
use super::module_names::{ModuleNames, positional_names};
use super::{dead, dry_run, flow, loops, returns, tools, unbound};
use crate::agents::AgentError;
use crate::domain::bounds;

/// Something that a script's author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// From 1; 0 if the fault has no position.
    pub line: usize,
    /// From 1; 0 if the fault has no position.
    pub column: usize,
    /// Whether the script can't be used with it.
    pub fatal: bool,
    pub message: String,
}

/// All faults of a script, in the order of their lines.
pub fn check(source: &str, purpose: &Purpose) -> Vec<Fault> {
    let (source, purpose) = (source.to_owned(), purpose.clone());
    let checked = on_own_thread(move || {
        let mut faults = check_here(&source, &purpose)?;
        if !faults.iter().any(|fault| fault.fatal) {
            faults.extend(dry_run::faults(&source, &purpose));
        }
        Ok(faults)
    });
    checked.unwrap_or_else(|error| vec![Fault::of_script(error.to_string())])
}

/// The faults that are found without a run of a function, for tests.
#[cfg(test)]
pub(super) fn check_as_written(source: &str) -> Vec<Fault> {
    let source = source.to_owned();
    on_own_thread(move || check_here(&source, &Purpose::Answers)).expect("checked")
}

/// The faults that are found without a run of a function, on the current thread, which must be one
/// of [`on_own_thread`] for its stack.
pub(super) fn check_here(source: &str, purpose: &Purpose) -> Result<Vec<Fault>, AgentError> {
    let mut faults = Vec::new();
    match read(source, purpose) {
        Err(fault) => faults.push(fault),
        Ok(Read { warnings: lints, failing, tools }) => {
            faults.extend(lints);
            // What is wrong with tools is told below, also beside what is wrong with the top level.
            let compiled = if tools.is_empty() { purpose } else { &Purpose::Tools(Vec::new()) };
            match Script::compile_here(source, compiled) {
                Ok(script) => {
                    faults.extend(warnings(source, purpose, script.functions));
                    let told: Vec<usize> = failing.iter().map(|fault| fault.line).collect();
                    faults.extend(failing);
                    // What was said better before is not said again.
                    let by_values = flow::faults(source, purpose, &script).into_iter();
                    faults.extend(by_values.filter(|fault| !told.contains(&fault.line)));
                }
                Err(ours @ (AgentError::Ours(_) | AgentError::Interrupted(_))) => return Err(ours),
                Err(error) => faults.push(with_position(&error.to_string())),
            }
            faults.extend(tools);
        }
    }
    for fault in &mut faults {
        // A script chooses the length of the error at its top level.
        fault.message = bounds::error(&fault.message);
    }
    faults.sort_by_key(|fault| (fault.line, fault.column));
    Ok(faults)
}

/// What the author of a usable script should know of its functions.
fn warnings(source: &str, purpose: &Purpose, functions: Functions) -> Vec<Fault> {
    let mut warnings = Vec::new();
    if *purpose == Purpose::Answers && functions.reply.is_none() {
        let what = "the script has no reply(conv, text), so it only greets";
        warnings.push(without_position(false, what.to_owned()));
    }
    if let Some(end) = functions.end {
        let (line, column) = functions::position_of(source, end).unwrap_or_default();
        let message = format!("{end} is not called: a session ends without a function of the script");
        warnings.push(Fault { line, column, fatal: false, message });
    }
    warnings
}

/// What is seen in a script that can be parsed, before it runs.
struct Read {
    warnings: Vec<Fault>,
    /// What would fail whenever it runs. It is of no use to the author while the script can't be
    /// compiled.
    failing: Vec<Fault>,
    /// What is wrong with the functions that are to be tools.
    tools: Vec<Fault>,
}

fn read(source: &str, purpose: &Purpose) -> Result<Read, Fault> {
    if let Some((line, message)) = super::depth::too_deep(source) {
        return Err(Fault { line, column: 1, fatal: true, message });
    }
    let ast = AstModule::parse("agent.star", source.to_owned(), &dialect()).map_err(|error| Fault::of_error(&error))?;
    let known: HashSet<String> = globals().names().map(|name| name.as_str().to_owned()).collect();
    let lints = ast.lint(Some(&known)).into_iter();
    let told = lints.filter(|lint| matches!(lint.severity, EvalSeverity::Error | EvalSeverity::Warning));
    let warnings = told.map(|lint| Fault::at(&lint.location.resolve_span(), false, lint.problem)).collect();
    let names = ModuleNames::of(ast.statement());
    let mut failing: Vec<Fault> = Vec::new();
    let never_run = dead::spans(&names, ast.statement());
    let gets_conv = |name: &&String| {
        names.function(name).is_some_and(|tool| positional_names(tool.parameters()).next() == Some(tools::CONV))
    };
    let with_conv: Vec<String> = purpose.tools().iter().filter(gets_conv).cloned().collect();
    let found = conv_use::faults(&names, &with_conv)
        .into_iter()
        .chain(returns::faults(&names))
        .chain(greeting::faults(&names, ast.statement()))
        .chain(unbound::faults(ast.statement()))
        .chain(loops::faults(ast.statement(), &names));
    for (span, what) in found.filter(|(span, _)| !never_run.iter().any(|dead| dead.contains(span.begin()))) {
        let fault = Fault::at(&ast.file_span(span).resolve_span(), true, what);
        // What was said better before is not said again.
        if !failing.iter().any(|told| told.line == fault.line && told.column.abs_diff(fault.column) < 2) {
            failing.push(fault);
        }
    }
    let tools = tools::functions_of(source, &ast, purpose.tools()).err().unwrap_or_default();
    Ok(Read { warnings, failing, tools })
}

impl Fault {
    /// A fault with a position, which counts from 0.
    pub(super) fn at(position: &ResolvedSpan, fatal: bool, message: String) -> Self {
        Self { line: position.begin.line + 1, column: position.begin.column + 1, fatal, message }
    }

    /// A fault without a position, with which the script can't be used.
    pub(super) fn of_script(message: String) -> Self {
        without_position(true, message)
    }

    /// An error of the interpreter.
    pub(super) fn of_error(error: &starlark::Error) -> Self {
        let message = with_hint(error.without_diagnostic().to_string());
        match error.span() {
            Some(span) => Self::at(&span.resolve_span(), true, message),
            None => Self::of_script(message),
        }
    }
}

/// The error of a script that can't be parsed, with what to write instead of a word of Python that
/// the language lacks.
fn with_hint(message: String) -> String {
    let Some((_, rest)) = message.split_once("cannot use reserved keyword `") else { return message };
    let hint = match rest.split_once('`').map(|(keyword, _)| keyword) {
        Some("import" | "from") => "scripts have no modules, no clock and no network; what needs them is a service",
        Some("while") => "loop with for and range(…)",
        Some("try" | "except" | "raise" | "finally") => {
            "look before you call: text.isdigit(), key in dict; fail(…) ends a run"
        }
        Some("class") => "use a dict, or struct(…)",
        Some("is") => "compare with ==",
        _ => "Starlark lacks this word of Python",
    };
    format!("{message}; {hint}")
}

/// Parses an error text such as "line 3, column 7: …".
fn with_position(message: &str) -> Fault {
    let read = || {
        let (line, rest) = message.strip_prefix("line ")?.split_once(", column ")?;
        let (column, text) = rest.split_once(": ")?;
        Some(Fault { line: line.parse().ok()?, column: column.parse().ok()?, fatal: true, message: text.to_owned() })
    };
    read().unwrap_or_else(|| Fault::of_script(message.to_owned()))
}

fn without_position(fatal: bool, message: String) -> Fault {
    Fault { line: 0, column: 0, fatal, message }
}

impl std::fmt::Display for Fault {
    /// `3:7: message`, or only the message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)
    }
}
