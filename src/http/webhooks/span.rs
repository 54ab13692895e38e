//! The span of a webhook: it begins the trace of a message that it brings, or continues that of a delivery.

use uuid::Uuid;

use crate::channels;
use crate::domain::trace::TraceContext;
use crate::http::problem::Problem;
use crate::storage::delivery::{Recorded, Report};
use crate::storage::ingest::IngestOutcome;
use crate::telemetry::traces::{self, Side, Span};

/// A webhook that is being answered.
pub(super) struct WebhookSpan {
    span: Span,
    /// The id of the span of this request.
    pub request: Uuid,
    /// The trace that it belongs to, and the span before it. `None` while that is not known.
    context: Option<(Uuid, Option<TraceContext>)>,
}

impl WebhookSpan {
    pub fn begin(name: &'static str) -> Self {
        let mut span = traces::begin(name, Side::Server);
        span.set("http.request.method", || "POST");
        span.set("http.route", || name.trim_start_matches("POST "));
        Self { span, request: Uuid::now_v7(), context: None }
    }

    /// Notes what became of the message that it brought.
    pub fn brought(&mut self, outcome: &IngestOutcome) {
        if let IngestOutcome::Stored { session_id, message_id, .. }
        | IngestOutcome::Skipped { session_id, message_id, .. }
        | IngestOutcome::Duplicate { session_id, message_id } = outcome
        {
            self.of_message(*message_id, Some(*session_id));
            self.context = Some((*message_id, None));
        }
    }

    /// Notes that its report moved a delivery.
    pub fn reported(&mut self, recorded: &Recorded, report: &Report) {
        let Some(message_id) = recorded.message_id else { return };
        self.of_message(message_id, recorded.session_id);
        self.span.set("messaging.system", || channels::of_numbers().facts().channel.as_str());
        self.span.set("messaging.operation.name", || "report");
        self.span.set("messaging.operation.type", || "settle");
        self.span.set("messaging.message.id", || report.carrier_id.clone());
        self.span.set("textback.delivery.status", || report.status.as_str());
        let parent = TraceContext::of_accepted_delivery(message_id, recorded.turn_id);
        self.context = Some((recorded.turn_id.unwrap_or(message_id), Some(parent)));
    }

    fn of_message(&mut self, message_id: Uuid, session_id: Option<Uuid>) {
        self.span.set("textback.message.id", || message_id.to_string());
        if let Some(session_id) = session_id {
            self.span.set("textback.session.id", || session_id.to_string());
        }
    }

    /// Ends the span. A request that was refused has none, because anybody can send such.
    pub fn end(mut self, answer: &Result<&'static str, Problem>) {
        let status = match answer {
            Ok(_) => 200,
            Err(problem) => problem.status_code(),
        };
        if (400..500).contains(&status) {
            return;
        }
        match answer {
            Ok(word) => self.span.set("textback.outcome", || *word),
            Err(problem) => self.span.fail(problem.code()),
        }
        self.span.set("http.response.status_code", || i64::from(status));
        let (trace, parent) = self.context.unwrap_or((self.request, None));
        self.span.end(TraceContext::of_request(trace, self.request), parent);
    }
}
