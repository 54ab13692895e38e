//! Finds the parts of a script that never run: behind a condition that the script itself decides,
//! such as `if DEBUG:` with `DEBUG = False` at the top level, and behind a `return` of the same
//! block.

use std::collections::HashMap;

use starlark::codemap::Span;
use starlark::syntax::ast::{AssignTargetP, AstExpr, AstLiteral, AstStmt, BinOp, ExprP, StmtP};

use super::module_names::ModuleNames;

/// A value that a script spells out.
#[derive(Debug, Clone, PartialEq)]
enum Constant {
    None,
    Bool(bool),
    Number(String),
    Text(String),
}

impl Constant {
    fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(truth) => *truth,
            Self::Number(number) => number != "0" && number != "0.0",
            Self::Text(text) => !text.is_empty(),
        }
    }
}

/// The places of what never runs.
pub(super) fn spans(names: &ModuleNames, top: &AstStmt) -> Vec<Span> {
    let mut search = Search { names, constants: HashMap::new(), found: Vec::new() };
    search.constants_of(top);
    search.stmt(top);
    search.found
}

struct Search<'a, 's> {
    names: &'s ModuleNames<'a>,
    /// The names of the top level that are bound once, to a constant.
    constants: HashMap<&'a str, Constant>,
    found: Vec<Span>,
}

impl<'a> Search<'a, '_> {
    fn constants_of(&mut self, top: &'a AstStmt) {
        match &top.node {
            StmtP::Statements(all) => all.iter().for_each(|one| self.constants_of(one)),
            StmtP::Assign(assign) => {
                if let AssignTargetP::Identifier(name) = &assign.lhs.node
                    && self.names.is_bound_once(&name.node.ident)
                    && let Some(value) = self.constant(&assign.rhs)
                {
                    self.constants.insert(&name.node.ident, value);
                }
            }
            _ => {}
        }
    }

    fn constant(&self, expr: &AstExpr) -> Option<Constant> {
        Some(match &expr.node {
            ExprP::Literal(AstLiteral::String(text)) => Constant::Text(text.node.clone()),
            ExprP::Literal(AstLiteral::Int(number)) => Constant::Number(number.node.to_string()),
            ExprP::Literal(AstLiteral::Float(number)) => Constant::Number(number.node.to_string()),
            ExprP::Identifier(name) => match name.node.ident.as_str() {
                "None" => Constant::None,
                "True" => Constant::Bool(true),
                "False" => Constant::Bool(false),
                name => self.constants.get(name)?.clone(),
            },
            ExprP::Not(of) => Constant::Bool(!self.constant(of)?.is_true()),
            ExprP::Op(left, op, right) => return self.of_op(left, *op, right),
            _ => return None,
        })
    }

    fn of_op(&self, left: &AstExpr, op: BinOp, right: &AstExpr) -> Option<Constant> {
        let (left, right) = (self.constant(left), self.constant(right));
        match (op, left, right) {
            (BinOp::And, Some(left), _) if !left.is_true() => Some(left),
            (BinOp::Or, Some(left), _) if left.is_true() => Some(left),
            (BinOp::And | BinOp::Or, Some(_), right) => right,
            (BinOp::Equal, Some(left), Some(right)) => Some(Constant::Bool(left == right)),
            (BinOp::NotEqual, Some(left), Some(right)) => Some(Constant::Bool(left != right)),
            _ => None,
        }
    }

    fn is_true(&self, expr: &AstExpr) -> Option<bool> {
        self.constant(expr).map(|value| value.is_true())
    }

    fn stmt(&mut self, stmt: &'a AstStmt) {
        match &stmt.node {
            StmtP::Statements(all) => {
                let last = all.iter().position(|one| matches!(one.node, StmtP::Return(_)));
                let behind = last.map(|last| last + 1).unwrap_or(all.len());
                self.found.extend(all.iter().skip(behind).map(|one| one.span));
            }
            StmtP::If(condition, then) => {
                if self.is_true(condition) == Some(false) {
                    self.found.push(then.span);
                }
                self.expr(condition);
            }
            StmtP::IfElse(condition, branches) => {
                match self.is_true(condition) {
                    Some(true) => self.found.push(branches.1.span),
                    Some(false) => self.found.push(branches.0.span),
                    None => {}
                }
                self.expr(condition);
            }
            StmtP::For(each) => self.expr(&each.over),
            StmtP::Def(_) => {}
            _ => stmt.node.visit_expr(|part| self.expr(part)),
        }
        stmt.node.visit_stmt(|part| self.stmt(part));
    }

    fn expr(&mut self, expr: &'a AstExpr) {
        match &expr.node {
            ExprP::If(parts) => match self.is_true(&parts.0) {
                Some(true) => self.found.push(parts.2.span),
                Some(false) => self.found.push(parts.1.span),
                None => {}
            },
            ExprP::Op(left, BinOp::And, right) if self.is_true(left) == Some(false) => self.found.push(right.span),
            ExprP::Op(left, BinOp::Or, right) if self.is_true(left) == Some(true) => self.found.push(right.span),
            _ => {}
        }
        expr.node.visit_expr(|part| self.expr(part));
    }
}
