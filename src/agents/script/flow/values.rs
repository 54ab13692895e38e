//! What an expression of a script may be, as far as the script tells it: this very value, any value
//! of a type, one of several, or anything.

use starlark::values::dict::DictRef;
use starlark::values::float::StarlarkFloat;
use starlark::values::list::ListRef;
use starlark::values::structs::StructRef;
use starlark::values::tuple::TupleRef;
use starlark::values::{StringValue, Value as Actual, ValueLike};

/// The most alternatives that are told apart.
const MOST: usize = 4;
/// The most items of a list, a tuple or a dict whose items are known, and the longest such string.
const MOST_ITEMS: usize = 60;
const LONGEST_TEXT: usize = 400;
/// The largest known int. Larger ones could make values that use much memory.
const LARGEST: i32 = 10_000;
/// How deep items are known.
const DEEPEST: usize = 4;

/// A type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    List,
    Dict,
    Tuple,
    Set,
    Range,
    Function,
    Struct,
    Conv,
    State,
    Log,
    Json,
    /// The lists of conv, as long as a script does not change them, and what they hold. The texts
    /// of `conv.messages` are plain strings.
    History,
    Messages,
    Media,
    Entry,
    Medium,
}

/// One of the values that an expression may have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i32),
    Float(f64),
    Text(String),
    List(Vec<Possible>),
    Tuple(Vec<Possible>),
    Dict(Vec<(Possible, Possible)>),
    Struct(Vec<(String, Possible)>),
    Of(Kind),
}

/// The values that an expression may have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Possible {
    Anything,
    /// None of them: the expression never has a value.
    OneOf(Vec<Value>),
}

impl Value {
    /// The type of a value. None has none.
    pub(super) const fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::None => return None,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Text(_) => Kind::Text,
            Self::List(_) => Kind::List,
            Self::Tuple(_) => Kind::Tuple,
            Self::Dict(_) => Kind::Dict,
            Self::Struct(_) => Kind::Struct,
            Self::Of(kind) => *kind,
        })
    }

    pub(super) fn is_exact(&self) -> bool {
        match self {
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => true,
            Self::List(items) | Self::Tuple(items) => items.iter().all(Possible::is_exact),
            Self::Dict(pairs) => pairs.iter().all(|(key, value)| key.is_exact() && value.is_exact()),
            Self::Struct(fields) => fields.iter().all(|(_, value)| value.is_exact()),
            Self::Of(_) => false,
        }
    }

    /// Without what is known of its items, which a script may change.
    fn forgotten(self) -> Self {
        match self {
            Self::List(_) | Self::Of(Kind::History | Kind::Messages | Kind::Media) => Self::Of(Kind::List),
            Self::Dict(_) | Self::Of(Kind::Medium) => Self::Of(Kind::Dict),
            Self::Struct(fields) => {
                Self::Struct(fields.into_iter().map(|(name, value)| (name, value.forgotten())).collect())
            }
            Self::Tuple(items) => Self::Tuple(items.into_iter().map(Possible::forgotten).collect()),
            other => other,
        }
    }

    /// Any value of its type.
    fn general(self) -> Self {
        self.kind().map_or(Self::None, Self::Of)
    }

    fn is_true(&self) -> Option<bool> {
        match self {
            Self::None => Some(false),
            Self::Bool(truth) => Some(*truth),
            Self::Int(number) => Some(*number != 0),
            Self::Float(number) => Some(*number != 0.0),
            Self::Text(text) => Some(!text.is_empty()),
            Self::List(items) | Self::Tuple(items) => Some(!items.is_empty()),
            Self::Dict(pairs) => Some(!pairs.is_empty()),
            Self::Of(Kind::Function) | Self::Struct(_) => Some(true),
            Self::Of(_) => None,
        }
    }

    /// The value of the interpreter, as far as it is one that is known here. `exactly`: whether it
    /// is this very value, or one of its type.
    pub(super) fn of(actual: Actual, exactly: bool) -> Option<Self> {
        Self::at_depth(actual, exactly, 0)
    }

    fn at_depth(actual: Actual, exactly: bool, depth: usize) -> Option<Self> {
        if actual.is_none() {
            return Some(Self::None);
        }
        let known = Self::known(actual, depth).filter(|_| exactly);
        known.or_else(|| kind_of(actual).map(Self::Of))
    }

    /// The value with its items.
    fn known(actual: Actual, depth: usize) -> Option<Self> {
        if let Some(truth) = actual.unpack_bool() {
            return Some(Self::Bool(truth));
        }
        if let Some(number) = actual.unpack_i32() {
            return (-LARGEST..=LARGEST).contains(&number).then_some(Self::Int(number));
        }
        if let Some(text) = actual.unpack_str() {
            return (text.len() <= LONGEST_TEXT).then(|| Self::Text(text.to_owned()));
        }
        if let Some(number) = actual.downcast_ref::<StarlarkFloat>() {
            return number.0.is_finite().then_some(Self::Float(number.0));
        }
        let item = |item: Actual| {
            let known = Self::at_depth(item, true, depth + 1);
            known.map_or(Possible::Anything, Possible::from)
        };
        if depth >= DEEPEST {
            return None;
        }
        if let Some(list) = ListRef::from_value(actual) {
            return (list.len() <= MOST_ITEMS).then(|| Self::List(list.iter().map(item).collect()));
        }
        if let Some(tuple) = TupleRef::from_value(actual) {
            return (tuple.len() <= MOST_ITEMS).then(|| Self::Tuple(tuple.iter().map(item).collect()));
        }
        if let Some(fields) = StructRef::from_value(actual) {
            let known = |(name, value): (StringValue, Actual)| (name.as_str().to_owned(), item(value));
            return (fields.iter().len() <= MOST_ITEMS).then(|| Self::Struct(fields.iter().map(known).collect()));
        }
        let dict = DictRef::from_value(actual)?;
        let pairs = || dict.iter().map(|(key, value)| (item(key), item(value))).collect();
        (dict.iter().count() <= MOST_ITEMS).then(|| Self::Dict(pairs()))
    }
}

/// What the interpreter calls the types.
const TYPES: [(&str, Kind); 11] = [
    ("string", Kind::Text),
    ("int", Kind::Int),
    ("float", Kind::Float),
    ("bool", Kind::Bool),
    ("list", Kind::List),
    ("dict", Kind::Dict),
    ("tuple", Kind::Tuple),
    ("set", Kind::Set),
    ("range", Kind::Range),
    ("function", Kind::Function),
    ("struct", Kind::Struct),
];

impl Kind {
    /// What the interpreter calls the type.
    pub(super) fn name(self) -> Option<&'static str> {
        TYPES.iter().find(|(_, kind)| *kind == self).map(|(name, _)| *name)
    }
}

fn kind_of(actual: Actual) -> Option<Kind> {
    let name = if actual.get_type() == "native_function" { "function" } else { actual.get_type() };
    TYPES.iter().find(|(of, _)| *of == name).map(|(_, kind)| *kind)
}

impl From<Value> for Possible {
    fn from(value: Value) -> Self {
        Self::OneOf(vec![value])
    }
}

impl Possible {
    pub(super) const NEVER: Self = Self::OneOf(Vec::new());

    pub(super) fn of(kind: Kind) -> Self {
        Value::Of(kind).into()
    }

    pub(super) fn text(text: &str) -> Self {
        if text.len() <= LONGEST_TEXT { Value::Text(text.to_owned()).into() } else { Self::of(Kind::Text) }
    }

    pub(super) fn int(number: i32) -> Self {
        if (-LARGEST..=LARGEST).contains(&number) { Value::Int(number).into() } else { Self::of(Kind::Int) }
    }

    /// A list, a tuple or a dict with items, unless they are too many.
    pub(super) fn with_items<T>(kind: Kind, items: Vec<T>, known: fn(Vec<T>) -> Value) -> Self {
        if items.len() <= MOST_ITEMS { known(items).into() } else { Self::of(kind) }
    }

    pub(super) fn is_never(&self) -> bool {
        *self == Self::NEVER
    }

    /// The alternatives, if there are any and they are known.
    pub(super) fn alternatives(&self) -> &[Value] {
        match self {
            Self::Anything => &[],
            Self::OneOf(all) => all,
        }
    }

    /// The only type that the value may have.
    pub(super) fn only_kind(&self) -> Option<Kind> {
        let (first, rest) = self.alternatives().split_first()?;
        let kind = first.kind()?;
        rest.iter().all(|other| other.kind() == Some(kind)).then_some(kind)
    }

    /// Whether the value is known to the last item.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self.alternatives(), [only] if only.is_exact())
    }

    pub(super) fn truth(&self) -> Option<bool> {
        let (first, rest) = self.alternatives().split_first()?;
        let truth = first.is_true()?;
        rest.iter().all(|other| other.is_true() == Some(truth)).then_some(truth)
    }

    /// Either of two.
    pub(super) fn or(self, other: Self) -> Self {
        let (Self::OneOf(mut all), Self::OneOf(more)) = (self, other) else { return Self::Anything };
        for value in more {
            let is_known = |one: &Value| *one == value || *one == value.clone().general();
            if !all.iter().any(is_known) {
                all.push(value);
            }
        }
        if all.len() > MOST {
            let mut general: Vec<Value> = Vec::new();
            for value in all.into_iter().map(Value::general) {
                if !general.contains(&value) {
                    general.push(value);
                }
            }
            all = general;
        }
        if all.len() > MOST { Self::Anything } else { Self::OneOf(all) }
    }

    pub(super) fn any_of(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::NEVER, Self::or)
    }

    fn map(self, change: impl Fn(Value) -> Value) -> Self {
        match self {
            Self::Anything => Self::Anything,
            Self::OneOf(all) => Self::OneOf(all.into_iter().map(change).collect()),
        }
    }

    /// Without what is known of items.
    pub(super) fn forgotten(self) -> Self {
        self.map(Value::forgotten)
    }

    /// With what is known of its own items, and without what is known of theirs.
    pub(super) fn with_own_items(self) -> Self {
        self.map(|value| match value {
            Value::List(items) => Value::List(items.into_iter().map(Self::forgotten).collect()),
            Value::Tuple(items) => Value::Tuple(items.into_iter().map(Self::forgotten).collect()),
            Value::Dict(pairs) => Value::Dict(pairs.into_iter().map(|(key, value)| (key, value.forgotten())).collect()),
            other => other,
        })
    }

    /// Any value of its types.
    pub(super) fn general(self) -> Self {
        self.map(Value::general)
    }
}
