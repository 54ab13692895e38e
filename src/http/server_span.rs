//! The span of a request that is answered: what the spans of webhooks and of the API have in
//! common.

use std::borrow::Cow;

use poem::Request;
use uuid::Uuid;

use crate::domain::trace::TraceContext;
use crate::http::request_id;
use crate::telemetry::traces::{self, Side, Span};

/// A request that is being answered.
pub struct ServerSpan {
    pub span: Span,
    /// The id of the span of this request.
    pub request: Uuid,
}

impl ServerSpan {
    /// Begins the span. `route`: the path with the names of its parameters; `None`: no operation
    /// has the path.
    pub fn begin(request: &Request, route: Option<&'static str>) -> Self {
        let method = request.method().clone();
        let name = || match route {
            Some(route) => format!("{method} {route}"),
            None => method.to_string(),
        };
        let mut span = traces::begin_named(|| Cow::Owned(name()), Side::Server);
        span.set("http.request.method", || method.to_string());
        if let Some(route) = route {
            span.set("http.route", || route);
        }
        if let Some(id) = request_id::of(request) {
            span.set("textback.request.id", || id.to_owned());
        }
        Self { span, request: Uuid::now_v7() }
    }

    /// Notes which message the request is about.
    pub fn of_message(&mut self, message_id: Uuid, session_id: Option<Uuid>) {
        self.span.set("textback.message.id", || message_id.to_string());
        if let Some(session_id) = session_id {
            self.span.set("textback.session.id", || session_id.to_string());
        }
    }

    /// Ends the span of a request that was answered with a status. `failed`: the code of an error
    /// of ours.
    pub fn end(
        mut self,
        status: u16,
        failed: Option<&'static str>,
        context: TraceContext,
        parent: Option<TraceContext>,
    ) {
        self.span.set("http.response.status_code", || i64::from(status));
        if let Some(code) = failed {
            self.span.fail(code);
        }
        self.span.end(context, parent);
    }
}
