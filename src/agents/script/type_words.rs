//! What the interpreter's type checker finds, and how it is told.

use starlark::docs::{DocItem, DocMember, DocParam, DocParams};
use starlark::environment::Module;
use starlark::syntax::ast::{AstArgument, AstExpr, AstParameter, ExprP, ParameterP};
use starlark::typing::Ty;
use starlark::values::dict::AllocDict;
use starlark::values::{Heap, Value};

use super::certain::SET_METHODS;
use super::interpret::globals;
use super::items::OF_ENTRY;
use super::members::{Given, unfit as unfit_call};
use super::module_names::ModuleNames;
use crate::domain::bounds;
use crate::domain::suggestion::nearest;

/// How much of a script's text an error shows, in bytes.
const SHOWN_BYTES: usize = 60;

/// A finding of the checker. It has only texts, so they are parsed; one that is not known is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    NoAttribute { of: String, attribute: String },
    OtherType { got: String, required: String },
    NotCallable(String),
    Missing,
    UnknownArgument(String),
    TooMany,
    NoIndex(String),
    NoSlice(String),
    NotIterable(String),
    NoUnary { operator: String, of: String },
    NoBinary { operator: String, left: String, right: String },
}

impl Finding {
    pub(super) fn of(message: &str) -> Option<Self> {
        // The texts quote with backquotes, which no name of a type has.
        let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
        let words: Vec<&str> = message.split('`').step_by(2).map(str::trim).collect();
        let mut next = || quoted.next();
        Some(match words[..] {
            ["The attribute", "is not available on the type", ""] => {
                let attribute = next()?;
                Self::NoAttribute { of: next()?, attribute }
            }
            ["Expected type", "but got", ""] => {
                let required = next()?;
                Self::OtherType { got: next()?, required }
            }
            ["Call to a non-callable type", ""] | ["Type", "is not callable"] => Self::NotCallable(next()?),
            ["Missing required parameter", ""] => Self::Missing,
            ["Unexpected parameter named", ""] => Self::UnknownArgument(next()?),
            ["Too many positional arguments"] => Self::TooMany,
            ["Type", "does not have [] operator or [] cannot accept", ""] => Self::NoIndex(next()?),
            ["Type", "does not have [::] operator"] => Self::NoSlice(next()?),
            ["Type", "is not iterable"] => Self::NotIterable(next()?),
            ["Unary operator", "is not available on the type", ""] => {
                let operator = next()?;
                Self::NoUnary { operator, of: next()? }
            }
            ["Binary operator", "is not available on the types", "and", ""] => {
                let (operator, left) = (next()?, next()?);
                Self::NoBinary { operator, left, right: next()? }
            }
            _ => return None,
        })
    }
}

/// A type, as the checker writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Float,
    Bool,
    None,
    List,
    Dict,
    Tuple,
    Set,
    Range,
    Iterable,
    Function,
    Module,
    Struct,
    Conv,
    State,
    Log,
    /// An entry of `conv.history`.
    Entry,
    /// One of several, or a type that is not known here.
    Other,
}

impl Kind {
    fn of(written: &str) -> Self {
        if is_union(written) {
            return Self::Other;
        }
        let name = written.split(['[', '(']).next().unwrap_or_default();
        match name {
            "str" => Self::Text,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "None" => Self::None,
            "list" => Self::List,
            "dict" => Self::Dict,
            "tuple" => Self::Tuple,
            "set" => Self::Set,
            "range" => Self::Range,
            "typing.Iterable" => Self::Iterable,
            "def" | "function" | "native_function" | "typing.Callable" => Self::Function,
            "namespace" => Self::Module,
            "struct" => Self::Struct,
            "conv" => Self::Conv,
            "state" => Self::State,
            "log" => Self::Log,
            "entry" => Self::Entry,
            _ => Self::Other,
        }
    }

    fn noun(self) -> Option<&'static str> {
        Some(match self {
            Self::Text => "a string",
            Self::Int => "an int",
            Self::Float => "a float",
            Self::Bool => "a bool",
            Self::None => "None",
            Self::List => "a list",
            Self::Dict => "a dict",
            Self::Tuple => "a tuple",
            Self::Set => "a set",
            Self::Range => "a range",
            Self::Iterable => "something with items, such as a list",
            Self::Function => "a function",
            Self::Module => "json",
            Self::Struct => "this struct",
            Self::Conv => "conv",
            Self::State => "conv.state",
            Self::Log => "conv.log",
            Self::Entry => "an entry of conv.history",
            Self::Other => return None,
        })
    }

    /// Whether a value of this type is nothing but its own: nothing can be put into it, and it
    /// stands for nothing else as None does.
    fn is_plain(self) -> bool {
        matches!(self, Self::Text | Self::Int | Self::Float | Self::Bool)
    }

    fn attributes(self) -> Vec<String> {
        match self {
            Self::Entry => return OF_ENTRY.map(str::to_owned).to_vec(),
            Self::Set => return SET_METHODS.map(str::to_owned).to_vec(),
            Self::Module => {
                // The value lives as long as what it is read from.
                let globals = globals();
                let module = globals.iter().find(|(name, _)| *name == "json");
                return module.map(|(_, value)| value.to_value().dir_attr()).unwrap_or_default();
            }
            _ => {}
        }
        Module::with_temp_heap(|module| self.example(module.heap()).map(|value| value.dir_attr()).unwrap_or_default())
    }

    fn example(self, heap: Heap<'_>) -> Option<Value<'_>> {
        Some(match self {
            Self::Text => heap.alloc(""),
            Self::List => heap.alloc(Vec::<i32>::new()),
            Self::Dict => heap.alloc(AllocDict(std::iter::empty::<(i32, i32)>())),
            _ => return None,
        })
    }
}

/// Whether several types are written, as in `int | str`.
fn is_union(written: &str) -> bool {
    alternatives(written).count() > 1
}

/// The types of a union.
fn alternatives(written: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    written
        .split(move |letter| {
            depth += i32::from(matches!(letter, '[' | '(')) - i32::from(matches!(letter, ']' | ')'));
            depth == 0 && letter == '|'
        })
        .map(str::trim)
}

/// Why reading an attribute fails. None has none either, but a name that is None is often asked for
/// it first.
pub(super) fn no_attribute(of: &str, attribute: &str) -> Option<String> {
    let kind = Kind::of(of);
    if kind == Kind::None {
        return None;
    }
    let Some(noun) = kind.noun() else { return Some(format!("nothing that this may be has an attribute {attribute}")) };
    let known = kind.attributes();
    Some(match nearest(attribute, known.iter().map(String::as_str)) {
        Some(meant) => format!("{noun} has no attribute {attribute}; did you mean {meant}?"),
        None if kind == Kind::Dict => format!("{noun} has no attribute {attribute}; [\"{attribute}\"] reads a key"),
        None if kind == Kind::Entry => format!("{noun} has no attribute {attribute}; it has {}", known.join(", ")),
        None => format!("{noun} has no attribute {attribute}"),
    })
}

/// What is told of a value that can't be used in a way.
pub(super) fn about(of: &str, what: &str) -> Option<String> {
    let kind = Kind::of(of);
    (kind != Kind::None).then(|| kind.noun().map(|noun| format!("{noun} {what}")))?
}

pub(super) fn not_iterable(of: &str) -> Option<String> {
    match Kind::of(of) {
        Kind::Text => Some(
            "a string has no items to go over; text.split() gives its words, and text.elems() its characters"
                .to_owned(),
        ),
        _ => about(of, "has no items to go over"),
    }
}

/// What is told of an operator between two types. Containers are left, since more goes with them
/// than the checker knows.
pub(super) fn no_operator(operator: &str, left: &str, right: &str) -> Option<String> {
    let (left, right) = (Kind::of(left), Kind::of(right));
    let is_certain = left.is_plain() && right.is_plain();
    is_certain.then(|| Some(format!("{} {operator} {} can't be computed", left.noun()?, right.noun()?)))?
}

/// What is told of a value that is added to a literal or compared with one.
pub(super) fn beside_literal(got: &str, required: &str) -> Option<String> {
    let kind = Kind::of(got);
    if kind == Kind::None {
        return None;
    }
    Some(match required {
        "str" => {
            format!("a string goes only with a string here, and this is {}; str(…) makes a string of it", kind.noun()?)
        }
        _ => format!("a number goes only with a number here, and this is {}", kind.noun()?),
    })
}

/// What is told of an argument of another type than a function takes.
pub(super) fn other_type(called: &str, got: &str, required: &str) -> Option<String> {
    let kind = Kind::of(got);
    // What a container holds is not known, and None is often asked for first.
    let is_known =
        matches!(kind, Kind::List | Kind::Dict | Kind::Tuple | Kind::Set | Kind::Conv | Kind::State | Kind::Entry);
    let is_told = kind.is_plain() || (is_known && only_plain(required));
    if !is_told {
        return None;
    }
    let taken: Vec<&str> = alternatives(required)
        .map(Kind::of)
        .filter(|kind| *kind != Kind::None)
        .map(|kind| kind.noun().unwrap_or("another value"))
        .collect();
    let hint = if taken == ["a string"] && kind.is_plain() { "; str(…) makes a string of it" } else { "" };
    Some(format!("{called} takes {} here, and this is {}{hint}", taken.join(" or "), kind.noun()?))
}

/// Whether only types are taken into which nothing can be put.
fn only_plain(required: &str) -> bool {
    alternatives(required).map(Kind::of).all(|kind| kind.is_plain() || kind == Kind::None)
}

/// What is told of a call that does not fit what it calls. `written` is what it calls.
///
/// The description of a function decides, where there is one: the checker knows fewer parameters of
/// some methods.
pub(super) fn unfit(
    finding: &Finding,
    written: &str,
    call: (&AstExpr, &[AstArgument]),
    names: &ModuleNames,
) -> Option<String> {
    let (called, args) = call;
    let described = match &called.node {
        ExprP::Identifier(name) => {
            let own = names.function(&name.node.ident).map(|function| written_parameters(function.parameters()));
            own.or_else(|| of_global(&name.node.ident)).into_iter().collect()
        }
        ExprP::Dot(_, method) => of_methods(&method.node),
        _ => Vec::new(),
    };
    if !described.is_empty() {
        let given = Given::of(args);
        let unfit: Option<Vec<String>> =
            described.iter().map(|parameters| unfit_call(written, parameters, &given)).collect();
        return unfit?.into_iter().next();
    }
    // The uses of conv are checked before, by a description of it.
    if written.starts_with("conv.") {
        return None;
    }
    Some(match finding {
        Finding::UnknownArgument(name) => format!("{written} has no argument by the name {name}"),
        Finding::TooMany => format!("{written} is called with too many arguments"),
        _ => format!("{written} is called without an argument that it needs"),
    })
}

/// The parameters of a function of the script.
fn written_parameters(parameters: &[AstParameter]) -> DocParams {
    let (mut written, mut is_named) = (DocParams::default(), false);
    let of = |name: &str, has_default: bool| DocParam {
        name: name.to_owned(),
        docs: None,
        typ: Ty::any(),
        default_value: has_default.then(String::new),
    };
    for parameter in parameters {
        match &parameter.node {
            ParameterP::Slash => written.pos_only = std::mem::take(&mut written.pos_or_named),
            ParameterP::Normal(name, _, default) => {
                let into = if is_named { &mut written.named_only } else { &mut written.pos_or_named };
                into.push(of(&name.node.ident, default.is_some()));
            }
            ParameterP::NoArgs => is_named = true,
            ParameterP::Args(name, _) => {
                is_named = true;
                written.args = Some(of(&name.node.ident, false));
            }
            ParameterP::KwArgs(name, _) => written.kwargs = Some(of(&name.node.ident, false)),
        }
    }
    written
}

fn of_global(name: &str) -> Option<DocParams> {
    match described(name)? {
        DocItem::Member(DocMember::Function(function)) => Some(function.params),
        DocItem::Type(of) => Some(of.constructor?.params),
        DocItem::Member(DocMember::Property(_)) | DocItem::Module(_) => None,
    }
}

/// The parameters of a method, of each type that has one by this name.
fn of_methods(name: &str) -> Vec<DocParams> {
    let of_type = |of: &str| match described(of)? {
        DocItem::Type(of) => match of.members.get(name)? {
            DocMember::Function(function) => Some(function.params.clone()),
            DocMember::Property(_) => None,
        },
        DocItem::Member(_) | DocItem::Module(_) => None,
    };
    ["str", "list", "dict", "set"].into_iter().filter_map(of_type).collect()
}

/// The description of what scripts can use.
fn described(name: &str) -> Option<DocItem> {
    let globals = globals();
    let (_, value) = globals.iter().find(|(global, _)| *global == name)?;
    Some(value.to_value().documentation())
}

/// What is shown of a part of a script: its first line, cut.
pub(super) fn short(written: &str) -> String {
    bounds::text(written.lines().next().unwrap_or_default(), SHOWN_BYTES).into_owned()
}

/// The methods of a value, as it is written.
#[cfg(test)]
pub(super) fn methods_of(written: &str) -> Vec<String> {
    let kind = match written.chars().next() {
        Some('[') => Kind::List,
        Some('{') => Kind::Dict,
        Some('s') => Kind::Set,
        _ => Kind::Text,
    };
    kind.attributes()
}
