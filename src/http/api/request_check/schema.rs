//! What the OpenAPI document says about a value of a request, and the faults of a value in words.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::json::{Path, SHOWN_NAME_BYTES};
use crate::domain::bounds;
use crate::domain::suggestion::or_known;

/// The most faults that one error tells.
const MOST_FAULTS: usize = 8;
/// The most bytes of a value that an error shows.
const SHOWN_VALUE_BYTES: usize = 60;

/// What a value must be.
#[derive(Debug, PartialEq)]
pub(super) enum Schema {
    /// Any JSON.
    Any,
    Object(Vec<Property>),
    /// An object with fields of any names.
    Map,
    Array {
        items: Box<Self>,
        count: Range,
    },
    Text {
        form: Form,
        characters: Range,
    },
    Integer(Range),
    Number,
    Boolean,
}

/// A field of an object, or a parameter.
#[derive(Debug, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) is_required: bool,
}

/// What a text must be.
#[derive(Debug, PartialEq)]
pub(super) enum Form {
    Any,
    Uuid,
    Time,
    OneOf(Vec<String>),
}

/// The least and the most of a count or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range(i64, i64);

impl Range {
    const ALL: Self = Self(i64::MIN, i64::MAX);

    const fn has(self, value: i64) -> bool {
        self.0 <= value && value <= self.1
    }

    const fn within(self, other: Self) -> Self {
        let Self(least, most) = self;
        Self(if other.0 > least { other.0 } else { least }, if other.1 < most { other.1 } else { most })
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self(i64::MIN, most) => write!(f, "at most {most}"),
            Self(least, i64::MAX) => write!(f, "at least {least}"),
            Self(least, most) => write!(f, "{least} to {most}"),
        }
    }
}

impl Schema {
    /// Reads a schema of the document. What it refers to is read too; no request of ours contains
    /// itself.
    pub(super) fn read(document: &Value, schema: &Value) -> Self {
        if let Some(reference) = schema["$ref"].as_str() {
            let found = document.pointer(reference.trim_start_matches('#'));
            return found.map_or(Self::Any, |found| Self::read(document, found));
        }
        match schema["type"].as_str() {
            Some("object") => match schema["properties"].as_object() {
                Some(properties) => {
                    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let property = |(name, schema): (&String, &Value)| Property {
                        name: name.clone(),
                        schema: Self::read(document, schema),
                        is_required: required.iter().any(|required| required == name),
                    };
                    let mut properties: Vec<Property> = properties.iter().map(property).collect();
                    // Errors tell what is missing in the order of the document.
                    properties.sort_by_key(|property| {
                        required.iter().position(|name| *name == property.name).unwrap_or(usize::MAX)
                    });
                    Self::Object(properties)
                }
                None => Self::Map,
            },
            Some("array") => Self::Array {
                items: Box::new(Self::read(document, &schema["items"])),
                count: Range(least(&schema["minItems"]), most(&schema["maxItems"])),
            },
            Some("string") => Self::Text {
                form: Form::read(schema),
                characters: Range(least(&schema["minLength"]), most(&schema["maxLength"])),
            },
            Some("integer") => {
                let of_format = match schema["format"].as_str() {
                    Some("int32") => Range(i32::MIN.into(), i32::MAX.into()),
                    Some("uint16") => Range(0, u16::MAX.into()),
                    Some("uint32") => Range(0, u32::MAX.into()),
                    _ => Range::ALL,
                };
                Self::Integer(of_format.within(Range(least(&schema["minimum"]), most(&schema["maximum"]))))
            }
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            _ => Self::Any,
        }
    }

    /// The faults of a JSON value, each a sentence that names its field.
    pub(super) fn faults(&self, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(value, &Path::Root, &mut faults);
        faults
    }

    fn check(&self, value: &Value, path: &Path<'_>, faults: &mut Vec<String>) {
        if faults.len() >= MOST_FAULTS {
            return;
        }
        let fault = match (self, value) {
            (Self::Any, _)
            | (Self::Map, Value::Object(_))
            | (Self::Number, Value::Number(_))
            | (Self::Boolean, Value::Bool(_)) => None,
            (Self::Object(properties), Value::Object(fields)) => return check_object(properties, fields, path, faults),
            (Self::Array { items, count }, Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    items.check(value, &Path::Item(path, index), faults);
                }
                is_outside(*count, values.len()).then(|| format!("must have {count} items; it has {}", values.len()))
            }
            (Self::Text { form, characters }, Value::String(text)) => {
                let has = text.chars().count();
                let length = is_outside(*characters, has).then(|| match characters {
                    Range(least, i64::MAX) if *least == 1 => "must not be empty".to_owned(),
                    characters => format!("must have {characters} characters; it has {has}"),
                });
                form.fault(text).or(length)
            }
            (Self::Integer(range), Value::Number(number)) => match number.as_i64() {
                Some(whole) if range.has(whole) => None,
                _ if number.is_f64() => Some(format!("must be an integer; it is {}", shown(&number.to_string()))),
                _ => Some(format!("must be {range}; it is {}", shown(&number.to_string()))),
            },
            _ => Some(format!("must be {}, not {}", self.kind(), kind_of(value))),
        };
        faults.extend(fault.map(|fault| format!("{path} {fault}")));
    }

    /// What is wrong with the value of a parameter, which is always a text.
    pub(super) fn parameter_fault(&self, text: &str) -> Option<String> {
        match self {
            Self::Text { form, .. } => form.fault(text),
            Self::Integer(range) => match text.parse::<i64>() {
                Ok(whole) if range.has(whole) => None,
                Ok(_) => Some(format!("must be {range}; it is {}", shown(text))),
                Err(_) => Some(format!("must be an integer; it is {:?}", shown(text))),
            },
            Self::Boolean if !matches!(text, "true" | "false") => {
                Some(format!("must be true or false; it is {:?}", shown(text)))
            }
            Self::Any | Self::Boolean | Self::Number | Self::Object(_) | Self::Map | Self::Array { .. } => None,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Object(_) | Self::Map => "an object",
            Self::Array { .. } => "an array",
            Self::Text { .. } => "a string",
            Self::Integer(_) => "an integer",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }
}

/// Checks the fields of an object. Null stands for a field that is not given, unless the field is
/// required.
fn check_object(
    properties: &[Property],
    fields: &serde_json::Map<String, Value>,
    path: &Path<'_>,
    faults: &mut Vec<String>,
) {
    for property in properties {
        let here = Path::Field(path, &property.name);
        match fields.get(&property.name) {
            None if property.is_required => faults.push(format!("{here} is missing")),
            None => {}
            Some(Value::Null) if !property.is_required => {}
            Some(value) => property.schema.check(value, &here, faults),
        }
    }
    let known: Vec<&str> = properties.iter().map(|property| property.name.as_str()).collect();
    for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
        if faults.len() >= MOST_FAULTS {
            return;
        }
        faults.push(format!("{} is not a known field; {}", Path::Field(path, name), or_known(name, &known)));
    }
}

impl Form {
    fn read(schema: &Value) -> Self {
        if let Some(words) = schema["enum"].as_array() {
            return Self::OneOf(words.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
        match schema["format"].as_str() {
            Some("uuid") => Self::Uuid,
            Some("date-time") => Self::Time,
            _ => Self::Any,
        }
    }

    fn fault(&self, text: &str) -> Option<String> {
        let must_be = match self {
            Self::Any => return None,
            Self::Uuid if Uuid::parse_str(text).is_ok() => return None,
            Self::Time if text.parse::<DateTime<Utc>>().is_ok() => return None,
            Self::OneOf(words) if words.iter().any(|word| word == text) => return None,
            Self::Uuid => "an id (a UUID)".to_owned(),
            Self::Time => "a time with its offset from UTC (RFC 3339), such as 2030-01-31T09:00:00Z".to_owned(),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
        };
        Some(format!("must be {must_be}; it is {:?}", shown(text)))
    }
}

fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    bounds::text(text, SHOWN_VALUE_BYTES.max(SHOWN_NAME_BYTES))
}

fn is_outside(range: Range, count: usize) -> bool {
    !range.has(i64::try_from(count).unwrap_or(i64::MAX))
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A lower limit. The document writes limits of integers as `1.0`.
fn least(limit: &Value) -> i64 {
    limit.as_f64().map_or(i64::MIN, |limit| limit as i64)
}

/// An upper limit.
fn most(limit: &Value) -> i64 {
    limit.as_f64().map_or(i64::MAX, |limit| limit as i64)
}

#[cfg(test)]
mod tests;
