//! Follows values through statements.

use std::collections::HashMap;

use starlark::codemap::Span;
use starlark::syntax::ast::{AssignOp, AssignTargetP, AstAssignTarget, AstExpr, AstStmt, BinOp, StmtP};

use super::trial::{Errors, Outcome};
use super::values::{Kind, Possible, Value};
use super::{Flow, Frame};
use crate::agents::script::conv;
use crate::agents::script::interpret::read_returned;
use crate::agents::script::json::to_json;
use crate::agents::script::module_names::{Function, bound_in};
use crate::agents::{AgentError, Answer};

impl<'a> Flow<'a> {
    /// Reads a statement. Returns whether the next one may run.
    pub(super) fn stmt(&mut self, frame: &mut Frame<'a>, stmt: &'a AstStmt) -> bool {
        match &stmt.node {
            StmtP::Statements(all) => all.iter().all(|one| self.stmt(frame, one)),
            StmtP::Return(value) => {
                let returned = value.as_ref().map_or(Value::None.into(), |value| {
                    let returned = self.expr(frame, value);
                    self.tell_answer(frame, value, &returned);
                    returned
                });
                frame.returns.push(returned);
                false
            }
            StmtP::Expression(value) => !self.expr(frame, value).is_never(),
            StmtP::Assign(assign) => {
                let value = self.expr(frame, &assign.rhs);
                if value.is_never() {
                    return false;
                }
                self.assign(frame, &assign.lhs, (&assign.rhs, value));
                true
            }
            StmtP::AssignModify(target, op, value) => self.modify(frame, target, *op, (stmt.span, value)),
            StmtP::If(condition, then) => self.branch(frame, condition, [Some(then), None]),
            StmtP::IfElse(condition, branches) => self.branch(frame, condition, [Some(&branches.0), Some(&branches.1)]),
            StmtP::For(each) => {
                let over = self.over(frame, &each.over);
                if over.is_never() {
                    return false;
                }
                self.in_loop(frame, stmt, (&each.var, items_of(&over)), &each.body);
                true
            }
            StmtP::Def(def) => {
                self.read_nested(frame, Function::Def(def));
                frame.locals.insert(&def.name.node.ident, Possible::of(Kind::Function));
                true
            }
            StmtP::Break | StmtP::Continue => false,
            StmtP::Pass | StmtP::Load(_) => true,
        }
    }

    fn branch(&mut self, frame: &mut Frame<'a>, condition: &'a AstExpr, branches: [Option<&'a AstStmt>; 2]) -> bool {
        let decides = self.expr(frame, condition);
        if decides.is_never() {
            return false;
        }
        let [then, otherwise] = branches;
        let run = |flow: &mut Self, frame: &mut Frame<'a>, branch: Option<&'a AstStmt>| {
            branch.is_none_or(|branch| flow.stmt(frame, branch))
        };
        match decides.truth() {
            Some(true) => run(self, frame, then),
            Some(false) => run(self, frame, otherwise),
            None => {
                let before = frame.locals.clone();
                let goes_on = run(self, frame, then);
                let after = std::mem::replace(&mut frame.locals, before);
                let otherwise_goes_on = run(self, frame, otherwise);
                match (goes_on, otherwise_goes_on) {
                    (true, true) => join(&mut frame.locals, after),
                    (true, false) => frame.locals = after,
                    (false, _) => {}
                }
                goes_on || otherwise_goes_on
            }
        }
    }

    /// Reads the body of a loop. What it sets may be anything in the next round.
    fn in_loop(
        &mut self,
        frame: &mut Frame<'a>,
        whole: &'a AstStmt,
        (target, item): (&'a AstAssignTarget, Possible),
        body: &'a AstStmt,
    ) {
        for name in bound_in(whole) {
            frame.locals.insert(name, Possible::Anything);
        }
        let before = frame.locals.clone();
        self.unpack(frame, target, (target.span, item));
        self.stmt(frame, body);
        frame.locals = before;
    }

    /// Reads what a loop goes over.
    pub(super) fn over(&mut self, frame: &mut Frame<'a>, over: &'a AstExpr) -> Possible {
        let value = self.expr(frame, over);
        self.apply("return [0 for _ in a0]", &[&value], (over.span, Errors::OfTypes));
        value
    }

    fn assign(&mut self, frame: &mut Frame<'a>, target: &'a AstAssignTarget, (from, value): (&'a AstExpr, Possible)) {
        match &target.node {
            AssignTargetP::Dot(of, name) => {
                let of = self.expr(frame, of);
                match of.only_kind() {
                    Some(Kind::State) => self.tell_state(&name.node, from.span, &value),
                    Some(Kind::Conv) if conv::not_settable(&name.node).is_none() => {}
                    _ if of == Possible::Anything => {}
                    _ => {
                        _ = self.apply(
                            &format!("a0.{} = a1", name.node),
                            &[&of, &value],
                            (target.span, Errors::OfTypes),
                        )
                    }
                }
            }
            AssignTargetP::Index(parts) => {
                let (of, key) = (self.expr(frame, &parts.0), self.expr(frame, &parts.1));
                if of.only_kind() == Some(Kind::State)
                    && let [Value::Text(key)] = key.alternatives()
                {
                    self.tell_state(key, from.span, &value);
                }
                // Whether there is such an item may have changed.
                let of = of.general();
                self.apply("a0[a1] = a2", &[&of, &key, &value.general()], (target.span, Errors::OfTypes));
            }
            AssignTargetP::Tuple(_) | AssignTargetP::Identifier(_) => self.unpack(frame, target, (from.span, value)),
        }
    }

    /// Gives a value to the names of a target, and tells it if there are more or fewer of them.
    pub(super) fn unpack(
        &mut self,
        frame: &mut Frame<'a>,
        target: &'a AstAssignTarget,
        (span, value): (Span, Possible),
    ) {
        if let AssignTargetP::Tuple(names) = &target.node {
            let written: Vec<String> = (0..names.len()).map(|at| format!("x{at}")).collect();
            let is_known = |value: &Value| matches!(value, Value::Tuple(_) | Value::List(_));
            let is_counted = !value.alternatives().is_empty() && value.alternatives().iter().all(is_known);
            let errors = if is_counted { Errors::All } else { Errors::OfTypes };
            self.apply(&format!("[{}] = a0", written.join(", ")), &[&value], (span, errors));
        }
        self.bind(frame, target, value);
    }

    /// Gives a value to the names of a target.
    pub(super) fn bind(&mut self, frame: &mut Frame<'a>, target: &'a AstAssignTarget, value: Possible) {
        match &target.node {
            AssignTargetP::Identifier(name) => {
                let name = name.node.ident.as_str();
                let kept = if frame.changing.contains(name) { value.forgotten() } else { value.with_own_items() };
                frame.locals.insert(name, kept);
            }
            AssignTargetP::Tuple(names) => {
                let items = match value.alternatives() {
                    [Value::Tuple(items) | Value::List(items)] if items.len() == names.len() => items.clone(),
                    _ => vec![Possible::Anything; names.len()],
                };
                for (name, item) in names.iter().zip(items) {
                    self.bind(frame, name, item);
                }
            }
            AssignTargetP::Dot(..) | AssignTargetP::Index(_) => {}
        }
    }

    /// Reads an assignment such as `x += 1`. Returns whether the next statement may run.
    fn modify(
        &mut self,
        frame: &mut Frame<'a>,
        target: &'a AstAssignTarget,
        op: AssignOp,
        (span, value): (Span, &'a AstExpr),
    ) -> bool {
        let before = match &target.node {
            AssignTargetP::Identifier(name) => self.name(frame, &name.node.ident, target.span),
            AssignTargetP::Dot(of, _) => {
                self.expr(frame, of);
                Possible::Anything
            }
            AssignTargetP::Index(parts) => {
                self.expr(frame, &parts.0);
                self.expr(frame, &parts.1);
                Possible::Anything
            }
            AssignTargetP::Tuple(_) => Possible::Anything,
        };
        let value = self.expr(frame, value);
        let result = self.op((&before, binary(op), &value), span);
        self.bind(frame, target, result.clone().forgotten());
        !result.is_never()
    }

    /// Tells a returned value that is no answer.
    pub(super) fn tell_answer(&mut self, frame: &Frame<'a>, from: &AstExpr, value: &Possible) {
        let Some(name) = frame.name.filter(|_| self.is_last) else { return };
        if !self.summaries.get(name).is_some_and(|summary| summary.answers) || has_unknown_key(value) {
            return;
        }
        let refused =
            self.trial.refused_by(value, |returned| match read_returned(name, returned, &mut Answer::default()) {
                Err(AgentError::Failed(what)) => Err(what),
                _ => Ok(()),
            });
        if let Some(what) = refused {
            let hint =
                if value.only_kind() == Some(Kind::Function) { " (a function is called with parentheses)" } else { "" };
            self.tell(from.span, format!("{}{hint}", what.replacen(" returned ", " returns ", 1)));
        }
    }

    /// Tells a value that `conv.state` can't keep.
    fn tell_state(&mut self, key: &str, span: Span, value: &Possible) {
        if self.is_last
            && self.keys.is_set_once(key)
            && let Some(what) = self.trial.refused_by(value, |value| to_json(value).map(|_| ()))
        {
            self.tell(span, format!("conv.state.{key} can't be stored: {what}"));
        }
    }

    /// Tries an operation, and tells it if it fails.
    pub(super) fn apply(
        &mut self,
        statement: &str,
        operands: &[&Possible],
        (span, errors): (Span, Errors),
    ) -> Possible {
        match self.trial.of(statement, operands, errors) {
            Outcome::Gives(value) => value,
            Outcome::Fails(what) => {
                self.tell(span, what);
                Possible::Anything
            }
        }
    }
}

/// What the items are that a loop gets.
pub(super) fn items_of(over: &Possible) -> Possible {
    if *over == Possible::Anything {
        return Possible::Anything;
    }
    let items = over.alternatives().iter().map(|one| match one {
        Value::List(items) | Value::Tuple(items) => Possible::any_of(items.iter().cloned()).forgotten(),
        Value::Dict(pairs) => Possible::any_of(pairs.iter().map(|(key, _)| key.clone())),
        Value::Of(Kind::Range) => Possible::of(Kind::Int),
        Value::Of(Kind::History) => Possible::of(Kind::Entry),
        Value::Of(Kind::Messages) => Possible::of(Kind::Text),
        Value::Of(Kind::Media) => Possible::of(Kind::Medium),
        _ => Possible::Anything,
    });
    Possible::any_of(items)
}

/// Whether a value may be a dict with a key that is not known, which may be a right one.
fn has_unknown_key(value: &Possible) -> bool {
    let is_unknown =
        |value: &Value| matches!(value, Value::Dict(pairs) if pairs.iter().any(|(key, _)| !key.is_exact()));
    *value == Possible::Anything || value.alternatives().iter().any(is_unknown)
}

/// What the names may be after either of two branches.
fn join<'a>(into: &mut HashMap<&'a str, Possible>, other: HashMap<&'a str, Possible>) {
    for (name, value) in other {
        let joined = match into.remove(name) {
            Some(known) => known.or(value),
            None => value,
        };
        into.insert(name, joined);
    }
}

const fn binary(op: AssignOp) -> BinOp {
    match op {
        AssignOp::Add => BinOp::Add,
        AssignOp::Subtract => BinOp::Subtract,
        AssignOp::Multiply => BinOp::Multiply,
        AssignOp::Divide => BinOp::Divide,
        AssignOp::FloorDivide => BinOp::FloorDivide,
        AssignOp::Percent => BinOp::Percent,
        AssignOp::BitAnd => BinOp::BitAnd,
        AssignOp::BitOr => BinOp::BitOr,
        AssignOp::BitXor => BinOp::BitXor,
        AssignOp::LeftShift => BinOp::LeftShift,
        AssignOp::RightShift => BinOp::RightShift,
    }
}
