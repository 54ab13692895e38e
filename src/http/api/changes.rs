//! What a PATCH may say of a field: a value, null, or nothing.

use poem::http::StatusCode;
use poem_openapi::types::MaybeUndefined;

use crate::http::problem::Problem;

/// The new value of a field that always has one. Null is refused, because it would be ignored.
pub fn value<T>(name: &str, given: MaybeUndefined<T>) -> Result<Option<T>, Problem> {
    match given {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Value(value) => Ok(Some(value)),
        MaybeUndefined::Null => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "request_invalid",
            format!("{name} can't be removed, so it must not be null; leave it out to keep it as it is"),
        )),
    }
}
