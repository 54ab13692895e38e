//! The spans of a message's flow in jobs: what they are called, what they tell, and where they are
//! in a trace. The names of attributes are OpenTelemetry's conventions for messaging and for
//! agents, and `textback.…` where these have none.

use uuid::Uuid;

use crate::agents::AgentError;
use crate::channels;
use crate::domain::agent::AgentKind;
use crate::domain::delivery_settlement::Outcome;
use crate::domain::trace::TraceContext;
use crate::storage::delivery;
use crate::storage::ingest::{InboundMessage, IngestOutcome};
use crate::storage::turn::Claim;
use crate::storage::unknown_delivery::Unknown;
use crate::telemetry::traces::{self, Side, Span};

/// The storing of an inbound message.
pub(super) struct IngestSpan {
    span: Span,
    request: Option<Uuid>,
}

impl IngestSpan {
    /// `request`: the request that brought it, if one did.
    pub(super) fn begin(message: &InboundMessage, request: Option<Uuid>) -> Self {
        let mut span = traces::begin("ingest message", Side::Consumer);
        span.set("messaging.system", || message.channel.channel.as_str());
        span.set("messaging.operation.name", || "ingest");
        span.set("messaging.operation.type", || "receive");
        span.set("textback.project.id", || message.project_id.to_string());
        if let Some(carrier_id) = &message.carrier_id {
            span.set("messaging.message.id", || carrier_id.clone());
        }
        Self { span, request }
    }

    /// A message that was stored before, or is in quarantine, has no span of its own.
    pub(super) fn end(mut self, outcome: &IngestOutcome) {
        let (session_id, message_id) = match outcome {
            IngestOutcome::Stored { session_id, message_id, .. }
            | IngestOutcome::Skipped { session_id, message_id, .. } => (*session_id, *message_id),
            IngestOutcome::Duplicate { .. } | IngestOutcome::Quarantined { .. } => return,
        };
        self.span.set("textback.message.id", || message_id.to_string());
        self.span.set("textback.session.id", || session_id.to_string());
        self.span.set("textback.outcome", || outcome.as_str());
        let parent = self.request.map(|request| TraceContext::of_request(message_id, request));
        self.span.end(TraceContext::of_ingest(message_id), parent);
    }
}

/// Begins the span of an attempt of a turn. Its messages after the first have traces of their own,
/// which it is linked to.
pub(super) fn begin_turn(claim: &Claim) -> Span {
    let mut span = traces::begin("process turn", Side::Consumer);
    span.set("messaging.system", || "textback");
    span.set("messaging.operation.name", || "turn");
    span.set("messaging.operation.type", || "process");
    span.set("messaging.batch.message_count", || i64::try_from(claim.waiting.len()).unwrap_or(i64::MAX));
    span.set("textback.project.id", || claim.project_id.to_string());
    span.set("textback.session.id", || claim.session_id.to_string());
    span.set("textback.turn.id", || claim.turn_id.to_string());
    span.set("textback.attempt", || i64::from(claim.attempt));
    for message in claim.waiting.iter().filter(|message| message.id != claim.turn_id) {
        span.link(TraceContext::of_ingest(message.id));
    }
    span
}

/// Ends the span of an attempt of a turn.
pub(super) fn end_turn(mut span: Span, claim: &Claim, outcome: &'static str, is_answered: bool) {
    span.set("textback.outcome", || outcome);
    if !is_answered {
        span.fail(outcome);
    }
    // An outbound message that opens a session creates its turn with a new id. No message that the
    // turn answers has this id, so the span has no parent.
    let begins = claim.first_message() == Some(claim.turn_id);
    let parent = begins.then(|| TraceContext::of_ingest(claim.turn_id));
    span.end(TraceContext::of_turn(claim.turn_id, claim.attempt), parent);
}

/// Ends the span of the transaction that settles a turn.
pub(super) fn end_settling(span: Span, claim: &Claim) {
    span.end(TraceContext::of_settling(claim.turn_id), Some(TraceContext::of_turn(claim.turn_id, claim.attempt)));
}

/// A call of the agent.
pub(super) struct AgentCall {
    span: Span,
    context: TraceContext,
    turn: TraceContext,
}

impl AgentCall {
    /// `function`: `start` or `reply`.
    pub(super) fn begin(claim: &Claim, kind: AgentKind, function: &'static str) -> Self {
        let side = match kind {
            AgentKind::Script | AgentKind::Llm => Side::Internal,
            AgentKind::Http => Side::Client,
        };
        let mut span = traces::begin("invoke_agent", side);
        span.set("gen_ai.operation.name", || "invoke_agent");
        span.set("gen_ai.provider.name", || "textback");
        span.set("gen_ai.agent.id", || claim.agent_id.to_string());
        span.set("gen_ai.agent.version", || claim.agent_version.to_string());
        span.set("gen_ai.conversation.id", || claim.session_id.to_string());
        span.set("textback.agent.kind", || kind.as_str());
        span.set("textback.agent.function", || function);
        let context = TraceContext::of_agent_call(claim.turn_id, function, claim.attempt);
        Self { span, context, turn: TraceContext::of_turn(claim.turn_id, claim.attempt) }
    }

    /// The header `traceparent` of a request within the call.
    pub(super) fn traceparent(&self) -> Option<String> {
        traces::traceparent(&self.context)
    }

    /// Ends the span, and returns the answer.
    pub(super) fn end<T>(mut self, answer: Result<T, AgentError>) -> Result<T, AgentError> {
        if let Err(error) = &answer {
            self.span.fail(error.kind());
        }
        self.span.end(self.context, Some(self.turn));
        answer
    }
}

/// Begins the span of an attempt of a delivery.
pub(super) fn begin_delivery(claim: &delivery::Claim) -> Span {
    let mut span = begin_call("send message", ("send", "send"), [claim.project_id, claim.session_id, claim.id]);
    span.set("textback.attempt", || i64::from(claim.attempt));
    span
}

/// Begins a span of a call of the carrier about a message. `of`: the ids of its project, its
/// session and the message.
fn begin_call(name: &'static str, (operation, kind): (&'static str, &'static str), of: [Uuid; 3]) -> Span {
    let [project_id, session_id, message_id] = of;
    let mut span = traces::begin(name, Side::Client);
    span.set("messaging.system", || channels::of_numbers().facts().channel.as_str());
    span.set("messaging.operation.name", || operation);
    span.set("messaging.operation.type", || kind);
    span.set("textback.project.id", || project_id.to_string());
    span.set("textback.session.id", || session_id.to_string());
    span.set("textback.message.id", || message_id.to_string());
    span
}

/// Begins the span of a search for an unknown delivery.
pub(super) fn begin_search(unknown: &Unknown) -> Span {
    begin_call("find message", ("find", "settle"), [unknown.project_id, unknown.session_id, unknown.id])
}

/// Ends the span of a search that found the message. Reports about it have this span as their
/// parent, because the attempt that sent it did not know whether the carrier accepted it.
pub(super) fn end_search(mut span: Span, unknown: &Unknown, carrier_id: String) {
    span.set("messaging.message.id", || carrier_id);
    let context = TraceContext::of_accepted_delivery(unknown.id, unknown.turn_id);
    span.end(context, unknown.turn_id.map(TraceContext::of_settling));
}

/// Ends the span of an attempt of a delivery by what the carrier answered.
pub(super) fn end_delivery(mut span: Span, claim: &delivery::Claim, outcome: &Outcome) {
    let context = match outcome {
        Outcome::Accepted { carrier_id } => {
            span.set("messaging.message.id", || carrier_id.clone());
            TraceContext::of_accepted_delivery(claim.id, claim.turn_id)
        }
        Outcome::Failed(refusal) | Outcome::Unknown(refusal) | Outcome::PutOff { refusal, .. } => {
            span.fail(refusal.class.as_str());
            TraceContext::of_delivery(claim.id, claim.turn_id, claim.attempt)
        }
    };
    let of_request = claim.is_of_the_api.then(|| TraceContext::of_api_send(claim.id));
    span.end(context, claim.turn_id.map(TraceContext::of_settling).or(of_request));
}
