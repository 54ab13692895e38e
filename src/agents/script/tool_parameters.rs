//! The parameters of a tool: the types that a script may write, and the JSON Schema of each.

use serde_json::{Map, Value, json};
use starlark::codemap::Span;
use starlark::syntax::ast::{AstExpr, BinOp, ExprP};

use crate::domain::bounds;

/// How much of a script's text an error shows, in bytes.
const SHOWN_BYTES: usize = 60;
/// The types that a parameter may have, for error messages.
const TYPES: &str = "str, int, float, bool, list[…] of one of these, or one of them with | None";
/// How deep lists may be nested. Providers limit the depth of a strict schema.
const MOST_LISTS: usize = 4;

/// A type without None.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueType {
    Text,
    WholeNumber,
    Number,
    Truth,
    List(Box<ValueType>),
}

/// A parameter of a tool, beside `conv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) of: ValueType,
    /// Whether its type has None too.
    pub(super) takes_none: bool,
    /// Whether the function has a value for it that is used if the model gives none.
    pub(super) has_default: bool,
    pub(super) description: Option<String>,
}

/// The type that a script writes for a parameter, and whether None is one of its values. The error
/// has the place of what can't be used.
pub(super) fn read_type(written: &AstExpr) -> Result<(ValueType, bool), (Span, String)> {
    let ExprP::Op(left, BinOp::BitOr, right) = &written.node else {
        return value_type(written, 0).map(|of| (of, false));
    };
    match (is_none(left), is_none(right)) {
        (false, true) => value_type(left, 0).map(|of| (of, true)),
        (true, false) => value_type(right, 0).map(|of| (of, true)),
        (true, true) | (false, false) => Err(several(written)),
    }
}

fn is_none(written: &AstExpr) -> bool {
    matches!(&written.node, ExprP::Identifier(name) if name.node.ident == "None")
}

/// What is shown of a part of a script: its first line, cut.
pub(super) fn short(written: &str) -> String {
    bounds::text(written.lines().next().unwrap_or_default(), SHOWN_BYTES).into_owned()
}

fn several(written: &AstExpr) -> (Span, String) {
    let shown = short(&written.node.to_string());
    (written.span, format!("{shown} has several types; a parameter of a tool has one of {TYPES}"))
}

fn value_type(written: &AstExpr, lists: usize) -> Result<ValueType, (Span, String)> {
    let name = match &written.node {
        ExprP::Identifier(name) => &name.node.ident,
        ExprP::Index(parts) => match &parts.0.node {
            ExprP::Identifier(name) if name.node.ident == "list" => {
                if lists >= MOST_LISTS {
                    return Err((written.span, format!("lists are nested over {MOST_LISTS} deep")));
                }
                return value_type(&parts.1, lists + 1).map(|item| ValueType::List(Box::new(item)));
            }
            ExprP::Identifier(name) => &name.node.ident,
            _ => return Err(unusable(written)),
        },
        ExprP::Index2(parts) => match &parts.0.node {
            ExprP::Identifier(name) => &name.node.ident,
            _ => return Err(unusable(written)),
        },
        ExprP::Op(_, BinOp::BitOr, _) => return Err(several(written)),
        _ => return Err(unusable(written)),
    };
    Ok(match name.as_str() {
        "str" => ValueType::Text,
        "int" => ValueType::WholeNumber,
        "float" => ValueType::Number,
        "bool" => ValueType::Truth,
        "list" => {
            let what = "list has no type of its items; write it in brackets, such as list[str]";
            return Err((written.span, what.to_owned()));
        }
        "dict" => {
            let what = "a dict has no strict JSON Schema, since its keys are not known; use a parameter for each key, or a str that holds JSON";
            return Err((written.span, what.to_owned()));
        }
        _ => return Err(unusable(written)),
    })
}

fn unusable(written: &AstExpr) -> (Span, String) {
    let shown = short(&written.node.to_string());
    (written.span, format!("{shown} is no type of a parameter of a tool; use {TYPES}"))
}

impl ValueType {
    fn schema(&self, is_nullable: bool) -> Map<String, Value> {
        let name = match self {
            Self::Text => "string",
            Self::WholeNumber => "integer",
            Self::Number => "number",
            Self::Truth => "boolean",
            Self::List(_) => "array",
        };
        let mut schema = Map::new();
        schema.insert("type".to_owned(), if is_nullable { json!([name, "null"]) } else { json!(name) });
        if let Self::List(item) = self {
            schema.insert("items".to_owned(), Value::Object(item.schema(false)));
        }
        schema
    }
}

/// The strict JSON Schema of a tool's arguments.
pub(super) fn schema(parameters: &[Parameter]) -> Value {
    let properties: Map<String, Value> = parameters
        .iter()
        .map(|parameter| {
            let mut schema = parameter.of.schema(parameter.is_optional());
            if let Some(description) = &parameter.description {
                schema.insert("description".to_owned(), json!(description));
            }
            (parameter.name.clone(), Value::Object(schema))
        })
        .collect();
    let required: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

impl Parameter {
    /// Whether a model may give null instead of a value.
    fn is_optional(&self) -> bool {
        self.takes_none || self.has_default
    }
}
