//! What is read of a script before its values are followed: how often a function is called, which
//! names may change what they hold, and which keys of `conv.state` are set.

use std::collections::{HashMap, HashSet};

use starlark::syntax::ast::{
    ArgumentP, AssignTargetP, AstArgument, AstExpr, AstLiteral, AstStmt, BinOp, CallArgsP, ExprP, StmtP,
};

use crate::agents::script::certain::CHANGING;
use crate::agents::script::module_names::Function;

/// The functions of the language that keep nothing of their arguments.
const READING: [&str; 13] =
    ["all", "any", "bool", "dict", "enumerate", "int", "len", "list", "range", "repr", "sorted", "str", "type"];
/// The methods that keep nothing of their arguments.
const READING_METHODS: [&str; 11] =
    ["count", "encode", "endswith", "find", "format", "index", "join", "replace", "say", "split", "startswith"];

/// Calls back with each expression of a statement, also with those inside others, and with each
/// statement in it.
fn walk<'a>(stmt: &'a AstStmt, visit: &mut impl FnMut(Part<'a>)) {
    visit(Part::Stmt(stmt));
    let mut is_simple = true;
    stmt.node.visit_stmt(|part| {
        is_simple = false;
        walk(part, visit);
    });
    let mut in_expr = |expr: &'a AstExpr| walk_expr(expr, &mut |one| visit(Part::Expr(one)));
    match &stmt.node {
        StmtP::If(condition, _) | StmtP::IfElse(condition, _) => in_expr(condition),
        StmtP::For(each) => in_expr(&each.over),
        StmtP::Def(def) => def.params.iter().for_each(|one| one.node.visit_expr(&mut in_expr)),
        _ if is_simple => stmt.node.visit_expr(in_expr),
        _ => {}
    }
}

fn walk_expr<'a>(expr: &'a AstExpr, visit: &mut impl FnMut(&'a AstExpr)) {
    visit(expr);
    expr.node.visit_expr(|part| walk_expr(part, visit));
}

enum Part<'a> {
    Stmt(&'a AstStmt),
    Expr(&'a AstExpr),
}

/// How often the functions of a script are called in functions of the script.
pub(super) struct Calls<'a>(HashMap<&'a str, usize>);

impl<'a> Calls<'a> {
    pub(super) fn of(functions: &[(&'a str, Function<'a>)]) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut note = |expr: &'a AstExpr| {
            if let ExprP::Call(called, _) = &expr.node
                && let ExprP::Identifier(name) = &called.node
            {
                *counts.entry(&name.node.ident).or_default() += 1;
            }
        };
        for (_, function) in functions {
            match function {
                Function::Def(def) => walk(&def.body, &mut |part| {
                    if let Part::Expr(expr) = part {
                        note(expr);
                    }
                }),
                Function::Lambda(lambda) => walk_expr(&lambda.body, &mut note),
            }
        }
        Self(counts)
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or_default()
    }
}

/// The attributes of an entry of `conv.history`.
pub(super) const OF_ENTRY: [&str; 3] = ["role", "text", "at"];
/// The keys of an item of `conv.media`.
pub(super) const OF_MEDIUM: [&str; 4] = ["id", "content_type", "url", "bytes"];

/// The keys that a script sets, of `conv.state` and of dicts.
#[derive(Default)]
pub(super) struct StateKeys<'a> {
    /// How often each attribute or key is set, of whatever value.
    set: HashMap<&'a str, usize>,
    /// The keys that are removed.
    removed: HashSet<&'a str>,
    /// Whether a key is set or removed that is not spelled out.
    is_open: bool,
    /// The keys that the script looks for.
    looked_for: HashSet<&'a str>,
    /// Whether a dict gets keys that are not spelled out.
    fills: bool,
}

impl<'a> StateKeys<'a> {
    pub(super) fn of(top: &'a AstStmt) -> Self {
        let mut keys = Self::default();
        walk(top, &mut |part| match part {
            Part::Stmt(stmt) => match &stmt.node {
                StmtP::Assign(assign) => keys.target(&assign.lhs.node),
                StmtP::AssignModify(target, ..) => keys.target(&target.node),
                StmtP::For(each) => keys.target(&each.var.node),
                _ => {}
            },
            Part::Expr(expr) => keys.call(expr),
        });
        keys
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.set.contains_key(key)
    }

    /// Whether a key keeps what is set to it.
    pub(super) fn is_set_once(&self, key: &str) -> bool {
        self.set.get(key) == Some(&1) && !self.removed.contains(key) && !self.is_open
    }

    /// Whether a dict that is not the script's may get a key by it.
    pub(super) fn may_have(&self, key: &str) -> bool {
        self.is_set(key) || self.looked_for.contains(key) || self.fills
    }

    fn target(&mut self, target: &'a AssignTargetP<starlark::syntax::ast::AstNoPayload>) {
        match target {
            AssignTargetP::Tuple(all) => all.iter().for_each(|one| self.target(&one.node)),
            AssignTargetP::Dot(_, name) => *self.set.entry(&name.node).or_default() += 1,
            AssignTargetP::Index(parts) => match literal(&parts.1) {
                Some(key) => *self.set.entry(key).or_default() += 1,
                None => {
                    self.is_open |= is_state(&parts.0);
                    self.fills = true;
                }
            },
            AssignTargetP::Identifier(_) => {}
        }
    }

    fn call(&mut self, expr: &'a AstExpr) {
        if let ExprP::Op(left, BinOp::In | BinOp::NotIn, _) = &expr.node {
            self.looked_for.extend(literal(left));
        }
        let ExprP::Call(called, CallArgsP { args }) = &expr.node else { return };
        self.fills |= matches!(&called.node, ExprP::Dot(_, method) if matches!(&*method.node, "setdefault" | "update"));
        if matches!(&called.node, ExprP::Dot(_, method) if method.node == "pop") {
            match args.first().and_then(|argument| literal(argument.node.expr())) {
                Some(key) => _ = self.removed.insert(key),
                None => self.is_open = true,
            }
        }
    }
}

fn literal(expr: &AstExpr) -> Option<&str> {
    match &expr.node {
        ExprP::Literal(AstLiteral::String(text)) => Some(&text.node),
        _ => None,
    }
}

/// Whether an expression may be `conv.state`, also by a name of its own.
fn is_state(expr: &AstExpr) -> bool {
    match &expr.node {
        ExprP::Dot(_, name) => name.node == "state",
        ExprP::Identifier(_) => true,
        _ => false,
    }
}

/// The names of a function, and the attributes of whatever value, whose lists and dicts may be
/// changed: by a method, or because another name or a function gets them.
pub(super) fn changing(body: &AstStmt) -> HashSet<&str> {
    let mut names = HashSet::new();
    in_stmt(body, &mut names);
    names
}

/// The same of the body of a lambda.
pub(super) fn changing_in(body: &AstExpr) -> HashSet<&str> {
    let mut names = HashSet::new();
    keep(body, &mut names);
    names
}

fn in_stmt<'a>(stmt: &'a AstStmt, names: &mut HashSet<&'a str>) {
    match &stmt.node {
        StmtP::Assign(assign) => {
            if let AssignTargetP::Index(parts) = &assign.lhs.node {
                keep(&parts.0, names);
                read(&parts.1, names);
            }
            keep(&assign.rhs, names);
        }
        StmtP::AssignModify(target, _, value) => {
            target.node.visit_lvalue(|name| _ = names.insert(&name.node.ident));
            if let AssignTargetP::Index(parts) = &target.node {
                keep(&parts.0, names);
            }
            keep(value, names);
        }
        StmtP::Return(Some(value)) | StmtP::If(value, _) | StmtP::IfElse(value, _) => read(value, names),
        StmtP::Expression(value) => keep(value, names),
        StmtP::For(each) => read(&each.over, names),
        StmtP::Def(def) => def.params.iter().for_each(|one| one.node.visit_expr(|part| keep(part, names))),
        _ => {}
    }
    stmt.node.visit_stmt(|part| in_stmt(part, names));
}

/// Reads an expression whose value another name may get.
fn keep<'a>(expr: &'a AstExpr, names: &mut HashSet<&'a str>) {
    match &expr.node {
        ExprP::Identifier(name) => _ = names.insert(&name.node.ident),
        ExprP::Dot(of, name) => {
            names.insert(&name.node);
            keep(of, names);
        }
        ExprP::Op(_, BinOp::And | BinOp::Or, _) => expr.node.visit_expr(|part| keep(part, names)),
        ExprP::If(parts) => {
            read(&parts.0, names);
            keep(&parts.1, names);
            keep(&parts.2, names);
        }
        ExprP::Index(_) | ExprP::Slice(..) | ExprP::Op(..) | ExprP::Not(_) | ExprP::FString(_) | ExprP::Call(..) => {
            read(expr, names)
        }
        _ => expr.node.visit_expr(|part| keep(part, names)),
    }
}

/// Reads an expression whose value nothing keeps.
fn read<'a>(expr: &'a AstExpr, names: &mut HashSet<&'a str>) {
    match &expr.node {
        ExprP::Call(called, CallArgsP { args }) => call(called, args, names),
        // What is made of them is kept, and they may be in it.
        ExprP::List(_) | ExprP::Tuple(_) | ExprP::Dict(_) | ExprP::Lambda(_) => {
            expr.node.visit_expr(|part| keep(part, names));
        }
        ExprP::ListComprehension(_, first, _) | ExprP::DictComprehension(_, first, _) => {
            let over = first.over.span;
            let mut parts = Vec::new();
            expr.node.visit_expr(|part| parts.push(part));
            parts.into_iter().for_each(|part| if part.span == over { read(part, names) } else { keep(part, names) });
        }
        ExprP::Dot(..) => expr.node.visit_expr(|part| keep(part, names)),
        _ => expr.node.visit_expr(|part| read(part, names)),
    }
}

fn call<'a>(called: &'a AstExpr, args: &'a [AstArgument], names: &mut HashSet<&'a str>) {
    let keeps_nothing = match &called.node {
        ExprP::Identifier(name) => READING.contains(&name.node.ident.as_str()),
        ExprP::Dot(of, method) => {
            if CHANGING.contains(&method.node.as_str()) {
                keep(of, names);
            } else {
                read(of, names);
            }
            READING_METHODS.contains(&method.node.as_str())
        }
        _ => {
            keep(called, names);
            false
        }
    };
    for argument in args {
        match &argument.node {
            ArgumentP::Positional(value) | ArgumentP::Named(_, value) if !keeps_nothing => keep(value, names),
            other => read(other.expr(), names),
        }
    }
}
