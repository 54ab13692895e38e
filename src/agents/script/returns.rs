//! Finds returned values in a script that are no answer whenever they are returned, as far as the
//! script spells them out.

use starlark::codemap::Span;
use starlark::syntax::ast::{AstExpr, AstLiteral, AstStmt, ExprP, StmtP};

use super::functions;
use super::interpret::MAY_BE_RETURNED;
use super::module_names::{Function, ModuleNames};
use crate::agents::answer::KEYS;
use crate::domain::suggestion::nearest;

/// The values that are no answer, each with its place.
pub(super) fn faults(names: &ModuleNames) -> Vec<(Span, String)> {
    let mut faults = Vec::new();
    for name in functions::answering() {
        let mut add = |value: &AstExpr| {
            let found = fault(value);
            faults.extend(found.map(|(span, what)| (span, format!("{name} returns {what}; {MAY_BE_RETURNED}"))));
        };
        match names.function(name) {
            Some(Function::Def(def)) => returned(&def.body, &mut add),
            Some(Function::Lambda(lambda)) => each_of(&lambda.body, &mut add),
            None => {}
        }
    }
    faults
}

/// Calls back with each value that a function's own statements return.
fn returned(stmt: &AstStmt, add: &mut impl FnMut(&AstExpr)) {
    match &stmt.node {
        StmtP::Return(Some(value)) => each_of(value, add),
        StmtP::Def(_) => {}
        _ => stmt.node.visit_stmt(|part| returned(part, add)),
    }
}

/// Calls back with each value that an expression may have.
fn each_of(value: &AstExpr, add: &mut impl FnMut(&AstExpr)) {
    match &value.node {
        ExprP::If(parts) => {
            each_of(&parts.1, add);
            each_of(&parts.2, add);
        }
        _ => add(value),
    }
}

/// What is returned instead of an answer.
fn fault(value: &AstExpr) -> Option<(Span, String)> {
    if let ExprP::Dict(pairs) = &value.node {
        return match &pairs[..] {
            [] => Some((value.span, "an empty dict".to_owned())),
            pairs => pairs.iter().find_map(|(key, value)| fault_of_pair(key, value)),
        };
    }
    let what = match kind(value)? {
        "a text" | "None" | "a dict" => return None,
        what => what,
    };
    Some((value.span, what.to_owned()))
}

fn fault_of_pair(key: &AstExpr, value: &AstExpr) -> Option<(Span, String)> {
    let ExprP::Literal(AstLiteral::String(name)) = &key.node else {
        return kind(key).map(|what| (key.span, format!("a dict with {what} as a key")));
    };
    if !KEYS.contains(&&*name.node) {
        let meant = nearest(&name.node, KEYS).map(|meant| format!(" (did you mean \"{meant}\"?)")).unwrap_or_default();
        return Some((key.span, format!("a dict with the key {:?}{meant}", name.node)));
    }
    let given = kind(value)?;
    let fits = match name.node.as_str() {
        "utterance" => given == "a text",
        "messages" => given == "a list",
        _ => given == "a truth value",
    };
    (!fits && given != "None").then(|| (value.span, format!("a dict with {} that is {given}", name.node)))
}

/// What a value is that a script spells out.
pub(super) fn kind(value: &AstExpr) -> Option<&'static str> {
    Some(match &value.node {
        ExprP::Literal(AstLiteral::String(_)) | ExprP::FString(_) => "a text",
        ExprP::Literal(AstLiteral::Int(_) | AstLiteral::Float(_)) => "a number",
        ExprP::Literal(AstLiteral::Bytes(_)) => "bytes",
        ExprP::Tuple(_) => "a tuple",
        ExprP::List(_) | ExprP::ListComprehension(..) => "a list",
        ExprP::Dict(_) | ExprP::DictComprehension(..) => "a dict",
        ExprP::Lambda(_) => "a function",
        ExprP::Not(_) => "a truth value",
        ExprP::Identifier(name) => match name.node.ident.as_str() {
            "True" | "False" => "a truth value",
            "None" => "None",
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::check::check_as_written;

    fn told(source: &str) -> Vec<String> {
        check_as_written(source).into_iter().filter(|fault| fault.fatal).map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn a_value_that_is_no_answer_is_refused() {
        for (returned, what) in [
            ("5", "2:12: reply returns a number; return a text, a dict with"),
            ("0.5", "a number"),
            ("[text]", "a list"),
            ("[x for x in text]", "a list"),
            ("text, text", "a tuple"),
            ("True", "a truth value"),
            ("not text", "a truth value"),
            ("lambda: text", "a function"),
            ("{}", "an empty dict"),
            ("text if text else 5", "2:30: reply returns a number"),
            (
                "{\"uterance\": text}",
                "2:13: reply returns a dict with the key \"uterance\" (did you mean \"utterance\"?)",
            ),
            ("{\"text\": text}", "a dict with the key \"text\"; return"),
            ("{\"utterance\": text, \"state\": {}}", "a dict with the key \"state\""),
            ("{1: text}", "a dict with a number as a key"),
            ("{\"utterance\": 5}", "a dict with utterance that is a number"),
            ("{\"utterance\": [text]}", "a dict with utterance that is a list"),
            ("{\"messages\": \"a\"}", "a dict with messages that is a text"),
            ("{\"hangup\": \"yes\"}", "a dict with hangup that is a text"),
        ] {
            let told = told(&format!("def reply(conv, text):\n    return {returned}"));
            assert!(told.iter().any(|fault| fault.contains(what)), "{returned}: {told:?}");
        }
        assert_eq!(told("def start(conv):\n    if conv.id:\n        return 5\n    return [1]").len(), 2);
        assert_eq!(told("reply = lambda conv, text: 5").len(), 1);
    }

    #[test]
    fn what_may_be_an_answer_is_accepted() {
        for body in [
            "return text",
            "return",
            "return None",
            "return \"a\"",
            "return f\"{text}\"",
            "return text + text",
            "return {\"utterance\": text, \"hangup\": text == \"bye\"}",
            "return {\"utterance\": None, \"hangup\": None}",
            "return {\"messages\": [text], \"hangup\": True}",
            "return {\"hangup\": not text}",
            "return {text: text}",
            "return text or None",
            "return dict(utterance = text)",
            "return {k: text for k in [\"utterance\"]}",
            "f = lambda: 5; return str(f())",
            "return str([text]) if text else None",
        ] {
            assert_eq!(told(&format!("def reply(conv, text):\n    {body}")), Vec::<String>::new(), "{body}");
        }
        for source in [
            "def f(): return 5\ndef reply(conv, text): return str(f())",
            "def reply(conv, text):\n    def f(): return 5\n    return str(f())",
            "def reply(conv, text): return text\ndef end(conv): return 5",
            "def reply(conv, text): return 5\ndef reply(conv, text): return text",
        ] {
            assert_eq!(told(source), Vec::<String>::new(), "{source}");
        }
    }
}
