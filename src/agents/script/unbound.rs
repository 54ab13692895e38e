//! Finds names of a function that have no value where they are first read, such as `COUNT` in
//! `COUNT += 1`: an assignment in a function makes a name of its own, whatever the top level has.

use std::collections::{HashMap, HashSet};

use starlark::codemap::Span;
use starlark::syntax::ast::{AssignTarget, AssignTargetP, AstExpr, AstNoPayload, AstStmt, BinOp, DefP, ExprP, StmtP};

use super::module_names::parameter_name;

/// What fails, each with its place.
pub(super) fn faults(top: &AstStmt) -> Vec<(Span, String)> {
    let mut faults = Vec::new();
    each_stmt(top, &mut |stmt| {
        if let StmtP::Def(def) = &stmt.node {
            of_def(def, &mut faults);
        }
    });
    faults
}

fn each_stmt<'a>(stmt: &'a AstStmt, visit: &mut impl FnMut(&'a AstStmt)) {
    visit(stmt);
    stmt.node.visit_stmt(|part| each_stmt(part, visit));
}

/// The names that a function binds only by reading them first.
fn of_def(def: &DefP<AstNoPayload>, faults: &mut Vec<(Span, String)>) {
    let mut found: HashMap<&str, Span> = HashMap::new();
    let mut otherwise: HashSet<&str> = def.params.iter().filter_map(parameter_name).collect();
    collect(&def.body, &mut found, &mut otherwise);
    for (name, span) in found.into_iter().filter(|(name, _)| !otherwise.contains(name)) {
        let function = &def.name.node.ident;
        faults.push((
            span,
            format!(
                "{name} has no value here: an assignment in {function} makes a name of its own, and no function can change a name of the top level; keep what changes in conv.state"
            ),
        ));
    }
}

fn collect<'a>(stmt: &'a AstStmt, found: &mut HashMap<&'a str, Span>, otherwise: &mut HashSet<&'a str>) {
    let mut bind = |target: &'a AssignTarget| target.visit_lvalue(|name| _ = otherwise.insert(&name.node.ident));
    match &stmt.node {
        StmtP::AssignModify(target, ..) => {
            if let AssignTargetP::Identifier(name) = &target.node {
                found.entry(&name.node.ident).or_insert(target.span);
            }
        }
        StmtP::Assign(assign) => match &assign.lhs.node {
            AssignTargetP::Identifier(name) => match read_in(&assign.rhs, &name.node.ident) {
                Some(span) => _ = found.entry(&name.node.ident).or_insert(span),
                None => _ = otherwise.insert(&name.node.ident),
            },
            target => bind(target),
        },
        StmtP::For(each) => bind(&each.var.node),
        StmtP::Def(def) => {
            otherwise.insert(&def.name.node.ident);
            return;
        }
        _ => {}
    }
    stmt.node.visit_stmt(|part| collect(part, found, otherwise));
}

/// Where an expression surely reads a name.
fn read_in(expr: &AstExpr, name: &str) -> Option<Span> {
    match &expr.node {
        ExprP::Identifier(read) => (read.node.ident == name).then_some(expr.span),
        ExprP::Lambda(_) => None,
        ExprP::If(parts) => read_in(&parts.0, name),
        ExprP::Op(left, BinOp::And | BinOp::Or, _) => read_in(left, name),
        ExprP::ListComprehension(_, first, _) | ExprP::DictComprehension(_, first, _) => read_in(&first.over, name),
        _ => {
            let mut found = None;
            expr.node.visit_expr(|part| {
                if found.is_none() {
                    found = read_in(part, name);
                }
            });
            found
        }
    }
}
