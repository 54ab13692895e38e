//! Traces: spans of the flow of a message, exported by OTLP over HTTP. Off unless
//! `OTEL_EXPORTER_OTLP_ENDPOINT` is set; then nothing is measured or kept. The export has a bounded
//! queue and a thread of its own, and delays nothing.

mod client;
mod exporter;
mod settings;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};

use crate::domain::trace::TraceContext;
use exporter::Queue;
use settings::Settings;

/// How long the export may take when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// What a process needs to export spans.
struct Tracer {
    processor: BatchSpanProcessor,
    queue: Queue,
    share: f64,
    scope: InstrumentationScope,
}

/// Which side of a call or a message a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Work of this process.
    Internal,
    /// It answers a request.
    Server,
    /// It calls another service.
    Client,
    /// It processes a message.
    Consumer,
    /// It sends a message.
    Producer,
}

/// Starts the export if the environment asks for it. Needs a running tokio runtime.
pub fn start() {
    let Some(settings) = Settings::of_environment() else { return };
    match exporter::processor(&settings) {
        Ok((processor, queue)) => {
            let scope = InstrumentationScope::builder("textback").with_version(env!("CARGO_PKG_VERSION")).build();
            let _ = TRACER.set(Tracer { processor, queue, share: settings.share, scope });
        }
        Err(error) => tracing::warn!(
            error,
            "traces were turned off, because the variables OTEL_EXPORTER_OTLP_… could not be used; correct them"
        ),
    }
}

/// Exports what waits. Call it when the process ends.
pub async fn stop() {
    let Some(tracer) = TRACER.get() else { return };
    let stopping = tokio::task::spawn_blocking(|| tracer.processor.shutdown_with_timeout(FLUSH_TIMEOUT));
    if let Ok(Err(error)) = stopping.await {
        tracing::warn!(%error, "the last spans could not be exported");
    }
}

/// The header `traceparent` for a call within a span. `None` if traces are off.
pub fn traceparent(context: &TraceContext) -> Option<String> {
    TRACER.get().map(|tracer| context.traceparent(context.is_within(tracer.share)))
}

/// A span that is being measured. One that is dropped without [`Span::end`] is not exported. While
/// traces are off it is nothing.
#[derive(Debug)]
pub struct Span(Option<Box<Measured>>);

#[derive(Debug)]
struct Measured {
    name: Cow<'static, str>,
    side: Side,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    error: Option<Cow<'static, str>>,
}

/// Begins a span. Where it is in a trace may be known only when it ends.
pub fn begin(name: &'static str, side: Side) -> Span {
    begin_named(|| name.into(), side)
}

/// The same with a name that is made only while traces are on.
pub fn begin_named(name: impl FnOnce() -> Cow<'static, str>, side: Side) -> Span {
    Span(TRACER.get().map(|_| {
        Box::new(Measured {
            name: name(),
            side,
            began: SystemTime::now(),
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        })
    }))
}

impl Span {
    /// Sets an attribute. The value is made only while traces are on.
    pub fn set<V: Into<Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(measured) = &mut self.0 {
            measured.attributes.push(KeyValue::new(name, value()));
        }
    }

    /// Links the span to one of another trace.
    pub fn link(&mut self, to: TraceContext) {
        if let Some((measured, tracer)) = self.0.as_mut().zip(TRACER.get()) {
            measured.links.push(Link::with_context(tracer.context(to)));
        }
    }

    /// Marks the span as failed. `kind` is one of few words (`error.type`).
    pub fn fail(&mut self, kind: &'static str) {
        if let Some(measured) = &mut self.0 {
            measured.error = Some(kind.into());
        }
    }

    /// Ends the span, and exports it if its trace is among those that are kept.
    pub fn end(self, context: TraceContext, parent: Option<TraceContext>) {
        let Some((measured, tracer)) = self.0.zip(TRACER.get()) else { return };
        if context.is_within(tracer.share) {
            tracer.export(*measured, context, parent);
        }
    }
}

impl Tracer {
    fn context(&self, context: TraceContext) -> SpanContext {
        let flags = if context.is_within(self.share) { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace_id, span_id) = (TraceId::from_bytes(context.trace_id), SpanId::from_bytes(context.span_id));
        SpanContext::new(trace_id, span_id, flags, false, TraceState::default())
    }

    fn export(&self, measured: Measured, context: TraceContext, parent: Option<TraceContext>) {
        if !self.queue.admit() {
            return;
        }
        let Measured { name, side, began, mut attributes, links, error } = measured;
        let status = match error {
            Some(kind) => {
                attributes.push(KeyValue::new("error.type", kind));
                Status::error("")
            }
            None => Status::Unset,
        };
        let mut data = SpanData {
            span_context: self.context(context),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span_id)),
            parent_span_is_remote: false,
            span_kind: match side {
                Side::Internal => SpanKind::Internal,
                Side::Server => SpanKind::Server,
                Side::Client => SpanKind::Client,
                Side::Consumer => SpanKind::Consumer,
                Side::Producer => SpanKind::Producer,
            },
            name,
            start_time: began,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        };
        data.links.links = links;
        self.processor.on_end(data);
    }
}
