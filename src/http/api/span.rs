//! The span of a request to the API. It begins the trace of a message that it makes.

use std::sync::{Arc, OnceLock};

use poem::{Request, Response};
use uuid::Uuid;

use crate::domain::trace::TraceContext;
use crate::http::problem::Problem;
use crate::http::server_span::ServerSpan;

/// What an operation tells the span of its request.
#[derive(Clone, Default)]
pub(super) struct Made(Arc<OnceLock<(Uuid, Option<Uuid>)>>);

impl Made {
    /// Notes the message that the request made, now or for later. One that an earlier request made
    /// is none of it.
    pub(super) fn message(&self, message_id: Uuid, session_id: Option<Uuid>) {
        let _ = self.0.set((message_id, session_id));
    }
}

/// A request to the API.
pub(super) struct ApiSpan {
    of_server: ServerSpan,
    made: Made,
    has_key: bool,
}

impl ApiSpan {
    /// Begins the span, and gives the request what its operation tells it by.
    pub(super) fn begin(request: &mut Request, route: Option<&'static str>) -> Self {
        let made = Made::default();
        request.set_data(made.clone());
        Self { of_server: ServerSpan::begin(request, route), made, has_key: false }
    }

    /// Notes the project whose key the request has.
    pub(super) fn of_project(&mut self, project_id: Uuid) {
        self.has_key = true;
        self.of_server.span.set("textback.project.id", || project_id.to_string());
    }

    /// Ends the span. A request without a valid key has none, because anybody can send such.
    pub(super) fn end(mut self, answer: &poem::Result<Response>) {
        if !self.has_key {
            return;
        }
        let status = answer.as_ref().map_or_else(poem::Error::status, Response::status);
        let failed = status.is_server_error().then(|| {
            let problem = answer.as_ref().err().and_then(poem::Error::downcast_ref::<Problem>);
            problem.map_or("internal", Problem::code)
        });
        let context = match self.made.0.get() {
            Some((message_id, session_id)) => {
                self.of_server.of_message(*message_id, *session_id);
                TraceContext::of_api_send(*message_id)
            }
            None => TraceContext::of_request(self.of_server.request, self.of_server.request),
        };
        self.of_server.end(status.as_u16(), failed, context, None);
    }
}
