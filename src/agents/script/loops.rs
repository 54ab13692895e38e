//! Finds loops that a script spells out and that have more rounds than a run may use.

use starlark::codemap::Span;
use starlark::syntax::ast::{ArgumentP, AstExpr, AstLiteral, AstStmt, CallArgsP, ClauseP, ExprP, StmtP};

use super::interpret::MOST_TICKS;
use super::module_names::ModuleNames;

/// The loops that exceed the limit whenever they run, each with its place.
pub(super) fn faults(top: &AstStmt, names: &ModuleNames) -> Vec<(Span, String)> {
    if names.is_own("range") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    in_stmt(top, &mut faults);
    faults
}

fn in_stmt(stmt: &AstStmt, faults: &mut Vec<(Span, String)>) {
    let mut is_simple = true;
    stmt.node.visit_stmt(|part| {
        is_simple = false;
        in_stmt(part, faults);
    });
    match &stmt.node {
        StmtP::For(each) => {
            if !may_end(&each.body) {
                faults.extend(too_long(&each.over));
            }
            in_expr(&each.over, faults);
        }
        StmtP::If(condition, _) | StmtP::IfElse(condition, _) => in_expr(condition, faults),
        _ if is_simple => stmt.node.visit_expr(|part| in_expr(part, faults)),
        _ => {}
    }
}

fn in_expr(expr: &AstExpr, faults: &mut Vec<(Span, String)>) {
    if let ExprP::ListComprehension(_, first, rest) | ExprP::DictComprehension(_, first, rest) = &expr.node {
        // A later clause may have nothing to go over.
        if rest.iter().all(|clause| matches!(clause, ClauseP::If(_))) {
            faults.extend(too_long(&first.over));
        }
    }
    expr.node.visit_expr(|part| in_expr(part, faults));
}

/// Whether a loop may end before its last round.
fn may_end(body: &AstStmt) -> bool {
    match &body.node {
        StmtP::Break | StmtP::Return(_) => true,
        StmtP::Def(_) => false,
        _ => {
            let mut found = false;
            body.node.visit_stmt(|part| found = found || may_end(part));
            found
        }
    }
}

/// Why a loop over a range can't come to its end.
fn too_long(over: &AstExpr) -> Option<(Span, String)> {
    let ExprP::Call(called, CallArgsP { args }) = &over.node else { return None };
    if !matches!(&called.node, ExprP::Identifier(name) if name.node.ident == "range") {
        return None;
    }
    let numbers: Option<Vec<i64>> = args
        .iter()
        .map(|argument| match &argument.node {
            ArgumentP::Positional(value) => number(value),
            ArgumentP::Named(..) | ArgumentP::Args(_) | ArgumentP::KwArgs(_) => None,
        })
        .collect();
    let rounds = match numbers?[..] {
        [until] => until,
        [from, until] => until.saturating_sub(from),
        [from, until, step] if step != 0 => until.saturating_sub(from).checked_div(step)?,
        _ => return None,
    };
    let is_too_long = u64::try_from(rounds).is_ok_and(|rounds| rounds > MOST_TICKS);
    is_too_long.then(|| (over.span, format!("a run has at most {MOST_TICKS} rounds of loops, and this has {rounds}")))
}

fn number(expr: &AstExpr) -> Option<i64> {
    match &expr.node {
        ExprP::Literal(AstLiteral::Int(number)) => number.node.to_string().parse().ok(),
        ExprP::Minus(of) => number(of).map(i64::wrapping_neg),
        _ => None,
    }
}
