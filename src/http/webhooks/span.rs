//! The span of a webhook: it begins the trace of a message that it brings, or continues that of a
//! delivery.

use poem::Request;
use uuid::Uuid;

use crate::channels;
use crate::domain::trace::TraceContext;
use crate::http::problem::Problem;
use crate::http::server_span::ServerSpan;
use crate::storage::delivery::{Recorded, Report};
use crate::storage::ingest::IngestOutcome;

/// A webhook that is being answered.
pub(super) struct WebhookSpan {
    of_server: ServerSpan,
    /// The trace of the webhook, and the parent of its span. `None`: not known yet.
    context: Option<(Uuid, Option<TraceContext>)>,
}

impl WebhookSpan {
    /// `route`: the path with the names of its parameters.
    pub fn begin(request: &Request, route: &'static str) -> Self {
        Self { of_server: ServerSpan::begin(request, Some(route)), context: None }
    }

    /// The id of the span of this request.
    pub const fn request(&self) -> Uuid {
        self.of_server.request
    }

    /// Records the outcome of the message in the webhook.
    pub fn brought(&mut self, outcome: &IngestOutcome) {
        if let IngestOutcome::Stored { session_id, message_id, .. }
        | IngestOutcome::Skipped { session_id, message_id, .. }
        | IngestOutcome::Duplicate { session_id, message_id } = outcome
        {
            self.of_server.of_message(*message_id, Some(*session_id));
            self.context = Some((*message_id, None));
        }
    }

    /// Records that the status report in the webhook moved a delivery.
    pub fn reported(&mut self, recorded: &Recorded, report: &Report) {
        let Some(message_id) = recorded.message_id else { return };
        self.of_server.of_message(message_id, recorded.session_id);
        self.of_server.span.set("messaging.system", || channels::of_numbers().facts().channel.as_str());
        self.of_server.span.set("messaging.operation.name", || "report");
        self.of_server.span.set("messaging.operation.type", || "settle");
        self.of_server.span.set("messaging.message.id", || report.carrier_id.clone());
        self.of_server.span.set("textback.delivery.status", || report.status.as_str());
        let parent = TraceContext::of_accepted_delivery(message_id, recorded.turn_id);
        self.context = Some((recorded.turn_id.unwrap_or(message_id), Some(parent)));
    }

    /// Ends the span. A refused request gets no span, because anybody can send one.
    pub fn end(mut self, answer: &Result<&'static str, Problem>) {
        let status = match answer {
            Ok(_) => 200,
            Err(problem) => problem.status_code(),
        };
        if (400..500).contains(&status) {
            return;
        }
        if let Ok(word) = answer {
            self.of_server.span.set("textback.outcome", || *word);
        }
        let (trace, parent) = self.context.unwrap_or((self.request(), None));
        let context = TraceContext::of_request(trace, self.request());
        self.of_server.end(status, answer.as_ref().err().map(Problem::code), context, parent);
    }
}
