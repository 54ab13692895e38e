//! Checks a request against the OpenAPI document before its operation runs, so that nothing that a
//! caller said is dropped without a word, and every fault is told by the name of its parameter or
//! field.
//!
//! poem-openapi alone ignores unknown and repeated query parameters, repeated headers and repeated
//! JSON fields, and its errors name types of Rust instead of fields.
//!
//! docs/decisions/042-request-check.md has the reasons.

mod headers;
mod json;
mod query;
mod schema;

use percent_encoding::percent_decode_str;
use poem::Request;
use poem::http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value};

use crate::http::problem::Problem;
use crate::telemetry::metrics;
pub(super) use headers::IdempotencyKey;
pub(super) use json::read as read_json;
use schema::{Property, Schema};

/// What each operation of the document accepts.
#[derive(Debug)]
pub(super) struct Operations(Vec<Operation>);

/// The names of an operation in the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) id: &'static str,
    /// Its path, with the names of its parameters in braces.
    pub(super) route: &'static str,
}

#[derive(Debug)]
struct Operation {
    named: Named,
    method: Method,
    /// The parts of the path between slashes, below `/v1`.
    path: Vec<Part>,
    query: Vec<Property>,
    has_key: bool,
    /// None if the operation has no body.
    body: Option<Schema>,
}

#[derive(Debug)]
enum Part {
    Fixed(String),
    Parameter(Property),
}

/// A request, as far as it is checked.
pub(super) struct Given<'r> {
    pub(super) method: &'r Method,
    /// The path below `/v1`.
    pub(super) path: &'r str,
    pub(super) query: Option<&'r str>,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r [u8],
}

impl<'r> Given<'r> {
    /// A request to a path below `/v1`, whose body was read.
    pub(super) fn of(request: &'r Request, body: &'r [u8]) -> Self {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        Self { method, path: uri.path(), query: uri.query(), headers, body }
    }
}

impl Operations {
    /// Reads the operations of a document whose paths begin with `prefix`.
    pub(super) fn of(document: &Value, prefix: &str) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(path, item)| {
            // Each path is kept once for the time of the process.
            let route: &'static str = Box::leak(path.clone().into_boxed_str());
            let below = path.strip_prefix(prefix).unwrap_or(path);
            let operations = item.as_object().into_iter().flatten();
            operations.filter_map(move |(method, operation)| {
                let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
                let read = Operation::read(document, method, below, operation);
                Some(Operation { named: Named { route, ..read.named }, ..read })
            })
        });
        Self(operations.collect())
    }

    /// The names of the operation that a request is for.
    pub(super) fn named(&self, method: &Method, path: &str) -> Option<Named> {
        self.find(method, &parts_of(path)).map(|operation| operation.named)
    }

    /// What is wrong with a body of an operation, each fault with the name of its field.
    pub(super) fn faults(&self, method: &Method, path: &str, body: &Value) -> Vec<String> {
        let schema = self.find(method, &parts_of(path)).and_then(|operation| operation.body.as_ref());
        schema.map(|schema| schema.faults(body)).unwrap_or_default()
    }

    fn find(&self, method: &Method, parts: &[&str]) -> Option<&Operation> {
        // The router answers HEAD by the operation of GET.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.0.iter().find(|operation| operation.method == *method && operation.matches(parts))
    }

    /// The methods of a path, by name.
    fn methods(&self, parts: &[&str]) -> Vec<&str> {
        let operations = self.0.iter().filter(|operation| operation.matches(parts));
        let mut methods: Vec<&str> = operations.map(|operation| operation.method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.dedup();
        methods
    }

    /// Checks a request. A path that no operation has is left to the router, which answers 404.
    pub(super) fn check(&self, given: &Given<'_>) -> Result<(), Problem> {
        let parts = parts_of(given.path);
        let Some(operation) = self.find(given.method, &parts) else {
            let methods = self.methods(&parts);
            return if methods.is_empty() { Ok(()) } else { Err(Problem::method_not_allowed(&methods)) };
        };
        headers::check(given.headers, operation.has_key)?;
        operation.check_path(&parts)?;
        query::check(given.query.unwrap_or_default(), &operation.query)?;
        operation.check_body(given)
    }
}

/// The parts of a path between slashes.
fn parts_of(path: &str) -> Vec<&str> {
    path.trim_start_matches('/').split('/').collect()
}

impl Operation {
    fn read(document: &Value, method: Method, path: &str, operation: &Value) -> Self {
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_kind = |kind: &'static str| parameters.iter().filter(move |parameter| parameter["in"] == kind);
        let property = |parameter: &Value| Property {
            name: parameter["name"].as_str().unwrap_or_default().to_owned(),
            schema: Schema::read(document, &parameter["schema"]),
            is_required: parameter["required"] == true,
        };
        let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => match of_kind("path").find(|parameter| parameter["name"] == name) {
                Some(parameter) => Part::Parameter(property(parameter)),
                None => Part::Fixed(part.to_owned()),
            },
            None => Part::Fixed(part.to_owned()),
        };
        let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
        let body = content.and_then(|content| content.values().next());
        let id = operation["operationId"].as_str().unwrap_or_default();
        Self {
            named: Named {
                id: metrics::OPERATIONS.iter().copied().find(|known| *known == id).unwrap_or(metrics::NONE),
                route: "",
            },
            method,
            path: path.trim_start_matches('/').split('/').map(part).collect(),
            query: of_kind("query").map(property).collect(),
            has_key: of_kind("header").next().is_some(),
            body: body.map(|body| Schema::read(document, &body["schema"])),
        }
    }

    fn matches(&self, parts: &[&str]) -> bool {
        self.path.len() == parts.len()
            && self.path.iter().zip(parts).all(|(part, given)| match part {
                Part::Fixed(fixed) => fixed == given,
                Part::Parameter(_) => !given.is_empty(),
            })
    }

    fn check_path(&self, parts: &[&str]) -> Result<(), Problem> {
        for (part, given) in self.path.iter().zip(parts) {
            let Part::Parameter(parameter) = part else { continue };
            let text = percent_decode_str(given).decode_utf8_lossy();
            if let Some(fault) = parameter.schema.parameter_fault(&text) {
                return Err(invalid(format!("{} in the path {fault}", parameter.name)));
            }
        }
        Ok(())
    }

    fn check_body(&self, given: &Given<'_>) -> Result<(), Problem> {
        let is_empty = given.body.iter().all(u8::is_ascii_whitespace);
        let Some(schema) = &self.body else {
            // Some clients send an empty object or null with every request.
            let says_nothing = is_empty
                || json::read(given.body).is_ok_and(|body| body.is_null() || body == Value::Object(Map::new()));
            return match says_nothing {
                true => Ok(()),
                false => Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "body_unexpected",
                    "this operation has no body; send it without one",
                )),
            };
        };
        if !is_json(given.headers)? {
            // The operation refuses it.
            return Ok(());
        }
        if is_empty {
            return Err(invalid("the body is missing; send a JSON object".to_owned()));
        }
        let faults = schema.faults(&json::read(given.body).map_err(invalid)?);
        match faults.is_empty() {
            true => Ok(()),
            false => Err(invalid(faults.join("; "))),
        }
    }
}

/// Whether a body is JSON by its Content-Type. JSON is UTF-8 (RFC 8259, 8.1), so another charset is
/// refused.
fn is_json(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return Ok(false) };
    let (kind, parameters) = given.split_once(';').unwrap_or((given, ""));
    let charset = parameters.split(';').filter_map(|parameter| parameter.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    match charset.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii") => {
            let kind = kind.trim().to_ascii_lowercase();
            Ok(kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")))
        }
        Some(charset) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type_unsupported",
            format!("Content-Type has the charset {charset}; JSON is UTF-8, so send Content-Type: application/json"),
        )),
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "request_invalid", detail)
}

#[cfg(test)]
mod tests;
