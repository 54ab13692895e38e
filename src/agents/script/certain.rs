//! Which errors of a run come whatever the person writes: an attribute that no value of the script
//! can have, and a change of a value of the top level. What a value decides is at most likely.

use std::collections::HashSet;

use starlark::ErrorKind;
use starlark::codemap::{ResolvedSpan, Span};
use starlark::environment::Module;
use starlark::syntax::AstModule;
use starlark::syntax::ast::{ArgumentP, AssignTargetP, AstExpr, AstStmt, CallArgsP, ExprP, StmtP};
use starlark::values::ValueError;
use starlark::values::dict::AllocDict;
use starlark::values::structs::AllocStruct;

use super::interpret::{dialect, globals};
use super::members::Members;
use super::module_names::ModuleNames;

/// Why a run failed, as far as it decides whether every run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// What the statement does is wrong whatever the values are.
    Always,
    /// Most values fail here, but a text or a state may give one that does not.
    Likely,
    /// Another text or another state may do.
    Varies,
    /// The run was ended by a limit.
    Limit,
}

/// The attributes that some value of a script may have, and the places that change a value of the
/// top level.
pub(super) struct Names {
    known: HashSet<String>,
    /// Whether a value may have any attribute: a struct by `**`, or `conv.state` under another
    /// name. Also whether the name of an attribute may be made of a text, by `getattr`.
    has_any: bool,
    /// The calls and assignments that change a value of the top level. It is frozen whenever a
    /// function runs.
    changes: HashSet<ResolvedSpan>,
}

impl Names {
    pub(super) fn of(source: &str) -> Self {
        let mut known: HashSet<String> = Members::new().names().into_iter().collect();
        Module::with_temp_heap(|module| {
            let heap = module.heap();
            let examples = [
                heap.alloc(""),
                heap.alloc(Vec::<i32>::new()),
                heap.alloc(AllocDict(std::iter::empty::<(i32, i32)>())),
                heap.alloc(AllocStruct([("role", 0), ("text", 0), ("at", 0)])),
            ];
            known.extend(examples.into_iter().flat_map(|example| example.dir_attr()));
        });
        known.extend(globals().iter().flat_map(|(_, global)| global.to_value().dir_attr()));
        // A set has these beside those of a list.
        known.extend(SET_METHODS.map(str::to_owned));
        let mut names = Self { known, has_any: false, changes: HashSet::new() };
        if let Ok(ast) = AstModule::parse("agent.star", source.to_owned(), &dialect()) {
            let mut changes = Vec::new();
            names.stmt(ast.statement(), &ModuleNames::of(ast.statement()), &mut changes);
            names.changes.extend(changes.into_iter().map(|span| ast.file_span(span).resolve_span()));
        }
        names
    }

    fn may_have(&self, attribute: &str) -> bool {
        self.has_any || self.known.contains(attribute)
    }

    fn stmt(&mut self, stmt: &AstStmt, top: &ModuleNames, changes: &mut Vec<Span>) {
        let target = match &stmt.node {
            StmtP::Assign(assign) => Some(&assign.lhs),
            StmtP::AssignModify(target, ..) => Some(target),
            _ => None,
        };
        if let Some(target) = target
            && let AssignTargetP::Index(parts) = &target.node
            && is_of_top_level(&parts.0, top)
        {
            changes.extend([target.span, stmt.span]);
        }
        let mut is_simple = true;
        stmt.node.visit_stmt(|part| {
            is_simple = false;
            self.stmt(part, top, changes);
        });
        match &stmt.node {
            StmtP::If(condition, _) | StmtP::IfElse(condition, _) => self.expr(condition, top, changes),
            StmtP::For(each) => self.expr(&each.over, top, changes),
            StmtP::Def(def) => def.params.iter().for_each(|parameter| {
                parameter.node.visit_expr(|part| self.expr(part, top, changes));
            }),
            _ if is_simple => stmt.node.visit_expr(|part| self.expr(part, top, changes)),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &AstExpr, top: &ModuleNames, changes: &mut Vec<Span>) {
        match &expr.node {
            ExprP::Call(called, CallArgsP { args }) => {
                for argument in args {
                    match &argument.node {
                        ArgumentP::Named(name, _) => _ = self.known.insert(name.node.clone()),
                        ArgumentP::KwArgs(_) => self.has_any = true,
                        ArgumentP::Positional(_) | ArgumentP::Args(_) => {}
                    }
                }
                if let ExprP::Dot(of, method) = &called.node
                    && CHANGING.contains(&method.node.as_str())
                    && is_of_top_level(of, top)
                {
                    changes.push(expr.span);
                }
            }
            ExprP::Identifier(name) => self.has_any |= name.node.ident == "getattr",
            // What is read of the state is a key or a method, and the state itself has no other
            // name by that.
            ExprP::Dot(of, name) => match &of.node {
                ExprP::Dot(of, state) if state.node == "state" => return self.expr(of, top, changes),
                _ => self.has_any |= name.node == "state",
            },
            _ => {}
        }
        expr.node.visit_expr(|part| self.expr(part, top, changes));
    }
}

/// The methods that change a list, a dict or a set. They fail on a frozen one before they read
/// their arguments' values.
pub(super) const CHANGING: [&str; 12] = [
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "symmetric_difference_update",
    "update",
];

/// Whether an expression is a value of the top level, or a part of one.
fn is_of_top_level(expr: &AstExpr, top: &ModuleNames) -> bool {
    match &expr.node {
        ExprP::Identifier(name) => top.is_bound_once(&name.node.ident),
        ExprP::Index(parts) => is_of_top_level(&parts.0, top),
        ExprP::Dot(of, _) => is_of_top_level(of, top),
        _ => false,
    }
}

/// The methods of a set, which the interpreter tells only of a set that a script made.
pub(super) const SET_METHODS: [&str; 16] = [
    "add",
    "clear",
    "difference",
    "difference_update",
    "discard",
    "intersection",
    "intersection_update",
    "isdisjoint",
    "issubset",
    "issuperset",
    "pop",
    "remove",
    "symmetric_difference",
    "symmetric_difference_update",
    "union",
    "update",
];

/// What an error of the interpreter says of other runs. `at` is where it came.
pub(super) fn cause(error: &starlark::Error, at: Option<ResolvedSpan>, names: &Names) -> Cause {
    if let Some(what) = value_error(error) {
        return of_value(what, at, names);
    }
    match error.kind() {
        ErrorKind::StackOverflow(_) | ErrorKind::Function(_) => Cause::Likely,
        ErrorKind::Value(what) => of_parameter(&what.to_string()),
        // Our own functions refuse values that a person may have written, such as a number.
        ErrorKind::Native(_) | ErrorKind::Fail(_) | ErrorKind::Scope(_) => Cause::Varies,
        ErrorKind::Other(what) if is_limit(&what.to_string()) => Cause::Limit,
        ErrorKind::Other(_) | ErrorKind::Parser(_) | ErrorKind::Freeze(_) | ErrorKind::Internal(_) => Cause::Varies,
        // The interpreter may get more kinds. What is not known here refuses nothing.
        _ => Cause::Varies,
    }
}

/// Whether an error comes with all values of the types that the operands have.
pub(super) fn is_of_types(error: &starlark::Error) -> bool {
    if let Some(what) = value_error(error) {
        return match what {
            ValueError::OperationNotSupported { .. }
            | ValueError::OperationNotSupportedBinary { .. }
            | ValueError::NoAttr(..)
            | ValueError::NoAttrDidYouMean(..)
            | ValueError::IncorrectParameterType
            | ValueError::IncorrectParameterTypeNamed(_)
            | ValueError::CannotMutateImmutableValue
            | ValueError::MissingRequired(_) => true,
            ValueError::DivisionByZero
            | ValueError::IntegerOverflow
            | ValueError::NegativeShiftCount
            | ValueError::MutationDuringIteration
            | ValueError::MissingThis
            | ValueError::IndexOutOfBound(_)
            | ValueError::KeyNotFound(_) => false,
        };
    }
    let told = error.without_diagnostic().to_string();
    let begins = ["Type of parameter", "Expected `", "Value of type `", "conv.state has strings as keys"];
    matches!(error.kind(), ErrorKind::Function(_)) || begins.iter().any(|words| told.starts_with(words))
}

/// Whether one of the interpreter's limits ended a run.
pub(super) fn is_of_limit(error: &starlark::Error) -> bool {
    match error.kind() {
        ErrorKind::StackOverflow(_) => true,
        ErrorKind::Other(what) => is_limit(&what.to_string()),
        _ => false,
    }
}

/// What is wrong with a value. The interpreter tells it by three kinds of errors.
fn value_error(error: &starlark::Error) -> Option<&ValueError> {
    match error.kind() {
        ErrorKind::Value(what) | ErrorKind::Other(what) | ErrorKind::Native(what) => what.downcast_ref(),
        _ => None,
    }
}

/// The errors about values. None stands for what is not there yet, such as a key of the state, so
/// another run may have a value in its place.
fn of_value(error: &ValueError, at: Option<ResolvedSpan>, names: &Names) -> Cause {
    let unless_none = |types: &[&String], otherwise| match types.iter().any(|of| of.as_str() == "NoneType") {
        true => Cause::Varies,
        false => otherwise,
    };
    match error {
        ValueError::CannotMutateImmutableValue if at.is_some_and(|at| names.changes.contains(&at)) => Cause::Always,
        ValueError::NoAttr(of, attribute) | ValueError::NoAttrDidYouMean(of, attribute, _) => {
            unless_none(&[of], if names.may_have(attribute) { Cause::Varies } else { Cause::Always })
        }
        ValueError::OperationNotSupported { typ, .. } => unless_none(&[typ], Cause::Likely),
        ValueError::OperationNotSupportedBinary { left, right, .. } => unless_none(&[left, right], Cause::Likely),
        ValueError::CannotMutateImmutableValue
        | ValueError::MutationDuringIteration
        | ValueError::MissingRequired(_) => Cause::Likely,
        ValueError::DivisionByZero
        | ValueError::IntegerOverflow
        | ValueError::NegativeShiftCount
        | ValueError::IncorrectParameterType
        | ValueError::IncorrectParameterTypeNamed(_)
        | ValueError::MissingThis
        | ValueError::IndexOutOfBound(_)
        | ValueError::KeyNotFound(_) => Cause::Varies,
    }
}

/// The errors about a parameter of another type, which have only a text.
fn of_parameter(message: &str) -> Cause {
    let actual = message
        .strip_prefix("Type of parameter")
        .and_then(|rest| rest.split_once(", actual `"))
        .map(|(_, actual)| actual);
    match actual {
        Some(actual) if !actual.starts_with("NoneType") => Cause::Likely,
        _ => Cause::Varies,
    }
}

/// Whether an error is one of the interpreter's limits. A script that fails in the same words loses
/// only its warning.
fn is_limit(message: &str) -> bool {
    ["Evaluation cancelled", "Execution duration limit of ", "Heap memory limit of "]
        .iter()
        .any(|words| message.starts_with(words))
}

/// What to write for a value that must be a string.
const HINT: &str = "str(…) makes a string of a value";

/// An error in words for the author, without the value that a sample had.
pub(super) fn words(error: &starlark::Error) -> String {
    match value_error(error) {
        Some(ValueError::CannotMutateImmutableValue) => {
            return "this changes a value of the top level, or a string or a tuple, which can't be changed; keep what changes in conv.state"
                .to_owned();
        }
        Some(ValueError::OperationNotSupported { op, typ }) if op == "(iter)" && typ == "string" => {
            return "a string has no items to go over; text.split() gives its words, and text.elems() its characters"
                .to_owned();
        }
        Some(what @ ValueError::OperationNotSupportedBinary { op, left, right })
            if op == "+" && (left == "string") != (right == "string") =>
        {
            return format!("{what}; {HINT}");
        }
        Some(what @ ValueError::NoAttr(of, attribute)) if of == "dict" => {
            return format!("{what}; [\"{attribute}\"] reads a key");
        }
        _ => {}
    }
    if matches!(error.kind(), ErrorKind::StackOverflow(_)) {
        return "functions call one another too deep".to_owned();
    }
    let told = error.without_diagnostic().to_string();
    let told = told.split_once(" (repr: ").map_or(told.clone(), |(before, _)| format!("{before}`"));
    let is_number = ["`int`", "`float`", "`bool`"].iter().any(|of| told.ends_with(&format!("actual {of}")));
    if is_number && told.contains("expected `str`") { format!("{told}; {HINT}") } else { told }
}
