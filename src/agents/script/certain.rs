//! Which errors of a run come whatever the person writes.

use std::collections::HashSet;

use starlark::ErrorKind;
use starlark::environment::Module;
use starlark::syntax::AstModule;
use starlark::syntax::ast::{ArgumentP, AstExpr, AstStmt, CallArgsP, ExprP, StmtP};
use starlark::values::ValueError;
use starlark::values::dict::AllocDict;
use starlark::values::structs::AllocStruct;

use super::interpret::dialect;

/// Why a run failed, as far as it decides whether every run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// What the statement does is wrong for every value that it may get.
    Always,
    /// Another text or another state may do.
    Varies,
    /// A function calls itself too deep.
    Depth,
    /// What the function leaves behind is no answer.
    Answer,
    /// The run was ended by a limit.
    Limit,
}

/// The attributes that some value of a script may have.
pub(super) struct Names {
    known: HashSet<String>,
    /// Whether a call has `**`, which may give a struct any attribute.
    has_any: bool,
}

impl Names {
    pub(super) fn of(source: &str) -> Self {
        let mut names = Self { known: HashSet::new(), has_any: false };
        Module::with_temp_heap(|module| {
            let heap = module.heap();
            let examples = [
                heap.alloc(""),
                heap.alloc(Vec::<i32>::new()),
                heap.alloc(AllocDict(std::iter::empty::<(i32, i32)>())),
                heap.alloc(AllocStruct([("role", 0), ("text", 0), ("at", 0)])),
            ];
            for example in examples {
                names.known.extend(example.dir_attr());
            }
        });
        // A set has these beside those of a list.
        names.known.extend(SET_METHODS.map(str::to_owned));
        if let Ok(ast) = AstModule::parse("agent.star", source.to_owned(), &dialect()) {
            names.stmt(ast.statement());
        }
        names
    }

    fn may_have(&self, attribute: &str) -> bool {
        self.has_any || self.known.contains(attribute)
    }

    fn stmt(&mut self, stmt: &AstStmt) {
        let mut is_simple = true;
        stmt.node.visit_stmt(|part| {
            is_simple = false;
            self.stmt(part);
        });
        match &stmt.node {
            StmtP::If(condition, _) | StmtP::IfElse(condition, _) => self.expr(condition),
            StmtP::For(each) => self.expr(&each.over),
            _ if is_simple => stmt.node.visit_expr(|part| self.expr(part)),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &AstExpr) {
        if let ExprP::Call(_, CallArgsP { args }) = &expr.node {
            for argument in args {
                match &argument.node {
                    ArgumentP::Named(name, _) => _ = self.known.insert(name.node.clone()),
                    ArgumentP::KwArgs(_) => self.has_any = true,
                    ArgumentP::Positional(_) | ArgumentP::Args(_) => {}
                }
            }
        }
        expr.node.visit_expr(|part| self.expr(part));
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

/// What an error of the interpreter says of other runs.
pub(super) fn cause(error: &starlark::Error, names: &Names) -> Cause {
    if let Some(what) = value_error(error) {
        return of_value(what, names);
    }
    match error.kind() {
        ErrorKind::StackOverflow(_) => Cause::Depth,
        ErrorKind::Function(_) => Cause::Always,
        ErrorKind::Value(what) => of_parameter(&what.to_string()),
        // Our own functions refuse values that a person may have written, such as a number.
        ErrorKind::Native(_) | ErrorKind::Fail(_) | ErrorKind::Scope(_) => Cause::Varies,
        ErrorKind::Other(what) if is_limit(&what.to_string()) => Cause::Limit,
        ErrorKind::Other(_) | ErrorKind::Parser(_) | ErrorKind::Freeze(_) | ErrorKind::Internal(_) => Cause::Varies,
        // The interpreter may get more kinds. What is not known here refuses nothing.
        _ => Cause::Varies,
    }
}

/// What is wrong with a value. The interpreter tells it by three kinds of errors.
fn value_error(error: &starlark::Error) -> Option<&ValueError> {
    match error.kind() {
        ErrorKind::Value(what) | ErrorKind::Other(what) | ErrorKind::Native(what) => what.downcast_ref(),
        _ => None,
    }
}

/// The errors about values. None stands for what is not there yet, such as a key of the state, so another run may have a
/// value in its place.
fn of_value(error: &ValueError, names: &Names) -> Cause {
    let unless_none = |types: &[&String]| match types.iter().any(|of| of.as_str() == "NoneType") {
        true => Cause::Varies,
        false => Cause::Always,
    };
    match error {
        ValueError::OperationNotSupported { typ, .. } => unless_none(&[typ]),
        ValueError::OperationNotSupportedBinary { left, right, .. } => unless_none(&[left, right]),
        ValueError::CannotMutateImmutableValue
        | ValueError::MutationDuringIteration
        | ValueError::MissingRequired(_) => Cause::Always,
        ValueError::NoAttr(of, attribute) | ValueError::NoAttrDidYouMean(of, attribute, _) => {
            if names.may_have(attribute) { Cause::Varies } else { unless_none(&[of]) }
        }
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
        Some(actual) if !actual.starts_with("NoneType") => Cause::Always,
        _ => Cause::Varies,
    }
}

/// Whether an error is one of the interpreter's limits. A script that fails in the same words loses only its warning.
fn is_limit(message: &str) -> bool {
    ["Evaluation cancelled", "Execution duration limit of ", "Heap memory limit of "]
        .iter()
        .any(|words| message.starts_with(words))
}

/// An error in words for the author.
pub(super) fn words(error: &starlark::Error) -> String {
    if let Some(ValueError::CannotMutateImmutableValue) = value_error(error) {
        return "this changes a value of the top level, or a string or a tuple, which can't be changed; keep what changes in conv.state"
            .to_owned();
    }
    if matches!(error.kind(), ErrorKind::StackOverflow(_)) {
        return "functions call one another too deep".to_owned();
    }
    error.without_diagnostic().to_string()
}
