//! Rewrites a script for the interpreter's type checker, so that its findings are certain.
//!
//! The checker knows no types of `conv` and `text`, so they are added. It also believes more than
//! the interpreter holds to: annotations are ignored when a script runs, and what a list or a dict
//! holds may be changed through another name. So annotations are removed, and what containers hold
//! becomes of any type.

use starlark::codemap::{Pos, Span};
use starlark::syntax::ast::{
    ArgumentP, AssignTarget, AssignTargetP, AstExpr, AstLiteral, AstNoPayload, AstParameter, AstStmt, BinOp, CallArgsP,
    ClauseP, DefP, ExprP, ForClause, ParameterP, StmtP,
};

use super::evident::{Evident, Known};
use super::items::{List, Lists};

/// What the names that are added begin with. A script that uses such a name is not checked.
pub(super) const PREFIX: &str = "__textback_";
/// A function that takes and returns a value of any type.
const ANY: &str = "__textback_any";
/// A function that takes what can be iterated, and returns a value of any type.
pub(super) const ITEMS: &str = "__textback_items";
/// A function that takes and returns a string.
pub(super) const TEXT: &str = "__textback_text";
/// A function that takes a number, and returns a value of any type.
pub(super) const NUMBER: &str = "__textback_number";
/// The methods that return what a container holds.
const TAKING: [&str; 7] = ["get", "items", "keys", "pop", "popitem", "setdefault", "values"];

/// A rewritten script.
pub(super) struct Typed {
    pub(super) source: String,
    /// In the order of their places.
    edits: Vec<Edit>,
}

/// Replaces a part of the script, which is empty where something is only added.
struct Edit {
    from: usize,
    until: usize,
    put: String,
}

impl Typed {
    pub(super) fn of(source: &str, top: &AstStmt, evident: &Evident) -> Self {
        let mut writer = Writer { source, evident, lists: Lists::of(top), edits: Vec::new(), top: None };
        writer.stmt(top);
        let mut edits = writer.edits;
        edits.sort_by_key(|edit| edit.from);
        let mut written = String::with_capacity(source.len() * 2);
        let mut at = 0;
        for edit in &edits {
            written.push_str(source.get(at..edit.from).unwrap_or_default());
            written.push_str(&edit.put);
            at = edit.until.max(at);
        }
        written.push_str(source.get(at..).unwrap_or_default());
        Self { source: written, edits }
    }

    /// The part of the script that a part of the rewritten one stands for.
    pub(super) fn original(&self, span: Span) -> Span {
        Span::new(self.original_position(span.begin()), self.original_position(span.end()))
    }

    fn original_position(&self, position: Pos) -> Pos {
        let mut left = position.get() as usize;
        let mut at = 0;
        for edit in &self.edits {
            let kept = edit.from.saturating_sub(at);
            if left < kept {
                break;
            }
            left -= kept;
            at = edit.from;
            if left < edit.put.len() {
                left = 0;
                break;
            }
            left -= edit.put.len();
            at = edit.until.max(at);
        }
        Pos::new(u32::try_from(at + left).unwrap_or(u32::MAX))
    }
}

struct Writer<'a> {
    source: &'a str,
    evident: &'a Evident<'a>,
    lists: Lists<'a>,
    edits: Vec<Edit>,
    /// The function of the top level that is being read.
    top: Option<&'a str>,
}

impl<'a> Writer<'a> {
    fn put(&mut self, at: Pos, what: &str) {
        let at = at.get() as usize;
        self.edits.push(Edit { from: at, until: at, put: what.to_owned() });
    }

    fn remove(&mut self, from: usize, until: usize) {
        self.edits.push(Edit { from, until, put: String::new() });
    }

    /// Passes an expression to a function.
    fn wrap(&mut self, expr: &AstExpr, function: &str) {
        self.put(expr.span.begin(), &format!("{function}("));
        self.put(expr.span.end(), ")");
    }

    fn stmt(&mut self, stmt: &'a AstStmt) {
        match &stmt.node {
            StmtP::Def(def) => self.def(def),
            StmtP::Assign(assign) => {
                if let Some(given) = &assign.ty {
                    self.remove(assign.lhs.span.end().get() as usize, given.span.end().get() as usize);
                }
                self.target(&assign.lhs.node);
                if matches!(assign.lhs.node, AssignTargetP::Tuple(_)) {
                    self.wrap(&assign.rhs, ANY);
                }
                self.expr(&assign.rhs);
            }
            StmtP::AssignModify(target, _, value) => {
                self.target(&target.node);
                self.expr(value);
            }
            StmtP::For(each) => {
                self.target(&each.var.node);
                self.over(&each.over);
                self.stmt(&each.body);
            }
            StmtP::Statements(all) => all.iter().for_each(|one| self.stmt(one)),
            StmtP::If(condition, then) => {
                self.expr(condition);
                self.stmt(then);
            }
            StmtP::IfElse(condition, branches) => {
                self.expr(condition);
                self.stmt(&branches.0);
                self.stmt(&branches.1);
            }
            StmtP::Return(Some(value)) | StmtP::Expression(value) => self.expr(value),
            StmtP::Return(None) | StmtP::Break | StmtP::Continue | StmtP::Pass | StmtP::Load(_) => {}
        }
    }

    fn def(&mut self, def: &'a DefP<AstNoPayload>) {
        let name = def.name.node.ident.as_str();
        let is_top = self.top.is_none();
        if is_top {
            self.top = Some(name);
        }
        for parameter in &def.params {
            self.parameter(parameter, is_top.then_some(name));
        }
        if let Some(returned) = &def.return_type {
            let until = returned.span.end().get() as usize;
            let arrow = self.source.get(..returned.span.begin().get() as usize).and_then(|before| before.rfind("->"));
            if let Some(from) = arrow {
                self.remove(from, until);
            }
        }
        self.stmt(&def.body);
        if is_top {
            self.top = None;
        }
    }

    /// Removes the type of a parameter, and adds the one that is evident.
    fn parameter(&mut self, parameter: &'a AstParameter, function: Option<&str>) {
        let (name, given) = match &parameter.node {
            ParameterP::Normal(name, given, _) => (name, given),
            ParameterP::Args(name, given) | ParameterP::KwArgs(name, given) => (name, given),
            ParameterP::NoArgs | ParameterP::Slash => return,
        };
        if let Some(given) = given {
            self.remove(name.span.end().get() as usize, given.span.end().get() as usize);
        }
        let ParameterP::Normal(_, _, default) = &parameter.node else { return };
        match function.and_then(|function| self.evident.of_parameter(function, &name.node.ident)) {
            Some(Known::Conv) => self.put(name.span.end(), &format!(": {PREFIX}conv")),
            Some(Known::Text) => self.put(name.span.end(), ": str"),
            None => {}
        }
        if let Some(default) = default {
            self.expr(default);
        }
    }

    fn target(&mut self, target: &'a AssignTarget) {
        match target {
            AssignTargetP::Tuple(all) => all.iter().for_each(|one| self.target(&one.node)),
            AssignTargetP::Dot(of, _) => self.expr(of),
            AssignTargetP::Index(parts) => {
                self.expr(&parts.0);
                self.expr(&parts.1);
            }
            AssignTargetP::Identifier(_) => {}
        }
    }

    /// The list of conv whose items an expression has.
    fn list_of(&self, expr: &AstExpr) -> Option<List> {
        self.lists.list_of(expr, &|name| self.top.is_some_and(|function| self.evident.is_conv(function, name)))
    }

    /// What a loop goes over.
    fn over(&mut self, over: &'a AstExpr) {
        if let Some(list) = self.list_of(over) {
            let items = match list {
                List::History => "entries",
                List::Messages => "messages",
                List::Media => "media",
            };
            self.wrap(over, &format!("{PREFIX}{items}"));
        } else if is_reference(over) {
            self.wrap(over, ITEMS);
        }
        self.expr(over);
    }

    fn clauses(&mut self, first: &'a ForClause, rest: &'a [ClauseP<AstNoPayload>]) {
        self.over(&first.over);
        for clause in rest {
            match clause {
                ClauseP::For(each) => self.over(&each.over),
                ClauseP::If(condition) => self.expr(condition),
            }
        }
    }

    fn held(&mut self, expr: &'a AstExpr) {
        self.wrap(expr, ANY);
        self.expr(expr);
    }

    fn expr(&mut self, expr: &'a AstExpr) {
        match &expr.node {
            ExprP::List(items) if items.is_empty() => self.fill(expr, &format!("{ANY}(0)")),
            ExprP::Dict(pairs) if pairs.is_empty() => self.fill(expr, &format!("{ANY}(0): {ANY}(0)")),
            ExprP::List(items) | ExprP::Tuple(items) => items.iter().for_each(|item| self.held(item)),
            ExprP::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                self.held(key);
                self.held(value);
            }),
            ExprP::ListComprehension(body, first, rest) => {
                self.held(body);
                self.clauses(first, rest);
            }
            ExprP::DictComprehension(body, first, rest) => {
                self.held(&body.0);
                self.held(&body.1);
                self.clauses(first, rest);
            }
            // What is written in a string can't be rewritten.
            ExprP::FString(_) => {}
            ExprP::Lambda(lambda) => {
                for parameter in &lambda.params {
                    if let ParameterP::Normal(_, _, Some(default)) = &parameter.node {
                        self.expr(default);
                    }
                }
                self.expr(&lambda.body);
            }
            ExprP::Op(left, op, right) => {
                self.op(expr, left, *op, right);
                self.expr(left);
                self.expr(right);
            }
            _ => {
                if let ExprP::Index(parts) = &expr.node
                    && let Some(list) = self.list_of(&parts.0)
                {
                    let item = match list {
                        List::History => "entry",
                        List::Messages => "message",
                        List::Media => "medium",
                    };
                    self.wrap(expr, &format!("{PREFIX}{item}"));
                } else if takes_out(expr) {
                    self.wrap(expr, ANY);
                }
                expr.node.visit_expr(|part| self.expr(part));
            }
        }
    }

    /// Puts something into an empty list or dict.
    fn fill(&mut self, expr: &AstExpr, what: &str) {
        let (from, until) = (expr.span.begin().get() as usize, expr.span.end().get() as usize);
        self.edits.push(Edit { from: from + 1, until: (from + 1).max(until.saturating_sub(1)), put: what.to_owned() });
    }

    /// Tells the checker what an operator takes beside a literal: it knows that only of some
    /// operators.
    fn op(&mut self, expr: &'a AstExpr, left: &'a AstExpr, op: BinOp, right: &'a AstExpr) {
        let is_sum = op == BinOp::Add;
        let is_order = matches!(op, BinOp::Less | BinOp::LessOrEqual | BinOp::Greater | BinOp::GreaterOrEqual);
        if !is_sum && !is_order {
            return;
        }
        for (literal, other) in [(left, right), (right, left)] {
            if is_text(literal) && !is_text(other) {
                if is_sum {
                    self.wrap(expr, TEXT);
                }
                self.wrap(other, TEXT);
                return;
            }
            if is_number(literal) && !is_number(other) {
                self.wrap(other, NUMBER);
                return;
            }
        }
    }
}

/// Whether an expression names something that may have been changed since it was made.
fn is_reference(expr: &AstExpr) -> bool {
    matches!(expr.node, ExprP::Identifier(_) | ExprP::Dot(..) | ExprP::Index(_))
}

/// Whether an expression takes something out of what may be a container.
fn takes_out(expr: &AstExpr) -> bool {
    match &expr.node {
        ExprP::Index(parts) => is_reference(&parts.0),
        ExprP::Call(called, CallArgsP { args }) => match &called.node {
            ExprP::Dot(of, method) => {
                is_reference(of)
                    && TAKING.contains(&method.node.as_str())
                    && !args.iter().any(|argument| matches!(argument.node, ArgumentP::Args(_) | ArgumentP::KwArgs(_)))
            }
            _ => false,
        },
        _ => false,
    }
}

fn is_text(expr: &AstExpr) -> bool {
    matches!(expr.node, ExprP::Literal(AstLiteral::String(_)) | ExprP::FString(_))
}

fn is_number(expr: &AstExpr) -> bool {
    matches!(expr.node, ExprP::Literal(AstLiteral::Int(_) | AstLiteral::Float(_)))
}
