//! Finds what a template can never send, whatever its variables are: an expression that fails
//! (`{{ 1 / 0 }}`, `{{ none.x }}`, `{% for x in 5 %}`, `{{ name / 0 }}`) or that always writes
//! none, and a text that is always empty.
//!
//! An expression is evaluated alone. Its variables get values of each type that JSON has, and only
//! an expression that fails with all of them is told. What stands behind a condition that never
//! holds is left.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{CallArg, Expr, Stmt};
use minijinja::machinery::{Span, parse, parse_expr};
use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

use crate::domain::characters::is_blank;

/// The most variables of one expression whose values are tried together. 13 values of each make 169
/// evaluations.
const MOST_VARIABLES: usize = 2;

/// What fails always, with its line. A template that can't be parsed has no such faults.
pub(super) fn first(body: &str, environment: &Environment) -> Option<String> {
    let Ok(Stmt::Template(template)) = parse(body, "template", Default::default()) else { return None };
    let mut bound = Vec::new();
    bound_in(&template.children, &mut bound);
    let mut search = Search { body, environment, found: None, bound, fixed: BTreeMap::new(), branches: 0 };
    search.body(&template.children);
    let is_blank = search.found.is_none() && !search.may_show(&template.children);
    search.found.or_else(|| is_blank.then(|| "the rendered text is always empty".to_owned()))
}

/// The names that a template itself gives values to, each as often as it does.
fn bound_in<'e, 'a>(stmts: &'e [Stmt<'a>], names: &mut Vec<&'a str>) {
    let mut target = |of: &'e Expr<'a>| names.extend(variables(of).unwrap_or_default());
    for stmt in stmts {
        match stmt {
            Stmt::Set(set) => target(&set.target),
            Stmt::SetBlock(set) => target(&set.target),
            Stmt::ForLoop(each) => target(&each.target),
            Stmt::WithBlock(with) => with.assignments.iter().for_each(|(of, _)| target(of)),
            _ => {}
        }
    }
    for stmt in stmts {
        inner(stmt).into_iter().for_each(|body| bound_in(body, names));
    }
}

/// The bodies of a statement.
fn inner<'e, 'a>(stmt: &'e Stmt<'a>) -> Vec<&'e [Stmt<'a>]> {
    match stmt {
        Stmt::Template(template) => vec![&template.children],
        Stmt::ForLoop(each) => vec![&each.body, &each.else_body],
        Stmt::IfCond(condition) => vec![&condition.true_body, &condition.false_body],
        Stmt::WithBlock(with) => vec![&with.body],
        Stmt::SetBlock(set) => vec![&set.body],
        Stmt::AutoEscape(escape) => vec![&escape.body],
        Stmt::FilterBlock(filter) => vec![&filter.body],
        Stmt::EmitExpr(_) | Stmt::EmitRaw(_) | Stmt::Set(_) | Stmt::Do(_) => Vec::new(),
    }
}

/// Where an expression stands, as far as it decides what its value must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// It is written, so it must be defined and not none.
    Written,
    /// It decides a condition, so it must be defined.
    Needed,
    /// Something goes over its items.
    Over,
    Other,
}

struct Search<'s> {
    body: &'s str,
    environment: &'s Environment<'s>,
    found: Option<String>,
    /// The names that the template gives values to.
    bound: Vec<&'s str>,
    /// The values of names that are set once, to a value that is spelled out.
    fixed: BTreeMap<String, Value>,
    /// How many branches and loops are around a statement.
    branches: usize,
}

impl Search<'_> {
    fn body(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            if self.found.is_none() {
                self.stmt(stmt);
            }
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitExpr(emitted) => self.expr(&emitted.expr, Position::Written),
            Stmt::ForLoop(each) => {
                self.expr(&each.iter, Position::Over);
                if let Some(filter) = &each.filter_expr {
                    self.expr(filter, Position::Needed);
                }
                self.branches += 1;
                self.body(&each.body);
                self.body(&each.else_body);
                self.branches -= 1;
            }
            Stmt::IfCond(condition) => {
                self.expr(&condition.expr, Position::Needed);
                let known = self.known(&condition.expr).map(|value| value.is_true());
                self.branches += usize::from(known.is_none());
                if known != Some(false) {
                    self.body(&condition.true_body);
                }
                if known != Some(true) {
                    self.body(&condition.false_body);
                }
                self.branches -= usize::from(known.is_none());
            }
            Stmt::WithBlock(with) => {
                with.assignments.iter().for_each(|(_, value)| self.expr(value, Position::Other));
                self.body(&with.body);
            }
            Stmt::Set(set) => {
                self.expr(&set.expr, Position::Other);
                if let Expr::Var(name) = &set.target
                    && self.branches == 0
                    && self.bound.iter().filter(|bound| **bound == name.id).count() == 1
                    && let Some(value) = self.known(&set.expr)
                {
                    self.fixed.insert(name.id.to_owned(), value);
                }
            }
            Stmt::SetBlock(set) => self.body(&set.body),
            Stmt::AutoEscape(escape) => self.body(&escape.body),
            Stmt::FilterBlock(filter) => self.body(&filter.body),
            Stmt::EmitRaw(_) | Stmt::Do(_) => {}
        }
    }

    /// Looks for the largest part that fails always.
    fn expr(&mut self, expr: &Expr, position: Position) {
        if self.found.is_some() {
            return;
        }
        if let Some(what) = self.fault(expr, position) {
            self.found = Some(format!("line {}: {what}", expr.span().start_line));
            return;
        }
        let (is_known, position) = (self.known(expr).is_some(), Position::Other);
        if !is_known {
            parts(expr).into_iter().for_each(|part| self.expr(part, position));
        }
    }

    /// The value of an expression without variables that has one.
    fn known(&self, expr: &Expr) -> Option<Value> {
        let source = self.source(expr)?;
        if variables(expr)?.iter().any(|name| !self.fixed.contains_key(*name)) {
            return None;
        }
        self.environment.compile_expression_owned(source.to_owned()).ok()?.eval(&self.fixed).ok()
    }

    /// Whether statements may write something visible.
    fn may_show(&self, stmts: &[Stmt]) -> bool {
        stmts.iter().any(|stmt| match stmt {
            Stmt::EmitRaw(raw) => !is_blank(raw.raw),
            Stmt::EmitExpr(emitted) => self.known(&emitted.expr).is_none_or(|value| !is_blank(&value.to_string())),
            Stmt::SetBlock(_) => false,
            Stmt::ForLoop(each) => {
                let has_none = self.known(&each.iter).is_some_and(|items| items.len() == Some(0));
                (!has_none && self.may_show(&each.body)) || self.may_show(&each.else_body)
            }
            Stmt::IfCond(condition) => match self.known(&condition.expr).map(|value| value.is_true()) {
                Some(true) => self.may_show(&condition.true_body),
                Some(false) => self.may_show(&condition.false_body),
                None => self.may_show(&condition.true_body) || self.may_show(&condition.false_body),
            },
            other => inner(other).into_iter().any(|body| self.may_show(body)),
        })
    }

    /// Why an expression fails with whatever variables.
    fn fault(&self, expr: &Expr, position: Position) -> Option<String> {
        let mut names = variables(expr)?;
        names.retain(|name| !self.fixed.contains_key(*name));
        if names.len() > MOST_VARIABLES {
            return None;
        }
        // An expression of a single variable is as good as its value.
        if matches!(expr, Expr::Var(_) | Expr::Const(_)) && position == Position::Other {
            return None;
        }
        let source = self.source(expr)?;
        let expression = self.environment.compile_expression_owned(source.to_owned()).ok()?;
        let mut last = None;
        for mut given in combinations(&names) {
            given.extend(self.fixed.clone());
            let what = match expression.eval(given) {
                Err(error) => super::template::without_line(&error),
                Ok(value) if position != Position::Other && value.is_undefined() => format!("{source} has no value"),
                Ok(value) if position == Position::Written && value.is_none() => {
                    format!("{source} is always none, and none would stand in the text")
                }
                Ok(value) if position == Position::Written && value.to_string().contains('\0') => {
                    format!("{source} holds the character NUL, which can't be sent")
                }
                Ok(value) if position == Position::Over && value.try_iter().is_err() => {
                    format!("{source} is {} and has no items to go over", noun(&value))
                }
                Ok(_) => return None,
            };
            last = Some(what);
        }
        last
    }

    /// An expression as it is written, if that reads as the same expression.
    fn source(&self, expr: &Expr) -> Option<&str> {
        self.body.get(self.begins(expr)? as usize..expr.span().end_offset as usize)
    }

    /// Where an expression begins. The engine counts some from the token before them, and some from
    /// a later part.
    fn begins(&self, expr: &Expr) -> Option<u32> {
        let own: Span = expr.span();
        let mut begins = BTreeSet::new();
        starts_in(expr, &mut begins);
        begins.into_iter().find(|begin| {
            let source = self.body.get(*begin as usize..own.end_offset as usize);
            let again = source.and_then(|source| parse_expr(source).ok());
            again.is_some_and(|again| shape(&again) == shape(expr))
        })
    }
}

/// The names of the variables of an expression. None if it has a part that is not evaluated: a
/// call, a filter or a test, which templates don't have, and what is taken out of a variable, which
/// may be anything.
fn variables<'a>(expr: &Expr<'a>) -> Option<BTreeSet<&'a str>> {
    let taken_out_of = match expr {
        Expr::Call(_) | Expr::Filter(_) | Expr::Test(_) => return None,
        Expr::Var(name) => return Some(BTreeSet::from([name.id])),
        Expr::GetAttr(attribute) => Some(&attribute.expr),
        // Which key or which item there is, a sample does not know.
        Expr::GetItem(item) if variables(&item.subscript_expr).is_none_or(|names| !names.is_empty()) => return None,
        Expr::GetItem(item) => Some(&item.expr),
        Expr::Slice(slice) => Some(&slice.expr),
        _ => None,
    };
    if taken_out_of.is_some_and(|of| variables(of).is_none_or(|names| !names.is_empty())) {
        return None;
    }
    let mut names = BTreeSet::new();
    for part in parts(expr) {
        names.extend(variables(part)?);
    }
    Some(names)
}

/// The values of variables, one of each type for each of them.
fn combinations(names: &BTreeSet<&str>) -> Vec<BTreeMap<String, Value>> {
    let samples = || {
        let one = Value::from_pairs([("name", "Ada"), ("id", "1")]);
        [
            Value::from("Ada"),
            Value::from("7"),
            Value::from(""),
            Value::from(()),
            Value::from(7),
            Value::from(0),
            Value::from(-2),
            Value::from(true),
            Value::from(false),
            Value::from(vec!["a", "b"]),
            Value::from(vec![1, 2]),
            Value::from(Vec::<i64>::new()),
            one,
        ]
    };
    let mut all = vec![BTreeMap::new()];
    for name in names {
        let more = all.iter().flat_map(|given: &BTreeMap<String, Value>| {
            samples().into_iter().map(move |sample| {
                let mut given = given.clone();
                given.insert((*name).to_owned(), sample);
                given
            })
        });
        all = more.collect();
    }
    all
}

fn noun(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::None => "none",
        ValueKind::Bool => "a truth value",
        ValueKind::Number => "a number",
        ValueKind::String => "a text",
        _ => "no list",
    }
}

/// The parts of an expression.
fn parts<'e, 'a>(expr: &'e Expr<'a>) -> Vec<&'e Expr<'a>> {
    match expr {
        Expr::Var(_) | Expr::Const(_) => Vec::new(),
        Expr::Slice(slice) => {
            std::iter::once(&slice.expr).chain(&slice.start).chain(&slice.stop).chain(&slice.step).collect()
        }
        Expr::UnaryOp(unary) => vec![&unary.expr],
        Expr::BinOp(binary) => vec![&binary.left, &binary.right],
        Expr::Compare(compared) => {
            std::iter::once(&compared.expr).chain(compared.ops.iter().map(|op| &op.expr)).collect()
        }
        Expr::IfExpr(choice) => [&choice.test_expr, &choice.true_expr].into_iter().chain(&choice.false_expr).collect(),
        Expr::Filter(filter) => filter.expr.iter().chain(filter.args.iter().map(argument)).collect(),
        Expr::Test(test) => std::iter::once(&test.expr).chain(test.args.iter().map(argument)).collect(),
        Expr::GetAttr(attribute) => vec![&attribute.expr],
        Expr::GetItem(item) => vec![&item.expr, &item.subscript_expr],
        Expr::Call(call) => std::iter::once(&call.expr).chain(call.args.iter().map(argument)).collect(),
        Expr::List(list) => list.items.iter().collect(),
        Expr::Tuple(tuple) => tuple.items.iter().collect(),
        Expr::Map(map) => map.keys.iter().chain(&map.values).collect(),
    }
}

fn argument<'e, 'a>(argument: &'e CallArg<'a>) -> &'e Expr<'a> {
    match argument {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) | CallArg::PosSplat(value) | CallArg::KwargSplat(value) => value,
    }
}

/// Where the engine says that an expression and its parts begin.
fn starts_in(expr: &Expr, starts: &mut BTreeSet<u32>) {
    starts.insert(expr.span().start_offset);
    parts(expr).into_iter().for_each(|part| starts_in(part, starts));
}

/// What an expression is made of, to compare two of them.
fn shape(expr: &Expr) -> String {
    let inner: Vec<String> = parts(expr).into_iter().map(shape).collect();
    let own = match expr {
        Expr::Var(name) => name.id.to_owned(),
        Expr::Const(constant) => constant.value.to_string(),
        Expr::GetAttr(attribute) => attribute.name.to_owned(),
        other => other.description().to_owned(),
    };
    format!("{own}({})", inner.join(","))
}
