//! What the lists of `conv` hold: entries of the history, texts and media. Their types are fixed,
//! so a wrong use of an item is found before a script runs.
//!
//! A script may put other items into such a list. So a list that a script may change is left.

use std::collections::{HashMap, HashSet};

use starlark::codemap::Span;
use starlark::syntax::ast::{
    ArgumentP, AssignTargetP, AstExpr, AstLiteral, AstStmt, BinOp, CallArgsP, ClauseP, ExprP, StmtP,
};

use super::evident::Evident;
use super::module_names::parameter_name;
use crate::domain::suggestion::nearest;

/// The attributes of an entry of `conv.history`.
pub(super) const OF_ENTRY: [&str; 3] = ["role", "text", "at"];
/// The keys of an item of `conv.media`.
const OF_MEDIUM: [&str; 4] = ["id", "content_type", "url", "bytes"];
/// The methods by which a list gets other items, or a dict other keys.
const FILLING: [&str; 5] = ["append", "extend", "insert", "setdefault", "update"];
/// The functions of the language that read a list and keep nothing of it.
const READING: [&str; 12] =
    ["all", "any", "bool", "dict", "enumerate", "len", "list", "repr", "reversed", "sorted", "str", "zip"];

/// A list of `conv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum List {
    History,
    Messages,
    Media,
}

impl List {
    fn of(attribute: &str) -> Option<Self> {
        match attribute {
            "history" => Some(Self::History),
            "messages" => Some(Self::Messages),
            "media" => Some(Self::Media),
            _ => None,
        }
    }
}

/// The lists of `conv` that a script only reads, and what it does with keys.
#[derive(Default)]
pub(super) struct Lists<'a> {
    /// The lists that are changed where they are named.
    changed: HashSet<List>,
    /// The lists that get another name or are passed on.
    named: HashSet<List>,
    /// Whether the script changes a list or a dict that is not evidently its own.
    fills: bool,
    /// The strings that the script sets as keys or looks for.
    tested: HashSet<&'a str>,
}

impl<'a> Lists<'a> {
    pub(super) fn of(top: &'a AstStmt) -> Self {
        let mut lists = Self::default();
        lists.stmt(top);
        lists
    }

    /// The list of `conv` whose items an expression has. `is_conv` says whether a name is conv.
    pub(super) fn list_of(&self, expr: &AstExpr, is_conv: &impl Fn(&str) -> bool) -> Option<List> {
        match &expr.node {
            ExprP::Dot(of, name) => {
                let ExprP::Identifier(conv) = &of.node else { return None };
                let list = List::of(&name.node).filter(|_| is_conv(&conv.node.ident))?;
                let is_changed = self.changed.contains(&list) || (self.fills && self.named.contains(&list));
                (!is_changed).then_some(list)
            }
            ExprP::Slice(of, ..) => self.list_of(of, is_conv),
            ExprP::Op(left, BinOp::Or, right) if matches!(&right.node, ExprP::List(items) if items.is_empty()) => {
                self.list_of(left, is_conv)
            }
            ExprP::Call(called, CallArgsP { args }) => match (&called.node, &args[..]) {
                (ExprP::Identifier(name), [only]) if matches!(&*name.node.ident, "reversed" | "list") => {
                    let ArgumentP::Positional(of) = &only.node else { return None };
                    self.list_of(of, is_conv)
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn stmt(&mut self, stmt: &'a AstStmt) {
        let mut is_simple = true;
        stmt.node.visit_stmt(|part| {
            is_simple = false;
            self.stmt(part);
        });
        match &stmt.node {
            StmtP::Assign(assign) => {
                if let AssignTargetP::Index(parts) = &assign.lhs.node {
                    self.fill(&parts.0);
                    self.ask(&parts.1);
                }
                self.expr(&assign.rhs);
            }
            StmtP::AssignModify(target, _, value) => {
                // A list grows in place by +=.
                self.fills |= matches!(target.node, AssignTargetP::Identifier(_))
                    && !matches!(value.node, ExprP::Literal(_) | ExprP::Op(..) | ExprP::FString(_));
                self.expr(value);
            }
            StmtP::If(condition, _) | StmtP::IfElse(condition, _) => self.read(condition),
            StmtP::For(each) => self.read(&each.over),
            StmtP::Def(def) => def.params.iter().for_each(|one| one.node.visit_expr(|part| self.expr(part))),
            _ if is_simple => stmt.node.visit_expr(|part| self.expr(part)),
            _ => {}
        }
    }

    /// Notes that a list or a dict is changed.
    fn fill(&mut self, of: &AstExpr) {
        match &of.node {
            ExprP::Dot(_, name) if List::of(&name.node).is_some() => self.changed.extend(List::of(&name.node)),
            ExprP::Dot(_, name) if name.node == "state" => {}
            ExprP::Dot(of, _) if matches!(&of.node, ExprP::Dot(_, state) if state.node == "state") => {}
            _ => self.fills = true,
        }
    }

    fn ask(&mut self, key: &'a AstExpr) {
        if let ExprP::Literal(AstLiteral::String(text)) = &key.node {
            self.tested.insert(&text.node);
        }
    }

    /// Reads an expression whose value is kept nowhere.
    fn read(&mut self, expr: &'a AstExpr) {
        match &expr.node {
            ExprP::Dot(of, name) if List::of(&name.node).is_some() => self.expr(of),
            ExprP::Op(left, BinOp::And | BinOp::Or, right) => {
                self.read(left);
                self.read(right);
            }
            ExprP::Not(of) => self.read(of),
            _ => self.expr(expr),
        }
    }

    fn expr(&mut self, expr: &'a AstExpr) {
        match &expr.node {
            ExprP::Dot(_, name) => self.named.extend(List::of(&name.node)),
            ExprP::Index(parts) => {
                self.read(&parts.0);
                return self.expr(&parts.1);
            }
            ExprP::Slice(of, ..) => return self.read(of),
            ExprP::Op(left, op, right) if !matches!(op, BinOp::And | BinOp::Or) => {
                if matches!(op, BinOp::In | BinOp::NotIn) {
                    self.ask(left);
                }
                self.read(left);
                return self.read(right);
            }
            ExprP::Not(of) => return self.read(of),
            ExprP::If(parts) => {
                self.read(&parts.0);
                self.expr(&parts.1);
                return self.expr(&parts.2);
            }
            ExprP::ListComprehension(_, first, _) | ExprP::DictComprehension(_, first, _) => {
                let mut parts = Vec::new();
                expr.node.visit_expr(|part| parts.push(part));
                let over = first.over.span;
                return parts
                    .into_iter()
                    .for_each(|part| if part.span == over { self.read(part) } else { self.expr(part) });
            }
            ExprP::Call(called, CallArgsP { args }) => {
                if let ExprP::Dot(of, method) = &called.node
                    && FILLING.contains(&method.node.as_str())
                {
                    self.fill(of);
                }
                if matches!(&called.node, ExprP::Identifier(name) if READING.contains(&&*name.node.ident)) {
                    return args.iter().for_each(|argument| self.read(argument.node.expr()));
                }
            }
            _ => {}
        }
        expr.node.visit_expr(|part| self.expr(part));
    }
}

/// The keys that no item of `conv.media` has, where a script reads them, each with its place.
pub(super) fn unknown_keys(top: &AstStmt, evident: &Evident) -> Vec<(Span, String)> {
    let lists = Lists::of(top);
    let mut found = Vec::new();
    each_def(top, &mut |function, def| {
        let is_medium =
            |expr: &AstExpr| lists.list_of(expr, &|name| evident.is_conv(function, name)) == Some(List::Media);
        let mut uses = Uses::default();
        uses.stmt(def);
        for (value, key) in &uses.reads {
            let (AstLiteral::String(text), is_item) = (
                key,
                match &value.node {
                    ExprP::Index(parts) => is_medium(&parts.0),
                    ExprP::Identifier(name) => uses.bound.get(name.node.ident.as_str()).is_some_and(|bound| {
                        bound.iter().all(|one| match one {
                            Some(Source::ItemOf(list)) => is_medium(list),
                            Some(Source::Value(value)) => {
                                matches!(&value.node, ExprP::Index(parts) if is_medium(&parts.0))
                            }
                            None => false,
                        })
                    }),
                    _ => false,
                },
            ) else {
                continue;
            };
            if is_item && !OF_MEDIUM.contains(&&*text.node) && !lists.fills && !lists.tested.contains(&*text.node) {
                let meant = nearest(&text.node, OF_MEDIUM).map(|meant| format!("did you mean \"{meant}\"?"));
                let told = meant.unwrap_or_else(|| format!("it has {}", OF_MEDIUM.join(", ")));
                found.push((text.span, format!("an item of conv.media has no key {:?}; {told}", text.node)));
            }
        }
    });
    found
}

/// Calls back with each function of the top level: its name and its statement.
fn each_def<'a>(stmt: &'a AstStmt, visit: &mut impl FnMut(&'a str, &'a AstStmt)) {
    match &stmt.node {
        StmtP::Def(def) => visit(&def.name.node.ident, stmt),
        _ => stmt.node.visit_stmt(|part| each_def(part, visit)),
    }
}

/// What a name is bound to.
enum Source<'a> {
    Value(&'a AstExpr),
    ItemOf(&'a AstExpr),
}

/// What a function binds, and the keys that it reads. A binding that tells nothing is None.
#[derive(Default)]
struct Uses<'a> {
    bound: HashMap<&'a str, Vec<Option<Source<'a>>>>,
    reads: Vec<(&'a AstExpr, &'a AstLiteral)>,
}

impl<'a> Uses<'a> {
    fn bind(&mut self, target: &'a starlark::syntax::ast::AssignTarget, source: Option<Source<'a>>) {
        match target {
            AssignTargetP::Identifier(name) => self.bound.entry(&name.node.ident).or_default().push(source),
            _ => target.visit_lvalue(|name| self.bound.entry(&name.node.ident).or_default().push(None)),
        }
    }

    fn stmt(&mut self, stmt: &'a AstStmt) {
        let mut is_simple = true;
        stmt.node.visit_stmt(|part| {
            is_simple = false;
            self.stmt(part);
        });
        match &stmt.node {
            StmtP::Assign(assign) => {
                self.bind(&assign.lhs.node, Some(Source::Value(&assign.rhs)));
                self.expr(&assign.rhs);
            }
            StmtP::AssignModify(target, _, value) => {
                self.bind(&target.node, None);
                self.expr(value);
            }
            StmtP::For(each) => {
                self.bind(&each.var.node, Some(Source::ItemOf(&each.over)));
                self.expr(&each.over);
            }
            StmtP::Def(def) => {
                for name in def.params.iter().filter_map(parameter_name) {
                    self.bound.entry(name).or_default().push(None);
                }
            }
            StmtP::If(condition, _) | StmtP::IfElse(condition, _) => self.expr(condition),
            _ if is_simple => stmt.node.visit_expr(|part| self.expr(part)),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &'a AstExpr) {
        match &expr.node {
            ExprP::Index(parts) => {
                if let ExprP::Literal(key) = &parts.1.node {
                    self.reads.push((&parts.0, key));
                }
            }
            ExprP::Lambda(lambda) => {
                for name in lambda.params.iter().filter_map(parameter_name) {
                    self.bound.entry(name).or_default().push(None);
                }
            }
            ExprP::ListComprehension(_, first, rest) | ExprP::DictComprehension(_, first, rest) => {
                self.bind(&first.var.node, Some(Source::ItemOf(&first.over)));
                for clause in rest {
                    if let ClauseP::For(each) = clause {
                        self.bind(&each.var.node, Some(Source::ItemOf(&each.over)));
                    }
                }
            }
            _ => {}
        }
        expr.node.visit_expr(|part| self.expr(part));
    }
}
