//! Defines `conv.log`, by which scripts write lines to the log.

#![expect(
    unsafe_code,
    reason = "derive(Trace) implements the interpreter's unsafe trait; nothing here is written unsafe"
)]

use std::cell::RefCell;
use std::fmt;

use allocative::Allocative;
use serde_json::{Map, Value as Json, json};
use starlark::any::ProvidesStaticType;
use starlark::collections::SmallMap;
use starlark::environment::{Methods, MethodsBuilder};
use starlark::starlark_module;
use starlark::values::none::NoneType;
use starlark::values::{NoSerialize, StarlarkValue, Trace, Value, ValueLike, starlark_value};

use super::json::to_json;
use crate::domain::bounds;

/// The most log lines of one run, so that a loop does not fill the log.
const MOST_LOG_LINES: usize = 100;

/// `conv.log`.
#[derive(Debug, Trace, ProvidesStaticType, NoSerialize, Allocative)]
pub(super) struct Log {
    /// Each line as JSON.
    pub(super) lines: RefCell<Vec<String>>,
}

impl Log {
    fn add<'v>(
        this: Value<'v>,
        level: &str,
        text: &str,
        fields: SmallMap<String, Value<'v>>,
    ) -> starlark::Result<NoneType> {
        let mut lines = this.downcast_ref_err::<Self>()?.lines.borrow_mut();
        let written: usize = lines.iter().map(String::len).sum();
        if lines.len() >= MOST_LOG_LINES || written >= bounds::TURN_LOG_BYTES {
            return Ok(NoneType);
        }
        let text = bounds::text(text, bounds::LOG_LINE_BYTES / 2);
        let mut left = bounds::LOG_LINE_BYTES / 2;
        let mut kept = Map::new();
        for (key, value) in fields {
            let key = bounds::text(&key, 100).into_owned();
            let value = short(value, left.saturating_sub(key.len()));
            let size = key.len() + value.to_string().len() + 4;
            if size > left {
                break;
            }
            left -= size;
            kept.insert(key, value);
        }
        lines.push(json!({"level": level, "text": text, "fields": kept}).to_string());
        Ok(NoneType)
    }
}

/// A field of a log line, as text if JSON can't express it or it is too long.
fn short(value: Value, most: usize) -> Json {
    match to_json(value) {
        Ok(Json::String(text)) => Json::from(bounds::text(&text, most / 2)),
        Ok(json) => {
            let printed = json.to_string();
            if printed.len() > most { Json::from(bounds::text(&printed, most / 2)) } else { json }
        }
        Err(_) => Json::from(bounds::text(&value.to_str(), most / 2)),
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conv.log")
    }
}

#[starlark_value(type = "log")]
impl<'v> StarlarkValue<'v> for Log {
    fn get_methods() -> Option<&'static Methods> {
        Some(LOG_METHODS.methods())
    }
}

starlark::methods_static!(pub(super) LOG_METHODS = log_methods);

#[starlark_module]
fn log_methods(builder: &mut MethodsBuilder) {
    fn info<'v>(
        this: Value<'v>,
        #[starlark(require = pos)] text: &str,
        #[starlark(kwargs)] fields: SmallMap<String, Value<'v>>,
    ) -> starlark::Result<NoneType> {
        Log::add(this, "info", text, fields)
    }

    fn warning<'v>(
        this: Value<'v>,
        #[starlark(require = pos)] text: &str,
        #[starlark(kwargs)] fields: SmallMap<String, Value<'v>>,
    ) -> starlark::Result<NoneType> {
        Log::add(this, "warning", text, fields)
    }

    fn error<'v>(
        this: Value<'v>,
        #[starlark(require = pos)] text: &str,
        #[starlark(kwargs)] fields: SmallMap<String, Value<'v>>,
    ) -> starlark::Result<NoneType> {
        Log::add(this, "error", text, fields)
    }
}
