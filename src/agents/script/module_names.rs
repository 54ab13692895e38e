//! The names of a script, as far as the search for wrong uses of `conv` needs them.

use std::collections::{HashMap, HashSet};

use starlark::syntax::ast::{
    ArgumentP, AssignTarget, AssignTargetP, AstArgument, AstExpr, AstLiteral, AstNoPayload, AstParameter, AstStmt,
    ClauseP, DefP, ExprP, LambdaP, ParameterP, StmtP,
};

/// A function that is written in a script.
#[derive(Debug, Clone, Copy)]
pub(super) enum Function<'a> {
    Def(&'a DefP<AstNoPayload>),
    Lambda(&'a LambdaP<AstNoPayload>),
}

impl<'a> Function<'a> {
    /// Whether it is the same function.
    pub(super) fn is(self, other: &Self) -> bool {
        match (self, other) {
            (Self::Def(one), Self::Def(other)) => std::ptr::eq(one, *other),
            (Self::Lambda(one), Self::Lambda(other)) => std::ptr::eq(one, *other),
            _ => false,
        }
    }

    pub(super) fn parameters(self) -> &'a [AstParameter] {
        match self {
            Self::Def(def) => &def.params,
            Self::Lambda(lambda) => &lambda.params,
        }
    }
}

/// What a name of the top level is bound to.
enum Bound<'a> {
    Function(Function<'a>),
    /// Another name.
    Alias(&'a str),
    /// Something else, or more than one value.
    Other,
}

/// The names of a script.
#[derive(Default)]
pub(super) struct ModuleNames<'a> {
    top: HashMap<&'a str, Bound<'a>>,
    /// How often the top level binds each name.
    bindings: HashMap<&'a str, usize>,
    /// The names that a function, a lambda or a comprehension binds for itself.
    local: HashSet<&'a str>,
    /// How often each name is read.
    pub(super) references: HashMap<&'a str, usize>,
    /// The attributes that `hasattr` asks for, of whatever value.
    pub(super) tested: HashSet<&'a str>,
    /// Whether attributes are asked for in another way, so that none is certain to be read.
    pub(super) asks_for_any: bool,
}

impl<'a> ModuleNames<'a> {
    /// The names of a script, by its top level.
    pub(super) fn of(top: &'a AstStmt) -> Self {
        let mut names = Self::default();
        names.bind_top(top);
        names.stmt(top);
        names
    }

    /// The function that a name of the top level always means.
    pub(super) fn function(&self, name: &str) -> Option<Function<'a>> {
        if self.local.contains(name) {
            return None;
        }
        match self.top.get(name)? {
            Bound::Function(function) => Some(*function),
            Bound::Alias(of) => match self.top.get(of)? {
                Bound::Function(function) => Some(*function),
                Bound::Alias(_) | Bound::Other => None,
            },
            Bound::Other => None,
        }
    }

    /// The functions of the top level by their names, which always mean them.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&'a str, Function<'a>)> {
        let all = self.top.iter().filter_map(|(name, bound)| match bound {
            Bound::Function(function) if !self.local.contains(name) => Some((*name, *function)),
            _ => None,
        });
        let mut all: Vec<(&str, Function)> = all.collect();
        all.sort_by_key(|(name, _)| *name);
        all.into_iter()
    }

    /// Whether a name is bound once at the top level and nowhere else.
    pub(super) fn is_bound_once(&self, name: &str) -> bool {
        !self.local.contains(name) && self.bindings.get(name) == Some(&1)
    }

    /// Whether a script binds a name anywhere.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.local.contains(name) || self.bindings.contains_key(name)
    }

    fn bind(&mut self, name: &'a str, to: Bound<'a>) {
        *self.bindings.entry(name).or_default() += 1;
        let bound = self.top.entry(name);
        bound.and_modify(|bound| *bound = Bound::Other).or_insert(to);
    }

    fn bind_top(&mut self, stmt: &'a AstStmt) {
        match &stmt.node {
            StmtP::Def(def) => self.bind(&def.name.node.ident, Bound::Function(Function::Def(def))),
            StmtP::Assign(assign) => {
                let bound = || match &assign.rhs.node {
                    ExprP::Lambda(lambda) => Bound::Function(Function::Lambda(lambda)),
                    ExprP::Identifier(of) => Bound::Alias(&of.node.ident),
                    _ => Bound::Other,
                };
                let is_one = matches!(assign.lhs.node, AssignTargetP::Identifier(_));
                let to = || if is_one { bound() } else { Bound::Other };
                assign.lhs.node.visit_lvalue(|name| self.bind(&name.node.ident, to()));
            }
            StmtP::AssignModify(target, ..) => {
                target.node.visit_lvalue(|name| self.bind(&name.node.ident, Bound::Other));
            }
            StmtP::For(each) => {
                each.var.node.visit_lvalue(|name| self.bind(&name.node.ident, Bound::Other));
                self.bind_top(&each.body);
            }
            _ => stmt.node.visit_stmt(|part| self.bind_top(part)),
        }
    }

    /// Notes what each part of a statement reads and binds.
    fn stmt(&mut self, stmt: &'a AstStmt) {
        if let StmtP::Def(def) = &stmt.node {
            self.local.extend(def.params.iter().filter_map(parameter_name));
            self.local.extend(bound_in(&def.body));
            for parameter in &def.params {
                parameter.node.visit_expr(|part| self.expr(part));
            }
            return self.stmt(&def.body);
        }
        let mut nested = Vec::new();
        stmt.node.visit_stmt(|part| nested.push(part));
        if nested.is_empty() {
            stmt.node.visit_expr(|part| self.expr(part));
        }
        for part in &nested {
            self.stmt(part);
        }
        match &stmt.node {
            StmtP::If(condition, _) | StmtP::IfElse(condition, _) => self.expr(condition),
            StmtP::For(each) => self.expr(&each.over),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &'a AstExpr) {
        match &expr.node {
            ExprP::Identifier(name) => {
                let name = name.node.ident.as_str();
                *self.references.entry(name).or_default() += 1;
                // A call with a literal, which is below, does not come here.
                self.asks_for_any |= matches!(name, "dir" | "hasattr");
            }
            ExprP::Call(called, args) => {
                if let Some(name) = tested_name(called, &args.args) {
                    self.tested.insert(name);
                    return args.args.iter().for_each(|argument| self.expr(argument.node.expr()));
                }
            }
            ExprP::Lambda(lambda) => self.local.extend(lambda.params.iter().filter_map(parameter_name)),
            ExprP::ListComprehension(_, first, rest) | ExprP::DictComprehension(_, first, rest) => {
                first.var.node.visit_lvalue(|name| _ = self.local.insert(&name.node.ident));
                for clause in rest {
                    if let ClauseP::For(each) = clause {
                        each.var.node.visit_lvalue(|name| _ = self.local.insert(&name.node.ident));
                    }
                }
            }
            _ => {}
        }
        expr.node.visit_expr(|part| self.expr(part));
    }
}

/// The attribute that a call asks for: `x` of `hasattr(conv, "x")`.
fn tested_name<'a>(called: &AstExpr, args: &'a [AstArgument]) -> Option<&'a str> {
    match (&called.node, args) {
        (ExprP::Identifier(name), [_, second]) if name.node.ident == "hasattr" => match &second.node {
            ArgumentP::Positional(value) => match &value.node {
                ExprP::Literal(AstLiteral::String(attribute)) => Some(&attribute.node),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The names of the parameters that arguments are given to by position.
pub(super) fn positional_names(parameters: &[AstParameter]) -> impl Iterator<Item = &str> {
    let positional =
        parameters.iter().take_while(|parameter| !matches!(parameter.node, ParameterP::NoArgs | ParameterP::Args(..)));
    positional.filter_map(normal_name)
}

/// The name of a parameter that takes one argument.
pub(super) fn normal_name(parameter: &AstParameter) -> Option<&str> {
    match &parameter.node {
        ParameterP::Normal(name, ..) => Some(&name.node.ident),
        _ => None,
    }
}

/// The name of a parameter.
pub(super) fn parameter_name(parameter: &AstParameter) -> Option<&str> {
    parameter.node.ident().map(|name| name.node.ident.as_str())
}

/// The names that the body of a function binds for itself.
pub(super) fn bound_in(body: &AstStmt) -> HashSet<&str> {
    fn collect<'a>(stmt: &'a AstStmt, into: &mut HashSet<&'a str>) {
        let mut bind = |target: &'a AssignTarget| {
            target.visit_lvalue(|name| _ = into.insert(&name.node.ident));
        };
        match &stmt.node {
            StmtP::Assign(assign) => bind(&assign.lhs.node),
            StmtP::AssignModify(target, ..) => bind(&target.node),
            StmtP::For(each) => bind(&each.var.node),
            StmtP::Def(def) => {
                into.insert(&def.name.node.ident);
                return;
            }
            _ => {}
        }
        stmt.node.visit_stmt(|part| collect(part, into));
    }
    let mut bound = HashSet::new();
    collect(body, &mut bound);
    bound
}
