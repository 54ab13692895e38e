//! Finds what would fail whenever it runs, by the types of values, with the interpreter's type
//! checker: methods that a string does not have, arguments of the wrong type, calls that do not fit
//! a function.
//!
//! The checker reads a rewritten script (see [`super::typed`]), and what it may be wrong about is
//! left.

use std::collections::HashMap;

use starlark::codemap::Span;
use starlark::collections::SmallMap;
use starlark::environment::{Globals, GlobalsBuilder};
use starlark::starlark_module;
use starlark::syntax::AstModule;
use starlark::syntax::ast::{AstArgument, AstExpr, AstStmt, CallArgsP, ExprP, StmtP};
use starlark::typing::AstModuleTypecheck;
use starlark::values::float::UnpackFloat;
use starlark::values::starlark_value_as_type::StarlarkValueAsType;
use starlark::values::tuple::UnpackTuple;
use starlark::values::typing::StarlarkIter;
use starlark::values::{Value, ValueOfUnchecked};

use super::conv::{Conv, Entry};
use super::evident::Evident;
use super::interpret::{EXTENSIONS, dialect};
use super::items;
use super::loops;
use super::module_names::ModuleNames;
use super::type_words::{self, Finding};
use super::typed::{ITEMS, NUMBER, PREFIX, TEXT, Typed};

/// The longest script whose types are checked, in bytes. The check took 100 ms longer in a debug
/// build for a script of this size, with 400 functions of six lines.
const LONGEST: usize = 64 << 10;

/// What fails by the types of its values, each with its place.
pub(super) fn faults(source: &str, top: &AstStmt, names: &ModuleNames, tools: &[String]) -> Vec<(Span, String)> {
    if source.len() > LONGEST || source.contains(PREFIX) {
        return Vec::new();
    }
    let evident = Evident::of(names, top, tools);
    let typed = Typed::of(source, top, &evident);
    // The rewritten script is nested deeper than the script.
    if super::depth::too_deep(&typed.source).is_some() {
        return Vec::new();
    }
    let Ok(ast) = AstModule::parse("agent.star", typed.source.clone(), &dialect()) else { return Vec::new() };
    let mut script = Script { source, names, calls: Vec::new(), asking: Vec::new() };
    script.stmt(top);
    let (errors, ..) = ast.typecheck(&globals(), &HashMap::new());
    let found = errors.iter().filter_map(|error| {
        let span = error.span()?.span;
        let before = typed.source.get(..span.begin().get() as usize)?;
        let finding = Finding::of(&error.without_diagnostic().to_string())?;
        let position = typed.original(span);
        script.told(&finding, position, before).map(|what| (position, what))
    });
    found.chain(items::unknown_keys(top, &evident)).chain(loops::faults(top, names)).collect()
}

/// The lines, from 1, with faults of types, for tests.
#[cfg(test)]
pub(super) fn lines_of(source: &str) -> Vec<usize> {
    let ast = AstModule::parse("agent.star", source.to_owned(), &dialect()).expect("parsed");
    let names = ModuleNames::of(ast.statement());
    let found = faults(source, ast.statement(), &names, &[]);
    found.into_iter().map(|(span, _)| ast.file_span(span).resolve_span().begin.line + 1).collect()
}

/// A call, as it is written.
struct Call<'a> {
    span: Span,
    called: &'a AstExpr,
    args: &'a [AstArgument],
}

/// A script as its author wrote it.
struct Script<'a, 's> {
    source: &'a str,
    names: &'s ModuleNames<'a>,
    calls: Vec<Call<'a>>,
    /// The functions of the top level that ask for the type of a value, so that some of their lines
    /// may be meant for another type.
    asking: Vec<Span>,
}

impl<'a> Script<'a, '_> {
    /// What is told of a finding, if it is certain. `before` is the rewritten script up to the
    /// place.
    fn told(&self, finding: &Finding, span: Span, before: &str) -> Option<String> {
        let asks = self.names.asks_for_any || self.asking.iter().any(|function| function.contains(span.begin()));
        match finding {
            Finding::NoAttribute { of, attribute } => {
                let is_tested = asks || self.names.tested.contains(attribute.as_str());
                if is_tested { None } else { type_words::no_attribute(of, attribute) }
            }
            Finding::Missing | Finding::UnknownArgument(_) | Finding::TooMany => {
                let call = self.call_of(span, matches!(finding, Finding::Missing))?;
                type_words::unfit(finding, &self.written(call.called), (call.called, call.args), self.names)
            }
            _ if asks => None,
            Finding::OtherType { got, required } => {
                let is_given_to =
                    |function: &str| before.strip_suffix('(').is_some_and(|rest| rest.ends_with(function));
                if is_given_to(ITEMS) {
                    return type_words::not_iterable(got);
                }
                if is_given_to(TEXT) || is_given_to(NUMBER) {
                    return type_words::beside_literal(got, required);
                }
                // The checker also wants both sides of == to be of one type. They need not be.
                let call = self.call_of(span, false)?;
                type_words::other_type(&self.written(call.called), got, required)
            }
            Finding::NotCallable(of) => type_words::about(of, "can't be called"),
            Finding::NotIterable(of) => type_words::not_iterable(of),
            Finding::NoIndex(of) => type_words::about(of, "has no keys and no items, so [] can't be used on it"),
            Finding::NoSlice(of) => type_words::about(of, "can't be sliced"),
            Finding::NoUnary { operator, of } => type_words::about(of, &format!("does not go with {operator}")),
            Finding::NoBinary { operator, left, right } => type_words::no_operator(operator, left, right),
        }
    }

    /// The call that a finding is about: its own place, or the place of an argument.
    fn call_of(&self, span: Span, is_own: bool) -> Option<&Call<'a>> {
        self.calls.iter().find(|call| match is_own {
            true => call.span == span,
            false => call.args.iter().any(|argument| argument.span == span),
        })
    }

    fn written(&self, expr: &AstExpr) -> String {
        let written = self.source.get(expr.span.begin().get() as usize..expr.span.end().get() as usize);
        type_words::short(written.unwrap_or_default())
    }

    fn stmt(&mut self, stmt: &'a AstStmt) {
        if let StmtP::Def(def) = &stmt.node
            && reads_type(&def.body)
        {
            self.asking.push(stmt.span);
        }
        let mut is_simple = true;
        stmt.node.visit_stmt(|part| {
            is_simple = false;
            self.stmt(part);
        });
        match &stmt.node {
            StmtP::If(condition, _) | StmtP::IfElse(condition, _) => self.expr(condition),
            StmtP::For(each) => self.expr(&each.over),
            _ if is_simple => stmt.node.visit_expr(|part| self.expr(part)),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &'a AstExpr) {
        if let ExprP::Call(called, CallArgsP { args }) = &expr.node {
            self.calls.push(Call { span: expr.span, called, args });
        }
        expr.node.visit_expr(|part| self.expr(part));
    }
}

/// Whether a function reads the type of a value.
fn reads_type(body: &AstStmt) -> bool {
    fn in_expr(expr: &AstExpr) -> bool {
        let mut found =
            matches!(&expr.node, ExprP::Identifier(name) if matches!(&*name.node.ident, "type" | "isinstance"));
        expr.node.visit_expr(|part| found = found || in_expr(part));
        found
    }
    let mut found = false;
    body.node.visit_stmt(|part| found = found || reads_type(part));
    body.node.visit_expr(|part| found = found || in_expr(part));
    found
}

/// What the checker knows: what scripts can use, and what the rewriting adds.
fn globals() -> Globals {
    let mut builder = GlobalsBuilder::extended_by(&EXTENSIONS);
    added(&mut builder);
    builder.set(&format!("{PREFIX}conv"), StarlarkValueAsType::<Conv<'static>>::new_no_docs());
    builder.build()
}

/// An item of `conv.media`: a dict, into which anything may be put.
type Medium<'v> = ValueOfUnchecked<'v, SmallMap<Value<'v>, Value<'v>>>;

#[starlark_module]
fn added(builder: &mut GlobalsBuilder) {
    fn __textback_any<'v>(#[starlark(args)] values: UnpackTuple<Value<'v>>) -> starlark::Result<Value<'v>> {
        Ok(values.items.first().copied().unwrap_or_else(Value::new_none))
    }

    fn __textback_items<'v>(
        #[starlark(require = pos)] items: ValueOfUnchecked<'v, StarlarkIter<Value<'v>>>,
    ) -> starlark::Result<Value<'v>> {
        Ok(items.get())
    }

    fn __textback_entry<'v>(
        #[starlark(require = pos)] item: Value<'v>,
    ) -> starlark::Result<ValueOfUnchecked<'v, Entry>> {
        Ok(ValueOfUnchecked::new(item))
    }

    fn __textback_entries<'v>(
        #[starlark(require = pos)] items: Value<'v>,
    ) -> starlark::Result<ValueOfUnchecked<'v, Vec<Entry>>> {
        Ok(ValueOfUnchecked::new(items))
    }

    fn __textback_message<'v>(
        #[starlark(require = pos)] item: Value<'v>,
    ) -> starlark::Result<ValueOfUnchecked<'v, String>> {
        Ok(ValueOfUnchecked::new(item))
    }

    fn __textback_messages<'v>(
        #[starlark(require = pos)] items: Value<'v>,
    ) -> starlark::Result<ValueOfUnchecked<'v, Vec<String>>> {
        Ok(ValueOfUnchecked::new(items))
    }

    fn __textback_medium<'v>(#[starlark(require = pos)] item: Value<'v>) -> starlark::Result<Medium<'v>> {
        Ok(ValueOfUnchecked::new(item))
    }

    fn __textback_media<'v>(
        #[starlark(require = pos)] items: Value<'v>,
    ) -> starlark::Result<ValueOfUnchecked<'v, Vec<SmallMap<Value<'v>, Value<'v>>>>> {
        Ok(ValueOfUnchecked::new(items))
    }

    fn __textback_text<'v>(#[starlark(require = pos)] text: ValueOfUnchecked<'v, String>) -> starlark::Result<String> {
        Ok(text.get().to_str())
    }

    fn __textback_number<'v>(
        #[starlark(require = pos)] number: ValueOfUnchecked<'v, UnpackFloat>,
    ) -> starlark::Result<Value<'v>> {
        Ok(number.get())
    }
}
