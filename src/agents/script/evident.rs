//! What a script's functions get as arguments, as far as that is evident: `conv` and the text of
//! who writes, also where a function passes them on to a function of the script that gets nothing
//! else in their place.

use std::collections::{HashMap, HashSet};

use starlark::syntax::ast::{
    ArgumentP, AstArgument, AstExpr, AstLiteral, AstStmt, CallArgsP, ClauseP, ExprP, ParameterP, StmtP,
};

use super::functions;
use super::module_names::{Function, ModuleNames, bound_in, normal_name, parameter_name, positional_names};

/// What a parameter gets whenever its function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Conv,
    /// A string.
    Text,
}

/// The parameters of which it is known what they get, by the names of the function and of the
/// parameter.
pub(super) struct Evident<'a> {
    known: HashMap<(&'a str, &'a str), Known>,
    /// What each function of the top level binds beside its parameters.
    bound: HashMap<&'a str, HashSet<&'a str>>,
}

/// A call of a function of the script.
struct Call<'a> {
    /// The function of the top level that it stands in, if it stands in one.
    within: Option<&'a str>,
    args: &'a [AstArgument],
}

impl<'a> Evident<'a> {
    /// `tools` are the names of functions that a language model may call. What it gives them beside
    /// conv is not evident.
    pub(super) fn of(names: &ModuleNames<'a>, top: &'a AstStmt, tools: &[String]) -> Self {
        let mut known = HashMap::new();
        let own = functions::names().map(|name| (name, &[Known::Conv, Known::Text][..]));
        for (name, arguments) in own.chain(tools.iter().map(|name| (name.as_str(), &[Known::Conv][..]))) {
            let Some(Function::Def(def)) = names.function(name) else { continue };
            let parameters = positional_names(&def.params);
            known.extend(parameters.zip(arguments.iter().copied()).map(|(parameter, what)| {
                let function = def.name.node.ident.as_str();
                ((function, parameter), what)
            }));
        }
        let mut calls = Calls::default();
        calls.stmt(top, None);
        let mut evident = Self { known, bound: HashMap::new() };
        while evident.pass_on(names, &calls) {}
        evident.bound = calls.bound;
        evident
    }

    /// What a parameter of a function of the top level gets.
    pub(super) fn of_parameter(&self, function: &str, parameter: &str) -> Option<Known> {
        self.known.get(&(function, parameter)).copied()
    }

    /// Whether a name always means conv in a function of the top level.
    pub(super) fn is_conv(&self, function: &str, name: &str) -> bool {
        self.of_parameter(function, name) == Some(Known::Conv)
            && !self.bound.get(function).is_some_and(|bound| bound.contains(name))
    }

    /// Notes what functions get from functions of which that is known. Returns whether there was
    /// more to note.
    fn pass_on(&mut self, names: &ModuleNames<'a>, calls: &Calls<'a>) -> bool {
        let mut found = Vec::new();
        for (name, calls_of) in &calls.of {
            let Some(Function::Def(def)) = names.function(name) else { continue };
            if names.references.get(name) != Some(&calls_of.len()) || def.name.node.ident != *name {
                continue;
            }
            for parameter in def.params.iter().filter_map(normal_name) {
                let position = positional_names(&def.params).position(|one| one == parameter);
                if self.of_parameter(name, parameter).is_some() {
                    continue;
                }
                let mut given = calls_of
                    .iter()
                    .map(|call| self.of_argument(calls, call, argument(call.args, parameter, position)?));
                let Some(Some(first)) = given.next() else { continue };
                if given.all(|other| other == Some(first)) {
                    found.push(((*name, parameter), first));
                }
            }
        }
        let is_more = !found.is_empty();
        self.known.extend(found);
        is_more
    }

    fn of_argument(&self, calls: &Calls, call: &Call<'a>, value: &AstExpr) -> Option<Known> {
        match &value.node {
            ExprP::Literal(AstLiteral::String(_)) | ExprP::FString(_) => Some(Known::Text),
            ExprP::Identifier(name) => {
                let within = call.within?;
                let name = name.node.ident.as_str();
                let is_bound_again = calls.bound.get(within).is_some_and(|bound| bound.contains(name));
                if is_bound_again { None } else { self.of_parameter(within, name) }
            }
            _ => None,
        }
    }
}

/// The argument that a parameter gets.
fn argument<'a>(args: &'a [AstArgument], parameter: &str, position: Option<usize>) -> Option<&'a AstExpr> {
    if args.iter().any(|argument| matches!(argument.node, ArgumentP::Args(_) | ArgumentP::KwArgs(_))) {
        return None;
    }
    let named = args.iter().find_map(|argument| match &argument.node {
        ArgumentP::Named(name, value) if name.node == parameter => Some(value),
        _ => None,
    });
    let by_position = || match args.get(position?).map(|argument| &argument.node) {
        Some(ArgumentP::Positional(value)) => Some(value),
        _ => None,
    };
    named.or_else(by_position)
}

/// The calls of a script by the name of what they call, and what each function of the top level
/// binds beside its parameters.
#[derive(Default)]
struct Calls<'a> {
    of: HashMap<&'a str, Vec<Call<'a>>>,
    bound: HashMap<&'a str, HashSet<&'a str>>,
}

impl<'a> Calls<'a> {
    fn stmt(&mut self, stmt: &'a AstStmt, within: Option<&'a str>) {
        if let StmtP::Def(def) = &stmt.node {
            for parameter in &def.params {
                if let ParameterP::Normal(_, _, Some(default)) = &parameter.node {
                    self.expr(default, within);
                }
            }
            let function = within.unwrap_or(&def.name.node.ident);
            let bound = self.bound.entry(function).or_default();
            bound.extend(bound_in(&def.body));
            if within.is_some() {
                bound.extend(def.params.iter().filter_map(parameter_name));
            }
            return self.stmt(&def.body, Some(function));
        }
        let mut is_simple = true;
        stmt.node.visit_stmt(|part| {
            is_simple = false;
            self.stmt(part, within);
        });
        match &stmt.node {
            StmtP::If(condition, _) | StmtP::IfElse(condition, _) => self.expr(condition, within),
            StmtP::For(each) => self.expr(&each.over, within),
            _ if is_simple => stmt.node.visit_expr(|part| self.expr(part, within)),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &'a AstExpr, within: Option<&'a str>) {
        let mut bind = |name: &'a str| {
            if let Some(within) = within {
                self.bound.entry(within).or_default().insert(name);
            }
        };
        match &expr.node {
            ExprP::Lambda(lambda) => lambda.params.iter().filter_map(parameter_name).for_each(bind),
            ExprP::ListComprehension(_, first, rest) | ExprP::DictComprehension(_, first, rest) => {
                first.var.node.visit_lvalue(|name| bind(&name.node.ident));
                for clause in rest {
                    if let ClauseP::For(each) = clause {
                        each.var.node.visit_lvalue(|name| bind(&name.node.ident));
                    }
                }
            }
            ExprP::Call(called, CallArgsP { args }) => {
                if let ExprP::Identifier(name) = &called.node {
                    self.of.entry(&name.node.ident).or_default().push(Call { within, args });
                }
            }
            _ => {}
        }
        expr.node.visit_expr(|part| self.expr(part, within));
    }
}
