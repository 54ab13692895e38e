//! Follows values through calls: of the script's functions, of the language's, and of methods.

use starlark::codemap::Span;
use starlark::syntax::ast::{ArgumentP, AstArgument, AstExpr, ExprP, ParameterP};

use super::exprs::{is_list_of_conv, may_be};
use super::trial::{Errors, Outcome};
use super::values::{Kind, Possible, Value};
use super::{Flow, Frame, merged};
use crate::agents::script::members::{self, unfit, written_parameters};
use crate::agents::script::module_names::{Function, parameter_name, positional_names};

/// The functions of the language whose values have a type that the samples show. Others return an
/// item of what they get, or call what they get.
const OF_KNOWN_TYPE: [&str; 19] = [
    "abs",
    "all",
    "any",
    "bool",
    "chr",
    "dict",
    "enumerate",
    "float",
    "int",
    "len",
    "list",
    "ord",
    "range",
    "repr",
    "reversed",
    "set",
    "sorted",
    "str",
    "tuple",
];
/// The methods that return an item of their list or dict.
const TAKING: [&str; 4] = ["get", "pop", "popitem", "setdefault"];
/// The methods of `conv.state`.
pub(super) const OF_STATE: [&str; 3] = ["get", "items", "pop"];

type Call<'a> = (Span, &'a AstExpr, &'a [AstArgument]);

/// The arguments of a call.
struct Given<'a> {
    args: Vec<(Option<&'a str>, Possible)>,
    /// Whether `*list` or `**dict` gives more.
    has_more: bool,
}

impl Given<'_> {
    /// The call as an operation, whose arguments are the operands from this one on.
    fn written(&self, called: &str, first: usize) -> String {
        let args = self.args.iter().enumerate().map(|(at, (name, _))| match name {
            Some(name) => format!("{name} = a{}", at + first),
            None => format!("a{}", at + first),
        });
        let args: Vec<String> = args.collect();
        format!("return {called}({})", args.join(", "))
    }

    fn operands<'g>(&'g self, first: Option<&'g Possible>) -> Vec<&'g Possible> {
        first.into_iter().chain(self.args.iter().map(|(_, value)| value)).collect()
    }
}

impl<'a> Flow<'a> {
    pub(super) fn call(&mut self, frame: &mut Frame<'a>, (span, called, args): Call<'a>) -> Possible {
        if let ExprP::Dot(of, method) = &called.node {
            let of = self.expr(frame, of);
            let given = self.given(frame, args);
            return match of.is_never() || given.args.iter().any(|(_, value)| value.is_never()) {
                true => Possible::NEVER,
                false => self.method((&of, &method.node), &given, (span, method.span)),
            };
        }
        let name = match &called.node {
            ExprP::Identifier(name) => Some(name.node.ident.as_str()),
            _ => None,
        };
        let is_local = |name: &&str| {
            frame.locals.contains_key(name) || frame.bound.contains(name) || frame.around.contains_key(name)
        };
        let of_top = name.filter(|name| !is_local(name));
        let function = self.expr(frame, called);
        let given = self.given(frame, args);
        if function.is_never() || given.args.iter().any(|(_, value)| value.is_never()) {
            return Possible::NEVER;
        }
        if let Some(name) = of_top {
            if let Some(function) = self.names.function(name) {
                return self.call_own(frame, (name, function), (&given, args), span);
            }
            if !self.names.is_own(name) && self.trial.knows_global(name) {
                return self.call_global(frame, name, &given, span);
            }
        }
        if function != Possible::Anything && !may_be(&function, Kind::Function) && !may_be(&function, Kind::Struct) {
            self.apply("return a0()", &[&function], (span, Errors::OfTypes));
        }
        Possible::Anything
    }

    fn given(&mut self, frame: &mut Frame<'a>, args: &'a [AstArgument]) -> Given<'a> {
        let mut given = Given { args: Vec::new(), has_more: false };
        for argument in args {
            match &argument.node {
                ArgumentP::Positional(value) => given.args.push((None, self.expr(frame, value))),
                ArgumentP::Named(name, value) => given.args.push((Some(&name.node), self.expr(frame, value))),
                ArgumentP::Args(value) | ArgumentP::KwArgs(value) => {
                    self.expr(frame, value);
                    given.has_more = true;
                }
            }
        }
        given
    }

    /// A call of a function of the script. What it gets is noted.
    fn call_own(
        &mut self,
        frame: &mut Frame<'a>,
        (name, function): (&'a str, Function<'a>),
        (given, args): (&Given<'a>, &'a [AstArgument]),
        span: Span,
    ) -> Possible {
        // Another name of the function may be called.
        let Some(name) = self.functions.iter().find(|(_, own)| own.is(&function)).map(|(own, _)| *own).or(Some(name))
        else {
            return Possible::Anything;
        };
        if let Some(what) = unfit(name, &written_parameters(function.parameters()), &members::Given::of(args)) {
            self.tell(span, what);
            return Possible::Anything;
        }
        let (is_last, pass) = (self.is_last, self.pass);
        let Some(summary) = self.summaries.get_mut(name) else { return Possible::Anything };
        let positional: Vec<&str> = positional_names(function.parameters()).collect();
        for parameter in function.parameters().iter().filter(|_| !is_last) {
            let ParameterP::Normal(_, _, default) = &parameter.node else { continue };
            let Some(own) = parameter_name(parameter) else { continue };
            let at = positional.iter().position(|one| *one == own);
            let mut by_position = given.args.iter().filter(|(name, _)| name.is_none());
            let by_name = given.args.iter().find(|(name, _)| *name == Some(own));
            let argument = by_name.or_else(|| by_position.nth(at?)).map(|(_, value)| value.clone().forgotten());
            let value = match argument {
                _ if given.has_more => Possible::Anything,
                Some(value) => value,
                None if default.is_some() => Possible::Anything,
                // The call fails, which is told elsewhere.
                None => continue,
            };
            let Some(known) = summary.parameters.get_mut(own) else { continue };
            let more = merged(known, value, pass);
            if more != *known {
                *known = more;
                self.has_changed = true;
            }
        }
        if summary.returns.is_never() {
            frame.may_fail |= summary.may_fail;
            frame.ended = frame.ended.or(Some((span, Some(name))));
        }
        summary.returns.clone()
    }

    fn call_global(&mut self, frame: &mut Frame<'a>, name: &'a str, given: &Given<'a>, span: Span) -> Possible {
        if name == "fail" {
            frame.may_fail = true;
            frame.ended = frame.ended.or(Some((span, None)));
            return Possible::NEVER;
        }
        match (name, given.args.as_slice()) {
            ("type", [(None, of)]) => {
                let of_one = of.only_kind().and_then(Kind::name).or((*of == Value::None.into()).then_some("NoneType"));
                return of_one.map_or_else(|| Possible::of(Kind::Text), Possible::text);
            }
            ("getattr", _) => return Possible::Anything,
            ("struct", args) if !given.has_more && args.iter().all(|(name, _)| name.is_some()) => {
                let fields = args.iter().map(|(name, value)| (name.unwrap_or_default().to_owned(), value.clone()));
                return Value::Struct(fields.collect()).into();
            }
            ("list" | "reversed", [(None, of)]) if is_list_of_conv(of) => return of.clone(),
            ("hasattr", [(None, of), (None, name)]) => return self.has_attribute(of, name),
            _ => {}
        }
        let calls = given.args.iter().any(|(_, value)| may_be(value, Kind::Function) && *value != Possible::Anything);
        if given.has_more || (calls && !matches!(name, "len" | "int" | "float" | "range")) {
            return if name == "str" { Possible::of(Kind::Text) } else { Possible::Anything };
        }
        let result = self.apply(&given.written(name, 0), &given.operands(None), (span, Errors::OfTypes));
        match name {
            _ if OF_KNOWN_TYPE.contains(&name) => result.forgotten(),
            _ if given.args.iter().all(|(_, value)| value.is_exact()) => result.forgotten(),
            "str" | "repr" => Possible::of(Kind::Text),
            _ => Possible::Anything,
        }
    }

    fn has_attribute(&mut self, of: &Possible, name: &Possible) -> Possible {
        if let [Value::Text(name)] = name.alternatives()
            && of.only_kind().is_none_or(|kind| kind.name().is_some())
            && !may_be(of, Kind::Struct)
            && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
            && of.alternatives().len() == 1
        {
            let outcome = self.trial.of(&format!("return hasattr(a0, \"{name}\") or 1 // 0"), &[of], Errors::All);
            return Value::Bool(!matches!(outcome, Outcome::Fails(_))).into();
        }
        Possible::of(Kind::Bool)
    }

    fn method(&mut self, (of, method): (&Possible, &'a str), given: &Given<'a>, (span, at): (Span, Span)) -> Possible {
        if *of == Possible::Anything || may_be(of, Kind::Struct) {
            return Possible::Anything;
        }
        if matches!(of.only_kind(), Some(Kind::Conv | Kind::Log | Kind::Entry)) {
            let attribute = self.attribute(of, method, at);
            if attribute.only_kind() != Some(Kind::Function) {
                return Possible::Anything;
            }
        }
        if of.only_kind() == Some(Kind::State) && !OF_STATE.contains(&method) {
            if !self.keys.is_set(method) {
                let has = OF_STATE.join(", ");
                self.tell(at, format!("conv.state has no method {method}; it has {has}, and all else are keys"));
            }
            return Possible::Anything;
        }
        let is_tested = self.names.asks_for_any || self.names.tested.contains(method);
        let calls = given.args.iter().any(|(_, value)| may_be(value, Kind::Function) && *value != Possible::Anything);
        if given.has_more || calls || is_tested || may_be(of, Kind::State) && of.only_kind().is_none() {
            return Possible::Anything;
        }
        let decodes = of.only_kind() == Some(Kind::Json) && given.args.iter().all(|(_, value)| value.is_exact());
        let is_form = method == "format" && of.is_exact();
        let errors = if is_form || decodes { Errors::All } else { Errors::OfTypes };
        let span = if of.alternatives().len() == 1 && given.args.is_empty() { at } else { span };
        let operands = given.operands(Some(of));
        let result = self.apply(&given.written(&format!("a0.{method}"), 1), &operands, (span, errors));
        match of.only_kind() {
            Some(Kind::State) if method == "items" => Possible::of(Kind::Dict),
            Some(Kind::State) => Possible::Anything,
            _ if TAKING.contains(&method) => taken(of, method, given),
            Some(Kind::Json) if method == "encode" => Possible::of(Kind::Text),
            Some(Kind::Conv | Kind::Log | Kind::Json) => Possible::Anything,
            _ => result.forgotten(),
        }
    }
}

/// What a method takes out of a list or a dict.
fn taken(of: &Possible, method: &str, given: &Given) -> Possible {
    let ("get", [Value::Dict(pairs)], [_, rest @ ..]) = (method, of.alternatives(), &given.args[..]) else {
        return Possible::Anything;
    };
    let values = Possible::any_of(pairs.iter().map(|(_, value)| value.clone()));
    let default = rest.first().map_or(Value::None.into(), |(_, value)| value.clone());
    values.or(default).forgotten()
}
