//! Converts Starlark values to JSON. A value that JSON can't express is an error.

use serde_json::{Map, Number, Value as Json};
use starlark::values::dict::DictRef;
use starlark::values::float::StarlarkFloat;
use starlark::values::list::ListRef;
use starlark::values::tuple::TupleRef;
use starlark::values::{Value, ValueLike};

use crate::domain::bounds;

/// A value as JSON. The error names a value that JSON can't express.
pub fn to_json(value: Value) -> Result<Json, String> {
    to_json_at(value, 0)
}

fn to_json_at(value: Value, depth: usize) -> Result<Json, String> {
    if depth > bounds::DEPTH {
        return Err(format!("values are nested over {} deep", bounds::DEPTH));
    }
    if value.is_none() {
        return Ok(Json::Null);
    }
    if let Some(truth) = value.unpack_bool() {
        return Ok(Json::Bool(truth));
    }
    if let Some(text) = value.unpack_str() {
        // PostgreSQL's jsonb can't store NUL.
        return if text.contains('\0') {
            Err("a text holds the character NUL".to_owned())
        } else {
            Ok(Json::from(text))
        };
    }
    if let Some(number) = value.unpack_i32() {
        return Ok(Json::from(number));
    }
    if let Some(float) = value.downcast_ref::<StarlarkFloat>() {
        return Number::from_f64(float.0)
            .map(Json::Number)
            .ok_or_else(|| format!("the number {} is not finite", float.0));
    }
    if let Some(list) = ListRef::from_value(value) {
        return list.iter().map(|item| to_json_at(item, depth + 1)).collect();
    }
    if let Some(tuple) = TupleRef::from_value(value) {
        return tuple.iter().map(|item| to_json_at(item, depth + 1)).collect();
    }
    if let Some(dict) = DictRef::from_value(value) {
        let pairs: Result<Map<String, Json>, String> = dict
            .iter()
            .map(|(key, value)| {
                let key = key
                    .unpack_str()
                    .ok_or_else(|| format!("a dict has a key that is a {}, not a string", key.get_type()))?;
                if key.contains('\0') {
                    return Err("a key holds the character NUL".to_owned());
                }
                Ok((key.to_owned(), to_json_at(value, depth + 1)?))
            })
            .collect();
        return pairs.map(Json::Object);
    }
    if value.get_type() == "int" {
        // An integer beyond 32 bits.
        return match value.to_json_value().map_err(|error| error.to_string())? {
            Json::Number(number) => bounds::number(&number).map(Json::Number),
            other => Ok(other),
        };
    }
    Err(format!("a {} can't be stored as JSON; use None, bool, int, float, string, list or dict", value.get_type()))
}
