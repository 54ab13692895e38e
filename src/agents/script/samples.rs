//! The texts with which a script is tried before it is saved.

use starlark::environment::FrozenModule;
use starlark::syntax::AstModule;
use starlark::syntax::ast::{AstExpr, AstLiteral, AstStmt, ExprP, StmtP};
use starlark::values::dict::DictRef;
use starlark::values::list::ListRef;

use super::interpret::dialect;

/// The first sample: what many people begin with.
pub(super) const FIRST: &str = "Hello";
/// What people write, by form: a number, words, a date, an address.
const COMMON: [&str; 12] = [
    FIRST,
    "1",
    "42",
    "yes",
    "no",
    "a b c",
    "2026-01-31",
    "12:30",
    "19.99",
    "+14155550101",
    "ada@example.com",
    "I would like to know when you are open next week, because I could come on Monday, Tuesday or Wednesday after six.",
];
/// The most samples that a script's own strings make, and their longest one in bytes.
const MOST_OWN: usize = 60;
const LONGEST_OWN: usize = 64;

/// The samples for a script: what people write, its own strings, and the keys and items of its top
/// level.
pub(super) fn of(source: &str, module: &FrozenModule) -> Vec<String> {
    let mut own = Vec::new();
    if let Ok(ast) = AstModule::parse("agent.star", source.to_owned(), &dialect()) {
        strings_of(ast.statement(), &mut own);
    }
    for name in module.names() {
        let Ok((value, _)) = module.get_any_visibility(name.as_str()) else { continue };
        let value = value.value();
        if let Some(dict) = DictRef::from_value(value) {
            own.extend(dict.keys().filter_map(|key| key.unpack_str()).take(MOST_OWN).map(str::to_owned));
        } else if let Some(list) = ListRef::from_value(value) {
            own.extend(list.iter().filter_map(|item| item.unpack_str()).take(MOST_OWN).map(str::to_owned));
        }
    }
    let mut samples: Vec<String> = COMMON.map(str::to_owned).to_vec();
    for text in own {
        if samples.len() < COMMON.len() + MOST_OWN
            && text.len() <= LONGEST_OWN
            && !text.trim().is_empty()
            && !samples.contains(&text)
        {
            samples.push(text);
        }
    }
    samples
}

fn strings_of(stmt: &AstStmt, into: &mut Vec<String>) {
    let mut is_simple = true;
    stmt.node.visit_stmt(|part| {
        is_simple = false;
        strings_of(part, into);
    });
    match &stmt.node {
        StmtP::If(condition, _) | StmtP::IfElse(condition, _) => strings_in(condition, into),
        StmtP::For(each) => strings_in(&each.over, into),
        _ if is_simple => stmt.node.visit_expr(|part| strings_in(part, into)),
        _ => {}
    }
}

fn strings_in(expr: &AstExpr, into: &mut Vec<String>) {
    if let ExprP::Literal(AstLiteral::String(text)) = &expr.node {
        into.push(text.node.clone());
    }
    expr.node.visit_expr(|part| strings_in(part, into));
}
