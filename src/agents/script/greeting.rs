//! Finds a greeting in `conv.state.greet_message` that is no text, as far as `start` spells it out.

use starlark::codemap::Span;
use starlark::syntax::ast::{
    AssignTarget, AssignTargetP, AstExpr, AstLiteral, AstNoPayload, AstStmt, DefP, ExprP, StmtP,
};

use super::functions;
use super::module_names::{Function, ModuleNames, bound_in, positional_names};
use super::returns::kind;

/// The key of the state that greets.
const KEY: &str = "greet_message";

/// The values that can't greet, each with its place. A `start` that returns or says something
/// greets with that instead, and a state that is set twice may end with a text: both are left.
pub(super) fn faults(names: &ModuleNames, top: &AstStmt) -> Vec<(Span, String)> {
    let mut set_anywhere = 0;
    each_assignment(top, &mut |target, _| set_anywhere += usize::from(is_greeting(target, None)));
    if set_anywhere != 1 {
        return Vec::new();
    }
    let starts = functions::greeting().filter_map(|name| match names.function(name)? {
        Function::Def(def) => Some(def),
        Function::Lambda(_) => None,
    });
    starts.filter(|def| !greets_otherwise(&def.body)).filter_map(fault).collect()
}

fn fault(start: &DefP<AstNoPayload>) -> Option<(Span, String)> {
    let conv = positional_names(&start.params).next()?;
    if bound_in(&start.body).contains(conv) {
        return None;
    }
    let mut found = None;
    each_assignment(&start.body, &mut |target, value| {
        if is_greeting(target, Some(conv))
            && let Some(what) = kind(value).filter(|what| !matches!(*what, "a text" | "None"))
        {
            found = Some((value.span, format!("conv.state.{KEY} is set to {what}; it must be a text or None")));
        }
    });
    found
}

/// Calls back with each plain assignment of a statement.
fn each_assignment(stmt: &AstStmt, found: &mut impl FnMut(&AssignTarget, &AstExpr)) {
    if let StmtP::Assign(assign) = &stmt.node {
        found(&assign.lhs.node, &assign.rhs);
    }
    stmt.node.visit_stmt(|part| each_assignment(part, found));
}

/// Whether an assignment sets the key of the state of `conv`, or of whatever value.
fn is_greeting(target: &AssignTarget, conv: Option<&str>) -> bool {
    let of = match target {
        AssignTargetP::Dot(of, name) if name.node == KEY => of,
        AssignTargetP::Index(parts) if is_text(&parts.1, KEY) => &parts.0,
        _ => return false,
    };
    let Some(conv) = conv else { return true };
    match &of.node {
        ExprP::Dot(of, name) => {
            name.node == "state" && matches!(&of.node, ExprP::Identifier(name) if name.node.ident == conv)
        }
        _ => false,
    }
}

fn is_text(value: &AstExpr, text: &str) -> bool {
    matches!(&value.node, ExprP::Literal(AstLiteral::String(literal)) if literal.node == text)
}

/// Whether a function returns a value, or calls a method `say`.
fn greets_otherwise(body: &AstStmt) -> bool {
    let mut says = false;
    body.visit_expr(|expr| says |= calls_say(expr));
    says || returns_a_value(body)
}

fn returns_a_value(stmt: &AstStmt) -> bool {
    let mut returns = matches!(&stmt.node, StmtP::Return(Some(_)));
    stmt.node.visit_stmt(|part| returns |= returns_a_value(part));
    returns
}

fn calls_say(expr: &AstExpr) -> bool {
    let mut calls = matches!(&expr.node, ExprP::Dot(_, name) if name.node == "say");
    expr.node.visit_expr(|part| calls |= calls_say(part));
    calls
}

#[cfg(test)]
mod tests {
    use super::super::check::check_as_written;

    fn told(start: &str) -> Vec<String> {
        let source = format!("{start}\ndef reply(conv, text): return text");
        check_as_written(&source).into_iter().filter(|fault| fault.fatal).map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn a_greeting_that_is_no_text_is_refused() {
        for (start, what) in [
            ("def start(conv): conv.state.greet_message = 7", "1:45: conv.state.greet_message is set to a number"),
            ("def start(conv): conv.state.greet_message = 0.5", "a number"),
            (
                "def start(conv): conv.state[\"greet_message\"] = [\"hi\"]",
                "is set to a list; it must be a text or None",
            ),
            (
                "def start(c):\n    if c.id:\n        c.state.greet_message = {\"text\": \"hi\"}",
                "3:33: conv.state.greet_message is set to a dict",
            ),
            ("def start_function(conv): conv.state.greet_message = (\"hi\", \"ho\")", "a tuple"),
            ("def start(conv): conv.state.greet_message = True", "a truth value"),
            ("def start(conv):\n    conv.state.greet_message = not conv.id\n    return", "a truth value"),
        ] {
            let told = told(start);
            assert!(told.len() == 1 && told.iter().any(|fault| fault.contains(what)), "{start}: {told:?}");
        }
    }

    #[test]
    fn a_greeting_that_may_be_a_text_is_accepted() {
        for start in [
            "def start(conv): conv.state.greet_message = \"hi\"",
            "def start(conv): conv.state.greet_message = None",
            "def start(conv): conv.state.greet_message = f\"hi {conv.id}\"",
            "def start(conv): conv.state.greet_message = \", \".join([\"hi\"])",
            "def start(conv):\n    conv.state.greet_message = 7\n    return \"hi\"",
            "def start(conv):\n    conv.state.greet_message = 7\n    conv.say(\"hi\")",
            "def start(conv):\n    conv.state.greet_message = []\n    conv.state.greet_message = \"hi\"",
            "def start(conv):\n    conv.state.other = 7",
            "def start(conv):\n    x = {}\n    x[\"greet_message\"] = 7",
            "def start(conv):\n    conv = struct(state = {})\n    conv.state[\"greet_message\"] = 7",
        ] {
            assert_eq!(told(start), Vec::<String>::new(), "{start}");
        }
    }
}
